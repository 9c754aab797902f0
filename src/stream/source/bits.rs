//! Frames of cameras with 10, 12 or 14 bits in 16.

use super::{Arrival, Source, SourceError};
use crate::Frame;

/// A source of which is known how many bits of 16 its samples use.
pub(super) struct Bits {
    pub(super) source: Box<dyn Source>,
    pub(super) bits: u32,
}

impl Source for Bits {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        let arrival = self.source.read(frame)?;
        if arrival == Arrival::Frame {
            frame.set_bits(self.bits)?;
        }
        Ok(arrival)
    }

    fn has_own_times(&self) -> bool {
        self.source.has_own_times()
    }

    fn is_live(&self) -> bool {
        self.source.is_live()
    }
}
