//! Pictures for the sheets.

use image::{Rgb, RgbImage, imageops};

/// Longer side, pixels, up to which pictures are enlarged by a whole factor.
const SHOWN: u32 = 256;
/// Outline of a mask.
const LINE: Rgb<u8> = Rgb([255, 48, 48]);

/// Values in [0, 1], C×H×W, with 8 bits; a NaN becomes black.
pub(super) fn picture(values: &[f32], [channels, height, width]: [usize; 3]) -> RgbImage {
    let area = height * width;
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        // The cast saturates.
        Rgb([0, 1, 2].map(|c| (255.0 * values[(c % channels) * area + at] + 0.5) as u8))
    })
}

/// Factor by which a picture is enlarged.
fn zoom(picture: &RgbImage) -> u32 {
    let side = picture.width().max(picture.height()).max(1);
    (SHOWN / side).max(1)
}

/// The picture large enough to be looked at, by repeating pixels.
pub(super) fn enlarged(picture: &RgbImage) -> RgbImage {
    let zoom = zoom(picture);
    let (width, height) = picture.dimensions();
    imageops::resize(
        picture,
        width * zoom,
        height * zoom,
        imageops::FilterType::Nearest,
    )
}

/// [`enlarged`], with a line just outside of the mask (H×W).
pub(super) fn outlined(picture: &RgbImage, mask: &[bool]) -> RgbImage {
    let zoom = zoom(picture);
    let (width, height) = picture.dimensions();
    // A place of the enlarged picture, which may lie outside.
    let inside = |x: i64, y: i64| {
        let side = |place: i64, side: u32| {
            u32::try_from(place)
                .ok()
                .map(|place| place / zoom)
                .filter(|place| *place < side)
        };
        match (side(x, width), side(y, height)) {
            (Some(x), Some(y)) => mask[(y * width + x) as usize],
            _ => false,
        }
    };
    let mut large = enlarged(picture);
    for (x, y, pixel) in large.enumerate_pixels_mut() {
        let (x, y) = (i64::from(x), i64::from(y));
        let beside = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
        if !inside(x, y) && beside.iter().any(|&(x, y)| inside(x, y)) {
            *pixel = LINE;
        }
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_planes_and_grey_is_repeated() {
        let grey = picture(&[0.0, 1.0, 0.5, f32::NAN], [1, 2, 2]);
        let pixels: Vec<[u8; 3]> = grey.pixels().map(|pixel| pixel.0).collect();
        assert_eq!(pixels, [[0; 3], [255; 3], [128; 3], [0; 3]]);
        let colour = picture(&[0.0, 1.0, 2.0, 0.2, -1.0, 0.6], [3, 1, 2]);
        assert_eq!(colour.get_pixel(0, 0).0, [0, 255, 0]);
        assert_eq!(colour.get_pixel(1, 0).0, [255, 51, 153]);
    }

    #[test]
    fn outlines_lie_around_the_mask() {
        let flat = RgbImage::from_pixel(64, 100, Rgb([9; 3]));
        let mut mask = vec![false; 6400];
        // At the left border, rows 10 and 11.
        mask[640] = true;
        mask[704] = true;
        let large = outlined(&flat, &mask);
        // Twice as large.
        assert_eq!(large.dimensions(), (128, 200));
        for (x, y, pixel) in large.enumerate_pixels() {
            let side = x == 2 && (20..24).contains(&y);
            let above = x < 2 && (y == 19 || y == 24);
            assert_eq!(*pixel == LINE, side || above, "{x},{y}");
        }
    }
}
