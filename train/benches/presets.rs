//! Size and speed of the detection networks: parameters, multiply-adds, and the time of encoder,
//! decoder and head on one thread of each engine, at 128 and 256 pixels.
//!
//! `cargo bench --bench presets` measures what a release does. In the profile `dev` tract takes
//! 1.75 times as long, since its packing of patches is not inlined there; ONNX Runtime does not
//! mind.
//!
//! The engines run in turn, and the best of all rounds counts. On Linux it is the processor time of
//! the thread, which other work disturbs less than the clock. ONNX Runtime takes part where its
//! library is found (`ORT_DYLIB_PATH`). The argument `--rounds N` sets the number of rounds,
//! `edge`, `balanced` or `best` the network.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::Device;
use edge_vae::{
    backend::{BackendKind, Engine, EngineOptions, Graph},
    vae::{Latent, Likelihood, Vae},
};
use edge_vae_train::{
    export::graphs,
    nn::Layer,
    options::Preset,
    vae::{INPUT, Network, RECONSTRUCTION},
};

const PRESETS: [Preset; 3] = [Preset::Edge, Preset::Balanced, Preset::Best];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments
        .iter()
        .position(|argument| argument == "--rounds")
        .and_then(|place| arguments.get(place + 1))
        .map_or(Ok(20), |rounds| rounds.parse())
        .context("--rounds wants a number")?;
    let named: Vec<Preset> = PRESETS
        .into_iter()
        .filter(|preset| arguments.iter().any(|argument| argument == preset.name()))
        .collect();
    let presets = if named.is_empty() {
        &PRESETS[..]
    } else {
        &named
    };
    println!("preset | side | channels | parameters | MMAC | tract ms | ONNX Runtime ms | ratio");
    for &preset in presets {
        for (side, channels) in [(128, 1), (256, 1), (256, 3)] {
            let spec = preset.spec([side; 2], channels, Likelihood::GaussianLearned, None);
            let network = Network::with_head(preset, spec);
            let parameters = network.parameters(1, &Device::Cpu)?;
            let mut chains = Vec::new();
            for kind in BackendKind::ALL {
                match Chain::load(&network, kind) {
                    Ok(chain) => chains.push((kind, chain, f64::INFINITY)),
                    Err(error) => eprintln!("{kind} takes no part: {error:#}"),
                }
            }
            for _ in 0..rounds {
                for (_, chain, best) in &mut chains {
                    let began = thread_seconds();
                    chain.run()?;
                    *best = best.min((thread_seconds() - began) * 1e3);
                }
            }
            let time = |wanted| {
                let found = chains.iter().find(|(kind, ..)| *kind == wanted);
                found.map_or(f64::NAN, |(.., best)| *best)
            };
            let (tract, ort) = (time(BackendKind::Tract), time(BackendKind::Ort));
            println!(
                "{} | {side} | {channels} | {} | {:.0} | {tract:.2} | {ort:.2} | {:.2}",
                preset.name(),
                parameters.count(),
                multiply_adds(&network) as f64 / 1e6,
                tract / ort
            );
        }
    }
    Ok(())
}

/// Processor time of this thread so far; elsewhere than on Linux with the GNU C library the time of
/// day.
fn thread_seconds() -> f64 {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the clock's time is written to `time`, which lives until after the call.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        use std::time::{SystemTime, UNIX_EPOCH};
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().as_secs_f64()
    }
}

/// The graphs of one network on one engine.
struct Chain {
    vae: Vae,
    head: Box<dyn Graph>,
    input: Vec<f32>,
    outputs: Vec<Vec<f32>>,
}

impl Chain {
    fn load(network: &Network, kind: BackendKind) -> Result<Self> {
        let engine = Engine::open(&EngineOptions {
            backend: Some(kind),
            ..EngineOptions::default()
        })?;
        let values = network.parameters(1, &Device::Cpu)?.snapshot()?;
        let encoder = graphs::encoder(network, &values, "bench")?;
        let decoder = graphs::decoder(network, &values, "bench")?;
        let head = graphs::head(network, &values, "bench")?;
        let vae = Vae::new(
            network.spec().clone(),
            engine.load(&encoder, "encoder.onnx", 1)?,
            engine.load(&decoder, "decoder.onnx", 1)?,
        )?;
        let head = engine.load(&head, "head.onnx", 1)?;
        let dimensions = network.spec().dimensions();
        Ok(Self {
            outputs: head.outputs().iter().map(|o| vec![0.0; o.len()]).collect(),
            input: (0..dimensions).map(|i| (i as f32 * 0.37).sin()).collect(),
            vae,
            head,
        })
    }

    fn run(&mut self) -> Result<()> {
        let reconstruction = self.vae.reconstruct(&self.input)?.reconstruction.clone();
        let mut tensors = BTreeMap::from([
            (INPUT, self.input.as_slice()),
            (RECONSTRUCTION, reconstruction.as_slice()),
        ]);
        for map in self.vae.features() {
            tensors.insert(&map.name, &map.values);
        }
        let inputs: Vec<&[f32]> = self
            .head
            .inputs()
            .iter()
            .map(|input| tensors.get(input.name.as_str()).copied())
            .collect::<Option<_>>()
            .context("the head wants a tensor that the VAE does not make")?;
        let mut outputs: Vec<&mut [f32]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        Ok(self.head.run(&inputs, &mut outputs)?)
    }
}

/// Multiplications of one picture, of all graphs.
fn multiply_adds(network: &Network) -> usize {
    let spec = network.spec();
    let mut pixels = spec.height * spec.width;
    let mut total: usize = network
        .encoder()
        .iter()
        .map(|layer| of_layer(layer, &mut pixels))
        .sum();
    if let Latent::Map { height, width, .. } = spec.latent {
        pixels = height * width;
    }
    for layer in network.decoder() {
        total += of_layer(layer, &mut pixels);
    }
    // The head begins at a sixteenth of the side and each sum doubles it.
    pixels = spec.height * spec.width / 256;
    for step in network.head().iter().flat_map(|head| head.steps()) {
        if !matches!(step.layer, Layer::Residue { .. }) {
            total += of_layer(&step.layer, &mut pixels);
        }
    }
    total
}

/// Multiplications of a layer whose input has `pixels` positions, which become those of its output.
fn of_layer(layer: &Layer, pixels: &mut usize) -> usize {
    match layer {
        Layer::Conv {
            input,
            output,
            kernel,
            stride,
            ..
        } => {
            *pixels /= stride * stride;
            *pixels * input * output * kernel * kernel
        }
        Layer::ConvTranspose {
            input,
            output,
            kernel,
            stride,
            ..
        } => {
            let work = *pixels * input * output * kernel * kernel;
            *pixels *= stride * stride;
            work
        }
        Layer::Residual { channels, .. } => *pixels * channels * channels * 9,
        Layer::Dense { input, output, .. } => input.iter().product::<usize>() * output,
        Layer::DenseToMap { input, output, .. } => input * output.iter().product::<usize>(),
        Layer::PixelShuffle { factor } => {
            *pixels *= factor * factor;
            0
        }
        Layer::Join {
            branches, output, ..
        } => {
            if branches.iter().any(|branch| branch.up) {
                *pixels *= 4;
            }
            // A transposed convolution 2×2 of stride 2 has one tap for each pixel that it makes.
            branches
                .iter()
                .map(|branch| *pixels * branch.input * output)
                .sum()
        }
        Layer::Tap { .. } | Layer::Residue { .. } => 0,
    }
}
