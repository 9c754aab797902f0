//! The structure of a variational autoencoder: encoder, decoder and head of each preset.

mod fully_convolutional;
mod head;
mod over_features;
mod preset;
mod small;

use std::collections::BTreeMap;

use candle_core::{D, Device, Result, Tensor};
use edge_vae::vae::{Likelihood, VaeSpec};

pub use head::{Head, HeadOutput, INPUT, LOGITS, RECONSTRUCTION, Step};

use crate::{
    nn::{Layer, Mode, Parameters, ops},
    options::Preset,
};

/// Bounds of the posterior's and the decoder's log-variance; the soft clamp of
/// [`ops::soft_clamp`] keeps a gradient everywhere.
pub const LOG_VARIANCE_BOUNDS: (f64, f64) = (-10.0, 4.0);

/// Structure of a network; the values are in [`Parameters`].
#[derive(Clone, Debug)]
pub struct Network {
    spec: VaeSpec,
    encoder: Vec<Layer>,
    decoder: Vec<Layer>,
    head: Option<Head>,
}

/// What the encoder makes of pictures.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Mean of the posterior, N×L or N×h×w×L.
    pub mean: Tensor,
    /// Log-variance of the posterior, of the same shape.
    pub log_variance: Tensor,
    /// Feature maps by name, N×h×w×C each.
    pub features: BTreeMap<&'static str, Tensor>,
}

/// Parameters of p(x|z), `N×H×W×C` each.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Logits where the likelihood is Bernoulli, else the mean.
    pub location: Tensor,
    /// Log-variance where it is learned.
    pub log_variance: Option<Tensor>,
}

impl Observation {
    /// The mean of p(x|z), `N×H×W×C`, of a network with `likelihood`.
    ///
    /// # Errors
    /// The device has no memory left.
    pub fn reconstruction(&self, likelihood: Likelihood) -> Result<Tensor> {
        match likelihood {
            Likelihood::Bernoulli => (self.location.neg()?.exp()? + 1.0)?.recip(),
            Likelihood::Gaussian { .. } | Likelihood::GaussianLearned => Ok(self.location.clone()),
        }
    }
}

impl Network {
    /// The network of `preset` for these shapes, without a head.
    pub fn new(preset: Preset, spec: VaeSpec) -> Self {
        let (encoder, decoder) = preset::layers(preset, &spec);
        Self {
            spec,
            encoder,
            decoder,
            head: None,
        }
    }

    /// The same with a head, where `preset` detects.
    pub fn with_head(preset: Preset, spec: VaeSpec) -> Self {
        let head = preset::widths(preset).map(|widths| Head::new(&widths, spec.channels));
        Self {
            head,
            ..Self::new(preset, spec)
        }
    }

    /// The network of a VAE over feature vectors, whose `spec` has their principal components as
    /// channels and a latent map of a quarter of the grid's sides.
    pub fn of_features(spec: VaeSpec) -> Self {
        let (encoder, decoder) = over_features::layers(&spec);
        Self {
            spec,
            encoder,
            decoder,
            head: None,
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

    /// The head, where there is one.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Fresh parameters, drawn under `seed`.
    ///
    /// # Errors
    /// The device has no memory left.
    pub fn parameters(&self, seed: u64, device: &Device) -> Result<Parameters> {
        let head = self.head.iter().flat_map(Head::steps);
        let layers = self.encoder.iter().chain(&self.decoder);
        let layers = layers.chain(head.map(|step| &step.layer));
        let weights: Vec<_> = layers.clone().flat_map(Layer::weights).collect();
        let norms: Vec<_> = layers.filter_map(Layer::norm).collect();
        Parameters::new(&weights, &norms, seed, device)
    }

    /// Posterior and features of `x`, `N×H×W×C`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn encode(&self, x: &Tensor, parameters: &Parameters, mode: &mut Mode) -> Result<Encoded> {
        let mut features = BTreeMap::new();
        let both = run(&self.encoder, x, parameters, mode, &mut features)?;
        let length = both.dim(D::Minus1)? / 2;
        let mean = both.narrow(D::Minus1, 0, length)?.contiguous()?;
        let log_variance = both.narrow(D::Minus1, length, length)?.contiguous()?;
        let (low, high) = LOG_VARIANCE_BOUNDS;
        Ok(Encoded {
            mean,
            log_variance: ops::soft_clamp(&log_variance, low, high)?,
            features,
        })
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
        let planes = run(&self.decoder, z, parameters, mode, &mut BTreeMap::new())?;
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

/// Runs one layer after the other; what [`Layer::Tap`] hands out goes to `taps`.
fn run(
    layers: &[Layer],
    x: &Tensor,
    parameters: &Parameters,
    mode: &mut Mode,
    taps: &mut BTreeMap<&'static str, Tensor>,
) -> Result<Tensor> {
    let mut x = x.clone();
    for layer in layers {
        x = layer.forward(&[&x], parameters, mode)?;
        if let Layer::Tap { name, .. } = layer {
            taps.insert(name, x.clone());
        }
    }
    Ok(x)
}
