//! Times one training step of the network that `benches/training/README.md` describes.
//!
//! Prints one line, the step's milliseconds, per line on its standard input (so that a script can
//! run it in turn with another program); with the input closed or a terminal, runs twenty steps.
//! With `--cuda`, in a build with the feature `cuda`, on the first GPU.

use candle_core::{Device, Result, Tensor, Var};
use edge_vae_train::nn::ops::{
    Activation, batch_norm, conv_transpose2d, conv2d, gaussian_nll, kl_standard_normal, linear,
    reparameterise,
};
use edge_vae_train::nn::optimiser::{AdamW, AdamWSettings};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Instant;

const BATCH: usize = 16;
const SIDE: usize = 128;
const CHANNELS: [usize; 5] = [1, 32, 64, 128, 256];
const LATENT: usize = 128;
const COARSE_SIDE: usize = SIDE >> 4;
const FLAT: usize = COARSE_SIDE * COARSE_SIDE * CHANNELS[4];

struct Network {
    variables: BTreeMap<String, Var>,
    generator: Pcg64,
    device: Device,
}

impl Network {
    fn new(device: Device) -> Result<Self> {
        let mut network = Self {
            device,
            variables: BTreeMap::new(),
            generator: Pcg64::seed_from_u64(1),
        };
        for layer in 0..4 {
            let (few, many) = (CHANNELS[layer], CHANNELS[layer + 1]);
            network.layer(&format!("encoder.{layer}"), &[many, 4, 4, few], many, true)?;
            network.layer(
                &format!("decoder.{layer}"),
                &[many, 4, 4, few],
                few,
                layer > 0,
            )?;
        }
        network.layer("mean", &[LATENT, FLAT], LATENT, false)?;
        network.layer("log_variance", &[LATENT, FLAT], LATENT, false)?;
        network.layer("expand", &[FLAT, LATENT], FLAT, false)?;
        Ok(network)
    }

    fn normal(&mut self, shape: &[usize], deviation: f32) -> Result<Tensor> {
        let count = shape.iter().product();
        let numbers: Vec<f32> = StandardNormal
            .sample_iter(&mut self.generator)
            .take(count)
            .map(|x: f32| x * deviation)
            .collect();
        Tensor::from_vec(numbers, shape, &self.device)
    }

    fn layer(&mut self, name: &str, shape: &[usize], outputs: usize, norm: bool) -> Result<()> {
        let inputs = shape[1..].iter().product::<usize>() as f32;
        let kernel = self.normal(shape, 0.5 / inputs.sqrt())?;
        self.add(format!("{name}.kernel"), kernel)?;
        let zeros = Tensor::zeros(outputs, candle_core::DType::F32, &self.device)?;
        self.add(format!("{name}.bias"), zeros.clone())?;
        if norm {
            self.add(format!("{name}.gamma"), zeros.ones_like()?)?;
            self.add(format!("{name}.beta"), zeros)?;
        }
        Ok(())
    }

    fn add(&mut self, name: String, tensor: Tensor) -> Result<()> {
        self.variables.insert(name, Var::from_tensor(&tensor)?);
        Ok(())
    }

    fn variable(&self, name: &str, part: &str) -> &Tensor {
        &self.variables[&format!("{name}.{part}")]
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let (gamma, beta) = (self.variable(name, "gamma"), self.variable(name, "beta"));
        Ok(batch_norm(x, gamma, beta, 1e-5, Activation::Relu)?.0)
    }

    fn loss(&self, x: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let none = Activation::Identity;
        let mut h = x.clone();
        for layer in 0..4 {
            let name = format!("encoder.{layer}");
            let (kernel, bias) = (self.variable(&name, "kernel"), self.variable(&name, "bias"));
            h = self.norm(&conv2d(&h, kernel, Some(bias), 2, 1, none)?, &name)?;
        }
        let h = h.reshape((BATCH, FLAT))?;
        let dense = |x: &Tensor, name: &str| {
            linear(
                x,
                self.variable(name, "kernel"),
                Some(self.variable(name, "bias")),
                none,
            )
        };
        let (mean, log_variance) = (dense(&h, "mean")?, dense(&h, "log_variance")?);
        let sample = reparameterise(&mean, &log_variance, noise)?;
        let mut h =
            dense(&sample, "expand")?.reshape((BATCH, COARSE_SIDE, COARSE_SIDE, CHANNELS[4]))?;
        for layer in (0..4).rev() {
            let name = format!("decoder.{layer}");
            let (kernel, bias) = (self.variable(&name, "kernel"), self.variable(&name, "bias"));
            h = conv_transpose2d(&h, kernel, Some(bias), 2, 1, none)?;
            if layer > 0 {
                h = self.norm(&h, &name)?;
            }
        }
        let nll = gaussian_nll(x, &h, &h.zeros_like()?)?;
        (nll + kl_standard_normal(&mean, &log_variance)?)?.mean_all()
    }
}

fn main() -> Result<()> {
    edge_vae_train::nn::memory::keep_freed_memory();
    let device = match std::env::args().any(|argument| argument == "--cuda") {
        true => Device::new_cuda(0)?,
        false => Device::Cpu,
    };
    let mut network = Network::new(device.clone())?;
    let mut optimiser = AdamW::new(
        &network.variables,
        |name| name.ends_with("kernel"),
        AdamWSettings::default(),
    )?;
    let x = network.normal(&[BATCH, SIDE, SIDE, 1], 1.0)?;
    let mut step = || -> Result<f64> {
        let noise = network.normal(&[BATCH, LATENT], 1.0)?;
        let start = Instant::now();
        let loss = network.loss(&x, &noise)?;
        device.synchronize()?;
        let forward = start.elapsed();
        let grads = loss.backward()?;
        device.synchronize()?;
        let backward = start.elapsed();
        optimiser.step(&grads, 1e-3)?;
        // A GPU works on after the call.
        device.synchronize()?;
        let all = start.elapsed();
        if std::env::var_os("PARTS").is_some() {
            eprintln!(
                "forward {:.1} ms, backward {:.1} ms, optimiser {:.1} ms, loss {:.4}",
                forward.as_secs_f64() * 1e3,
                (backward - forward).as_secs_f64() * 1e3,
                (all - backward).as_secs_f64() * 1e3,
                loss.to_scalar::<f32>()?
            );
        }
        Ok(all.as_secs_f64() * 1e3)
    };
    if std::env::args().any(|argument| argument == "--in-turn") {
        for line in std::io::stdin().lock().lines() {
            line?;
            println!("{:.3}", step()?);
        }
        return Ok(());
    }
    let mut times = (0..20).map(|_| step()).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    println!(
        "{:.1} ms a step in the middle, {:.1} ms at best, on {} threads",
        times[times.len() / 2],
        times[0],
        rayon::current_num_threads()
    );
    Ok(())
}
