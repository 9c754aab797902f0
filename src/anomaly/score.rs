//! From a reconstruction to the anomaly map and its one raw score.

use ndarray::ArrayView3;

use crate::vae::VaeSpec;

use super::{
    Aggregation, AnomalyError, ResidualMap, Scoring, Standardisation, check_finite, check_length,
};

impl Aggregation {
    /// Checks what a manifest may say.
    ///
    /// # Errors
    /// A fraction outside of (0, 1].
    pub fn validate(self) -> Result<(), AnomalyError> {
        match self {
            Self::TopFraction { fraction } if !(fraction > 0.0 && fraction <= 1.0) => {
                Err(AnomalyError::Setting {
                    setting: "fraction of the score's aggregation",
                    found: f64::from(fraction),
                    expected: "a share of the pixels above 0 and at most 1",
                })
            }
            Self::TopFraction { .. } | Self::Maximum => Ok(()),
        }
    }

    /// One raw score of a map of n values: the largest, or the mean of the largest
    /// k = max(1, round(fraction·n)), in `f64`.
    ///
    /// `selection` is a buffer that keeps its memory from call to call; it is used for the largest
    /// values only.
    ///
    /// # Errors
    /// An empty map; NaN or an infinity in it; a fraction outside of (0, 1].
    pub fn score(self, map: &[f32], selection: &mut Vec<f32>) -> Result<f64, AnomalyError> {
        self.validate()?;
        if map.is_empty() {
            check_length("anomaly map", 0, 1)?;
        }
        check_finite("anomaly map: value", map)?;
        match self {
            Self::Maximum => Ok(f64::from(map.iter().copied().fold(f32::MIN, f32::max))),
            Self::TopFraction { fraction } => {
                let share = (f64::from(fraction) * map.len() as f64).round() as usize;
                let count = share.clamp(1, map.len());
                selection.clear();
                selection.extend_from_slice(map);
                selection.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
                let largest = &mut selection[..count];
                // The order of the selection is the algorithm's own affair; sorted, the sum has the
                // same bits with every compiler.
                largest.sort_unstable_by(f32::total_cmp);
                Ok(largest.iter().map(|&value| f64::from(value)).sum::<f64>() / count as f64)
            }
        }
    }
}

impl Scoring {
    /// Checks what a manifest may say, but for the statistics, which [`Scorer::new`] checks.
    ///
    /// # Errors
    /// A setting outside of its domain.
    pub fn validate(&self, spec: &VaeSpec) -> Result<(), AnomalyError> {
        let Self::ResidualZ {
            smoothing,
            aggregation,
            ..
        } = self;
        aggregation.validate()?;
        ResidualMap::new(spec, *smoothing).map(|_| ())
    }
}

/// From a reconstruction to anomaly map and score, as a bundle's [`Scoring`] says, with buffers of
/// its own: in steady state it allocates nothing. Calibration and runtime use the same one.
#[derive(Clone, Debug)]
pub struct Scorer {
    residual: ResidualMap,
    standardisation: Standardisation,
    aggregation: Aggregation,
    selection: Vec<f32>,
}

impl Scorer {
    /// For the frames of `spec`, with the content `2×H×W` of the bundle's statistics file.
    ///
    /// # Errors
    /// A setting outside of its domain; statistics of another shape, or such as
    /// [`Standardisation::from_array`] refuses.
    pub fn new(
        scoring: &Scoring,
        spec: &VaeSpec,
        statistics: ArrayView3<f32>,
    ) -> Result<Self, AnomalyError> {
        let Scoring::ResidualZ {
            smoothing,
            aggregation,
            ..
        } = scoring;
        aggregation.validate()?;
        let standardisation = Standardisation::from_array(statistics)?;
        check_length(
            "statistics of the anomaly maps: rows",
            standardisation.height(),
            spec.height,
        )?;
        check_length(
            "statistics of the anomaly maps: columns",
            standardisation.width(),
            spec.width,
        )?;
        let residual = ResidualMap::new(spec, *smoothing)?;
        Ok(Self {
            selection: Vec::with_capacity(residual.positions()),
            residual,
            standardisation,
            aggregation: *aggregation,
        })
    }

    /// Computes the anomaly map of one frame into `map` (`H×W`, tensor geometry) and gives its raw
    /// score. `log_variance` is the decoder's, used for a learned variance only; see
    /// [`ResidualMap::compute`].
    ///
    /// # Errors
    /// A slice of another length; NaN or an infinity in the map, from the input or the model.
    pub fn score(
        &mut self,
        input: &[f32],
        reconstruction: &[f32],
        log_variance: &[f32],
        map: &mut [f32],
    ) -> Result<f64, AnomalyError> {
        self.residual
            .compute(input, reconstruction, log_variance, map)?;
        self.standardisation.apply(map)?;
        self.aggregation.score(map, &mut self.selection)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;
    use crate::vae::{Latent, Likelihood};

    #[test]
    fn aggregations_by_sorting() {
        let map: Vec<f32> = (0..500).map(|i| ((i * 37) % 211) as f32 - 100.0).collect();
        let mut sorted: Vec<f64> = map.iter().map(|&v| f64::from(v)).collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let mut selection = Vec::new();
        let maximum = Aggregation::Maximum.score(&map, &mut selection).unwrap();
        assert_eq!(maximum, sorted[0]);
        for (fraction, count) in [(1e-6, 1), (0.002, 1), (0.02, 10), (0.5, 250), (1.0, 500)] {
            let expected = sorted[..count].iter().sum::<f64>() / count as f64;
            let found = Aggregation::TopFraction { fraction }
                .score(&map, &mut selection)
                .unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn negative_maps_keep_their_maximum() {
        let score = Aggregation::Maximum.score(&[-3.0, -2.5, -9.0], &mut Vec::new());
        assert_eq!(score.unwrap(), -2.5);
    }

    #[test]
    fn unusable_maps_and_fractions_are_refused() {
        let mut selection = Vec::new();
        let top = Aggregation::TopFraction { fraction: 0.5 };
        for aggregation in [Aggregation::Maximum, top] {
            assert!(aggregation.score(&[], &mut selection).is_err());
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(matches!(
                    aggregation.score(&[0.0, value], &mut selection),
                    Err(AnomalyError::NotFinite { index: 1, .. })
                ));
            }
        }
        for fraction in [0.0, -0.1, 1.5, f32::NAN] {
            assert!(Aggregation::TopFraction { fraction }.validate().is_err());
        }
    }

    fn spec() -> VaeSpec {
        VaeSpec {
            channels: 1,
            height: 2,
            width: 2,
            latent: Latent::Vector { length: 1 },
            likelihood: Likelihood::Gaussian { sigma: 0.5 },
        }
    }

    fn scoring(smoothing: f32) -> Scoring {
        Scoring::ResidualZ {
            statistics: "statistics.npy".into(),
            smoothing,
            aggregation: Aggregation::Maximum,
        }
    }

    #[test]
    fn the_whole_way_by_hand() {
        let statistics = array![[[1.0, 1.0], [0.0, 2.0]], [[0.5, 1.0], [2.0, 0.25]]];
        let mut scorer = Scorer::new(&scoring(0.0), &spec(), statistics.view()).unwrap();
        let mut map = [0.0; 4];
        let score = scorer
            .score(&[1.0, 0.0, 3.0, 0.5], &[0.0, 0.0, 1.0, 0.0], &[], &mut map)
            .unwrap();
        // Residuals over σ: 2, 0, 4, 1.
        assert_eq!(map, [2.0, -1.0, 2.0, -4.0]);
        assert_eq!(score, 2.0);
        assert!(matches!(
            scorer.score(&[f32::NAN; 4], &[0.0; 4], &[], &mut map),
            Err(AnomalyError::NotFinite { index: 0, .. })
        ));
    }

    #[test]
    fn settings_of_a_hostile_manifest_are_refused() {
        let ones = Array3::ones((2, 2, 2));
        for smoothing in [-1.0, f32::NAN, 1e9] {
            assert!(Scorer::new(&scoring(smoothing), &spec(), ones.view()).is_err());
            assert!(scoring(smoothing).validate(&spec()).is_err());
        }
        assert!(scoring(1.0).validate(&spec()).is_ok());
        for shape in [(2, 4, 1), (2, 1, 4), (1, 2, 2), (3, 2, 2)] {
            assert!(Scorer::new(&scoring(0.0), &spec(), Array3::ones(shape).view()).is_err());
        }
    }
}
