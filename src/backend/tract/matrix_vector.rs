//! Products of constant matrices and vectors, one matrix each cell: what whitens features.
//!
//! tract packs the vectors and then calls its kernel for each matrix, which takes longer than small
//! products themselves. Here the rows of a matrix lie in panels of eight, column after column,
//! without the columns after a panel's last that is not zero: of a lower triangle little more than
//! half is read.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::constants;
use super::plain_operator::plain_operator;
use super::vectors::Vectors;

/// Rows that are computed together.
const PANEL: usize = 8;

/// Columns that are added up apart from each other, as many as hide the latency of a multiply-add.
const CHAINS: usize = 4;

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
    rows: usize,
    columns: usize,
    /// Columns of each panel, the same in all matrices.
    panels: Vec<usize>,
    /// Matrix, panel, column, row of the panel.
    weights: Vec<f32>,
    vectors: Vectors,
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
        let op = Self {
            across,
            ..Self::new((from.into(), to.into()), [count, rows, columns], values)
        };
        Ok(Some((op, vectors)))
    }

    fn new(
        (input_shape, output_shape): (TVec<usize>, TVec<usize>),
        [count, rows, columns]: [usize; 3],
        values: &[f32],
    ) -> Self {
        let places = 0..rows.div_ceil(PANEL);
        let last = places.clone().next_back();
        let panels: Vec<usize> = places
            .map(|panel| {
                let in_panel = values.chunks_exact(columns).enumerate();
                let in_panel = in_panel.filter(|(row, _)| row % rows / PANEL == panel);
                let needed = in_panel.filter_map(|(_, row)| row.iter().rposition(|&w| w != 0.0));
                // The last looks at whole vectors, so that a NaN in them is never lost.
                match Some(panel) == last {
                    true => columns,
                    false => needed.max().map_or(0, |column| column + 1),
                }
            })
            .collect();
        let mut weights = Vec::with_capacity(count * panels.iter().sum::<usize>() * PANEL);
        for matrix in values.chunks_exact(rows * columns) {
            for (panel, &needed) in panels.iter().enumerate() {
                for column in 0..needed {
                    weights.extend((panel * PANEL..(panel + 1) * PANEL).map(|row| {
                        match row < rows {
                            true => matrix[row * columns + column],
                            false => 0.0,
                        }
                    }));
                }
            }
        }
        Self {
            input_shape,
            output_shape,
            across: false,
            rows,
            columns,
            panels,
            weights,
            vectors: Vectors::detect(),
        }
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        match self.vectors {
            Vectors::Baseline => self.baseline(input, output),
            // SAFETY: `detect` found these instructions, and nothing else makes these values.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { self.avx2(input, output) },
        }
    }

    fn baseline(&self, input: &[f32], output: &mut [f32]) {
        // Without the instruction, a fused multiply-add is a call of a slow function.
        #[cfg(not(target_arch = "aarch64"))]
        self.body(|x, weight, sum| x * weight + sum, input, output);
        #[cfg(target_arch = "aarch64")]
        self.body(f32::mul_add, input, output);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(&self, input: &[f32], output: &mut [f32]) {
        self.body(f32::mul_add, input, output);
    }

    #[inline(always)]
    fn body(&self, multiply_add: impl Fn(f32, f32, f32) -> f32, input: &[f32], output: &mut [f32]) {
        let mut rest = &self.weights[..];
        let mut vector = vec![0.0; self.columns];
        let count = input.len() / self.columns;
        for (place, output) in output.chunks_exact_mut(self.rows).enumerate() {
            if self.across {
                let values = input[place..].iter().step_by(count);
                vector
                    .iter_mut()
                    .zip(values)
                    .for_each(|(to, &from)| *to = from);
            } else {
                vector.copy_from_slice(&input[place * self.columns..][..self.columns]);
            }
            for (&needed, output) in self.panels.iter().zip(output.chunks_mut(PANEL)) {
                let (panel, after) = rest.split_at(needed * PANEL);
                rest = after;
                let (columns, last_columns) = panel.as_chunks::<{ CHAINS * PANEL }>();
                let (values, last_values) = vector[..needed].as_chunks::<CHAINS>();
                let mut sums = [[0.0; PANEL]; CHAINS];
                for (columns, values) in columns.iter().zip(values) {
                    for (chain, sums) in sums.iter_mut().enumerate() {
                        for (row, sum) in sums.iter_mut().enumerate() {
                            *sum = multiply_add(columns[chain * PANEL + row], values[chain], *sum);
                        }
                    }
                }
                let (last_columns, _) = last_columns.as_chunks::<PANEL>();
                for (column, &value) in last_columns.iter().zip(last_values) {
                    for (row, sum) in sums[0].iter_mut().enumerate() {
                        *sum = multiply_add(column[row], value, *sum);
                    }
                }
                let mut sum = [0.0; PANEL];
                for row in 0..PANEL {
                    sum[row] = (sums[0][row] + sums[1][row]) + (sums[2][row] + sums[3][row]);
                }
                output.copy_from_slice(&sum[..output.len()]);
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
                let mut op = operator(&graph).expect("an operator of our own");
                let input = values(61, count * columns);
                let expected = case.by_loops(&input);
                let mut found = vec![f32::NAN; expected.len()];
                graph.run(&[&input], &mut [&mut found]).unwrap();
                let mut baseline = vec![f32::NAN; expected.len()];
                op.vectors = Vectors::Baseline;
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
            [square, triangle].map(|case| operator(&case.graph()).unwrap().weights.len());
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
