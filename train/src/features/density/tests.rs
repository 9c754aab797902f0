mod fits;
mod gaussians;
mod graphs;
mod limits;

use anyhow::Result;
use edge_vae::backend::{BackendKind, Engine, EngineOptions};
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::{grid::Grid, model::Density, *};

const PER_LOCATION: DensityKind = DensityKind::PerLocation(ComponentSubset::All);
const LOCAL_NEIGHBOURHOOD: DensityKind = DensityKind::LocalNeighbourhood(ComponentSubset::All);

/// Every kind of Gaussians.
const GAUSSIANS: [DensityKind; 3] = [
    PER_LOCATION,
    LOCAL_NEIGHBOURHOOD,
    DensityKind::Mixture(ComponentSubset::All),
];

/// Frames held in memory: maps of these names and shapes.
struct Frames {
    shapes: Vec<(&'static str, [usize; 3])>,
    values: Vec<Vec<Vec<f32>>>,
}

impl Frames {
    fn maps(&self, frame: usize) -> Vec<FeatureMap<'_>> {
        self.shapes
            .iter()
            .zip(&self.values[frame])
            .map(|(&(name, shape), values)| FeatureMap {
                name,
                shape,
                values,
            })
            .collect()
    }

    /// Frames whose values differ between channels, places and frames: noise, stronger in some
    /// places than in others, and noise that all channels share.
    fn random(shapes: &[(&'static str, [usize; 3])], count: usize, seed: u64) -> Self {
        let mut random = Pcg64::seed_from_u64(seed);
        let mut normal = move || -> f32 { StandardNormal.sample(&mut random) };
        let values = (0..count)
            .map(|_| {
                let gain = normal();
                shapes
                    .iter()
                    .map(|&(_, [c, h, w])| {
                        let shared: Vec<f32> = (0..h * w).map(|_| normal()).collect();
                        (0..c * h * w)
                            .map(|i| {
                                let (channel, place) = (i / (h * w), i % (h * w));
                                let size = 1.0 + channel as f32;
                                let noise = 0.1 + (place as f32 * 1.3).sin().abs();
                                let level = (place as f32 * 0.7 + channel as f32).sin();
                                size * (level + noise * normal() + 0.4 * shared[place] + 0.2 * gain)
                            })
                            .collect()
                    })
                    .collect()
            })
            .collect();
        Self {
            shapes: shapes.to_vec(),
            values,
        }
    }
}

impl FeatureSource for Frames {
    fn frames(&self) -> usize {
        self.values.len()
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        frames
            .iter()
            .try_for_each(|&frame| visit(&self.maps(frame)))
    }
}

const SHAPES: [(&str, [usize; 3]); 3] = [
    ("features_4", [3, 8, 8]),
    ("features_8", [4, 4, 4]),
    ("features_16", [2, 2, 2]),
];

fn fitted(
    train: usize,
    kinds: &[DensityKind],
    options: &FitOptions,
) -> (Frames, Frames, Vec<FittedDensity>) {
    let mut frames = Frames::random(&SHAPES, train, 1);
    let mut held_out = Frames::random(&SHAPES, 5, 2);
    let options = FitOptions {
        grid: Some([4, 4]),
        ..options.clone()
    };
    let models = fit(&mut frames, &mut held_out, kinds, &options).unwrap();
    (frames, held_out, models)
}

/// Every frame twice, each time as half a one.
struct Halves(Frames);

impl FeatureSource for Halves {
    fn frames(&self) -> usize {
        2 * self.0.frames()
    }

    fn originals(&self) -> usize {
        self.0.frames()
    }

    fn weight(&self, _: usize) -> f64 {
        0.5
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        let frames: Vec<usize> = frames.iter().map(|frame| frame / 2).collect();
        self.0.visit(&frames, visit)
    }
}

fn distances(model: &FittedDensity, maps: &[FeatureMap<'_>]) -> Vec<f32> {
    let [h, w] = model.grid();
    let mut distance = vec![0.0; h * w];
    model.distance(maps, &mut distance).unwrap();
    distance
}

/// The feature vectors at a 4×4 grid by the definition: nine channels, f64.
fn vectors_of(maps: &[FeatureMap<'_>]) -> Vec<DVector<f64>> {
    (0..16)
        .map(|cell| {
            let (row, column) = (cell / 4, cell % 4);
            let mut vector = Vec::new();
            for c in 0..3 {
                let at = |y: usize, x: usize| maps[0].values[c * 64 + y * 8 + x];
                let (y, x) = (2 * row, 2 * column);
                let largest = at(y, x)
                    .max(at(y, x + 1))
                    .max(at(y + 1, x))
                    .max(at(y + 1, x + 1));
                vector.push(f64::from(largest));
            }
            vector.extend((0..4).map(|c| f64::from(maps[1].values[c * 16 + cell])));
            vector.extend(
                (0..2).map(|c| f64::from(maps[2].values[c * 4 + row / 2 * 2 + column / 2])),
            );
            DVector::from_vec(vector)
        })
        .collect()
}

/// Deviations of the channels over cells and frames: √(pooled variance within the cells, divisor
/// n − 1, + variance of the cells' means).
fn deviations(vectors: &[Vec<DVector<f64>>]) -> DVector<f64> {
    let means = cell_means(vectors);
    let (frames, cells) = (vectors.len() as f64, means.len() as f64);
    let mean = means.iter().sum::<DVector<f64>>() / cells;
    let mut variance = DVector::zeros(mean.len());
    for (cell, m) in means.iter().enumerate() {
        for frame in vectors {
            variance += (&frame[cell] - m).map(|d| d * d) / ((frames - 1.0) * cells);
        }
        variance += (m - &mean).map(|d| d * d) / cells;
    }
    variance.map(f64::sqrt)
}

fn cell_means(vectors: &[Vec<DVector<f64>>]) -> Vec<DVector<f64>> {
    (0..vectors[0].len())
        .map(|cell| vectors.iter().map(|f| &f[cell]).sum::<DVector<f64>>() / vectors.len() as f64)
        .collect()
}

/// Mean and covariance.
type Moments = (DVector<f64>, DMatrix<f64>);

/// Means and inverse covariances of the cells in scaled channels; as all components have full
/// covariances, the rotation into principal components does not matter.
fn brute_force(frames: &Frames) -> (DVector<f64>, Vec<Moments>) {
    let vectors: Vec<_> = (0..frames.values.len())
        .map(|i| vectors_of(&frames.maps(i)))
        .collect();
    let scale = deviations(&vectors).map(|d| 1.0 / d);
    let scaled: Vec<Vec<DVector<f64>>> = vectors
        .iter()
        .map(|frame| frame.iter().map(|v| v.component_mul(&scale)).collect())
        .collect();
    let means = cell_means(&scaled);
    let own: Vec<DMatrix<f64>> = means
        .iter()
        .enumerate()
        .map(|(cell, m)| {
            let sum: DMatrix<f64> = scaled
                .iter()
                .map(|f| (&f[cell] - m) * (&f[cell] - m).transpose())
                .sum();
            sum / (scaled.len() as f64 - 1.0)
        })
        .collect();
    let gaussians = means
        .into_iter()
        .zip(own)
        .map(|(mean, own)| {
            let identity = DMatrix::identity(mean.len(), mean.len());
            let covariance = own + identity * per_location::PARAMS.floor;
            (mean, covariance.try_inverse().unwrap())
        })
        .collect();
    (scale, gaussians)
}

fn mahalanobis(v: &DVector<f64>, (mean, inverse): &(DVector<f64>, DMatrix<f64>)) -> f64 {
    let d = v - mean;
    d.dot(&(inverse * &d)).sqrt()
}

/// Whitenings are stored as f16.
fn assert_close(found: &[f32], expected: &[f64]) {
    assert_near(found, expected, 1e-2);
}

fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs() / expected;
        assert!(
            error < tolerance,
            "cell {i}: {found}, by brute force {expected}"
        );
    }
}
