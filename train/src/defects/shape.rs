//! Changes of the whole shape: what the picture shows is another thing, not the same with a flaw.
//! No network learns from them; scores of small pictures are chosen by them too.

use std::f32::consts::{FRAC_PI_2, PI};

use rand::{Rng, RngExt};

use super::{
    change::Change,
    noise,
    params::PARAMS,
    scene::{angle, between, level},
};

/// Least share of changed pixels: beyond a mirrored circle.
const LEAST_SHARE: f32 = 0.1;
/// Least mean change of these, against that of a defect.
const LEAST_CHANGE: f32 = 2.0;
/// Attempts at a change that can be seen.
const ATTEMPTS: usize = 8;

/// How the shape is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShapeChange {
    /// Beyond a line near the middle the donor, every second time mirrored.
    Joined,
    /// Turned by a quarter, a half or three, or by any angle above 40°; every second time mirrored
    /// too.
    Turned,
    /// Bent by smooth displacements.
    Bent,
    /// Beyond a line near the middle moved along that line.
    Shifted,
}

const ALL: [ShapeChange; 4] = [
    ShapeChange::Joined,
    ShapeChange::Turned,
    ShapeChange::Bent,
    ShapeChange::Shifted,
];

/// `picture`, C×H×W in [0, 1], with its shape changed as a whole; `donor` is another normal one.
/// `None` where no change could be seen, as in even pictures: of the pixels a tenth must change, by
/// twice as much as those of a defect.
///
/// A change of a symmetric or of a random picture may well be a normal one again.
///
/// # Panics
/// If picture or donor do not have C·H·W values.
pub fn changed_shape(
    random: &mut impl Rng,
    picture: &[f32],
    shape: [usize; 3],
    donor: &[f32],
) -> Option<Vec<f32>> {
    let length = shape.iter().product::<usize>();
    assert!(
        picture.len() == length && donor.len() == length,
        "picture and donor have {} and {} values, their shape is {shape:?}",
        picture.len(),
        donor.len()
    );
    (0..ATTEMPTS).find_map(|_| {
        let kind = ALL[random.random_range(0..ALL.len())];
        let values = draw(random, kind, picture, shape, donor);
        is_seen(picture, &values, shape).then_some(values)
    })
}

fn is_seen(picture: &[f32], values: &[f32], shape: [usize; 3]) -> bool {
    let level = level(picture);
    let change = Change::between(picture, values, shape, level);
    change.pixels as f32 >= LEAST_SHARE * change.mask.len() as f32
        && change.mean >= LEAST_CHANGE * PARAMS.least_mean * level
}

fn draw(
    random: &mut impl Rng,
    kind: ShapeChange,
    picture: &[f32],
    shape: [usize; 3],
    donor: &[f32],
) -> Vec<f32> {
    let [_, height, width] = shape;
    let side = height.min(width) as f32;
    let middle = [0.5 * width as f32, 0.5 * height as f32];
    match kind {
        ShapeChange::Joined => {
            let line = Line::draw(random, middle, side);
            let mirrored = random.random_bool(0.5);
            sampled(shape, |x, y| {
                if !line.has_beyond(x, y) {
                    return (picture, [x, y]);
                }
                let x = if mirrored { width as f32 - x } else { x };
                (donor, [x, y])
            })
        }
        ShapeChange::Turned => {
            let turn = if random.random_bool(0.5) {
                FRAC_PI_2 * f32::from(random.random_range(1..4_u8))
            } else {
                let least = 40_f32.to_radians();
                between(random, [least, 2.0 * PI - least])
            };
            let mirror = if random.random_bool(0.5) { -1.0 } else { 1.0 };
            let (sin, cos) = turn.sin_cos();
            sampled(shape, |x, y| {
                let (dx, dy) = (mirror * (x - middle[0]), y - middle[1]);
                let (u, v) = (cos * dx - sin * dy, sin * dx + cos * dy);
                (picture, [middle[0] + u, middle[1] + v])
            })
        }
        ShapeChange::Bent => {
            let cell = side * between(random, [0.25, 0.45]);
            let amount = side * between(random, [0.07, 0.14]);
            let turn = angle(random);
            let mut field = || noise::field(random, [width, height], [cell; 2], turn);
            let (across, down) = (field(), field());
            sampled(shape, |x, y| {
                let at = y as usize * width + x as usize;
                let place = [x + amount * across[at], y + amount * down[at]];
                (picture, place)
            })
        }
        ShapeChange::Shifted => {
            let line = Line::draw(random, middle, side);
            let sign = if random.random_bool(0.5) { -1.0 } else { 1.0 };
            let by = sign * side * between(random, [0.15, 0.35]);
            sampled(shape, |x, y| {
                let by = if line.has_beyond(x, y) { by } else { 0.0 };
                (picture, [x + by * line.along[0], y + by * line.along[1]])
            })
        }
    }
}

/// A line near the middle of a picture.
struct Line {
    through: [f32; 2],
    /// Unit vector along it.
    along: [f32; 2],
    /// How far the line lies beside the point.
    off: f32,
}

impl Line {
    fn draw(random: &mut impl Rng, middle: [f32; 2], side: f32) -> Self {
        let (sin, cos) = angle(random).sin_cos();
        Self {
            through: middle,
            along: [cos, sin],
            off: side * between(random, [-0.1, 0.1]),
        }
    }

    fn has_beyond(&self, x: f32, y: f32) -> bool {
        let [cos, sin] = self.along;
        (y - self.through[1]) * cos - (x - self.through[0]) * sin > self.off
    }
}

/// A picture whose pixel at a point is that of another picture at another point: bilinear, beyond
/// the border what is on it.
fn sampled<'a>(
    [channels, height, width]: [usize; 3],
    from: impl Fn(f32, f32) -> (&'a [f32], [f32; 2]),
) -> Vec<f32> {
    let area = height * width;
    let mut out = vec![0.0; channels * area];
    let between = |place: f32, side: usize| {
        // Pixel centres lie at halves.
        let place = (place - 0.5).clamp(0.0, side as f32 - 1.0);
        let first = place as usize;
        (first, (first + 1).min(side - 1), place.fract())
    };
    for at in 0..area {
        let (x, y) = ((at % width) as f32 + 0.5, (at / width) as f32 + 0.5);
        let (source, [u, v]) = from(x, y);
        let (left, right, across) = between(u, width);
        let (above, below, down) = between(v, height);
        for channel in 0..channels {
            let value = |y: usize, x: usize| source[channel * area + y * width + x];
            let top = value(above, left) + across * (value(above, right) - value(above, left));
            let bottom = value(below, left) + across * (value(below, right) - value(below, left));
            out[channel * area + at] = top + down * (bottom - top);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use edge_vae::synth::glyph;
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    const SHAPE: [usize; 3] = [2, 20, 24];

    fn picture(seed: usize) -> Vec<f32> {
        let stroke = |i: usize| {
            let (y, x) = (i % 480 / 24, i % 24);
            f32::from((y + seed) % 10 < 3 || (x > 9 + seed && y < 12)) * 0.8
        };
        (0..960).map(stroke).collect()
    }

    fn drawn(kind: ShapeChange) -> Vec<Vec<f32>> {
        let mut random = Pcg64::seed_from_u64(3);
        (0..40)
            .map(|_| draw(&mut random, kind, &picture(0), SHAPE, &picture(4)))
            .collect()
    }

    #[test]
    fn a_turn_by_half_is_the_picture_backwards() {
        let picture = picture(0);
        let turned = sampled(SHAPE, |x, y| (&picture, [24.0 - x, 20.0 - y]));
        for (plane, turned) in picture.chunks(480).zip(turned.chunks(480)) {
            for (value, turned) in plane.iter().rev().zip(turned) {
                assert!((value - turned).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn joined_pictures_are_either_on_each_side() {
        let (picture, donor) = (picture(0), picture(4));
        for joined in drawn(ShapeChange::Joined) {
            let mut own = 0;
            for (at, value) in joined.iter().enumerate() {
                let mirrored = at - at % 24 + 23 - at % 24;
                let of_donor = [donor[at], donor[mirrored]];
                let is = |other: f32| (value - other).abs() < 1e-5;
                assert!(is(picture[at]) || of_donor.into_iter().any(is));
                own += usize::from(is(picture[at]));
            }
            assert!(own > 960 / 4, "{own}");
        }
    }

    #[test]
    fn every_change_stays_in_range_and_most_can_be_seen() {
        for kind in ALL {
            let seen = drawn(kind)
                .iter()
                .filter(|values| {
                    assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
                    is_seen(&picture(0), values, SHAPE)
                })
                .count();
            assert!(seen > 30, "{kind:?}: {seen}");
        }
    }

    #[test]
    fn digits_are_changed_and_even_pictures_are_not() {
        let digit: Vec<f32> = glyph(28, '5')
            .unwrap()
            .into_raw()
            .into_iter()
            .map(|v| f32::from(v) / 255.0)
            .collect();
        let mut random = Pcg64::seed_from_u64(1);
        let shape = [1, 28, 28];
        for _ in 0..50 {
            let changed = changed_shape(&mut random, &digit, shape, &digit);
            assert!(changed.is_some_and(|values| values != digit));
        }
        let even = vec![0.5; 784];
        assert_eq!(changed_shape(&mut random, &even, shape, &even), None);
    }
}
