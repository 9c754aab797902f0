//! Weighted sums of shifted rows, the inner loop of a direct convolution, compiled twice on x86-64.
//! Vectors of 512 bits gained nothing.

use super::vectors::Vectors;

/// Sums that are kept in registers at a time: eight vectors of eight, as many as hide the latency
/// of a multiply-add.
pub(super) const BLOCK: usize = 64;

/// What one sum is made of.
pub(super) struct Taps<'a> {
    /// Distances from the first cell, one a tap.
    pub(super) offsets: &'a [usize],
    /// One a tap.
    pub(super) weights: &'a [f32],
    /// What the sum begins with.
    pub(super) start: f32,
    /// What it is clamped to.
    pub(super) limits: [f32; 2],
}

/// `value` within `low` and `high`. NaN stays NaN, to be found.
#[inline(always)]
pub(super) fn clamp(value: f32, [low, high]: [f32; 2]) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

/// `sums[i] = start + Σ weights[t] · cells[offsets[t] + i]`, clamped.
///
/// # Panics
/// If `sums` is no multiple of [`BLOCK`] long or `cells` ends before an offset plus its length.
pub(super) fn weighted_sums(vectors: Vectors, taps: &Taps<'_>, cells: &[f32], sums: &mut [f32]) {
    match vectors {
        Vectors::Baseline => baseline(taps, cells, sums),
        // SAFETY: `detect` found these instructions, and nothing else makes these values.
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx2 => unsafe { avx2(taps, cells, sums) },
    }
}

fn baseline(taps: &Taps<'_>, cells: &[f32], sums: &mut [f32]) {
    // Without the instruction, a fused multiply-add is a call of a slow function.
    #[cfg(not(target_arch = "aarch64"))]
    body(|x, weight, sum| x * weight + sum, taps, cells, sums);
    #[cfg(target_arch = "aarch64")]
    body(f32::mul_add, taps, cells, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(taps: &Taps<'_>, cells: &[f32], sums: &mut [f32]) {
    body(f32::mul_add, taps, cells, sums);
}

#[inline(always)]
fn body(
    multiply_add: impl Fn(f32, f32, f32) -> f32,
    taps: &Taps<'_>,
    cells: &[f32],
    sums: &mut [f32],
) {
    let (blocks, rest) = sums.as_chunks_mut::<BLOCK>();
    assert!(rest.is_empty());
    for (block, sums) in blocks.iter_mut().enumerate() {
        let cells = &cells[block * BLOCK..];
        let mut kept = [taps.start; BLOCK];
        for (&offset, &weight) in taps.offsets.iter().zip(taps.weights) {
            let cells = cells[offset..].first_chunk::<BLOCK>();
            let cells = cells.expect("cells reach as far beyond each offset as there are sums");
            for (sum, &x) in kept.iter_mut().zip(cells) {
                *sum = multiply_add(x, weight, *sum);
            }
        }
        for sum in &mut kept {
            *sum = clamp(*sum, taps.limits);
        }
        *sums = kept;
    }
}
