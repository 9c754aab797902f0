//! Convolutions of few input channels a group, depthwise ones above all, and means of neighbours,
//! as sums of shifted rows.
//!
//! tract computes these pixel by pixel where the stride is not 1 or the kernel has more than a few
//! taps. Here the rows that a run of output rows needs are copied with their padding into one plane
//! a phase of the stride, all of one width. Then the neighbour of an output under any tap is at a
//! fixed distance, whatever the stride, and the run is one long row without borders: a few columns
//! at the end of each of its rows are computed for nothing.

mod side;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::math::{Max, Min};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{
    constants,
    plain_operator::plain_operator,
    vectors::Vectors,
    weighted_sum::{BLOCK, Taps, clamp, weighted_sums},
};

pub(super) use self::side::{Side, every};

#[cfg(test)]
mod tests;

/// Most input channels of a group. With more of them, tract's matrix products are as good.
const MAX_CHANNELS: usize = 4;

/// Largest side of a kernel.
const MAX_KERNEL: usize = 7;

/// Largest step: more phases than this are mostly not looked at.
const MAX_STRIDE: usize = 4;

/// Widest row of outputs: a bound of what copied rows take.
const MAX_WIDTH: usize = 1 << 14;

/// Values of copied rows that are aimed at: half of a small first-level cache.
const CELLS: usize = 4096;

/// Replaces what [`DirectConv`] can do in a decluttered model, with the clamp that follows.
pub(super) fn replace_convolutions(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let Some(mut op) = DirectConv::of(model, id)? else {
            continue;
        };
        let mut last = id;
        while let Some((next, low, high)) = clamp_after(model, last)? {
            op.high = op.high.max(low).min(high);
            op.low = op.low.max(low).min(high);
            last = next;
        }
        let mut patch = TypedModelPatch::new("direct convolution");
        let input = patch.tap_model(model, model.node(id).inputs[0])?;
        let output = patch.wire_node(&model.node(last).name, op, &[input])?[0];
        patch.shunt_outside(model, last.into(), output)?;
        patch.apply(model)?;
    }
    Ok(())
}

/// What reads the output of node `id`, if it is one node and nobody outside.
pub(super) fn only_reader(model: &TypedModel, id: usize) -> TractResult<Option<InletId>> {
    let outside = model.output_outlets()?.contains(&id.into());
    Ok(match model.outlet_successors(id.into()) {
        &[inlet] if !outside => Some(inlet),
        _ => None,
    })
}

/// The node after `id` and its bounds, if it is the only one that reads it and takes the larger or
/// the smaller of each value and a constant.
pub(super) fn clamp_after(model: &TypedModel, id: usize) -> TractResult<Option<(usize, f32, f32)>> {
    let Some(inlet) = only_reader(model, id)? else {
        return Ok(None);
    };
    let next = model.node(inlet.node);
    let (Some(TypedBinOp(op, None)), 2) = (next.op_as::<TypedBinOp>(), next.inputs.len()) else {
        return Ok(None);
    };
    let other = model.outlet_fact(next.inputs[1 - inlet.slot])?;
    let Some(&[bound]) = other.konst.as_deref().map(constants).transpose()?.flatten() else {
        return Ok(None);
    };
    let same_shape = next.outputs[0].fact.shape == model.node(id).outputs[0].fact.shape;
    Ok(if !same_shape || bound.is_nan() {
        None
    } else if op.is::<Max>() {
        Some((next.id, bound, f32::INFINITY))
    } else if op.is::<Min>() {
        Some((next.id, f32::NEG_INFINITY, bound))
    } else {
        None
    })
}

/// A convolution of groups of few input channels, factors and a clamp.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DirectConv {
    pub(super) rows: Side,
    pub(super) columns: Side,
    pub(super) input_shape: TVec<usize>,
    pub(super) output_shape: TVec<usize>,
    groups: usize,
    /// Input channels of a group.
    inputs: usize,
    /// Output channels of a group.
    outputs: usize,
    /// Output channel, input channel of the group, row, column.
    weights: Vec<f32>,
    /// One an output channel.
    bias: Vec<f32>,
    /// What a sum is multiplied by at each place of an output channel; empty for nothing.
    factors: Vec<f32>,
    low: f32,
    high: f32,
    /// Distances of the taps of one output channel from the first.
    offsets: Vec<usize>,
    vectors: Vectors,
}

/// Weights that are NaN make it unlike itself, and then it is merely not merged with its like.
impl Eq for DirectConv {}

impl DirectConv {
    /// The operator for a node, if it is a convolution or a mean that this file is for.
    fn of(model: &TypedModel, id: usize) -> TractResult<Option<Self>> {
        let node = model.node(id);
        let Some(from) = node.inputs.first() else {
            return Ok(None);
        };
        let (from, to) = (model.outlet_fact(*from)?, &node.outputs[0].fact);
        let floats = [from, to].map(|fact| fact.datum_type == f32::datum_type());
        let (Some(from), Some(to), [true, true]) =
            (from.shape.as_concrete(), to.shape.as_concrete(), floats)
        else {
            return Ok(None);
        };
        if let Some(pool) = node.op_as::<SumPool>() {
            return Ok(Self::mean(pool, from, to));
        }
        let (Some(conv), &[_, kernel, bias]) = (node.op_as::<Conv>(), &node.inputs[..]) else {
            return Ok(None);
        };
        let (Some(kernel), Some(bias), true, None) = (
            model.outlet_fact(kernel)?.konst.as_deref(),
            model.outlet_fact(bias)?.konst.as_deref(),
            conv.kernel_fmt == KernelFormat::OIHW,
            &conv.q_params,
        ) else {
            return Ok(None);
        };
        let (Some(weights), Some(bias)) = (constants(kernel)?, constants(bias)?) else {
            return Ok(None);
        };
        let bias = match bias {
            &[one] => vec![one; conv.pool_spec.output_channels],
            bias => bias.to_vec(),
        };
        let parameters = (weights.to_vec(), bias);
        Ok(Self::new(
            &conv.pool_spec,
            conv.group,
            [from, to],
            parameters,
        ))
    }

    /// Means of the values under a window that are not padding.
    fn mean(pool: &SumPool, from: &[usize], to: &[usize]) -> Option<Self> {
        let spec = &pool.pool_spec;
        let channels = spec.input_channels;
        // A weight for each tap and channel, which must not outgrow the picture.
        let weights =
            (spec.kernel_shape.iter()).try_fold(channels, |all, &side| all.checked_mul(side))?;
        if !pool.normalize || pool.count_include_pad || weights > from.iter().product() {
            return None;
        }
        let parameters = (vec![1.0; weights], vec![0.0; channels]);
        let mut op = Self::new(spec, channels, [from, to], parameters)?;
        let down = op.rows.inside();
        let across = op.columns.inside();
        if down.contains(&0) || across.contains(&0) {
            return None;
        }
        let of_row = |rows: usize| {
            across
                .iter()
                .map(move |&columns| 1.0 / (rows * columns) as f32)
        };
        op.factors = down.iter().flat_map(|&rows| of_row(rows)).collect();
        Some(op)
    }

    /// The operator with these weights and one bias a channel, if it can do that.
    fn new(
        spec: &PoolSpec,
        groups: usize,
        [from, to]: [&[usize]; 2],
        (weights, bias): (Vec<f32>, Vec<f32>),
    ) -> Option<Self> {
        let fits = matches!(spec.data_format, DataFormat::NCHW | DataFormat::CHW)
            && spec.rank() == 2
            && spec.dilations().iter().all(|&dilation| dilation == 1)
            && (spec.kernel_shape.iter()).all(|side| (1..=MAX_KERNEL).contains(side))
            && spec.kernel_shape.iter().any(|&side| side > 1)
            && (spec.strides().iter()).all(|stride| (1..=MAX_STRIDE).contains(stride))
            && groups > 0
            && spec.input_channels.is_multiple_of(groups)
            && spec.output_channels.is_multiple_of(groups)
            && (1..=MAX_CHANNELS).contains(&(spec.input_channels / groups));
        if !fits {
            return None;
        }
        let inputs = spec.input_channels / groups;
        let taps = inputs * spec.kernel_shape.iter().product::<usize>();
        let (batch, own) = if spec.data_format.has_n() {
            (from.first().copied()?, 1)
        } else {
            (1, 0)
        };
        let (&[from_channels, height, width], &[to_channels, to_height, to_width]) =
            (from.get(own..)?, to.get(own..)?)
        else {
            return None;
        };
        let pads = spec.computed_padding(&[height, width]);
        let side = |axis: usize, input: usize, output: usize| Side {
            input,
            output,
            kernel: spec.kernel_shape[axis],
            stride: spec.stride(axis),
            pad: pads[axis].pad_before,
        };
        let (rows, columns) = (side(0, height, to_height), side(1, width, to_width));
        let consistent = from_channels == spec.input_channels
            && to_channels == spec.output_channels
            && (own == 0 || to[0] == batch)
            && spec.output_channels.checked_mul(taps) == Some(weights.len())
            && bias.len() == spec.output_channels
            && (0..2).all(|axis| pads[axis].convoluted == [to_height, to_width][axis])
            && to_width <= MAX_WIDTH
            && !from.contains(&0)
            && !to.contains(&0);
        if !consistent {
            return None;
        }
        let mut op = Self {
            rows,
            columns,
            input_shape: from.into(),
            output_shape: to.into(),
            groups,
            inputs,
            outputs: spec.output_channels / groups,
            weights,
            bias,
            factors: Vec::new(),
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
            offsets: Vec::with_capacity(taps),
            vectors: Vectors::detect(),
        };
        let (width, plane) = (op.width(), op.plane());
        for channel in 0..inputs {
            for (y, x) in (0..rows.kernel).flat_map(|y| (0..columns.kernel).map(move |x| (y, x))) {
                let phase = (channel * rows.phases() + y % rows.stride) * columns.phases()
                    + x % columns.stride;
                let inside = y / rows.stride * width + x / columns.stride;
                op.offsets.push(phase * plane + inside);
            }
        }
        Some(op)
    }

    /// Width of a copied row, in columns of the output.
    fn width(&self) -> usize {
        self.columns.output + self.columns.reach()
    }

    /// Whether each output channel is made of the input channel of the same number alone, without
    /// factors.
    pub(super) fn is_depthwise(&self) -> bool {
        (self.inputs, self.outputs) == (1, 1) && self.factors.is_empty()
    }

    /// Input channels, which are the output channels of a depthwise convolution.
    pub(super) fn channels(&self) -> usize {
        self.groups * self.inputs
    }

    /// Output rows that are computed together.
    fn run(&self) -> usize {
        let phases = self.inputs * self.rows.phases() * self.columns.phases();
        // Runs much shorter than what overlaps would mostly copy.
        let least = 2 * self.rows.reach() + 1;
        (CELLS / (phases * self.width()))
            .max(least)
            .min(self.rows.output)
    }

    /// Values of one phase of one channel.
    fn plane(&self) -> usize {
        (self.run() + self.rows.reach()) * self.width()
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        let (run, width, plane) = (self.run(), self.width(), self.plane());
        let Rows {
            mut cells,
            mut sums,
        } = self.make_rows();
        let from = self.inputs * self.rows.input * self.columns.input;
        let to = self.rows.output * self.columns.output;
        let groups = input
            .chunks_exact(from)
            .zip(output.chunks_exact_mut(self.outputs * to));
        for (place, (input, output)) in groups.enumerate() {
            let group = place % self.groups;
            for first in (0..self.rows.output).step_by(run) {
                let rows = run.min(self.rows.output - first);
                for (channel, picture) in input.chunks_exact(from / self.inputs).enumerate() {
                    let per_channel = self.rows.phases() * self.columns.phases() * plane;
                    let cells = &mut cells[channel * per_channel..];
                    self.copy_rows((first, rows), plane, cells, self.of_picture(picture));
                }
                let sums = &mut sums[..(rows * width).next_multiple_of(BLOCK)];
                for (own, output) in output.chunks_exact_mut(to).enumerate() {
                    let taps = self.taps(group * self.outputs + own);
                    weighted_sums(self.vectors, &taps, &cells, sums);
                    self.multiply(first, sums);
                    let output =
                        output[first * self.columns.output..].chunks_exact_mut(self.columns.output);
                    for (row, sums) in output.zip(sums.chunks(width)).take(rows) {
                        row.copy_from_slice(&sums[..row.len()]);
                    }
                }
            }
        }
    }

    /// Those of an output channel. What factors are to change is clamped after them.
    fn taps(&self, channel: usize) -> Taps<'_> {
        let taps = self.offsets.len();
        Taps {
            offsets: &self.offsets,
            weights: &self.weights[channel * taps..][..taps],
            start: self.bias[channel],
            limits: match self.factors.is_empty() {
                true => [self.low, self.high],
                false => [f32::NEG_INFINITY, f32::INFINITY],
            },
        }
    }

    /// Room for the rows of a run.
    pub(super) fn make_rows(&self) -> Rows {
        let planes = self.inputs * self.rows.phases() * self.columns.phases();
        // The last tap begins `reach` rows and columns into the last plane, whose rest holds a run;
        // sums are rounded up to a block, and so look beyond it.
        Rows {
            cells: vec![0.0; planes * self.plane() + BLOCK + self.columns.reach()],
            sums: vec![0.0; (self.run() * self.width()).next_multiple_of(BLOCK)],
        }
    }

    /// A channel's `count` output rows from `first` of a depthwise convolution, each given to
    /// `sink`. `copy` gives input: see [`copy_rows`](Self::copy_rows).
    pub(super) fn depthwise_rows(
        &self,
        channel: usize,
        (first, count): (usize, usize),
        room: &mut Rows,
        copy: impl Fn(usize, usize, &mut [f32]),
        mut sink: impl FnMut(usize, &[f32]),
    ) {
        let (run, width, plane) = (self.run(), self.width(), self.plane());
        let taps = self.taps(channel);
        for start in (first..first + count).step_by(run) {
            let rows = run.min(first + count - start);
            self.copy_rows((start, rows), plane, &mut room.cells, &copy);
            let sums = &mut room.sums[..(rows * width).next_multiple_of(BLOCK)];
            weighted_sums(self.vectors, &taps, &room.cells, sums);
            for (row, sums) in sums.chunks(width).take(rows).enumerate() {
                sink(start + row, &sums[..self.columns.output]);
            }
        }
    }

    /// What [`copy_rows`](Self::copy_rows) takes of a picture of one channel.
    pub(super) fn of_picture(&self, picture: &[f32]) -> impl Fn(usize, usize, &mut [f32]) {
        let columns = self.columns;
        move |row, at, target| {
            let row = &picture[row * columns.input..][..columns.input];
            every(columns.stride, &row[at..], target);
        }
    }

    /// Multiplies the sums of output rows from `first` by their factors, where there are any, and
    /// clamps them.
    fn multiply(&self, first: usize, sums: &mut [f32]) {
        let factors = self.factors.chunks_exact(self.columns.output).skip(first);
        for (row, factors) in sums.chunks_mut(self.width()).zip(factors) {
            for (sum, factor) in row.iter_mut().zip(factors) {
                *sum = clamp(*sum * factor, [self.low, self.high]);
            }
        }
    }

    /// Copies what the `rows` outputs from `first` look at, a plane each phase of the stride.
    /// `copy` fills a slice with values of an input row, every `stride`-th from a column on.
    #[inline(always)]
    fn copy_rows(
        &self,
        (first, rows): (usize, usize),
        plane: usize,
        cells: &mut [f32],
        copy: impl Fn(usize, usize, &mut [f32]),
    ) {
        let (width, columns) = (self.width(), &self.columns);
        for phase in 0..self.rows.phases() {
            // As far as the phase's last tap reaches.
            for row in 0..rows + (self.rows.kernel - 1 - phase) / self.rows.stride {
                let source = ((first + row) * self.rows.stride + phase)
                    .checked_sub(self.rows.pad)
                    .filter(|&source| source < self.rows.input);
                for column_phase in 0..columns.phases() {
                    let target = (phase * columns.phases() + column_phase) * plane + row * width;
                    let target = &mut cells[target..][..width];
                    let Some(source) = source else {
                        target.fill(0.0);
                        continue;
                    };
                    let before = columns.pad.saturating_sub(column_phase);
                    let before = before.div_ceil(columns.stride).min(width);
                    let at = (before * columns.stride + column_phase).saturating_sub(columns.pad);
                    let (left, target) = target.split_at_mut(before);
                    left.fill(0.0);
                    let inside = columns.input.saturating_sub(at).div_ceil(columns.stride);
                    let (target, right) = target.split_at_mut(inside.min(target.len()));
                    if !target.is_empty() {
                        copy(source, at, target);
                    }
                    right.fill(0.0);
                }
            }
        }
    }
}

/// Copied rows and their sums, of one run at a time.
pub(super) struct Rows {
    cells: Vec<f32>,
    sums: Vec<f32>,
}

plain_operator!(DirectConv);
