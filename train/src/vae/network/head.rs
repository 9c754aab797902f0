//! The discriminative head: from picture, reconstruction and the encoder's features to a logit
//! for every second pixel. It is trained on synthetic defects.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::fully_convolutional::{FEATURES, Widths};
use crate::nn::{Branch, Layer, Mode, Parameters, ops::Activation};

/// Name of the picture among the tensors of the chain.
pub const INPUT: &str = "input";
/// Name of the reconstruction.
pub const RECONSTRUCTION: &str = "reconstruction";
/// Name of the logits, N×1×H/2×W/2.
pub const LOGITS: &str = "head_logits";

/// What the difference between picture and reconstruction is multiplied by: it is small where
/// pictures vary by one.
const GAIN: f64 = 4.0;
/// Where the logits start: defects are rare (Lin et al. 2017, 4.1).
const PRIOR: f64 = -3.0;

/// A layer, the tensors that it reads and the one that it makes.
#[derive(Clone, Debug)]
pub struct Step {
    /// Names of the inputs.
    pub from: Vec<&'static str>,
    /// What is done.
    pub layer: Layer,
    /// Name of the result.
    pub to: &'static str,
}

/// A tensor that the head makes for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadOutput {
    /// Name.
    pub name: &'static str,
    /// Channels.
    pub channels: usize,
    /// The picture's side over that of the map.
    pub reduction: usize,
}

/// The layers of the head in an order in which they can run.
#[derive(Clone, Debug)]
pub struct Head {
    steps: Vec<Step>,
    outputs: [HeadOutput; 3],
}

impl Head {
    /// The head of a network of `widths` for pictures of `channels`.
    pub(super) fn new(widths: &Widths, channels: usize) -> Self {
        let activation = Activation::Relu;
        let [_, quarter, eighth, sixteenth] = widths.encoder;
        let [deep, sum, fine] = widths.head;
        let branch = |name: &str, input, up| Branch {
            name: name.to_owned(),
            input,
            up,
        };
        let conv = |name: &str, input, output, kernel, norm, start, activation| Layer::Conv {
            name: name.to_owned(),
            input,
            output,
            kernel,
            stride: 1,
            padding: kernel / 2,
            norm,
            start,
            activation,
        };
        let steps = vec![
            Step {
                from: vec![INPUT, RECONSTRUCTION],
                layer: Layer::Residue {
                    factor: 4,
                    gain: GAIN,
                },
                to: "residue",
            },
            Step {
                from: vec![FEATURES[2]],
                layer: conv("head.reduce", sixteenth, deep, 1, true, 0.0, activation),
                to: "head_16",
            },
            Step {
                from: vec!["head_16", FEATURES[1]],
                layer: Layer::Join {
                    name: "head.join_8".to_owned(),
                    branches: vec![
                        branch("head.join_8.deep", deep, true),
                        branch("head.join_8.features", eighth, false),
                    ],
                    output: deep,
                    activation,
                },
                to: "head_8",
            },
            Step {
                from: vec!["head_8", FEATURES[0], "residue"],
                layer: Layer::Join {
                    name: "head.join_4".to_owned(),
                    branches: vec![
                        branch("head.join_4.deep", deep, true),
                        branch("head.join_4.features", quarter, false),
                        branch("head.join_4.residue", 16 * channels, false),
                    ],
                    output: sum,
                    activation,
                },
                to: "head_sum",
            },
            Step {
                from: vec!["head_sum"],
                layer: conv("head.mix_4", sum, fine, 3, true, 0.0, activation),
                to: "head_4",
            },
            Step {
                from: vec!["head_4"],
                layer: conv(
                    "head.logits",
                    fine,
                    4,
                    1,
                    false,
                    PRIOR,
                    Activation::Identity,
                ),
                to: "logits_4",
            },
            Step {
                from: vec!["logits_4"],
                layer: Layer::PixelShuffle { factor: 2 },
                to: LOGITS,
            },
        ];
        let output = |name, channels, reduction| HeadOutput {
            name,
            channels,
            reduction,
        };
        Self {
            steps,
            outputs: [
                output(LOGITS, 1, 2),
                output("head_8", deep, 8),
                output("head_4", fine, 4),
            ],
        }
    }

    /// The layers in an order in which they can run.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The maps that the exported head gives, the logits first.
    pub fn outputs(&self) -> &[HeadOutput] {
        &self.outputs
    }

    /// Runs the head on `tensors` by name ([`INPUT`], [`RECONSTRUCTION`] and the encoder's
    /// features, all N×H×W×C), to which it adds what it makes.
    ///
    /// # Errors
    /// A tensor is missing; shapes that do not fit.
    pub fn forward(
        &self,
        tensors: &mut BTreeMap<&'static str, Tensor>,
        parameters: &Parameters,
        mode: &mut Mode,
    ) -> Result<()> {
        for step in &self.steps {
            let mut inputs = Vec::with_capacity(step.from.len());
            for name in &step.from {
                match tensors.get(name) {
                    Some(t) => inputs.push(t),
                    None => candle_core::bail!("the head wants {name}, which was not made"),
                }
            }
            let made = step.layer.forward(&inputs, parameters, mode)?;
            tensors.insert(step.to, made);
        }
        Ok(())
    }
}
