//! Feature maps of the training frames and of their augmented samples, as densities read them.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use edge_vae::preprocess::Preprocessor;
use rand::Rng;

use super::{
    Features, FitData, FrameAugmentation, Maps, ModelPool, borrowed,
    density::{FeatureMap, FeatureSource},
    preprocessors,
    sampling::{AugmentedTile, SamplingParams},
};
use crate::{
    random::{Purpose, stream},
    reporter::Bar,
};

/// The network as a source of feature maps of some tiles and their augmented samples.
pub struct FrameFeatures<'a> {
    pool: &'a ModelPool<'a>,
    data: &'a FitData<'a>,
    features: Features,
    sampling: &'static SamplingParams,
    augmentation: FrameAugmentation,
    tiles: Vec<AugmentedTile>,
    /// What an augmented sample counts.
    weight: f64,
    /// How many of the tiles the network has seen.
    seen: usize,
    reading: Option<Bar<'a>>,
    /// Of the VAE over features.
    training: Option<Bar<'a>>,
}

impl<'a> FrameFeatures<'a> {
    /// The maps of the frames `frames`, with augmented samples.
    pub fn augmented(
        pool: &'a ModelPool<'a>,
        data: &'a FitData<'a>,
        features: Features,
        sampling: &'static SamplingParams,
        frames: &[usize],
    ) -> Self {
        let tiles = sampling.augmented(data, frames);
        Self::new(pool, data, features, sampling, tiles)
    }

    /// The maps of the frames `frames` as they are.
    pub fn plain(
        pool: &'a ModelPool<'a>,
        data: &'a FitData<'a>,
        features: Features,
        sampling: &'static SamplingParams,
        frames: &[usize],
    ) -> Self {
        let tiles = sampling.plain(data, frames);
        Self::new(pool, data, features, sampling, tiles)
    }

    fn new(
        pool: &'a ModelPool<'a>,
        data: &'a FitData<'a>,
        features: Features,
        sampling: &'static SamplingParams,
        tiles: Vec<AugmentedTile>,
    ) -> Self {
        let samples = tiles.iter().filter(|tile| tile.number > 0).count();
        let originals = tiles.len() - samples;
        Self {
            pool,
            data,
            features,
            sampling,
            augmentation: FrameAugmentation::to_fit(data.preprocess, originals),
            weight: sampling.weight_of_sample(samples, originals),
            seen: 0,
            reading: None,
            training: None,
            tiles,
        }
    }

    /// What is read, in order.
    pub fn tiles(&self) -> &[AugmentedTile] {
        &self.tiles
    }

    /// What decides how a sample is augmented.
    fn random(&self, tile: AugmentedTile) -> impl Rng + use<> {
        let counter = ((tile.frame as u64) << 32) + tile.number as u64;
        stream(self.data.seed, Purpose::AugmentedSample, counter)
    }

    /// The tensors of some `tiles` of one frame, which is read once more where it is augmented.
    fn tensors(
        &self,
        tiles: &[AugmentedTile],
        [plain, whole]: &mut [Preprocessor; 2],
    ) -> Result<Vec<Vec<f32>>> {
        let layout = self.data.layout.tiles();
        let original = match tiles.iter().find(|tile| tile.number > 0) {
            Some(tile) => {
                let frame = self.data.samples[tile.frame].frame()?;
                Some(self.augmentation.original(&frame, plain)?)
            }
            None => None,
        };
        let one = |tile: &AugmentedTile| {
            let canvas = match tile.number {
                0 => self.data.frames.get(tile.frame),
                _ => {
                    let original = original.as_ref().context("a sample of no frame")?;
                    let movement = &self.sampling.movement;
                    let random = &mut self.random(*tile);
                    self.augmentation
                        .prepare(original, movement, whole, random)?;
                    whole.canvas()
                }
            };
            layout
                .cut(tile.tile, canvas)
                .context("a canvas lacks a tile")
        };
        tiles.iter().map(one).collect()
    }
}

impl FeatureSource for FrameFeatures<'_> {
    fn step(&mut self, done: usize, total: usize) -> Result<()> {
        self.data.check_interrupted()?;
        let reporter = self.data.reporter;
        let bar = || reporter.bar(total, "steps of the VAE over features");
        self.training.get_or_insert_with(bar).set(done);
        Ok(())
    }

    fn frames(&self) -> usize {
        self.tiles.len()
    }

    fn originals(&self) -> usize {
        self.tiles.iter().filter(|tile| tile.number == 0).count()
    }

    fn weight(&self, frame: usize) -> f64 {
        match self.tiles[frame].number {
            0 => 1.0,
            _ => self.weight,
        }
    }

    fn mixture_weight(&self, frame: usize) -> f64 {
        let tile = self.tiles[frame];
        if tile.number == 0 {
            return self.weight(frame);
        }
        match self.augmentation.overexposes(&mut self.random(tile)) {
            true => 0.0,
            false => self.sampling.weight_in_mixture * self.weight(frame),
        }
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        let tiles: Vec<AugmentedTile> = frames.iter().map(|&place| self.tiles[place]).collect();
        let of_frames: Vec<&[AugmentedTile]> = tiles.chunk_by(|a, b| a.frame == b.frame).collect();
        // Preprocessors that no frame has at the moment.
        let idle = Mutex::new(Vec::new());
        let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (data, features) = (self.data, self.features);
        let shape = data.preprocess.shape();
        let reporter = data.reporter;
        let bar = || reporter.bar(self.tiles.len(), "frames and augmented samples read");
        let mut reading = self.reading.take().unwrap_or_else(bar);
        let (mut seen, this) = (self.seen, &*self);
        this.pool.each(
            of_frames.len(),
            |model, input| features.run(model, input),
            |place| {
                let spare = lock().pop();
                let mut prepare = match spare {
                    Some(prepare) => prepare,
                    None => preprocessors(data)?,
                };
                let tensors = this.tensors(of_frames[place], &mut prepare);
                lock().push(prepare);
                tensors
            },
            |_, model, input, maps: &mut Vec<Maps>| {
                maps.push(features.of(model, input, shape));
                Ok(())
            },
            |_, maps| {
                reading.set(seen);
                // The first is looked at once more.
                seen = (seen + maps.len()).min(this.tiles.len() - 1);
                maps.iter().try_for_each(|maps| visit(&borrowed(maps)))
            },
        )?;
        self.seen = seen;
        self.reading = (seen + 1 < self.tiles.len()).then_some(reading);
        Ok(())
    }
}
