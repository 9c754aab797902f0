//! Constant matrices, stored as their products with vectors read them.
//!
//! The rows of a matrix lie in panels of eight, column after column, without the columns after a
//! panel's last that is not zero: of a lower triangle little more than half is read.

use std::sync::Arc;

use super::vectors::Vectors;

/// Rows that are computed together.
const PANEL: usize = 8;

/// Columns that are added up apart from each other, as many as hide the latency of a multiply-add.
const CHAINS: usize = 4;

/// Matrices of rows×columns, of floats or of small integers that stand for them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Panels<W> {
    rows: usize,
    columns: usize,
    /// Columns of each panel, the same in all matrices.
    needed: Vec<usize>,
    /// Matrix, panel, column, row of the panel. Shared, since tract copies operators.
    weights: Arc<[W]>,
    /// Weights of one matrix.
    stride: usize,
    vectors: Vectors,
}

impl<W: Copy + Default + PartialEq + Into<f32>> Panels<W> {
    /// `count` matrices of rows×columns, of the values that `at` gives for a matrix, a row and a
    /// column. Neither rows nor columns are 0.
    pub(super) fn new(
        [count, rows, columns]: [usize; 3],
        at: impl Fn(usize, usize, usize) -> W,
    ) -> Self {
        let panels = rows.div_ceil(PANEL);
        let mut needed = vec![0; panels];
        // The last looks at whole vectors, so that a NaN in them is never lost.
        needed[panels - 1] = columns;
        for matrix in 0..count {
            for row in 0..rows {
                let needed = &mut needed[row / PANEL];
                let beyond = (*needed..columns).rev();
                let mut beyond =
                    beyond.skip_while(|&column| at(matrix, row, column) == W::default());
                *needed = beyond.next().map_or(*needed, |column| column + 1);
            }
        }
        let stride = needed.iter().sum::<usize>() * PANEL;
        let mut weights = Vec::with_capacity(count * stride);
        for matrix in 0..count {
            for (panel, &needed) in needed.iter().enumerate() {
                for column in 0..needed {
                    weights.extend((panel * PANEL..(panel + 1) * PANEL).map(|row| {
                        match row < rows {
                            true => at(matrix, row, column),
                            false => W::default(),
                        }
                    }));
                }
            }
        }
        Self {
            rows,
            columns,
            needed,
            weights: weights.into(),
            stride,
            vectors: Vectors::detect(),
        }
    }

    /// Of a matrix.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Of a matrix.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// An element of a matrix.
    pub(super) fn value(&self, matrix: usize, row: usize, column: usize) -> W {
        let panel = row / PANEL;
        let before = self.needed[..panel].iter().sum::<usize>() * PANEL;
        match column < self.needed[panel] {
            true => self.weights[matrix * self.stride + before + column * PANEL + row % PANEL],
            false => W::default(),
        }
    }

    /// Computes `output`, one value a row, as the matrix of that number times `vector`, one value a
    /// column.
    pub(super) fn multiply(&self, matrix: usize, vector: &[f32], output: &mut [f32]) {
        let weights = &self.weights[matrix * self.stride..][..self.stride];
        match self.vectors {
            Vectors::Baseline => self.baseline(weights, vector, output),
            // SAFETY: `detect` found these instructions, and nothing else makes these values.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { self.avx2(weights, vector, output) },
        }
    }

    fn baseline(&self, weights: &[W], vector: &[f32], output: &mut [f32]) {
        // Without the instruction, a fused multiply-add is a call of a slow function.
        #[cfg(not(target_arch = "aarch64"))]
        self.body(|x, weight, sum| x * weight + sum, weights, vector, output);
        #[cfg(target_arch = "aarch64")]
        self.body(f32::mul_add, weights, vector, output);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(&self, weights: &[W], vector: &[f32], output: &mut [f32]) {
        self.body(f32::mul_add, weights, vector, output);
    }

    #[inline(always)]
    fn body(
        &self,
        multiply_add: impl Fn(f32, f32, f32) -> f32,
        mut weights: &[W],
        vector: &[f32],
        output: &mut [f32],
    ) {
        for (&needed, output) in self.needed.iter().zip(output.chunks_mut(PANEL)) {
            let (panel, after) = weights.split_at(needed * PANEL);
            weights = after;
            let (columns, last_columns) = panel.as_chunks::<{ CHAINS * PANEL }>();
            let (values, last_values) = vector[..needed].as_chunks::<CHAINS>();
            let mut sums = [[0.0; PANEL]; CHAINS];
            for (columns, values) in columns.iter().zip(values) {
                for (chain, sums) in sums.iter_mut().enumerate() {
                    for (row, sum) in sums.iter_mut().enumerate() {
                        let weight = columns[chain * PANEL + row].into();
                        *sum = multiply_add(weight, values[chain], *sum);
                    }
                }
            }
            let (last_columns, _) = last_columns.as_chunks::<PANEL>();
            for (column, &value) in last_columns.iter().zip(last_values) {
                for (row, sum) in sums[0].iter_mut().enumerate() {
                    *sum = multiply_add(column[row].into(), value, *sum);
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

#[cfg(test)]
impl<W> Panels<W> {
    /// The same, as a processor without vector instructions computes them.
    pub(super) fn without_vectors(mut self) -> Self {
        self.vectors = Vectors::Baseline;
        self
    }

    /// How many weights are stored.
    pub(super) fn weights(&self) -> usize {
        self.weights.len()
    }
}
