use prost::Message;
use tract_onnx::onnx;

use crate::backend::Graph;
use crate::backend::onnx::tensor_proto::DataType::{Int8, Int32};
use crate::backend::onnx::{ModelProto, TensorProto};
use crate::backend::test_graphs::{GraphBuilder, encode, int, ints, values};
use crate::backend::tract::{TractGraph, tests::load};

use super::*;

/// Matrices of bytes times vectors.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    /// Matrices, rows, columns.
    shape: [usize; 3],
    vectors: usize,
    /// Whether all matrices take the same vectors.
    shared: bool,
    /// Lower triangles, packed; rows and columns are as many.
    triangles: bool,
}

impl Case {
    fn bytes(&self) -> Vec<i8> {
        let [count, rows, columns] = self.shape;
        let bytes = values(70, count * rows * columns);
        let bytes = bytes.iter().enumerate().map(|(place, value)| {
            let above = place % columns > place / columns % rows;
            match self.triangles && above {
                true => 0,
                false => (value * 100.0) as i8,
            }
        });
        bytes.collect()
    }

    fn scale(&self) -> Vec<f32> {
        values(71, self.shape[0] * self.shape[1])
    }

    fn given(&self) -> [usize; 4] {
        let matrices = if self.shared { 1 } else { self.shape[0] };
        [self.batch, matrices, self.shape[2], self.vectors]
    }

    /// Adds the matrices as value `w`.
    fn matrices(&self, b: &mut GraphBuilder) {
        let [count, rows, columns] = self.shape;
        let bytes = self.bytes();
        let raw = |bytes: &[i8]| bytes.iter().map(|&byte| byte as u8).collect();
        if self.triangles {
            let length = rows * (rows + 1) / 2;
            let places = (0..rows * columns).map(|at| (at / columns, at % columns));
            let places = places.map(|(row, column)| match column <= row {
                true => row * (row + 1) / 2 + column,
                false => length,
            });
            let places: Vec<usize> = places.collect();
            let mut packed = vec![0; count * (length + 1)];
            for (at, &byte) in bytes.iter().enumerate() {
                let matrix = at / places.len();
                packed[matrix * (length + 1) + places[at % places.len()]] = byte;
            }
            b.constant("packed", &[count, length + 1], Int8, raw(&packed));
            let places = places.iter().flat_map(|&at| (at as i32).to_le_bytes());
            b.constant("places", &[rows, columns], Int32, places.collect());
            let axis = vec![int("axis", 1)];
            b.node("Gather", &["packed", "places"], &["stored"], axis);
        } else {
            b.constant("stored", &self.shape, Int8, raw(&bytes));
        }
        b.weights("scale", &[count as i64, rows as i64, 1], &self.scale());
        b.node("Cast", &["stored"], &["floats"], vec![int("to", 1)]);
        b.node("Mul", &["floats", "scale"], &["w"], vec![]);
    }

    fn file(&self) -> ModelProto {
        let mut b = GraphBuilder::default();
        let [_, given @ ..] = self.given().map(|n| n as i64);
        b.input("x", &[&[0], &given[..]].concat());
        self.matrices(&mut b);
        b.node("MatMul", &["w", "x"], &["y"], vec![]);
        let [count, rows, _] = self.shape.map(|n| n as i64);
        b.output("y", &[0, count, rows, self.vectors as i64]);
        b.finish()
    }

    fn by_loops(&self, input: &[f32]) -> Vec<f32> {
        let [count, rows, columns] = self.shape;
        let [_, given, _, vectors] = self.given();
        let (bytes, scale) = (self.bytes(), self.scale());
        let mut output = Vec::new();
        for frame in input.chunks(given * columns * vectors) {
            for row in 0..count * rows {
                let matrix = if self.shared { 0 } else { row / rows };
                for vector in 0..vectors {
                    let sum: f64 = (0..columns)
                        .map(|column| {
                            let value = frame[(matrix * columns + column) * vectors + vector];
                            f64::from(bytes[row * columns + column]) * f64::from(value)
                        })
                        .sum();
                    output.push((sum * f64::from(scale[row])) as f32);
                }
            }
        }
        output
    }
}

const SQUARES: Case = Case {
    batch: 1,
    shape: [5, 24, 24],
    vectors: 1,
    shared: false,
    triangles: false,
};

fn cases() -> Vec<Case> {
    let triangles = Case {
        triangles: true,
        ..SQUARES
    };
    let shared = Case {
        shape: [7, 13, 6],
        shared: true,
        ..SQUARES
    };
    let (shape, vectors, batch) = ([3, 37, 37], 9, 2);
    vec![
        SQUARES,
        triangles,
        shared,
        Case { shape, ..triangles },
        Case {
            vectors,
            ..triangles
        },
        Case { batch, ..triangles },
        Case {
            batch,
            vectors,
            ..shared
        },
        Case {
            shape: [1, 1, 9],
            batch,
            ..SQUARES
        },
    ]
}

fn operator(graph: &TractGraph) -> Option<ByteProduct> {
    let nodes = graph.plan.model().nodes().iter();
    let mut found = nodes.filter_map(|node| node.op_as::<ByteProduct>());
    found.next().cloned()
}

fn run(graph: &mut TractGraph, input: &[f32]) -> Vec<f32> {
    let mut output = vec![f32::NAN; graph.outputs()[0].len()];
    graph.run(&[input], &mut [&mut output]).unwrap();
    output
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    let mut pairs = found.iter().zip(expected);
    found.len() == expected.len() && pairs.all(|(a, b)| (a - b).abs() < 1e-3 + 1e-5 * b.abs())
}

#[test]
fn products_give_what_plain_loops_give() {
    for case in cases() {
        let mut graph = load(&encode(&case.file()), case.batch).unwrap();
        let op = operator(&graph).expect("one operator");
        assert_eq!(graph.plan.model().nodes().len(), 2, "{case:?}");
        let input = values(72, case.given().iter().product());
        let expected = case.by_loops(&input);
        assert!(close(&run(&mut graph, &input), &expected), "{case:?}");

        let ByteMatrices { panels, .. } = op.matrices.clone();
        let matrices = ByteMatrices {
            panels: panels.without_vectors(),
            ..op.matrices
        };
        let mut baseline = vec![f32::NAN; expected.len()];
        ByteProduct { matrices, ..op }.compute(&input, &mut baseline);
        assert!(close(&baseline, &expected), "{case:?}");
    }
}

/// Half of a triangle is not stored, and a byte is stored as one.
#[test]
fn a_triangle_takes_little_more_than_its_bytes() {
    let case = Case {
        shape: [3, 64, 64],
        triangles: true,
        ..SQUARES
    };
    let op = operator(&load(&encode(&case.file()), 1).unwrap()).unwrap();
    let expected = 3 * (8 + 16 + 24 + 32 + 40 + 48 + 56 + 64) * 8;
    assert_eq!(op.matrices.panels.weights(), expected);
}

/// Vectors of another rank, and matrices whose parts are used elsewhere too.
#[test]
fn other_products_of_bytes_are_right_as_well() {
    let mut b = GraphBuilder::default();
    b.input("x", &[0, 24]);
    b.integers("column", &[24, 1]);
    b.node("Reshape", &["x", "column"], &["given"], vec![]);
    SQUARES.matrices(&mut b);
    b.node("MatMul", &["w", "given"], &["z"], vec![]);
    b.integers("frame", &[1, 5, 24, 1]);
    b.node("Reshape", &["z", "frame"], &["y"], vec![]);
    b.output("y", &[0, 5, 24, 1]);
    let mut graph = load(&encode(&b.finish()), 1).unwrap();
    assert!(operator(&graph).is_none());
    let input = values(73, 24);
    let shared = Case {
        shared: true,
        ..SQUARES
    };
    assert!(close(&run(&mut graph, &input), &shared.by_loops(&input)));

    let mut b = GraphBuilder::default();
    b.input("x", &[0, 5, 24, 1]);
    SQUARES.matrices(&mut b);
    b.node("MatMul", &["w", "x"], &["z"], vec![]);
    b.node("ReduceMax", &["w"], &["largest"], vec![ints("axes", &[2])]);
    b.node("Add", &["z", "largest"], &["y"], vec![]);
    b.output("y", &[0, 5, 24, 1]);
    let mut graph = load(&encode(&b.finish()), 1).unwrap();
    assert!(operator(&graph).is_some());
    let input = values(74, 5 * 24);
    let mut expected = SQUARES.by_loops(&input);
    let (bytes, scale) = (SQUARES.bytes(), SQUARES.scale());
    for (row, value) in expected.iter_mut().enumerate() {
        let row_of_matrix = bytes[row * 24..][..24].iter();
        let values = row_of_matrix.map(|&byte| f32::from(byte) * scale[row]);
        *value += values.fold(f32::NEG_INFINITY, f32::max);
    }
    assert!(close(&run(&mut graph, &input), &expected));
}

/// What does not fit together is not made one, and tract says what it finds.
#[test]
fn what_does_not_fit_is_left_as_it_is() {
    let triangles = Case {
        triangles: true,
        ..SQUARES
    };
    type Change = fn(&mut TensorProto);
    let changes: [(&str, Change); 4] = [
        ("places", |places| {
            places.raw_data[0..4].copy_from_slice(&301_i32.to_le_bytes())
        }),
        ("places", |places| {
            places.raw_data[0..4].copy_from_slice(&(-302_i32).to_le_bytes())
        }),
        ("packed", |packed| packed.raw_data.truncate(17)),
        ("scale", |scale| scale.dims[2] = 7),
    ];
    for (name, change) in changes {
        let mut file = triangles.file();
        let constants = &mut file.graph.as_mut().unwrap().initializer;
        change(constants.iter_mut().find(|c| c.name == name).unwrap());
        if let Ok(graph) = load(&encode(&file), 1) {
            assert!(operator(&graph).is_none(), "{name}");
        }
    }
    // A small file may not become a large operator.
    let large = Case {
        shape: [1, 1, 1],
        ..triangles
    };
    let mut file = large.file();
    let graph = file.graph.as_mut().unwrap();
    for constant in &mut graph.initializer {
        match &constant.name[..] {
            "places" => {
                constant.dims = vec![1, 1 << 14];
                constant.raw_data = vec![0; 4 << 14];
            }
            name => {
                constant.dims[0] = 1 << 13;
                constant
                    .raw_data
                    .resize(if name == "scale" { 4 << 13 } else { 2 << 13 }, 0);
            }
        }
    }
    let tract = &mut tract_onnx::pb::ModelProto::decode(&encode(&file)[..]).unwrap();
    let graph = tract.graph.as_mut().unwrap();
    join(graph, &mut onnx());
    assert!(graph.node.iter().all(|node| node.op_type != OP_TYPE));

    // A file may not have the node itself.
    let mut file = SQUARES.file();
    let nodes = &mut file.graph.as_mut().unwrap().node;
    nodes.last_mut().unwrap().op_type = OP_TYPE.into();
    let error = load(&encode(&file), 1).err().unwrap().to_string();
    assert!(error.contains("does not know the operator"), "{error}");
}

/// Even where all bytes of its column are zero.
#[test]
fn a_value_that_is_not_a_number_is_not_lost() {
    let case = Case {
        triangles: true,
        ..SQUARES
    };
    let mut graph = load(&encode(&case.file()), 1).unwrap();
    for place in 0..5 * 24 {
        let mut input = values(75, 5 * 24);
        input[place] = f32::NAN;
        let found = run(&mut graph, &input);
        for (matrix, values) in found.chunks(24).enumerate() {
            let lost = values.iter().all(|value| !value.is_nan());
            assert_eq!(lost, matrix != place / 24, "{place}");
        }
    }
}
