//! Feature vectors that are kept, so that several fits share one look at the frames.

use anyhow::{Context, Result, ensure};

use super::{FeatureMap, FeatureSource, FittedDensity, Room, grid::Grid, store::Store};

/// Name of the one map that kept vectors are.
const VECTORS: &str = "vectors";

/// Feature vectors of frames on a grid.
#[derive(Debug)]
pub struct Kept {
    /// Of the maps that the vectors are made of.
    grid: Grid,
    /// C·h·w values of each frame, channel after channel.
    frames: Store,
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
    /// The vectors of all frames of `source` on a grid of so many rows and columns, or on the one
    /// that suits its maps; in memory as far as there is `room`.
    ///
    /// # Errors
    /// Maps that suit no grid, NaN or infinities in them, the errors of the source, a file for
    /// vectors that can't be written.
    pub fn read(
        source: &mut dyn FeatureSource,
        size: Option<[usize; 2]>,
        room: &Room,
    ) -> Result<Self> {
        let all: Vec<usize> = (0..source.frames()).collect();
        let mut grid = None;
        let mut frames = Store::new(room);
        source.visit(&all, &mut |maps| {
            let grid = match &mut grid {
                Some(grid) => grid,
                None => grid.insert(Grid::choose(maps, size)?),
            };
            let vectors = grid.pool(maps);
            let vectors = vectors.with_context(|| format!("normal frame {}", frames.frames()))?;
            frames.push(vectors.transpose().data.into())
        })?;
        let grid = grid.context("the source of feature maps gave no frame")?;
        Ok(Self {
            grid,
            weights: all.iter().map(|&frame| source.weight(frame)).collect(),
            mixture_weights: all
                .iter()
                .map(|&frame| source.mixture_weight(frame))
                .collect(),
            frames,
        })
    }

    /// Bytes that a frame of `source` takes on such a grid.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub fn bytes_of_frame(
        source: &mut dyn FeatureSource,
        size: Option<[usize; 2]>,
    ) -> Result<usize> {
        let mut bytes = 0;
        source.visit(&[0], &mut |maps| {
            let grid = Grid::choose(maps, size)?;
            bytes = grid.cells() * grid.channels() * size_of::<f32>();
            Ok(())
        })?;
        Ok(bytes)
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
    /// Those of [`FittedDensity::distance`]; vectors that can't be read from their file.
    pub fn distance(&self, place: usize, model: &FittedDensity) -> Result<Vec<f32>> {
        let mut distance = vec![0.0; self.grid.cells()];
        model.distance(&[self.map(&self.frames.get(place)?)], &mut distance)?;
        Ok(distance)
    }

    /// The same model of vectors that are made of the maps that were read.
    ///
    /// # Errors
    /// A model of other channels or cells.
    pub fn of_maps(&self, model: FittedDensity) -> Result<FittedDensity> {
        let (own, grid) = (&self.grid, &model.grid);
        ensure!(
            (grid.size, grid.channels()) == (own.size, own.channels()),
            "a model of other feature vectors"
        );
        Ok(FittedDensity {
            grid: own.clone(),
            ..model
        })
    }

    fn map<'a>(&self, values: &'a [f32]) -> FeatureMap<'a> {
        FeatureMap {
            name: VECTORS,
            shape: [self.grid.channels(), self.grid.size[0], self.grid.size[1]],
            values,
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
        frames.iter().try_for_each(|&frame| {
            let values = self.kept.frames.get(self.places[frame])?;
            visit(&[self.kept.map(&values)])
        })
    }
}
