//! The numbers that shapes are computed from, in so far as they can be told before anything runs.

use super::{
    Operator, count, dims,
    known::{FEW, Known},
};
use crate::backend::onnx::tensor_proto::DataType;

impl Operator<'_> {
    /// The numbers of the output, where they can be told, and whether they are integers.
    pub(super) fn numbers(&self) -> Option<(Vec<f64>, bool)> {
        let is_integer = || self.inputs.iter().flatten().all(|input| input.is_integer);
        let both = |of: fn(f64, f64) -> f64| -> Option<Vec<f64>> {
            let (a, b) = (self.values(0)?, self.values(1)?);
            let length = a.len().max(b.len());
            let at = |list: &[f64], index: usize| list.get(index % list.len().max(1)).copied();
            (0..length)
                .map(|index| Some(of(at(a, index)?, at(b, index)?)))
                .collect()
        };
        let each = |of: fn(f64) -> f64| Some(self.values(0)?.iter().map(|&v| of(v)).collect());
        let numbers = match self.node.op_type.as_str() {
            "Constant" => {
                let known = Known::of_constant(self.attribute("value")?.t.as_ref()?);
                return Some((known.numbers?, known.is_integer));
            }
            "Shape" => {
                let dims = self.shape(0)?.iter().map(|&dim| dim as f64).collect();
                return Some((dims, true));
            }
            "Cast" => {
                let to = self.int("to", 0);
                let integer = [DataType::Int32, DataType::Int64].map(|kind| kind as i64);
                let integer = integer.contains(&to);
                let cast = if integer { f64::trunc } else { |v| v };
                return Some((each(cast)?, integer));
            }
            "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => each(|v| v)?,
            "Floor" => each(f64::floor)?,
            "Ceil" => each(f64::ceil)?,
            "Neg" => each(|v| -v)?,
            "Add" => both(|a, b| a + b)?,
            "Sub" => both(|a, b| a - b)?,
            "Mul" => both(|a, b| a * b)?,
            "Div" if is_integer() => both(|a, b| (a / b).trunc())?,
            "Div" => both(|a, b| a / b)?,
            "Min" => both(f64::min)?,
            "Max" => both(f64::max)?,
            "Concat" => {
                let parts = (0..self.inputs.len()).map(|index| self.values(index));
                parts.collect::<Option<Vec<_>>>()?.concat()
            }
            "Gather" if self.shape(0)?.len() == 1 => {
                let x = self.values(0)?;
                let at = |&index: &f64| x.get(self.axis(index as i64, x.len())?).copied();
                self.values(1)?.iter().map(at).collect::<Option<_>>()?
            }
            "Slice" if self.shape(0)?.len() == 1 => {
                let (x, length) = (self.values(0)?, *self.slice()?.first()?);
                let start = *self.list(1, "starts")?.first()?;
                let steps = self.list(4, "steps").unwrap_or_else(|| vec![1]);
                let start = if start < 0 {
                    start + x.len() as i64
                } else {
                    start
                };
                let start = usize::try_from(start.max(0)).ok()?;
                let part = x.get(start..start.saturating_add(length as usize))?;
                (steps == [1]).then(|| part.to_vec())?
            }
            "ReduceProd" => vec![self.values(0)?.iter().product()],
            "ConstantOfShape" => {
                let length = count(&dims(self.values(0)?));
                let value = self.attribute("value").and_then(|a| a.t.as_ref());
                let value = value.map_or(Some(0.0), |t| {
                    Known::of_constant(t).numbers?.first().copied()
                })?;
                (length <= FEW as u64).then(|| vec![value; length as usize])?
            }
            _ => return None,
        };
        Some((numbers, is_integer()))
    }
}
