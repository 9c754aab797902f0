//! Height or width of a picture under a kernel.

use std::ops::Range;

/// One side of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Side {
    pub(in super::super) input: usize,
    pub(in super::super) output: usize,
    pub(in super::super) kernel: usize,
    pub(in super::super) stride: usize,
    /// Zeros before the first value.
    pub(in super::super) pad: usize,
}

impl Side {
    /// Outputs further on that a tap may look at.
    pub(in super::super) fn reach(&self) -> usize {
        (self.kernel - 1) / self.stride
    }

    /// For each output, how many taps look at values and not at padding.
    pub(in super::super) fn inside(&self) -> Vec<usize> {
        let range = |output: usize| {
            let first = output * self.stride;
            (first..first + self.kernel)
                .filter(|place| (self.pad..self.pad + self.input).contains(place))
        };
        (0..self.output)
            .map(|output| range(output).count())
            .collect()
    }

    /// The values that `count` outputs from `first` look at.
    pub(in super::super) fn span(&self, first: usize, count: usize) -> Range<usize> {
        let end = (first + count - 1) * self.stride + self.kernel;
        let end = end.saturating_sub(self.pad).min(self.input);
        (first * self.stride).saturating_sub(self.pad).min(end)..end
    }

    /// Phases of the stride that have a tap.
    pub(in super::super) fn phases(&self) -> usize {
        self.stride.min(self.kernel)
    }
}

/// Copies every `stride`-th value, from the first.
pub(in super::super) fn every(stride: usize, source: &[f32], target: &mut [f32]) {
    match stride {
        1 => target.copy_from_slice(&source[..target.len()]),
        2 => {
            let (pairs, rest) = source.as_chunks::<2>();
            let values = pairs.iter().map(|[first, _]| first).chain(rest);
            for (target, &value) in target.iter_mut().zip(values) {
                *target = value;
            }
        }
        _ => {
            for (target, &value) in target.iter_mut().zip(source.iter().step_by(stride)) {
                *target = value;
            }
        }
    }
}
