//! Feature vectors that are kept, so that several fits share one look at the frames.

use anyhow::{Context, Result};

use super::{FeatureMap, FeatureSource, FittedDensity};

/// Name of the one map that kept vectors are.
const VECTORS: &str = "vectors";

/// Feature vectors of frames on a model's grid.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Channels, and rows and columns of the grid.
    shape: [usize; 3],
    /// C·h·w values of each frame, channel after channel.
    frames: Vec<Vec<f32>>,
    weights: Vec<f64>,
    mixture_weights: Vec<f64>,
}

/// Some of the kept frames, to fit models to.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    kept: &'a Kept,
    /// Ascending.
    places: Vec<usize>,
    originals: usize,
}

impl Kept {
    /// The vectors that `model` makes of all frames of `source`.
    ///
    /// # Errors
    /// Maps other than those of the model, NaN or infinities in them, the errors of the source.
    pub fn read(source: &mut dyn FeatureSource, model: &FittedDensity) -> Result<Self> {
        let grid = &model.grid;
        let all: Vec<usize> = (0..source.frames()).collect();
        let mut frames = Vec::with_capacity(all.len());
        source.visit(&all, &mut |maps| {
            let vectors = grid.pool(maps);
            let vectors = vectors.with_context(|| format!("normal frame {}", frames.len()))?;
            frames.push(vectors.transpose().as_slice().to_vec());
            Ok(())
        })?;
        let [height, width] = grid.size;
        Ok(Self {
            shape: [grid.channels(), height, width],
            weights: all.iter().map(|&frame| source.weight(frame)).collect(),
            mixture_weights: all
                .iter()
                .map(|&frame| source.mixture_weight(frame))
                .collect(),
            frames,
        })
    }

    /// The frames at `places` (ascending), of which so many are no augmented samples.
    pub fn part(&self, places: Vec<usize>, originals: usize) -> Part<'_> {
        Part {
            kept: self,
            places,
            originals,
        }
    }

    /// The distance at each cell of the frame `place` under a model that was fitted to kept frames.
    ///
    /// # Errors
    /// Those of [`FittedDensity::distance`].
    pub fn distance(&self, place: usize, model: &FittedDensity) -> Result<Vec<f32>> {
        let mut distance = vec![0.0; self.shape[1] * self.shape[2]];
        model.distance(&[self.map(place)], &mut distance)?;
        Ok(distance)
    }

    fn map(&self, place: usize) -> FeatureMap<'_> {
        FeatureMap {
            name: VECTORS,
            shape: self.shape,
            values: &self.frames[place],
        }
    }
}

impl FeatureSource for Part<'_> {
    fn frames(&self) -> usize {
        self.places.len()
    }

    fn originals(&self) -> usize {
        self.originals
    }

    fn weight(&self, frame: usize) -> f64 {
        self.kept.weights[self.places[frame]]
    }

    fn mixture_weight(&self, frame: usize) -> f64 {
        self.kept.mixture_weights[self.places[frame]]
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        frames
            .iter()
            .try_for_each(|&frame| visit(&[self.kept.map(self.places[frame])]))
    }
}
