//! Matrix products over slices, split in a way that depends on the shape alone.

use super::real::Real;
use rayon::prelude::*;

/// A matrix in memory: row `r`, column `c` is at `r · row_step + c · column_step`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    numbers: &'a [T],
    row_step: usize,
    column_step: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows one after another, each of `columns` numbers.
    pub(crate) fn rows(numbers: &'a [T], columns: usize) -> Self {
        Self {
            numbers,
            row_step: columns,
            column_step: 1,
        }
    }

    /// The transpose.
    pub(crate) fn transposed(self) -> Self {
        Self {
            row_step: self.column_step,
            column_step: self.row_step,
            ..self
        }
    }

    fn fits(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row_step + (columns - 1) * self.column_step < self.numbers.len()
    }
}

/// What becomes of the numbers that a product's destination held before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// The part of a destination matrix that one product writes.
#[derive(Clone, Copy)]
struct Tile {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

/// Multiply-adds below which splitting a product further costs more than it gains.
const SMALLEST_TILE_WORK: usize = 1 << 21;
/// A fixed bound on the number of tiles, so that bits don't depend on the number of threads.
const MOST_TILES: usize = 32;

/// `out` (`rows`×`columns`, row-major) = `left` (`rows`×`inner`) · `right` (`inner`×`columns`),
/// on the calling thread.
pub(crate) fn multiply<T: Real>(
    out: &mut [T],
    before: Before,
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    [rows, inner, columns]: [usize; 3],
) {
    assert!(out.len() >= rows * columns && left.fits(rows, inner) && right.fits(inner, columns));
    let whole = Tile {
        row: 0,
        rows,
        column: 0,
        columns,
    };
    // SAFETY: the assertion above keeps every access inside the three slices, and `out` is
    // borrowed for this call alone.
    unsafe { multiply_tile(out.as_mut_ptr(), columns, before, left, right, inner, whole) }
}

/// As [`multiply`], with tiles of the result computed in parallel.
///
/// The tiles follow from the shape alone, and none splits the inner dimension: the result has the
/// same bits with any number of threads.
pub(crate) fn multiply_in_parallel<T: Real>(
    out: &mut [T],
    before: Before,
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    [rows, inner, columns]: [usize; 3],
) {
    assert!(out.len() >= rows * columns && left.fits(rows, inner) && right.fits(inner, columns));
    let target = (rows * inner * columns / SMALLEST_TILE_WORK).clamp(1, MOST_TILES);
    let mut tiles = vec![Tile {
        row: 0,
        rows,
        column: 0,
        columns,
    }];
    while tiles.len() < target {
        let split: Vec<Tile> = tiles.iter().flat_map(|tile| tile.halves()).collect();
        if split.len() == tiles.len() {
            break;
        }
        tiles = split;
    }
    let destination = Destination(out.as_mut_ptr());
    tiles.into_par_iter().for_each(|tile| {
        let destination = &destination;
        // SAFETY: the assertion above keeps every access inside the three slices; tiles are
        // disjoint parts of `out`, which is borrowed until all of them are done.
        unsafe { multiply_tile(destination.0, columns, before, left, right, inner, tile) }
    });
}

impl Tile {
    /// Two parts along the longer side, in multiples of 32 so that vector kernels stay full; one
    /// if that side is short.
    fn halves(self) -> Vec<Tile> {
        let half = |length: usize| (length / 2).next_multiple_of(32);
        if self.rows.max(self.columns) < 64 {
            vec![self]
        } else if self.rows >= self.columns {
            let rows = half(self.rows);
            vec![
                Tile { rows, ..self },
                Tile {
                    row: self.row + rows,
                    rows: self.rows - rows,
                    ..self
                },
            ]
        } else {
            let columns = half(self.columns);
            vec![
                Tile { columns, ..self },
                Tile {
                    column: self.column + columns,
                    columns: self.columns - columns,
                    ..self
                },
            ]
        }
    }
}

struct Destination<T>(*mut T);
// SAFETY: only the disjoint tiles of one product are written through it.
unsafe impl<T: Send> Sync for Destination<T> {}

/// # Safety
/// The tile lies inside the destination, whose rows are `step` numbers apart; the rows and columns
/// of both factors that it needs lie inside their slices.
unsafe fn multiply_tile<T: Real>(
    out: *mut T,
    step: usize,
    before: Before,
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    inner: usize,
    tile: Tile,
) {
    if tile.rows == 0 || tile.columns == 0 {
        return;
    }
    // SAFETY: as the caller promises.
    unsafe {
        gemm::gemm(
            tile.rows,
            tile.columns,
            inner,
            out.add(tile.row * step + tile.column),
            1,
            step as isize,
            before == Before::Add,
            left.numbers.as_ptr().add(tile.row * left.row_step),
            left.column_step as isize,
            left.row_step as isize,
            right.numbers.as_ptr().add(tile.column * right.column_step),
            right.column_step as isize,
            right.row_step as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, step: usize) -> Vec<f64> {
        (0..count)
            .map(|i| ((i * step) % 23) as f64 - 11.0)
            .collect()
    }

    fn by_definition(
        left: impl Fn(usize, usize) -> f64,
        right: impl Fn(usize, usize) -> f64,
        [rows, inner, columns]: [usize; 3],
    ) -> Vec<f64> {
        let mut out = vec![0.0; rows * columns];
        for row in 0..rows {
            for column in 0..columns {
                out[row * columns + column] =
                    (0..inner).map(|i| left(row, i) * right(i, column)).sum();
            }
        }
        out
    }

    #[test]
    fn products_of_every_orientation_are_exact_on_small_integers() {
        for shape @ [rows, inner, columns] in [
            [1, 1, 1],
            [5, 7, 3],
            [200, 33, 170],
            [65, 300, 129],
            [3, 4, 900],
            [16, 0, 2],
        ] {
            let a = numbers(rows * inner, 7);
            let b = numbers(inner * columns, 5);
            let direct = by_definition(|r, i| a[r * inner + i], |i, c| b[i * columns + c], shape);
            let mut out = vec![f64::NAN; rows * columns];
            let (left, right) = (Matrix::rows(&a, inner), Matrix::rows(&b, columns));
            multiply_in_parallel(&mut out, Before::Replace, left, right, shape);
            assert_eq!(out, direct);
            multiply(&mut out, Before::Add, left, right, shape);
            assert!(out.iter().zip(&direct).all(|(o, d)| *o == 2.0 * d));

            let crossed = by_definition(|r, i| a[i * rows + r], |i, c| b[c * inner + i], shape);
            let (left, right) = (Matrix::rows(&a, rows), Matrix::rows(&b, inner));
            multiply_in_parallel(
                &mut out,
                Before::Replace,
                left.transposed(),
                right.transposed(),
                shape,
            );
            assert_eq!(out, crossed);
        }
    }
}
