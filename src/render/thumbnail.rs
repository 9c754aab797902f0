//! A frame beside its anomaly map, small enough for a page.

use std::io::Cursor;

use base64::{Engine, prelude::BASE64_STANDARD};
use image::{
    ImageFormat, ImageResult, Rgb, RgbImage,
    codecs::jpeg::JpegEncoder,
    imageops::{self, FilterType},
};
use ndarray::ArrayView2;

use super::{MapScale, heat_map};
use crate::Frame;

/// Longest side of a picture, pixels.
const SIDE: u32 = 320;

/// Frames up to this side are shown as PNG and enlarged without smoothing.
const SMALL: u32 = 96;

/// Quality of JPEG pictures, of 100.
const QUALITY: u8 = 85;

/// How much of a frame the colours of the map hide.
const HEAT: f32 = 0.5;

/// A frame and its anomaly map, reduced to at most 320 pixels on the longer side.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    /// The frame.
    pub frame: RgbImage,
    /// The map's colours over the frame without its own.
    pub heat: RgbImage,
    /// Whether the frame has so few pixels that each should be seen.
    pub is_small: bool,
}

impl Thumbnail {
    /// Of a frame and its map `H×W` in the frame's size; the scale reaches up to the map's peak.
    pub fn of(frame: &Frame, map: ArrayView2<'_, f32>, scale: &MapScale) -> Self {
        let picture = frame.to_rgb8();
        let is_small = picture.width().max(picture.height()) <= SMALL;
        let size = fitted(picture.dimensions());
        let peak = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let heat = heat_map(map, &scale.up_to(peak));
        let frame = resized(picture, size);
        let heat = mixed(&frame, &resized(heat, size));
        Self {
            frame,
            heat,
            is_small,
        }
    }

    /// Frame and map as `data:` addresses: PNG where the frame is small, else JPEG.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn data_uris(&self) -> ImageResult<[String; 2]> {
        let uri = |picture| data_uri(picture, self.is_small);
        Ok([uri(&self.frame)?, uri(&self.heat)?])
    }
}

/// Reduced so that the longer side has at most [`SIDE`] pixels.
fn fitted((width, height): (u32, u32)) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= SIDE {
        return (width, height);
    }
    let side = |length: u32| {
        let reduced = u64::from(length) * u64::from(SIDE) / u64::from(longest);
        (reduced as u32).max(1)
    };
    (side(width), side(height))
}

fn resized(picture: RgbImage, (width, height): (u32, u32)) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture;
    }
    imageops::resize(&picture, width, height, FilterType::Triangle)
}

fn mixed(frame: &RgbImage, heat: &RgbImage) -> RgbImage {
    let mut mixed = heat.clone();
    for (pixel, Rgb([r, g, b])) in mixed.pixels_mut().zip(frame.pixels()) {
        // ITU-R BT.601-7, as in preprocessing.
        let grey = 0.299 * f32::from(*r) + 0.587 * f32::from(*g) + 0.114 * f32::from(*b);
        for sample in &mut pixel.0 {
            *sample = (HEAT * f32::from(*sample) + (1.0 - HEAT) * grey).round() as u8;
        }
    }
    mixed
}

fn data_uri(picture: &RgbImage, exact: bool) -> ImageResult<String> {
    let mut bytes = Cursor::new(Vec::new());
    let format = if exact {
        picture.write_to(&mut bytes, ImageFormat::Png)?;
        "png"
    } else {
        JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(picture)?;
        "jpeg"
    };
    let text = BASE64_STANDARD.encode(bytes.into_inner());
    Ok(format!("data:image/{format};base64,{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_proportions() {
        assert_eq!(fitted((28, 28)), (28, 28));
        assert_eq!(fitted((3840, 2160)), (320, 180));
        assert_eq!(fitted((5000, 3)), (320, 1));
    }

    #[test]
    fn a_picture_in_the_page_is_the_picture() {
        let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8 * 80, y as u8 * 90, 7]));
        let text = data_uri(&picture, true).unwrap();
        let text = text.strip_prefix("data:image/png;base64,").unwrap();
        let bytes = BASE64_STANDARD.decode(text).unwrap();
        assert_eq!(
            image::load_from_memory(&bytes).unwrap().into_rgb8(),
            picture
        );
        let lossy = data_uri(&picture, false).unwrap();
        assert!(lossy.starts_with("data:image/jpeg;base64,/9j/"));
    }
}
