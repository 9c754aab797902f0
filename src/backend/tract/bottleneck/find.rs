//! Finds blocks in a decluttered model, whose 1×1 convolutions are sums of products and biases.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::Add;

use super::super::{
    constants,
    direct_conv::{DirectConv, clamp_after, only_reader},
    pointwise::Pointwise,
};
use super::Bottleneck;

/// Replaces what a [`Bottleneck`] can do. Depthwise convolutions are operators of ours already.
pub(in super::super) fn replace_blocks(model: &mut TypedModel) -> TractResult<()> {
    // Those that begin with an expansion before those that could.
    for begin in [begin_of_expansion, begin_of_depthwise] {
        for id in 0..model.nodes().len() {
            let Some((op, [first, last])) = block(model, id, begin)? else {
                continue;
            };
            let mut patch = TypedModelPatch::new("inverted bottleneck");
            let input = patch.tap_model(model, model.node(first).inputs[0])?;
            let output = patch.wire_node(&model.node(last).name, op, &[input])?[0];
            patch.shunt_outside(model, last.into(), output)?;
            patch.apply(model)?;
        }
    }
    Ok(())
}

/// How a block may begin: its expansion, if it has one, and its depthwise convolution's node.
type Begin = fn(&TypedModel, usize) -> TractResult<Option<(Option<Pointwise>, usize)>>;

fn begin_of_expansion(
    model: &TypedModel,
    id: usize,
) -> TractResult<Option<(Option<Pointwise>, usize)>> {
    let Some((expand, last)) = pointwise(model, id)? else {
        return Ok(None);
    };
    Ok(only_reader(model, last)?.map(|inlet| (Some(expand), inlet.node)))
}

fn begin_of_depthwise(
    _: &TypedModel,
    id: usize,
) -> TractResult<Option<(Option<Pointwise>, usize)>> {
    Ok(Some((None, id)))
}

/// The block that begins with node `id`, and its first and its last node.
fn block(
    model: &TypedModel,
    id: usize,
    begin: Begin,
) -> TractResult<Option<(Bottleneck, [usize; 2])>> {
    let Some((expand, middle)) = begin(model, id)? else {
        return Ok(None);
    };
    let Some(depthwise) = model.node(middle).op_as::<DirectConv>() else {
        return Ok(None);
    };
    let Some(inlet) = only_reader(model, middle)? else {
        return Ok(None);
    };
    let Some((project, mut last)) = pointwise(model, inlet.node)? else {
        return Ok(None);
    };
    let input = model.node(id).inputs[0];
    let shapes = [input, last.into()].map(|outlet| model.outlet_fact(outlet));
    let [from, to] = shapes;
    let (Some(from), Some(to)) = (from?.shape.as_concrete(), to?.shape.as_concrete()) else {
        return Ok(None);
    };
    let (input_shape, output_shape) = (TVec::from(from), TVec::from(to));
    let channels = depthwise.channels();
    let fits = depthwise.is_depthwise()
        && project.inputs() == channels
        && expand
            .as_ref()
            .is_none_or(|expand| expand.outputs() == channels);
    if !fits {
        return Ok(None);
    }
    let sum = sum_with(model, last, input)?;
    last = sum.unwrap_or(last);
    let op = Bottleneck {
        expand,
        depthwise: depthwise.clone(),
        project,
        residual: sum.is_some(),
        input_shape,
        output_shape,
    };
    Ok(op.is_whole().then_some((op, [id, last])))
}

/// The node that adds `input` to the output of node `id`, if nothing else reads that.
fn sum_with(model: &TypedModel, id: usize, input: OutletId) -> TractResult<Option<usize>> {
    let Some(inlet) = only_reader(model, id)? else {
        return Ok(None);
    };
    let next = model.node(inlet.node);
    let adds = next.op_as::<TypedBinOp>();
    let adds =
        adds.is_some_and(|TypedBinOp(op, datum_type)| op.is::<Add>() && datum_type.is_none());
    let same = model.outlet_fact(input)?.shape == model.node(id).outputs[0].fact.shape;
    Ok(
        (adds && same && next.inputs.len() == 2 && next.inputs[1 - inlet.slot] == input)
            .then_some(next.id),
    )
}

/// The 1×1 convolution that begins with node `id`, and its last node: products, bias, clamp.
fn pointwise(model: &TypedModel, id: usize) -> TractResult<Option<(Pointwise, usize)>> {
    let node = model.node(id);
    let (Some(products), &[input, matrix]) = (node.op_as::<EinSum>(), &node.inputs[..]) else {
        return Ok(None);
    };
    let facts = [input, matrix].map(|outlet| model.outlet_fact(outlet));
    let [from, matrix] = facts;
    let (from, matrix, to) = (from?, matrix?, &node.outputs[0].fact);
    let floats = [from, to]
        .iter()
        .all(|fact| fact.datum_type == f32::datum_type());
    let (Some(weights), Some(&[outputs, inputs]), Some(from), Some(to), true) = (
        matrix
            .konst
            .as_deref()
            .map(constants)
            .transpose()?
            .flatten(),
        matrix.shape.as_concrete(),
        from.shape.as_concrete(),
        to.shape.as_concrete(),
        floats && products.q_params.is_none(),
    ) else {
        return Ok(None);
    };
    if inputs == 0 || outputs == 0 || !multiplies_channels(&products.axes, from, to)? {
        return Ok(None);
    }
    let mut last = id;
    let mut bias = vec![0.0; outputs];
    if let Some((next, values)) = bias_after(model, id, outputs)? {
        bias = values;
        last = next;
    }
    let (mut low, mut high) = (f32::NEG_INFINITY, f32::INFINITY);
    while let Some((next, least, most)) = clamp_after(model, last)? {
        high = high.max(least).min(most);
        low = low.max(least).min(most);
        last = next;
    }
    Ok(Some((Pointwise::new(weights, &bias, [low, high]), last)))
}

/// Whether a matrix O×C times frames of C×H×W gives O×H×W, each with a batch before it or, of one
/// frame, without.
fn multiplies_channels(axes: &AxesMapping, from: &[usize], to: &[usize]) -> TractResult<bool> {
    let ([3 | 4, 3 | 4], one_each) = ([from.len(), to.len()], from.len() == to.len()) else {
        return Ok(false);
    };
    // Axes of the channels.
    let (c, o) = (from.len() - 3, to.len() - 3);
    let is = |input: usize, axis: usize, inputs: [&[usize]; 2], output: &[usize]| {
        let found = axes.axis((InOut::In(input), axis))?;
        TractResult::Ok(
            found.inputs.len() == 2
                && (0..2).all(|slot| found.inputs[slot][..] == *inputs[slot])
                && found.outputs[0][..] == *output,
        )
    };
    let batch = match one_each {
        true => c == 0 || is(0, 0, [&[0], &[]], &[0])?,
        false => from[..c].iter().chain(&to[..o]).all(|&frames| frames == 1),
    };
    Ok(batch
        && is(0, c, [&[c], &[1]], &[])?
        && is(0, c + 1, [&[c + 1], &[]], &[o + 1])?
        && is(0, c + 2, [&[c + 2], &[]], &[o + 2])?
        && is(1, 0, [&[], &[0]], &[o])?)
}

/// The node that adds a constant to each channel, and the constants.
fn bias_after(
    model: &TypedModel,
    id: usize,
    channels: usize,
) -> TractResult<Option<(usize, Vec<f32>)>> {
    let Some(inlet) = only_reader(model, id)? else {
        return Ok(None);
    };
    let next = model.node(inlet.node);
    let Some(TypedBinOp(op, None)) = next.op_as::<TypedBinOp>() else {
        return Ok(None);
    };
    if !op.is::<Add>() || next.inputs.len() != 2 {
        return Ok(None);
    }
    let other = model.outlet_fact(next.inputs[1 - inlet.slot])?;
    let Some(values) = other.konst.as_deref().map(constants).transpose()?.flatten() else {
        return Ok(None);
    };
    let mut shape = vec![1; other.rank()];
    if other.rank() < 3 {
        return Ok(None);
    }
    shape[other.rank() - 3] = channels;
    let of_channels = other.shape.as_concrete() == Some(&shape);
    let same_shape = next.outputs[0].fact.shape == model.node(id).outputs[0].fact.shape;
    Ok((of_channels && same_shape).then(|| (next.id, values.to_vec())))
}
