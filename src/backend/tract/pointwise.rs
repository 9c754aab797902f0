//! 1×1 convolutions: a constant matrix times tiles of pixels.
//!
//! A tile holds sixteen neighbouring pixels of all channels, channel after channel, so that a
//! product reads it from end to end. The rows of the matrix lie in panels of six: the sums of a
//! panel and a tile are twelve vectors of 256 bits, as many as hide the latency of a multiply-add
//! and leave registers for what is multiplied.

use std::{ops::Range, sync::Arc};

use super::{vectors::Vectors, weighted_sum::clamp};

/// Pixels of a tile.
pub(super) const PIXELS: usize = 16;

/// Output channels that are computed together.
pub(super) const PANEL: usize = 6;

/// A 1×1 convolution and a clamp.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pointwise {
    inputs: usize,
    outputs: usize,
    /// Panel, input channel, output channel of the panel. Shared, since tract copies operators.
    weights: Arc<[f32]>,
    /// One an output channel, and zeros up to a whole panel.
    bias: Arc<[f32]>,
    limits: [f32; 2],
    pub(super) vectors: Vectors,
}

impl Pointwise {
    /// `weights` are outputs×inputs, and neither is 0; a sum is clamped to `limits`.
    pub(super) fn new(weights: &[f32], bias: &[f32], limits: [f32; 2]) -> Self {
        let outputs = bias.len();
        let inputs = weights.len() / outputs;
        let panels = outputs.div_ceil(PANEL);
        let mut packed = vec![0.0; panels * inputs * PANEL];
        for (output, weights) in weights.chunks_exact(inputs).enumerate() {
            let panel = &mut packed[output / PANEL * inputs * PANEL..];
            for (input, &weight) in weights.iter().enumerate() {
                panel[input * PANEL + output % PANEL] = weight;
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(panels * PANEL, 0.0);
        Self {
            inputs,
            outputs,
            weights: packed.into(),
            bias: bias.into(),
            limits,
            vectors: Vectors::detect(),
        }
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// Computes a panel's channels.
    ///
    /// # Panics
    /// If there is no such panel, or the tiles hold more or less than the output's pixels.
    pub(super) fn multiply(&self, panel: usize, tiles: &[[f32; PIXELS]], output: Planes<'_>) {
        match self.vectors {
            Vectors::Baseline => self.baseline(panel, tiles, output),
            // SAFETY: `detect` found these instructions, and nothing else makes these values.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { self.avx2(panel, tiles, output) },
        }
    }

    fn baseline(&self, panel: usize, tiles: &[[f32; PIXELS]], output: Planes<'_>) {
        // Without the instruction, a fused multiply-add is a call of a slow function.
        #[cfg(not(target_arch = "aarch64"))]
        self.body(|x, weight, sum| x * weight + sum, panel, tiles, output);
        #[cfg(target_arch = "aarch64")]
        self.body(f32::mul_add, panel, tiles, output);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(&self, panel: usize, tiles: &[[f32; PIXELS]], output: Planes<'_>) {
        self.body(f32::mul_add, panel, tiles, output);
    }

    #[inline(always)]
    fn body(
        &self,
        multiply_add: impl Fn(f32, f32, f32) -> f32,
        panel: usize,
        tiles: &[[f32; PIXELS]],
        output: Planes<'_>,
    ) {
        let (weights, _) = self.weights.as_chunks::<PANEL>();
        let weights = &weights[panel * self.inputs..][..self.inputs];
        let bias = &self.bias[panel * PANEL..][..PANEL];
        let Planes {
            values,
            plane,
            pixels,
            add,
        } = output;
        for (number, tile) in tiles.chunks_exact(self.inputs).enumerate() {
            let mut sums = [[0.0; PIXELS]; PANEL];
            for (sums, &bias) in sums.iter_mut().zip(bias) {
                *sums = [bias; PIXELS];
            }
            for (pixels, weights) in tile.iter().zip(weights) {
                for (sums, &weight) in sums.iter_mut().zip(weights) {
                    for (sum, &pixel) in sums.iter_mut().zip(pixels) {
                        *sum = multiply_add(pixel, weight, *sum);
                    }
                }
            }
            let begin = pixels.start + number * PIXELS;
            let count = PIXELS.min(pixels.end - begin);
            let whole = count == PIXELS && (PANEL - 1) * plane + begin + PIXELS <= values.len();
            if whole && add.is_none() {
                for (own, sums) in sums.iter().enumerate() {
                    let values = &mut values[own * plane + begin..][..PIXELS];
                    for (value, &sum) in values.iter_mut().zip(sums) {
                        *value = clamp(sum, self.limits);
                    }
                }
                continue;
            }
            // Another array: what has an address does not stay in registers.
            let mut clamped = [[0.0; PIXELS]; PANEL];
            for (clamped, &sum) in clamped
                .as_flattened_mut()
                .iter_mut()
                .zip(sums.as_flattened())
            {
                *clamped = clamp(sum, self.limits);
            }
            for (own, sums) in clamped.iter().enumerate() {
                let values = values.get_mut(own * plane + begin..).unwrap_or_default();
                if values.is_empty() {
                    break;
                }
                values[..count].copy_from_slice(&sums[..count]);
                if let Some(add) = add {
                    let add = &add[own * plane + begin..][..count];
                    for (value, add) in values.iter_mut().zip(add) {
                        *value += add;
                    }
                }
            }
        }
    }
}

/// Where a panel's channels are written, of which those beyond the end are left out.
pub(super) struct Planes<'a> {
    /// From the panel's first channel on.
    pub(super) values: &'a mut [f32],
    /// Values from one channel to the next.
    pub(super) plane: usize,
    /// Which pixels of each channel.
    pub(super) pixels: Range<usize>,
    /// What is added to each value, laid out like the values.
    pub(super) add: Option<&'a [f32]>,
}
