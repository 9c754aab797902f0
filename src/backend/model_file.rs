//! What an ONNX file says of itself, read and checked once before an engine sees it, so that both
//! back ends name the same inputs and outputs and refuse the same files in the same words.

use std::collections::{HashMap, HashSet};

use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto;

use super::error::one_line;
use super::{BackendError, TensorInfo};

/// Most elements that one tensor may have, 2^28: 1 GiB of `f32`. Larger ones are mistakes or
/// attacks, and a failed allocation would end the process.
pub(super) const MAX_ELEMENTS: usize = 1 << 28;

/// A checked ONNX graph for one batch size.
#[derive(Debug)]
pub(crate) struct ModelFile {
    /// Path or name of the graph, for messages.
    pub(crate) name: String,
    /// First dimension of every input.
    pub(crate) batch: usize,
    /// Inputs that are no initializers, in the file's order.
    pub(crate) inputs: Vec<TensorInfo>,
    /// Outputs in the file's order.
    pub(crate) outputs: Vec<TensorInfo>,
    /// `metadata_props`.
    pub(crate) metadata: HashMap<String, String>,
    /// Names of the inputs' symbolic batch dimension, for instance `N`.
    pub(crate) batch_symbols: Vec<String>,
    /// The file, its inputs' batch dimension made concrete and the shapes that it declares for
    /// everything else removed: a parser of dimension expressions is nothing to feed from outside.
    pub(crate) proto: pb::ModelProto,
}

impl ModelFile {
    /// Reads an ONNX file whose inputs' first dimension becomes `batch`.
    ///
    /// # Errors
    /// [`BackendError::Model`] on bytes that are no ONNX, control flow, external, sparse or NaN weights,
    /// inputs or outputs other than `f32` tensors, dimensions that are not fixed beside the batch,
    /// another fixed batch, and tensors of more than [`MAX_ELEMENTS`].
    pub(crate) fn read(onnx: &[u8], name: &str, batch: usize) -> Result<Self, BackendError> {
        Self::checked(onnx, name, batch).map_err(|message| BackendError::Model {
            graph: one_line(name),
            message: one_line(&message),
        })
    }

    fn checked(onnx: &[u8], name: &str, batch: usize) -> Result<Self, String> {
        if batch == 0 {
            return Err("a batch has one frame or more, not 0".into());
        }
        if onnx.is_empty() {
            return Err("the file is empty".into());
        }
        let mut proto = pb::ModelProto::decode(onnx)
            .map_err(|error| format!("it is not a whole ONNX file ({error})"))?;
        let metadata = proto
            .metadata_props
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.clone()))
            .collect();
        let graph = proto
            .graph
            .as_mut()
            .ok_or("it is no ONNX file: there is no graph in it")?;

        check_weights(graph)?;
        check_nodes(graph)?;

        let initializers: HashSet<&str> =
            graph.initializer.iter().map(|t| t.name.as_str()).collect();
        graph
            .input
            .retain(|input| !initializers.contains(input.name.as_str()));

        let mut inputs = Vec::new();
        let mut batch_symbols = Vec::new();
        for input in &graph.input {
            let (info, symbol) = tensor_info(input, "input", batch)?;
            if let Some(symbol) = symbol
                && !batch_symbols.contains(&symbol)
            {
                batch_symbols.push(symbol);
            }
            inputs.push(info);
        }
        let outputs = graph
            .output
            .iter()
            .map(|output| tensor_info(output, "output", batch).map(|(info, _)| info))
            .collect::<Result<Vec<_>, _>>()?;
        check_wiring(graph, &inputs, &outputs)?;

        for (value, info) in graph.input.iter_mut().zip(&inputs) {
            set_shape(value, &info.shape);
        }
        for value in &mut graph.output {
            value.r#type = None;
        }
        graph.value_info.clear();

        Ok(Self {
            name: one_line(name),
            batch,
            inputs,
            outputs,
            metadata,
            batch_symbols,
            proto,
        })
    }
}

/// Weights are dense, inside the file, of bounded size and as long as they say.
fn check_weights(graph: &pb::GraphProto) -> Result<(), String> {
    if !graph.sparse_initializer.is_empty() {
        return Err("it has sparse weights; export them dense".into());
    }
    let constants = graph
        .node
        .iter()
        .flat_map(|node| &node.attribute)
        .flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
    for tensor in graph.initializer.iter().chain(constants) {
        let name = &tensor.name;
        if !tensor.external_data.is_empty()
            || tensor.data_location == Some(DataLocation::External as i32)
        {
            return Err(format!(
                "the weights {name:?} are in another file; export them inside this one"
            ));
        }
        let elements = element_count(&tensor.dims).ok_or_else(|| {
            format!(
                "the weights {name:?} have an impossible shape {:?}",
                tensor.dims
            )
        })?;
        if tensor.data_type == DataType::Float as i32 && holds_nan(tensor) {
            return Err(format!(
                "the weights {name:?} hold NaN: the file is damaged"
            ));
        }
        let Some(size) = element_size(tensor.data_type) else {
            continue;
        };
        if !tensor.raw_data.is_empty() && tensor.raw_data.len() != elements * size {
            return Err(format!(
                "the weights {name:?} hold {} bytes, their shape {:?} needs {}",
                tensor.raw_data.len(),
                tensor.dims,
                elements * size
            ));
        }
    }
    Ok(())
}

/// Infinite weights are left to the engine: a mask may be made of them.
fn holds_nan(tensor: &pb::TensorProto) -> bool {
    let (raw, _) = tensor.raw_data.as_chunks::<4>();
    raw.iter().any(|bytes| f32::from_le_bytes(*bytes).is_nan())
        || tensor.float_data.iter().any(|value| value.is_nan())
}

/// No graphs inside of nodes: control flow has no place in a network of fixed shapes.
fn check_nodes(graph: &pb::GraphProto) -> Result<(), String> {
    for node in &graph.node {
        if node
            .attribute
            .iter()
            .any(|a| a.g.is_some() || !a.graphs.is_empty())
        {
            return Err(format!(
                "node {:?} ({}) holds a graph of its own; control flow is not run",
                node.name, node.op_type
            ));
        }
    }
    Ok(())
}

/// Every name that is used is given once, by an input, a weight or a node.
fn check_wiring(
    graph: &pb::GraphProto,
    inputs: &[TensorInfo],
    outputs: &[TensorInfo],
) -> Result<(), String> {
    if inputs.is_empty() || outputs.is_empty() {
        return Err(format!(
            "it has {} inputs and {} outputs",
            inputs.len(),
            outputs.len()
        ));
    }
    let mut given = HashSet::new();
    let names = inputs
        .iter()
        .map(|input| input.name.as_str())
        .chain(graph.initializer.iter().map(|tensor| tensor.name.as_str()))
        .chain(
            graph
                .node
                .iter()
                .flat_map(|node| &node.output)
                .map(String::as_str),
        );
    for name in names.filter(|name| !name.is_empty()) {
        if !given.insert(name) {
            return Err(format!("{name:?} is given twice"));
        }
    }
    let used = graph
        .node
        .iter()
        .flat_map(|node| &node.input)
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .chain(outputs.iter().map(|output| output.name.as_str()));
    for name in used {
        if !given.contains(name) {
            return Err(format!("{name:?} is used and nothing gives it"));
        }
    }
    let distinct: HashSet<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    if distinct.len() != outputs.len() {
        return Err("two outputs have one name".into());
    }
    Ok(())
}

/// Name and concrete shape of an input or output, and the name of its symbolic batch dimension.
fn tensor_info(
    value: &pb::ValueInfoProto,
    direction: &str,
    batch: usize,
) -> Result<(TensorInfo, Option<String>), String> {
    let name = &value.name;
    if name.is_empty() || name.contains('\0') {
        return Err(format!("an {direction} is named {name:?}"));
    }
    let Some(type_proto::Value::TensorType(tensor)) =
        value.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(format!("{direction} {name:?} is not declared as a tensor"));
    };
    if tensor.elem_type != DataType::Float as i32 {
        let found = DataType::try_from(tensor.elem_type).map_or("unknown", |ty| ty.as_str_name());
        return Err(format!(
            "{direction} {name:?} has elements of type {found}, FLOAT (f32) is needed"
        ));
    }
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let Some((first, rest)) = dims.split_first() else {
        return Err(format!(
            "{direction} {name:?} has no declared shape; N×… is needed"
        ));
    };

    let mut symbol = None;
    let mut shape = vec![batch as i64];
    match &first.value {
        Some(Dim::DimValue(fixed)) if usize::try_from(*fixed) != Ok(batch) => {
            return Err(format!(
                "{direction} {name:?} has a fixed batch of {fixed}, {batch} is asked for"
            ));
        }
        Some(Dim::DimParam(param)) if !param.is_empty() => symbol = Some(param.clone()),
        _ => {}
    }
    for (axis, dim) in rest.iter().enumerate() {
        match &dim.value {
            Some(Dim::DimValue(size)) if *size > 0 => shape.push(*size),
            Some(Dim::DimValue(size)) => {
                return Err(format!(
                    "{direction} {name:?} has size {size} in dimension {}",
                    axis + 1
                ));
            }
            _ => {
                return Err(format!(
                    "dimension {} of {direction} {name:?} is not fixed; only the batch may vary",
                    axis + 1
                ));
            }
        }
    }
    if element_count(&shape).is_none() {
        return Err(format!("{direction} {name:?} is too large: {shape:?}"));
    }
    let shape = shape.into_iter().map(|size| size as usize).collect();
    Ok((
        TensorInfo {
            name: name.clone(),
            shape,
        },
        symbol,
    ))
}

fn set_shape(value: &mut pb::ValueInfoProto, shape: &[usize]) {
    let dim = shape
        .iter()
        .map(|&size| pb::tensor_shape_proto::Dimension {
            denotation: String::new(),
            value: Some(Dim::DimValue(size as i64)),
        })
        .collect();
    value.r#type = Some(pb::TypeProto {
        denotation: String::new(),
        value: Some(type_proto::Value::TensorType(type_proto::Tensor {
            elem_type: DataType::Float as i32,
            shape: Some(pb::TensorShapeProto { dim }),
        })),
    });
}

/// Product of the dimensions, if none is negative and it is at most [`MAX_ELEMENTS`].
fn element_count(dims: &[i64]) -> Option<usize> {
    dims.iter()
        .try_fold(1usize, |product, &dim| {
            product.checked_mul(usize::try_from(dim).ok()?)
        })
        .filter(|&elements| elements <= MAX_ELEMENTS)
}

/// Bytes of one element in `raw_data`; `None` for types without a fixed whole number of bytes.
fn element_size(data_type: i32) -> Option<usize> {
    match DataType::try_from(data_type).ok()? {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => Some(1),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => Some(2),
        DataType::Float | DataType::Int32 | DataType::Uint32 => Some(4),
        DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64 => Some(8),
        DataType::Complex128 => Some(16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_graphs::{GraphBuilder, encode, two_heads};
    use super::*;

    fn refusal(proto: &pb::ModelProto) -> String {
        let error = ModelFile::read(&encode(proto), "encoder.onnx", 2).unwrap_err();
        assert!(matches!(error, BackendError::Model { .. }));
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text.strip_prefix("cannot use encoder.onnx: ")
            .unwrap()
            .to_owned()
    }

    fn graph(proto: &mut pb::ModelProto) -> &mut pb::GraphProto {
        proto.graph.as_mut().unwrap()
    }

    #[test]
    fn the_batch_becomes_concrete() {
        let file = ModelFile::read(&encode(&two_heads()), "g", 7).unwrap();
        let shapes: Vec<_> = file
            .inputs
            .iter()
            .chain(&file.outputs)
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
        assert_eq!(file.metadata["edge_vae.model"], "test");
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
        assert_eq!(refusal(&pb::ModelProto::default()), "the file is empty");
        let named = pb::ModelProto {
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
        assert_eq!(unnamed.inputs[0].shape, [2, 2, 6, 6]);
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
            vec![pb::AttributeProto {
                name: "then_branch".into(),
                g: Some(pb::GraphProto::default()),
                ..Default::default()
            }],
        );
        builder.output("y", &[0, 2]);
        assert!(refusal(&builder.finish()).contains("control flow is not run"));
    }
}
