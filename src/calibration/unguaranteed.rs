//! A threshold where no frame is left to calibrate with.

use super::{Calibration, CalibrationError, check_rate};

impl Calibration {
    /// What is left where all frames are known to the model: the threshold is the largest score of
    /// augmented samples of them, the maxima of whose anomaly maps are `map_maxima`. No false-alarm
    /// rate is guaranteed, also not the target `rate`: frames differ in more than copies of one do.
    /// The copies count as one group, so that no p-value is below 1/2.
    ///
    /// # Errors
    /// Those of [`Calibration::fit`], too few frames only where there is none.
    pub fn without_guarantee(
        scores: Vec<f64>,
        map_maxima: Vec<f64>,
        rate: f64,
    ) -> Result<Self, CalibrationError> {
        check_rate(rate)?;
        let one = vec![0; scores.len()];
        Ok(Self {
            false_alarm_rate: rate,
            unguaranteed: true,
            trimmed: 0,
            ..Self::fit_grouped(scores, map_maxima, &one, 0.5)?
        })
    }
}
