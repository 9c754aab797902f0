//! A network of the user's own that makes feature maps: `backbone.onnx`.

use std::fmt;
use std::mem::take;

use serde::{Deserialize, Serialize};

use super::reuse::reuse;
use crate::backend::{BackendError, Engine, Graph, TensorInfo};
use crate::preprocess::Normalise;

/// What a bundle says about its backbone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FeatureExtractorSettings {
    /// File of the bundle: ONNX, one input N×C×H×W, feature maps N×c×h×w among the outputs.
    pub file: String,
    /// The normalisation that the backbone was trained with: an affine map from [0, 1] to its
    /// input, a value for each channel of its input, red first. It takes the place of the
    /// normalisation in `preprocess`.
    pub normalise: Normalise,
    /// Names of the outputs that are taken, in this order; if empty, all that are maps (of rank 4)
    /// in the file's order.
    #[serde(default)]
    pub maps: Vec<String>,
}

/// Why a backbone can't be used or did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureExtractorError {
    /// The engine refused the file or failed while it ran.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The file has not exactly one input.
    #[error("{graph}: found the inputs {found}, a backbone has one: the picture N×C×H×W")]
    Inputs {
        /// Path or name of the file.
        graph: String,
        /// Its inputs.
        found: String,
    },
    /// The input is no picture of the tensor's size.
    #[error(
        "{graph}: its input is {found}, the prepared tensor {expected} (N×C×H×W): export the \
         backbone for that size, or prepare frames at its own"
    )]
    InputShape {
        /// Path or name of the file.
        graph: String,
        /// Name and shape of the input.
        found: String,
        /// Shape of the prepared tensor.
        expected: String,
    },
    /// No output is a feature map.
    #[error(
        "{graph}: none of its outputs {found} is a feature map N×C×h×w: export the backbone with \
         the outputs of its convolutional stages"
    )]
    NoMaps {
        /// Path or name of the file.
        graph: String,
        /// Its outputs.
        found: String,
    },
    /// An output that was asked for is not there.
    #[error("{graph}: there is no output `{name}`; its feature maps are {found}")]
    UnknownMap {
        /// Path or name of the file.
        graph: String,
        /// The name that was asked for.
        name: String,
        /// Its feature maps.
        found: String,
    },
    /// An output that was asked for is no feature map, or was asked for twice.
    #[error("{graph}: output `{name}` {problem}")]
    UnfitMap {
        /// Path or name of the file.
        graph: String,
        /// The output.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A normalisation that can't be carried out.
    #[error("{graph}: normalise {problem}")]
    Normalise {
        /// Path or name of the file.
        graph: String,
        /// What is wrong.
        problem: String,
    },
    /// A tensor of another size.
    #[error("{graph}: the tensor has {found} values, expected {expected}")]
    Tensor {
        /// Path or name of the file.
        graph: String,
        /// Values given.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// A feature that is NaN or infinite.
    #[error(
        "{graph}: feature map `{name}` is {value} at value {index}: look for such values in the \
         backbone's weights or its input"
    )]
    NotFinite {
        /// Path or name of the file.
        graph: String,
        /// The feature map.
        name: String,
        /// Which value, from 0.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },
}

/// The tensors that a feature extractor is given.
#[derive(Clone, Copy, Debug)]
pub struct PreparedTensor<'a> {
    /// Tensors at a time, N.
    pub batch: usize,
    /// Of each, C×H×W.
    pub shape: [usize; 3],
    /// The normalisation that they were prepared with.
    pub normalise: &'a Normalise,
}

/// A loaded feature extractor: from a prepared tensor to feature maps.
pub struct FeatureExtractor {
    name: String,
    graph: Box<dyn Graph>,
    /// Elements of a channel.
    plane: usize,
    /// Channels of the prepared tensor.
    channels: usize,
    /// From the prepared tensor to the graph's input, for each channel of that: x·gain + offset.
    affine: Vec<(f32, f32)>,
    input: Vec<f32>,
    outputs: Vec<Vec<f32>>,
    /// Memory for the list of a run's outputs.
    list: Vec<&'static mut [f32]>,
    maps: Vec<TensorInfo>,
    /// The output of each map.
    places: Vec<usize>,
}

impl FeatureExtractor {
    /// Loads `onnx` for tensors of this kind; `name` is the file's path or name in messages.
    ///
    /// A grey tensor serves a backbone of several channels: each of them is given a copy.
    ///
    /// # Errors
    /// A file that the engine refuses; an input of another shape; outputs that were asked for and
    /// are missing or no maps; a normalisation of another number of channels.
    pub fn load(
        engine: &Engine,
        onnx: &[u8],
        name: &str,
        settings: &FeatureExtractorSettings,
        tensor: PreparedTensor,
    ) -> Result<Self, FeatureExtractorError> {
        let PreparedTensor {
            batch,
            shape: [channels, height, width],
            normalise: prepared,
        } = tensor;
        let graph = engine.load(onnx, name, batch)?;
        let name = name.to_owned();
        let [input] = graph.inputs() else {
            return Err(FeatureExtractorError::Inputs {
                graph: name,
                found: list(graph.inputs()),
            });
        };
        let fits = matches!(input.shape[..], [n, c, h, w]
            if n == batch && (c == channels || channels == 1) && h == height && w == width);
        if !fits {
            return Err(FeatureExtractorError::InputShape {
                graph: name,
                found: list(std::slice::from_ref(input)),
                expected: shape(&[batch, channels, height, width]),
            });
        }
        let affine = affine(&settings.normalise, prepared, input.shape[1]).map_err(|problem| {
            FeatureExtractorError::Normalise {
                graph: name.clone(),
                problem,
            }
        })?;
        let places = choose(graph.outputs(), &settings.maps, &name)?;
        let maps = places.iter().map(|&i| graph.outputs()[i].clone()).collect();
        Ok(Self {
            name,
            plane: height * width,
            channels,
            affine,
            input: vec![0.0; input.len()],
            outputs: graph.outputs().iter().map(|o| vec![0.0; o.len()]).collect(),
            list: Vec::new(),
            maps,
            places,
            graph,
        })
    }

    /// Names and shapes N×c×h×w of the feature maps.
    pub fn maps(&self) -> &[TensorInfo] {
        &self.maps
    }

    /// Values of a feature map, by its place in [`Self::maps`], of the last run; zeros before the
    /// first.
    pub fn values(&self, map: usize) -> &[f32] {
        self.places
            .get(map)
            .map_or(&[], |&place| &self.outputs[place])
    }

    /// Makes the feature maps of the prepared tensor N×C×H×W.
    ///
    /// # Errors
    /// A tensor of another size, a failure of the engine, NaN or infinite features.
    pub fn run(&mut self, tensor: &[f32]) -> Result<(), FeatureExtractorError> {
        let own = self.affine.len();
        let expected = self.input.len() / own * self.channels;
        if tensor.len() != expected {
            return Err(FeatureExtractorError::Tensor {
                graph: self.name.clone(),
                found: tensor.len(),
                expected,
            });
        }
        for (place, input) in self.input.chunks_exact_mut(self.plane).enumerate() {
            let (frame, channel) = (place / own, place % own);
            let (gain, offset) = self.affine[channel];
            let from = frame * self.channels + channel.min(self.channels - 1);
            let plane = &tensor[from * self.plane..][..self.plane];
            for (x, &t) in input.iter_mut().zip(plane) {
                *x = t * gain + offset;
            }
        }
        let mut outputs = reuse(take(&mut self.list));
        outputs.extend(self.outputs.iter_mut().map(Vec::as_mut_slice));
        self.graph.run(&[&self.input], &mut outputs)?;
        self.list = reuse(outputs);
        for (map, &place) in self.maps.iter().zip(&self.places) {
            let values = &self.outputs[place];
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                return Err(FeatureExtractorError::NotFinite {
                    graph: self.name.clone(),
                    name: map.name.clone(),
                    index,
                    value: values[index],
                });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FeatureExtractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureExtractor")
            .field("name", &self.name)
            .field("maps", &self.maps)
            .finish_non_exhaustive()
    }
}

/// Gain and offset of each channel from one normalisation to another: (t·s + m − m′)/s′.
fn affine(
    own: &Normalise,
    prepared: &Normalise,
    channels: usize,
) -> Result<Vec<(f32, f32)>, String> {
    for (what, values) in [("mean", &own.mean), ("std", &own.std)] {
        if values.len() != channels {
            return Err(format!(
                "{what} has {} values, the backbone's input {channels} channels",
                values.len()
            ));
        }
    }
    (0..channels)
        .map(|channel| {
            let (mean, std) = (own.mean[channel], own.std[channel]);
            if !(mean.is_finite() && std.is_normal() && std > 0.0) {
                return Err(format!(
                    "has mean {mean} and std {std} for channel {channel}; the mean has to be \
                     finite, the std positive and finite"
                ));
            }
            // The one channel of a grey tensor serves all.
            let of = |values: &[f32]| values.get(channel).or(values.first()).copied();
            let (m, s) = (
                of(&prepared.mean).unwrap_or(0.0),
                of(&prepared.std).unwrap_or(1.0),
            );
            Ok((s / std, (m - mean) / std))
        })
        .collect()
}

/// Places of the outputs that are taken.
fn choose(
    outputs: &[TensorInfo],
    names: &[String],
    graph: &str,
) -> Result<Vec<usize>, FeatureExtractorError> {
    let is_map = |output: &TensorInfo| output.shape.len() == 4;
    let maps: Vec<usize> = (0..outputs.len())
        .filter(|&i| is_map(&outputs[i]))
        .collect();
    if maps.is_empty() {
        return Err(FeatureExtractorError::NoMaps {
            graph: graph.to_owned(),
            found: list(outputs),
        });
    }
    if names.is_empty() {
        return Ok(maps);
    }
    let mut places = Vec::with_capacity(names.len());
    for name in names {
        let unfit = |problem: String| FeatureExtractorError::UnfitMap {
            graph: graph.to_owned(),
            name: name.clone(),
            problem,
        };
        let Some(place) = outputs.iter().position(|output| output.name == *name) else {
            let maps: Vec<TensorInfo> = maps.iter().map(|&i| outputs[i].clone()).collect();
            return Err(FeatureExtractorError::UnknownMap {
                graph: graph.to_owned(),
                name: name.clone(),
                found: list(&maps),
            });
        };
        if !is_map(&outputs[place]) {
            let found = shape(&outputs[place].shape);
            return Err(unfit(format!(
                "is {found}, not a feature map N×C×h×w: leave it out"
            )));
        }
        if places.contains(&place) {
            return Err(unfit("is named twice".to_owned()));
        }
        places.push(place);
    }
    Ok(places)
}

/// `a` 1×3×32×32, `b` 1×8.
fn list(tensors: &[TensorInfo]) -> String {
    let each: Vec<String> = tensors
        .iter()
        .map(|tensor| format!("`{}` {}", tensor.name, shape(&tensor.shape)))
        .collect();
    each.join(", ")
}

fn shape(sides: &[usize]) -> String {
    let sides: Vec<String> = sides.iter().map(usize::to_string).collect();
    sides.join("×")
}

#[cfg(test)]
mod tests;
