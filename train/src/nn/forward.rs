//! Layers at work: activations are `N×H×W×C`.

use candle_core::{Result, Tensor};

use super::{
    layer::Layer,
    ops::{self, Activation},
    parameters::{Mode, NormStatistics, Parameters},
};

impl Layer {
    /// Runs the layer on its inputs: one for all but [`Layer::Join`] and [`Layer::Residue`].
    ///
    /// # Errors
    /// Shapes that do not fit, another number of inputs.
    pub fn forward(
        &self,
        inputs: &[&Tensor],
        parameters: &Parameters,
        mode: &mut Mode,
    ) -> Result<Tensor> {
        let Some(&x) = inputs.first() else {
            candle_core::bail!("a layer without inputs");
        };
        if inputs.len() != self.inputs() {
            candle_core::bail!("{} inputs for a layer of {}", inputs.len(), self.inputs());
        }
        match self {
            Self::Conv {
                name,
                stride,
                padding,
                norm,
                activation,
                ..
            } => {
                let weight = parameters.get(name, "weight")?;
                if *norm {
                    let y = ops::conv2d(x, weight, None, *stride, *padding, Activation::Identity)?;
                    normalise(&y, name, parameters, mode, None, *activation)
                } else {
                    let bias = parameters.get(name, "bias")?;
                    ops::conv2d(x, weight, Some(bias), *stride, *padding, *activation)
                }
            }
            Self::ConvTranspose {
                name,
                stride,
                padding,
                norm,
                activation,
                ..
            } => {
                let weight = parameters.get(name, "weight")?;
                if *norm {
                    let y = ops::conv_transpose2d(
                        x,
                        weight,
                        None,
                        *stride,
                        *padding,
                        Activation::Identity,
                    )?;
                    normalise(&y, name, parameters, mode, None, *activation)
                } else {
                    let bias = parameters.get(name, "bias")?;
                    ops::conv_transpose2d(x, weight, Some(bias), *stride, *padding, *activation)
                }
            }
            Self::Residual {
                name,
                norm,
                activation,
                ..
            } => {
                let weight = parameters.get(name, "weight")?;
                if *norm {
                    let y = ops::conv2d(x, weight, None, 1, 1, Activation::Identity)?;
                    normalise(&y, name, parameters, mode, Some(x), *activation)
                } else {
                    let bias = parameters.get(name, "bias")?;
                    let y = ops::conv2d(x, weight, Some(bias), 1, 1, Activation::Identity)?;
                    ops::activate(&(x + y)?, *activation)
                }
            }
            Self::Dense {
                name, activation, ..
            } => ops::linear(
                &x.flatten_from(1)?,
                parameters.get(name, "weight")?,
                Some(parameters.get(name, "bias")?),
                *activation,
            ),
            Self::DenseToMap {
                name,
                output: [height, width, channels],
                activation,
                ..
            } => ops::linear(
                x,
                parameters.get(name, "weight")?,
                Some(parameters.get(name, "bias")?),
                *activation,
            )?
            .reshape(((), *height, *width, *channels)),
            Self::PixelShuffle { factor } => ops::pixel_shuffle(x, *factor),
            Self::Tap { .. } => Ok(x.clone()),
            Self::Join {
                name,
                branches,
                activation,
                ..
            } => {
                let mut sum: Option<Tensor> = None;
                for (branch, &x) in branches.iter().zip(inputs) {
                    let weight = parameters.get(&branch.name, "weight")?;
                    let none = Activation::Identity;
                    let y = if branch.up {
                        ops::conv_transpose2d(x, weight, None, branch.kernel(), 0, none)?
                    } else {
                        ops::conv2d(x, weight, None, branch.kernel(), 0, none)?
                    };
                    sum = Some(match sum {
                        Some(sum) => (sum + y)?,
                        None => y,
                    });
                }
                let sum = sum.unwrap_or_else(|| x.clone());
                normalise(&sum, name, parameters, mode, None, *activation)
            }
            Self::Residue { factor, gain } => {
                ops::space_to_depth(&((x - inputs[1])? * *gain)?, *factor)
            }
        }
    }
}

/// Stabilises the variance in batch normalisation, in training and in the folded export.
pub const NORM_EPSILON: f64 = 1e-5;

/// Batch normalisation by the batch's statistics in training (which are handed to `mode`), by the
/// running ones in evaluation.
fn normalise(
    y: &Tensor,
    name: &str,
    parameters: &Parameters,
    mode: &mut Mode,
    shortcut: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let scale = parameters.get(name, "scale")?;
    let bias = parameters.get(name, "bias")?;
    match mode {
        Mode::Train(statistics) => {
            let (out, mean, variance) = match shortcut {
                None => ops::batch_norm(y, scale, bias, NORM_EPSILON, activation)?,
                Some(x) => ops::batch_norm_residual(y, scale, bias, NORM_EPSILON, x, activation)?,
            };
            statistics.push(NormStatistics {
                layer: name.to_owned(),
                mean,
                variance,
            });
            Ok(out)
        }
        Mode::Evaluate => {
            let (mean, variance) = parameters.running(name)?;
            let factor = (scale / (variance + NORM_EPSILON)?.sqrt()?)?;
            let offset = (bias - (mean * &factor)?)?;
            let mut out = y.broadcast_mul(&factor)?.broadcast_add(&offset)?;
            if let Some(x) = shortcut {
                out = (out + x)?;
            }
            ops::activate(&out, activation)
        }
    }
}
