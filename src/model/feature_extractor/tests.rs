use super::*;
use crate::backend::onnx as pb;
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

fn settings(maps: &[&str]) -> FeatureExtractorSettings {
    FeatureExtractorSettings {
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
    settings: &FeatureExtractorSettings,
    tensor: [usize; 3],
    prepared: &Normalise,
) -> Result<FeatureExtractor, FeatureExtractorError> {
    let onnx = encode(&torch_like());
    let tensors = PreparedTensor {
        batch: 2,
        shape: tensor,
        normalise: prepared,
    };
    FeatureExtractor::load(engine, &onnx, "backbone.onnx", settings, tensors)
}

fn refusal(settings: &FeatureExtractorSettings, tensor: [usize; 3]) -> String {
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
    let colour = |n: usize, c: usize, i: usize| ((n * 48 + c * 16 + i) as f32 * 0.37).sin().abs();
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
        let tensors = PreparedTensor {
            batch: 1,
            shape: TENSOR,
            normalise: &prepared,
        };
        let settings = settings(&[]);
        FeatureExtractor::load(&tract(), &encode(proto), "b.onnx", &settings, tensors)
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
