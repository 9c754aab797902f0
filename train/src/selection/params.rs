//! The rules of selection, and why they are what they are.

/// What decides between candidates. Every rule here helps on more than one kind of data;
/// `docs/experiments/2026-11-30-selection-rules.md` has what was left out.
#[derive(Clone, Debug)]
pub struct SelectionParams {
    /// Of candidates whose separation of the synthetic validation set is within this of the best,
    /// the first in the order of preference is taken: the set ranks them no finer, and real defects
    /// differ from synthetic ones. The same holds of smoothings, aggregations and anomaly maps.
    pub tie: f64,
    /// False-positive rate up to which an area of its own counts as much as the whole: an AUROC
    /// hides what is found at the few false alarms that a line can bear.
    pub false_positives: f64,
    /// Taken off the separation of defects of what was trained on synthetic defects: it knows these
    /// better than real ones.
    pub synthetic_training_penalty: f64,
    /// Taken off an anomaly map for each network that has to run for it and not for the score: each
    /// frame takes about twice as long.
    pub latency_penalty: f64,
    /// Validation frames with which candidates can be selected. How much normal frames differ from
    /// each other decides between them, and a handful does not show it, least of all at few false
    /// alarms: with fewer, all training and validation frames are validation frames in turn.
    pub least_validation: usize,
    /// Folds then: each more takes another fit of all candidates, and fewer leave too little to fit
    /// on.
    pub folds: usize,
    /// Frames from which statistics of places are taken at most: more would change little.
    pub statistics_frames: usize,
    /// Final smoothings of the anomaly map, the preferred first: standard deviations as shares of
    /// the tensor's equivalent side.
    pub map_smoothings: [f32; 3],
    /// Side of the blocks of pixels that are compared: every pixel would take nine times as long.
    pub pixel_stride: usize,
}

impl Default for SelectionParams {
    fn default() -> Self {
        Self {
            tie: 0.01,
            false_positives: 0.05,
            synthetic_training_penalty: 0.05,
            latency_penalty: 0.02,
            least_validation: 40,
            folds: 3,
            statistics_frames: 2000,
            map_smoothings: [0.0, 1.0 / 64.0, 1.0 / 32.0],
            pixel_stride: 3,
        }
    }
}

impl SelectionParams {
    /// The places of `values` that are within a tie of the largest, ascending.
    pub(super) fn within_tie(&self, values: &[f64]) -> Vec<usize> {
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let ties = |place: &usize| values[*place] >= top - self.tie;
        (0..values.len()).filter(ties).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_alike_the_first_is_taken() {
        let params = SelectionParams::default();
        assert_eq!(params.within_tie(&[0.895, 0.85, 0.9, 0.9]), [0, 2, 3]);
        assert_eq!(params.within_tie(&[0.88, 0.9]), [1]);
        assert!(params.within_tie(&[]).is_empty());
    }
}
