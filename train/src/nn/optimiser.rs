//! AdamW in place, with clipping by the global norm and averaged weights.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Settings of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Decay of the gradients' average.
    pub beta1: f64,
    /// Decay of the squared gradients' average.
    pub beta2: f64,
    /// Keeps the division by the root of the squared gradients' average finite.
    pub eps: f64,
    /// Part of a decaying weight taken away per step, times the learning rate.
    pub weight_decay: f64,
    /// Gradients whose joint Euclidean norm is above this are scaled down to it.
    pub max_gradient_norm: Option<f64>,
    /// Decay of the weights' exponential moving average. Early on the decay is less, at step `t`
    /// at most `(1 + t)/(10 + t)`, so that the initial weights are soon forgotten.
    pub average_decay: Option<f64>,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            max_gradient_norm: None,
            average_decay: None,
        }
    }
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
///
/// Equal gradients give equal bits with any number of threads.
pub struct AdamW {
    settings: AdamWSettings,
    parameters: Vec<Parameter>,
    steps: u64,
}

struct Parameter {
    name: String,
    weights: Var,
    first: Tensor,
    second: Tensor,
    average: Option<Tensor>,
    decays: bool,
}

/// The numbers of one step that all weights of a parameter share.
#[derive(Clone, Copy)]
struct Step {
    beta1: f64,
    beta2: f64,
    eps: f64,
    /// By this the gradient is multiplied (clipping).
    gradient_scale: f64,
    /// 1 − learning rate · weight decay
    keep: f64,
    /// Learning rate over the bias correction of the first moment.
    rate: f64,
    /// 1/√ of the bias correction of the second moment.
    second_correction: f64,
    average_decay: f64,
}

impl AdamW {
    /// An optimiser of `variables`; `decays` tells by name which of them weight decay applies to
    /// (biases and normalisation parameters should not).
    ///
    /// # Errors
    /// A variable's memory can't be copied.
    pub fn new(
        variables: &BTreeMap<String, Var>,
        decays: impl Fn(&str) -> bool,
        settings: AdamWSettings,
    ) -> Result<Self> {
        let parameters = variables
            .iter()
            .map(|(name, weights)| {
                Ok(Parameter {
                    name: name.clone(),
                    weights: weights.clone(),
                    first: weights.as_detached_tensor().zeros_like()?,
                    second: weights.as_detached_tensor().zeros_like()?,
                    average: match settings.average_decay {
                        Some(_) => Some(weights.as_detached_tensor().copy()?),
                        None => None,
                    },
                    decays: decays(name),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            settings,
            parameters,
            steps: 0,
        })
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes one step at `learning_rate` and gives the gradients' norm before clipping.
    ///
    /// A norm that is not finite leaves weights and state as they were: the caller sees it by the
    /// returned value. Variables that got no gradient are left alone.
    ///
    /// # Errors
    /// A gradient does not have its variable's shape or type.
    pub fn step(&mut self, grads: &GradStore, learning_rate: f64) -> Result<f64> {
        let gradients: Vec<Option<Tensor>> = self
            .parameters
            .iter()
            .map(|parameter| {
                let Some(gradient) = grads.get(&parameter.weights) else {
                    return Ok(None);
                };
                if gradient.shape() != parameter.weights.shape() {
                    bail!(
                        "{}: a gradient of shape {:?} for weights of shape {:?}",
                        parameter.name,
                        gradient.dims(),
                        parameter.weights.dims()
                    );
                }
                gradient.contiguous().map(Some)
            })
            .collect::<Result<_>>()?;
        let norm = gradients
            .iter()
            .flatten()
            .map(sum_of_squares)
            .sum::<Result<f64>>()?
            .sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.steps += 1;
        let settings = self.settings;
        let steps = self.steps as f64;
        let step = |decays: bool| Step {
            beta1: settings.beta1,
            beta2: settings.beta2,
            eps: settings.eps,
            gradient_scale: match settings.max_gradient_norm {
                Some(most) if norm > most => most / norm,
                _ => 1.0,
            },
            keep: 1.0
                - if decays {
                    learning_rate * settings.weight_decay
                } else {
                    0.0
                },
            rate: learning_rate / (1.0 - settings.beta1.powf(steps)),
            second_correction: 1.0 / (1.0 - settings.beta2.powf(steps)).sqrt(),
            average_decay: settings
                .average_decay
                .map_or(1.0, |decay| decay.min((1.0 + steps) / (10.0 + steps))),
        };
        for (parameter, gradient) in self.parameters.iter_mut().zip(gradients) {
            if let Some(gradient) = gradient {
                parameter.update(&gradient, step(parameter.decays))?;
            }
        }
        Ok(norm)
    }

    /// Copies of the averaged weights by name; of the weights themselves if none are kept.
    ///
    /// # Errors
    /// Memory can't be copied.
    pub fn averages(&self) -> Result<BTreeMap<String, Tensor>> {
        self.parameters
            .iter()
            .map(|parameter| {
                let tensor = match &parameter.average {
                    Some(average) => average.copy()?,
                    None => parameter.weights.as_detached_tensor().copy()?,
                };
                Ok((parameter.name.clone(), tensor))
            })
            .collect()
    }

    /// Copies of everything but the weights that a run needs to go on bit by bit: `first.NAME`,
    /// `second.NAME`, `average.NAME` of each variable, and `steps` (two `u32`, low half first).
    ///
    /// # Errors
    /// Memory can't be copied.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        let halves = [self.steps as u32, (self.steps >> 32) as u32];
        state.insert(
            "steps".to_owned(),
            Tensor::new(&halves, &candle_core::Device::Cpu)?,
        );
        for parameter in &self.parameters {
            for (key, tensor) in parameter.state() {
                state.insert(key, tensor.copy()?);
            }
        }
        Ok(state)
    }

    /// Takes over what [`AdamW::state`] gave.
    ///
    /// # Errors
    /// An entry is missing or has another shape; nothing is changed then.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let find = |key: &str| match state.get(key) {
            Some(tensor) => Ok(tensor),
            None => bail!("the optimiser's state has no entry {key}"),
        };
        let steps = find("steps")?.to_vec1::<u32>()?;
        let [low, high] = steps[..] else {
            bail!(
                "the optimiser's entry steps has {} numbers, wanted 2",
                steps.len()
            );
        };
        let restored = self
            .parameters
            .iter()
            .map(|parameter| {
                let load = |key: String, like: &Tensor| {
                    let tensor = find(&key)?;
                    if tensor.shape() != like.shape() {
                        bail!(
                            "the optimiser's entry {key} has shape {:?}, wanted {:?}",
                            tensor.dims(),
                            like.dims()
                        );
                    }
                    tensor
                        .to_device(like.device())?
                        .to_dtype(like.dtype())?
                        .copy()
                };
                parameter
                    .state()
                    .map(|(key, tensor)| load(key, tensor))
                    .collect::<Result<Vec<Tensor>>>()
            })
            .collect::<Result<Vec<_>>>()?;
        for (parameter, tensors) in self.parameters.iter_mut().zip(restored) {
            let mut tensors = tensors.into_iter();
            let places = [&mut parameter.first, &mut parameter.second]
                .into_iter()
                .chain(&mut parameter.average);
            for (place, tensor) in places.zip(&mut tensors) {
                *place = tensor;
            }
        }
        self.steps = u64::from(low) | u64::from(high) << 32;
        Ok(())
    }
}

impl Parameter {
    fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let named = |kind: &str| format!("{kind}.{}", self.name);
        [
            (named("first"), &self.first),
            (named("second"), &self.second),
        ]
        .into_iter()
        .chain(
            self.average
                .as_ref()
                .map(|average| (named("average"), average)),
        )
    }

    fn update(&mut self, gradient: &Tensor, step: Step) -> Result<()> {
        if !self.weights.device().is_cpu() || self.weights.dtype() != DType::F32 {
            return self.update_by_tensors(gradient, step);
        }
        let average = self.average.as_ref();
        read(gradient, |gradient| {
            edit(&self.weights, |weights| {
                edit(&self.first, |first| {
                    edit(&self.second, |second| match average {
                        Some(average) => edit(average, |average| {
                            step.run(gradient, weights, first, second, average);
                            Ok(())
                        }),
                        None => {
                            step.run(gradient, weights, first, second, &mut []);
                            Ok(())
                        }
                    })
                })
            })
        })
    }

    fn update_by_tensors(&mut self, gradient: &Tensor, step: Step) -> Result<()> {
        let gradient = (gradient.detach() * step.gradient_scale)?;
        let blend =
            |old: &Tensor, new: &Tensor, decay: f64| (old * decay)? + (new * (1.0 - decay))?;
        self.first = blend(&self.first, &gradient, step.beta1)?;
        self.second = blend(&self.second, &gradient.sqr()?, step.beta2)?;
        let deviation = ((self.second.sqrt()? * step.second_correction)? + step.eps)?;
        let change = ((&self.first / deviation)? * step.rate)?;
        let weights = ((self.weights.as_detached_tensor() * step.keep)? - change)?;
        self.weights.set(&weights)?;
        if let Some(average) = &mut self.average {
            *average = blend(average, &weights, step.average_decay)?;
        }
        Ok(())
    }
}

/// Weights handled by one task.
const CHUNK: usize = 1 << 15;

impl Step {
    /// All weights of one parameter in one pass; `average` may be empty.
    fn run(
        self,
        gradient: &[f32],
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        average: &mut [f32],
    ) {
        let moments = first
            .par_chunks_mut(CHUNK)
            .zip(second.par_chunks_mut(CHUNK));
        let parts = gradient
            .par_chunks(CHUNK)
            .zip(weights.par_chunks_mut(CHUNK))
            .zip(moments);
        if average.is_empty() {
            parts.for_each(|((gradient, weights), (first, second))| {
                self.run_part(gradient, weights, first, second);
            });
        } else {
            let decay = self.average_decay as f32;
            let gain = (1.0 - self.average_decay) as f32;
            parts.zip(average.par_chunks_mut(CHUNK)).for_each(
                |(((gradient, weights), (first, second)), average)| {
                    self.run_part(gradient, weights, first, second);
                    for (average, &weight) in average.iter_mut().zip(&*weights) {
                        *average = decay * *average + gain * weight;
                    }
                },
            );
        }
    }

    fn run_part(
        self,
        gradient: &[f32],
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let (beta1, gain1) = (self.beta1 as f32, (1.0 - self.beta1) as f32);
        let (beta2, gain2) = (self.beta2 as f32, (1.0 - self.beta2) as f32);
        let (scale, keep, rate) = (
            self.gradient_scale as f32,
            self.keep as f32,
            self.rate as f32,
        );
        let (correction, eps) = (self.second_correction as f32, self.eps as f32);
        let numbers = gradient
            .iter()
            .zip(weights)
            .zip(first.iter_mut().zip(second));
        for ((&gradient, weight), (first, second)) in numbers {
            let gradient = gradient * scale;
            *first = beta1 * *first + gain1 * gradient;
            *second = beta2 * *second + gain2 * gradient * gradient;
            *weight = keep * *weight - rate * *first / (second.sqrt() * correction + eps);
        }
    }
}

/// Sum of squares, in an order that depends on the length alone.
fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    if !gradient.device().is_cpu() || gradient.dtype() != DType::F32 {
        return gradient
            .sqr()?
            .sum_all()?
            .to_dtype(DType::F64)?
            .to_scalar::<f64>();
    }
    read(gradient, |numbers| {
        let parts: Vec<f64> = numbers
            .par_chunks(CHUNK)
            .map(|part| {
                let mut sums = [0.0f64; 8];
                for (index, &number) in part.iter().enumerate() {
                    sums[index % 8] += f64::from(number) * f64::from(number);
                }
                sums.iter().sum::<f64>()
            })
            .collect();
        Ok(parts.into_iter().sum())
    })
}

fn read<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    super::ops::read(tensor, "AdamW", work)
}

/// Hands the numbers of a contiguous `f32` tensor on the CPU to `work`, to be changed in place.
fn edit(tensor: &Tensor, work: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Edit(Cell::new(Some(work))))
}

struct Edit<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Edit<F> {
    fn name(&self) -> &'static str {
        "AdamW"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(numbers), Some((start, end)), Some(work)) =
            (storage, layout.contiguous_offsets(), self.0.take())
        else {
            bail!("AdamW: wants contiguous f32 variables");
        };
        work(&mut numbers[start..end])
    }
}

#[cfg(test)]
mod tests;
