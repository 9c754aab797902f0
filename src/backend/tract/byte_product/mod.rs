//! Products of matrices that a file holds as bytes, with a scale a row, and vectors.
//!
//! A file spells such a product `[Gather →] Cast → Mul → MatMul`. The first three depend on
//! constants alone, so tract would compute them when it loads the file: four bytes a weight, of
//! zeros of triangles too, in several copies at one time. What this module finds of them becomes
//! one node before tract sees it, and the bytes stay bytes.

mod join;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::matmul::{MatMulInference, compute_shapes};

pub(super) use self::join::join;
use super::panels::Panels;
use super::plain_operator::plain_operator;

/// The node that [`join`] makes. It is no operator of a file's.
const OP_TYPE: &str = "edge_vae.ByteProduct";

// Its attributes: values M×R×C, or M×values and the place of each element R×C among them; M×R×1.
const BYTES: &str = "bytes";
const ORDER: &str = "order";
const SCALE: &str = "scale";

/// The matrices of a product.
#[derive(Clone, Debug, PartialEq)]
struct ByteMatrices {
    /// Matrices, rows, columns.
    shape: [usize; 3],
    panels: Panels<i8>,
    /// Matrices×rows.
    scale: Vec<f32>,
}

/// Reads the node.
fn read(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let tensor = |name: &str| {
        let attribute = node.attribute.iter().find(|a| a.name == name);
        attribute.and_then(|a| a.t.as_ref())
    };
    let bytes = tensor(BYTES).context("no bytes")?;
    let scale = tensor(SCALE).context("no scale")?;
    let order = tensor(ORDER);
    let of = |tensor| sizes(tensor).context("a negative dimension");
    let (count, [rows, columns]) = match (&of(bytes)?[..], order.map(of).transpose()?.as_deref()) {
        (&[count, rows, columns], None) => (count, [rows, columns]),
        (&[count, _], Some(&[rows, columns])) => (count, [rows, columns]),
        _ => bail!("matrices of unknown shape"),
    };
    ensure!(count > 0 && rows > 0 && columns > 0);
    let stride = bytes.raw_data.len() / count;
    let places: Vec<usize> = match order {
        Some(order) => integers(order).collect(),
        None => (0..rows * columns).collect(),
    };
    let shape = [count, rows, columns];
    let panels = Panels::new(shape, |matrix, row, column| {
        bytes.raw_data[matrix * stride + places[row * columns + column]] as i8
    });
    let (scale, _) = scale.raw_data.as_chunks::<4>();
    let scale = scale.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let matrices = ByteMatrices {
        shape,
        panels,
        scale,
    };
    Ok((expand(matrices), vec![]))
}

/// The dimensions of a tensor.
fn sizes(tensor: &TensorProto) -> Option<Vec<usize>> {
    let sizes = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok());
    sizes.collect()
}

/// The values of a constant of 32-bit integers; negative ones are larger than any length.
fn integers(tensor: &TensorProto) -> impl Iterator<Item = usize> {
    let (values, _) = tensor.raw_data.as_chunks::<4>();
    values.iter().map(|&b| i32::from_le_bytes(b) as usize)
}

impl Expansion for ByteMatrices {
    fn name(&self) -> StaticName {
        "ByteProduct".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, f32::datum_type())?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.given(&inputs[0].shape, move |solver, vectors| {
            let matrices = self.shape.iter().map(|dim| dim.to_dim()).collect();
            let (.., product) = compute_shapes(matrices, vectors, false, false, false)?;
            solver.equals(&outputs[0].shape, product)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let given = model.outlet_fact(inputs[0])?.shape.as_concrete();
        let [count, rows, columns] = self.shape;
        if let Some(&[batch, matrices, values, vectors]) = given
            && [1, count].contains(&matrices)
            && values == columns
            && batch * vectors > 0
        {
            let product = ByteProduct {
                input_shape: tvec![batch, matrices, columns, vectors],
                output_shape: tvec![batch, count, rows, vectors],
                matrices: self.clone(),
            };
            return model.wire_node(prefix, product, inputs);
        }
        // Vectors that lie in another way are left to tract.
        let mut wide = Vec::with_capacity(count * rows * columns);
        for row in 0..count * rows {
            wide.extend((0..columns).map(|column| {
                let value = self.panels.value(row / rows, row % rows, column);
                f32::from(value) * self.scale[row]
            }));
        }
        let wide = Tensor::from_shape(&self.shape, &wide)?;
        let wide = model.add_const(format!("{prefix}.matrices"), wide)?;
        MatMulInference::default().wire(prefix, model, &[wide, inputs[0]])
    }
}

/// A product with vectors: N×M×C×V, or N×1×C×V where all matrices take the same ones, to N×M×R×V.
#[derive(Clone, Debug, PartialEq)]
struct ByteProduct {
    input_shape: TVec<usize>,
    output_shape: TVec<usize>,
    matrices: ByteMatrices,
}

/// Scales that are NaN make it unlike itself, and then it is merely not merged with its like.
impl Eq for ByteProduct {}

impl ByteProduct {
    fn compute(&self, input: &[f32], output: &mut [f32]) {
        let [count, rows, columns] = self.matrices.shape;
        let [given, vectors] = [self.input_shape[1], self.input_shape[3]];
        let frames = input.chunks_exact(given * columns * vectors);
        for (input, output) in frames.zip(output.chunks_exact_mut(count * rows * vectors)) {
            for (matrix, output) in output.chunks_exact_mut(rows * vectors).enumerate() {
                let first = if given == 1 { 0 } else { matrix };
                let input = &input[first * columns * vectors..][..columns * vectors];
                let scale = &self.matrices.scale[matrix * rows..][..rows];
                if vectors == 1 {
                    self.matrices.panels.multiply(matrix, input, output);
                    for (value, scale) in output.iter_mut().zip(scale) {
                        *value *= scale;
                    }
                } else {
                    self.several(matrix, (input, output), scale);
                }
            }
        }
    }

    /// The vectors are columns.
    fn several(&self, matrix: usize, (input, output): (&[f32], &mut [f32]), scale: &[f32]) {
        let vectors = self.input_shape[3];
        let mut product = vec![0.0; scale.len()];
        for place in 0..vectors {
            let vector: Vec<f32> = input[place..].iter().step_by(vectors).copied().collect();
            self.matrices.panels.multiply(matrix, &vector, &mut product);
            let to = output[place..].iter_mut().step_by(vectors);
            for ((to, value), scale) in to.zip(&product).zip(scale) {
                *to = value * scale;
            }
        }
    }
}

plain_operator!(ByteProduct);

#[cfg(test)]
mod tests;
