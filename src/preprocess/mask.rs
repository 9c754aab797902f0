//! Masks: where in a frame to look.

use fast_image_resize::FilterType;

use super::{Crop, Geometry, PreprocessError, resample::Resampler};
use crate::frame::{DecodeLimits, Frame, Samples};

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
    /// Width and height of the cropped picture.
    size: [usize; 2],
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
        let frame = Frame::decode(bytes, name, &DecodeLimits::default())?;
        let luma = luma(&frame);
        let between = luma
            .iter()
            .filter(|&&value| (BETWEEN..=1.0 - BETWEEN).contains(&value))
            .count() as f64
            / luma.len() as f64;
        if between > MOST_BETWEEN {
            return refuse(format!(
                "is no mask: {:.0} % of its pixels are neither black nor white; paint white where to look, black what to ignore",
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
                None => "is black all over, so nothing would be looked at; paint white where to look".into(),
                Some(_) => "has nothing white within `crop`, so nothing would be looked at; paint white where to look, or change the crop".into(),
            });
        }
        Ok(Self {
            size: [width, height],
            values,
        })
    }

    /// Share of each cell of a map, `height × width`, that is to be looked at, in [0, 1]: by the
    /// area filter of [`ResizeFilter::Area`](super::ResizeFilter::Area).
    pub fn coverage(&self, height: usize, width: usize) -> Vec<f32> {
        let mut cells = vec![0.0; height * width];
        if !cells.is_empty() {
            Resampler::new(FilterType::Box)
                .run(&self.values, self.size, &mut cells, [width, height])
                .expect("the buffers were made in these sizes, and a side of 2³² has no memory");
        }
        cells
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

    /// Number of cells that count.
    pub fn count(&self) -> usize {
        self.cells.iter().filter(|&&inside| inside).count()
    }

    /// Gives the cells of a map that don't count the least value of those that do, so that
    /// neither a maximum nor a threshold finds them.
    pub fn exclude(&self, map: &mut [f32]) {
        let least = self.values(map).copied().fold(f32::INFINITY, f32::min);
        self.set_outside(map, least);
    }

    /// Gives the pixels of each plane that don't count the mean of those that do.
    pub(super) fn fill(&self, planes: &mut [f32]) {
        let count = self.count();
        if count == self.cells.len() {
            return;
        }
        for plane in planes.chunks_exact_mut(self.cells.len()) {
            let sum: f64 = self.values(plane).map(|&value| f64::from(value)).sum();
            self.set_outside(plane, (sum / count as f64) as f32);
        }
    }

    fn values<'a>(&'a self, map: &'a [f32]) -> impl Iterator<Item = &'a f32> {
        map.iter()
            .zip(&self.cells)
            .filter_map(|(value, &inside)| inside.then_some(value))
    }

    fn set_outside(&self, map: &mut [f32], value: f32) {
        for (cell, &inside) in map.iter_mut().zip(&self.cells) {
            if !inside {
                *cell = value;
            }
        }
    }
}
