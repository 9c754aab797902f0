//! Sums over frames, and the Gaussian that a density and the sums make together.

use nalgebra::{Cholesky, DMatrix, DVector};

/// Differences of frames from what a density expects at one cell: their number, their sum, and
/// their products.
#[derive(Clone, Debug)]
pub(super) struct CellSums {
    sum: DVector<f64>,
    /// Σ e eᵀ; only its lower triangle is kept up to date.
    products: DMatrix<f64>,
}

/// A Gaussian of a cell: y = mean + slope·a + e, with e of covariance L·Lᵀ, a the covariate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gaussian {
    /// μ.
    pub(super) mean: DVector<f64>,
    /// W = L⁻¹, lower triangular.
    pub(super) whitening: DMatrix<f64>,
    /// W·slope: what the covariate lets expect, whitened.
    pub(super) expected: DMatrix<f64>,
}

/// What a density knows, beside what is added.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// Frames that it was fitted to, each as it counted.
    pub(super) weight: f64,
    /// Variance that was added in each component.
    pub(super) floors: Vec<f64>,
}

impl Gaussian {
    /// y − μ − slope·a, for W·(y − μ) − expected·a is what is stored.
    ///
    /// The slope is W⁻¹·expected; `None` where W has a zero on its diagonal.
    pub(super) fn slope(&self) -> Option<DMatrix<f64>> {
        self.whitening.solve_lower_triangular(&self.expected)
    }

    /// The Gaussian of the frames that it knows and of those in `sums`, of which there are `frames`
    /// and each counts `weight` times (Chan, Golub & LeVeque 1983):
    ///
    /// μ′ = μ + n/(N + n)·ē, and (N + n − 1) Σ′ = (N − 1) Σ + Σ(e − ē)(e − ē)ᵀ + N n/(N + n)·ē ēᵀ +
    /// n Φ, with N frames known, n added, and the floors Φ, which Σ has already. The slope stays.
    ///
    /// `None` where that is no covariance.
    pub(super) fn with(
        &self,
        known: &Known,
        sums: &CellSums,
        (frames, weight): (f64, f64),
    ) -> Option<Self> {
        if frames <= 0.0 {
            return Some(self.clone());
        }
        let side = self.mean.len();
        let added = frames * weight;
        let all = known.weight + added;
        let factor = self
            .whitening
            .solve_lower_triangular(&DMatrix::identity(side, side))?;
        let slope = &factor * &self.expected;
        let mut scatter = &factor * factor.transpose();
        scatter *= (known.weight - 1.0).max(0.5 * known.weight);
        let mean = &sums.sum / frames;
        let mut products = sums.products.clone();
        products.fill_upper_triangle_with_lower_triangle();
        products.ger(-frames, &mean, &mean, 1.0);
        scatter += products * weight;
        scatter.ger(known.weight * added / all, &mean, &mean, 1.0);
        for (i, floor) in known.floors.iter().enumerate() {
            scatter[(i, i)] += added * floor;
        }
        let covariance = scatter / (all - 1.0).max(0.5 * all);
        let whitening = Cholesky::new(covariance)?
            .unpack()
            .solve_lower_triangular(&DMatrix::identity(side, side))?;
        Some(Self {
            mean: &self.mean + mean * (added / all),
            expected: &whitening * slope,
            whitening,
        })
    }
}

impl CellSums {
    pub(super) fn new(components: usize) -> Self {
        Self {
            sum: DVector::zeros(components),
            products: DMatrix::zeros(components, components),
        }
    }

    /// Adds a difference.
    pub(super) fn add(&mut self, difference: &DVector<f64>) {
        self.sum += difference;
        self.products.syger(1.0, difference, difference, 1.0);
    }

    /// Adds those of other frames.
    pub(super) fn merge(&mut self, other: &Self) {
        self.sum += &other.sum;
        self.products += &other.products;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: f64 = 0.01;

    fn vectors(count: usize, shift: f64) -> Vec<DVector<f64>> {
        (0..count)
            .map(|i| {
                let i = i as f64;
                DVector::from_vec(vec![
                    (1.3 * i).sin() + shift,
                    (0.7 * i).cos() + 0.5 * (1.3 * i).sin(),
                    (2.9 * i).sin() - shift,
                ])
            })
            .collect()
    }

    /// The Gaussian of vectors, by the definition.
    fn fitted(vectors: &[DVector<f64>]) -> Gaussian {
        let count = vectors.len() as f64;
        let mean = vectors.iter().sum::<DVector<f64>>() / count;
        let mut covariance = DMatrix::identity(3, 3) * FLOOR;
        for vector in vectors {
            let e = vector - &mean;
            covariance.ger(1.0 / (count - 1.0), &e, &e, 1.0);
        }
        let factor = Cholesky::new(covariance).unwrap().unpack();
        Gaussian {
            mean,
            whitening: factor
                .solve_lower_triangular(&DMatrix::identity(3, 3))
                .unwrap(),
            expected: DMatrix::zeros(3, 0),
        }
    }

    fn sums(of: &Gaussian, vectors: &[DVector<f64>]) -> CellSums {
        let mut sums = CellSums::new(3);
        vectors.iter().for_each(|y| sums.add(&(y - &of.mean)));
        sums
    }

    #[test]
    fn adding_frames_is_fitting_to_all() {
        let (old, new) = (vectors(40, 0.0), vectors(15, 0.8));
        let before = fitted(&old);
        let known = Known {
            weight: 40.0,
            floors: vec![FLOOR; 3],
        };
        let adapted = before
            .with(&known, &sums(&before, &new), (15.0, 1.0))
            .unwrap();
        let all = fitted(&[old.clone(), new.clone()].concat());
        assert!((adapted.mean - all.mean).amax() < 1e-12);
        assert!((adapted.whitening - all.whitening).amax() < 1e-9);

        // A frame that counts twice is there twice.
        let twice = before.with(&known, &sums(&before, &new), (15.0, 2.0));
        let all = fitted(&[old, new.clone(), new.clone()].concat());
        assert!((twice.unwrap().whitening - all.whitening).amax() < 1e-9);

        let mut merged = sums(&before, &new[..5]);
        merged.merge(&sums(&before, &new[5..]));
        let of_both = before.with(&known, &merged, (15.0, 1.0)).unwrap();
        let expected = before.with(&known, &sums(&before, &new), (15.0, 1.0));
        assert!((of_both.whitening - expected.unwrap().whitening).amax() < 1e-9);
        let nothing = before.with(&known, &CellSums::new(3), (0.0, 1.0));
        assert_eq!(nothing, Some(before));
    }

    #[test]
    fn the_slope_stays_when_the_whitening_changes() {
        let mut before = fitted(&vectors(40, 0.0));
        let slope = DMatrix::from_row_slice(3, 2, &[0.5, 0.0, -1.0, 2.0, 0.25, 0.1]);
        before.expected = &before.whitening * &slope;
        let known = Known {
            weight: 40.0,
            floors: vec![FLOOR; 3],
        };
        let sums = sums(&before, &vectors(15, 3.0));
        let adapted = before.with(&known, &sums, (15.0, 1.0)).unwrap();
        assert!((adapted.slope().unwrap() - slope).amax() < 1e-12);
        assert!((adapted.whitening - before.whitening).amax() > 0.01);
    }
}
