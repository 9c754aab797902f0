use super::*;
use crate::backend::{
    onnx::TensorProto,
    test_graphs::{GraphBuilder, int, ints},
};

/// The shape of what one node makes of tensors of these shapes, and of lists of integers.
fn shape_of(
    operator: &str,
    attributes: Vec<AttributeProto>,
    shapes: &[&[u64]],
    lists: &[&[i64]],
) -> Option<Shape> {
    let names: Vec<String> = (0..shapes.len() + lists.len())
        .map(|i| i.to_string())
        .collect();
    let mut builder = GraphBuilder::default();
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    builder.node(operator, &inputs, &["y"], attributes);
    let node = builder.finish().graph.unwrap().node.remove(0);
    let shapes = shapes.iter().map(|shape| Known::of_shape(shape.to_vec()));
    let lists = lists
        .iter()
        .map(|list| Known::of_constant(&TensorProto::integers("", list)));
    let tensors = inputs.iter().copied().zip(shapes.chain(lists)).collect();
    infer(&node, &tensors).remove(0).shape
}

#[test]
fn each_operator_makes_the_shape_that_the_standard_says() {
    let x: &[u64] = &[2, 3, 10, 8];
    let conv = |list: &[(&str, &[i64])]| -> Vec<AttributeProto> {
        list.iter()
            .map(|(name, values)| ints(name, values))
            .collect()
    };
    type Case<'a> = (
        &'a str,
        Vec<AttributeProto>,
        Vec<&'a [u64]>,
        Vec<&'a [i64]>,
        Shape,
    );
    let cases: Vec<Case<'_>> = vec![
        ("Relu", vec![], vec![x], vec![], vec![2, 3, 10, 8]),
        (
            "Add",
            vec![],
            vec![x, &[3, 1, 1]],
            vec![],
            vec![2, 3, 10, 8],
        ),
        ("Add", vec![], vec![&[1, 8], &[4, 1]], vec![], vec![4, 8]),
        (
            "Conv",
            conv(&[("pads", &[1; 4]), ("strides", &[2, 2])]),
            vec![x, &[16, 3, 3, 3]],
            vec![],
            vec![2, 16, 6, 5],
        ),
        (
            "Conv",
            conv(&[("dilations", &[2, 2])]),
            vec![x, &[4, 3, 3, 3]],
            vec![],
            vec![2, 4, 6, 4],
        ),
        (
            "ConvTranspose",
            conv(&[
                ("strides", &[2, 2]),
                ("pads", &[1; 4]),
                ("output_padding", &[1, 1]),
            ]),
            vec![x, &[3, 5, 3, 3]],
            vec![],
            // At most one larger than it is.
            vec![2, 5, 22, 18],
        ),
        (
            "MaxPool",
            conv(&[("kernel_shape", &[2, 2]), ("strides", &[2, 2])]),
            vec![x],
            vec![],
            vec![2, 3, 5, 4],
        ),
        (
            "GlobalAveragePool",
            vec![],
            vec![x],
            vec![],
            vec![2, 3, 1, 1],
        ),
        (
            "MatMul",
            vec![],
            vec![&[7, 1, 4, 5], &[3, 5, 6]],
            vec![],
            vec![7, 3, 4, 6],
        ),
        (
            "Gemm",
            vec![int("transB", 1)],
            vec![&[4, 5], &[6, 5]],
            vec![],
            vec![4, 6],
        ),
        ("Flatten", vec![], vec![x], vec![], vec![2, 240]),
        (
            "Reshape",
            vec![],
            vec![x],
            vec![&[0, -1, 4]],
            vec![2, 60, 4],
        ),
        (
            "Squeeze",
            vec![],
            vec![&[1, 3, 1, 4]],
            vec![&[2]],
            vec![1, 3, 4],
        ),
        (
            "Unsqueeze",
            vec![],
            vec![&[3, 4]],
            vec![&[0, -1]],
            vec![1, 3, 4, 1],
        ),
        (
            "Transpose",
            vec![ints("perm", &[0, 2, 3, 1])],
            vec![x],
            vec![],
            vec![2, 10, 8, 3],
        ),
        (
            "Concat",
            vec![int("axis", 1)],
            vec![x, x],
            vec![],
            vec![2, 6, 10, 8],
        ),
        (
            "Slice",
            vec![],
            vec![x],
            vec![&[1, -5], &[9, 100], &[2, 3], &[2, 1]],
            vec![2, 3, 4, 5],
        ),
        (
            "Gather",
            vec![int("axis", 1)],
            vec![x, &[5, 6]],
            vec![],
            vec![2, 5, 6, 10, 8],
        ),
        (
            "Expand",
            vec![],
            vec![&[3, 1]],
            vec![&[2, 1, 6]],
            vec![2, 3, 6],
        ),
        ("Tile", vec![], vec![&[3, 2]], vec![&[2, 3]], vec![6, 6]),
        (
            "Pad",
            vec![],
            vec![&[3, 2]],
            vec![&[0, 1, 2, -1]],
            vec![5, 2],
        ),
        ("ConstantOfShape", vec![], vec![], vec![&[4, 5]], vec![4, 5]),
        (
            "DepthToSpace",
            vec![int("blocksize", 2)],
            vec![&[1, 8, 3, 3]],
            vec![],
            vec![1, 2, 6, 6],
        ),
        (
            "SpaceToDepth",
            vec![int("blocksize", 2)],
            vec![&[1, 2, 6, 6]],
            vec![],
            vec![1, 8, 3, 3],
        ),
        (
            "ReduceMean",
            vec![ints("axes", &[-1, 2]), int("keepdims", 0)],
            vec![x],
            vec![],
            vec![2, 3],
        ),
        ("ReduceSum", vec![], vec![x], vec![&[1]], vec![2, 1, 10, 8]),
        ("TopK", vec![], vec![x], vec![&[4]], vec![2, 3, 10, 4]),
    ];
    for (operator, attributes, shapes, lists, expected) in cases {
        let found = shape_of(operator, attributes, &shapes, &lists);
        assert_eq!(found, Some(expected), "{operator}");
    }
    assert_eq!(shape_of("Einsum", vec![], &[x, x], &[]), None);
    assert_eq!(shape_of("Add", vec![], &[&[2], &[3]], &[]), None);
}

/// Nothing in a node may make it panic.
#[test]
fn impossible_nodes_are_unknown() {
    let far = i64::MAX;
    for operator in [
        "Conv",
        "ConvTranspose",
        "MaxPool",
        "Reshape",
        "Slice",
        "Pad",
        "Tile",
        "Expand",
        "Gather",
        "Split",
        "Concat",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "ReduceMax",
        "Resize",
        "DepthToSpace",
        "MatMul",
        "Gemm",
        "TopK",
        "Range",
        "ConstantOfShape",
        "Shape",
        "Div",
    ] {
        for list in [&[][..], &[far; 3], &[-far; 3], &[0, -1, -1]] {
            for shape in [&[][..], &[0], &[u64::MAX, 2, 3]] {
                for attribute in ["axis", "pads", "strides", "axes", "perm", "kernel_shape"] {
                    let mut attribute = ints(attribute, list);
                    attribute.i = list.first().copied().unwrap_or(-far);
                    let lists = [list, list, list, list];
                    shape_of(operator, vec![attribute.clone()], &[shape], &lists);
                    shape_of(operator, vec![attribute.clone()], &[], &lists);
                    shape_of(operator, vec![attribute], &[shape, shape], &lists);
                }
            }
        }
    }
}
