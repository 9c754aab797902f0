//! What is known of a tensor.

use crate::backend::onnx::{TensorProto, tensor_proto::DataType};

/// Longest list of numbers that is followed: shapes and what they are computed from.
pub(super) const FEW: usize = 64;

pub(in crate::backend) type Shape = Vec<u64>;

/// What is known of a tensor before anything runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::backend) struct Known {
    pub(in crate::backend) shape: Option<Shape>,
    /// The numbers themselves, where they are few and come from shapes and constants.
    pub(super) numbers: Option<Vec<f64>>,
    pub(super) is_integer: bool,
}

impl Known {
    pub(in crate::backend) fn of_shape(shape: Shape) -> Self {
        Self {
            shape: Some(shape),
            ..Self::default()
        }
    }

    pub(super) fn of_numbers(numbers: Vec<f64>, is_integer: bool) -> Self {
        Self {
            shape: Some(vec![numbers.len() as u64]),
            numbers: Some(numbers).filter(|numbers| numbers.len() <= FEW),
            is_integer,
        }
    }

    /// A constant of the file.
    pub(in crate::backend) fn of_constant(tensor: &TensorProto) -> Self {
        let shape: Shape = tensor.dims.iter().map(|&dim| dim.max(0) as u64).collect();
        let data_type = DataType::try_from(tensor.data_type).unwrap_or(DataType::Undefined);
        let raw = &tensor.raw_data;
        let numbers: Option<Vec<f64>> = match data_type {
            _ if count(&shape) > FEW as u64 => None,
            DataType::Int64 if raw.is_empty() => {
                Some(tensor.int64_data.iter().map(|&v| v as f64).collect())
            }
            DataType::Int32 if raw.is_empty() => {
                Some(tensor.int32_data.iter().map(|&v| f64::from(v)).collect())
            }
            DataType::Int64 => Some(numbers_of(raw, |b| i64::from_le_bytes(b) as f64)),
            DataType::Int32 => Some(numbers_of(raw, |b| f64::from(i32::from_le_bytes(b)))),
            DataType::Float if raw.is_empty() => {
                Some(tensor.float_data.iter().map(|&v| f64::from(v)).collect())
            }
            DataType::Float => Some(numbers_of(raw, |b| f64::from(f32::from_le_bytes(b)))),
            _ => None,
        };
        Self {
            numbers: numbers.filter(|numbers| numbers.len() as u64 == count(&shape)),
            shape: Some(shape),
            is_integer: data_type != DataType::Float,
        }
    }
}

fn numbers_of<const N: usize>(raw: &[u8], number: fn([u8; N]) -> f64) -> Vec<f64> {
    raw.as_chunks()
        .0
        .iter()
        .map(|&bytes| number(bytes))
        .collect()
}

/// Elements of a shape; the largest number where it is larger.
pub(in crate::backend) fn count(shape: &[u64]) -> u64 {
    shape
        .iter()
        .fold(1, |product, &dim| product.saturating_mul(dim))
}
