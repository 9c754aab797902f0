//! Texture from another place, turned, scaled and bent.

use rand::{Rng, RngExt};

use super::scene::{Scene, angle, between, log_between};

/// Where the texture of a defect comes from.
#[derive(Debug)]
pub(super) struct Sampler<'a> {
    source: &'a [f32],
    height: usize,
    width: usize,
    /// From a point of the picture, relative to `centre`, to a point of the source, relative to
    /// `from`.
    matrix: [[f32; 2]; 2],
    centre: [f32; 2],
    from: [f32; 2],
    /// Amplitude (pixels), wave number (radians a pixel) and phase of a wave across.
    wave: Option<[f32; 3]>,
}

impl<'a> Sampler<'a> {
    /// Around `centre`, from a place by lot of the donor, with probability `donor`, or of the
    /// picture itself; turned by any angle or a quarter turn, mirrored, scaled within `scales`.
    pub(super) fn new(
        random: &mut impl Rng,
        scene: &Scene<'a>,
        centre: [f32; 2],
        donor: f64,
        scales: [f32; 2],
    ) -> Self {
        let own = !random.random_bool(donor);
        let mut from = scene.anywhere(random);
        if own {
            // Of three places the one farthest off: what is near may look the same.
            for _ in 0..2 {
                let other = scene.anywhere(random);
                let far = |p: [f32; 2]| (p[0] - centre[0]).hypot(p[1] - centre[1]);
                if far(other) > far(from) {
                    from = other;
                }
            }
        }
        let turn = if random.random_bool(0.5) {
            angle(random)
        } else {
            std::f32::consts::FRAC_PI_2 * random.random_range(0..4_u8) as f32
        };
        let scale = log_between(random, scales);
        let mirror = if random.random_bool(0.5) {
            -scale
        } else {
            scale
        };
        let (sin, cos) = turn.sin_cos();
        Self {
            source: if own { scene.picture } else { scene.donor },
            height: scene.height,
            width: scene.width,
            matrix: [[scale * cos, -mirror * sin], [scale * sin, mirror * cos]],
            centre,
            from,
            wave: None,
        }
    }

    /// Bends it by a wave.
    pub(super) fn bend(&mut self, random: &mut impl Rng, scale: f32) {
        self.wave = Some([
            scale * between(random, [1.0, 5.0]),
            1.0 / (scale * between(random, [3.0, 12.0])),
            angle(random),
        ]);
    }

    /// Writes the value of each channel for a pixel of the picture into `out`; bilinear, the source
    /// mirrored at its border.
    pub(super) fn fetch(&self, x: f32, y: f32, out: &mut [f32]) {
        let (mut dx, dy) = (x - self.centre[0], y - self.centre[1]);
        if let Some([amplitude, number, phase]) = self.wave {
            dx += amplitude * (number * dy + phase).sin();
        }
        let [[a, b], [c, d]] = self.matrix;
        let (left, right, across) = mirrored(self.from[0] + a * dx + b * dy, self.width);
        let (above, below, down) = mirrored(self.from[1] + c * dx + d * dy, self.height);
        let (above, below) = (above * self.width, below * self.width);
        let area = self.height * self.width;
        for (value, plane) in out.iter_mut().zip(self.source.chunks_exact(area)) {
            let top = plane[above + left] + across * (plane[above + right] - plane[above + left]);
            let bottom =
                plane[below + left] + across * (plane[below + right] - plane[below + left]);
            *value = top + down * (bottom - top);
        }
    }
}

/// The two pixels beside a place, and the second one's share.
fn mirrored(place: f32, side: usize) -> (usize, usize, f32) {
    let length = side as f32;
    let mut place = place;
    if !(0.0..length).contains(&place) {
        place = place.rem_euclid(2.0 * length);
        if place >= length {
            place = 2.0 * length - place;
        }
    }
    // Pixel centres lie at halves; the cast saturates.
    let shifted = (place - 0.5).clamp(0.0, length - 1.0);
    let first = (shifted as usize).min(side - 1);
    (first, (first + 1).min(side - 1), shifted - first as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_mirrored_at_the_border() {
        assert_eq!(mirrored(0.5, 8), (0, 1, 0.0));
        assert_eq!(mirrored(1.75, 8), (1, 2, 0.25));
        assert_eq!(mirrored(-0.5, 8), (0, 1, 0.0));
        assert_eq!(mirrored(-2.5, 8), (2, 3, 0.0));
        assert_eq!(mirrored(8.5, 8), (7, 7, 0.0));
        assert_eq!(mirrored(16.5, 8), (0, 1, 0.0));
        assert_eq!(mirrored(0.1, 8), (0, 1, 0.0));
        assert_eq!(mirrored(3.0, 1), (0, 0, 0.0));
    }

    #[test]
    fn fetches_follow_the_matrix() {
        let picture: Vec<f32> = (0..2 * 12).map(|i| i as f32).collect();
        let sampler = Sampler {
            source: &picture,
            height: 3,
            width: 4,
            // A quarter turn.
            matrix: [[0.0, -1.0], [1.0, 0.0]],
            centre: [2.5, 1.5],
            from: [1.5, 1.5],
            wave: None,
        };
        let mut out = [0.0; 2];
        // One to the right becomes one down: row 2, column 1.
        sampler.fetch(3.5, 1.5, &mut out);
        assert_eq!(out, [9.0, 21.0]);
        // Half a pixel up becomes half a pixel to the right.
        sampler.fetch(2.5, 1.0, &mut out);
        assert_eq!(out, [5.5, 17.5]);
    }
}
