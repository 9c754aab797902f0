//! Mean and deviation of the residual at each position over normal frames, and the
//! standardisation by them.

use ndarray::{Array3, ArrayView3, Axis};

use super::{AnomalyError, check_finite, check_length};
use crate::preprocess::Interior;

/// Weight, in frames, of the variance averaged over all positions in the variance of one position:
/// few frames give an uncertain variance, and the smallest of ten thousand uncertain ones would
/// decide every score (moderated variance; Smyth 2004). With hundreds of frames it hardly counts.
const PRIOR_FRAMES: f64 = 8.0;

/// Least deviation as a share of the root mean square deviation of all positions, so that a
/// position that never varied in training, such as a black corner, cannot divide by zero.
const LEAST_DEVIATION: f64 = 0.1;

/// Accumulates mean and variance of residual maps at each position (Welford 1962), in one pass over
/// normal frames.
#[derive(Clone, Debug)]
pub struct PositionStatistics {
    height: usize,
    width: usize,
    /// Positions whose variance counts in the average over all; without it every one.
    interior: Option<Interior>,
    frames: u64,
    mean: Vec<f64>,
    /// Sum of squared differences from the mean.
    squares: Vec<f64>,
}

impl PositionStatistics {
    /// For maps of `height×width`.
    pub fn new(height: usize, width: usize) -> Self {
        Self::within(height, width, None)
    }

    /// For maps of `height×width` of which only the positions of `interior` count.
    pub fn within(height: usize, width: usize, interior: Option<Interior>) -> Self {
        Self {
            height,
            width,
            interior,
            frames: 0,
            mean: vec![0.0; height * width],
            squares: vec![0.0; height * width],
        }
    }

    /// Adds the smoothed residual map (`H×W`) of a normal frame.
    ///
    /// # Errors
    /// A map of another size; NaN or an infinity in it. The statistics are then as before.
    pub fn push(&mut self, map: &[f32]) -> Result<(), AnomalyError> {
        check_length("residual map", map.len(), self.mean.len())?;
        check_finite("residual map: value", map)?;
        self.frames += 1;
        let n = self.frames as f64;
        for ((&value, mean), squares) in map.iter().zip(&mut self.mean).zip(&mut self.squares) {
            let value = f64::from(value);
            let difference = value - *mean;
            *mean += difference / n;
            *squares += difference * (value - *mean);
        }
        Ok(())
    }

    /// Number of frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// μ and s at each position, where s² = ((n − 1)·v + 8·v̄)/(n − 1 + 8) + (0.1)²·v̄ with v the
    /// variance at the position (divisor n − 1) and v̄ its mean over the positions that count: steadied where
    /// frames are few, and never 0.
    ///
    /// # Errors
    /// Fewer than two frames, or frames whose maps do not differ at all.
    pub fn finish(&self) -> Result<Standardisation, AnomalyError> {
        if self.frames < 2 {
            return Err(AnomalyError::Statistics {
                reason: format!(
                    "found {} frames, expected at least 2 normal frames",
                    self.frames
                ),
            });
        }
        let freedom = (self.frames - 1) as f64;
        let (sum, positions) = match &self.interior {
            None => (self.squares.iter().sum::<f64>(), self.squares.len()),
            Some(interior) => {
                let cells = interior.cells().iter().zip(&self.squares);
                let inside = cells.filter(|(inside, _)| **inside);
                (inside.map(|(_, squares)| squares).sum(), interior.count())
            }
        };
        let pooled = sum / freedom / positions as f64;
        let deviation = self.squares.iter().map(|squares| {
            let moderated = (squares + PRIOR_FRAMES * pooled) / (freedom + PRIOR_FRAMES);
            (moderated + LEAST_DEVIATION.powi(2) * pooled).sqrt() as f32
        });
        Standardisation::new(
            self.height,
            self.width,
            self.mean.iter().map(|&mean| mean as f32).collect(),
            deviation.collect(),
        )
    }
}

/// Standardises maps: z = (a − μ)/s at each position.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardisation {
    height: usize,
    width: usize,
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Standardisation {
    fn new(
        height: usize,
        width: usize,
        mean: Vec<f32>,
        deviation: Vec<f32>,
    ) -> Result<Self, AnomalyError> {
        if mean.is_empty() {
            return Err(AnomalyError::Statistics {
                reason: format!("found a map of {height}×{width}, expected at least one position"),
            });
        }
        check_finite("mean of the residual at position", &mean)?;
        check_finite("deviation of the residual at position", &deviation)?;
        if let Some(position) = deviation.iter().position(|&deviation| deviation <= 0.0) {
            return Err(AnomalyError::Statistics {
                reason: format!(
                    "the deviation at position {position} is {}, expected a positive one; train on normal frames that differ from each other",
                    deviation[position]
                ),
            });
        }
        Ok(Self {
            height,
            width,
            mean,
            deviation,
        })
    }

    /// From `2×H×W`: μ, then s, as the bundle's file holds them.
    ///
    /// # Errors
    /// Another number of planes; no position; NaN or an infinity; a deviation that is not positive.
    pub fn from_array(array: ArrayView3<f32>) -> Result<Self, AnomalyError> {
        let (planes, height, width) = array.dim();
        check_length("statistics of the anomaly maps: planes", planes, 2)?;
        let plane = |index| array.index_axis(Axis(0), index).iter().copied().collect();
        Self::new(height, width, plane(0), plane(1))
    }

    /// As `2×H×W`: μ, then s.
    pub fn to_array(&self) -> Array3<f32> {
        Array3::from_shape_fn((2, self.height, self.width), |(plane, y, x)| {
            let position = y * self.width + x;
            match plane {
                0 => self.mean[position],
                _ => self.deviation[position],
            }
        })
    }

    /// Height of the maps.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width of the maps.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Standardises a map (`H×W`) in place.
    ///
    /// # Errors
    /// A map of another size.
    pub fn apply(&self, map: &mut [f32]) -> Result<(), AnomalyError> {
        check_length("anomaly map", map.len(), self.mean.len())?;
        for ((value, mean), deviation) in map.iter_mut().zip(&self.mean).zip(&self.deviation) {
            *value = (*value - mean) / deviation;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    #[test]
    fn mean_and_moderated_deviation_by_hand() {
        let mut statistics = PositionStatistics::new(1, 3);
        for map in [[1.0, 5.0, 0.0], [3.0, 5.0, 4.0], [5.0, 5.0, 2.0]] {
            statistics.push(&map).unwrap();
        }
        assert_eq!(statistics.frames(), 3);
        // Variances 4, 0, 4 with two degrees of freedom; their mean is 8/3.
        let pooled = 8.0f64 / 3.0;
        let expected =
            |variance: f64| ((2.0 * variance + 8.0 * pooled) / 10.0 + 0.01 * pooled).sqrt() as f32;
        let found = statistics.finish().unwrap().to_array();
        let by_hand = array![
            [[3.0, 5.0, 2.0]],
            [[expected(4.0), expected(0.0), expected(4.0)]]
        ];
        assert!((&found - &by_hand).iter().all(|d: &f32| d.abs() < 1e-6));
    }

    #[test]
    fn masked_positions_do_not_steady_the_others() {
        let interior = Interior::of(vec![true, false, true]);
        let mut statistics = PositionStatistics::within(1, 3, Some(interior));
        for map in [[1.0, 5.0, 0.0], [3.0, 5.0, 4.0], [5.0, 5.0, 2.0]] {
            statistics.push(&map).unwrap();
        }
        // Variances 4 and 4, so their mean is 4; outside, where the variance is 0, it serves too.
        let found = statistics.finish().unwrap().to_array();
        let expected = |variance: f64| ((2.0 * variance + 32.0) / 10.0 + 0.04).sqrt() as f32;
        for (x, variance) in [4.0, 0.0, 4.0].into_iter().enumerate() {
            assert!((found[(1, 0, x)] - expected(variance)).abs() < 1e-6);
        }
    }

    #[test]
    fn welford_agrees_with_two_passes_far_from_zero() {
        let frames: Vec<[f32; 2]> = (0..200)
            .map(|i| [10_000.0 + ((i * 37) % 101) as f32 / 100.0, (i % 2) as f32])
            .collect();
        let mut statistics = PositionStatistics::new(2, 1);
        for map in &frames {
            statistics.push(map).unwrap();
        }
        for position in 0..2 {
            let values: Vec<f64> = frames.iter().map(|m| f64::from(m[position])).collect();
            let mean = values.iter().sum::<f64>() / 200.0;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            assert!((statistics.mean[position] - mean).abs() < 1e-9);
            assert!((statistics.squares[position] / squares - 1.0).abs() < 1e-7);
        }
    }

    #[test]
    fn the_array_goes_there_and_back() {
        let array = Array3::from_shape_fn((2, 3, 4), |(p, y, x)| (1 + p + 2 * y + 3 * x) as f32);
        let standardisation = Standardisation::from_array(array.view()).unwrap();
        assert_eq!(standardisation.to_array(), array);
        assert_eq!((standardisation.height(), standardisation.width()), (3, 4));
        // A transposed view, whose memory is in another order.
        let transposed = array.view().permuted_axes([0, 2, 1]);
        let standardisation = Standardisation::from_array(transposed).unwrap();
        assert_eq!(standardisation.to_array(), transposed);
    }

    #[test]
    fn maps_are_standardised() {
        let array = array![[[1.0, 2.0]], [[0.5, 4.0]]];
        let mut map = [2.0, 0.0];
        Standardisation::from_array(array.view())
            .unwrap()
            .apply(&mut map)
            .unwrap();
        assert_eq!(map, [2.0, -0.5]);
    }

    #[test]
    fn unusable_statistics_are_refused() {
        let mut statistics = PositionStatistics::new(1, 2);
        assert!(statistics.push(&[1.0]).is_err());
        assert!(statistics.push(&[1.0, f32::NAN]).is_err());
        assert_eq!(statistics.frames(), 0);
        statistics.push(&[1.0, 2.0]).unwrap();
        assert!(statistics.finish().is_err());
        statistics.push(&[1.0, 2.0]).unwrap();
        let message = statistics.finish().unwrap_err().to_string();
        assert!(message.contains("differ from each other"), "{message}");
        assert!(PositionStatistics::new(0, 5).finish().is_err());

        for array in [
            array![[[1.0f32]], [[0.0]]],
            array![[[1.0]], [[-1.0]]],
            array![[[1.0]], [[f32::NAN]]],
            array![[[f32::INFINITY]], [[1.0]]],
            array![[[1.0]]],
            Array3::zeros((2, 0, 4)),
        ] {
            assert!(Standardisation::from_array(array.view()).is_err());
        }
    }
}
