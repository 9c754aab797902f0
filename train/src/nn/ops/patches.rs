//! The patches under a moving kernel, read as a matrix without being written down as one.

use super::matmul::{Left, Right, copy};
use super::microkernel::{COLUMNS, Order, ROW_STEP};
use super::real::Real;
use std::ops::Range;

/// The matrix whose row for each position of a kernel is the part of a picture under it: kernel row
/// by kernel row, each of all its columns' channels, zeros where the kernel is outside.
#[derive(Clone, Copy)]
pub(crate) struct Patches<'a, T> {
    /// Pictures of `height × width × channels`, one after another.
    pub(crate) pictures: &'a [T],
    /// Height, width, channels.
    pub(crate) size: [usize; 3],
    /// Rows and columns of positions in each picture.
    pub(crate) positions: [usize; 2],
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    /// Where in the picture the kernel's first row and column are at the first position.
    pub(crate) origin: [isize; 2],
    /// By how much the kernel moves from one position to the next.
    pub(crate) stride: usize,
}

/// A position of the kernel.
#[derive(Clone, Copy)]
struct Position {
    picture: usize,
    row: usize,
    column: usize,
}

/// A part of a patch that lies in one kernel row.
struct Piece {
    kernel_row: usize,
    /// Where in the kernel row it starts.
    offset: usize,
    /// Where in the part of the patch that was asked for it is.
    place: Range<usize>,
}

impl<T: Real> Patches<'_, T> {
    fn position(&self, index: usize) -> Position {
        let [rows, columns] = self.positions;
        Position {
            picture: index / (rows * columns),
            row: index / columns % rows,
            column: index % columns,
        }
    }

    /// The positions from the one of index `range.start`, which exists unless the range is empty.
    fn positions(&self, range: Range<usize>) -> impl Iterator<Item = Position> + use<T> {
        let [rows, columns] = self.positions;
        let mut next = self.position(range.start);
        range.map(move |_| {
            let position = next;
            next.column += 1;
            if next.column == columns {
                (next.column, next.row) = (0, next.row + 1);
            }
            if next.row == rows {
                (next.row, next.picture) = (0, next.picture + 1);
            }
            position
        })
    }

    /// The pieces of part of a patch.
    fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = Piece> + use<T> {
        let length = self.kernel[1] * self.size[2];
        let mut next = range.start;
        std::iter::from_fn(move || {
            if next >= range.end {
                return None;
            }
            let (kernel_row, offset) = (next / length, next % length);
            let count = (length - offset).min(range.end - next);
            let place = next - range.start..next - range.start + count;
            next += count;
            Some(Piece {
                kernel_row,
                offset,
                place,
            })
        })
    }

    /// Copies one piece of the patch at a position.
    #[inline(always)]
    fn copy(&self, at: Position, kernel_row: usize, offset: usize, out: &mut [T]) {
        let [height, width, channels] = self.size;
        let row = (at.row * self.stride + kernel_row).checked_add_signed(self.origin[0]);
        let Some(row) = row.filter(|&row| row < height) else {
            out.fill(T::ZERO);
            return;
        };
        let length = width * channels;
        let line = &self.pictures[(at.picture * height + row) * length..][..length];
        let start = ((at.column * self.stride) as isize + self.origin[1]) * channels as isize
            + offset as isize;
        if let Some(part) = usize::try_from(start)
            .ok()
            .and_then(|start| line.get(start..start + out.len()))
        {
            copy::<T, COLUMNS>(part, out);
            return;
        }
        let before = start.min(0).unsigned_abs().min(out.len());
        let from = start.max(0) as usize;
        let inside = line.len().saturating_sub(from).min(out.len() - before);
        out[..before].fill(T::ZERO);
        if inside > 0 {
            out[before..before + inside].copy_from_slice(&line[from..from + inside]);
        }
        out[before + inside..].fill(T::ZERO);
    }
}

impl<T: Real> Left<T> for Patches<'_, T> {
    fn order(&self) -> Order {
        Order::Rows
    }

    fn pack(&self, rows: Range<usize>, inner: Range<usize>, out: &mut [T]) {
        for (at, out) in self.positions(rows).zip(out.chunks_mut(ROW_STEP)) {
            for piece in self.pieces(inner.clone()) {
                self.copy(at, piece.kernel_row, piece.offset, &mut out[piece.place]);
            }
        }
    }
}

impl<T: Real> Right<T> for Patches<'_, T> {
    fn pack(&self, inner: Range<usize>, columns: Range<usize>, out: &mut [T]) {
        for piece in self.pieces(columns) {
            let lines = out.chunks_exact_mut(COLUMNS);
            for (at, out) in self.positions(inner.clone()).zip(lines) {
                let out = &mut out[piece.place.clone()];
                self.copy(at, piece.kernel_row, piece.offset, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_lies_under_the_kernel() {
        // (size, positions, kernel, origin, stride)
        for (size, positions, kernel, origin, stride) in [
            ([5, 6, 1], [2, 3], [4, 4], [-1, -1], 2),
            ([4, 3, 5], [4, 3], [3, 3], [-1, -1], 1),
            ([3, 3, 2], [5, 5], [2, 2], [-2, -3], 2),
            ([2, 7, 40], [2, 7], [1, 1], [0, 0], 1),
            ([6, 6, 3], [2, 2], [2, 3], [1, 2], 3),
        ] {
            let images = 3;
            let count = images * size.iter().product::<usize>();
            let pictures: Vec<f64> = (1..=count).map(|i| i as f64).collect();
            let patches = Patches {
                pictures: &pictures,
                size,
                positions,
                kernel,
                origin,
                stride,
            };
            let [height, width, channels] = size;
            let patch = kernel[0] * kernel[1] * channels;
            let rows = images * positions[0] * positions[1];
            let wanted = |row: usize, index: usize| {
                let (picture, position) = (
                    row / (positions[0] * positions[1]),
                    row % (positions[0] * positions[1]),
                );
                let (tap, channel) = (index / channels, index % channels);
                let y = ((position / positions[1]) * stride + tap / kernel[1]) as isize + origin[0];
                let x = ((position % positions[1]) * stride + tap % kernel[1]) as isize + origin[1];
                let inside = y >= 0 && x >= 0 && (y as usize) < height && (x as usize) < width;
                if inside {
                    let pixel = (picture * height + y as usize) * width + x as usize;
                    pictures[pixel * channels + channel]
                } else {
                    0.0
                }
            };
            for row in 0..rows {
                for (first, last) in [(0, patch), (patch / 3, patch - patch / 4)] {
                    let mut out = vec![f64::NAN; ROW_STEP];
                    Left::pack(&patches, row..row + 1, first..last, &mut out);
                    let direct: Vec<f64> = (first..last).map(|i| wanted(row, i)).collect();
                    assert_eq!(out[..last - first], direct);
                }
            }
            for first in (0..patch).step_by(COLUMNS) {
                let columns = first..(first + COLUMNS).min(patch);
                let mut out = vec![f64::NAN; rows * COLUMNS];
                Right::pack(&patches, 0..rows, columns.clone(), &mut out);
                for row in 0..rows {
                    let direct: Vec<f64> = columns.clone().map(|i| wanted(row, i)).collect();
                    assert_eq!(out[row * COLUMNS..][..columns.len()], direct);
                }
            }
        }
    }
}
