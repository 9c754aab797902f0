//! From a map to its one raw score.

use super::{Aggregation, ScoringError};
use crate::value::{ValueError, check_finite, check_length};

impl Aggregation {
    /// Checks what a manifest may say.
    ///
    /// # Errors
    /// A fraction outside of (0, 1].
    pub fn validate(self) -> Result<(), ScoringError> {
        match self {
            Self::TopFraction { fraction } if !(fraction > 0.0 && fraction <= 1.0) => {
                Err(ValueError::Setting {
                    setting: "fraction of the score's aggregation",
                    found: f64::from(fraction),
                    expected: "a share of the pixels above 0 and at most 1",
                }
                .into())
            }
            Self::TopFraction { .. } | Self::Maximum | Self::Total => Ok(()),
        }
    }

    /// One raw score of n values: the largest, the mean of the largest
    /// k = max(1, round(fraction·n)), or the sum, in `f64`. The values are left in another order.
    ///
    /// # Errors
    /// No values; NaN or an infinity among them; a fraction outside of (0, 1].
    pub fn score(self, values: &mut [f32]) -> Result<f64, ScoringError> {
        self.validate()?;
        if values.is_empty() {
            check_length("anomaly map", 0, 1)?;
        }
        check_finite("anomaly map: value", values)?;
        Ok(match self {
            Self::Maximum => f64::from(values.iter().copied().fold(f32::MIN, f32::max)),
            Self::Total => values.iter().map(|&value| f64::from(value)).sum(),
            Self::TopFraction { fraction } => {
                let share = (f64::from(fraction) * values.len() as f64).round() as usize;
                let count = share.clamp(1, values.len());
                values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
                let largest = &mut values[..count];
                // The order of the selection is the algorithm's own affair; sorted, the sum has the
                // same bits with every compiler.
                largest.sort_unstable_by(f32::total_cmp);
                largest.iter().map(|&value| f64::from(value)).sum::<f64>() / count as f64
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregations_by_sorting() {
        let map: Vec<f32> = (0..500).map(|i| ((i * 37) % 211) as f32 - 100.0).collect();
        let mut sorted: Vec<f64> = map.iter().map(|&v| f64::from(v)).collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let score = |aggregation: Aggregation| aggregation.score(&mut map.clone()).unwrap();
        assert_eq!(score(Aggregation::Maximum), sorted[0]);
        assert_eq!(score(Aggregation::Total), sorted.iter().sum::<f64>());
        for (fraction, count) in [(1e-6, 1), (0.002, 1), (0.02, 10), (0.5, 250), (1.0, 500)] {
            let expected = sorted[..count].iter().sum::<f64>() / count as f64;
            let found = score(Aggregation::TopFraction { fraction });
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn negative_maps_keep_their_maximum() {
        let score = Aggregation::Maximum.score(&mut [-3.0, -2.5, -9.0]);
        assert_eq!(score.unwrap(), -2.5);
    }

    #[test]
    fn unusable_maps_and_fractions_are_refused() {
        let top = Aggregation::TopFraction { fraction: 0.5 };
        for aggregation in [Aggregation::Maximum, Aggregation::Total, top] {
            assert!(aggregation.score(&mut []).is_err());
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(matches!(
                    aggregation.score(&mut [0.0, value]),
                    Err(ScoringError::Value(ValueError::NotFinite { index: 1, .. }))
                ));
            }
        }
        for fraction in [0.0, -0.1, 1.5, f32::NAN] {
            assert!(Aggregation::TopFraction { fraction }.validate().is_err());
        }
    }
}
