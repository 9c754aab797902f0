//! The built-in engine: tract, pure Rust, CPU, one thread.

mod bottleneck;
mod byte_product;
mod direct_conv;
mod matrix_vector;
mod panels;
mod plain_operator;
mod plans;
mod pointwise;
mod registers;
mod vectors;
mod weighted_sum;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Instant;

use prost::Message;
use tract_onnx::pb::{self, tensor_proto, tensor_shape_proto, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TypedSimpleState;
use tract_onnx::tract_core::plan::eval;

pub(super) use self::plans::Plans;
use self::registers::clear_upper_halves;
use super::error::one_line;
use super::model_file::ModelFile;
use super::{BackendError, Graph, GraphLimits, NodeTimes, Signature, TensorInfo};

/// The version that `Cargo.toml` pins; tract does not tell its own.
pub(super) const VERSION: &str = "0.23.9";

const ENGINE: &str = "tract";

/// A graph in tract.
pub(super) struct TractGraph {
    signature: Signature,
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    /// One tensor an input, written anew for each run.
    buffers: Vec<Arc<Tensor>>,
    times: Option<NodeTimes>,
}

impl TractGraph {
    /// `bytes` are those that `file` was read from; where they were loaded already, its plan among
    /// `plans` is taken. The time of each node is added to `times`.
    pub(super) fn load(
        bytes: &[u8],
        file: ModelFile,
        plans: &Plans,
        times: Option<NodeTimes>,
    ) -> Result<Self, BackendError> {
        let load_error = |message: String| BackendError::Load {
            engine: ENGINE,
            graph: file.signature.name.clone(),
            message,
        };
        let make = || guarded(|| optimise(bytes, &file));
        let plan = plans.get(bytes, file.batch, make).map_err(load_error)?;
        let state = guarded(|| plan.spawn()).map_err(load_error)?;
        let buffers = file
            .signature
            .inputs
            .iter()
            .map(|input| Tensor::zero::<f32>(&input.shape).map(Arc::new))
            .collect::<TractResult<_>>()
            .map_err(|error| load_error(one_line(&format!("{error:#}"))))?;
        Ok(Self {
            signature: file.signature,
            plan,
            state,
            buffers,
            times,
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
                // An output may be the input itself, and then shares its tensor until it is
                // dropped.
                None => *buffer = Tensor::from_shape(buffer.shape(), input)?.into_arc_tensor(),
            }
            values.push(buffer.clone().into_tvalue());
        }
        let (times, graph) = (&self.times, &self.signature.name);
        let results = self
            .state
            .run_plan_with_eval(values, |context, state, node, inputs| {
                let began = times.as_ref().map(|times| (times, Instant::now()));
                let outputs = eval(context, state, node, inputs);
                clear_upper_halves();
                if let Some((times, began)) = began {
                    times.note(graph, &node.name, &node.op().name(), began.elapsed());
                }
                outputs
            })?;
        for (buffer, result) in outputs.iter_mut().zip(&results) {
            buffer.copy_from_slice(result.try_as_plain_ram()?.as_slice::<f32>()?);
        }
        Ok(())
    }
}

impl Graph for TractGraph {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError> {
        self.signature.check_buffers(inputs, outputs)?;
        guarded(|| self.evaluate(inputs, outputs)).map_err(|message| {
            // What a run left half done would spoil the next one.
            if let Ok(Ok(state)) = catch_unwind(AssertUnwindSafe(|| self.plan.spawn())) {
                self.state = state;
            }
            BackendError::Run {
                engine: ENGINE,
                graph: self.signature.name.clone(),
                message,
            }
        })
    }
}

fn optimise(bytes: &[u8], file: &ModelFile) -> TractResult<Arc<TypedRunnableModel>> {
    let mut onnx = onnx();
    let mut proto = pb::ModelProto::decode(bytes)?;
    if let Some(graph) = &mut proto.graph {
        declare(graph, &file.signature);
    }
    let nodes = proto.graph.iter().flat_map(|graph| &graph.node);
    for node in nodes {
        if !onnx.op_register.0.contains_key(&node.op_type) {
            return Err(TractError::msg(format!(
                "it does not know the operator {:?} of node {:?}; back end `ort` may",
                node.op_type, node.name
            )));
        }
    }
    if let Some(graph) = &mut proto.graph {
        byte_product::join(graph, &mut onnx);
    }
    let mut model = onnx.model_for_proto_model(&proto)?;
    model.analyse(false)?;
    // Once more, of the shapes that the engine itself found.
    let most = GraphLimits::default().elements;
    for node in model.nodes() {
        for output in &node.outputs {
            let Some(shape) = output.fact.shape.as_concrete_finite()? else {
                continue;
            };
            let elements = shape
                .iter()
                .try_fold(1usize, |product, &dim| product.checked_mul(dim));
            if elements.is_none_or(|elements| elements > most) {
                return Err(TractError::msg(format!(
                    "node {:?} makes a tensor of shape {shape:?}",
                    node.name
                )));
            }
        }
    }
    let mut model = model.into_typed()?.into_decluttered()?;
    direct_conv::replace_convolutions(&mut model)?;
    bottleneck::replace_blocks(&mut model)?;
    matrix_vector::replace_products(&mut model)?;
    model.optimize()?;
    for (info, outlet) in file.signature.outputs.iter().zip(&model.outputs) {
        let fact = model.outlet_fact(*outlet)?;
        if fact.datum_type != f32::datum_type() || fact.shape.as_concrete() != Some(&info.shape) {
            return Err(TractError::msg(format!(
                "output {:?} is {fact:?} and declared as f32 {:?}",
                info.name, info.shape
            )));
        }
    }
    model.into_runnable()
}

/// Declares the inputs with the concrete shapes of `signature`, and nothing else: a parser of
/// dimension expressions is nothing to feed from outside.
fn declare(graph: &mut pb::GraphProto, signature: &Signature) {
    let dimension = |&size: &usize| tensor_shape_proto::Dimension {
        denotation: String::new(),
        value: Some(tensor_shape_proto::dimension::Value::DimValue(size as i64)),
    };
    let declared = |info: &TensorInfo| pb::ValueInfoProto {
        name: info.name.clone(),
        r#type: Some(pb::TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: tensor_proto::DataType::Float as i32,
                shape: Some(pb::TensorShapeProto {
                    dim: info.shape.iter().map(dimension).collect(),
                }),
            })),
        }),
        doc_string: String::new(),
    };
    graph.input = signature.inputs.iter().map(declared).collect();
    for value in &mut graph.output {
        value.r#type = None;
    }
    graph.value_info.clear();
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
mod tests;
