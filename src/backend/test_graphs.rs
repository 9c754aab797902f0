//! Graphs for tests: a fake one that is a closure, and small ONNX files with the plain loops that
//! compute the same.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng};

use super::onnx::{self, Dim, Message, attribute_proto::AttributeType};
use super::{BackendError, Graph, Signature, TensorInfo};

/// What a [`FakeGraph`] does with its inputs and outputs.
type Compute = Box<dyn FnMut(&[&[f32]], &mut [&mut [f32]]) + Send>;

/// A graph that is a closure. Its metadata has one key, `input`: the name of its first input.
pub(crate) struct FakeGraph {
    signature: Signature,
    compute: Compute,
}

impl FakeGraph {
    /// Names and shapes, batch first, and what is computed.
    pub(crate) fn boxed(
        inputs: &[(&str, &[usize])],
        outputs: &[(&str, &[usize])],
        compute: impl FnMut(&[&[f32]], &mut [&mut [f32]]) + Send + 'static,
    ) -> Box<dyn Graph> {
        let infos = |tensors: &[(&str, &[usize])]| {
            let info = |&(name, shape): &(&str, &[usize])| TensorInfo {
                name: name.to_owned(),
                shape: shape.to_vec(),
            };
            tensors.iter().map(info).collect()
        };
        let signature = Signature {
            name: "fake graph".into(),
            inputs: infos(inputs),
            outputs: infos(outputs),
            metadata: HashMap::from([("input".into(), inputs[0].0.to_owned())]),
        };
        Box::new(Self {
            signature,
            compute: Box::new(compute),
        })
    }
}

impl Graph for FakeGraph {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError> {
        (self.compute)(inputs, outputs);
        Ok(())
    }
}

/// The largest |a − b|.
pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

/// The bytes of the file.
pub(crate) fn encode(proto: &onnx::ModelProto) -> Vec<u8> {
    proto.encode_to_vec()
}

/// Values in [-1, 1) that depend on the seed alone.
pub(crate) fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// Builds an opset 17 file. A dimension of 0 is the symbolic batch `N`.
#[derive(Default)]
pub(crate) struct GraphBuilder {
    graph: onnx::GraphProto,
    metadata: Vec<onnx::StringStringEntryProto>,
}

impl GraphBuilder {
    pub(crate) fn input(&mut self, name: &str, shape: &[i64]) {
        self.graph.input.push(value_info(name, shape));
    }

    pub(crate) fn output(&mut self, name: &str, shape: &[i64]) {
        self.graph.output.push(value_info(name, shape));
    }

    pub(crate) fn weights(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        assert_eq!(dims.iter().product::<i64>() as usize, values.len());
        let tensor = onnx::TensorProto::floats(name, dims, values);
        self.graph.initializer.push(tensor);
    }

    #[cfg(feature = "tract")]
    pub(crate) fn constant(
        &mut self,
        name: &str,
        dims: &[usize],
        kind: onnx::tensor_proto::DataType,
        raw_data: Vec<u8>,
    ) {
        self.graph.initializer.push(onnx::TensorProto {
            name: name.into(),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: kind as i32,
            raw_data,
            ..Default::default()
        });
    }

    pub(crate) fn integers(&mut self, name: &str, values: &[i64]) {
        let tensor = onnx::TensorProto::integers(name, values);
        self.graph.initializer.push(tensor);
    }

    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<onnx::AttributeProto>,
    ) {
        self.graph.node.push(onnx::NodeProto {
            op_type: op.into(),
            name: format!("{op}-{}", outputs[0]),
            input: inputs.iter().map(|&s| s.into()).collect(),
            output: outputs.iter().map(|&s| s.into()).collect(),
            attribute,
            ..Default::default()
        });
    }

    pub(crate) fn metadata(&mut self, key: &str, value: &str) {
        self.metadata.push(onnx::StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        });
    }

    pub(crate) fn finish(mut self) -> onnx::ModelProto {
        self.graph.name = "test".into();
        self.graph.into_model(self.metadata)
    }
}

fn value_info(name: &str, shape: &[i64]) -> onnx::ValueInfoProto {
    let dim = |&size| match size {
        0 => Dim::DimParam("N".into()),
        size => Dim::DimValue(size),
    };
    onnx::ValueInfoProto::float_tensor(name, shape.iter().map(dim))
}

pub(crate) fn ints(name: &str, values: &[i64]) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn int(name: &str, value: i64) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..Default::default()
    }
}

/// A graph with an operator that no engine knows.
pub(crate) fn unknown_operator() -> Vec<u8> {
    let mut b = GraphBuilder::default();
    b.input("x", &[0, 3]);
    b.node("Frobnicate", &["x"], &["y"], vec![]);
    b.output("y", &[0, 3]);
    encode(&b.finish())
}

/// `x` N×1 → a tensor of 10⁶×10⁶ inside → `y` of `rows` rows, 0 for N.
pub(crate) fn absurd_size(rows: i64) -> Vec<u8> {
    let mut b = GraphBuilder::default();
    b.input("x", &[0, 1]);
    b.integers("large", &[1_000_000, 1_000_000]);
    b.integers("axes", &[1]);
    b.node("Expand", &["x", "large"], &["e"], vec![]);
    b.node("ReduceSum", &["e", "axes"], &["y"], vec![]);
    b.output("y", &[rows, 1]);
    encode(&b.finish())
}

/// An encoder: `input` N×2×6×6 → Conv 3×3 stride 2 pad 1 to 4 channels → Relu → Flatten →
/// `mean` N×4 by Gemm, `log_variance` N×4 by MatMul and Add.
pub(crate) fn two_heads() -> onnx::ModelProto {
    let mut b = GraphBuilder::default();
    b.input("input", &[0, 2, 6, 6]);
    b.weights("w1", &[4, 2, 3, 3], &values(1, 72));
    b.weights("b1", &[4], &values(2, 4));
    b.weights("w_mean", &[4, 36], &values(3, 144));
    b.weights("b_mean", &[4], &values(4, 4));
    b.weights("w_lv", &[36, 4], &values(5, 144));
    b.weights("b_lv", &[4], &values(6, 4));
    b.node(
        "Conv",
        &["input", "w1", "b1"],
        &["conv"],
        vec![
            ints("kernel_shape", &[3, 3]),
            ints("strides", &[2, 2]),
            ints("pads", &[1, 1, 1, 1]),
        ],
    );
    b.node("Relu", &["conv"], &["relu"], vec![]);
    b.node("Flatten", &["relu"], &["flat"], vec![int("axis", 1)]);
    b.node(
        "Gemm",
        &["flat", "w_mean", "b_mean"],
        &["mean"],
        vec![int("transB", 1)],
    );
    b.node("MatMul", &["flat", "w_lv"], &["lv0"], vec![]);
    b.node("Add", &["lv0", "b_lv"], &["log_variance"], vec![]);
    b.output("mean", &[0, 4]);
    b.output("log_variance", &[0, 4]);
    b.metadata("edge_vae.model", "test");
    b.finish()
}

/// `mean` and `log_variance` of one frame through [`two_heads`].
pub(crate) fn two_heads_by_loops(input: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let hidden: Vec<f64> = conv(input, (2, 6), &values(1, 72), &values(2, 4), 3, 2, 1)
        .into_iter()
        .map(|v| v.max(0.0))
        .collect();
    let (w_mean, b_mean, w_lv, b_lv) = (values(3, 144), values(4, 4), values(5, 144), values(6, 4));
    let mean = (0..4)
        .map(|j| {
            (0..36)
                .map(|i| hidden[i] * w_mean[j * 36 + i] as f64)
                .sum::<f64>()
                + b_mean[j] as f64
        })
        .map(|v| v as f32)
        .collect();
    let log_variance = (0..4)
        .map(|j| {
            (0..36)
                .map(|i| hidden[i] * w_lv[i * 4 + j] as f64)
                .sum::<f64>()
                + b_lv[j] as f64
        })
        .map(|v| v as f32)
        .collect();
    (mean, log_variance)
}

/// A decoder: `latent` N×4 → Gemm → Reshape N×4×3×3 → ConvTranspose 4×4 stride 2 pad 1 →
/// `logits` N×2×6×6, its Sigmoid is `reconstruction`.
pub(crate) fn bernoulli_decoder() -> onnx::ModelProto {
    let mut b = GraphBuilder::default();
    b.input("latent", &[0, 4]);
    b.weights("w0", &[36, 4], &values(11, 144));
    b.weights("b0", &[36], &values(12, 36));
    b.integers("shape", &[-1, 4, 3, 3]);
    b.weights("w1", &[4, 2, 4, 4], &values(13, 128));
    b.weights("b1", &[2], &values(14, 2));
    b.node(
        "Gemm",
        &["latent", "w0", "b0"],
        &["fc"],
        vec![int("transB", 1)],
    );
    b.node("Reshape", &["fc", "shape"], &["map"], vec![]);
    b.node(
        "ConvTranspose",
        &["map", "w1", "b1"],
        &["logits"],
        vec![
            ints("kernel_shape", &[4, 4]),
            ints("strides", &[2, 2]),
            ints("pads", &[1, 1, 1, 1]),
        ],
    );
    b.node("Sigmoid", &["logits"], &["reconstruction"], vec![]);
    b.output("reconstruction", &[0, 2, 6, 6]);
    b.output("logits", &[0, 2, 6, 6]);
    b.finish()
}

/// `logits` of one latent vector through [`bernoulli_decoder`].
pub(crate) fn bernoulli_decoder_by_loops(latent: &[f32]) -> Vec<f32> {
    let (w0, b0, w1, b1) = (
        values(11, 144),
        values(12, 36),
        values(13, 128),
        values(14, 2),
    );
    let map: Vec<f64> = (0..36)
        .map(|j| {
            (0..4)
                .map(|i| latent[i] as f64 * w0[j * 4 + i] as f64)
                .sum::<f64>()
                + b0[j] as f64
        })
        .collect();
    let mut logits: Vec<f64> = b1
        .iter()
        .flat_map(|&b| std::iter::repeat_n(b as f64, 36))
        .collect();
    // Scatter form of the transposed convolution: each input cell adds its kernel to the output.
    for ci in 0..4 {
        for (y, x) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
            for co in 0..2 {
                for (ky, kx) in (0..4).flat_map(|ky| (0..4).map(move |kx| (ky, kx))) {
                    let (oy, ox) = (2 * y + ky, 2 * x + kx);
                    if (1..7).contains(&oy) && (1..7).contains(&ox) {
                        logits[co * 36 + (oy - 1) * 6 + ox - 1] +=
                            map[ci * 9 + y * 3 + x] * w1[((ci * 2 + co) * 4 + ky) * 4 + kx] as f64;
                    }
                }
            }
        }
    }
    logits.into_iter().map(|v| v as f32).collect()
}

/// Convolution of a `channels`×`size`×`size` picture by `kernel`×`kernel` weights.
fn conv(
    input: &[f32],
    (channels, size): (usize, usize),
    weights: &[f32],
    bias: &[f32],
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Vec<f64> {
    let out = (size + 2 * pad - kernel) / stride + 1;
    let mut output = Vec::new();
    for (co, &b) in bias.iter().enumerate() {
        for (oy, ox) in (0..out).flat_map(|y| (0..out).map(move |x| (y, x))) {
            let mut sum = b as f64;
            for ci in 0..channels {
                for (ky, kx) in (0..kernel).flat_map(|y| (0..kernel).map(move |x| (y, x))) {
                    let (y, x) = (oy * stride + ky, ox * stride + kx);
                    if (pad..size + pad).contains(&y) && (pad..size + pad).contains(&x) {
                        sum += input[(ci * size + y - pad) * size + x - pad] as f64
                            * weights[((co * channels + ci) * kernel + ky) * kernel + kx] as f64;
                    }
                }
            }
            output.push(sum);
        }
    }
    output
}
