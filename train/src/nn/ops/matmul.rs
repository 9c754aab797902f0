//! Matrix products over slices, blocked and packed as by Goto and van de Geijn (2008) and BLIS
//! (Van Zee and van de Geijn 2015).
//!
//! Every number of a result is added up in the order of the inner dimension, in blocks of
//! [`INNER`], whatever part of the result is computed together with it: the bits depend neither on
//! the number of threads nor on how a product is split among them.

use super::microkernel::{COLUMNS, INNER, Microkernel, Order, ROW_STEP, ROWS};
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

/// `out` = `from`, with no call of a function if there are `USUAL` numbers.
#[inline(always)]
pub(super) fn copy<T: Copy, const USUAL: usize>(from: &[T], out: &mut [T]) {
    match (
        <&[T; USUAL]>::try_from(from),
        <&mut [T; USUAL]>::try_from(&mut *out),
    ) {
        (Ok(from), Ok(out)) => *out = *from,
        _ => out.copy_from_slice(from),
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
                copy::<T, ROWS>(&column[rows.clone()], &mut out[..rows.len()]);
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
                copy::<T, COLUMNS>(&row[columns.clone()], &mut out[..columns.len()]);
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

/// Where the rows of a result go: to a grid of `columns` by `rows` in each of some pictures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Index of the first row's first number.
    pub(crate) start: usize,
    /// Rows and columns of the grid.
    pub(crate) grid: [usize; 2],
    /// From one picture to the next, one row of the grid to the next, one column to the next.
    pub(crate) steps: [usize; 3],
}

impl Places {
    /// Rows one after another, each of `columns` numbers.
    pub(crate) fn rows(columns: usize) -> Self {
        Self {
            start: 0,
            grid: [1, 1],
            steps: [columns; 3],
        }
    }

    fn place(&self, row: usize) -> usize {
        let [rows, columns] = self.grid;
        self.start
            + row / (rows * columns) * self.steps[0]
            + row / columns % rows * self.steps[1]
            + row % columns * self.steps[2]
    }

    /// Whether rows of `columns` numbers never overlap, which also makes the last one the farthest.
    fn are_apart(&self, columns: usize) -> bool {
        let line = (self.grid[1] - 1) * self.steps[2] + columns;
        let picture = (self.grid[0] - 1) * self.steps[1] + line;
        self.steps[2] >= columns && self.steps[1] >= line && self.steps[0] >= picture
    }
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
struct Destination<'a, T> {
    start: *mut T,
    places: &'a Places,
}
// SAFETY: only the disjoint parts of one product are written through it.
unsafe impl<T: Send> Sync for Destination<'_, T> {}

/// `out` (`rows`×`columns`, rows at `places`) = `left` (`rows`×`inner`) · `right`
/// (`inner`×`columns`), parts of it in parallel.
///
/// `finish` gets every piece of a row soon after it is computed, with the index of its first
/// column.
///
/// # Panics
/// If the rows overlap or don't fit into `out`, or a factor is smaller than said.
pub(crate) fn multiply<T: Real>(
    out: &mut [T],
    places: &Places,
    left: &impl Left<T>,
    right: &impl Right<T>,
    [rows, inner, columns]: [usize; 3],
    finish: impl Fn(&mut [T], usize) + Sync,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(places.are_apart(columns) && places.place(rows - 1) + columns <= out.len());
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
    let destination = Destination {
        start: out.as_mut_ptr(),
        places,
    };
    parts.into_par_iter().for_each(|part| {
        // SAFETY: the assertion above keeps all rows inside of `out` and apart from each other,
        // the parts are disjoint, and `out` is borrowed until all of them are done.
        unsafe { multiply_part(&destination, left, right, inner, &part, &finish) }
    });
}

/// # Safety
/// The part of the destination may be written, and nothing else accesses it meanwhile.
unsafe fn multiply_part<T: Real>(
    destination: &Destination<'_, T>,
    left: &impl Left<T>,
    right: &impl Right<T>,
    inner: usize,
    part: &Part,
    finish: &impl Fn(&mut [T], usize),
) {
    let kernel = T::microkernel(left.order());
    let left_size = ROWS * ROW_STEP;
    let right_size = INNER * COLUMNS;
    let left_block = ROW_BLOCK / ROWS * left_size;
    let right_block = COLUMN_BLOCK / COLUMNS * right_size;
    with_scratch(
        ALIGNMENT + left_block + right_block,
        |memory: &mut [T]| {
            let skipped = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
            let (left_memory, right_memory) = memory[skipped..].split_at_mut(left_block);
            let mut starts = [std::ptr::null_mut(); ROW_BLOCK];
            for column_block in blocks(&part.columns, COLUMN_BLOCK) {
                // An empty inner dimension still assigns zeros.
                for inner_start in (0..inner.max(1)).step_by(INNER) {
                    let inner_block = inner_start..(inner_start + INNER).min(inner);
                    let is_last = inner_block.end == inner;
                    for (columns, out) in blocks(&column_block, COLUMNS)
                        .zip(right_memory.chunks_exact_mut(right_size))
                    {
                        right.pack(inner_block.clone(), columns, out);
                    }
                    for row_block in blocks(&part.rows, ROW_BLOCK) {
                        for (start, row) in starts.iter_mut().zip(row_block.clone()) {
                            // SAFETY: every row is inside of the destination.
                            *start =
                                unsafe { destination.start.add(destination.places.place(row)) };
                        }
                        let starts = &starts[..row_block.len()];
                        for (rows, out) in
                            blocks(&row_block, ROWS).zip(left_memory.chunks_exact_mut(left_size))
                        {
                            left.pack(rows, inner_block.clone(), out);
                        }
                        for (columns, right) in blocks(&column_block, COLUMNS)
                            .zip(right_memory.chunks_exact(right_size))
                        {
                            for (starts, left) in
                                starts.chunks(ROWS).zip(left_memory.chunks_exact(left_size))
                            {
                                let tile = Tile {
                                    starts,
                                    columns: columns.clone(),
                                    add: inner_start > 0,
                                };
                                // SAFETY: `T::microkernel` gives a kernel that this processor runs,
                                // the blocks are packed, the tile lies inside the part.
                                unsafe { tile.compute(kernel, inner_block.len(), left, right) };
                            }
                        }
                        if is_last {
                            for &start in starts {
                                // SAFETY: a row's piece inside the part.
                                let piece = unsafe {
                                    let start = start.add(column_block.start);
                                    std::slice::from_raw_parts_mut(start, column_block.len())
                                };
                                finish(piece, column_block.start);
                            }
                        }
                    }
                }
            }
        },
    );
}

/// A range in parts of `size`, the last one perhaps shorter.
fn blocks(range: &Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = range.end;
    range
        .clone()
        .step_by(size)
        .map(move |start| start..(start + size).min(end))
}

/// What one call of the kernel computes: at most [`ROWS`]×[`COLUMNS`].
struct Tile<'a, T> {
    /// Where the destination's rows start.
    starts: &'a [*mut T],
    columns: Range<usize>,
    /// Whether the product is added to what is there.
    add: bool,
}

impl<T: Real> Tile<'_, T> {
    /// Computes the tile; what the kernel writes beyond its edges goes to memory that is thrown
    /// away.
    ///
    /// # Safety
    /// As for [`Microkernel`], with the tile's columns of its rows in place of whole ones.
    unsafe fn compute(&self, kernel: Microkernel<T>, inner: usize, left: &[T], right: &[T]) {
        let count = self.columns.len();
        // SAFETY: the caller's promise; in an incomplete tile the kernel has memory of its own, and
        // the destination is read and written by the counts of its rows and columns.
        unsafe {
            let place = |row: usize| self.starts[row].add(self.columns.start);
            if self.starts.len() == ROWS && count == COLUMNS {
                let rows = std::array::from_fn(place);
                kernel(inner, left.as_ptr(), right.as_ptr(), &rows, self.add);
                return;
            }
            let mut memory = [[T::ZERO; COLUMNS]; ROWS];
            let start = memory.as_mut_ptr().cast::<T>();
            let rows: [*mut T; ROWS] = std::array::from_fn(|row| start.add(row * COLUMNS));
            if self.add {
                for (row, &line) in rows.iter().enumerate().take(self.starts.len()) {
                    std::ptr::copy_nonoverlapping(place(row), line, count);
                }
            }
            kernel(inner, left.as_ptr(), right.as_ptr(), &rows, self.add);
            for (row, &line) in rows.iter().enumerate().take(self.starts.len()) {
                std::ptr::copy_nonoverlapping(line, place(row), count);
            }
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
            multiply(
                &mut out,
                &Places::rows(columns),
                &left,
                &right,
                shape,
                |_, _| {},
            );
            assert_eq!(out, direct);

            let crossed = by_definition(|r, i| a[i * rows + r], |i, c| b[c * inner + i], shape);
            let (left, right) = (Matrix::rows(&a, rows), Matrix::rows(&b, inner));
            let (left, right) = (left.transposed(), right.transposed());
            multiply(
                &mut out,
                &Places::rows(columns),
                &left,
                &right,
                shape,
                |_, _| {},
            );
            assert_eq!(out, crossed);
        }
    }
}
