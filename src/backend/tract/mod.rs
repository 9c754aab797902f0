//! The built-in engine: tract, pure Rust, CPU, one thread.

mod direct_conv;
mod matrix_vector;
mod registers;
mod vectors;
mod weighted_sum;

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TypedSimpleState;
use tract_onnx::tract_core::plan::eval;

use self::registers::clear_upper_halves;
use super::error::one_line;
use super::model_file::{MAX_ELEMENTS, ModelFile};
use super::{BackendError, Graph, TensorInfo, check_buffers};

/// The version that `Cargo.toml` pins; tract does not tell its own.
pub(super) const VERSION: &str = "0.23.9";

const ENGINE: &str = "tract";

/// A graph in tract.
pub(super) struct TractGraph {
    name: String,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    metadata: HashMap<String, String>,
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    /// One tensor an input, written anew for each run.
    buffers: Vec<Arc<Tensor>>,
}

impl TractGraph {
    pub(super) fn load(file: ModelFile) -> Result<Self, BackendError> {
        let load_error = |message: String| BackendError::Load {
            engine: ENGINE,
            graph: file.name.clone(),
            message,
        };
        let (plan, state) = guarded(|| optimise(&file)).map_err(load_error)?;
        let buffers = file
            .inputs
            .iter()
            .map(|input| Tensor::zero::<f32>(&input.shape).map(Arc::new))
            .collect::<TractResult<_>>()
            .map_err(|error| load_error(one_line(&format!("{error:#}"))))?;
        Ok(Self {
            name: file.name,
            inputs: file.inputs,
            outputs: file.outputs,
            metadata: file.metadata,
            plan,
            state,
            buffers,
        })
    }

    fn evaluate(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> TractResult<()> {
        let mut values: TVec<TValue> = tvec!();
        for (buffer, input) in self.buffers.iter_mut().zip(inputs) {
            match Arc::get_mut(buffer) {
                Some(tensor) => tensor
                    .try_as_plain_ram_mut()?
                    .as_slice_mut::<f32>()?
                    .copy_from_slice(input),
                // An output may be the input itself, and then shares its tensor until it is dropped.
                None => *buffer = Tensor::from_shape(buffer.shape(), input)?.into_arc_tensor(),
            }
            values.push(buffer.clone().into_tvalue());
        }
        let results = self
            .state
            .run_plan_with_eval(values, |context, state, node, inputs| {
                let outputs = eval(context, state, node, inputs);
                clear_upper_halves();
                outputs
            })?;
        for (buffer, result) in outputs.iter_mut().zip(&results) {
            buffer.copy_from_slice(result.try_as_plain_ram()?.as_slice::<f32>()?);
        }
        Ok(())
    }
}

impl Graph for TractGraph {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.metadata.get(key).cloned()
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError> {
        check_buffers(&self.name, (&self.inputs, inputs), (&self.outputs, outputs))?;
        guarded(|| self.evaluate(inputs, outputs)).map_err(|message| {
            // What a run left half done would spoil the next one.
            if let Ok(Ok(state)) = catch_unwind(AssertUnwindSafe(|| self.plan.spawn())) {
                self.state = state;
            }
            BackendError::Run {
                engine: ENGINE,
                graph: self.name.clone(),
                message,
            }
        })
    }
}

fn optimise(file: &ModelFile) -> TractResult<(Arc<TypedRunnableModel>, TypedSimpleState)> {
    let onnx = onnx();
    let nodes = file.proto.graph.iter().flat_map(|graph| &graph.node);
    for node in nodes {
        if !onnx.op_register.0.contains_key(&node.op_type) {
            return Err(TractError::msg(format!(
                "it does not know the operator {:?} of node {:?}; back end `ort` may",
                node.op_type, node.name
            )));
        }
    }
    let mut model = onnx.model_for_proto_model(&file.proto)?;
    model.analyse(false)?;
    for node in model.nodes() {
        for output in &node.outputs {
            let Some(shape) = output.fact.shape.as_concrete_finite()? else {
                continue;
            };
            let elements = shape
                .iter()
                .try_fold(1usize, |product, &dim| product.checked_mul(dim));
            if elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
                return Err(TractError::msg(format!(
                    "node {:?} makes a tensor of shape {shape:?}",
                    node.name
                )));
            }
        }
    }
    let mut model = model.into_typed()?.into_decluttered()?;
    direct_conv::replace_convolutions(&mut model)?;
    matrix_vector::replace_products(&mut model)?;
    model.optimize()?;
    for (info, outlet) in file.outputs.iter().zip(&model.outputs) {
        let fact = model.outlet_fact(*outlet)?;
        if fact.datum_type != f32::datum_type() || fact.shape.as_concrete() != Some(&info.shape) {
            return Err(TractError::msg(format!(
                "output {:?} is {fact:?} and declared as f32 {:?}",
                info.name, info.shape
            )));
        }
    }
    let plan = model.into_runnable()?;
    let state = plan.spawn()?;
    Ok((plan, state))
}

/// The values of a constant of 32-bit floats.
fn constants(tensor: &Tensor) -> TractResult<Option<&[f32]>> {
    if tensor.datum_type() != f32::datum_type() || !tensor.is_plain() {
        return Ok(None);
    }
    Ok(Some(tensor.try_as_plain_ram()?.as_slice::<f32>()?))
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs tract code that a hostile file may make panic: a panic becomes an error, and its message is
/// kept from stderr. Panics elsewhere reach the hook that was set before.
fn guarded<T>(code: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    // Setting a hook while panicking would abort.
    if !std::thread::panicking() {
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if !GUARDED.get() {
                    previous(info);
                }
            }));
        });
    }
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(code));
    GUARDED.set(false);
    clear_upper_halves();
    match result {
        Ok(result) => result.map_err(|error| one_line(&format!("{error:#}"))),
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(one_line(&format!(
                "the file is not one that tract can read ({message})"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::super::test_graphs::{
        GraphBuilder, bernoulli_decoder, bernoulli_decoder_by_loops, encode, two_heads,
        two_heads_by_loops, values,
    };
    use super::*;

    fn load(bytes: &[u8], batch: usize) -> Result<TractGraph, BackendError> {
        TractGraph::load(ModelFile::read(bytes, "test.onnx", batch)?)
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn the_version_is_the_pinned_one() {
        assert!(
            include_str!("../../../Cargo.toml")
                .contains(&format!("tract-onnx = {{ version = \"={VERSION}\""))
        );
    }

    #[test]
    fn an_encoder_gives_what_plain_loops_give() {
        for batch in [1, 5] {
            let mut graph = load(&encode(&two_heads()), batch).unwrap();
            assert_eq!(graph.outputs()[1].name, "log_variance");
            assert_eq!(graph.metadata("edge_vae.model").as_deref(), Some("test"));
            assert_eq!(graph.metadata("absent"), None);
            let (mut mean, mut log_variance) = (vec![0.0; batch * 4], vec![0.0; batch * 4]);
            // A second run with other values shows that nothing of the first stays behind.
            for seed in [20, 21] {
                let input = values(seed, batch * 72);
                graph
                    .run(&[&input], &mut [&mut mean, &mut log_variance])
                    .unwrap();
                for row in 0..batch {
                    let (m, l) = two_heads_by_loops(&input[row * 72..][..72]);
                    assert!(largest_difference(&mean[row * 4..][..4], &m) < 1e-5);
                    assert!(largest_difference(&log_variance[row * 4..][..4], &l) < 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_decoder_gives_what_plain_loops_give() {
        for batch in [1, 5] {
            let mut graph = load(&encode(&bernoulli_decoder()), batch).unwrap();
            let latent = values(30, batch * 4);
            let (mut reconstruction, mut logits) = (vec![0.0; batch * 72], vec![0.0; batch * 72]);
            graph
                .run(&[&latent], &mut [&mut reconstruction, &mut logits])
                .unwrap();
            for row in 0..batch {
                let expected = bernoulli_decoder_by_loops(&latent[row * 4..][..4]);
                let sigmoid: Vec<f32> = expected.iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect();
                assert!(largest_difference(&logits[row * 72..][..72], &expected) < 1e-5);
                assert!(largest_difference(&reconstruction[row * 72..][..72], &sigmoid) < 1e-5);
            }
        }
    }

    #[test]
    fn an_output_may_be_the_input() {
        let mut builder = GraphBuilder::default();
        builder.input("x", &[0, 3]);
        builder.node("Identity", &["x"], &["y"], vec![]);
        builder.output("y", &[0, 3]);
        let mut graph = load(&encode(&builder.finish()), 1).unwrap();
        let mut out = [0.0; 3];
        for value in [1.0, 2.0] {
            graph.run(&[&[value; 3]], &mut [&mut out]).unwrap();
            assert_eq!(out, [value; 3]);
        }
    }

    #[test]
    fn wrong_buffers_are_named() {
        let mut graph = load(&encode(&two_heads()), 1).unwrap();
        let (mut mean, mut log_variance) = ([0.0; 4], [0.0; 4]);
        let error = graph
            .run(&[&[0.0; 71]], &mut [&mut mean, &mut log_variance])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "test.onnx: the buffer for input `input` holds 71 values, its shape is [1, 2, 6, 6]"
        );
        let error = graph
            .run(&[&[0.0; 72]], &mut [&mut mean, &mut [0.0; 5]])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "test.onnx: the buffer for output `log_variance` holds 5 values, its shape is [1, 4]"
        );
        let error = graph.run(&[&[0.0; 72]], &mut [&mut mean]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "test.onnx: found 1 buffers for 2 outputs"
        );
        let error = graph
            .run(&[], &mut [&mut mean, &mut log_variance])
            .unwrap_err();
        assert_eq!(error.to_string(), "test.onnx: found 0 buffers for 1 inputs");
    }

    #[test]
    fn unknown_operators_and_absurd_sizes_are_errors() {
        let mut builder = GraphBuilder::default();
        builder.input("x", &[0, 3]);
        builder.node("Frobnicate", &["x"], &["y"], vec![]);
        builder.output("y", &[0, 3]);
        let error = load(&encode(&builder.finish()), 1)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("tract: cannot load test.onnx: ") && error.contains("Frobnicate"),
            "{error}"
        );

        // 10^6 × 10^6 inside the graph, ends of modest size.
        let mut builder = GraphBuilder::default();
        builder.input("x", &[0, 1]);
        builder.integers("large", &[1_000_000, 1_000_000]);
        builder.integers("axes", &[1]);
        builder.node("Expand", &["x", "large"], &["e"], vec![]);
        builder.node("ReduceSum", &["e", "axes"], &["y"], vec![]);
        builder.output("y", &[0, 1]);
        let error = load(&encode(&builder.finish()), 1)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("makes a tensor of shape"), "{error}");

        // The same as a constant, which tract would compute while it reads the file.
        let mut builder = GraphBuilder::default();
        builder.input("x", &[0, 1]);
        builder.integers("large", &[1_000_000, 1_000_000, 100]);
        builder.node("ConstantOfShape", &["large"], &["e"], vec![]);
        builder.node("Add", &["x", "e"], &["y"], vec![]);
        builder.output("y", &[0, 1]);
        let error = load(&encode(&builder.finish()), 1)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("tract: cannot load test.onnx: "),
            "{error}"
        );
    }

    #[test]
    fn a_declared_shape_that_is_not_the_real_one_is_an_error() {
        let mut builder = GraphBuilder::default();
        builder.input("x", &[0, 3]);
        builder.node("Relu", &["x"], &["y"], vec![]);
        builder.output("y", &[0, 4]);
        let error = load(&encode(&builder.finish()), 1)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("output \"y\""), "{error}");
    }

    /// Whatever happens to the bytes: an error or a graph that runs or fails, never a panic.
    #[test]
    fn damaged_files_are_errors() {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(7);
        let (mut refused, mut read) = (0, 0);
        let mut attempt = |bytes: &[u8]| match load(bytes, 1) {
            Ok(mut graph) => {
                let inputs: Vec<Vec<f32>> =
                    graph.inputs().iter().map(|i| vec![0.5; i.len()]).collect();
                let mut outputs: Vec<Vec<f32>> =
                    graph.outputs().iter().map(|o| vec![0.0; o.len()]).collect();
                let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                let mut outputs: Vec<&mut [f32]> =
                    outputs.iter_mut().map(Vec::as_mut_slice).collect();
                let _ = graph.run(&inputs, &mut outputs);
                read += 1;
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'));
                refused += 1;
            }
        };
        for whole in [encode(&two_heads()), encode(&bernoulli_decoder())] {
            for _ in 0..60 {
                attempt(&whole[..rng.random_range(0..whole.len())]);
            }
            for _ in 0..120 {
                let mut damaged = whole.clone();
                for _ in 0..rng.random_range(1..8) {
                    let at = rng.random_range(0..damaged.len());
                    damaged[at] ^= 1 << rng.random_range(0..8);
                }
                attempt(&damaged);
            }
            // Structure sits around the weights: damage the bytes that are no floats more often.
            let nodes = whole
                .windows(4)
                .position(|w| w == b"Conv" || w == b"Gemm")
                .unwrap();
            for _ in 0..120 {
                let mut damaged = whole.clone();
                let at =
                    rng.random_range(nodes.saturating_sub(40)..(nodes + 400).min(damaged.len()));
                damaged[at] = rng.random();
                attempt(&damaged);
            }
        }
        for _ in 0..60 {
            let length = rng.random_range(1..300);
            let noise: Vec<u8> = (0..length).map(|_| rng.random()).collect();
            attempt(&noise);
        }
        assert!(refused > 200 && read > 50, "{refused} refused, {read} read");
    }
}
