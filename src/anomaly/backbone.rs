//! A network of the user's own that makes feature maps: `backbone.onnx`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, Engine, Graph, TensorInfo};
use crate::preprocess::Normalise;

/// What a bundle says about its backbone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BackboneSettings {
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
pub enum BackboneError {
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
        "{graph}: none of its outputs {found} is a feature map N×C×h×w: export the backbone with the \
         outputs of its convolutional stages"
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

/// A loaded backbone: from a prepared tensor to feature maps.
pub struct Backbone {
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
    maps: Vec<TensorInfo>,
    /// The output of each map.
    places: Vec<usize>,
}

impl Backbone {
    /// Loads `onnx` for `batch` tensors of the shape `tensor` (C×H×W), which were prepared with the
    /// normalisation `prepared`; `name` is the file's path or name in messages.
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
        settings: &BackboneSettings,
        (batch, tensor, prepared): (usize, [usize; 3], &Normalise),
    ) -> Result<Self, BackboneError> {
        let graph = engine.load(onnx, name, batch)?;
        let name = name.to_owned();
        let [input] = graph.inputs() else {
            return Err(BackboneError::Inputs {
                graph: name,
                found: list(graph.inputs()),
            });
        };
        let [channels, height, width] = tensor;
        let fits = matches!(input.shape[..], [n, c, h, w]
            if n == batch && (c == channels || channels == 1) && h == height && w == width);
        if !fits {
            return Err(BackboneError::InputShape {
                graph: name,
                found: list(std::slice::from_ref(input)),
                expected: shape(&[batch, channels, height, width]),
            });
        }
        let affine = affine(&settings.normalise, prepared, input.shape[1]).map_err(|problem| {
            BackboneError::Normalise {
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
    pub fn run(&mut self, tensor: &[f32]) -> Result<(), BackboneError> {
        let own = self.affine.len();
        let expected = self.input.len() / own * self.channels;
        if tensor.len() != expected {
            return Err(BackboneError::Tensor {
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
        let mut outputs: Vec<&mut [f32]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.graph.run(&[&self.input], &mut outputs)?;
        for (map, &place) in self.maps.iter().zip(&self.places) {
            let values = &self.outputs[place];
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                return Err(BackboneError::NotFinite {
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

impl fmt::Debug for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backbone")
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
) -> Result<Vec<usize>, BackboneError> {
    let is_map = |output: &TensorInfo| output.shape.len() == 4;
    let maps: Vec<usize> = (0..outputs.len())
        .filter(|&i| is_map(&outputs[i]))
        .collect();
    if maps.is_empty() {
        return Err(BackboneError::NoMaps {
            graph: graph.to_owned(),
            found: list(outputs),
        });
    }
    if names.is_empty() {
        return Ok(maps);
    }
    let mut places = Vec::with_capacity(names.len());
    for name in names {
        let unfit = |problem: String| BackboneError::UnfitMap {
            graph: graph.to_owned(),
            name: name.clone(),
            problem,
        };
        let Some(place) = outputs.iter().position(|output| output.name == *name) else {
            let maps: Vec<TensorInfo> = maps.iter().map(|&i| outputs[i].clone()).collect();
            return Err(BackboneError::UnknownMap {
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
mod tests {
    use tract_onnx::pb;

    use super::*;
    use crate::backend::test_graphs::{GraphBuilder, encode, int, ints};
    use crate::backend::{BackendKind, Device, EngineOptions};

    const TENSOR: [usize; 3] = [3, 4, 4];

    fn engine(kind: BackendKind) -> Option<Engine> {
        let options = EngineOptions {
            backend: Some(kind),
            device: Device::Cpu,
            ..EngineOptions::default()
        };
        match Engine::open(&options) {
            Err(BackendError::LibraryMissing { .. }) => {
                eprintln!("skipped: no ONNX Runtime; name it by ORT_DYLIB_PATH");
                None
            }
            engine => Some(engine.unwrap()),
        }
    }

    fn tract() -> Engine {
        engine(BackendKind::Tract).unwrap()
    }

    /// As PyTorch exports: a dynamic batch of another name, one that differs between outputs, a
    /// classifier's logits beside the maps.
    ///
    /// `picture` N×3×4×4 → `layer1` = ReLU(w·x + b) N×2×4×4 with w = [[1, 2, 3], [−1, 0, 1]],
    /// b = [0, 0.5] → `layer2` = mean of 2×2, N×2×2×2 → `logits` N×2, the mean of all.
    fn torch_like() -> pb::ModelProto {
        let mut b = GraphBuilder::default();
        b.input("picture", &[0, 3, 4, 4]);
        b.weights("w", &[2, 3, 1, 1], &[1.0, 2.0, 3.0, -1.0, 0.0, 1.0]);
        b.weights("b", &[2], &[0.0, 0.5]);
        let kernel = vec![ints("kernel_shape", &[1, 1])];
        b.node("Conv", &["picture", "w", "b"], &["conv"], kernel);
        b.node("Relu", &["conv"], &["layer1"], vec![]);
        let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        b.node("AveragePool", &["layer1"], &["layer2"], window);
        b.node("GlobalAveragePool", &["layer2"], &["pooled"], vec![]);
        b.node("Flatten", &["pooled"], &["logits"], vec![int("axis", 1)]);
        b.output("logits", &[0, 2]);
        b.output("layer1", &[0, 2, 4, 4]);
        b.output("layer2", &[0, 2, 2, 2]);
        let mut proto = b.finish();
        let graph = proto.graph.as_mut().unwrap();
        let symbols = ["batch_size", "s0", "batch_size", "unk__12"];
        for (value, symbol) in graph.input.iter_mut().chain(&mut graph.output).zip(symbols) {
            let Some(pb::type_proto::Value::TensorType(tensor)) =
                value.r#type.as_mut().unwrap().value.as_mut()
            else {
                panic!("no tensor");
            };
            tensor.shape.as_mut().unwrap().dim[0].value = Some(
                pb::tensor_shape_proto::dimension::Value::DimParam(symbol.into()),
            );
        }
        proto
    }

    fn settings(maps: &[&str]) -> BackboneSettings {
        BackboneSettings {
            file: "backbone.onnx".into(),
            normalise: Normalise {
                mean: vec![0.5, 0.4, 0.3],
                std: vec![0.25, 0.5, 0.2],
            },
            maps: maps.iter().map(|&m| m.to_owned()).collect(),
        }
    }

    fn load(
        engine: &Engine,
        settings: &BackboneSettings,
        tensor: [usize; 3],
        prepared: &Normalise,
    ) -> Result<Backbone, BackboneError> {
        let onnx = encode(&torch_like());
        let batch = (2, tensor, prepared);
        Backbone::load(engine, &onnx, "backbone.onnx", settings, batch)
    }

    fn refusal(settings: &BackboneSettings, tensor: [usize; 3]) -> String {
        let prepared = Normalise::identity(tensor[0]);
        let error = load(&tract(), settings, tensor, &prepared).unwrap_err();
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    /// Input of the graph for red, green and blue in [0, 1], and both channels of `layer1`, by
    /// hand.
    fn by_hand([r, g, b]: [f32; 3]) -> [f32; 2] {
        let [r, g, b] = [(r - 0.5) / 0.25, (g - 0.4) / 0.5, (b - 0.3) / 0.2];
        [(r + 2.0 * g + 3.0 * b).max(0.0), (b - r + 0.5).max(0.0)]
    }

    #[test]
    fn maps_of_two_frames() {
        // Pixel i of frame n, channel c.
        let colour =
            |n: usize, c: usize, i: usize| ((n * 48 + c * 16 + i) as f32 * 0.37).sin().abs();
        // The tensor is prepared with another normalisation, which has to be undone.
        let prepared = Normalise {
            mean: vec![0.1, 0.2, 0.3],
            std: vec![2.0, 0.5, 1.0],
        };
        let mut tensor: Vec<f32> = (0..96)
            .map(|i| colour(i / 48, i / 16 % 3, i % 16))
            .collect();
        for frame in tensor.chunks_exact_mut(48) {
            prepared.apply(frame);
        }
        for kind in BackendKind::ALL {
            let Some(engine) = engine(kind) else { continue };
            let mut backbone = load(&engine, &settings(&[]), TENSOR, &prepared).unwrap();
            let names: Vec<_> = backbone.maps().iter().map(|m| m.name.as_str()).collect();
            assert_eq!(names, ["layer1", "layer2"]);
            assert_eq!(backbone.maps()[1].shape, [2, 2, 2, 2]);
            backbone.run(&tensor).unwrap();
            let layer1 = backbone.values(0);
            for (place, &found) in layer1.iter().enumerate() {
                let (n, c, i) = (place / 32, place / 16 % 2, place % 16);
                let expected = by_hand([0, 1, 2].map(|c| colour(n, c, i)))[c];
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
            let corner = [0, 1, 4, 5].map(|i| layer1[i]).iter().sum::<f32>() / 4.0;
            assert!((backbone.values(1)[0] - corner).abs() < 1e-6);
        }
    }

    #[test]
    fn a_grey_tensor_serves_all_channels() {
        let prepared = Normalise::identity(1);
        let mut backbone = load(&tract(), &settings(&["layer1"]), [1, 4, 4], &prepared).unwrap();
        let tensor: Vec<f32> = (0..32).map(|i| i as f32 / 32.0).collect();
        backbone.run(&tensor).unwrap();
        let expected = by_hand([tensor[21]; 3]);
        assert!((backbone.values(0)[32 + 5] - expected[0]).abs() < 1e-5);
        assert!((backbone.values(0)[48 + 5] - expected[1]).abs() < 1e-5);
        let error = backbone.run(&tensor[1..]).unwrap_err().to_string();
        assert_eq!(
            error,
            "backbone.onnx: the tensor has 31 values, expected 32"
        );
        let mut spoilt = tensor;
        spoilt[3] = f32::NAN;
        let error = backbone.run(&spoilt);
        // An engine's ReLU may turn NaN into 0.
        if let Err(error) = error {
            assert!(error.to_string().contains("`layer1` is NaN at value 3"));
        }
    }

    #[test]
    fn maps_in_the_order_asked_for() {
        let prepared = Normalise::identity(3);
        let settings = settings(&["layer2", "layer1"]);
        let backbone = load(&tract(), &settings, TENSOR, &prepared).unwrap();
        assert_eq!(backbone.maps()[0].name, "layer2");
        assert_eq!(backbone.values(0).len(), 16);
        assert!(backbone.values(2).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(
            refusal(&settings(&[]), [3, 4, 8]),
            "backbone.onnx: its input is `picture` 2×3×4×4, the prepared tensor 2×3×4×8 (N×C×H×W): \
             export the backbone for that size, or prepare frames at its own"
        );
        assert_eq!(
            refusal(&settings(&["layer1", "logits"]), TENSOR),
            "backbone.onnx: output `logits` is 2×2, not a feature map N×C×h×w: leave it out"
        );
        assert_eq!(
            refusal(&settings(&["layer3"]), TENSOR),
            "backbone.onnx: there is no output `layer3`; its feature maps are `layer1` 2×2×4×4, \
             `layer2` 2×2×2×2"
        );
        assert!(refusal(&settings(&["layer1", "layer1"]), TENSOR).contains("named twice"));
        let mut short = settings(&[]);
        short.normalise.std.pop();
        assert_eq!(
            refusal(&short, TENSOR),
            "backbone.onnx: normalise std has 2 values, the backbone's input 3 channels"
        );
        let mut zero = settings(&[]);
        zero.normalise.std[1] = 0.0;
        assert!(refusal(&zero, TENSOR).contains("for channel 1"));
    }

    #[test]
    fn graphs_without_maps_or_with_two_inputs() {
        let refused = |proto: &pb::ModelProto| {
            let prepared = Normalise::identity(3);
            let batch = (1, TENSOR, &prepared);
            let settings = settings(&[]);
            Backbone::load(&tract(), &encode(proto), "b.onnx", &settings, batch)
                .unwrap_err()
                .to_string()
        };
        let mut proto = torch_like();
        proto.graph.as_mut().unwrap().output.truncate(1);
        let text = refused(&proto);
        assert!(text.contains("none of its outputs `logits` 1×2"), "{text}");
        let mut b = GraphBuilder::default();
        b.input("left", &[0, 3, 4, 4]);
        b.input("right", &[0, 3, 4, 4]);
        b.node("Add", &["left", "right"], &["sum"], vec![]);
        b.output("sum", &[0, 3, 4, 4]);
        let text = refused(&b.finish());
        assert!(
            text.contains("found the inputs `left` 1×3×4×4, `right`"),
            "{text}"
        );
    }
}
