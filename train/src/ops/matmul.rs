//! Matrix products over slices, blocked and packed as by Goto and van de Geijn (2008) and BLIS
//! (Van Zee and van de Geijn 2015).
//!
//! Every number of a result is added up in the order of the inner dimension, in blocks of
//! [`INNER`], whatever part of the result is computed together with it: the bits depend neither on
//! the number of threads nor on how a product is split among them.

use super::microkernel::{COLUMNS, INNER, Order, ROW_STEP, ROWS};
use super::real::{Real, with_scratch};
use rayon::prelude::*;
use std::ops::Range;

/// The left factor of a product, read by copying parts of it.
pub(crate) trait Left<T>: Sync {
    /// Which packed order is cheaper to make.
    fn order(&self) -> Order;

    /// Writes `rows` (at most [`ROWS`]) and the given part of the inner dimension (at most
    /// [`INNER`]) in that order; missing rows are left as they are.
    fn pack(&self, rows: Range<usize>, inner: Range<usize>, out: &mut [T]);
}

/// The right factor of a product, read by copying parts of it.
pub(crate) trait Right<T>: Sync {
    /// Writes `columns` (at most [`COLUMNS`]) of each row of the inner dimension's given part, rows
    /// [`COLUMNS`] apart; missing columns are left as they are.
    fn pack(&self, inner: Range<usize>, columns: Range<usize>, out: &mut [T]);
}

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
}

impl<T: Real> Left<T> for Matrix<'_, T> {
    fn order(&self) -> Order {
        if self.column_step == 1 {
            Order::Rows
        } else {
            Order::Columns
        }
    }

    fn pack(&self, rows: Range<usize>, inner: Range<usize>, out: &mut [T]) {
        if self.column_step == 1 {
            for (row, out) in rows.zip(out.chunks_mut(ROW_STEP)) {
                let from = &self.numbers[row * self.row_step + inner.start..][..inner.len()];
                out[..inner.len()].copy_from_slice(from);
            }
            return;
        }
        for (index, out) in inner.zip(out.chunks_exact_mut(ROWS)) {
            let column = &self.numbers[index * self.column_step..];
            if self.row_step == 1 {
                out[..rows.len()].copy_from_slice(&column[rows.clone()]);
            } else {
                for (out, row) in out.iter_mut().zip(rows.clone()) {
                    *out = column[row * self.row_step];
                }
            }
        }
    }
}

impl<T: Real> Right<T> for Matrix<'_, T> {
    fn pack(&self, inner: Range<usize>, columns: Range<usize>, out: &mut [T]) {
        if self.column_step == 1 {
            for (index, out) in inner.zip(out.chunks_exact_mut(COLUMNS)) {
                let row = &self.numbers[index * self.row_step..];
                out[..columns.len()].copy_from_slice(&row[columns.clone()]);
            }
            return;
        }
        for (place, column) in columns.enumerate() {
            let column = &self.numbers[column * self.column_step..];
            for (index, out) in inner.clone().zip(out.chunks_exact_mut(COLUMNS)) {
                out[place] = column[index * self.row_step];
            }
        }
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

/// Rows of the left factor that are packed at a time, for all columns.
const ROW_BLOCK: usize = 16 * ROWS;
/// Columns of the right factor that are packed at a time.
const COLUMN_BLOCK: usize = 16 * COLUMNS;
/// Multiply-adds below which splitting a product further costs more than it gains.
const SMALLEST_PART: usize = 1 << 21;
/// Parts per thread, so that none waits long for the others.
const PARTS_PER_THREAD: usize = 3;
/// Numbers in a cache line and in the widest vector.
const ALIGNMENT: usize = 64;

/// The part of a result that one task computes.
#[derive(Clone)]
struct Part {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Part {
    /// Two parts along the longer side, whole tiles each; one if the part is small.
    fn halves(self) -> Vec<Self> {
        let middle =
            |side: &Range<usize>, tile: usize| side.start + (side.len() / 2).next_multiple_of(tile);
        if self.rows.len().max(self.columns.len()) < 2 * COLUMNS {
            return vec![self];
        }
        if self.rows.len() >= self.columns.len() {
            let middle = middle(&self.rows, ROWS);
            [self.rows.start..middle, middle..self.rows.end]
                .map(|rows| Self {
                    rows,
                    columns: self.columns.clone(),
                })
                .into()
        } else {
            let middle = middle(&self.columns, COLUMNS);
            [self.columns.start..middle, middle..self.columns.end]
                .map(|columns| Self {
                    rows: self.rows.clone(),
                    columns,
                })
                .into()
        }
    }
}

/// A product's destination, shared by the tasks that each write a part of it.
struct Destination<T>(*mut T);
// SAFETY: only the disjoint parts of one product are written through it.
unsafe impl<T: Send> Sync for Destination<T> {}

/// `out` (`rows`×`columns`, row-major) = `left` (`rows`×`inner`) · `right` (`inner`×`columns`), or
/// that added to `out`; parts of it in parallel.
pub(crate) fn multiply<T: Real>(
    out: &mut [T],
    before: Before,
    left: &impl Left<T>,
    right: &impl Right<T>,
    [rows, inner, columns]: [usize; 3],
) {
    assert!(out.len() >= rows * columns);
    let threads = rayon::current_num_threads();
    let wanted = if threads == 1 {
        1
    } else {
        (rows * inner * columns / SMALLEST_PART).clamp(1, PARTS_PER_THREAD * threads)
    };
    let mut parts = vec![Part {
        rows: 0..rows,
        columns: 0..columns,
    }];
    while parts.len() < wanted {
        let split: Vec<Part> = parts.iter().cloned().flat_map(Part::halves).collect();
        if split.len() == parts.len() {
            break;
        }
        parts = split;
    }
    let destination = Destination(out.as_mut_ptr());
    parts.into_par_iter().for_each(|part| {
        let destination = &destination;
        // SAFETY: the assertion above keeps the parts, which are disjoint, inside of `out`, and
        // that is borrowed until all of them are done.
        unsafe { multiply_part(destination.0, columns, before, left, right, inner, &part) }
    });
}

/// # Safety
/// The part of the destination, whose rows are `step` numbers apart, may be written, and nothing
/// else accesses it meanwhile.
unsafe fn multiply_part<T: Real>(
    out: *mut T,
    step: usize,
    before: Before,
    left: &impl Left<T>,
    right: &impl Right<T>,
    inner: usize,
    part: &Part,
) {
    let order = left.order();
    let kernel = T::microkernel(order);
    let left_size = ROWS * ROW_STEP;
    let right_size = INNER * COLUMNS;
    let left_block = ROW_BLOCK / ROWS * left_size;
    let right_block = COLUMN_BLOCK / COLUMNS * right_size;
    with_scratch(
        ALIGNMENT + left_block + right_block,
        |memory: &mut [T]| {
            let skipped = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
            let (left_memory, right_memory) = memory[skipped..].split_at_mut(left_block);
            let column_blocks = part.columns.clone().step_by(COLUMN_BLOCK);
            for column_block in column_blocks.map(|c| c..(c + COLUMN_BLOCK).min(part.columns.end)) {
                // An empty inner dimension still assigns zeros.
                let inner_blocks = (0..inner.max(1)).step_by(INNER);
                for inner_block in inner_blocks.map(|i| i..(i + INNER).min(inner)) {
                    let add = before == Before::Add || inner_block.start > 0;
                    for (columns, out) in
                        tiles(&column_block, COLUMNS).zip(right_memory.chunks_exact_mut(right_size))
                    {
                        right.pack(inner_block.clone(), columns, out);
                    }
                    let row_blocks = part.rows.clone().step_by(ROW_BLOCK);
                    for row_block in row_blocks.map(|r| r..(r + ROW_BLOCK).min(part.rows.end)) {
                        for (rows, out) in
                            tiles(&row_block, ROWS).zip(left_memory.chunks_exact_mut(left_size))
                        {
                            left.pack(rows, inner_block.clone(), out);
                        }
                        for (columns, right) in
                            tiles(&column_block, COLUMNS).zip(right_memory.chunks_exact(right_size))
                        {
                            for (rows, left) in
                                tiles(&row_block, ROWS).zip(left_memory.chunks_exact(left_size))
                            {
                                // SAFETY: `T::microkernel` gives a kernel that this processor runs,
                                // the blocks are packed, the tile lies inside the part.
                                unsafe {
                                    tile(kernel, inner_block.len(), left, right, add, |row| {
                                        (row < rows.len()).then(|| {
                                            let start = (rows.start + row) * step + columns.start;
                                            (out.add(start), columns.len())
                                        })
                                    });
                                }
                            }
                        }
                    }
                }
            }
        },
    );
}

fn tiles(side: &Range<usize>, tile: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = side.end;
    side.clone()
        .step_by(tile)
        .map(move |start| start..(start + tile).min(end))
}

/// Computes one tile; `row` gives where a row of it is and how many columns it has, `None` for a
/// row below the edge. What is beyond an edge goes to memory that is thrown away.
///
/// # Safety
/// As for [`super::microkernel::Microkernel`], for so many columns as `row` says.
unsafe fn tile<T: Real>(
    kernel: super::microkernel::Microkernel<T>,
    inner: usize,
    left: &[T],
    right: &[T],
    add: bool,
    row: impl Fn(usize) -> Option<(*mut T, usize)>,
) {
    let places: [Option<(*mut T, usize)>; ROWS] = std::array::from_fn(row);
    let whole = |place: &Option<(*mut T, usize)>| place.is_some_and(|(_, count)| count == COLUMNS);
    // SAFETY: the caller's promise; rows that are not whole are read and written by the count
    // that the caller gave, in between the kernel has memory of its own.
    unsafe {
        if places.iter().all(whole) {
            let rows = places.map(|place| place.map_or(std::ptr::null_mut(), |(start, _)| start));
            kernel(inner, left.as_ptr(), right.as_ptr(), &rows, add);
            return;
        }
        let mut memory = [[T::ZERO; COLUMNS]; ROWS];
        if add {
            for (line, &(start, count)) in memory.iter_mut().zip(places.iter().flatten()) {
                std::ptr::copy_nonoverlapping(start, line.as_mut_ptr(), count);
            }
        }
        let start = memory.as_mut_ptr().cast::<T>();
        let rows = std::array::from_fn(|row| start.add(row * COLUMNS));
        kernel(inner, left.as_ptr(), right.as_ptr(), &rows, add);
        for (line, &(start, count)) in memory.iter().zip(places.iter().flatten()) {
            std::ptr::copy_nonoverlapping(line.as_ptr(), start, count);
        }
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
            multiply(&mut out, Before::Replace, &left, &right, shape);
            assert_eq!(out, direct);
            multiply(&mut out, Before::Add, &left, &right, shape);
            assert!(out.iter().zip(&direct).all(|(o, d)| *o == 2.0 * d));

            let crossed = by_definition(|r, i| a[i * rows + r], |i, c| b[c * inner + i], shape);
            let (left, right) = (Matrix::rows(&a, rows), Matrix::rows(&b, inner));
            let (left, right) = (left.transposed(), right.transposed());
            multiply(&mut out, Before::Replace, &left, &right, shape);
            assert_eq!(out, crossed);
        }
    }
}
