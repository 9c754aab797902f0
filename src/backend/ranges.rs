//! Largest magnitudes of a graph's tensors over frames, by which an `int8` engine scales them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    BackendError, Graph, Signature, TensorInfo,
    onnx::{Dim, Message, ModelProto, NodeProto, TensorProto, ValueInfoProto},
    tensor_rt::digest,
};

/// Operators whose outputs are shapes, conditions or weights, and no activations.
const WITHOUT_RANGE: [&str; 14] = [
    "And",
    "ArgMax",
    "ArgMin",
    "Cast",
    "Constant",
    "ConstantOfShape",
    "Equal",
    "Greater",
    "Less",
    "Not",
    "Or",
    "Range",
    "Shape",
    "Size",
];

/// Beginning of the names that instrumentation adds.
const ADDED: &str = "edge-vae-range-";

/// Largest magnitude of each tensor by its name, for each graph by its digest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(Arc<Mutex<BTreeMap<String, BTreeMap<String, f32>>>>);

impl Ranges {
    /// Loads a graph that does what it would do, and notes the magnitudes of its tensors here.
    pub(super) fn load(
        &self,
        onnx: &[u8],
        name: &str,
        load: impl Fn(&[u8]) -> Result<Box<dyn Graph>, BackendError>,
    ) -> Result<Box<dyn Graph>, BackendError> {
        let signature = load(onnx)?.signature().clone();
        let (instrumented, tensors) = instrument(onnx).ok_or_else(|| BackendError::Model {
            graph: name.to_owned(),
            message: "it is no ONNX graph".to_owned(),
        })?;
        let inner = load(&instrumented)?;
        Ok(Box::new(ObservedGraph {
            magnitudes: vec![0.0; tensors.len()],
            inner,
            signature,
            tensors,
            graph: digest(onnx),
            ranges: self.clone(),
        }))
    }

    /// The calibration table of a graph, as TensorRT writes it: for each tensor the bits of its
    /// scale, the largest magnitude by 127, in hexadecimal.
    pub(crate) fn table(&self, onnx: &[u8]) -> String {
        let ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = "TRT-100000-EntropyCalibration2\n".to_owned();
        for (tensor, magnitude) in ranges.get(&digest(onnx)).into_iter().flatten() {
            let scale = (magnitude / 127.0).to_bits();
            table += &format!("{tensor}: {scale:08x}\n");
        }
        table
    }

    fn note(&self, graph: &str, tensors: &[String], magnitudes: &[f32]) {
        let mut ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ranges = ranges.entry(graph.to_owned()).or_default();
        for (tensor, &magnitude) in tensors.iter().zip(magnitudes) {
            let largest = ranges.entry(tensor.clone()).or_insert(0.0);
            *largest = largest.max(magnitude);
        }
    }
}

/// A graph with further outputs, which are looked at here and shown to nobody.
struct ObservedGraph {
    inner: Box<dyn Graph>,
    signature: Signature,
    tensors: Vec<String>,
    magnitudes: Vec<f32>,
    graph: String,
    ranges: Ranges,
}

impl Graph for ObservedGraph {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError> {
        let largest = |values: &[f32]| values.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
        let of_inputs: Vec<f32> = inputs.iter().map(|values| largest(values)).collect();
        let named = |infos: &[TensorInfo]| -> Vec<String> {
            infos.iter().map(|info| info.name.clone()).collect()
        };
        let mut all: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut **output).collect();
        all.extend(self.magnitudes.chunks_mut(1));
        self.inner.run(inputs, &mut all)?;
        let inputs = named(&self.signature.inputs);
        self.ranges.note(&self.graph, &inputs, &of_inputs);
        self.ranges
            .note(&self.graph, &self.tensors, &self.magnitudes);
        Ok(())
    }
}

/// Adds an output of one value for each activation: the largest magnitude. The names of the
/// activations are in the order of these outputs, which come after the graph's own.
fn instrument(onnx: &[u8]) -> Option<(Vec<u8>, Vec<String>)> {
    let mut model = ModelProto::decode(onnx).ok()?;
    let graph = model.graph.as_mut()?;
    let activations: Vec<String> = graph
        .node
        .iter()
        .filter(|node| !WITHOUT_RANGE.contains(&&node.op_type[..]))
        .flat_map(|node| node.output.iter().filter(|name| !name.is_empty()).cloned())
        .collect();
    let one = format!("{ADDED}one");
    graph.initializer.push(TensorProto::integers(&one, &[1]));
    for (place, activation) in activations.iter().enumerate() {
        let name = |step: &str| format!("{ADDED}{step}{place}");
        for (operator, inputs, output) in [
            ("Abs", vec![activation.clone()], name("a")),
            ("ReduceMax", vec![name("a")], name("m")),
            ("Reshape", vec![name("m"), one.clone()], name("")),
        ] {
            graph.node.push(NodeProto {
                op_type: operator.into(),
                name: output.clone(),
                input: inputs,
                output: vec![output],
                ..NodeProto::default()
            });
        }
        let largest = ValueInfoProto::float_tensor(&name(""), [Dim::DimValue(1)]);
        graph.output.push(largest);
    }
    Some((model.encode_to_vec(), activations))
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::backend::{
        Engine, EngineOptions,
        test_graphs::{encode, two_heads, values},
    };

    #[test]
    fn magnitudes_of_all_activations_are_the_largest_of_all_frames() {
        let engine = Engine::open(&EngineOptions::default()).unwrap();
        let onnx = encode(&two_heads());
        let ranges = Ranges::default();
        let load = |onnx: &[u8]| engine.load(onnx, "two heads", 1);
        let mut observed = ranges.load(&onnx, "two heads", load).unwrap();
        let mut plain = engine.load(&onnx, "two heads", 1).unwrap();
        assert_eq!(observed.outputs(), plain.outputs());
        let mut largest = [0.0f32; 2];
        for seed in 0..3 {
            let input = values(seed, 72);
            let (mut a, mut b) = ([0.0; 4], [0.0; 4]);
            observed.run(&[&input], &mut [&mut a, &mut b]).unwrap();
            let (mut c, mut d) = ([0.0; 4], [0.0; 4]);
            plain.run(&[&input], &mut [&mut c, &mut d]).unwrap();
            assert_eq!((a, b), (c, d));
            for (largest, values) in largest.iter_mut().zip([c, d]) {
                *largest = values.iter().fold(*largest, |a, b| a.max(b.abs()));
            }
        }
        let table = ranges.table(&onnx);
        let mut lines = table.lines();
        assert!(lines.next().unwrap().starts_with("TRT-"), "{table}");
        let scale = |tensor: &str| {
            let start = format!("{tensor}: ");
            let found = table.lines().find_map(|line| line.strip_prefix(&start));
            f32::from_bits(u32::from_str_radix(found.unwrap(), 16).unwrap())
        };
        for (info, largest) in plain.outputs().iter().zip(largest) {
            assert!(
                (scale(&info.name) * 127.0 - largest).abs() < 1e-5,
                "{table}"
            );
        }
        let input = &plain.inputs()[0].name;
        assert!((0.9..=1.0).contains(&(scale(input) * 127.0)), "{table}");
        assert!(lines.count() >= 4, "{table}");
        assert!(!table.contains("edge-vae"), "{table}");
        assert_eq!(ranges.table(b"another").lines().count(), 1);
    }
}
