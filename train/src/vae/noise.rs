//! Noise of the reparameterisation.

use anyhow::Result;
use candle_core::{Device, Tensor};
use edge_vae::vae::{Latent, VaeSpec};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use crate::random::{Purpose, stream};

/// What decides the noise of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise<'a> {
    /// Shapes of the model.
    pub spec: &'a VaeSpec,
    /// Side of the crops that are trained on; without it whole tensors.
    pub crop: Option<usize>,
    /// Seed of the run.
    pub seed: u64,
    /// Where the network is.
    pub device: &'a Device,
}

/// What a draw is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    /// Training or validation.
    pub purpose: Purpose,
    /// Number of the first frame, which never repeats for a purpose of a run.
    pub counter: u64,
    /// Frames.
    pub frames: usize,
    /// Samples of each.
    pub samples: usize,
}

impl Noise<'_> {
    /// Standard normal noise, N×L or N×h×w×L with N = samples·frames: the first sample of each
    /// frame, then the second of each, and so on.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(super) fn draw(&self, draw: Draw) -> Result<Tensor> {
        let most = self.crop.unwrap_or(usize::MAX);
        let latent = match self.spec.latent {
            // A crop has a map of its own size.
            Latent::Map {
                channels,
                height,
                width,
            } => Latent::Map {
                channels,
                height: self.spec.height.min(most) * height / self.spec.height,
                width: self.spec.width.min(most) * width / self.spec.width,
            },
            vector => vector,
        };
        let mut shape = latent.shape();
        let length: usize = shape.iter().product();
        // Channels come last in training.
        shape.rotate_left(1);
        let count = draw.samples * draw.frames;
        shape.insert(0, count);
        let mut values = vec![0.0_f32; count * length];
        let each = values.par_chunks_mut(length).enumerate();
        each.for_each(|(index, out)| {
            let (sample, frame) = (index / draw.frames, index % draw.frames);
            // Samples lie far beyond the counters of frames.
            let counter = ((sample as u64) << 48) + draw.counter + frame as u64;
            let mut random = stream(self.seed, draw.purpose, counter);
            out.fill_with(|| StandardNormal.sample(&mut random));
        });
        Ok(Tensor::from_vec(values, shape, self.device)?)
    }
}
