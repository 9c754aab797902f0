//! That the exported graphs compute what the trained network does.

use std::{collections::BTreeMap, fmt};

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use edge_vae::{
    backend::Graph,
    vae::{Decoded, Likelihood, Vae},
};

use crate::{
    nn::{Mode, Parameters, Snapshot},
    vae::{INPUT, Network, RECONSTRUCTION},
};

/// Largest difference between training and runtime that an export may have: absolute, for values
/// beyond 1 relative.
pub const TOLERANCE: f64 = 1e-4;

/// The graphs of a bundle, loaded for a batch of 1.
pub struct LoadedGraphs {
    /// Encoder and decoder.
    pub vae: Vae,
    /// The head, where the network has one.
    pub head: Option<Box<dyn Graph>>,
}

impl fmt::Debug for LoadedGraphs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedGraphs")
            .field("vae", &self.vae)
            .field("head", &self.head.is_some())
            .finish()
    }
}

/// Runs `frames` (C×H×W each) through the trained network and through `graphs` and gives the
/// largest difference of any output: posterior mean and log-variance, features, what the decoder
/// makes of the posterior mean, and what the head makes of it all.
///
/// # Errors
/// A difference above [`TOLERANCE`], which is named, and failures of either side.
pub fn verify(
    network: &Network,
    parameters: &Parameters,
    values: &Snapshot,
    graphs: &mut LoadedGraphs,
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
        let encoded = network.encode(&x, &parameters, mode)?;
        let observation = network.decode(&encoded.mean, &parameters, mode)?;

        let vae = &mut graphs.vae;
        vae.encode_into(frame, &mut mean, &mut log_variance)?;
        // The decoder is compared on the same z.
        vae.decode_into(&planar(&encoded.mean)?, &mut decoded)?;

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
        compare("mean", &encoded.mean, &mean)?;
        compare("log_variance", &encoded.log_variance, &log_variance)?;
        for (name, trained) in &encoded.features {
            let exported = graphs.vae.features().iter().find(|map| map.name == *name);
            let values = exported.map_or(&[][..], |map| &map.values[..]);
            compare(name, trained, values)?;
        }
        match spec.likelihood {
            Likelihood::Bernoulli => {
                compare("logits", &observation.location, &decoded.logits)?;
            }
            Likelihood::Gaussian { .. } | Likelihood::GaussianLearned => {}
        }
        let reconstruction = observation.reconstruction(spec.likelihood)?;
        compare(RECONSTRUCTION, &reconstruction, &decoded.reconstruction)?;
        if let Some(trained) = &observation.log_variance {
            compare("decoder's log_variance", trained, &decoded.log_variance)?;
        }
        if let Some(head) = network.head() {
            let mut tensors = encoded.features;
            tensors.insert(INPUT, x);
            tensors.insert(RECONSTRUCTION, reconstruction);
            // As the decoder, the head is compared on the same inputs.
            let exported = match &mut graphs.head {
                Some(graph) => run_head(graph.as_mut(), &tensors)?,
                None => bail!("the network has a head, its graph is missing"),
            };
            head.forward(&mut tensors, &parameters, mode)?;
            for output in head.outputs() {
                let values = exported.get(output.name).map_or(&[][..], Vec::as_slice);
                compare(output.name, &tensors[output.name], values)?;
            }
        }
    }
    Ok(worst)
}

/// The outputs by name of `graph`, whose inputs are among `tensors`.
fn run_head(
    graph: &mut dyn Graph,
    tensors: &BTreeMap<&'static str, Tensor>,
) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut inputs = Vec::new();
    for input in graph.inputs() {
        match tensors.get(input.name.as_str()) {
            Some(t) => inputs.push(planar(t)?),
            None => bail!("the head's graph wants {}, which was not made", input.name),
        }
    }
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs: Vec<Vec<f32>> = graph
        .outputs()
        .iter()
        .map(|output| vec![0.0; output.len()])
        .collect();
    let mut buffers: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    graph.run(&inputs, &mut buffers)?;
    let names = graph.outputs().iter().map(|output| output.name.clone());
    Ok(names.zip(outputs).collect())
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
        backend::{BackendError, BackendKind, Engine, EngineOptions},
        vae::Latent,
    };
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::{
        export::NetworkGraphs,
        options::{LatentChoice, Preset},
        random::{Purpose, stream},
    };

    fn engine(kind: BackendKind) -> Option<Engine> {
        let options = EngineOptions {
            backend: Some(kind),
            device: edge_vae::backend::Device::Cpu,
            ..EngineOptions::default()
        };
        match Engine::open(&options) {
            Err(BackendError::LibraryMissing { .. }) => {
                eprintln!("SKIPPED: no ONNX Runtime; name it by ORT_DYLIB_PATH");
                None
            }
            engine => Some(engine.unwrap()),
        }
    }

    /// Random weights and running statistics through every engine.
    fn agree(
        preset: Preset,
        size: [usize; 2],
        channels: usize,
        likelihood: Likelihood,
        latent: Option<LatentChoice>,
    ) {
        let device = Device::Cpu;
        let network = Network::with_head(preset, preset.spec(size, channels, likelihood, latent));
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
        let values = values.as_stored().unwrap();
        parameters = parameters.with(&values).unwrap();
        let spec = network.spec().clone();
        let exported = NetworkGraphs::export(&network, &values, "test").unwrap();
        let load = |engine: &Engine| {
            let load = |bytes: &[u8], name: &str| engine.load(bytes, name, 1).unwrap();
            let encoder = load(&exported.encoder, "encoder.onnx");
            let decoder = load(&exported.decoder, "decoder.onnx");
            LoadedGraphs {
                vae: Vae::new(spec.clone(), encoder, decoder).unwrap(),
                head: exported.head.as_ref().map(|head| load(head, "head.onnx")),
            }
        };
        let frame: Vec<f32> = (0..spec.dimensions())
            .map(|i| (i as f32 * 0.37).sin().abs())
            .collect();
        let verified = |values: &Snapshot, graphs: &mut LoadedGraphs| {
            let frames = [&frame[..]];
            verify(&network, &parameters, values, graphs, &frames, &device)
        };
        for kind in BackendKind::ALL {
            if let Some(engine) = engine(kind) {
                let worst = verified(&values, &mut load(&engine)).unwrap();
                assert!(worst < TOLERANCE, "{kind}: {worst}");
            }
        }

        let Some(tract) = engine(BackendKind::Tract) else {
            return;
        };
        let mut loaded = load(&tract);

        // A single changed weight is noticed, whatever graph it is in.
        let last = match network.head() {
            None => vec!["decoder.f.weight"],
            Some(_) => vec![
                "encoder.posterior.weight",
                "encoder.block_4.0.weight",
                "decoder.planes.weight",
                "head.join_4.residue.weight",
                "head.logits.weight",
            ],
        };
        for name in last {
            let mut changed = values.clone();
            let weight = (&values.0[name] * 1.01).unwrap();
            changed.0.insert(name.to_owned(), weight);
            let changed = changed.as_stored().unwrap();
            let refused = verified(&changed, &mut loaded).unwrap_err().to_string();
            assert!(refused.contains("disagrees"), "{name}: {refused}");
        }
    }

    #[test]
    fn networks_of_random_shapes_agree_on_every_engine() {
        let mut random = stream(5, Purpose::Weights, 0);
        for _ in 0..6 {
            let mut side = || 16 * random.random_range(1..6_usize);
            let size = [side(), side()];
            let channels = [1, 3][random.random_range(0..2_usize)];
            let likelihood = [
                Likelihood::Bernoulli,
                Likelihood::GaussianLearned,
                Likelihood::Gaussian { sigma: 0.2 },
            ][random.random_range(0..3_usize)];
            let length = random.random_range(1..20_usize);
            let latent = [
                None,
                Some(LatentChoice::Map(length)),
                Some(LatentChoice::Vector(length)),
            ][random.random_range(0..3_usize)];
            eprintln!("{size:?} {channels} {likelihood:?} {latent:?}");
            agree(Preset::Edge, size, channels, likelihood, latent);
        }
    }

    #[test]
    fn digits_with_a_vector() {
        agree(Preset::Small28, [28; 2], 1, Likelihood::Bernoulli, None);
    }

    #[test]
    fn digits_with_a_map() {
        let latent = Some(LatentChoice::Map(8));
        agree(
            Preset::Small28,
            [28; 2],
            1,
            Likelihood::Gaussian { sigma: 0.5 },
            latent,
        );
    }

    #[test]
    fn colour_with_a_map() {
        agree(Preset::Edge, [64, 96], 3, Likelihood::GaussianLearned, None);
    }

    #[test]
    fn grey_with_a_vector() {
        let latent = Some(LatentChoice::Vector(64));
        agree(
            Preset::Edge,
            [64; 2],
            1,
            Likelihood::GaussianLearned,
            latent,
        );
        let spec = Preset::Edge.spec([64; 2], 1, Likelihood::GaussianLearned, latent);
        assert_eq!(spec.latent, Latent::Vector { length: 64 });
    }

    #[test]
    fn wider_networks() {
        agree(Preset::Balanced, [32, 80], 1, Likelihood::Bernoulli, None);
        let fixed = Likelihood::Gaussian { sigma: 0.2 };
        agree(Preset::Best, [96, 32], 3, fixed, None);
    }
}
