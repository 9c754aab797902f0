//! The variational autoencoder in training: layers, parameters, presets.

mod layer;
mod parameters;
mod preset;
mod small;

use candle_core::{D, Device, Result, Tensor};
use edge_vae::vae::{Likelihood, VaeSpec};

pub use layer::{Layer, NORM_EPSILON};
pub use parameters::{Mode, Parameters, Snapshot};
pub use preset::{LatentChoice, Preset};

use crate::ops;

/// Bounds of the posterior's and the decoder's log-variance; the soft clamp of
/// [`ops::soft_clamp`] keeps a gradient everywhere.
pub const LOG_VARIANCE_BOUNDS: (f64, f64) = (-10.0, 4.0);

/// Structure of a network; the values are in [`Parameters`].
#[derive(Clone, Debug)]
pub struct Network {
    spec: VaeSpec,
    encoder: Vec<Layer>,
    decoder: Vec<Layer>,
}

/// Parameters of p(x|z), `N×H×W×C` each.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Logits where the likelihood is Bernoulli, else the mean.
    pub location: Tensor,
    /// Log-variance where it is learned.
    pub log_variance: Option<Tensor>,
}

impl Network {
    /// The network of `preset` for these shapes.
    pub fn new(preset: Preset, spec: VaeSpec) -> Self {
        let (encoder, decoder) = preset.layers(&spec);
        Self {
            spec,
            encoder,
            decoder,
        }
    }

    /// Shapes and likelihood.
    pub fn spec(&self) -> &VaeSpec {
        &self.spec
    }

    /// Layers of the encoder.
    pub fn encoder(&self) -> &[Layer] {
        &self.encoder
    }

    /// Layers of the decoder.
    pub fn decoder(&self) -> &[Layer] {
        &self.decoder
    }

    /// Fresh parameters, drawn under `seed`.
    ///
    /// # Errors
    /// The device has no memory left.
    pub fn parameters(&self, seed: u64, device: &Device) -> Result<Parameters> {
        Parameters::new(self.encoder.iter().chain(&self.decoder), seed, device)
    }

    /// Posterior mean and log-variance of `x`, `N×H×W×C`; each `N×L` or `N×h×w×L`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn encode(
        &self,
        x: &Tensor,
        parameters: &Parameters,
        mode: &mut Mode,
    ) -> Result<(Tensor, Tensor)> {
        let both = run(&self.encoder, x, parameters, mode)?;
        let length = both.dim(D::Minus1)? / 2;
        let mean = both.narrow(D::Minus1, 0, length)?.contiguous()?;
        let log_variance = both.narrow(D::Minus1, length, length)?.contiguous()?;
        let (low, high) = LOG_VARIANCE_BOUNDS;
        Ok((mean, ops::soft_clamp(&log_variance, low, high)?))
    }

    /// Parameters of p(x|z).
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn decode(
        &self,
        z: &Tensor,
        parameters: &Parameters,
        mode: &mut Mode,
    ) -> Result<Observation> {
        let planes = run(&self.decoder, z, parameters, mode)?;
        if self.spec.likelihood != Likelihood::GaussianLearned {
            return Ok(Observation {
                location: planes,
                log_variance: None,
            });
        }
        let channels = self.spec.channels;
        let location = planes.narrow(D::Minus1, 0, channels)?.contiguous()?;
        let log_variance = planes.narrow(D::Minus1, channels, channels)?.contiguous()?;
        let (low, high) = LOG_VARIANCE_BOUNDS;
        Ok(Observation {
            location,
            log_variance: Some(ops::soft_clamp(&log_variance, low, high)?),
        })
    }
}

fn run(layers: &[Layer], x: &Tensor, parameters: &Parameters, mode: &mut Mode) -> Result<Tensor> {
    let mut x = x.clone();
    for layer in layers {
        x = layer.forward(&x, parameters, mode)?;
    }
    Ok(x)
}
