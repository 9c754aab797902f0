//! Scales of the channels and principal components of the feature vectors.

use std::ops::Range;

use anyhow::{Result, ensure};
use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::covariate::Covariate;

/// What counts as varying.
#[derive(Debug)]
struct VarianceParams {
    /// Least deviation of a channel as a share of the median deviation of all that vary, so that a
    /// channel that never moved in training, such as one that only defects excite, can speak
    /// without dividing by zero.
    least_deviation: f64,
    /// Least variance of a covariate's component, in units of a channel's variance and of the
    /// largest: below it is rounding.
    least_variance: f64,
}

const PARAMS: VarianceParams = VarianceParams {
    least_deviation: 0.01,
    least_variance: 1e-8,
};

/// Sums over the feature vectors (channels×cells) of normal frames.
pub(super) struct ChannelSums {
    frames: usize,
    /// Sum of their weights.
    weight: f64,
    /// Vectors of the first frame, from which differences are taken: rounding stays small however
    /// far the features are from zero.
    origin: DMatrix<f64>,
    /// Sum of differences at each cell, channels×cells.
    sums: DMatrix<f64>,
    /// Sum of the differences' products over all cells, channels×channels.
    products: DMatrix<f64>,
    /// The same of their means over the cells.
    mean_products: DMatrix<f64>,
}

impl ChannelSums {
    pub(super) fn new(first: &DMatrix<f32>) -> Self {
        let (channels, cells) = first.shape();
        Self {
            frames: 0,
            weight: 0.0,
            origin: first.map(f64::from),
            sums: DMatrix::zeros(channels, cells),
            products: DMatrix::zeros(channels, channels),
            mean_products: DMatrix::zeros(channels, channels),
        }
    }

    /// Differences from the origin and their products: what may be computed beside other frames.
    pub(super) fn contribution(&self, vectors: &DMatrix<f32>) -> [DMatrix<f64>; 2] {
        let differences = vectors.map(f64::from) - &self.origin;
        let products = &differences * differences.transpose();
        [differences, products]
    }

    /// Adds a frame's contribution with its weight.
    pub(super) fn add(&mut self, [differences, products]: [DMatrix<f64>; 2], weight: f64) {
        self.frames += 1;
        self.weight += weight;
        let mean = differences.column_mean();
        self.mean_products.ger(weight, &mean, &mean, 1.0);
        self.sums += differences * weight;
        self.products += products * weight;
    }

    /// Means, scales and covariances of all frames.
    ///
    /// # Errors
    /// Fewer than two frames; features that do not vary at all.
    pub(super) fn finish(self) -> Result<ChannelStatistics> {
        ensure!(
            self.frames >= 2,
            "found {} normal frames to fit Gaussians on, at least 2 are needed",
            self.frames
        );
        let frames = self.weight;
        let cells = self.sums.ncols() as f64;
        // Σ(x − μₚ)(x − μₚ)ᵀ = Σ d·dᵀ − n·Σₚ d̄ₚ·d̄ₚᵀ
        let within = self.products - &self.sums * self.sums.transpose() / frames;
        let mean_difference = self.sums.column_mean() / frames;
        let of_frames =
            self.mean_products / frames - &mean_difference * mean_difference.transpose();
        let cell_means = self.origin + self.sums / frames;
        let mean = cell_means.column_mean();
        let mut offsets = cell_means;
        for mut column in offsets.column_iter_mut() {
            column -= &mean;
        }
        let between = &offsets * offsets.transpose();
        // Samples of light weight can make fewer than two frames of several.
        let within = within / (cells * (frames - 1.0).max(0.5 * frames));
        let total = &within + between / cells;

        let deviation = total.diagonal().map(|variance| variance.max(0.0).sqrt());
        // Below this it is rounding.
        let varies = |d: f64, m: f64| d > 1e-6 * m.abs().max(f64::from(f32::MIN_POSITIVE));
        let mut varying: Vec<f64> = deviation
            .iter()
            .zip(&mean)
            .filter(|&(&d, &m)| varies(d, m))
            .map(|(&d, _)| d)
            .collect();
        ensure!(
            !varying.is_empty(),
            "the features are the same in all of {} normal frames: look for frames that are copies \
             of one, or a network without training",
            self.frames
        );
        varying.sort_unstable_by(f64::total_cmp);
        let least = PARAMS.least_deviation * varying[varying.len() / 2];
        let scale = deviation.map(|d| 1.0 / d.max(least));
        let scaled = |mut covariance: DMatrix<f64>| {
            for (i, mut column) in covariance.column_iter_mut().enumerate() {
                column.component_mul_assign(&scale);
                column *= scale[i];
            }
            covariance
        };
        Ok(ChannelStatistics {
            within: scaled(within),
            total: scaled(total),
            of_frames: scaled(of_frames),
            mean,
            scale,
        })
    }
}

/// Mean and scale of each channel, and the covariances of the scaled channels.
pub(super) struct ChannelStatistics {
    mean: DVector<f64>,
    scale: DVector<f64>,
    /// Within the positions: of a cell's vector from the mean of its cell.
    within: DMatrix<f64>,
    /// Of a vector from the mean of all.
    total: DMatrix<f64>,
    /// Of the mean vector of a frame from the mean of all.
    of_frames: DMatrix<f64>,
}

impl ChannelStatistics {
    /// Components of the variation within the cells.
    pub(super) fn within(&self) -> Components {
        self.components(&self.within)
    }

    /// Components of all variation.
    pub(super) fn total(&self) -> Components {
        self.components(&self.total)
    }

    fn components(&self, covariance: &DMatrix<f64>) -> Components {
        let components = principal(covariance);
        let channels = covariance.nrows();
        Components {
            mean: self.mean.map(|m| m as f32),
            weights: DMatrix::from_fn(channels, channels, |component, channel| {
                components[component].1[channel] * self.scale[channel]
            }),
            variances: components.iter().map(|(variance, _)| *variance).collect(),
        }
    }

    /// The covariate in the first `count` principal components of the frames' means, or in fewer
    /// where these hardly vary in others.
    pub(super) fn covariate(&self, count: usize) -> Covariate {
        let channels = self.mean.len();
        let mut components = principal(&self.of_frames);
        let largest = components.first().map_or(0.0, |(largest, _)| *largest);
        let least = PARAMS.least_variance * largest.max(1.0);
        components.truncate(count);
        components.retain(|(variance, _)| *variance > least);
        Covariate {
            mean: self.mean.map(|m| m as f32),
            weights: DMatrix::from_fn(components.len(), channels, |component, channel| {
                let (variance, axis) = &components[component];
                (axis[channel] * self.scale[channel] / variance.sqrt()) as f32
            }),
        }
    }
}

/// Eigenvalues and eigenvectors, the largest first.
fn principal(covariance: &DMatrix<f64>) -> Vec<(f64, DVector<f64>)> {
    let eigen = SymmetricEigen::new(covariance.clone());
    let vectors = eigen.eigenvectors.column_iter().map(|v| v.into_owned());
    let mut pairs: Vec<_> = eigen.eigenvalues.iter().copied().zip(vectors).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
}

/// All principal components, the most varying first.
pub(super) struct Components {
    mean: DVector<f32>,
    /// A row each, the channels' scales included.
    weights: DMatrix<f64>,
    variances: Vec<f64>,
}

impl Components {
    /// Onto some of them.
    pub(super) fn projection(&self, range: Range<usize>) -> Projection {
        Projection {
            mean: self.mean.clone(),
            weights: self.weights.map(|w| w as f32),
        }
        .rows(range)
    }

    /// Onto some of them, each in units of its deviation √(λ + `floor`), so that no element of what
    /// whitens them is much larger than the others and bytes can hold them; and `floor` in units of
    /// each variance.
    pub(super) fn standardised(&self, range: Range<usize>, floor: f64) -> (Projection, Vec<f64>) {
        let mut projection = self.projection(range.clone());
        let variances = self.variances[range].iter().map(|v| v.max(0.0) + floor);
        let variances: Vec<f64> = variances.collect();
        for (mut row, variance) in projection.weights.row_iter_mut().zip(&variances) {
            row /= variance.sqrt() as f32;
        }
        let floors = variances.iter().map(|variance| floor / variance);
        (projection, floors.collect())
    }
}

/// From feature vectors to principal components: y = P·(x − m).
#[derive(Clone, Debug)]
pub(super) struct Projection {
    /// m, of each channel.
    pub(super) mean: DVector<f32>,
    /// P, components×channels, the channels' scales included.
    pub(super) weights: DMatrix<f32>,
}

impl Projection {
    /// Of nothing.
    pub(super) fn none() -> Self {
        Self {
            mean: DVector::zeros(0),
            weights: DMatrix::zeros(0, 0),
        }
    }

    /// Number of components.
    pub(super) fn components(&self) -> usize {
        self.weights.nrows()
    }

    /// Onto some of its components.
    pub(super) fn rows(&self, range: Range<usize>) -> Self {
        Self {
            mean: self.mean.clone(),
            weights: self.weights.rows(range.start, range.len()).clone_owned(),
        }
    }

    /// Of the vectors channels×cells: components×cells.
    pub(super) fn apply(&self, mut vectors: DMatrix<f32>) -> DMatrix<f32> {
        for mut column in vectors.column_iter_mut() {
            column -= &self.mean;
        }
        &self.weights * vectors
    }
}

#[cfg(test)]
mod tests {
    use super::{super::covariate, *};

    /// Three frames of two cells and two channels.
    fn frames() -> [DMatrix<f32>; 3] {
        [
            DMatrix::from_column_slice(2, 2, &[1000.0, 2.0, 1004.0, 0.0]),
            DMatrix::from_column_slice(2, 2, &[1001.0, 4.0, 1004.0, 0.0]),
            DMatrix::from_column_slice(2, 2, &[1005.0, 3.0, 1007.0, 3.0]),
        ]
    }

    fn statistics() -> ChannelStatistics {
        let frames = frames();
        let mut sums = ChannelSums::new(&frames[0]);
        for frame in &frames {
            let contribution = sums.contribution(frame);
            sums.add(contribution, 1.0);
        }
        sums.finish().unwrap()
    }

    #[test]
    fn covariances_by_hand() {
        let found = statistics();
        // Cell 0: means 1002, 3; deviations (−2, −1), (−1, 1), (3, 0).
        // Cell 1: means 1005, 1; deviations (−1, −1), (−1, −1), (2, 2).
        // Within, divisor 2·(3 − 1): [[(14 + 6)/4, (1 + 6)/4], [.., (2 + 6)/4]].
        // Mean of all: 1003.5, 2; of the cells' means: ∓1.5, ±1.
        let (within, between) = ([5.0, 1.75, 2.0], [2.25, -1.5, 1.0]);
        let total = [7.25, 0.25, 3.0];
        assert_eq!(total, [0, 1, 2].map(|i| within[i] + between[i]));
        let scale = [1.0 / 7.25_f64.sqrt(), 1.0 / 3.0_f64.sqrt()];
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        for (place, (i, j)) in [(0, 0), (0, 1), (1, 1)].into_iter().enumerate() {
            close(found.within[(i, j)], within[place] * scale[i] * scale[j]);
            close(found.total[(i, j)], total[place] * scale[i] * scale[j]);
        }
        close(found.mean[0], 1003.5);
        close(found.mean[1], 2.0);
    }

    #[test]
    fn components_are_those_of_largest_variance() {
        let found = statistics();
        let projection = found.within().projection(0..2);
        // In the components the covariance is diagonal, largest first.
        let scale = DMatrix::from_diagonal(&found.scale.map(|s| 1.0 / s));
        let rotation = projection.weights.map(f64::from) * scale;
        let rotated = &rotation * &found.within * rotation.transpose();
        assert!(rotated[(0, 1)].abs() < 1e-6);
        assert!(rotated[(0, 0)] > rotated[(1, 1)]);
        assert!((rotated.trace() - found.within.trace()).abs() < 1e-6);
        let [frame, ..] = frames();
        let projected = projection.apply(frame.clone());
        assert_eq!(projected.shape(), (2, 2));

        // The second of them alone, in units of its deviation.
        let floor = 0.01;
        let (second, floors) = found.within().standardised(1..2, floor);
        let variance = rotated[(1, 1)] + floor;
        assert!((floors[0] * variance / floor - 1.0).abs() < 1e-6);
        let (alone, both) = (second.apply(frame.clone()), projection.apply(frame));
        for (alone, both) in alone.iter().zip(both.row(1).iter()) {
            assert!((f64::from(*alone) * variance.sqrt() - f64::from(*both)).abs() < 1e-4);
        }
    }

    #[test]
    fn covariates_are_deviations_of_the_frames_means() {
        let found = statistics();
        // The frames' means: (1002, 1), (1002.5, 2), (1006, 3).
        let of_frames = found.covariate(9);
        assert_eq!(of_frames.components(), 2);
        let unclipped =
            |frame: &DMatrix<f32>| &of_frames.weights * (frame.column_mean() - &of_frames.mean);
        let covariates = frames().map(|frame| unclipped(&frame).map(f64::from));
        let mean = covariates.iter().sum::<DVector<f64>>() / 3.0;
        assert!(mean.norm() < 1e-4, "{mean}");
        let products = covariates.iter().map(|a| a * a.transpose());
        let covariance = products.sum::<DMatrix<f64>>() / 3.0;
        assert!((covariance - DMatrix::identity(2, 2)).norm() < 1e-3);
        assert_eq!(found.covariate(1).components(), 1);
        assert_eq!(found.covariate(0).of(&frames()[0]).len(), 0);

        let far = frames()[0].map(|value| 10.0 * value);
        let clipped = of_frames.of(&far);
        assert_eq!(clipped.amax(), covariate::PARAMS.limit);
    }

    #[test]
    fn a_constant_channel_keeps_a_scale() {
        let frames = [
            DMatrix::from_column_slice(2, 1, &[0.0_f32, 7.0]),
            DMatrix::from_column_slice(2, 1, &[2.0_f32, 7.0]),
        ];
        let mut sums = ChannelSums::new(&frames[0]);
        for frame in &frames {
            let contribution = sums.contribution(frame);
            sums.add(contribution, 1.0);
        }
        let found = sums.finish().unwrap();
        assert!((found.scale[0] - 1.0 / 2.0_f64.sqrt()).abs() < 1e-12);
        assert!((found.scale[1] - 100.0 / 2.0_f64.sqrt()).abs() < 1e-10);
    }

    #[test]
    fn too_little_is_refused() {
        let frame = DMatrix::from_column_slice(2, 1, &[0.0_f32, 7.0]);
        let mut sums = ChannelSums::new(&frame);
        let contribution = sums.contribution(&frame);
        sums.add(contribution.clone(), 1.0);
        let error = sums.finish().err().unwrap().to_string();
        assert!(error.starts_with("found 1 normal frames"), "{error}");
        let mut sums = ChannelSums::new(&frame);
        sums.add(contribution.clone(), 1.0);
        sums.add(contribution, 1.0);
        let error = sums.finish().err().unwrap().to_string();
        assert!(error.contains("the same in all of 2"), "{error}");
    }
}
