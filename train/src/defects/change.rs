//! Where a picture was changed, and whether it can be seen.

use super::params::PARAMS;

/// What was changed.
#[derive(Debug)]
pub(super) struct Change {
    /// H×W.
    pub(super) mask: Vec<bool>,
    /// Pixels in the mask.
    pub(super) pixels: usize,
    /// Mean over the mask of the largest change of a channel.
    pub(super) mean: f32,
    level: f32,
}

impl Change {
    /// Compares two pictures, C×H×W. Where more than half of the pixels around have changed by half
    /// the tolerance, and a third by all of it, a pixel counts as changed too: texture put on
    /// texture agrees here and there by chance.
    pub(super) fn between(
        before: &[f32],
        after: &[f32],
        [_, height, width]: [usize; 3],
        level: f32,
    ) -> Self {
        let area = height * width;
        let mut differences = vec![0.0_f32; area];
        for (before, after) in before.chunks_exact(area).zip(after.chunks_exact(area)) {
            for ((difference, b), a) in differences.iter_mut().zip(before).zip(after) {
                *difference = difference.max((a - b).abs());
            }
        }
        let tolerance = PARAMS.tolerance * level;
        let reach = if height.min(width) < PARAMS.large_side {
            1
        } else {
            3
        };
        // Two counts in one number: by half the tolerance, and 256 times by all of it.
        let changed: Vec<u16> = differences
            .iter()
            .map(|&d| u16::from(d > 0.5 * tolerance) + 256 * u16::from(d > tolerance))
            .collect();
        let window =
            |place: usize, side: usize| place.saturating_sub(reach)..(place + reach + 1).min(side);
        let mut mask = vec![false; area];
        let (mut pixels, mut sum) = (0, 0.0_f64);
        let mut columns = vec![0_u16; width];
        for y in 0..height {
            let rows = window(y, height);
            columns.fill(0);
            for row in rows.clone() {
                for (count, one) in columns.iter_mut().zip(&changed[row * width..]) {
                    *count += one;
                }
            }
            let mut count: u16 = columns[..reach.min(width)].iter().sum();
            for x in 0..width {
                count += columns.get(x + reach).unwrap_or(&0);
                if x > reach {
                    count -= columns[x - reach - 1];
                }
                let at = y * width + x;
                let size = rows.len() * window(x, width).len();
                let (half, full) = (usize::from(count % 256), usize::from(count / 256));
                if differences[at] > tolerance || (2 * half > size && 3 * full > size) {
                    mask[at] = true;
                    pixels += 1;
                    sum += f64::from(differences[at]);
                }
            }
        }
        Self {
            mask,
            pixels,
            mean: (sum / pixels.max(1) as f64) as f32,
            level,
        }
    }

    /// Whether it is neither too faint, nor too small, nor all over the picture.
    pub(super) fn is_visible(&self) -> bool {
        self.pixels >= PARAMS.least_pixels
            && self.mean >= PARAMS.least_mean * self.level
            && self.pixels as f32 <= PARAMS.most_changed * self.mask.len() as f32
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    #[test]
    fn holes_are_closed_by_the_majority_and_lone_pixels_stay() {
        let before = vec![0.5; 2 * 81];
        let mut after = before.clone();
        // A 5×5 block of the second channel with a hole in its middle, in 9×9.
        for y in 2..7 {
            for x in 2..7 {
                after[81 + y * 9 + x] = 0.6;
            }
        }
        after[81 + 4 * 9 + 4] = 0.5;
        after[8] = 0.3;
        let change = Change::between(&before, &after, [2, 9, 9], 1.0);
        let inside = |x: usize, y: usize| (2..7).contains(&x) && (2..7).contains(&y);
        for y in 0..9 {
            for x in 0..9 {
                assert_eq!(change.mask[y * 9 + x], inside(x, y) || (x, y) == (8, 0));
            }
        }
        assert_eq!(change.pixels, 26);
        assert!((change.mean - (24.0 * 0.1 + 0.2) / 26.0).abs() < 1e-6);
    }

    #[test]
    fn faint_tiny_and_total_changes_are_not_defects() {
        let before = vec![0.4; 400];
        let visible = |count: usize, by: f32, level: f32| {
            let mut after = before.clone();
            after[..count].iter_mut().for_each(|value| *value += by);
            Change::between(&before, &after, [1, 20, 20], level).is_visible()
        };
        assert!(visible(60, 0.031, 1.0));
        assert!(!visible(60, 0.029, 1.0), "too faint");
        assert!(visible(60, 0.029, 0.5), "in a darker picture it is visible");
        assert!(!visible(2, 0.3, 1.0), "too small");
        assert!(visible(3, 0.3, 1.0));
        assert!(!visible(300, 0.3, 1.0), "all over");
        assert!(!visible(0, 0.0, 1.0));
    }

    #[test]
    fn masks_are_those_of_the_definition() {
        let mut random = Pcg64::seed_from_u64(1);
        let mut filled = 0;
        for [height, width] in [[70, 66], [30, 90], [2, 5]] {
            let before: Vec<f32> = (0..height * width).map(|_| random.random()).collect();
            let by: Vec<f32> = (0..before.len())
                .map(|_| 0.06 * random.random::<f32>() * random.random::<f32>())
                .collect();
            let after: Vec<f32> = before.iter().zip(&by).map(|(b, by)| b + by).collect();
            let change = Change::between(&before, &after, [1, height, width], 1.0);
            let reach = if height < 64 { 1_i64 } else { 3 };
            let by: Vec<f32> = after
                .iter()
                .zip(&before)
                .map(|(a, b)| (a - b).abs())
                .collect();
            for y in 0..height as i64 {
                for x in 0..width as i64 {
                    let (mut size, mut half, mut full) = (0, 0, 0);
                    for row in y - reach..=y + reach {
                        for column in x - reach..=x + reach {
                            if (0..height as i64).contains(&row)
                                && (0..width as i64).contains(&column)
                            {
                                let by = by[row as usize * width + column as usize];
                                size += 1;
                                half += i32::from(by > 0.01);
                                full += i32::from(by > 0.02);
                            }
                        }
                    }
                    let at = y as usize * width + x as usize;
                    let inside = 2 * half > size && 3 * full > size;
                    assert_eq!(change.mask[at], by[at] > 0.02 || inside, "{x},{y}");
                    filled += usize::from(inside && by[at] <= 0.02);
                }
            }
        }
        assert!(filled > 100, "{filled}");
    }
}
