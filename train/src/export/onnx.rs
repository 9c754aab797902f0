//! A small writer of ONNX files: opset 17, IR version 8, a symbolic batch dimension `N`.

use edge_vae::backend::onnx::{
    AttributeProto, Dim, GraphProto, Message, ModelProto, NodeProto, StringStringEntryProto,
    TensorProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
};
use half::f16;

/// A value in the graph under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(String);

/// A graph under construction.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: GraphProto,
}

/// An attribute of a node.
pub enum Attribute<'a> {
    /// An integer; never 0, which these message types can't tell from «absent».
    Int(i64),
    /// Integers.
    Ints(&'a [i64]),
    /// A number; never 0.
    Float(f32),
    /// Text.
    Text(&'a str),
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            graph: GraphProto {
                name: name.to_owned(),
                ..GraphProto::default()
            },
        }
    }

    /// Declares an `f32` input of shape `N×shape`.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Value {
        self.graph.input.push(value_info(name, shape));
        Value(name.to_owned())
    }

    /// Declares `value` an output called `name` of shape `N×shape`.
    pub fn output(&mut self, value: &Value, name: &str, shape: &[usize]) {
        self.push("Identity", name, &[value], &[]);
        self.graph.output.push(value_info(name, shape));
    }

    /// A constant of `f32` values.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, shape, DataType::Float, raw)
    }

    /// A constant of `f16` values, as the `f32` values that the graph computes with: the engines
    /// widen it once, when they load the file.
    ///
    /// tract does so only where the widened constant has at most 4 MiB, and otherwise in every run.
    pub fn halves(&mut self, name: &str, shape: &[usize], values: &[f16]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let stored = self.constant(&format!("{name}.f16"), shape, DataType::Float16, raw);
        self.widen(name, &stored)
    }

    /// A constant of bytes, each in units of its row: `scales` has one for each row of the last
    /// axis. As with [`Self::halves`] the engines compute with `f32`.
    pub fn scaled_bytes(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[i8],
        scales: &[f32],
    ) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let stored = self.constant(&format!("{name}.i8"), shape, DataType::Int8, raw);
        let wide = self.widen(&format!("{name}.unscaled"), &stored);
        let mut rows = shape.to_vec();
        if let Some(last) = rows.last_mut() {
            *last = 1;
        }
        let scales = self.floats(&format!("{name}.scale"), &rows, scales);
        self.node("Mul", name, &[&wide, &scales], &[])
    }

    /// `value` as `f32`.
    fn widen(&mut self, name: &str, value: &Value) -> Value {
        let to = Attribute::Int(DataType::Float as i64);
        self.node("Cast", name, &[value], &[("to", to)])
    }

    /// Lower triangular matrices `count×side×side` as `f32`, stored as `f16` without the zeros
    /// above the diagonal: `values` holds the rows' first 1, 2, … elements, one matrix after the
    /// other. The engines put them together once, when they load the file; see
    /// [`Self::halves`] for the size that tract allows.
    pub fn triangles(
        &mut self,
        name: &str,
        (count, side): (usize, usize),
        values: &[f16],
    ) -> Value {
        let bytes: Vec<[u8; 2]> = values.iter().map(|v| v.to_le_bytes()).collect();
        let square = format!("{name}.square");
        let square = self.squares(&square, (count, side), DataType::Float16, &bytes);
        self.widen(name, &square)
    }

    /// The same of bytes, each in units of its row: `scales` has count×side.
    pub fn scaled_triangles(
        &mut self,
        name: &str,
        (count, side): (usize, usize),
        values: &[i8],
        scales: &[f32],
    ) -> Value {
        let bytes: Vec<[u8; 1]> = values.iter().map(|v| v.to_le_bytes()).collect();
        let square = format!("{name}.square");
        let square = self.squares(&square, (count, side), DataType::Int8, &bytes);
        let wide = self.widen(&format!("{name}.unscaled"), &square);
        let scales = self.floats(&format!("{name}.scale"), &[count, side, 1], scales);
        self.node("Mul", name, &[&wide, &scales], &[])
    }

    /// Square matrices of packed lower triangles, whose elements are of `kind`.
    fn squares<const BYTES: usize>(
        &mut self,
        name: &str,
        (count, side): (usize, usize),
        kind: DataType,
        values: &[[u8; BYTES]],
    ) -> Value {
        let length = side * (side + 1) / 2;
        // A zero behind each matrix is what the upper triangle is made of.
        let raw = values
            .chunks_exact(length.max(1))
            .flat_map(|matrix| matrix.iter().chain([&[0; BYTES]]))
            .flatten()
            .copied()
            .collect();
        let packed = format!("{name}.packed");
        let packed = self.constant(&packed, &[count, length + 1], kind, raw);
        let places = format!("triangle{side}");
        if !self.graph.initializer.iter().any(|t| t.name == places) {
            let raw = (0..side * side)
                .map(|place| (place / side, place % side))
                .map(|(row, column)| {
                    let inside = row * (row + 1) / 2 + column;
                    if column <= row { inside } else { length }
                })
                .flat_map(|place| (place as i32).to_le_bytes())
                .collect();
            self.constant(&places, &[side, side], DataType::Int32, raw);
        }
        let axis = ("axis", Attribute::Int(1));
        self.node("Gather", name, &[&packed, &Value(places)], &[axis])
    }

    /// An input that a node may go without.
    pub fn absent() -> Value {
        Value(String::new())
    }

    /// A constant vector of integers.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, &[values.len()], DataType::Int64, raw)
    }

    /// A node with one output, which carries the node's name.
    pub fn node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        self.push(operator, name, inputs, attributes);
        Value(name.to_owned())
    }

    /// The finished file.
    pub fn finish(self, metadata: &[(&str, String)]) -> Vec<u8> {
        let metadata = metadata.iter().map(|(key, value)| StringStringEntryProto {
            key: (*key).to_owned(),
            value: value.clone(),
        });
        let model = ModelProto {
            producer_name: "edge-vae-train".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..self.graph.into_model(metadata.collect())
        };
        model.encode_to_vec()
    }

    fn constant(&mut self, name: &str, shape: &[usize], kind: DataType, raw: Vec<u8>) -> Value {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: shape.iter().map(|&d| d as i64).collect(),
            data_type: kind as i32,
            raw_data: raw,
            ..TensorProto::default()
        });
        Value(name.to_owned())
    }

    fn push(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) {
        self.graph.node.push(NodeProto {
            op_type: operator.to_owned(),
            name: name.to_owned(),
            input: inputs.iter().map(|v| v.0.clone()).collect(),
            output: vec![name.to_owned()],
            attribute: attributes
                .iter()
                .map(|(key, value)| attribute(key, value))
                .collect(),
            ..NodeProto::default()
        });
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto {
        name: name.to_owned(),
        ..AttributeProto::default()
    };
    let kind = match value {
        Attribute::Int(i) => {
            proto.i = *i;
            AttributeType::Int
        }
        Attribute::Ints(values) => {
            proto.ints = values.to_vec();
            AttributeType::Ints
        }
        Attribute::Float(f) => {
            proto.f = *f;
            AttributeType::Float
        }
        Attribute::Text(text) => {
            proto.s = text.as_bytes().to_vec();
            AttributeType::String
        }
    };
    proto.r#type = kind as i32;
    proto
}

fn value_info(name: &str, shape: &[usize]) -> ValueInfoProto {
    let sides = shape.iter().map(|&side| Dim::DimValue(side as i64));
    ValueInfoProto::float_tensor(
        name,
        [Dim::DimParam("N".to_owned())].into_iter().chain(sides),
    )
}
