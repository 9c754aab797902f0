//! Centres of clusters.

use nalgebra::DMatrix;
use rand::{Rng, RngExt};
use rayon::prelude::*;

/// Rounds of Lloyd's algorithm.
const ROUNDS: usize = 25;

/// Vectors that one task works on. Fixed, so that the number of threads changes no bit.
const CHUNK: usize = 256;

/// Centres (dimensions×count) of `vectors` (dimensions×vectors, at least one) by Lloyd's algorithm
/// from a start by k-means++ (Arthur & Vassilvitskii 2007). A centre that loses all its vectors
/// stays where it was. Vectors of fewer kinds than `count` have centres that are alike.
///
/// The same vectors and stream of random numbers give the same bits, whatever the number of
/// threads. Distances are exact to the rounding of |x|², so that vectors should lie about zero.
pub(super) fn k_means(vectors: &DMatrix<f32>, count: usize, random: &mut impl Rng) -> DMatrix<f32> {
    let mut centres = start(vectors, count, random);
    let mut assigned = Vec::new();
    for _ in 0..ROUNDS {
        let now: Vec<usize> = nearest(vectors, &centres).iter().map(|n| n.0).collect();
        if now == assigned {
            break;
        }
        assigned = now;
        let mut sums = DMatrix::<f64>::zeros(vectors.nrows(), count);
        let mut sizes = vec![0_usize; count];
        for (vector, &k) in vectors.column_iter().zip(&assigned) {
            sizes[k] += 1;
            for (sum, &value) in sums.column_mut(k).iter_mut().zip(vector.iter()) {
                *sum += f64::from(value);
            }
        }
        for (k, &size) in sizes.iter().enumerate().filter(|&(_, &size)| size > 0) {
            for (value, sum) in centres.column_mut(k).iter_mut().zip(sums.column(k).iter()) {
                *value = (sum / size as f64) as f32;
            }
        }
    }
    centres
}

/// The nearest centre of each vector, the first of several, and its squared distance.
pub(super) fn nearest(vectors: &DMatrix<f32>, centres: &DMatrix<f32>) -> Vec<(usize, f32)> {
    squared_distances(vectors, centres, |distances| {
        let mut best = (0, f32::INFINITY);
        for (k, &distance) in distances.iter().enumerate() {
            if distance < best.1 {
                best = (k, distance);
            }
        }
        best
    })
}

/// Vectors among `vectors`, each drawn with a probability proportional to its squared distance from
/// those before. Of some candidates the one that leaves the least behind is taken, since one
/// unlucky centre can cost a cluster (the greedy variant, as in scikit-learn).
fn start(vectors: &DMatrix<f32>, count: usize, random: &mut impl Rng) -> DMatrix<f32> {
    let candidates = 2 + (count as f64).ln() as usize;
    let mut chosen = vec![random.random_range(0..vectors.ncols())];
    let mut left: Vec<f32> = nearest(vectors, &vectors.select_columns(&chosen))
        .iter()
        .map(|n| n.1)
        .collect();
    while chosen.len() < count {
        let drawn: Vec<usize> = (0..candidates).map(|_| weighted(&left, random)).collect();
        let after = squared_distances(vectors, &vectors.select_columns(&drawn), <[f32]>::to_vec);
        let sum_of = |candidate: usize| -> f64 {
            let remaining = after.iter().zip(&left).map(|(d, l)| d[candidate].min(*l));
            remaining.map(f64::from).sum()
        };
        let sums: Vec<f64> = (0..candidates).map(sum_of).collect();
        let best = (1..candidates).fold(0, |best, i| if sums[i] < sums[best] { i } else { best });
        chosen.push(drawn[best]);
        for (left, distances) in left.iter_mut().zip(&after) {
            *left = left.min(distances[best]);
        }
    }
    vectors.select_columns(&chosen)
}

/// What `see` makes of the squared distances of each vector from all centres.
fn squared_distances<T: Send>(
    vectors: &DMatrix<f32>,
    centres: &DMatrix<f32>,
    see: impl Fn(&[f32]) -> T + Sync,
) -> Vec<T> {
    let count = centres.ncols();
    let lengths: Vec<f32> = centres.column_iter().map(|c| c.norm_squared()).collect();
    let rows = centres.transpose();
    let firsts: Vec<usize> = (0..vectors.ncols()).step_by(CHUNK).collect();
    let of_chunk = |first: usize| {
        let chunk = vectors.columns(first, CHUNK.min(vectors.ncols() - first));
        let mut distances = &rows * chunk;
        for (mut column, vector) in distances.column_iter_mut().zip(chunk.column_iter()) {
            let own = vector.norm_squared();
            for (value, length) in column.iter_mut().zip(&lengths) {
                *value = (own - 2.0 * *value + length).max(0.0);
            }
        }
        let seen = distances.as_slice().chunks_exact(count).map(&see);
        seen.collect::<Vec<T>>()
    };
    let seen: Vec<Vec<T>> = firsts.into_par_iter().map(of_chunk).collect();
    seen.into_iter().flatten().collect()
}

/// An index drawn with probability proportional to its weight; the first where all are zero.
fn weighted(weights: &[f32], random: &mut impl Rng) -> usize {
    let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    let mut left = random.random_range(0.0..1.0) * total;
    for (i, &weight) in weights.iter().enumerate() {
        left -= f64::from(weight);
        if left < 0.0 {
            return i;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64;

    use super::*;

    /// Clusters about given points, their vectors in turn.
    fn clusters(points: &[[f32; 3]], each: usize, scale_correction: f32) -> DMatrix<f32> {
        let mut random = Pcg64::seed_from_u64(5);
        let count = points.len();
        DMatrix::from_fn(3, count * each, |row, column| {
            let noise: f32 = StandardNormal.sample(&mut random);
            points[column % count][row] + scale_correction * noise
        })
    }

    const POINTS: [[f32; 3]; 5] = [
        [0.0, 0.0, 0.0],
        [9.0, 0.0, 0.0],
        [0.0, 9.0, 0.0],
        [0.0, 0.0, 9.0],
        [-9.0, 4.0, 1.0],
    ];

    #[test]
    fn clusters_by_hand_are_found() {
        let vectors = clusters(&POINTS, 130, 0.3);
        for seed in 0..10 {
            let centres = k_means(&vectors, 5, &mut Pcg64::seed_from_u64(seed));
            for (place, point) in POINTS.iter().enumerate() {
                // The mean of those vectors that were made about the point.
                let own: Vec<usize> = (0..130).map(|i| i * 5 + place).collect();
                let mean = vectors.select_columns(&own).column_mean();
                let found = centres.column_iter().map(|c| (c - &mean).norm());
                let error = found.fold(f32::INFINITY, f32::min);
                assert!(error < 1e-5, "seed {seed}, {point:?}: {error}");
            }
        }
    }

    #[test]
    fn the_nearest_by_brute_force() {
        let vectors = clusters(&POINTS, 60, 3.0);
        let centres = clusters(&POINTS, 4, 2.0);
        let found = nearest(&vectors, &centres);
        assert_eq!(found.len(), 300);
        for (vector, (place, distance)) in vectors.column_iter().zip(found) {
            let all: Vec<f64> = centres
                .column_iter()
                .map(|c| f64::from((c - vector).norm_squared()))
                .collect();
            let least = all.iter().copied().fold(f64::INFINITY, f64::min);
            assert!((f64::from(distance) - least).abs() < 1e-4);
            assert!(all[place] - least < 1e-4);
        }
    }

    #[test]
    fn centres_beyond_the_vectors_and_vectors_that_are_alike() {
        let alike = DMatrix::from_element(2, 7, 0.5_f32);
        let centres = k_means(&alike, 3, &mut Pcg64::seed_from_u64(1));
        assert!(centres.iter().all(|&value| value == 0.5));
        let two = DMatrix::from_column_slice(1, 2, &[-1.0_f32, 1.0]);
        let centres = k_means(&two, 4, &mut Pcg64::seed_from_u64(1));
        assert_eq!(centres.ncols(), 4);
        assert!(nearest(&two, &centres).iter().all(|n| n.1 == 0.0));
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let vectors = clusters(&POINTS, 200, 4.0);
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().expect("a pool of threads");
            pool.install(|| k_means(&vectors, 40, &mut Pcg64::seed_from_u64(2)))
        };
        assert_eq!(with(1), with(3));
    }
}
