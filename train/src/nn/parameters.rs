//! The values of a network by name, in an order that never changes.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::start::{Norm, Start, Weight};
use crate::random::{Purpose, stream};

/// Whether batch normalisation uses the batch's statistics or the running ones.
#[derive(Debug)]
pub enum Mode {
    /// The batch's, which are handed out here.
    Train(Vec<NormStatistics>),
    /// The running ones.
    Evaluate,
}

/// What a batch normalisation found in a batch.
#[derive(Clone, Debug)]
pub struct NormStatistics {
    /// Name of the layer.
    pub layer: String,
    /// Mean of each channel.
    pub mean: Tensor,
    /// Biased variance of each channel.
    pub variance: Tensor,
}

/// Weights, which the optimiser changes, and running statistics, which it does not.
#[derive(Clone, Debug)]
pub struct Parameters {
    weights: BTreeMap<String, Var>,
    /// `<layer>.running_mean` and `<layer>.running_variance`.
    running: BTreeMap<String, Tensor>,
}

impl Parameters {
    /// Fresh parameters for `weights` and `norms`, drawn under `seed`.
    ///
    /// # Errors
    /// The device has no memory left.
    pub fn new(weights: &[Weight], norms: &[Norm], seed: u64, device: &Device) -> Result<Self> {
        let each = weights.iter().enumerate().map(|(index, weight)| {
            let values = start(weight, &mut stream(seed, Purpose::Weights, index as u64));
            let t = Tensor::from_vec(values, weight.shape.as_slice(), device)?;
            Ok((weight.name.clone(), Var::from_tensor(&t)?))
        });
        let weights = each.collect::<Result<_>>()?;
        let mut running = BTreeMap::new();
        for Norm { name, channels } in norms {
            for (part, value) in [("running_mean", 0.0_f32), ("running_variance", 1.0)] {
                let values = Tensor::from_vec(vec![value; *channels], *channels, device)?;
                running.insert(format!("{name}.{part}"), values);
            }
        }
        Ok(Self { weights, running })
    }

    /// A weight of a layer.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, layer: &str, part: &str) -> Result<&Tensor> {
        let name = format!("{layer}.{part}");
        match self.weights.get(&name) {
            Some(var) => Ok(var.as_tensor()),
            None => candle_core::bail!("the network has no parameter {name}"),
        }
    }

    /// Running mean and variance of a normalised layer.
    ///
    /// # Errors
    /// There is no such layer.
    pub fn running(&self, layer: &str) -> Result<(&Tensor, &Tensor)> {
        let find = |part: &str| self.running.get(&format!("{layer}.{part}"));
        match (find("running_mean"), find("running_variance")) {
            (Some(mean), Some(variance)) => Ok((mean, variance)),
            _ => candle_core::bail!("the network has no batch normalisation {layer}"),
        }
    }

    /// The trainable weights by name.
    pub fn weights(&self) -> &BTreeMap<String, Var> {
        &self.weights
    }

    /// Number of trainable values.
    pub fn count(&self) -> usize {
        self.weights.values().map(|var| var.elem_count()).sum()
    }

    /// Moves the running statistics towards those of a batch: `old·decay + new·(1 − decay)`. They
    /// only ever serve the averaged weights, so `decay` is that of the weights' average.
    ///
    /// # Errors
    /// Statistics of a layer that is not there.
    pub fn absorb(&mut self, statistics: Vec<NormStatistics>, decay: f64) -> Result<()> {
        for norm in statistics {
            let parts = [
                ("running_mean", norm.mean),
                ("running_variance", norm.variance),
            ];
            for (part, new) in parts {
                let name = format!("{}.{part}", norm.layer);
                let Some(old) = self.running.get_mut(&name) else {
                    candle_core::bail!("the network has no {name}");
                };
                *old = ((old.detach() * decay)? + (new.detach() * (1.0 - decay))?)?;
            }
        }
        Ok(())
    }

    /// Copies of all values, weights and running statistics, by name.
    ///
    /// # Errors
    /// The device has no memory left.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut values = BTreeMap::new();
        for (name, var) in &self.weights {
            values.insert(name.clone(), var.as_detached_tensor().copy()?);
        }
        self.add_running(&mut values);
        Ok(Snapshot(values))
    }

    /// `averages` of the weights together with the running statistics.
    pub fn averaged(&self, averages: BTreeMap<String, Tensor>) -> Snapshot {
        let mut values = averages;
        self.add_running(&mut values);
        Snapshot(values)
    }

    fn add_running(&self, values: &mut BTreeMap<String, Tensor>) {
        // They are replaced, never changed in place, so a shared handle is a copy.
        values.extend(
            self.running
                .iter()
                .map(|(name, t)| (name.clone(), t.clone())),
        );
    }

    /// A copy of its own with the values of `snapshot`.
    ///
    /// # Errors
    /// A value is missing or has another shape.
    pub fn with(&self, snapshot: &Snapshot) -> Result<Self> {
        let find = |name: &str, like: &Tensor| match snapshot.0.get(name) {
            Some(t) if t.dims() == like.dims() => t.to_device(like.device())?.copy(),
            Some(t) => candle_core::bail!(
                "{name} has shape {:?}, the network needs {:?}",
                t.dims(),
                like.dims()
            ),
            None => candle_core::bail!("{name} is missing"),
        };
        let mut weights = BTreeMap::new();
        for (name, var) in &self.weights {
            weights.insert(name.clone(), Var::from_tensor(&find(name, var)?)?);
        }
        let mut running = BTreeMap::new();
        for (name, old) in &self.running {
            running.insert(name.clone(), find(name, old)?);
        }
        Ok(Self { weights, running })
    }
}

/// The numbers that `weight` starts with, row by row.
fn start(weight: &Weight, random: &mut impl Rng) -> Vec<f32> {
    let count = weight.shape.iter().product();
    let mut normal = |std: &dyn Fn(usize) -> f64| -> Vec<f32> {
        let draw = |place| {
            let x: f64 = StandardNormal.sample(random);
            (x * std(place)) as f32
        };
        (0..count).map(draw).collect()
    };
    match weight.start {
        Start::Constant(value) => vec![value as f32; count],
        Start::Normal(std) => normal(&|_| std),
        Start::Dense(std, start) => {
            let rows = weight.shape[0];
            let columns = count / rows;
            normal(&|place| std * start.factor(place / columns, place % columns, rows))
        }
    }
}

/// Values by name, without the ability to be trained: an average, a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(pub BTreeMap<String, Tensor>);

impl Snapshot {
    /// The values of one tensor, row by row.
    ///
    /// # Errors
    /// There is no tensor of that name.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        match self.0.get(name) {
            Some(t) => t.to_dtype(DType::F32)?.flatten_all()?.to_vec1(),
            None => candle_core::bail!("the network has no {name}"),
        }
    }

    /// These values with the kernels of convolutions rounded to `f16`, as exported graphs store
    /// them: a network of these values and its graph are one.
    ///
    /// # Errors
    /// The device has no memory left.
    pub fn as_stored(&self) -> Result<Self> {
        let mut values = self.0.clone();
        for (name, value) in &mut values {
            if value.rank() == 4 && name.ends_with(".weight") {
                *value = value.to_dtype(DType::F16)?.to_dtype(DType::F32)?;
            }
        }
        Ok(Self(values))
    }
}
