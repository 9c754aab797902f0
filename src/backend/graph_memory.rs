//! How much memory running a graph takes, as far as its shapes tell.

use std::collections::HashMap;

use super::{
    GraphLimits, MEMORY_VARIABLE, TensorInfo,
    onnx::{GraphProto, NodeProto, TensorProto},
    onnx_shapes::{Known, count, infer},
};

/// Bytes of an element: those of `f32`, and of what shapes are computed in at most twice.
const ELEMENT: u64 = 4;

/// Follows the shapes through the graph, and refuses one that takes more memory than `limits` give,
/// or makes a tensor of more elements. Tensors whose shapes can't be told are not counted.
///
/// # Errors
/// What is too large, and what to do.
pub(super) fn check(
    graph: &GraphProto,
    inputs: &[TensorInfo],
    limits: &GraphLimits,
) -> Result<(), String> {
    let mut tensors: HashMap<&str, Known> = HashMap::new();
    let mut live: HashMap<&str, u64> = HashMap::new();
    for input in inputs {
        let shape: Vec<u64> = input.shape.iter().map(|&dim| dim as u64).collect();
        live.insert(&input.name, bytes_of(&shape));
        tensors.insert(&input.name, Known::of_shape(shape));
    }
    let mut weights = 0_u64;
    for tensor in &graph.initializer {
        weights = weights.saturating_add(stored_bytes(tensor));
        tensors.insert(&tensor.name, Known::of_constant(tensor));
    }
    // The engine's own copy.
    weights = weights.saturating_mul(2);

    let mut last_use: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        last_use.extend(node.input.iter().map(|name| (name.as_str(), index)));
    }
    last_use.extend(
        graph
            .output
            .iter()
            .map(|output| (output.name.as_str(), usize::MAX)),
    );

    let mut peak = 0;
    let mut largest = None;
    for (index, node) in graph.node.iter().enumerate() {
        let scratch = window_bytes(node, &tensors);
        for (name, known) in node.output.iter().zip(infer(node, &tensors)) {
            if let Some(shape) = &known.shape {
                if count(shape) > limits.elements as u64 {
                    return Err(format!(
                        "node {} makes a tensor of shape {shape:?}, at most {} elements are made",
                        named(node),
                        limits.elements
                    ));
                }
                live.insert(name, bytes_of(shape));
            }
            tensors.insert(name, known);
        }
        let now = live
            .values()
            .fold(scratch, |sum, &bytes| sum.saturating_add(bytes));
        if now > peak {
            (peak, largest) = (now, Some(node));
        }
        for name in node.input.iter().chain(&node.output) {
            if last_use
                .get(name.as_str())
                .is_none_or(|&last| last <= index)
            {
                live.remove(name.as_str());
            }
        }
    }

    let together = weights.saturating_add(peak);
    if together <= limits.memory_bytes {
        return Ok(());
    }
    let most = largest.map_or(String::new(), |node| {
        format!(", most at node {}", named(node))
    });
    Err(format!(
        "it takes {} of memory as far as its shapes tell (weights {}, tensors {}{most}), at most \
         {} are given to a graph; if it is to run, set {MEMORY_VARIABLE}={}",
        mib(together),
        mib(weights),
        mib(peak),
        mib(limits.memory_bytes),
        together.div_ceil(1 << 20)
    ))
}

fn named(node: &NodeProto) -> String {
    format!("{:?} ({})", node.name, node.op_type)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn bytes_of(shape: &[u64]) -> u64 {
    count(shape).saturating_mul(ELEMENT)
}

fn stored_bytes(tensor: &TensorProto) -> u64 {
    let lists = tensor.float_data.len() + tensor.int32_data.len() + 2 * tensor.int64_data.len();
    (tensor.raw_data.len() + 4 * lists) as u64
}

/// What a convolution lays its windows out in, before it multiplies them. One whose every channel
/// is by itself, or whose window is a pixel, needs no such copy.
fn window_bytes(node: &NodeProto, tensors: &HashMap<&str, Known>) -> u64 {
    let shape = |index: usize| {
        tensors
            .get(node.input.get(index)?.as_str())?
            .shape
            .as_deref()
    };
    let laid_out = || {
        if node.op_type != "Conv" {
            return None;
        }
        let (x, weights) = (shape(0)?, shape(1)?);
        let window = count(weights.get(2..)?);
        let channels = *x.get(1)?;
        if window <= 1 || *weights.get(1)? == 1 {
            return None;
        }
        let made = infer(node, tensors).pop()?.shape?;
        let places = count(made.get(2..)?).saturating_mul(*x.first()?);
        Some(
            places
                .saturating_mul(channels)
                .saturating_mul(window)
                .saturating_mul(ELEMENT),
        )
    };
    laid_out().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        onnx::GraphProto,
        test_graphs::{GraphBuilder, int, ints},
    };

    fn input(shape: &[usize]) -> Vec<TensorInfo> {
        vec![TensorInfo {
            name: "x".into(),
            shape: shape.to_vec(),
        }]
    }

    fn graph(build: impl FnOnce(&mut GraphBuilder)) -> GraphProto {
        let mut builder = GraphBuilder::default();
        builder.input("x", &[0, 1, 8, 8]);
        build(&mut builder);
        builder.output("y", &[0, 1, 8, 8]);
        builder.finish().graph.unwrap()
    }

    fn check_within(graph: &GraphProto, memory_bytes: u64) -> Result<(), String> {
        let limits = GraphLimits {
            memory_bytes,
            ..GraphLimits::default()
        };
        check(graph, &input(&[1, 1, 8, 8]), &limits)
    }

    #[test]
    fn tensors_count_while_they_live_and_weights_twice() {
        // Three tensors of 256 bytes, of which two live at a time, and weights of 4.
        let chain = graph(|builder| {
            builder.weights("w", &[1], &[1.0]);
            builder.node("Relu", &["x"], &["a"], vec![]);
            builder.node("Mul", &["a", "w"], &["b"], vec![]);
            builder.node("Relu", &["b"], &["y"], vec![]);
        });
        assert_eq!(check_within(&chain, 2 * 256 + 8), Ok(()));
        let problem = check_within(&chain, 2 * 256 + 7).unwrap_err();
        let expected = "most at node \"Relu-a\" (Relu)), at most 1 MiB are given to a graph; if \
                        it is to run, set EDGE_VAE_MODEL_MEMORY_MIB=1";
        assert!(problem.ends_with(expected), "{problem}");
        // A tensor that is used at the end lives till then.
        let kept = graph(|builder| {
            builder.node("Relu", &["x"], &["a"], vec![]);
            builder.node("Relu", &["a"], &["b"], vec![]);
            builder.node("Add", &["a", "b"], &["y"], vec![]);
        });
        assert_eq!(check_within(&kept, 3 * 256), Ok(()));
        assert!(check_within(&kept, 3 * 256 - 1).is_err());
        // Windows of 3×3 are laid out.
        let window = graph(|builder| {
            builder.weights("w", &[2, 1, 3, 3], &[0.0; 18]);
            builder.weights("v", &[1, 2, 3, 3], &[0.0; 18]);
            builder.node("Conv", &["x", "w"], &["a"], vec![ints("pads", &[1; 4])]);
            builder.node("Conv", &["a", "v"], &["y"], vec![ints("pads", &[1; 4])]);
        });
        let most = 2 * 2 * 72 + (2 + 1) * 256 + 2 * 9 * 256;
        assert_eq!(check_within(&window, most), Ok(()));
        assert!(check_within(&window, most - 1).is_err());
    }

    /// Files of some hundred bytes that would take all memory there is.
    #[test]
    fn small_files_that_ask_for_much_are_refused() {
        let huge = 1_i64 << 20;
        let cases: [(&str, GraphProto); 7] = [
            (
                "ConstantOfShape",
                graph(|builder| {
                    builder.integers("shape", &[huge, huge]);
                    builder.node("ConstantOfShape", &["shape"], &["y"], vec![]);
                }),
            ),
            (
                "Expand",
                graph(|builder| {
                    builder.integers("shape", &[huge, 64, 8, 8]);
                    builder.node("Expand", &["x", "shape"], &["y"], vec![]);
                }),
            ),
            (
                "Tile",
                graph(|builder| {
                    builder.integers("times", &[1, 1, huge, 8]);
                    builder.node("Tile", &["x", "times"], &["y"], vec![]);
                }),
            ),
            (
                "Pad",
                graph(|builder| {
                    builder.integers("pads", &[0, 0, huge, 0, 0, 0, 0, huge]);
                    builder.node("Pad", &["x", "pads"], &["y"], vec![]);
                }),
            ),
            (
                "Resize",
                graph(|builder| {
                    builder.weights("scales", &[4], &[1.0, 1.0, 1e5, 1e5]);
                    builder.node("Resize", &["x", "", "scales"], &["y"], vec![]);
                }),
            ),
            (
                "Conv",
                graph(|builder| {
                    builder.weights("w", &[1, 1, 1, 1], &[1.0]);
                    let pads = vec![ints("pads", &[huge; 4])];
                    builder.node("Conv", &["x", "w"], &["y"], pads);
                }),
            ),
            // A size that is computed.
            (
                "Expand",
                graph(|builder| {
                    builder.integers("square", &[huge]);
                    builder.integers("one", &[1]);
                    builder.node("Shape", &["x"], &["sides"], vec![]);
                    builder.node("Gather", &["sides", "one"], &["side"], vec![int("axis", 0)]);
                    builder.node("Mul", &["side", "square"], &["long"], vec![]);
                    builder.node("Mul", &["long", "square"], &["longer"], vec![]);
                    builder.node(
                        "Concat",
                        &["longer", "sides"],
                        &["shape"],
                        vec![int("axis", 0)],
                    );
                    builder.node("Expand", &["x", "shape"], &["y"], vec![]);
                }),
            ),
        ];
        for (operator, graph) in cases {
            let problem = check(&graph, &input(&[1, 1, 8, 8]), &GraphLimits::default());
            let problem = problem.expect_err(operator);
            assert!(problem.contains(&format!("({operator})")), "{problem}");
        }
    }
}
