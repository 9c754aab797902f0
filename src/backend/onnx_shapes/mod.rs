//! Shapes of a graph's tensors, node by node: what an operator makes of the shapes of its inputs
//! (ONNX, opset 17 and the ones around it). An operator that is not here makes a tensor of which
//! nothing is known.

mod known;
mod numbers;
mod window;

use std::collections::HashMap;

use super::onnx::{AttributeProto, NodeProto};

pub(super) use known::{Known, Shape, count};

/// What is known of a node's outputs.
pub(super) fn infer(node: &NodeProto, tensors: &HashMap<&str, Known>) -> Vec<Known> {
    let inputs: Vec<Option<&Known>> = node
        .input
        .iter()
        .map(|name| tensors.get(name.as_str()).filter(|_| !name.is_empty()))
        .collect();
    let operator = Operator { node, inputs };
    let numbers = operator.numbers();
    let mut known = match operator.shapes() {
        // All outputs but the first are no larger than it.
        Some(shapes) if shapes.len() == 1 => {
            vec![Known::of_shape(shapes[0].clone()); node.output.len()]
        }
        Some(shapes) => shapes.into_iter().map(Known::of_shape).collect(),
        None => vec![Known::default(); node.output.len()],
    };
    known.resize(node.output.len(), Known::default());
    if let (Some((numbers, is_integer)), Some(first)) = (numbers, known.first_mut()) {
        let shape = first.shape.take();
        *first = Known::of_numbers(numbers, is_integer);
        first.shape = shape.or(first.shape.take());
    }
    known
}

struct Operator<'a> {
    node: &'a NodeProto,
    inputs: Vec<Option<&'a Known>>,
}

impl<'a> Operator<'a> {
    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|a| a.name == name)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    /// A list, or so many times its default.
    fn ints(&self, name: &str, count: usize, default: i64) -> Vec<i64> {
        let given = self.attribute(name).map(|a| a.ints.clone());
        let mut given = given.unwrap_or_default();
        given.resize(count, default);
        given
    }

    fn shape(&self, index: usize) -> Option<&'a Shape> {
        (*self.inputs.get(index)?)?.shape.as_ref()
    }

    fn values(&self, index: usize) -> Option<&'a [f64]> {
        (*self.inputs.get(index)?)?.numbers.as_deref()
    }

    /// A list that newer opsets have as an input, and older ones as an attribute.
    fn list(&self, index: usize, name: &str) -> Option<Vec<i64>> {
        match self.attribute(name) {
            Some(attribute) => Some(attribute.ints.clone()),
            None => Some(self.values(index)?.iter().map(|&v| v as i64).collect()),
        }
    }

    fn axis(&self, axis: i64, rank: usize) -> Option<usize> {
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < rank)
    }

    fn shapes(&self) -> Option<Vec<Shape>> {
        let one = match self.node.op_type.as_str() {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Min" | "Max" | "Mean" | "Sum"
            | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or"
            | "Xor" | "Where" | "PRelu" => self.broadcast_all()?,
            "Conv" => self.conv()?,
            "ConvTranspose" => self.conv_transpose()?,
            "MaxPool" | "AveragePool" | "LpPool" => {
                let x = self.shape(0)?;
                let kernel = &self.attribute("kernel_shape")?.ints;
                let kernel: Vec<u64> = kernel.iter().map(|&k| k.max(0) as u64).collect();
                self.windows(x, &kernel, *x.get(1)?)?
            }
            "GlobalAveragePool" | "GlobalMaxPool" => {
                let x = self.shape(0)?;
                let kept = x.iter().take(2).copied();
                kept.chain(x.iter().skip(2).map(|_| 1)).collect()
            }
            "MatMul" => matrix_product(self.shape(0)?, self.shape(1)?)?,
            "Gemm" => {
                let (a, b) = (self.shape(0)?, self.shape(1)?);
                let rows = a.get(usize::from(self.int("transA", 0) != 0))?;
                let columns = b.get(usize::from(self.int("transB", 0) == 0))?;
                vec![*rows, *columns]
            }
            "Flatten" => {
                let x = self.shape(0)?;
                let at = self.int("axis", 1);
                let at = if at < 0 { at + x.len() as i64 } else { at };
                let (outer, inner) = x.split_at_checked(usize::try_from(at).ok()?)?;
                vec![count(outer), count(inner)]
            }
            "Reshape" => reshaped(self.shape(0)?, self.values(1)?)?,
            "Squeeze" => self.squeezed()?,
            "Unsqueeze" => self.unsqueezed()?,
            "Transpose" => {
                let x = self.shape(0)?;
                let reversed = (0..x.len() as i64).rev().collect();
                let order = self.attribute("perm").map_or(reversed, |a| a.ints.clone());
                let dim = |axis: &i64| x.get(usize::try_from(*axis).ok()?).copied();
                order.iter().map(dim).collect::<Option<_>>()?
            }
            "Concat" => self.concatenated()?,
            "Split" => return self.parts(),
            "Slice" => self.slice()?,
            "Gather" => {
                let (x, indices) = (self.shape(0)?, self.shape(1)?);
                let axis = self.axis(self.int("axis", 0), x.len())?;
                [&x[..axis], indices, &x[axis + 1..]].concat()
            }
            "GatherElements" => self.shape(1)?.clone(),
            "Expand" => broadcast(self.shape(0)?, &dims(self.values(1)?))?,
            "Tile" => {
                let times = dims(self.values(1)?);
                let x = self.shape(0)?;
                x.iter()
                    .zip(times)
                    .map(|(dim, times)| dim.saturating_mul(times))
                    .collect()
            }
            "Pad" => self.padded()?,
            "ConstantOfShape" => dims(self.values(0)?),
            "Constant" => match self.attribute("value")?.t.as_ref() {
                Some(tensor) => Known::of_constant(tensor).shape?,
                None => return None,
            },
            "Shape" => vec![self.shape(0)?.len() as u64],
            "Size" => Vec::new(),
            "Resize" => self.resized(2, Some(3))?,
            "Upsample" => self.resized(1, None)?,
            "DepthToSpace" | "SpaceToDepth" => self.blocks()?,
            "ArgMax" | "ArgMin" => self.reduced(&[self.int("axis", 0)])?,
            "TopK" => {
                let mut x = self.shape(0)?.clone();
                let axis = self.axis(self.int("axis", -1), x.len())?;
                x[axis] = *dims(self.values(1)?).first()?;
                x
            }
            "OneHot" => {
                let depth = *dims(self.values(1)?).first()?;
                [&self.shape(0)?[..], &[depth]].concat()
            }
            "Range" => {
                let [Some(&[from]), Some(&[to]), Some(&[step])] =
                    [0, 1, 2].map(|index| self.values(index))
                else {
                    return None;
                };
                vec![((to - from) / step).ceil().max(0.0) as u64]
            }
            name if name.starts_with("Reduce") => {
                let all = (0..self.shape(0)?.len() as i64).collect();
                self.reduced(&self.list(1, "axes").unwrap_or(all))?
            }
            name if KEEP_THEIR_SHAPE.contains(&name) => self.shape(0)?.clone(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn broadcast_all(&self) -> Option<Shape> {
        let mut all = Shape::new();
        for index in 0..self.inputs.len() {
            all = broadcast(&all, self.shape(index)?)?;
        }
        Some(all)
    }

    fn squeezed(&self) -> Option<Shape> {
        let x = self.shape(0)?;
        let Some(axes) = self.list(1, "axes") else {
            return Some(x.iter().copied().filter(|&dim| dim != 1).collect());
        };
        let axes: Vec<usize> = axes
            .iter()
            .map(|&axis| self.axis(axis, x.len()))
            .collect::<Option<_>>()?;
        let kept = x
            .iter()
            .enumerate()
            .filter(|(axis, _)| !axes.contains(axis));
        Some(kept.map(|(_, &dim)| dim).collect())
    }

    fn unsqueezed(&self) -> Option<Shape> {
        let mut x = self.shape(0)?.clone();
        let axes = self.list(1, "axes")?;
        let rank = x.len() + axes.len();
        let mut axes: Vec<usize> = axes
            .iter()
            .map(|&axis| self.axis(axis, rank))
            .collect::<Option<_>>()?;
        axes.sort_unstable();
        for axis in axes {
            x.insert(axis.min(x.len()), 1);
        }
        Some(x)
    }

    fn concatenated(&self) -> Option<Shape> {
        let mut shape = self.shape(0)?.clone();
        let axis = self.axis(self.int("axis", 0), shape.len())?;
        for index in 1..self.inputs.len() {
            shape[axis] = shape[axis].saturating_add(*self.shape(index)?.get(axis)?);
        }
        Some(shape)
    }

    fn parts(&self) -> Option<Vec<Shape>> {
        let x = self.shape(0)?;
        let axis = self.axis(self.int("axis", 0), x.len())?;
        let parts = self.node.output.len().max(1) as u64;
        let sizes = match self.list(1, "split") {
            Some(sizes) => sizes.iter().map(|&size| size.max(0) as u64).collect(),
            None => vec![x[axis].div_ceil(parts); parts as usize],
        };
        let part = |&size: &u64| {
            let mut part = x.clone();
            part[axis] = size;
            part
        };
        Some(sizes.iter().map(part).collect())
    }

    fn slice(&self) -> Option<Shape> {
        let mut x = self.shape(0)?.clone();
        let (starts, ends) = (self.list(1, "starts")?, self.list(2, "ends")?);
        let axes = self
            .list(3, "axes")
            .unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self
            .list(4, "steps")
            .unwrap_or_else(|| vec![1; starts.len()]);
        for (((start, end), axis), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = self.axis(*axis, x.len())?;
            let size = i64::try_from(x[axis]).ok()?;
            let place = |at: i64| if at < 0 { at.saturating_add(size) } else { at }.clamp(0, size);
            let length = place(*end).abs_diff(place(*start));
            x[axis] = length.div_ceil(step.unsigned_abs().max(1));
        }
        Some(x)
    }

    fn padded(&self) -> Option<Shape> {
        let mut x = self.shape(0)?.clone();
        let pads = self.list(1, "pads")?;
        let all = || (0..x.len() as i64).collect();
        let axes: Vec<i64> = self
            .values(3)
            .map_or_else(all, |axes| axes.iter().map(|&axis| axis as i64).collect());
        for (place, axis) in axes.iter().enumerate() {
            let around = pads
                .get(place)?
                .checked_add(*pads.get(place + axes.len())?)?;
            let axis = self.axis(*axis, x.len())?;
            x[axis] = x[axis].saturating_add_signed(around);
        }
        Some(x)
    }

    fn resized(&self, scales: usize, sizes: Option<usize>) -> Option<Shape> {
        let x = self.shape(0)?;
        if let Some(sizes) = sizes.and_then(|index| self.values(index)) {
            return Some(dims(sizes));
        }
        let given: Vec<f64> = match self.attribute("scales") {
            Some(attribute) => attribute.floats.iter().map(|&v| f64::from(v)).collect(),
            None => self.values(scales)?.to_vec(),
        };
        let scaled = x
            .iter()
            .zip(&given)
            .map(|(&dim, scale)| (dim as f64 * scale) as u64);
        (given.len() == x.len()).then(|| scaled.collect())
    }

    fn blocks(&self) -> Option<Shape> {
        let &[n, c, height, width] = self.shape(0)?.as_slice() else {
            return None;
        };
        let side = self.int("blocksize", 1).max(1) as u64;
        let area = side.saturating_mul(side);
        Some(match self.node.op_type.as_str() {
            "DepthToSpace" => {
                vec![
                    n,
                    c / area,
                    height.saturating_mul(side),
                    width.saturating_mul(side),
                ]
            }
            _ => vec![n, c.saturating_mul(area), height / side, width / side],
        })
    }

    fn reduced(&self, axes: &[i64]) -> Option<Shape> {
        let mut x = self.shape(0)?.clone();
        let mut axes: Vec<usize> = axes
            .iter()
            .map(|&axis| self.axis(axis, x.len()))
            .collect::<Option<_>>()?;
        axes.sort_unstable();
        for axis in axes.into_iter().rev() {
            if self.int("keepdims", 1) != 0 {
                x[axis] = 1;
            } else {
                x.remove(axis);
            }
        }
        Some(x)
    }
}

/// Operators whose outputs have the shape of the first input, or are smaller.
const KEEP_THEIR_SHAPE: [&str; 56] = [
    "Abs",
    "Acos",
    "Asin",
    "Atan",
    "BatchNormalization",
    "BitShift",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "CumSum",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Mish",
    "Neg",
    "Not",
    "QuantizeLinear",
    "Reciprocal",
    "Relu",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
    "ThresholdedRelu",
];

fn dims(numbers: &[f64]) -> Shape {
    numbers
        .iter()
        .map(|&number| number.max(0.0) as u64)
        .collect()
}

fn broadcast(a: &[u64], b: &[u64]) -> Option<Shape> {
    let rank = a.len().max(b.len());
    let at = |shape: &[u64], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing {
            1
        } else {
            shape[axis - missing]
        }
    };
    let dim = |axis| match (at(a, axis), at(b, axis)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    };
    (0..rank).map(dim).collect()
}

fn matrix_product(a: &[u64], b: &[u64]) -> Option<Shape> {
    match (a, b) {
        ([_], [_]) => Some(Vec::new()),
        ([_], [outer @ .., _, columns]) => Some([outer, &[*columns]].concat()),
        ([outer @ .., rows, _], [_]) => Some([outer, &[*rows]].concat()),
        ([outer_a @ .., rows, _], [outer_b @ .., _, columns]) => {
            let mut shape = broadcast(outer_a, outer_b)?;
            shape.extend([*rows, *columns]);
            Some(shape)
        }
        _ => None,
    }
}

/// 0 keeps a dimension, −1 is what is left.
fn reshaped(x: &[u64], wanted: &[f64]) -> Option<Shape> {
    let mut shape = Shape::new();
    for (axis, &dim) in wanted.iter().enumerate() {
        shape.push(match dim {
            0.0 => *x.get(axis)?,
            -1.0 => 1,
            dim => dim.max(0.0) as u64,
        });
    }
    if let Some(axis) = wanted.iter().position(|&dim| dim == -1.0) {
        shape[axis] = count(x).checked_div(count(&shape))?;
    }
    Some(shape)
}

#[cfg(test)]
mod tests;
