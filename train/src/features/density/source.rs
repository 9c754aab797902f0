//! Feature maps, and frames that have them.

use anyhow::Result;

/// A feature map of one frame.
#[derive(Clone, Copy, Debug)]
pub struct FeatureMap<'a> {
    /// Name of the tensor in the graph that makes it.
    pub name: &'a str,
    /// C×h×w.
    pub shape: [usize; 3],
    /// C·h·w values, channel after channel.
    pub values: &'a [f32],
}

/// Frames whose feature maps can be had as often as needed.
pub trait FeatureSource {
    /// Number of frames.
    fn frames(&self) -> usize;

    /// Number of frames that are no augmented samples of others.
    fn originals(&self) -> usize {
        self.frames()
    }

    /// How much a frame counts: 1, or less where it is one of many augmented
    /// samples of another; more than 0.
    fn weight(&self, frame: usize) -> f64 {
        let _ = frame;
        1.0
    }

    /// How much a frame counts for a mixture, which has no covariate to tell frames by: 0 where it
    /// is a sample so unlike the frames that it would be taken for a kind of its own, and hide
    /// defects.
    fn mixture_weight(&self, frame: usize) -> f64 {
        self.weight(frame)
    }

    /// Called before each of `total` steps of a training that a fit goes through: may show how far
    /// it is, and end it.
    ///
    /// # Errors
    /// Whatever ends the training, such as Ctrl-C.
    fn step(&mut self, done: usize, total: usize) -> Result<()> {
        let _ = (done, total);
        Ok(())
    }

    /// Calls `visit` with the feature maps of each of `frames` (from 0, ascending), one after the
    /// other in that order. The maps are the same in number, order, name and shape each time.
    ///
    /// # Errors
    /// A frame that can't be had, and the errors of `visit`, which end the visit.
    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()>;
}

/// At most `most` of `count` places, evenly spaced.
pub(crate) fn evenly_spaced(count: usize, most: usize) -> Vec<usize> {
    let taken = count.min(most);
    (0..taken).map(|i| i * count / taken).collect()
}
