//! Products of constant matrices and vectors, one matrix each cell: what whitens features.
//!
//! tract packs the vectors and then calls its kernel for each matrix, which takes longer than small
//! products themselves. Here the rows of the matrices lie in [`Panels`].

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::constants;
use super::panels::Panels;
use super::plain_operator::plain_operator;

/// Replaces what [`MatrixVector`] can do in a decluttered model.
pub(super) fn replace_products(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let Some((op, vectors)) = MatrixVector::of(model, id)? else {
            continue;
        };
        let patch = TypedModelPatch::replace_single_op(model, model.node(id), &[vectors], op)?;
        patch.apply(model)?;
    }
    Ok(())
}

/// Constant matrices times as many vectors.
#[derive(Clone, Debug, PartialEq)]
struct MatrixVector {
    input_shape: TVec<usize>,
    output_shape: TVec<usize>,
    /// Whether the vectors are columns of a matrix, one after the other in each of its rows.
    across: bool,
    panels: Panels<f32>,
}

/// Weights that are NaN make it unlike itself, and then it is merely not merged with its like.
impl Eq for MatrixVector {}

/// How an axis of a product takes part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// Of matrices, vectors and results.
    Batch,
    /// Of matrices and results.
    Row,
    /// Of matrices and vectors, summed over.
    Column,
}

impl MatrixVector {
    /// The operator for a node and where its vectors come from, if it is a product of a constant
    /// and one vector a matrix, with all axes in the usual order.
    fn of(model: &TypedModel, id: usize) -> TractResult<Option<(Self, OutletId)>> {
        let node = model.node(id);
        let (Some(product), &[first, second]) = (node.op_as::<EinSum>(), &node.inputs[..]) else {
            return Ok(None);
        };
        if product.q_params.is_some() || product.operating_dt != f32::datum_type() {
            return Ok(None);
        }
        let facts = [model.outlet_fact(first)?, model.outlet_fact(second)?];
        // Where the matrices are among the inputs.
        let (place, vectors) = match facts.map(|fact| fact.konst.is_some()) {
            [true, false] => (0, second),
            [false, true] => (1, first),
            _ => return Ok(None),
        };
        let (matrices, given, output) = (facts[place], facts[1 - place], &node.outputs[0].fact);
        let floats = [given, output].map(|fact| fact.datum_type == f32::datum_type());
        let (Some(values), Some(shape), Some(from), Some(to), [true, true]) = (
            matrices
                .konst
                .as_deref()
                .map(constants)
                .transpose()?
                .flatten(),
            matrices.shape.as_concrete(),
            given.shape.as_concrete(),
            output.shape.as_concrete(),
            floats,
        ) else {
            return Ok(None);
        };
        // Axes of one element may be anything and anywhere.
        let mut roles = [
            vec![None; shape.len()],
            vec![None; from.len()],
            vec![None; to.len()],
        ];
        let sides = [shape, from, to];
        let mut sizes = [1, 1, 1];
        for axis in product.axes.iter_all_axes() {
            let places = [
                &axis.inputs[place],
                &axis.inputs[1 - place],
                &axis.outputs[0],
            ];
            let size = |i: usize| places[i].iter().map(|&at| sides[i][at]).max();
            if places.iter().any(|places| places.len() > 1) {
                return Ok(None);
            }
            let long = [0, 1, 2].map(|i| size(i).filter(|&size| size > 1));
            let role = match long {
                [None, None, None] => continue,
                [Some(a), Some(b), Some(c)] if a == b && b == c => Role::Batch,
                [Some(a), None, Some(c)] if a == c => Role::Row,
                [Some(a), Some(b), None] if a == b => Role::Column,
                _ => return Ok(None),
            };
            sizes[role as usize] *= long[0].unwrap_or(1);
            for (roles, places) in roles.iter_mut().zip(places) {
                for &at in places {
                    roles[at] = Some((role, axis.repr));
                }
            }
        }
        let [of_matrices, of_vectors, of_results] =
            roles.map(|r| r.into_iter().flatten().collect::<Vec<_>>());
        let without = |role: Role| {
            of_matrices
                .iter()
                .copied()
                .filter(|(r, _)| *r != role)
                .collect::<Vec<_>>()
        };
        let mut across = without(Role::Row);
        across.sort_by_key(|(role, _)| std::cmp::Reverse(*role));
        let across = of_vectors == across && of_vectors != without(Role::Row);
        let usual = of_matrices.is_sorted_by_key(|(role, _)| *role)
            && (across || of_vectors == without(Role::Row))
            && of_results == without(Role::Column);
        let [count, rows, columns] = sizes;
        if !usual || values.len() != count * rows * columns || from.contains(&0) || to.contains(&0)
        {
            return Ok(None);
        }
        let panels = Panels::new([count, rows, columns], |matrix, row, column| {
            values[(matrix * rows + row) * columns + column]
        });
        let (input_shape, output_shape) = (from.into(), to.into());
        let op = Self {
            input_shape,
            output_shape,
            across,
            panels,
        };
        Ok(Some((op, vectors)))
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        let mut vector = vec![0.0; self.panels.columns()];
        let count = input.len() / vector.len();
        for (place, output) in output.chunks_exact_mut(self.panels.rows()).enumerate() {
            if self.across {
                let values = input[place..].iter().step_by(count);
                vector
                    .iter_mut()
                    .zip(values)
                    .for_each(|(to, &from)| *to = from);
                self.panels.multiply(place, &vector, output);
            } else {
                let vector = &input[place * vector.len()..][..vector.len()];
                self.panels.multiply(place, vector, output);
            }
        }
    }
}

plain_operator!(MatrixVector);

#[cfg(test)]
mod tests {
    use super::super::super::Graph;
    use super::super::super::test_graphs::{GraphBuilder, encode, ints, values};
    use super::super::{TractGraph, tests::load};
    use super::*;

    /// `count` matrices of `rows`×`columns`, lower triangles where asked for, times one vector
    /// each.
    struct Case {
        count: usize,
        rows: usize,
        columns: usize,
        triangular: bool,
        across: bool,
    }

    impl Case {
        fn weights(&self) -> Vec<f32> {
            let mut weights = values(60, self.count * self.rows * self.columns);
            if self.triangular {
                for (place, weight) in weights.iter_mut().enumerate() {
                    if place % self.columns > place / self.columns % self.rows {
                        *weight = 0.0;
                    }
                }
            }
            weights
        }

        fn graph(&self) -> TractGraph {
            let [count, rows, columns] = [self.count, self.rows, self.columns].map(|n| n as i64);
            let mut b = GraphBuilder::default();
            if self.across {
                b.input("given", &[0, columns, count, 1]);
                let order = vec![ints("perm", &[0, 2, 1, 3])];
                b.node("Transpose", &["given"], &["x"], order);
            } else {
                b.input("x", &[0, count, columns, 1]);
            }
            b.weights("w", &[count, rows, columns], &self.weights());
            b.node("MatMul", &["w", "x"], &["y"], vec![]);
            b.output("y", &[0, count, rows, 1]);
            load(&encode(&b.finish()), 1).unwrap()
        }

        fn by_loops(&self, input: &[f32]) -> Vec<f32> {
            let rows = self.weights();
            let rows = rows.chunks_exact(self.columns).enumerate();
            rows.map(|(row, weights)| {
                let matrix = row / self.rows;
                let value = |column: usize| match self.across {
                    true => input[column * self.count + matrix],
                    false => input[matrix * self.columns + column],
                };
                let terms = weights.iter().enumerate();
                let terms = terms.map(|(column, &w)| f64::from(w) * f64::from(value(column)));
                terms.sum::<f64>() as f32
            })
            .collect()
        }
    }

    fn operator(graph: &TractGraph) -> Option<MatrixVector> {
        let nodes = graph.plan.model().nodes().iter();
        nodes
            .filter_map(|node| node.op_as::<MatrixVector>())
            .next()
            .cloned()
    }

    #[test]
    fn products_give_what_plain_loops_give() {
        for [count, rows, columns] in [
            [5, 24, 24],
            [3, 64, 64],
            [7, 1, 9],
            [2, 13, 3],
            [1, 40, 17],
            [9, 8, 1],
            [4, 37, 37],
        ] {
            for (triangular, across) in [(false, false), (rows == columns, true)] {
                let case = Case {
                    count,
                    rows,
                    columns,
                    triangular,
                    across,
                };
                let mut graph = case.graph();
                let op = operator(&graph).expect("an operator of our own");
                let input = values(61, count * columns);
                let expected = case.by_loops(&input);
                let mut found = vec![f32::NAN; expected.len()];
                graph.run(&[&input], &mut [&mut found]).unwrap();
                let mut baseline = vec![f32::NAN; expected.len()];
                let op = MatrixVector {
                    panels: op.panels.without_vectors(),
                    ..op
                };
                op.compute(&input, &mut baseline);
                for ((expected, found), baseline) in expected.iter().zip(&found).zip(&baseline) {
                    assert!(
                        (expected - found).abs() < 1e-5,
                        "{count} of {rows}×{columns}"
                    );
                    assert!(
                        (expected - baseline).abs() < 1e-5,
                        "{count} of {rows}×{columns}"
                    );
                }
            }
        }
    }

    #[test]
    fn half_of_a_triangle_is_not_read() {
        let square = Case {
            count: 3,
            rows: 64,
            columns: 64,
            triangular: false,
            across: false,
        };
        let triangle = Case {
            triangular: true,
            ..square
        };
        let [square, triangle] =
            [square, triangle].map(|case| operator(&case.graph()).unwrap().panels.weights());
        assert_eq!(square, 3 * 64 * 64);
        assert_eq!(triangle, 3 * (8 + 16 + 24 + 32 + 40 + 48 + 56 + 64) * 8);
    }

    /// Even where all weights of its column are zero.
    #[test]
    fn a_value_that_is_not_a_number_is_not_lost() {
        let case = Case {
            count: 2,
            rows: 20,
            columns: 30,
            triangular: true,
            across: false,
        };
        let mut graph = case.graph();
        for place in 0..60 {
            let mut input = values(62, 60);
            input[place] = f32::NAN;
            let mut found = vec![0.0; 40];
            graph.run(&[&input], &mut [&mut found]).unwrap();
            let (own, other) = found.split_at(20);
            let (own, other) = if place < 30 {
                (own, other)
            } else {
                (other, own)
            };
            assert!(own.iter().any(|value| value.is_nan()), "{place}");
            assert!(!other.iter().any(|value| value.is_nan()), "{place}");
        }
    }

    #[test]
    fn products_with_several_vectors_are_left_to_tract() {
        let mut b = GraphBuilder::default();
        b.input("x", &[0, 2, 3, 2]);
        b.weights("w", &[2, 4, 3], &values(63, 24));
        b.node("MatMul", &["w", "x"], &["y"], vec![]);
        b.output("y", &[0, 2, 4, 2]);
        assert!(operator(&load(&encode(&b.finish()), 1).unwrap()).is_none());
    }
}
