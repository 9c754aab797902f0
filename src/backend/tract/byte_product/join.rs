//! Finds products of constant bytes in a file's graph.

use std::collections::{HashMap, HashSet};

use tract_onnx::Onnx;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use crate::backend::GraphLimits;

use super::{BYTES, OP_TYPE, ORDER, SCALE, integers, sizes};

/// Makes one node of each product of constant bytes that it finds in `graph`, and teaches `onnx` to
/// read it. What differs in anything from what is expected stays as it is.
pub(in crate::backend::tract) fn join(graph: &mut GraphProto, onnx: &mut Onnx) {
    let products = {
        let sources = Sources::of(graph);
        let nodes = graph.node.iter().enumerate();
        let found = nodes.filter_map(|(at, node)| Some((at, sources.product(node)?)));
        found.collect::<Vec<_>>()
    };
    for (at, product) in products {
        graph.node[at] = product;
    }
    drop_unused(graph);
    onnx.op_register.insert(OP_TYPE, super::read);
}

/// Leaves out nodes and constants that nothing takes any more.
fn drop_unused(graph: &mut GraphProto) {
    let mut taken: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut kept = vec![true; graph.node.len()];
    // A node comes after those that it takes from.
    for (node, kept) in graph.node.iter().zip(&mut kept).rev() {
        *kept = node.output.iter().any(|name| taken.contains(name.as_str()));
        if *kept {
            taken.extend(node.input.iter().map(String::as_str));
        }
    }
    let constants = graph.initializer.iter();
    let mut needed: Vec<bool> = constants.map(|c| taken.contains(c.name.as_str())).collect();
    let mut kept = kept.into_iter();
    graph.node.retain(|_| kept.next() == Some(true));
    let mut needed = needed.drain(..);
    graph.initializer.retain(|_| needed.next() == Some(true));
}

/// Where the values of a graph come from.
struct Sources<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    nodes: HashMap<&'a str, &'a NodeProto>,
}

impl<'a> Sources<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let constants = graph.initializer.iter().map(|c| (c.name.as_str(), c));
        let nodes = graph.node.iter();
        Self {
            constants: constants.collect(),
            nodes: nodes
                .filter_map(|node| Some((node.output.first()?.as_str(), node)))
                .collect(),
        }
    }

    /// The inputs of the node that makes `name`, if it is one of that kind.
    fn inputs(&self, name: &str, op_type: &str) -> Option<(&'a NodeProto, &'a [String])> {
        let node = self.nodes.get(name)?;
        let plain = node.op_type == op_type && node.domain.is_empty() && node.output.len() == 1;
        plain.then_some((*node, &node.input[..]))
    }

    fn constant(&self, name: &str, kind: DataType, rank: usize) -> Option<&'a TensorProto> {
        let constant = *self.constants.get(name)?;
        let size = match kind {
            DataType::Int8 => 1,
            _ => 4,
        };
        let bytes = sizes(constant)?
            .iter()
            .try_fold(size, |product: usize, &dim| product.checked_mul(dim))?;
        let whole = constant.data_type == kind as i32
            && constant.dims.len() == rank
            && constant.raw_data.len() == bytes;
        whole.then_some(constant)
    }

    /// What stands for `node`, if it is a product of constant bytes.
    fn product(&self, node: &NodeProto) -> Option<NodeProto> {
        let [matrices, vectors] = &node.input[..] else {
            return None;
        };
        if node.op_type != "MatMul" || !node.domain.is_empty() {
            return None;
        }
        if self.constants.contains_key(vectors.as_str()) {
            return None;
        }
        let (_, [unscaled, scale]) = self.inputs(matrices, "Mul")? else {
            return None;
        };
        let scale = self.constant(scale, DataType::Float, 3)?;
        let (cast, [bytes]) = self.inputs(unscaled, "Cast")? else {
            return None;
        };
        let to = cast.attribute.iter().find(|a| a.name == "to")?;
        if to.i != DataType::Float as i64 {
            return None;
        }
        let [count, rows, one] = sizes(scale)?[..] else {
            return None;
        };
        let mut attributes = vec![attribute(SCALE, scale)];
        let columns;
        if let Some((gather, [packed, order])) = self.inputs(bytes, "Gather") {
            let axis = gather.attribute.iter().find(|a| a.name == "axis");
            let packed = self.constant(packed, DataType::Int8, 2)?;
            let order = self.constant(order, DataType::Int32, 2)?;
            let [matrices, length] = sizes(packed)?[..] else {
                return None;
            };
            let fits = axis.is_some_and(|axis| axis.i == 1)
                && [matrices, sizes(order)?[0]] == [count, rows]
                && integers(order).all(|place| place < length);
            fits.then_some(())?;
            attributes.extend([attribute(BYTES, packed), attribute(ORDER, order)]);
            columns = sizes(order)?[1];
        } else {
            let bytes = self.constant(bytes, DataType::Int8, 3)?;
            (sizes(bytes)?[..2] == [count, rows]).then_some(())?;
            attributes.push(attribute(BYTES, bytes));
            columns = sizes(bytes)?[2];
        }
        // Panels may hold eight times the matrices: those of few rows are filled up.
        let elements = count.checked_mul(rows)?.checked_mul(columns)?;
        let fits = elements <= GraphLimits::default().elements / 8;
        (fits && one == 1).then(|| NodeProto {
            input: vec![vectors.clone()],
            op_type: OP_TYPE.to_owned(),
            attribute: attributes,
            ..node.clone()
        })
    }
}

fn attribute(name: &str, tensor: &TensorProto) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        t: Some(tensor.clone()),
        ..AttributeProto::default()
    }
}
