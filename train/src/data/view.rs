//! How a training picture is taken of a frame: where, mirrored, shifted, turned and enlarged.

use rand::{Rng, RngExt};

use super::shape::equivalent_side;
use crate::options::Augmentation;

/// Share of the pictures that are shifted, turned and enlarged.
const MOVED: f64 = 0.3;

/// A window of a frame, H×W.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    /// Height and width of the frame.
    frame: [usize; 2],
    /// Height and width of the picture.
    picture: [usize; 2],
    /// Row and column of the frame at which the picture begins.
    corner: [usize; 2],
    /// Upside down, and left for right; of the whole frame.
    mirrored: [bool; 2],
    motion: Option<Motion>,
}

/// How far whole frames are moved at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Movement {
    /// Degrees, either way, of a square. What holds a part leaves its ends as much play whatever
    /// its shape is, so that long frames turn less; a full rotation is one of all.
    pub rotation: f64,
    /// Share of the frame's side, in each direction.
    pub shift: f64,
    /// Enlarged by, relative.
    pub zoom: f64,
    /// Whether every second one is mirrored.
    pub mirrored: bool,
}

/// Where a pixel of the moved frame comes from: `centre + matrix · (pixel − centre) + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Motion {
    matrix: [[f32; 2]; 2],
    /// Down and to the right, in pixels.
    shift: [f32; 2],
}

impl Motion {
    fn random(frame: [usize; 2], movement: &Movement, random: &mut impl Rng) -> Self {
        let Movement {
            rotation,
            shift,
            zoom,
            ..
        } = *movement;
        let longer = frame[0].max(frame[1]) as f64;
        let rotation = match rotation < 180.0 {
            true => rotation * f64::from(equivalent_side(frame)) / longer,
            false => rotation,
        };
        let mut draw = |low: f64, high: f64| random.random_range(low..=high) as f32;
        let angle = draw(-rotation, rotation).to_radians();
        let scale = 1.0 / (1.0 + draw(0.0, zoom));
        let (sin, cos) = (scale * angle.sin(), scale * angle.cos());
        Self {
            matrix: [[cos, sin], [-sin, cos]],
            shift: frame.map(|side| draw(-shift, shift) * side as f32),
        }
    }
}

impl View {
    /// A window of `picture` pixels somewhere in a frame C×H×W, not moved.
    pub(super) fn plain(
        [_, height, width]: [usize; 3],
        picture: [usize; 2],
        random: &mut impl Rng,
    ) -> Self {
        let mut place =
            |frame: usize, picture: usize| random.random_range(0..=frame.saturating_sub(picture));
        Self {
            frame: [height, width],
            picture,
            corner: [place(height, picture[0]), place(width, picture[1])],
            mirrored: [false; 2],
            motion: None,
        }
    }

    /// A window of `picture` pixels somewhere in a frame C×H×W, moved as `augmentation` says.
    pub(super) fn random(
        shape: [usize; 3],
        picture: [usize; 2],
        augmentation: &Augmentation,
        random: &mut impl Rng,
    ) -> Self {
        let mut view = Self::plain(shape, picture, random);
        view.mirrored = [
            augmentation.flip_vertical && random.random(),
            augmentation.flip_horizontal && random.random(),
        ];
        let Augmentation {
            shift,
            zoom,
            rotation,
            ..
        } = *augmentation;
        if shift.max(zoom).max(rotation) > 0.0 && random.random_bool(MOVED) {
            let movement = Movement {
                rotation,
                shift,
                zoom,
                mirrored: false,
            };
            view.motion = Some(Motion::random(view.frame, &movement, random));
        }
        view
    }

    /// A whole frame C×H×W, moved.
    pub(crate) fn moved(
        [_, height, width]: [usize; 3],
        movement: &Movement,
        random: &mut impl Rng,
    ) -> Self {
        let frame = [height, width];
        Self {
            frame,
            picture: frame,
            corner: [0; 2],
            mirrored: [false, movement.mirrored && random.random()],
            motion: Some(Motion::random(frame, movement, random)),
        }
    }

    /// Fills `out`, a picture's plane, from `plane`, a frame's.
    pub(crate) fn take(&self, plane: &[f32], out: &mut [f32]) {
        let [_, width] = self.frame;
        let pixel = |y: usize, x: usize| {
            let [y, x] = [
                mirror(self.corner[0] + y, self.frame[0], self.mirrored[0]),
                mirror(self.corner[1] + x, self.frame[1], self.mirrored[1]),
            ];
            [y, x]
        };
        for (y, row) in out.chunks_exact_mut(self.picture[1]).enumerate() {
            for (x, out) in row.iter_mut().enumerate() {
                let [y, x] = pixel(y, x);
                *out = match &self.motion {
                    None => plane[y * width + x],
                    Some(motion) => self.interpolate(plane, motion, y as f32, x as f32),
                };
            }
        }
    }

    /// The value that the motion brings to (`y`, `x`), bilinear, the border mirrored.
    fn interpolate(&self, plane: &[f32], motion: &Motion, y: f32, x: f32) -> f32 {
        let [height, width] = self.frame;
        let last = [(height - 1) as f32, (width - 1) as f32];
        let centre = [0.5 * last[0], 0.5 * last[1]];
        let offset = [y - centre[0], x - centre[1]];
        let at = |axis: usize| {
            let [by_row, by_column] = motion.matrix[axis];
            let at = by_row * offset[0] + by_column * offset[1];
            reflect(centre[axis] + at + motion.shift[axis], last[axis])
        };
        let (y, x) = (at(0), at(1));
        let (top, left) = (y as usize, x as usize);
        let (down, right) = (y - top as f32, x - left as f32);
        let value =
            |row: usize, column: usize| plane[row.min(height - 1) * width + column.min(width - 1)];
        let upper = value(top, left) * (1.0 - right) + value(top, left + 1) * right;
        let lower = value(top + 1, left) * (1.0 - right) + value(top + 1, left + 1) * right;
        upper * (1.0 - down) + lower * down
    }
}

fn mirror(place: usize, side: usize, mirrored: bool) -> usize {
    if mirrored { side - 1 - place } else { place }
}

/// `place` folded into 0 to `last` at both ends.
fn reflect(place: f32, last: f32) -> f32 {
    let place = place.abs();
    let place = if place > last {
        2.0 * last - place
    } else {
        place
    };
    place.clamp(0.0, last)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    /// A plane of 4×5 whose value is 10·row + column.
    fn plane() -> Vec<f32> {
        (0..20).map(|i| (10 * (i / 5) + i % 5) as f32).collect()
    }

    fn view(motion: Option<Motion>, mirrored: [bool; 2]) -> View {
        View {
            frame: [4, 5],
            picture: [2, 3],
            corner: [1, 2],
            mirrored,
            motion,
        }
    }

    fn taken(view: &View) -> Vec<f32> {
        let mut out = vec![0.0; 6];
        view.take(&plane(), &mut out);
        out
    }

    #[test]
    fn a_window_is_cut_out_and_mirrored_with_the_frame() {
        let cut = taken(&view(None, [false; 2]));
        assert_eq!(cut, [12.0, 13.0, 14.0, 22.0, 23.0, 24.0]);
        let turned = taken(&view(None, [true, true]));
        assert_eq!(turned, [22.0, 21.0, 20.0, 12.0, 11.0, 10.0]);
    }

    #[test]
    fn motions_move_the_frame_about_its_centre() {
        let still = Motion {
            matrix: [[1.0, 0.0], [0.0, 1.0]],
            shift: [0.0; 2],
        };
        assert_eq!(
            taken(&view(Some(still), [false; 2])),
            taken(&view(None, [false; 2]))
        );
        // Half a pixel to the right; beyond the last column the frame is mirrored.
        let shifted = Motion {
            shift: [0.0, 0.5],
            ..still
        };
        assert_eq!(
            taken(&view(Some(shifted), [false; 2])),
            [12.5, 13.5, 13.5, 22.5, 23.5, 23.5]
        );
        // The plane is linear, so a motion's value is that of the place it comes from.
        let motion = Motion {
            matrix: [[0.9, 0.1], [-0.1, 0.9]],
            shift: [0.1, -0.2],
        };
        let moved = taken(&view(Some(motion), [false; 2]));
        let (y, x) = (1.0 - 1.5, 3.0 - 2.0);
        let row = 1.5 + 0.9 * y + 0.1 * x + 0.1;
        let column = 2.0 - 0.1 * y + 0.9 * x - 0.2;
        assert!((moved[1] - (10.0 * row + column)).abs() < 1e-4);
    }

    #[test]
    fn random_views_stay_within_the_frame_and_within_bounds() {
        let augmentation = Augmentation {
            flip_horizontal: true,
            flip_vertical: false,
            shift: 0.1,
            zoom: 0.2,
            rotation: 5.0,
            brightness: 0.0,
            gamma: 0.0,
            binarise: false,
        };
        let mut random = Pcg64::seed_from_u64(1);
        let (mut moved, mut mirrored) = (0, 0);
        for _ in 0..1000 {
            let view = View::random([1, 4, 5], [2, 3], &augmentation, &mut random);
            assert!(view.corner[0] <= 2 && view.corner[1] <= 2);
            assert!(!view.mirrored[0]);
            mirrored += i32::from(view.mirrored[1]);
            if let Some(Motion { matrix, shift }) = view.motion {
                moved += 1;
                let scale = matrix[0][0].hypot(matrix[0][1]);
                assert!((1.0 / 1.2 - 1e-4..=1.0001).contains(&scale));
                assert!(shift[0].abs() <= 0.4 && shift[1].abs() <= 0.5);
            }
            assert!(taken(&view).iter().all(|v| (0.0..=34.0).contains(v)));
        }
        // Four standard deviations about 300 and 500.
        assert!((242..358).contains(&moved) && (437..563).contains(&mirrored));
    }
}
