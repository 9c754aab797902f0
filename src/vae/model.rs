//! The two networks of a VAE, checked against what the bundle says of them.

use std::fmt;

use super::network::{Expected, FeatureMap, Network};
use super::{Likelihood, VaeError, VaeSpec};
use crate::backend::Graph;

/// Encoder and decoder of one batch size.
pub struct Vae {
    spec: VaeSpec,
    batch: usize,
    encoder: Network,
    decoder: Network,
    /// Posterior of the last [`Vae::reconstruct`].
    mean: Vec<f32>,
    log_variance: Vec<f32>,
    decoded: Decoded,
}

/// What the decoder gives for a batch. The buffers are reused from call to call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Mean of p(x|z), N×C×H×W, in units of the input tensor.
    pub reconstruction: Vec<f32>,
    /// Logits of p(x|z), N×C×H×W; empty unless the likelihood is Bernoulli.
    pub logits: Vec<f32>,
    /// Log-variance of p(x|z), N×C×H×W; empty unless the likelihood is a Gaussian of learned
    /// variance.
    pub log_variance: Vec<f32>,
}

impl Vae {
    /// Joins two loaded graphs.
    ///
    /// # Errors
    /// Inputs or outputs of other names or shapes than [`VaeSpec`] tells, and graphs of different
    /// batch sizes. The outputs may come in any order. The encoder may have further outputs, maps
    /// N×C×h×w called `features_…`: see [`Vae::features`].
    pub fn new(
        spec: VaeSpec,
        encoder: Box<dyn Graph>,
        decoder: Box<dyn Graph>,
    ) -> Result<Self, VaeError> {
        let batch = encoder
            .inputs()
            .first()
            .and_then(|input| input.shape.first().copied())
            .unwrap_or(0);
        let with_batch = |shape: &[usize]| [&[batch], shape].concat();
        let picture = with_batch(&spec.input_shape());
        let latent = with_batch(&spec.latent.shape());
        let second = match spec.likelihood {
            Likelihood::Bernoulli => Some("logits"),
            Likelihood::Gaussian { .. } => None,
            Likelihood::GaussianLearned => Some("log_variance"),
        };
        let encoder = Network::new(
            encoder,
            &Expected {
                network: "encoder",
                input: "input",
                input_shape: &picture,
                first: "mean",
                second: Some("log_variance"),
                output_shape: &latent,
                features: true,
            },
        )?;
        let decoder = Network::new(
            decoder,
            &Expected {
                network: "decoder",
                input: "latent",
                input_shape: &latent,
                first: "reconstruction",
                second,
                output_shape: &picture,
                features: false,
            },
        )?;
        Ok(Self {
            spec,
            batch,
            mean: vec![0.0; encoder.first.len],
            log_variance: vec![0.0; encoder.first.len],
            decoded: Decoded::default(),
            encoder,
            decoder,
        })
    }

    /// Frames per run, N.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Shapes and likelihood.
    pub fn spec(&self) -> &VaeSpec {
        &self.spec
    }

    /// A value of the encoder file's `metadata_props`.
    pub fn encoder_metadata(&self, key: &str) -> Option<String> {
        self.encoder.graph.metadata(key)
    }

    /// A value of the decoder file's `metadata_props`.
    pub fn decoder_metadata(&self, key: &str) -> Option<String> {
        self.decoder.graph.metadata(key)
    }

    /// Mean and log-variance of the posterior q(z|x), both N×L or N×L×h×w, of `input` N×C×H×W.
    ///
    /// # Errors
    /// Buffers of other lengths, NaN or infinite values in or out, and failures of the engine.
    pub fn encode_into(
        &mut self,
        input: &[f32],
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) -> Result<(), VaeError> {
        self.encoder.run(input, mean, Some(log_variance))
    }

    /// What the decoder makes of `latent` N×L or N×L×h×w; `out` is resized where it does not fit.
    ///
    /// # Errors
    /// As [`Vae::encode_into`].
    pub fn decode_into(&mut self, latent: &[f32], out: &mut Decoded) -> Result<(), VaeError> {
        decode(&self.spec, &mut self.decoder, latent, out)
    }

    /// Decodes the posterior mean of `input` N×C×H×W, in buffers of its own.
    ///
    /// # Errors
    /// As [`Vae::encode_into`].
    pub fn reconstruct(&mut self, input: &[f32]) -> Result<&Decoded, VaeError> {
        self.encoder
            .run(input, &mut self.mean, Some(&mut self.log_variance))?;
        decode(&self.spec, &mut self.decoder, &self.mean, &mut self.decoded)?;
        Ok(&self.decoded)
    }

    /// The encoder's feature maps of the last batch encoded, in the order of the file; zeros before
    /// the first, and none where the encoder gives none.
    pub fn features(&self) -> &[FeatureMap] {
        &self.encoder.features
    }

    /// Mean and log-variance of the posterior that the last [`Vae::reconstruct`] found.
    pub fn last_posterior(&self) -> (&[f32], &[f32]) {
        (&self.mean, &self.log_variance)
    }
}

impl fmt::Debug for Vae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vae")
            .field("spec", &self.spec)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

fn decode(
    spec: &VaeSpec,
    decoder: &mut Network,
    latent: &[f32],
    out: &mut Decoded,
) -> Result<(), VaeError> {
    let len = decoder.first.len;
    let (logits, log_variance) = match spec.likelihood {
        Likelihood::Bernoulli => (len, 0),
        Likelihood::Gaussian { .. } => (0, 0),
        Likelihood::GaussianLearned => (0, len),
    };
    out.reconstruction.resize(len, 0.0);
    out.logits.resize(logits, 0.0);
    out.log_variance.resize(log_variance, 0.0);
    let second = match spec.likelihood {
        Likelihood::Bernoulli => Some(&mut out.logits[..]),
        Likelihood::Gaussian { .. } => None,
        Likelihood::GaussianLearned => Some(&mut out.log_variance[..]),
    };
    decoder.run(latent, &mut out.reconstruction, second)
}

#[cfg(test)]
mod tests;
