//! The golden frame, by which a bundle is verified.

use std::io::Cursor;

use anyhow::{Context, Result};
use edge_vae::{
    Frame,
    dataset::Sample,
    frame::{DecodeOptions, PixelFormat, Samples},
};
use image::{DynamicImage, ImageFormat};

use crate::options::Golden;

/// The golden frame's picture in a bundle.
pub const GOLDEN_FRAME: &str = "golden.png";

/// What the trainer computed for it.
pub const GOLDEN_VALUES: &str = "golden.npz";

/// Longest side of the golden frame, in pixels.
const LONGEST: u32 = 512;

/// The golden frame, as a bundle has it.
#[derive(Clone, Debug)]
pub struct GoldenFrame {
    /// As a PNG.
    pub png: Vec<u8>,
    /// As it comes out of that PNG.
    pub frame: Frame,
}

impl GoldenFrame {
    /// The one that `golden` names; `calibration` is the first of the calibration frames, a drawn
    /// glyph has `glyph_side` pixels a side.
    ///
    /// # Errors
    /// A picture that can't be read; no calibration frame where one is wanted.
    pub fn of(golden: &Golden, calibration: Option<&Sample>, glyph_side: usize) -> Result<Self> {
        let picture = match golden {
            Golden::Glyph => {
                let side = glyph_side as u32;
                DynamicImage::ImageLuma8(edge_vae::synth::glyph(side, '1')?)
            }
            Golden::File(path) => small_picture(&Frame::open(path)?)?,
            Golden::CalibrationFrame => {
                let sample =
                    calibration.context("no calibration frame to take for the golden one")?;
                small_picture(&sample.frame()?)?
            }
        };
        let mut png = Cursor::new(Vec::new());
        picture
            .write_to(&mut png, ImageFormat::Png)
            .context("cannot encode the golden frame")?;
        let png = png.into_inner();
        let frame = Frame::decode(&png, GOLDEN_FRAME, &DecodeOptions::default())?;
        Ok(Self { png, frame })
    }
}

/// The frame as a picture, shrunk where it is large: a golden frame need not be a whole photograph.
fn small_picture(frame: &Frame) -> Result<DynamicImage> {
    let (width, height) = (frame.width(), frame.height());
    let picture = match (frame.samples().clone(), frame.format()) {
        (Samples::U8(samples), PixelFormat::Gray8) => {
            image::GrayImage::from_raw(width, height, samples).map(DynamicImage::ImageLuma8)
        }
        (Samples::U8(samples), _) => {
            image::RgbImage::from_raw(width, height, samples).map(DynamicImage::ImageRgb8)
        }
        (Samples::U16(samples), PixelFormat::Gray16) => {
            image::ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma16)
        }
        (Samples::U16(samples), _) => {
            image::ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb16)
        }
    };
    let picture = picture.context("the golden frame's samples do not fit its size")?;
    Ok(if width.max(height) > LONGEST {
        picture.resize(LONGEST, LONGEST, image::imageops::FilterType::Triangle)
    } else {
        picture
    })
}
