//! The innermost part of a matrix product: one tile of the result, held in registers.
//!
//! A tile is [`ROWS`]×[`COLUMNS`]. Both factors are packed: the right one as `inner × COLUMNS`
//! numbers in the order of use, the left one in one of the two orders of [`Order`], whichever is a
//! plain copy. The kernels for AVX-512 and for AVX2 with FMA give the same bits: every number is
//! the same chain of fused multiply-adds. The portable kernel fuses only where that is an
//! instruction of the build's target, so it may differ from them in the last bits.

/// Rows of a tile.
pub(crate) const ROWS: usize = 8;
/// Columns of a tile.
pub(crate) const COLUMNS: usize = 32;
/// The most numbers of the inner dimension in one packed block: with it, the packed blocks of
/// both factors fit into an L2 cache of 1 MiB, and a row of the left one into L1.
pub(crate) const INNER: usize = 256;
/// From one row of the left factor to the next in [`Order::Rows`]: a multiple of a cache line but
/// not of a power of two, so that eight rows don't compete for the same cache sets.
pub(crate) const ROW_STEP: usize = INNER + 16;

/// How a tile's share of the left factor lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Row after row, [`ROW_STEP`] apart: made by copying rows.
    Rows,
    /// The [`ROWS`] numbers of one column, then those of the next: made by copying columns.
    Columns,
}

/// Adds (or, unless the last argument says so, assigns) a product of `inner` to the tile whose
/// rows start at the pointers.
///
/// # Safety
/// The processor has the instructions that the kernel is compiled for. `left` and `right` are
/// valid for a packed block of `inner` ≤ [`INNER`] in the kernel's order, and each pointer for
/// [`COLUMNS`] numbers that nothing else accesses meanwhile.
pub(crate) type Microkernel<T> =
    unsafe fn(inner: usize, left: *const T, right: *const T, rows: &[*mut T; ROWS], add: bool);

/// The fastest kernel for `f32` on this processor.
pub(crate) fn for_f32(order: Order) -> Microkernel<f32> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return match order {
                Order::Rows => x86::avx512::<ROW_STEP, 1>,
                Order::Columns => x86::avx512::<1, ROWS>,
            };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return match order {
                Order::Rows => x86::avx2::<ROW_STEP, 1>,
                Order::Columns => x86::avx2::<1, ROWS>,
            };
        }
    }
    portable_f32(order)
}

/// The kernel for `f64`, which only checks of gradients use.
pub(crate) fn for_f64(order: Order) -> Microkernel<f64> {
    match order {
        Order::Rows => portable::<f64, ROW_STEP, 1>,
        Order::Columns => portable::<f64, 1, ROWS>,
    }
}

fn portable_f32(order: Order) -> Microkernel<f32> {
    match order {
        Order::Rows => portable::<f32, ROW_STEP, 1>,
        Order::Columns => portable::<f32, 1, ROWS>,
    }
}

/// The operations of the portable kernel.
trait Number: Copy + Default + std::ops::AddAssign {
    fn multiply_add(self, factor: Self, sum: Self) -> Self;
}

macro_rules! number {
    ($($type:ident),*) => {$(
        impl Number for $type {
            #[inline(always)]
            fn multiply_add(self, factor: Self, sum: Self) -> Self {
                // Elsewhere `mul_add` is a call of a function.
                if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                    self.mul_add(factor, sum)
                } else {
                    self * factor + sum
                }
            }
        }
    )*};
}
number!(f32, f64);

/// [`Microkernel`] in parts of 4×8, which the compiler turns into what vectors the target has.
///
/// # Safety
/// See [`Microkernel`]; number (`row`, `i`) of `left` is at `row · ROW + i · INDEX`.
unsafe fn portable<T: Number, const ROW: usize, const INDEX: usize>(
    inner: usize,
    left: *const T,
    right: *const T,
    rows: &[*mut T; ROWS],
    add: bool,
) {
    for first_row in (0..ROWS).step_by(4) {
        for first_column in (0..COLUMNS).step_by(8) {
            let mut sums = [[T::default(); 8]; 4];
            for index in 0..inner {
                // SAFETY: the caller's promise about the packed blocks.
                let line = unsafe { &*right.add(index * COLUMNS + first_column).cast::<[T; 8]>() };
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let factor = unsafe { *left.add((first_row + row) * ROW + index * INDEX) };
                    for (sum, &number) in sums.iter_mut().zip(line) {
                        *sum = factor.multiply_add(number, *sum);
                    }
                }
            }
            for (sums, &row) in sums.iter().zip(&rows[first_row..]) {
                // SAFETY: the caller's promise about the pointers.
                let out = unsafe { &mut *row.add(first_column).cast::<[T; 8]>() };
                for (out, &sum) in out.iter_mut().zip(sums) {
                    if add {
                        *out += sum;
                    } else {
                        *out = sum;
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{COLUMNS, ROWS};
    use std::arch::x86_64::*;

    /// Repeats statements with a constant row number: only arrays that are indexed by constants
    /// are sure to live in registers.
    macro_rules! for_rows {
        ($row:ident in [$($number:literal)*] $body:block) => {
            $({
                const $row: usize = $number;
                $body
            })*
        };
    }

    /// [`super::Microkernel`] with the 8×32 sums in 16 registers of 16 numbers.
    ///
    /// # Safety
    /// See [`super::Microkernel`]; number (`row`, `i`) of `left` is at `row · ROW + i · INDEX`.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512<const ROW: usize, const INDEX: usize>(
        inner: usize,
        left: *const f32,
        right: *const f32,
        rows: &[*mut f32; ROWS],
        add: bool,
    ) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        // SAFETY: index < inner, so the reads are inside the packed blocks, and the caller
        // promises that the rows can be written.
        unsafe {
            for index in 0..inner {
                let line = right.add(index * COLUMNS);
                let (low, high) = (_mm512_loadu_ps(line), _mm512_loadu_ps(line.add(16)));
                for_rows!(R in [0 1 2 3 4 5 6 7] {
                    let factor = _mm512_set1_ps(*left.add(R * ROW + index * INDEX));
                    sums[R][0] = _mm512_fmadd_ps(factor, low, sums[R][0]);
                    sums[R][1] = _mm512_fmadd_ps(factor, high, sums[R][1]);
                });
            }
            for_rows!(R in [0 1 2 3 4 5 6 7] {
                let (low, high) = (rows[R], rows[R].add(16));
                if add {
                    sums[R][0] = _mm512_add_ps(_mm512_loadu_ps(low), sums[R][0]);
                    sums[R][1] = _mm512_add_ps(_mm512_loadu_ps(high), sums[R][1]);
                }
                _mm512_storeu_ps(low, sums[R][0]);
                _mm512_storeu_ps(high, sums[R][1]);
            });
        }
    }

    /// [`super::Microkernel`] in four parts of 4×16, each with its sums in 8 of the 16 registers.
    ///
    /// # Safety
    /// See [`super::Microkernel`]; number (`row`, `i`) of `left` is at `row · ROW + i · INDEX`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2<const ROW: usize, const INDEX: usize>(
        inner: usize,
        left: *const f32,
        right: *const f32,
        rows: &[*mut f32; ROWS],
        add: bool,
    ) {
        for first_column in [0, 16] {
            for first_row in [0, 4] {
                let mut sums = [[_mm256_setzero_ps(); 2]; 4];
                // SAFETY: as in the kernel above.
                unsafe {
                    let left = left.add(first_row * ROW);
                    for index in 0..inner {
                        let line = right.add(index * COLUMNS + first_column);
                        let (low, high) = (_mm256_loadu_ps(line), _mm256_loadu_ps(line.add(8)));
                        for_rows!(R in [0 1 2 3] {
                            let factor = _mm256_set1_ps(*left.add(R * ROW + index * INDEX));
                            sums[R][0] = _mm256_fmadd_ps(factor, low, sums[R][0]);
                            sums[R][1] = _mm256_fmadd_ps(factor, high, sums[R][1]);
                        });
                    }
                    for_rows!(R in [0 1 2 3] {
                        let low = rows[first_row + R].add(first_column);
                        let high = low.add(8);
                        if add {
                            sums[R][0] = _mm256_add_ps(_mm256_loadu_ps(low), sums[R][0]);
                            sums[R][1] = _mm256_add_ps(_mm256_loadu_ps(high), sums[R][1]);
                        }
                        _mm256_storeu_ps(low, sums[R][0]);
                        _mm256_storeu_ps(high, sums[R][1]);
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    /// Every kernel that this processor runs, with its order.
    fn kernels() -> Vec<(&'static str, Order, Microkernel<f32>)> {
        let mut kernels: Vec<(_, _, Microkernel<f32>)> = Vec::new();
        for order in [Order::Rows, Order::Columns] {
            kernels.push(("portable", order, portable_f32(order)));
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                kernels.push(("avx512", Order::Rows, x86::avx512::<ROW_STEP, 1>));
                kernels.push(("avx512", Order::Columns, x86::avx512::<1, ROWS>));
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                kernels.push(("avx2", Order::Rows, x86::avx2::<ROW_STEP, 1>));
                kernels.push(("avx2", Order::Columns, x86::avx2::<1, ROWS>));
            }
        }
        kernels
    }

    #[test]
    fn all_kernels_compute_the_chain_of_multiply_adds() {
        let mut generator = Pcg64::seed_from_u64(5);
        for inner in [0, 1, 2, 7, 64, INNER] {
            let mut draw = |count: usize| -> Vec<f32> {
                (0..count)
                    .map(|_| generator.random_range(-1.0..1.0))
                    .collect()
            };
            let (left, right, before) = (
                draw(ROWS * inner),
                draw(inner * COLUMNS),
                draw(ROWS * COLUMNS),
            );
            for (name, order, kernel) in kernels() {
                let mut packed = vec![f32::NAN; ROWS * ROW_STEP];
                for row in 0..ROWS {
                    for index in 0..inner {
                        let place = match order {
                            Order::Rows => row * ROW_STEP + index,
                            Order::Columns => index * ROWS + row,
                        };
                        packed[place] = left[row * inner + index];
                    }
                }
                for add in [false, true] {
                    let mut out = before.clone();
                    let start = out.as_mut_ptr();
                    // SAFETY: the rows are disjoint parts of `out`, the blocks are packed above.
                    unsafe {
                        let rows = std::array::from_fn(|row| start.add(row * COLUMNS));
                        kernel(inner, packed.as_ptr(), right.as_ptr(), &rows, add);
                    }
                    for row in 0..ROWS {
                        for column in 0..COLUMNS {
                            let place = row * COLUMNS + column;
                            let pairs = (0..inner)
                                .map(|i| (left[row * inner + i], right[i * COLUMNS + column]));
                            let start = if add { before[place] } else { 0.0 };
                            if name == "portable" {
                                let exact: f64 =
                                    pairs.map(|(a, b)| f64::from(a) * f64::from(b)).sum();
                                let wrong = f64::from(out[place]) - exact - f64::from(start);
                                assert!(wrong.abs() < 1e-5, "{name} {order:?}: {wrong}");
                            } else {
                                let chain = pairs.fold(0f32, |sum, (a, b)| a.mul_add(b, sum));
                                assert_eq!(out[place], start + chain, "{name} {order:?} {inner}");
                            }
                        }
                    }
                }
            }
        }
    }
}
