//! One of the two networks of a VAE, found by the names of its tensors.

use super::{VaeError, check_length};
use crate::backend::{Graph, TensorInfo};

/// What a network takes and gives; shapes begin with the batch.
pub(super) struct Expected<'a> {
    /// `encoder` or `decoder`, for messages.
    pub(super) network: &'static str,
    pub(super) input: &'static str,
    pub(super) input_shape: &'a [usize],
    pub(super) first: &'static str,
    pub(super) second: Option<&'static str>,
    /// Of both outputs.
    pub(super) output_shape: &'a [usize],
    /// Whether further outputs may be feature maps, called `features_…`.
    pub(super) features: bool,
}

/// A graph of one input, one output or two, and the feature maps.
pub(super) struct Network {
    name: &'static str,
    pub(super) graph: Box<dyn Graph>,
    input: Port,
    pub(super) first: Port,
    second: Option<Port>,
    /// Which output of the file is which.
    roles: Vec<Role>,
    pub(super) features: Vec<FeatureMap>,
}

/// What an output of a graph is.
#[derive(Clone, Copy)]
enum Role {
    First,
    Second,
    /// The feature map of this index.
    Feature(usize),
}

/// Start of the name of an encoder's additional outputs.
const FEATURES: &str = "features_";

/// Most outputs of a graph.
const MAX_OUTPUTS: usize = 16;

/// A feature map of the encoder, of the last batch encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    /// Name of the graph's output: `features_…`.
    pub name: String,
    /// N×C×h×w.
    pub shape: [usize; 4],
    /// The values, row by row.
    pub values: Vec<f32>,
}

/// A named tensor and its number of elements, batch included.
#[derive(Clone, Copy)]
pub(super) struct Port {
    name: &'static str,
    pub(super) len: usize,
}

impl Network {
    /// Checks a graph.
    ///
    /// # Errors
    /// Other inputs, outputs or shapes than `expected`, and feature maps that are none.
    pub(super) fn new(graph: Box<dyn Graph>, expected: &Expected<'_>) -> Result<Self, VaeError> {
        let name = expected.network;
        let outputs: Vec<_> = [Some(expected.first), expected.second]
            .into_iter()
            .flatten()
            .collect();
        let (further, own): (Vec<_>, Vec<_>) = graph
            .outputs()
            .iter()
            .cloned()
            .partition(|output| expected.features && output.name.starts_with(FEATURES));
        for (direction, found, names, shape) in [
            (
                "input",
                graph.inputs(),
                &[expected.input][..],
                expected.input_shape,
            ),
            ("output", &own, &outputs, expected.output_shape),
        ] {
            check_names(name, direction, found, names)?;
            check_shapes(name, direction, found, shape)?;
        }
        let features = further
            .into_iter()
            .map(|output| feature_map(output, expected.output_shape[0]))
            .collect::<Result<Vec<_>, _>>()?;
        if graph.outputs().len() > MAX_OUTPUTS {
            return Err(VaeError::Names {
                graph: name,
                direction: "output",
                found: graph.outputs().iter().map(|o| o.name.clone()).collect(),
                expected: outputs,
            });
        }
        let roles = graph
            .outputs()
            .iter()
            .map(|output| {
                let feature = features.iter().position(|map| map.name == output.name);
                match feature {
                    Some(index) => Role::Feature(index),
                    None if output.name == expected.first => Role::First,
                    None => Role::Second,
                }
            })
            .collect();
        // The shapes are those of tensors that exist, so that the products do not overflow.
        let port = |name, shape: &[usize]| Port {
            name,
            len: shape.iter().product(),
        };
        let output = |name| port(name, expected.output_shape);
        Ok(Self {
            name,
            input: port(expected.input, expected.input_shape),
            first: output(expected.first),
            second: expected.second.map(output),
            roles,
            features,
            graph,
        })
    }

    /// Runs the graph; `second` is given where the graph has a second output.
    pub(super) fn run(
        &mut self,
        input: &[f32],
        first: &mut [f32],
        second: Option<&mut [f32]>,
    ) -> Result<(), VaeError> {
        check_length(self.input.name, input.len(), self.input.len)?;
        check_length(self.first.name, first.len(), self.first.len)?;
        let second = match (self.second, second) {
            (Some(port), Some(second)) => {
                check_length(port.name, second.len(), port.len)?;
                second
            }
            _ => &mut [],
        };
        let mut outputs: [&mut [f32]; MAX_OUTPUTS] = std::array::from_fn(|_| &mut [][..]);
        let (mut first_slot, mut second_slot) = (0, 0);
        let mut maps: [Option<&mut [f32]>; MAX_OUTPUTS] = std::array::from_fn(|_| None);
        for (buffer, map) in maps.iter_mut().zip(&mut self.features) {
            *buffer = Some(&mut map.values);
        }
        for (slot, role) in self.roles.iter().enumerate() {
            match *role {
                Role::First => first_slot = slot,
                Role::Second => second_slot = slot,
                Role::Feature(index) => outputs[slot] = maps[index].take().unwrap_or_default(),
            }
        }
        outputs[second_slot] = &mut *second;
        outputs[first_slot] = &mut *first;
        self.graph.run(&[input], &mut outputs[..self.roles.len()])?;
        self.check_finite(input, self.first.name, first)?;
        if let Some(port) = self.second {
            self.check_finite(input, port.name, second)?;
        }
        self.features
            .iter()
            .try_for_each(|map| self.check_finite(input, &map.name, &map.values))
    }

    /// Looks at the input only when the output is bad, to tell which of the two is to blame.
    fn check_finite(&self, input: &[f32], port: &str, output: &[f32]) -> Result<(), VaeError> {
        let Some(value) = not_finite(output) else {
            return Ok(());
        };
        Err(match not_finite(input) {
            Some(value) => VaeError::InputNotFinite {
                graph: self.name,
                input: self.input.name,
                value,
            },
            None => VaeError::OutputNotFinite {
                graph: self.name,
                output: port.to_owned(),
                value,
            },
        })
    }
}

/// The buffer for an additional output of the encoder.
fn feature_map(output: TensorInfo, batch: usize) -> Result<FeatureMap, VaeError> {
    match output.shape[..] {
        [n, channels, height, width] if n == batch => Ok(FeatureMap {
            shape: [n, channels, height, width],
            values: vec![0.0; output.len()],
            name: output.name,
        }),
        _ => Err(VaeError::Features {
            output: output.name,
            found: output.shape,
            batch,
        }),
    }
}

fn not_finite(values: &[f32]) -> Option<&'static str> {
    // Folding without an early way out lets the compiler look at several values at once.
    if values
        .iter()
        .fold(true, |finite, value| finite & value.is_finite())
    {
        None
    } else if values.iter().any(|value| value.is_nan()) {
        Some("NaN")
    } else {
        Some("an infinite value")
    }
}

fn check_names(
    graph: &'static str,
    direction: &'static str,
    found: &[TensorInfo],
    expected: &[&'static str],
) -> Result<(), VaeError> {
    let is_there = |name: &&str| found.iter().any(|info| info.name == *name);
    if found.len() == expected.len() && expected.iter().all(is_there) {
        return Ok(());
    }
    Err(VaeError::Names {
        graph,
        direction,
        found: found.iter().map(|info| info.name.clone()).collect(),
        expected: expected.to_vec(),
    })
}

fn check_shapes(
    graph: &'static str,
    direction: &'static str,
    found: &[TensorInfo],
    expected: &[usize],
) -> Result<(), VaeError> {
    let Some(info) = found.iter().find(|info| info.shape != expected) else {
        return Ok(());
    };
    Err(VaeError::Shape {
        what: format!("the {graph}'s {direction} `{}`", info.name),
        found: info.shape.clone(),
        expected: expected.to_vec(),
    })
}
