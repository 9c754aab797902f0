//! Colours: the scale of an anomaly map, the colour map, and the panel's palette.

use embedded_graphics::pixelcolor::Rgb888;

/// Behind panel and sheets.
pub(super) const BACKGROUND: Rgb888 = Rgb888::new(22, 24, 28);
/// Values and headings.
pub(super) const TEXT: Rgb888 = Rgb888::new(232, 234, 238);
/// Names of values, axes.
pub(super) const DIM: Rgb888 = Rgb888::new(150, 156, 166);
/// Empty part of the gauge.
pub(super) const TRACK: Rgb888 = Rgb888::new(52, 56, 64);
/// Boxes around regions.
pub(super) const BOX: Rgb888 = Rgb888::new(255, 214, 10);
/// Text on a box's label.
pub(super) const ON_BOX: Rgb888 = Rgb888::new(16, 16, 16);

/// How values of an anomaly map become colours: `low` is the cold end, `threshold` the middle and
/// `high` the hot end; linear between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapScale {
    /// Pixels above it are shown on the frame.
    pub threshold: f32,
    /// Value of the cold end; below the threshold.
    pub low: f32,
    /// Value of the hot end; above the threshold.
    pub high: f32,
}

impl MapScale {
    /// The scale with the threshold in the middle between `low` and the hot end. It does not
    /// depend on the frame, so the same colour means the same value in all pictures.
    pub fn around(threshold: f32, low: f32) -> Self {
        Self {
            threshold,
            low,
            high: threshold + (threshold - low),
        }
    }

    /// The same up to `peak`, the largest value of a frame, where that lies beyond the hot end: the
    /// threshold stays in the middle, and what is strongest stands out from what is merely above
    /// it. Then colours mean other values than in pictures of other frames.
    pub fn up_to(self, peak: f32) -> Self {
        Self {
            high: if peak.is_finite() {
                self.high.max(peak)
            } else {
                self.high
            },
            ..self
        }
    }

    /// Where a value lies: 0 at the cold end, 0.5 at the threshold, 1 at the hot end, clamped.
    /// NaN is 0.
    pub fn position(&self, value: f32) -> f32 {
        let share = |from: f32, to: f32| {
            let (way, length) = (
                f64::from(value) - f64::from(from),
                f64::from(to) - f64::from(from),
            );
            if length > 0.0 && length.is_finite() {
                (way / length).clamp(0.0, 1.0) as f32
            } else if way > 0.0 {
                1.0
            } else {
                0.0
            }
        };
        if value > self.threshold {
            0.5 + 0.5 * share(self.threshold, self.high)
        } else if value.is_nan() {
            0.0
        } else {
            0.5 * share(self.low, self.threshold)
        }
    }

    /// Colour of a value.
    pub(super) fn colour(&self, value: f32) -> [u8; 3] {
        heat(self.position(value))
    }

    /// How much of the frame the colour hides, 0–0.55: nothing up to the threshold, then growing.
    pub(super) fn alpha(&self, value: f32) -> f32 {
        if value > self.threshold {
            0.25 + 0.6 * (self.position(value) - 0.5)
        } else {
            0.0
        }
    }
}

/// Colour of a position on the scale: turbo without its nearly black ends, which would read as
/// shadow when laid over a frame.
pub(super) fn heat(position: f32) -> [u8; 3] {
    turbo(0.07 + 0.84 * position)
}

/// The colour map "turbo", `x` in 0–1, by its polynomial approximation of degree 5.
///
/// Source: A. Mikhailov, "Turbo, An Improved Rainbow Colormap for Visualization", Google AI Blog,
/// 2019; polynomial by R. Du (Apache-2.0).
pub fn turbo(x: f32) -> [u8; 3] {
    const RED: [f32; 6] = [
        0.135_721_38,
        4.615_392_6,
        -42.660_32,
        132.131_08,
        -152.942_4,
        59.286_38,
    ];
    const GREEN: [f32; 6] = [
        0.091_402_61,
        2.194_188_4,
        4.842_966_6,
        -14.185_033,
        4.277_298_6,
        2.829_566,
    ];
    const BLUE: [f32; 6] = [
        0.106_673_3,
        12.641_946,
        -60.582_05,
        110.362_77,
        -89.903_11,
        27.348_25,
    ];
    let x = if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) };
    [RED, GREEN, BLUE].map(|coefficients| {
        let value = coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
        (255.0 * value.clamp(0.0, 1.0) + 0.5) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turbo_agrees_with_its_published_table() {
        // Entries 0, 128 and 255 of the table that came with the article.
        for (x, expected) in [
            (0.0, [0.18995, 0.07176, 0.23217]),
            (128.0 / 255.0, [0.64362, 0.98999, 0.23356]),
            (1.0, [0.47960, 0.01583, 0.01055]),
        ] {
            for (found, expected) in turbo(x).iter().zip(expected) {
                // The approximation is off by up to 0.13 at the cold end.
                assert!((f32::from(*found) / 255.0 - expected).abs() < 0.135, "{x}");
            }
        }
    }

    #[test]
    fn threshold_is_the_middle_and_ends_are_clamped() {
        let scale = MapScale::around(4.0, 1.0);
        assert_eq!(scale.high, 7.0);
        for (value, position) in [
            (1.0, 0.0),
            (2.5, 0.25),
            (4.0, 0.5),
            (5.5, 0.75),
            (7.0, 1.0),
            (-9.0, 0.0),
            (90.0, 1.0),
            (f32::INFINITY, 1.0),
            (f32::NEG_INFINITY, 0.0),
            (f32::NAN, 0.0),
        ] {
            assert_eq!(scale.position(value), position, "{value}");
        }
        assert_eq!(scale.alpha(4.0), 0.0);
        assert_eq!(scale.alpha(f32::NAN), 0.0);
        assert!(scale.alpha(4.1) < scale.alpha(6.0));
        assert!((scale.alpha(1e9) - 0.55).abs() < 1e-6);
    }

    #[test]
    fn a_peak_stretches_the_hot_half_only() {
        let scale = MapScale::around(4.0, 1.0);
        let far = scale.up_to(304.0);
        for value in [-1.0, 1.0, 2.5, 4.0] {
            assert_eq!(far.position(value), scale.position(value));
        }
        assert_eq!(far.position(304.0), 1.0);
        assert_eq!(far.position(154.0), 0.75);
        for weak in [5.0, f32::NAN, f32::INFINITY] {
            assert_eq!(scale.up_to(weak), scale);
        }
    }

    #[test]
    fn degenerate_scales_give_positions() {
        for [threshold, low, high] in [
            [1.0, 1.0, 1.0],
            [0.0, 5.0, -5.0],
            [f32::NAN, 0.0, 1.0],
            [f32::MAX, f32::MIN, f32::INFINITY],
        ] {
            let scale = MapScale {
                threshold,
                low,
                high,
            };
            for value in [-1e30, 0.0, 1.0, 1e30, f32::NAN, f32::INFINITY] {
                assert!((0.0..=1.0).contains(&scale.position(value)));
            }
        }
    }
}
