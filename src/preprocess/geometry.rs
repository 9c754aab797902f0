//! Which part of a frame a tensor covers, and the way back.

use ndarray::{Array2, ArrayView2, s};

use super::Crop;
use crate::image::Upsample;

/// A rectangle in whole pixels of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelRect {
    /// Left column.
    pub x: u32,
    /// Upper row.
    pub y: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

impl PixelRect {
    pub(super) fn as_usize(self) -> [usize; 4] {
        [self.x, self.y, self.width, self.height].map(|v| v as usize)
    }
}

/// Which part of a frame a tensor covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Width of the frame in pixels.
    pub frame_width: u32,
    /// Height of the frame in pixels.
    pub frame_height: u32,
    /// What the tensor covers, in frame pixels.
    pub region: PixelRect,
}

impl Geometry {
    /// The region of a crop in a frame of this size: edges rounded to whole pixels, and never
    /// less than one pixel wide or high.
    pub(super) fn of(frame_width: u32, frame_height: u32, crop: Option<Crop>) -> Self {
        let span = |from: f64, to: f64, length: u32| {
            let from = ((from * f64::from(length)).round() as u32).min(length - 1);
            let to = ((to * f64::from(length)).round() as u32).clamp(from + 1, length);
            (from, to - from)
        };
        let crop = crop.unwrap_or(Crop {
            left: 0.0,
            top: 0.0,
            right: 1.0,
            bottom: 1.0,
        });
        let (x, width) = span(crop.left, crop.right, frame_width);
        let (y, height) = span(crop.top, crop.bottom, frame_height);
        Self {
            frame_width,
            frame_height,
            region: PixelRect {
                x,
                y,
                width,
                height,
            },
        }
    }

    /// A map in tensor geometry, H×W, as one in frame geometry, frame height × frame width:
    /// interpolated bilinearly with the centres of pixels aligned (where the region has fewer
    /// pixels than the map, averaged over them), so that no value leaves the map's range. Outside
    /// the region it has the map's minimum.
    pub fn map_to_frame(&self, map: ArrayView2<f32>) -> Array2<f32> {
        let minimum = map.iter().copied().fold(f32::INFINITY, f32::min);
        let outside = if minimum.is_finite() { minimum } else { 0.0 };
        let mut frame = Array2::from_elem(
            (self.frame_height as usize, self.frame_width as usize),
            outside,
        );
        if map.is_empty() {
            return frame;
        }
        let (height, width) = map.dim();
        let map = map.as_standard_layout();
        let map = map.as_slice().expect("the layout is standard");
        let [x, y, columns, rows] = self.region.as_usize();
        let mut upsample = Upsample::to([rows, columns]);
        let values = ArrayView2::from_shape((rows, columns), upsample.apply(map, [height, width]))
            .expect("it was made for this size");
        frame
            .slice_mut(s![y..y + rows, x..x + columns])
            .assign(&values);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(width: u32, height: u32, crop: Option<[f64; 4]>) -> Geometry {
        let crop = crop.map(|[left, top, right, bottom]| Crop {
            left,
            top,
            right,
            bottom,
        });
        Geometry::of(width, height, crop)
    }

    #[test]
    fn a_peak_lands_where_it_was() {
        for (width, height, crop) in [
            (640, 480, None),
            (480, 640, None),
            (1021, 37, None),
            (37, 1021, None),
            (333, 222, Some([0.1, 0.2, 0.7, 0.9])),
            (301, 401, Some([0.5, 0.0, 1.0, 0.35])),
        ] {
            let geometry = geometry(width, height, crop);
            for (px, py) in [(0, 0), (5, 9), (15, 0), (31, 15), (16, 7)] {
                let mut map = Array2::from_elem((16, 32), 0.5);
                map[(py, px)] = 4.0;
                let frame = geometry.map_to_frame(map.view());
                assert_eq!(frame.dim(), (height as usize, width as usize));
                // centre of mass of the bump, except at the border, where it is cut in half
                let (mut mass, mut x, mut y) = (0.0, 0.0, 0.0);
                for ((row, column), value) in frame.indexed_iter() {
                    let weight = f64::from(value - 0.5);
                    assert!((0.0..=3.5).contains(&weight));
                    mass += weight;
                    x += weight * (column as f64 + 0.5);
                    y += weight * (row as f64 + 0.5);
                }
                let PixelRect {
                    x: left,
                    y: top,
                    width,
                    height,
                } = geometry.region;
                let step_x = f64::from(width) / 32.0;
                let step_y = f64::from(height) / 16.0;
                let expected_x = f64::from(left) + (px as f64 + 0.5) * step_x;
                let expected_y = f64::from(top) + (py as f64 + 0.5) * step_y;
                let inner = px > 0 && px < 31 && py > 0 && py < 15;
                // sampling a bump hardly wider than a frame pixel moves its centre by half of one
                let slack = |step: f64| {
                    if inner {
                        (0.05 * step).max(0.5)
                    } else {
                        0.5 * step
                    }
                };
                assert!(
                    (x / mass - expected_x).abs() <= slack(step_x),
                    "{geometry:?} {px},{py}"
                );
                assert!(
                    (y / mass - expected_y).abs() <= slack(step_y),
                    "{geometry:?} {px},{py}"
                );
            }
        }
    }

    #[test]
    fn interpolation_aligns_the_centres() {
        let map = ndarray::array![[0.0, 1.0]];
        let frame = geometry(4, 1, None).map_to_frame(map.view());
        assert_eq!(frame, ndarray::array![[0.0, 0.25, 0.75, 1.0]]);
        let map = ndarray::array![[0.0], [8.0], [4.0]];
        let frame = geometry(1, 6, None).map_to_frame(map.view());
        assert_eq!(
            frame.into_raw_vec_and_offset().0,
            [0.0, 2.0, 6.0, 7.0, 5.0, 4.0]
        );
    }

    #[test]
    fn outside_is_the_minimum() {
        let map = ndarray::array![[3.0, 2.0], [7.0, 5.0]];
        let frame = geometry(10, 10, Some([0.2, 0.4, 0.6, 0.8])).map_to_frame(map.view());
        for ((y, x), &value) in frame.indexed_iter() {
            if (2..6).contains(&x) && (4..8).contains(&y) {
                assert!((2.0..=7.0).contains(&value));
            } else {
                assert_eq!(value, 2.0, "({x}, {y})");
            }
        }
        assert_eq!(frame[(7, 2)], 7.0);
    }

    #[test]
    fn odd_maps_are_mapped_too() {
        let geometry = geometry(3, 2, None);
        assert_eq!(
            geometry.map_to_frame(Array2::zeros((0, 5)).view()).sum(),
            0.0
        );
        // transposed, so not in standard layout: columns 0, 1, 2 hold 0, 1, 2
        let map = Array2::from_shape_fn((3, 2), |(i, _)| i as f32);
        let frame = geometry.map_to_frame(map.t());
        assert_eq!(frame, ndarray::array![[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]);
        // a frame smaller than the map takes means
        let map = Array2::from_elem((64, 64), 1.5);
        assert!(
            geometry
                .map_to_frame(map.view())
                .iter()
                .all(|v| (v - 1.5).abs() < 1e-6)
        );
    }
}
