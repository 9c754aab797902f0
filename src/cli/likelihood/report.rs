//! Estimates of frames and of all of them, for people and for programs.

use edge_vae::{
    preprocess::Normalise,
    vae::{
        Likelihood, MarginalEstimate, VaeSpec, bits_per_dimension, bits_per_dimension_bernoulli,
    },
};
use serde::Serialize;

use crate::cli::{
    output::{SCHEMA_VERSION, StandardOutput},
    reporter::count,
};

/// What is estimated of a frame, in nats but for the last two.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct FrameEstimate {
    log_likelihood: f64,
    elbo: f64,
    reconstruction: f64,
    kl: f64,
    bits_per_dimension: f64,
    effective_sample_size: f64,
}

#[derive(Serialize)]
struct FrameRecord<'a> {
    schema_version: u32,
    kind: &'static str,
    path: &'a str,
    #[serde(flatten)]
    estimate: FrameEstimate,
}

impl FrameEstimate {
    pub(super) fn of(
        estimate: &MarginalEstimate,
        vae: &VaeSpec,
        normalise: &Normalise,
    ) -> anyhow::Result<Self> {
        let dimensions = vae.dimensions();
        let log_likelihood = estimate.log_likelihood;
        Ok(Self {
            log_likelihood,
            elbo: estimate.elbo(),
            reconstruction: estimate.reconstruction,
            kl: estimate.kl,
            bits_per_dimension: match vae.likelihood {
                Likelihood::Bernoulli => bits_per_dimension_bernoulli(log_likelihood, dimensions),
                Likelihood::Gaussian { .. } | Likelihood::GaussianLearned => {
                    bits_per_dimension(log_likelihood, dimensions, &normalise.std, 256)
                }
            }?,
            effective_sample_size: estimate.effective_sample_size,
        })
    }

    pub(super) fn print(
        &self,
        out: &mut StandardOutput,
        json: bool,
        path: &str,
    ) -> anyhow::Result<()> {
        if json {
            return out.json(&FrameRecord {
                schema_version: SCHEMA_VERSION,
                kind: "frame",
                path,
                estimate: *self,
            });
        }
        out.line(format_args!(
            "log p {:>12.3}  ELBO {:>12.3}  reconstruction {:>12.3}  KL {:>9.3}  \
             bits/dim {:>8.4}  {path}",
            self.log_likelihood, self.elbo, self.reconstruction, self.kl, self.bits_per_dimension,
        ))
    }
}

/// A mean over frames and its standard error, s/√n; the error of a single frame is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Mean {
    mean: f64,
    standard_error: Option<f64>,
}

impl Mean {
    fn of(values: impl ExactSizeIterator<Item = f64> + Clone) -> Self {
        let count = values.len() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
        Self {
            mean,
            standard_error: (count > 1.0).then(|| (squares / (count - 1.0) / count).sqrt()),
        }
    }

    fn negative(self) -> Self {
        Self {
            mean: -self.mean,
            ..self
        }
    }
}

/// Means over all frames.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary<'a> {
    schema_version: u32,
    kind: &'static str,
    pub(super) model_id: &'a str,
    frames: usize,
    pub(super) failed: usize,
    pub(super) samples: usize,
    pub(super) seed: u64,
    pub(super) binarise: &'static str,
    negative_log_likelihood: Mean,
    log_likelihood: Mean,
    elbo: Mean,
    reconstruction: Mean,
    kl: Mean,
    bits_per_dimension: Mean,
    effective_sample_size: Mean,
    pub(super) seconds: f64,
}

impl Summary<'_> {
    /// The means; the caller fills in the rest.
    pub(super) fn of(estimates: &[FrameEstimate]) -> Self {
        let over = |value: fn(&FrameEstimate) -> f64| Mean::of(estimates.iter().map(value));
        let log_likelihood = over(|one| one.log_likelihood);
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "summary",
            frames: estimates.len(),
            negative_log_likelihood: log_likelihood.negative(),
            log_likelihood,
            elbo: over(|one| one.elbo),
            reconstruction: over(|one| one.reconstruction),
            kl: over(|one| one.kl),
            bits_per_dimension: over(|one| one.bits_per_dimension),
            effective_sample_size: over(|one| one.effective_sample_size),
            ..Self::default()
        }
    }

    pub(super) fn print(&self, out: &mut StandardOutput, json: bool) -> anyhow::Result<()> {
        if json {
            return out.json(self);
        }
        out.line(format_args!(
            "{} on {}, {} each, seed {}, binarisation {}",
            self.model_id,
            count(self.frames, "frame"),
            count(self.samples, "importance sample"),
            self.seed,
            self.binarise,
        ))?;
        for (name, value, unit) in [
            ("-log p(x)", self.negative_log_likelihood, " nats"),
            ("-ELBO", self.elbo.negative(), " nats"),
            ("-reconstruction", self.reconstruction.negative(), " nats"),
            ("KL", self.kl, " nats"),
            ("bits/dimension", self.bits_per_dimension, ""),
            ("effective samples", self.effective_sample_size, ""),
        ] {
            let error = value
                .standard_error
                .map_or_else(String::new, |error| format!(" ± {error:.4}"));
            out.line(format_args!("{name:<18} {:>12.4}{error}{unit}", value.mean))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_a_mean() {
        // Deviations −1.5, −0.5, 0.5, 1.5: s² = 5/3, s/√4 = 0.6455.
        let found = Mean::of([1.0, 2.0, 3.0, 4.0].into_iter());
        assert_eq!(found.mean, 2.5);
        assert!((found.standard_error.unwrap() - (5.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        assert_eq!(Mean::of([7.0].into_iter()).standard_error, None);
    }
}
