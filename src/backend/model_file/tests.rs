use crate::backend::test_graphs::{GraphBuilder, encode, two_heads};

use super::*;

fn refusal(proto: &onnx::ModelProto) -> String {
    let error = ModelFile::read(&encode(proto), "encoder.onnx", 2).unwrap_err();
    assert!(matches!(error, BackendError::Model { .. }));
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text.strip_prefix("cannot use encoder.onnx: ")
        .unwrap()
        .to_owned()
}

fn graph(proto: &mut onnx::ModelProto) -> &mut onnx::GraphProto {
    proto.graph.as_mut().unwrap()
}

#[test]
fn the_batch_becomes_concrete() {
    let file = ModelFile::read(&encode(&two_heads()), "g", 7).unwrap();
    let signature = &file.signature;
    let shapes: Vec<_> = signature
        .inputs
        .iter()
        .chain(&signature.outputs)
        .map(|i| (i.name.as_str(), i.shape.clone()))
        .collect();
    assert_eq!(
        shapes,
        [
            ("input", vec![7, 2, 6, 6]),
            ("mean", vec![7, 4]),
            ("log_variance", vec![7, 4]),
        ]
    );
    assert_eq!(file.batch_symbols, ["N"]);
    assert_eq!(signature.metadata["edge_vae.model"], "test");
}

#[test]
fn bytes_that_are_no_onnx_are_refused() {
    let text = ModelFile::read(b"", "g", 1).unwrap_err().to_string();
    assert_eq!(text, "cannot use g: the file is empty");
    let text = ModelFile::read(b"\x89PNG\r\n\x1a\n", "g", 1)
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("cannot use g: it is not a whole ONNX file"),
        "{text}"
    );
    let bytes = encode(&two_heads());
    let text = ModelFile::read(&bytes[..bytes.len() / 2], "g", 1)
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("cannot use g: it is not a whole ONNX file"),
        "{text}"
    );
    assert_eq!(refusal(&onnx::ModelProto::default()), "the file is empty");
    let named = onnx::ModelProto {
        producer_name: "x".into(),
        ..Default::default()
    };
    assert_eq!(
        refusal(&named),
        "it is no ONNX file: there is no graph in it"
    );
}

#[test]
fn foreign_element_types_are_named() {
    let mut proto = two_heads();
    let Some(type_proto::Value::TensorType(tensor)) = graph(&mut proto).input[0]
        .r#type
        .as_mut()
        .unwrap()
        .value
        .as_mut()
    else {
        panic!()
    };
    tensor.elem_type = DataType::Float16 as i32;
    assert_eq!(
        refusal(&proto),
        "input \"input\" has elements of type FLOAT16, FLOAT (f32) is needed"
    );
}

#[test]
fn shapes_are_fixed_beside_the_batch_and_bounded() {
    let with_dim = |axis: usize, value: Option<Dim>| {
        let mut proto = two_heads();
        let value_type = graph(&mut proto).input[0]
            .r#type
            .as_mut()
            .unwrap()
            .value
            .as_mut()
            .unwrap();
        let type_proto::Value::TensorType(tensor) = value_type;
        tensor.shape.as_mut().unwrap().dim[axis].value = value;
        proto
    };
    assert_eq!(
        refusal(&with_dim(2, Some(Dim::DimParam("H".into())))),
        "dimension 2 of input \"input\" is not fixed; only the batch may vary"
    );
    assert_eq!(
        refusal(&with_dim(0, Some(Dim::DimValue(3)))),
        "input \"input\" has a fixed batch of 3, 2 is asked for"
    );
    assert_eq!(
        refusal(&with_dim(3, Some(Dim::DimValue(1_000_000_000_000)))),
        "input \"input\" is too large: [2, 2, 6, 1000000000000]"
    );
    assert_eq!(
        refusal(&with_dim(1, Some(Dim::DimValue(-4)))),
        "input \"input\" has size -4 in dimension 1"
    );
    let unnamed = ModelFile::read(&encode(&with_dim(0, None)), "g", 2).unwrap();
    assert!(unnamed.batch_symbols.is_empty());
    assert_eq!(unnamed.signature.inputs[0].shape, [2, 2, 6, 6]);
}

#[test]
fn weights_are_inside_the_file_and_whole() {
    let mut proto = two_heads();
    graph(&mut proto).initializer[0].raw_data.pop();
    assert!(
        refusal(&proto).starts_with("the weights \"w1\" hold 287 bytes"),
        "{}",
        refusal(&proto)
    );

    let mut proto = two_heads();
    graph(&mut proto).initializer[0].dims = vec![1 << 40, 1 << 40];
    assert!(refusal(&proto).starts_with("the weights \"w1\" have an impossible shape"));

    let mut proto = two_heads();
    graph(&mut proto).initializer[2].raw_data[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(
        refusal(&proto),
        "the weights \"w_mean\" hold NaN: the file is damaged"
    );

    let mut proto = two_heads();
    graph(&mut proto).initializer[0].data_location = Some(DataLocation::External as i32);
    assert_eq!(
        refusal(&proto),
        "the weights \"w1\" are in another file; export them inside this one"
    );
}

#[test]
fn loose_ends_are_named() {
    let mut proto = two_heads();
    graph(&mut proto).output[1].name = "logvar".into();
    assert_eq!(refusal(&proto), "\"logvar\" is used and nothing gives it");

    let mut proto = two_heads();
    graph(&mut proto).node.pop();
    assert_eq!(
        refusal(&proto),
        "\"log_variance\" is used and nothing gives it"
    );

    let mut proto = two_heads();
    let node = graph(&mut proto).node[0].clone();
    graph(&mut proto).node.push(node);
    assert_eq!(refusal(&proto), "\"conv\" is given twice");
}

#[test]
fn control_flow_is_refused() {
    let mut builder = GraphBuilder::default();
    builder.input("x", &[0, 2]);
    builder.node(
        "If",
        &["x"],
        &["y"],
        vec![onnx::AttributeProto {
            name: "then_branch".into(),
            g: Some(onnx::GraphProto::default()),
            ..Default::default()
        }],
    );
    builder.output("y", &[0, 2]);
    assert!(refusal(&builder.finish()).contains("control flow is not run"));
}
