//! What an ONNX file says of itself, read and checked once before an engine sees it, so that both
//! back ends name the same inputs and outputs and refuse the same files in the same words.

use std::collections::HashSet;

use super::error::one_line;
use super::onnx::tensor_proto::{DataLocation, DataType};
use super::onnx::{self, Dim, Message, type_proto};
use super::{BackendError, GraphLimits, Signature, TensorInfo, graph_memory, onnx_outline};

/// A checked ONNX graph for one batch size.
#[derive(Debug)]
pub(crate) struct ModelFile {
    /// Inputs that are no initializers, outputs, and metadata, in the file's order.
    pub(crate) signature: Signature,
    /// First dimension of every input.
    pub(crate) batch: usize,
    /// Names of the inputs' symbolic batch dimension, for instance `N`.
    #[cfg_attr(
        not(feature = "ort"),
        allow(dead_code, reason = "tract reads it from shapes")
    )]
    pub(crate) batch_symbols: Vec<String>,
}

impl ModelFile {
    /// Reads an ONNX file whose inputs' first dimension becomes `batch`.
    ///
    /// # Errors
    /// [`BackendError::Model`] on bytes that are no ONNX, control flow, external, sparse or NaN
    /// weights, inputs or outputs other than `f32` tensors, dimensions that are not fixed beside
    /// the batch, another fixed batch, and what is beyond [`GraphLimits`], of which
    /// [`MEMORY_VARIABLE`](super::MEMORY_VARIABLE) changes the memory.
    pub(crate) fn read(bytes: &[u8], name: &str, batch: usize) -> Result<Self, BackendError> {
        let limits = GraphLimits::from_environment()?;
        Self::read_within(bytes, name, batch, &limits)
    }

    /// [`read`](Self::read) within other limits.
    fn read_within(
        bytes: &[u8],
        name: &str,
        batch: usize,
        limits: &GraphLimits,
    ) -> Result<Self, BackendError> {
        Self::checked(bytes, name, batch, limits).map_err(|message| BackendError::Model {
            graph: one_line(name),
            message: one_line(&message),
        })
    }

    fn checked(
        bytes: &[u8],
        name: &str,
        batch: usize,
        limits: &GraphLimits,
    ) -> Result<Self, String> {
        if batch == 0 {
            return Err("a batch has one frame or more, not 0".into());
        }
        if bytes.is_empty() {
            return Err("the file is empty".into());
        }
        if bytes.len() as u64 > limits.file_bytes {
            return Err(format!(
                "it has {} bytes, at most {} are read",
                bytes.len(),
                limits.file_bytes
            ));
        }
        onnx_outline::check(bytes, limits)?;
        let proto = onnx::ModelProto::decode(bytes)
            .map_err(|error| format!("it is not a whole ONNX file ({error})"))?;
        let metadata = proto
            .metadata_props
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.clone()))
            .collect();
        let mut graph = proto
            .graph
            .ok_or("it is no ONNX file: there is no graph in it")?;

        check_weights(&graph, limits)?;
        check_nodes(&graph)?;

        let initializers: HashSet<&str> =
            graph.initializer.iter().map(|t| t.name.as_str()).collect();
        graph
            .input
            .retain(|input| !initializers.contains(input.name.as_str()));

        let mut inputs = Vec::new();
        let mut batch_symbols = Vec::new();
        for input in &graph.input {
            let (info, symbol) = tensor_info(input, "input", batch, limits)?;
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
            .map(|output| tensor_info(output, "output", batch, limits).map(|(info, _)| info))
            .collect::<Result<Vec<_>, _>>()?;
        check_wiring(&graph, &inputs, &outputs)?;
        graph_memory::check(&graph, &inputs, limits)?;

        Ok(Self {
            signature: Signature {
                name: one_line(name),
                inputs,
                outputs,
                metadata,
            },
            batch,
            batch_symbols,
        })
    }
}

/// Weights are dense, inside the file, of bounded size and as long as they say.
fn check_weights(graph: &onnx::GraphProto, limits: &GraphLimits) -> Result<(), String> {
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
        let elements = element_count(&tensor.dims, limits).ok_or_else(|| {
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
fn holds_nan(tensor: &onnx::TensorProto) -> bool {
    let (raw, _) = tensor.raw_data.as_chunks::<4>();
    raw.iter().any(|bytes| f32::from_le_bytes(*bytes).is_nan())
        || tensor.float_data.iter().any(|value| value.is_nan())
}

/// No graphs inside of nodes: control flow has no place in a network of fixed shapes.
fn check_nodes(graph: &onnx::GraphProto) -> Result<(), String> {
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
    graph: &onnx::GraphProto,
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
    value: &onnx::ValueInfoProto,
    direction: &str,
    batch: usize,
    limits: &GraphLimits,
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
        let found = DataType::try_from(tensor.elem_type)
            .map_or("unknown".into(), |ty| format!("{ty:?}").to_uppercase());
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
    if element_count(&shape, limits).is_none() {
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

/// Product of the dimensions, if none is negative and it is within the limit.
fn element_count(dims: &[i64], limits: &GraphLimits) -> Option<usize> {
    dims.iter()
        .try_fold(1usize, |product, &dim| {
            product.checked_mul(usize::try_from(dim).ok()?)
        })
        .filter(|&elements| elements <= limits.elements)
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
mod tests;
