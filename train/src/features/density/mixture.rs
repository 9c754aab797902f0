//! A mixture of Gaussians that all cells share.

use anyhow::{Context, Result};
use half::f16;
use nalgebra::DMatrix;
use rayon::prelude::*;

use super::{
    FitOptions,
    k_means::{k_means, nearest},
    shrinkage::{self, Place, Shrinkage},
    source::evenly_spaced,
    triangle::{self, Whitening},
};
use crate::random::{Purpose, stream};

/// How a mixture is fitted.
#[derive(Debug)]
struct MixtureParams {
    /// Vectors that a Gaussian has at least on average; fewer Gaussians are made where there are
    /// not enough.
    vectors_per_gaussian: usize,
    /// Vectors among which centres are looked for at most. Covariances take them all.
    centred: usize,
}

const PARAMS: MixtureParams = MixtureParams {
    vectors_per_gaussian: 50,
    centred: 40_000,
};

/// Beyond the counters that the choice of vectors uses, which are frames.
const CENTRES: u64 = 1 << 40;

/// A mixture, as it is stored.
///
/// d² = minₖ (|Wₖ·y + oₖ|² + cₖ).
#[derive(Clone, Debug)]
pub(super) struct Mixture {
    /// r.
    pub(super) components: usize,
    /// Wₖ, gaussians×r(r + 1)/2: lower triangles.
    pub(super) whitening: Vec<f16>,
    /// oₖ = −Wₖ·μₖ, gaussians×r.
    pub(super) offset: Vec<f32>,
    /// cₖ = ln det Σₖ − 2·ln πₖ less the smallest of these: what is rare or wide is farther.
    pub(super) penalty: Vec<f32>,
    pub(super) shrinkage: Shrinkage,
    /// Mean log-likelihood of a held-out vector, each under its Gaussian, without
    /// −½·ln 2π for each component.
    pub(super) log_likelihood: f64,
}

impl Mixture {
    /// Fits to `train` (components×vectors); of the numbers of Gaussians that `options` name the
    /// one under which `held_out` is likeliest, with the shrinkage that is likeliest where none is
    /// given.
    ///
    /// # Errors
    /// Covariances that can't be made positive definite; no vectors.
    pub(super) fn fit(
        train: &DMatrix<f32>,
        held_out: &DMatrix<f32>,
        options: &FitOptions,
    ) -> Result<Self> {
        let most = (train.ncols() / PARAMS.vectors_per_gaussian).max(1);
        let counts = options.gaussians.iter().map(|&k| k.clamp(1, most));
        let mut counts: Vec<usize> = counts.collect();
        counts.sort_unstable();
        counts.dedup();
        let mut best: Option<Self> = None;
        for count in counts {
            let mixture = Self::of(train, held_out, count, options)?;
            if best
                .as_ref()
                .is_none_or(|other| mixture.log_likelihood > other.log_likelihood)
            {
                best = Some(mixture);
            }
        }
        best.context("no number of Gaussians is given for the mixture")
    }

    fn of(
        train: &DMatrix<f32>,
        held_out: &DMatrix<f32>,
        count: usize,
        options: &FitOptions,
    ) -> Result<Self> {
        let components = train.nrows();
        let mut random = stream(options.seed, Purpose::Features, CENTRES + count as u64);
        let some = evenly_spaced(train.ncols(), PARAMS.centred);
        let centres = k_means(&train.select_columns(&some), count, &mut random);
        let clusters = moments(train, &centres);
        let tested = moments(held_out, &centres);
        let vectors = train.ncols() as f64;

        let mut pooled = DMatrix::zeros(components, components);
        let mut places = Vec::new();
        let mut shares = Vec::new();
        let mut means = Vec::new();
        let mut prior = 0.0;
        for ((cluster, tested), centre) in clusters.iter().zip(&tested).zip(centres.column_iter()) {
            if cluster.count == 0 {
                continue;
            }
            let own = cluster.covariance();
            pooled += &own * (cluster.count as f64 / vectors);
            let share = cluster.count as f64 / vectors;
            prior += tested.count as f64 * share.ln();
            let shift = cluster.mean();
            places.push(Place {
                held_out: tested.about(&shift),
                own,
                weight: tested.count as f64,
            });
            shares.push(share);
            means.push(
                centre
                    .iter()
                    .zip(&shift)
                    .map(|(&c, s)| f64::from(c) + s)
                    .collect::<Vec<f64>>(),
            );
        }
        let (shrinkage, likelihood) = shrinkage::choose(&places, &pooled, options.shrinkage)?;

        let mut mixture = Self {
            components,
            whitening: Vec::new(),
            offset: Vec::new(),
            penalty: Vec::new(),
            shrinkage,
            log_likelihood: likelihood + prior / held_out.ncols() as f64,
        };
        let mut penalties = Vec::new();
        for ((place, share), mean) in places.iter().zip(&shares).zip(&means) {
            let whitening = Whitening::of(shrinkage.covariance(&place.own, &pooled))?;
            penalties.push(whitening.log_determinant - 2.0 * share.ln());
            for i in 0..components {
                let row: Vec<f16> = (0..=i)
                    .map(|j| f16::from_f64(whitening.matrix[(i, j)]))
                    .collect();
                // Of the rounded row, so that both round alike.
                let product: f64 = row.iter().zip(mean).map(|(w, m)| w.to_f64() * m).sum();
                mixture.offset.push(-product as f32);
                mixture.whitening.extend(row);
            }
        }
        let least = penalties.iter().copied().fold(f64::INFINITY, f64::min);
        mixture.penalty = penalties.iter().map(|p| (p - least) as f32).collect();
        Ok(mixture)
    }

    /// Number of Gaussians.
    pub(super) fn gaussians(&self) -> usize {
        self.penalty.len()
    }

    /// d² of each column of `vectors` (components×vectors).
    pub(super) fn squared_distances(&self, vectors: &DMatrix<f32>) -> Vec<f32> {
        let r = self.components;
        let mut weights = DMatrix::zeros(self.gaussians() * r, r);
        for (k, triangle) in self.whitening.chunks_exact(triangle::length(r)).enumerate() {
            for i in 0..r {
                for j in 0..=i {
                    weights[(k * r + i, j)] = triangle[triangle::length(i) + j].to_f32();
                }
            }
        }
        let white = weights * vectors;
        white
            .column_iter()
            .map(|white| {
                (0..self.gaussians())
                    .map(|k| {
                        let squares = (k * r..(k + 1) * r).map(|i| {
                            let value = white[i] + self.offset[i];
                            value * value
                        });
                        squares.sum::<f32>() + self.penalty[k]
                    })
                    .fold(f32::INFINITY, f32::min)
            })
            .collect()
    }
}

/// Sums over the vectors of a cluster of their differences from its centre.
#[derive(Clone)]
struct Cluster {
    count: usize,
    sum: Vec<f64>,
    products: Vec<f64>,
}

/// Of each centre's cluster: the vectors to which it is the nearest.
fn moments(vectors: &DMatrix<f32>, centres: &DMatrix<f32>) -> Vec<Cluster> {
    let assigned = nearest(vectors, centres);
    let components = centres.nrows();
    (0..centres.ncols())
        .into_par_iter()
        .map(|k| {
            let centre = centres.column(k);
            let mut cluster = Cluster {
                count: 0,
                sum: vec![0.0; components],
                products: vec![0.0; triangle::length(components)],
            };
            let mut difference = vec![0.0; components];
            for (column, _) in vectors
                .column_iter()
                .zip(&assigned)
                .filter(|&(_, &(nearest, _))| nearest == k)
            {
                cluster.count += 1;
                for ((d, &y), &c) in difference.iter_mut().zip(column.iter()).zip(centre.iter()) {
                    *d = f64::from(y) - f64::from(c);
                }
                for (sum, d) in cluster.sum.iter_mut().zip(&difference) {
                    *sum += d;
                }
                triangle::add_outer(&mut cluster.products, &difference);
            }
            cluster
        })
        .collect()
}

impl Cluster {
    fn mean(&self) -> Vec<f64> {
        let count = self.count.max(1) as f64;
        self.sum.iter().map(|s| s / count).collect()
    }

    fn covariance(&self) -> DMatrix<f64> {
        self.about(&self.mean())
    }

    /// Mean of (d − m)·(d − m)ᵀ over the differences d from the centre; zero without any.
    fn about(&self, m: &[f64]) -> DMatrix<f64> {
        let count = self.count.max(1) as f64;
        let mean = self.mean();
        let share = if self.count == 0 { 0.0 } else { 1.0 };
        let mut about = triangle::block(&self.products, &(0..m.len())) / count;
        for j in 0..m.len() {
            for i in 0..m.len() {
                about[(i, j)] += share * (m[i] * m[j] - mean[i] * m[j] - m[i] * mean[j]);
            }
        }
        about
    }
}
