//! Operators that move a window over a picture.

use super::{Operator, Shape};

impl Operator<'_> {
    /// Positions of a window that moves over `x`.
    pub(super) fn windows(&self, x: &[u64], kernel: &[u64], channels: u64) -> Option<Shape> {
        let rank = kernel.len();
        let (strides, dilations) = (
            self.ints("strides", rank, 1),
            self.ints("dilations", rank, 1),
        );
        let pads = self.ints("pads", 2 * rank, 0);
        let auto = self.attribute("auto_pad").map_or(&b"NOTSET"[..], |a| &a.s);
        let mut shape = vec![*x.first()?, channels];
        for (axis, &size) in x.get(2..)?.iter().enumerate() {
            let stride = (*strides.get(axis)?).max(1) as u64;
            if auto.starts_with(b"SAME") {
                shape.push(size.div_ceil(stride));
                continue;
            }
            let around = pads.get(axis)?.checked_add(*pads.get(axis + rank)?)?;
            let reach = kernel.get(axis)?.saturating_sub(1);
            let reach = reach.saturating_mul((*dilations.get(axis)?).max(1) as u64);
            let room = size
                .saturating_add_signed(around)
                .saturating_sub(reach.saturating_add(1));
            // Rounded up, as some poolings do.
            shape.push(room.div_ceil(stride).saturating_add(1));
        }
        Some(shape)
    }

    pub(super) fn conv(&self) -> Option<Shape> {
        let weights = self.shape(1)?;
        self.windows(self.shape(0)?, weights.get(2..)?, *weights.first()?)
    }

    pub(super) fn conv_transpose(&self) -> Option<Shape> {
        let (x, weights) = (self.shape(0)?, self.shape(1)?);
        let group = self.int("group", 1).max(1) as u64;
        let mut shape = vec![*x.first()?, weights.get(1)?.saturating_mul(group)];
        if let Some(sizes) = self.attribute("output_shape") {
            shape.extend(sizes.ints.iter().map(|&size| size.max(0) as u64));
            return Some(shape);
        }
        let rank = weights.len().checked_sub(2)?;
        let (strides, more) = (
            self.ints("strides", rank, 1),
            self.ints("output_padding", rank, 0),
        );
        let dilations = self.ints("dilations", rank, 1);
        let pads = self.ints("pads", 2 * rank, 0);
        for axis in 0..rank {
            let positive = |list: &[i64]| list[axis].max(0) as u64;
            let reach = weights[axis + 2].saturating_mul(positive(&dilations).max(1));
            let size = x.get(axis + 2)?.saturating_mul(positive(&strides).max(1));
            let size = size.saturating_add(reach).saturating_add(positive(&more));
            shape.push(size.saturating_add_signed(-pads[axis].checked_add(pads[axis + rank])?));
        }
        Some(shape)
    }
}
