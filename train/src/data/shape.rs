//! Height and width of the tensor: the frames' own proportions, within a budget of pixels.

use super::params::PARAMS;
use crate::options::multiple_of;

/// Fewest pixels of a side: two places of the coarsest features.
const LEAST_SIDE: usize = 32;

/// Side of a square with as many pixels as a tensor of this height and width: what lengths that
/// were found on squares are shares of.
pub fn equivalent_side([height, width]: [usize; 2]) -> f32 {
    (height as f64 * width as f64).sqrt() as f32
}

/// Width over height of frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aspects {
    /// The least and the largest.
    pub(super) range: [f64; 2],
    median: f64,
}

impl Aspects {
    /// Of frames of these widths and heights, of which there is at least one.
    pub(super) fn of(sizes: &[[f64; 2]]) -> Option<Self> {
        let mut aspects: Vec<f64> = sizes.iter().map(|[width, height]| width / height).collect();
        aspects.sort_by(f64::total_cmp);
        Some(Self {
            range: [*aspects.first()?, *aspects.last()?],
            median: aspects[aspects.len() / 2],
        })
    }

    /// What all have in common, the median; `None` where some differ from others by more than
    /// [`DataParams::proportions`](super::params::DataParams::proportions).
    pub(super) fn common(self) -> Option<f64> {
        let [least, most] = self.range;
        (most / least <= 1.0 + PARAMS.proportions).then_some(self.median)
    }
}

/// Height and width with at most as many pixels as a square of `budget`, multiples of what
/// [`multiple_of`] says, as near as possible to the width over height `aspect` and to the budget.
pub(super) fn fitting(budget: usize, aspect: f64) -> [usize; 2] {
    let multiple = multiple_of(budget as f64);
    let least = LEAST_SIDE.div_ceil(multiple);
    let cells = (budget / multiple).pow(2);
    let missed = |[rows, columns]: [usize; 2]| {
        let stretched = (columns as f64 / rows as f64 / aspect).ln().abs();
        let unused = (cells as f64 / (rows * columns) as f64).ln();
        stretched + PARAMS.unused_pixels * unused
    };
    let all = (least..=cells / least)
        .flat_map(|rows| (least..=cells / rows).map(move |columns| [rows, columns]));
    let best = all.min_by(|a, b| missed(*a).total_cmp(&missed(*b)));
    best.map_or([budget; 2], |sides| sides.map(|side| side * multiple))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportions_are_common_within_five_per_cent() {
        let common = |sizes: &[[f64; 2]]| Aspects::of(sizes).and_then(Aspects::common);
        assert_eq!(common(&[]), None);
        assert_eq!(common(&[[500.0, 200.0]]), Some(2.5));
        let alike = [[500.0, 200.0], [1020.0, 400.0], [515.0, 200.0]];
        assert_eq!(common(&alike), Some(2.55));
        assert_eq!(common(&[[500.0, 200.0], [530.0, 200.0]]), None);
        assert_eq!(common(&[[500.0, 200.0], [200.0, 500.0]]), None);
    }

    #[test]
    fn tensors_have_the_proportions_of_frames_within_the_budget() {
        for (budget, aspect, sides) in [
            (256, 1.0, [256, 256]),
            (384, 1.0, [384, 384]),
            (512, 1.0, [512, 512]),
            (256, 1.03, [256, 256]),
            (256, 4.0 / 3.0, [224, 288]),
            (256, 16.0 / 9.0, [192, 336]),
            (256, 2.5, [160, 400]),
            (256, 0.4, [400, 160]),
            (256, 6.0, [96, 576]),
            (128, 2.5, [80, 192]),
            (512, 2.5, [320, 800]),
            (512, 6.0, [192, 1152]),
            (64, 200.0, [32, 128]),
        ] {
            assert_eq!(fitting(budget, aspect), sides, "{budget}, {aspect}");
        }
    }

    #[test]
    fn the_budget_is_kept_and_mostly_used() {
        for budget in [96, 128, 192, 256, 320, 384, 512, 1024] {
            for step in -40..=40 {
                let aspect = 1.05_f64.powi(step);
                let [height, width] = fitting(budget, aspect);
                let pixels = (height * width) as f64 / (budget * budget) as f64;
                let stretched = (width as f64 / height as f64 / aspect).ln().abs();
                assert!((0.5..=1.0).contains(&pixels), "{budget} {aspect}: {pixels}");
                assert!(stretched < 0.25, "{budget} {aspect}: {stretched}");
            }
        }
    }

    #[test]
    fn squares_are_as_long_as_their_sides() {
        for side in [28, 128, 256, 384, 512] {
            assert_eq!(equivalent_side([side; 2]), side as f32);
        }
        assert_eq!(equivalent_side([160, 640]), 320.0);
    }
}
