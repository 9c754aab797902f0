//! Masks: where in a frame to look.

use ndarray::{Array2, s};

use super::{Crop, Geometry, PreprocessError};
use crate::{
    frame::{DecodeOptions, Frame, Samples},
    image::{Filter, PlaneSize, Resampler},
};

/// First bytes of every PNG file (PNG specification, section 5.2).
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Grey values from here to white minus it are neither black nor white.
const BETWEEN: f64 = 0.25;

/// Largest share of such pixels in a mask: beyond soft edges, it is a photograph.
const MOST_BETWEEN: f64 = 0.05;

/// A region of interest of any shape: white where to look, black what to ignore.
///
/// The picture is laid over the whole frame, whatever the size of either, and cropped and resized
/// like it. A pixel of a tensor, or a cell of a map, is looked at where at least half of it is
/// white.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// That of the cropped picture.
    size: PlaneSize,
    /// 1 where to look, otherwise 0.
    values: Vec<f32>,
}

impl Mask {
    /// Reads a mask from the bytes of a PNG; `name` is its file in messages, `crop` that of the
    /// settings. Colours count as their luma, which has to be near black or near white.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Frame`] for a picture that can't be decoded, [`PreprocessError::Mask`]
    /// for one that is no PNG, no mask (more than 5 % of its pixels are neither black nor white),
    /// or has nothing white within the crop.
    pub fn from_png(bytes: &[u8], name: &str, crop: Option<Crop>) -> Result<Self, PreprocessError> {
        let refuse = |problem: String| {
            Err(PreprocessError::Mask {
                name: name.to_owned(),
                problem,
            })
        };
        if !bytes.starts_with(SIGNATURE) {
            return refuse(
                "is no PNG: save the mask as PNG, whose black and white survive saving".into(),
            );
        }
        let frame = Frame::decode(bytes, name, &DecodeOptions::default())?;
        let luma = luma(&frame);
        let between = luma
            .iter()
            .filter(|&&value| (BETWEEN..=1.0 - BETWEEN).contains(&value))
            .count() as f64
            / luma.len() as f64;
        if between > MOST_BETWEEN {
            return refuse(format!(
                "is no mask: {:.0} % of its pixels are neither black nor white; paint white where \
                 to look, black what to ignore",
                100.0 * between
            ));
        }
        let region = Geometry::of(frame.width(), frame.height(), crop).region;
        let [x, y, width, height] = region.as_usize();
        let values: Vec<f32> = luma
            .chunks_exact(frame.width() as usize)
            .skip(y)
            .take(height)
            .flat_map(|row| &row[x..x + width])
            .map(|&value| if value >= 0.5 { 1.0 } else { 0.0 })
            .collect();
        if values.iter().all(|&value| value == 0.0) {
            return refuse(match crop {
                None => "is black all over, so nothing would be looked at; paint white where to \
                         look"
                    .into(),
                Some(_) => "has nothing white within `crop`, so nothing would be looked at; \
                            paint white where to look, or change the crop"
                    .into(),
            });
        }
        Ok(Self {
            size: PlaneSize { width, height },
            values,
        })
    }

    /// Share of each cell of a map, `height × width`, that is to be looked at, in [0, 1]: by the
    /// area filter of [`ResizeFilter::Area`](super::ResizeFilter::Area).
    pub fn coverage(&self, height: usize, width: usize) -> Vec<f32> {
        let mut cells = vec![0.0; height * width];
        if !cells.is_empty() {
            Resampler::new(Filter::Area)
                .run(
                    &self.values,
                    self.size,
                    &mut cells,
                    PlaneSize { width, height },
                )
                .expect("the buffers were made in these sizes, and a side of 2³² has no memory");
        }
        cells
    }

    /// The pixels of a frame that are looked at, frame height × frame width; none outside of the
    /// crop. `geometry` is what preprocessing with this mask gave for the frame.
    pub fn in_frame(&self, geometry: &Geometry) -> Array2<bool> {
        let [x, y, width, height] = geometry.region.as_usize();
        let size = [geometry.frame_height, geometry.frame_width].map(|side| side as usize);
        let mut frame = Array2::from_elem(size, false);
        frame
            .slice_mut(s![y..y + height, x..x + width])
            .assign(&self.in_map((height, width)));
        frame
    }

    /// The cells of a map (rows, columns) that are looked at, as [`Mask::interior`] has them.
    pub fn in_map(&self, (height, width): (usize, usize)) -> Array2<bool> {
        let cells = self.interior(height, width).cells;
        Array2::from_shape_fn((height, width), |(y, x)| cells[y * width + x])
    }

    /// The cells of a map, `height × width`, that are looked at: those covered by half, or, where
    /// a thin mask covers none by half on a coarse map, those covered most.
    pub fn interior(&self, height: usize, width: usize) -> Interior {
        let coverage = self.coverage(height, width);
        let most = coverage.iter().copied().fold(0.0, f32::max);
        Interior {
            cells: coverage
                .iter()
                .map(|&share| share > 0.0 && share >= most.min(0.5))
                .collect(),
        }
    }
}

/// The luma of each pixel, in [0, 1].
fn luma(frame: &Frame) -> Vec<f64> {
    fn of<T: Copy + Into<f64>>(samples: &[T], channels: usize, white: f64) -> Vec<f64> {
        samples
            .chunks_exact(channels)
            .map(|pixel| {
                let value = match *pixel {
                    [red, green, blue] => {
                        0.299 * red.into() + 0.587 * green.into() + 0.114 * blue.into()
                    }
                    _ => pixel[0].into(),
                };
                value / white
            })
            .collect()
    }
    let channels = frame.format().channels();
    match frame.samples() {
        Samples::U8(samples) => of(samples, channels, 255.0),
        Samples::U16(samples) => of(samples, channels, 65535.0),
    }
}

/// The cells of a map of one size, row by row, that a [`Mask`] lets count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interior {
    cells: Vec<bool>,
}

impl Interior {
    /// Whether each cell counts.
    pub fn cells(&self) -> &[bool] {
        &self.cells
    }

    #[cfg(test)]
    pub(crate) fn of(cells: Vec<bool>) -> Self {
        Self { cells }
    }

    /// Number of cells that count.
    pub fn count(&self) -> usize {
        self.cells.iter().filter(|&&inside| inside).count()
    }

    /// Gives the cells of a map that don't count the least value of those that do, so that
    /// neither a maximum nor a threshold finds them.
    pub fn exclude(&self, map: &mut [f32]) {
        let least = self.inside(map).fold(f32::INFINITY, f32::min);
        self.set_outside(map, least);
    }

    /// Gives the pixels of each plane that don't count the mean of those that do.
    pub(super) fn fill(&self, planes: &mut [f32]) {
        let count = self.count();
        if count == self.cells.len() {
            return;
        }
        for plane in planes.chunks_exact_mut(self.cells.len()) {
            let sum: f64 = self.inside(plane).map(f64::from).sum();
            self.set_outside(plane, (sum / count as f64) as f32);
        }
    }

    /// The values of a map's cells that count.
    pub fn inside<'a>(&'a self, map: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        map.iter()
            .zip(&self.cells)
            .filter_map(|(&value, &inside)| inside.then_some(value))
    }

    fn set_outside(&self, map: &mut [f32], value: f32) {
        for (cell, &inside) in map.iter_mut().zip(&self.cells) {
            if !inside {
                *cell = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{GrayImage, ImageFormat, Luma};

    use super::*;

    fn encoded(picture: &GrayImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn mask(width: u32, height: u32, white: impl Fn(u32, u32) -> bool) -> Vec<u8> {
        let picture = GrayImage::from_fn(width, height, |x, y| Luma([255 * u8::from(white(x, y))]));
        encoded(&picture, ImageFormat::Png)
    }

    #[test]
    fn coverage_is_the_share_of_white() {
        let mask = Mask::from_png(&mask(6, 4, |x, y| x < 3 && y < 3), "mask.png", None).unwrap();
        // Cells of 2×2 pixels, of 3×4, of a third of a pixel.
        assert_eq!(mask.coverage(2, 3), [1.0, 0.5, 0.0, 0.5, 0.25, 0.0]);
        assert_eq!(mask.coverage(1, 2), [0.75, 0.0]);
        let enlarged = mask.coverage(12, 18);
        for (i, share) in enlarged.into_iter().enumerate() {
            let inside = i % 18 < 9 && i / 18 < 9;
            assert_eq!(share, f32::from(u8::from(inside)), "{i}");
        }
        assert_eq!(
            mask.interior(2, 3).cells(),
            [true, true, false, true, false, false]
        );
        assert!(mask.coverage(0, 3).is_empty());
    }

    #[test]
    fn a_thin_mask_keeps_the_cells_it_covers_most() {
        let mask = Mask::from_png(&mask(64, 64, |x, _| x == 20), "mask.png", None).unwrap();
        let interior = mask.interior(4, 4);
        assert_eq!(interior.count(), 4);
        assert!(interior.cells().iter().skip(1).step_by(4).all(|&c| c));
    }

    #[test]
    fn a_mask_is_cropped_like_its_frame() {
        let crop = Crop {
            left: 0.5,
            top: 0.0,
            right: 1.0,
            bottom: 0.5,
        };
        let white = |x, y| x >= 6 && y < 2;
        let mask = Mask::from_png(&mask(8, 8, white), "mask.png", Some(crop)).unwrap();
        assert_eq!(mask.coverage(2, 2), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        let refused = |bytes: &[u8], crop| {
            let message = Mask::from_png(bytes, "mask.png", crop)
                .unwrap_err()
                .to_string();
            assert!(message.starts_with("mask.png: "), "{message}");
            message
        };
        let right = Crop {
            left: 0.5,
            top: 0.0,
            right: 1.0,
            bottom: 1.0,
        };
        assert!(refused(&mask(9, 9, |_, _| false), None).contains("black all over"));
        assert!(refused(&mask(9, 9, |x, _| x < 4), Some(right)).contains("within `crop`"));
        let photograph = GrayImage::from_fn(16, 16, |x, y| Luma([(x * 16 + y) as u8]));
        let photograph = encoded(&photograph, ImageFormat::Png);
        assert!(refused(&photograph, None).contains("50 % of its pixels"));
        let white = GrayImage::from_pixel(4, 4, Luma([255]));
        assert!(refused(&encoded(&white, ImageFormat::Bmp), None).contains("is no PNG"));
        assert!(refused(b"", None).contains("is no PNG"));
        let whole = mask(64, 64, |x, y| (x * y) % 3 == 0);
        refused(&whole[..whole.len() / 2], None);
    }

    #[test]
    fn a_frame_is_looked_at_within_the_crop() {
        let crop = Crop {
            left: 0.5,
            top: 0.0,
            right: 1.0,
            bottom: 1.0,
        };
        // The upper two thirds are white.
        let mask = Mask::from_png(&mask(4, 3, |_, y| y < 2), "mask.png", Some(crop)).unwrap();
        let inside = mask.in_frame(&Geometry::of(8, 6, Some(crop)));
        assert_eq!(inside.dim(), (6, 8));
        for ((y, x), &inside) in inside.indexed_iter() {
            assert_eq!(inside, x >= 4 && y < 4, "{x}, {y}");
        }
    }

    #[test]
    fn excluded_cells_take_the_least_value() {
        let mask = Mask::from_png(&mask(2, 2, |x, y| x + y < 2), "mask.png", None).unwrap();
        let mut map = [3.0, 5.0, 4.0, 9.0];
        mask.interior(2, 2).exclude(&mut map);
        assert_eq!(map, [3.0, 5.0, 4.0, 3.0]);
    }
}
