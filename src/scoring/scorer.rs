//! From the score maps of a frame to its anomaly map and its raw score.

use std::collections::BTreeMap;

use ndarray::Array3;

use crate::{
    image::{GaussianSmoothing, Upsample},
    model::{LOG_VARIANCE, MEAN, ModelOutputs, TensorShapes},
    preprocess::{CanvasLayout, Interior},
    vae::{VaeSpec, kl_standard_normal},
    value::check_length,
};

use super::{
    Aggregation, Mean, Scoring, ScoringError,
    source_map::{SourceMap, SourceShare},
};

/// From what was computed for a frame to its anomaly map and score, as a bundle's [`Scoring`] says,
/// with buffers of its own: in steady state it allocates nothing. Training, calibration and
/// runtime use the same one.
///
/// Of a canvas of several tiles, each tile is handed to [`Scorer::add_tile`]; each source's maps of
/// the tiles are blended into one of the canvas before anything else is done. Cells that the mask
/// leaves out count in no score.
#[derive(Debug)]
pub struct Scorer {
    maps: Vec<SourceMap>,
    image: Average,
    aggregation: Aggregation,
    map: Average,
    /// Rows and columns of the canvas.
    size: [usize; 2],
    /// Cells of the anomaly map that count, where not all do.
    interior: Option<Interior>,
    tiles: usize,
    /// Tiles of the present frame that were handed over.
    added: usize,
    /// The sources that they were handed over for.
    subset: SourceSubset,
    /// Whether there is a posterior.
    has_vae: bool,
    /// Sum over these tiles of the posterior's divergence from the prior, nats.
    divergence: f64,
    last_smoothing: GaussianSmoothing,
    upsample: Upsample,
    selection: Vec<f32>,
}

/// Some of a scoring's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceSubset {
    /// All of them.
    All,
    /// Those that score and map are made of.
    Scoring,
    /// Those that only explain.
    Explaining,
}

impl SourceSubset {
    fn has(self, map: &SourceMap) -> bool {
        match self {
            Self::All => true,
            Self::Scoring => map.is_scored(),
            Self::Explaining => !map.is_scored(),
        }
    }
}

/// The mean of several sources' maps.
#[derive(Debug)]
struct Average {
    /// The sources, by index.
    sources: Vec<usize>,
    standardised: bool,
    mean: Mean,
}

impl Average {
    /// Computes it in the canvas's size.
    fn compute(&self, maps: &[SourceMap], upsample: &mut Upsample, out: &mut [f32]) {
        out.fill(0.0);
        let share = 1.0 / self.sources.len() as f32;
        for &source in &self.sources {
            let map = &maps[source];
            let values = upsample.apply(map.values(self.standardised), map.shape());
            for (out, &value) in out.iter_mut().zip(values) {
                *out += share * self.mean.term(value);
            }
        }
        for out in out {
            *out = self.mean.of_terms(*out);
        }
    }
}

impl Scorer {
    /// For the frames of `layout`, with the tensors that the bundle's graphs make, its VAE's
    /// shapes, and
    /// each source's statistics by its name, as
    /// [`Standardisation::from_array`](super::Standardisation::from_array) takes them.
    ///
    /// # Errors
    /// What [`Scoring::validate`] refuses; a source whose tensor is missing; statistics that are
    /// missing or unusable.
    pub fn new(
        scoring: &Scoring,
        vae: Option<&VaeSpec>,
        layout: &CanvasLayout,
        tensors: &TensorShapes,
        statistics: &BTreeMap<String, Array3<f32>>,
    ) -> Result<Self, ScoringError> {
        scoring.validate(layout.tiles().tile_size(), vae)?;
        let Scoring {
            image,
            map,
            sources,
        } = scoring;
        let maps = sources
            .iter()
            .map(|source| {
                let is_scored = [&image.sources, &map.sources]
                    .iter()
                    .any(|users| users.contains(&source.name));
                let statistics = statistics.get(&source.name);
                SourceMap::new(source, is_scored, vae, layout, tensors, statistics)
            })
            .collect::<Result<_, ScoringError>>()?;
        let indices = |names: &[String]| {
            let place = |name: &String| sources.iter().position(|source| source.name == *name);
            names.iter().filter_map(place).collect()
        };
        let size = layout.tiles().canvas_size();
        Ok(Self {
            maps,
            image: Average {
                sources: indices(&image.sources),
                standardised: image.standardised,
                mean: Mean::Arithmetic,
            },
            aggregation: image.aggregation,
            map: Average {
                sources: indices(&map.sources),
                standardised: map.standardised,
                mean: map.mean,
            },
            size,
            interior: layout.interior(size),
            tiles: layout.tiles().count(),
            added: 0,
            subset: SourceSubset::All,
            has_vae: vae.is_some(),
            divergence: 0.0,
            last_smoothing: GaussianSmoothing::new(size[1], size[0], map.smoothing)?,
            upsample: Upsample::to(size),
            selection: Vec::with_capacity(size[0] * size[1]),
        })
    }

    /// Computes the anomaly map of a frame of one tile into `map` (`H×W`, tensor geometry) and
    /// gives its raw score.
    ///
    /// # Errors
    /// A slice of another length; NaN or an infinity in the maps, from the input or the model; a
    /// layout of several tiles.
    pub fn score(&mut self, outputs: &ModelOutputs, map: &mut [f32]) -> Result<f64, ScoringError> {
        self.add_tile(0, outputs)?;
        self.finish(map)
    }

    /// Takes in what was computed for a tile of a frame; tiles come in ascending order, and tile 0
    /// begins a frame.
    ///
    /// # Errors
    /// Those of [`ScoreMap::compute`](super::ScoreMap::compute); a posterior that is not a number;
    /// another tile than the next.
    pub fn add_tile(&mut self, tile: usize, outputs: &ModelOutputs) -> Result<(), ScoringError> {
        self.add_tile_for(SourceSubset::All, tile, outputs)
    }

    /// [`Scorer::add_tile`] for some of the sources; [`SourceSubset::Explaining`] comes after the
    /// frame was finished for [`SourceSubset::Scoring`]. The latter alone has no divergence.
    pub(crate) fn add_tile_for(
        &mut self,
        subset: SourceSubset,
        tile: usize,
        outputs: &ModelOutputs,
    ) -> Result<(), ScoringError> {
        if tile == 0 {
            self.added = 0;
            self.subset = subset;
            self.divergence = 0.0;
        }
        if tile != self.added || tile >= self.tiles {
            return Err(ScoringError::Contradiction(format!(
                "found tile {tile}, expected tile {} of {}: hand over each once, in ascending \
                 order",
                self.added, self.tiles
            )));
        }
        for map in self.maps.iter_mut().filter(|map| subset.has(map)) {
            map.add_tile(tile, outputs)?;
        }
        if subset != SourceSubset::Scoring {
            let (mean, log_variance) = (outputs.values(MEAN), outputs.values(LOG_VARIANCE));
            if self.has_vae {
                self.divergence += kl_standard_normal(mean, log_variance)?.max(0.0);
            }
        }
        self.added += 1;
        Ok(())
    }

    /// KL(q(z|x) ‖ N(0, I)) of the last frame whose tiles were taken in, nats; of several tiles the
    /// mean. It says how unusual the frame is to the model, whatever the score is made of. `None`
    /// without a VAE.
    pub fn divergence(&self) -> Option<f64> {
        let mean = self.divergence / self.tiles.max(1) as f64;
        self.has_vae.then_some(mean)
    }

    /// Computes the anomaly map of the frame whose last tile was taken in, into `map` (`H×W` of the
    /// canvas), and gives its raw score. Cells that the mask leaves out hold the map's minimum.
    ///
    /// # Errors
    /// A slice of another length; NaN or an infinity in the maps; tiles that are missing.
    pub fn finish(&mut self, map: &mut [f32]) -> Result<f64, ScoringError> {
        check_length("anomaly map", map.len(), self.positions())?;
        self.post_process()?;
        self.map.compute(&self.maps, &mut self.upsample, map);
        self.last_smoothing.apply(map)?;
        if let Some(interior) = &self.interior {
            interior.exclude(map);
        }

        self.selection.clear();
        if let [source] = self.image.sources[..] {
            let map = &self.maps[source];
            let values = map.values(self.image.standardised);
            match map.interior() {
                None => self.selection.extend_from_slice(values),
                Some(interior) => self.selection.extend(interior.inside(values)),
            }
        } else {
            self.selection.resize(map.len(), 0.0);
            let out = &mut self.selection;
            self.image.compute(&self.maps, &mut self.upsample, out);
            if let Some(interior) = &self.interior {
                let mut cells = interior.cells().iter();
                self.selection
                    .retain(|_| cells.next().is_some_and(|inside| *inside));
            }
        }
        self.aggregation.score(&mut self.selection)
    }

    /// Smooths and standardises the maps of the sources whose last tile was taken in, as
    /// [`Scorer::finish`] does too.
    ///
    /// # Errors
    /// Tiles that are missing, NaN or an infinity in the maps.
    pub(crate) fn post_process(&mut self) -> Result<(), ScoringError> {
        let added = std::mem::take(&mut self.added);
        if added != self.tiles {
            return Err(ScoringError::Contradiction(format!(
                "found {added} of the frame's {} tiles: hand over each",
                self.tiles
            )));
        }
        self.maps
            .iter_mut()
            .filter(|map| self.subset.has(map))
            .try_for_each(SourceMap::post_process)
    }

    /// The tensors that score and map are made of.
    pub(crate) fn scored_tensors(&self) -> Vec<&str> {
        let scored = self.maps.iter().filter(|map| map.is_scored());
        scored.flat_map(|map| map.source().tensors()).collect()
    }

    /// The tensors that the sources read.
    pub(crate) fn tensors(&self) -> Vec<&str> {
        let sources = self.maps.iter().map(SourceMap::source);
        sources.flat_map(|source| source.tensors()).collect()
    }

    /// Number of values of the anomaly map: H·W of the canvas.
    pub fn positions(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Rows and columns of the canvas that a cell of the anomaly map covers: of its finest source,
    /// since in a mean of several that one draws the edges.
    pub(crate) fn cell(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let sources = self.map.sources.iter();
            let cells = sources.map(|&source| self.maps[source].shape()[axis]).max();
            self.size[axis].div_ceil(cells.unwrap_or(1).max(1))
        })
    }

    /// Which sources speak against a part of the last frame, the strongest first: `[x, y, width,
    /// height]` in pixels of the canvas. Sources without statistics are left out, and cells that
    /// the mask leaves out, unless there are no others.
    pub fn source_shares(&self, part: [usize; 4]) -> Vec<SourceShare> {
        let maps = self.maps.iter();
        let mut shares: Vec<SourceShare> = maps
            .filter_map(|map| Some((map.name(), map.largest_z(part, self.size)?)))
            .map(|(name, z)| SourceShare {
                source: name.to_owned(),
                z,
                share: 0.0,
            })
            .collect();
        let sum: f32 = shares.iter().map(|share| share.z.max(0.0)).sum();
        if sum > 0.0 {
            for share in &mut shares {
                share.share = share.z.max(0.0) / sum;
            }
        }
        shares.sort_by(|a, b| b.z.total_cmp(&a.z));
        shares
    }
}

#[cfg(test)]
mod tests;
