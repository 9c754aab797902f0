//! Defects on frames whose proportions are not the canvas's: they are drawn on the frame as it is
//! seen, so that a round pit is round there and a crack is thin in every direction.

use edge_vae::{
    image::{Filter, PlaneSize, Resampler},
    preprocess::Crop,
};

use crate::defects::Defective;

/// How proportions are told apart.
struct ProportionParams {
    /// Largest relative difference from the canvas's that is none.
    alike: f64,
    /// Share of a pixel of the canvas that a defect has to cover: one of a line that is thinner
    /// there.
    covered: f32,
}

const PARAMS: ProportionParams = ProportionParams {
    alike: 0.05,
    covered: 0.25,
};

/// A frame's own height and width, with about as many pixels as the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proportions {
    /// C×H×W of the canvas.
    canvas: [usize; 3],
    /// C×H×W of the frame.
    own: [usize; 3],
}

impl Proportions {
    /// Of a frame of this height and width, of which `crop` is seen, on a canvas C×H×W. `None`
    /// where the canvas has them.
    pub(super) fn of(size: [f64; 2], crop: Option<Crop>, canvas: [usize; 3]) -> Option<Self> {
        let [height, width] = match crop {
            None => size,
            Some(crop) => [
                size[0] * (crop.bottom - crop.top),
                size[1] * (crop.right - crop.left),
            ],
        };
        let [channels, rows, columns] = canvas;
        // How much longer than on the canvas the frame is, against its height.
        let stretch = (width / height) / (columns as f64 / rows as f64);
        let differs = stretch.ln().abs() > (1.0 + PARAMS.alike).ln();
        differs.then(|| {
            let side =
                |length: usize, factor: f64| ((length as f64 * factor).round() as usize).max(1);
            Self {
                canvas,
                own: [
                    channels,
                    side(rows, stretch.sqrt().recip()),
                    side(columns, stretch.sqrt()),
                ],
            }
        })
    }

    /// What `draw` draws on `picture`, both C×H×W of the canvas; it is given the picture, its shape
    /// and the donor in the frame's proportions. Where it changes nothing nothing is changed.
    pub(super) fn draw(
        &self,
        picture: &[f32],
        donor: &[f32],
        draw: impl FnOnce(&[f32], [usize; 3], &[f32]) -> Defective,
    ) -> Defective {
        let seen = resampled(picture, self.canvas, self.own);
        let drawn = draw(&seen, self.own, &resampled(donor, self.canvas, self.own));
        let change: Vec<f32> = drawn.values.iter().zip(&seen).map(|(a, b)| a - b).collect();
        let change = resampled(&change, self.own, self.canvas);
        let mask: Vec<f32> = drawn
            .mask
            .iter()
            .map(|&is| f32::from(u8::from(is)))
            .collect();
        let [_, height, width] = self.own;
        let [_, rows, columns] = self.canvas;
        let covered = resampled(&mask, [1, height, width], [1, rows, columns]);
        Defective {
            values: picture
                .iter()
                .zip(change)
                .map(|(a, b)| (a + b).clamp(0.0, 1.0))
                .collect(),
            mask: covered
                .iter()
                .map(|&share| share >= PARAMS.covered)
                .collect(),
            kinds: drawn.kinds,
        }
    }
}

/// The planes of `values` in another size.
fn resampled(values: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
    let size = |[_, height, width]: [usize; 3]| PlaneSize { width, height };
    let mut out = vec![0.0; to.iter().product()];
    let mut resampler = Resampler::new(Filter::Bilinear);
    let planes = values.chunks_exact(from[1] * from[2]);
    for (plane, out) in planes.zip(out.chunks_exact_mut(to[1] * to[2])) {
        let resampled = resampler.run(plane, size(from), out, size(to));
        resampled.expect("planes have the lengths of their shapes");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defects::Kind;

    #[test]
    fn proportions_within_five_per_cent_are_the_canvas_s() {
        let of = |height: f64, width: f64| Proportions::of([height, width], None, [1, 64, 64]);
        assert_eq!(of(500.0, 520.0), None);
        let long = of(200.0, 800.0).unwrap();
        assert_eq!(long.own, [1, 32, 128]);
        let crop = Crop {
            left: 0.0,
            top: 0.0,
            right: 0.25,
            bottom: 1.0,
        };
        assert_eq!(
            Proportions::of([200.0, 800.0], Some(crop), [1, 64, 64]),
            None
        );
    }

    /// A square drawn on a frame of 4 : 1 is a quarter as wide on the square canvas, and elsewhere
    /// not a bit has changed.
    #[test]
    fn what_is_square_in_the_frame_is_narrow_on_the_canvas() {
        let own = Proportions::of([100.0, 400.0], None, [1, 64, 64]).unwrap();
        let picture: Vec<f32> = (0..64 * 64).map(|i| (i % 7) as f32 / 10.0).collect();
        let drawn = own.draw(&picture, &picture, |picture, shape, donor| {
            assert_eq!(shape, [1, 32, 128]);
            assert_eq!(picture, donor);
            let inside = |i: usize| (8..24).contains(&(i / 128)) && (40..56).contains(&(i % 128));
            let values = picture.iter().enumerate();
            Defective {
                values: values
                    .map(|(i, v)| v + f32::from(u8::from(inside(i))))
                    .collect(),
                mask: (0..picture.len()).map(inside).collect(),
                kinds: vec![Kind::Brightness],
            }
        });
        let inside: Vec<usize> = (0..drawn.mask.len()).filter(|&i| drawn.mask[i]).collect();
        let rows: Vec<usize> = inside.iter().map(|i| i / 64).collect();
        let columns: Vec<usize> = inside.iter().map(|i| i % 64).collect();
        let span = |of: &[usize]| of.iter().max().unwrap() - of.iter().min().unwrap() + 1;
        assert!((32..=34).contains(&span(&rows)), "{}", span(&rows));
        assert!((8..=10).contains(&span(&columns)), "{}", span(&columns));
        let centre = 32 * 64 + 24;
        assert!((drawn.values[centre] - picture[centre] - 1.0).abs() < 1e-6);
        assert_eq!(drawn.values[..64 * 8], picture[..64 * 8]);
        assert_eq!(drawn.kinds, [Kind::Brightness]);
    }
}
