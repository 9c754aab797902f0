//! Proof that the exported graphs compute what the trained network does.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use edge_vae::vae::{Decoded, Likelihood, Vae};

use crate::network::{Mode, Network, Parameters, Snapshot};

/// Largest difference between training and runtime that an export may have: absolute, for values
/// beyond 1 relative.
pub const TOLERANCE: f64 = 1e-4;

/// Runs `frames` (C×H×W each) through the trained network and through `vae` (batch 1) and gives
/// the largest difference of any output: posterior mean and log-variance, and what the decoder
/// makes of the posterior mean.
///
/// # Errors
/// A difference above [`TOLERANCE`], which is named, and failures of either side.
pub fn prove(
    network: &Network,
    parameters: &Parameters,
    values: &Snapshot,
    vae: &mut Vae,
    frames: &[&[f32]],
    device: &Device,
) -> Result<f64> {
    let parameters = parameters.with(values)?;
    let spec = network.spec().clone();
    let [channels, height, width] = spec.input_shape();
    let mut worst = 0.0_f64;
    let length = spec.latent.dimensions();
    let (mut mean, mut log_variance) = (vec![0.0; length], vec![0.0; length]);
    let mut decoded = Decoded::default();
    for frame in frames {
        let x = Tensor::from_slice(frame, (1, channels, height, width), device)?
            .permute((0, 2, 3, 1))?
            .contiguous()?;
        let mode = &mut Mode::Evaluate;
        let (trained_mean, trained_log_variance) = network.encode(&x, &parameters, mode)?;
        let observation = network.decode(&trained_mean, &parameters, mode)?;

        vae.encode_into(frame, &mut mean, &mut log_variance)?;
        // The decoder is compared on the same z.
        vae.decode_into(&planar(&trained_mean)?, &mut decoded)?;

        let mut compare = |name: &str, trained: &Tensor, exported: &[f32]| -> Result<()> {
            let difference = difference(&planar(trained)?, exported);
            if difference.is_nan() || difference > TOLERANCE {
                bail!(
                    "the exported graph disagrees with the trained network: `{name}` differs by \
                     {difference:.2e}, more than {TOLERANCE:.0e}"
                );
            }
            worst = worst.max(difference);
            Ok(())
        };
        compare("mean", &trained_mean, &mean)?;
        compare("log_variance", &trained_log_variance, &log_variance)?;
        match spec.likelihood {
            Likelihood::Bernoulli => {
                compare("logits", &observation.location, &decoded.logits)?;
                let probability = sigmoid(&observation.location)?;
                compare("reconstruction", &probability, &decoded.reconstruction)?;
            }
            Likelihood::Gaussian { .. } | Likelihood::GaussianLearned => {
                compare(
                    "reconstruction",
                    &observation.location,
                    &decoded.reconstruction,
                )?;
            }
        }
        if let Some(trained) = &observation.log_variance {
            compare("decoder's log_variance", trained, &decoded.log_variance)?;
        }
    }
    Ok(worst)
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(((x.neg()?.exp()? + 1.0)?).recip()?)
}

/// The values of 1×H×W×C as C×H×W; vectors stay as they are.
fn planar(t: &Tensor) -> Result<Vec<f32>> {
    let t = if t.rank() == 4 {
        t.permute((0, 3, 1, 2))?
    } else {
        t.clone()
    };
    Ok(t.flatten_all()?.to_vec1()?)
}

fn difference(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from((a - b).abs()) / f64::from(a.abs()).max(1.0))
        .fold(0.0, |worst, d| if d <= worst { worst } else { d })
}

#[cfg(test)]
mod tests {
    use edge_vae::{
        backend::{BackendKind, Engine, EngineOptions},
        vae::Latent,
    };
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::{
        export::graphs,
        network::{LatentChoice, Preset},
        random::{Purpose, stream},
    };

    /// Random weights and running statistics through tract.
    fn agree(
        preset: Preset,
        channels: usize,
        likelihood: Likelihood,
        latent: Option<LatentChoice>,
    ) {
        let device = Device::Cpu;
        let network = Network::new(preset, preset.spec(channels, likelihood, latent));
        let mut parameters = network.parameters(3, &device).unwrap();
        // Statistics and biases other than those of a fresh network.
        let mut random = stream(4, Purpose::Weights, 0);
        let mut values = parameters.snapshot().unwrap();
        for (name, t) in &mut values.0 {
            if !name.ends_with(".weight") {
                let noise: Vec<f32> = (0..t.elem_count())
                    .map(|_| StandardNormal.sample(&mut random))
                    .map(|n: f32| 0.1 * n)
                    .collect();
                let noise = Tensor::from_vec(noise, t.shape(), &device).unwrap();
                *t = (&*t + noise).unwrap();
            }
        }
        parameters = parameters.with(&values).unwrap();
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })
        .unwrap();
        let spec = network.spec().clone();
        let encoder = graphs::encoder(&network, &values, "test").unwrap();
        let decoder = graphs::decoder(&network, &values, "test").unwrap();
        let encoder = engine.load(&encoder, "encoder.onnx", 1).unwrap();
        let decoder = engine.load(&decoder, "decoder.onnx", 1).unwrap();
        let mut vae = Vae::new(spec.clone(), encoder, decoder).unwrap();
        let frame: Vec<f32> = (0..spec.dimensions())
            .map(|i| (i as f32 * 0.37).sin().abs())
            .collect();
        let worst = prove(&network, &parameters, &values, &mut vae, &[&frame], &device).unwrap();
        assert!(worst < TOLERANCE);

        // The proof notices a single changed weight.
        let name = "decoder.f.weight";
        let changed = (&values.0[name] * 1.01).unwrap();
        values.0.insert(name.to_owned(), changed);
        let refused = prove(&network, &parameters, &values, &mut vae, &[&frame], &device);
        assert!(refused.unwrap_err().to_string().contains("disagrees"));
    }

    #[test]
    fn digits_with_a_vector() {
        agree(Preset::Small28, 1, Likelihood::Bernoulli, None);
    }

    #[test]
    fn digits_with_a_map() {
        let latent = Some(LatentChoice::Map(8));
        agree(
            Preset::Small28,
            1,
            Likelihood::Gaussian { sigma: 0.5 },
            latent,
        );
    }

    #[test]
    fn colour_with_a_map() {
        agree(Preset::Medium128, 3, Likelihood::GaussianLearned, None);
    }

    #[test]
    fn grey_with_a_vector() {
        let latent = Some(LatentChoice::Vector(64));
        agree(Preset::Medium128, 1, Likelihood::GaussianLearned, latent);
        let spec = Preset::Medium128.spec(1, Likelihood::GaussianLearned, latent);
        assert_eq!(spec.latent, Latent::Vector { length: 64 });
    }
}
