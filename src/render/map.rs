//! An anomaly map on a frame: colours above the threshold, and the contour around them.

use image::{RgbImage, imageops};
use ndarray::{Array2, ArrayView2, CowArray, Ix2};

use super::MapScale;
use crate::image::Upsample;

/// Colours of a whole map, `H×W`, as a picture of the same size.
pub fn heat_map(map: ArrayView2<'_, f32>, scale: &MapScale) -> RgbImage {
    let (height, width) = map.dim();
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        image::Rgb(scale.colour(map[[y as usize, x as usize]]))
    })
}

/// The frame at `width × height` pixels with the map's hot areas over it and a contour of
/// `line` pixels inside their border.
pub(super) fn compose(
    frame: &RgbImage,
    map: ArrayView2<'_, f32>,
    scale: &MapScale,
    [width, height]: [u32; 2],
    line: usize,
) -> RgbImage {
    let mut picture = resized(frame, width, height);
    let (width, height) = (width as usize, height as usize);
    let map = fitted(map, width, height);
    if map.is_empty() {
        return picture;
    }
    let hot = |x: usize, y: usize| map[[y, x]] > scale.threshold;
    for y in 0..height {
        for x in 0..width {
            let value = map[[y, x]];
            let alpha = scale.alpha(value);
            if alpha <= 0.0 {
                continue;
            }
            let border = (1..=line).any(|d| {
                (x >= d && !hot(x - d, y))
                    || (x + d < width && !hot(x + d, y))
                    || (y >= d && !hot(x, y - d))
                    || (y + d < height && !hot(x, y + d))
            });
            let pixel = &mut picture.get_pixel_mut(x as u32, y as u32).0;
            if border {
                *pixel = [255; 3];
                continue;
            }
            for (sample, colour) in pixel.iter_mut().zip(scale.colour(value)) {
                let mixed = f32::from(*sample) * (1.0 - alpha) + f32::from(colour) * alpha;
                *sample = (mixed + 0.5) as u8;
            }
        }
    }
    picture
}

/// Enlarged by repeating pixels, which shows what the model saw; reduced by averaging.
fn resized(frame: &RgbImage, width: u32, height: u32) -> RgbImage {
    if frame.dimensions() == (width, height) {
        return frame.clone();
    }
    if frame.width() == 0 || frame.height() == 0 || width == 0 || height == 0 {
        return RgbImage::new(width, height);
    }
    let filter = if width < frame.width() || height < frame.height() {
        imageops::FilterType::Triangle
    } else {
        imageops::FilterType::Nearest
    };
    imageops::resize(frame, width, height, filter)
}

/// The map at another size. Enlarged, it is interpolated; reduced, every pixel has the largest
/// value that it covers, so that no small hot spot is lost.
fn fitted(map: ArrayView2<'_, f32>, width: usize, height: usize) -> CowArray<'_, f32, Ix2> {
    let (rows, columns) = map.dim();
    if (rows, columns) == (height, width) {
        return map.into();
    }
    if map.is_empty() || width == 0 || height == 0 {
        return Array2::zeros((0, 0)).into();
    }
    let samples = |index: usize, pixels: usize, samples: usize| {
        index * samples / pixels..((index + 1) * samples).div_ceil(pixels)
    };
    let (fewer_rows, fewer_columns) = (rows.min(height), columns.min(width));
    let reduced = Array2::from_shape_fn((fewer_rows, fewer_columns), |(y, x)| {
        let mut largest = f32::NEG_INFINITY;
        for row in samples(y, fewer_rows, rows) {
            for column in samples(x, fewer_columns, columns) {
                // `max` skips NaN.
                largest = largest.max(map[[row, column]]);
            }
        }
        largest
    });
    if reduced.dim() == (height, width) {
        return reduced.into();
    }
    let reduced: Vec<f32> = reduced.into_iter().map(bounded).collect();
    let mut upsample = Upsample::to([height, width]);
    let enlarged = upsample.apply(&reduced, [fewer_rows, fewer_columns]);
    Array2::from_shape_fn((height, width), |(y, x)| enlarged[y * width + x]).into()
}

/// A value that can be interpolated: +∞ stays hot, −∞ and NaN are cold.
fn bounded(value: f32) -> f32 {
    const LIMIT: f32 = f32::MAX / 4.0;
    if value.is_nan() {
        -LIMIT
    } else {
        value.clamp(-LIMIT, LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn reducing_keeps_a_single_hot_pixel() {
        let mut map = Array2::zeros((90, 70));
        map[[61, 33]] = 5.0;
        let small = fitted(map.view(), 9, 11);
        let hot: Vec<_> = small
            .indexed_iter()
            .filter(|(_, v)| **v == 5.0)
            .map(|(at, _)| at)
            .collect();
        // 61·11/90 = 7.46 and 33·9/70 = 4.24.
        assert_eq!(hot, [(7, 4)]);
    }

    #[test]
    fn enlarging_interpolates_between_pixel_centres() {
        let map = array![[0.0, 4.0]];
        let large = fitted(map.view(), 8, 2);
        // Centres of the samples lie at 1.5 and 5.5 of the enlarged pixels.
        let row = [0.0, 0.0, 0.5, 1.5, 2.5, 3.5, 4.0, 4.0];
        assert_eq!(large.row(0).to_vec(), row);
        assert_eq!(large.row(1).to_vec(), row);
    }

    #[test]
    fn contour_is_the_border_of_the_hot_area_and_cold_pixels_stay() {
        let frame = RgbImage::from_pixel(7, 7, image::Rgb([90; 3]));
        let mut map = Array2::zeros((7, 7));
        map.slice_mut(ndarray::s![1..6, 1..6]).fill(3.0);
        map[[0, 0]] = f32::NAN;
        let scale = MapScale::around(1.0, 0.0);
        let picture = compose(&frame, map.view(), &scale, [7, 7], 1);
        for (x, y, pixel) in picture.enumerate_pixels() {
            let hot = (1..6).contains(&x) && (1..6).contains(&y);
            let inner = (2..5).contains(&x) && (2..5).contains(&y);
            match (hot, inner) {
                (_, true) => assert!(pixel.0[0] > 2 * pixel.0[2], "{x},{y}: {pixel:?}"),
                (true, false) => assert_eq!(pixel.0, [255; 3], "{x},{y}"),
                (false, _) => assert_eq!(pixel.0, [90; 3], "{x},{y}"),
            }
        }
    }

    #[test]
    fn heat_map_is_cold_blue_and_hot_red() {
        let picture = heat_map(array![[0.0, 9.0]].view(), &MapScale::around(1.0, 0.0));
        assert_eq!(picture.dimensions(), (2, 1));
        let ([r0, _, b0], [r1, _, b1]) = (picture.get_pixel(0, 0).0, picture.get_pixel(1, 0).0);
        assert!(b0 > r0 && r1 > 2 * b1);
    }
}
