//! Pictures and anomaly maps as PNG.

use std::io::Cursor;

use image::{DynamicImage, ImageError, ImageFormat};
use ndarray::ArrayView2;

/// A picture as PNG.
///
/// # Errors
/// [`ImageError`] for a picture that PNG can't hold, such as one without pixels.
pub fn png(picture: impl Into<DynamicImage>) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// An anomaly map as 16-bit grey levels, linear from its minimum (0) to its maximum (65535).
#[derive(Clone, Debug, PartialEq)]
pub struct MapPicture {
    size: [u32; 2],
    levels: Vec<u16>,
    minimum: f32,
    maximum: f32,
}

impl MapPicture {
    /// Of a map `H×W`; one that is the same everywhere becomes black, and so does NaN.
    pub fn of(map: ArrayView2<'_, f32>) -> Self {
        let (minimum, maximum) = map
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
                (low.min(value), high.max(value))
            });
        let range = f64::from(maximum) - f64::from(minimum);
        let scale = if range > 0.0 { 65535.0 / range } else { 0.0 };
        let levels = map
            .iter()
            .map(|&value| ((f64::from(value) - f64::from(minimum)) * scale).round() as u16)
            .collect();
        let (height, width) = map.dim();
        Self {
            size: [width as u32, height as u32],
            levels,
            minimum,
            maximum,
        }
    }

    /// The smallest value of the map.
    pub fn minimum(&self) -> f32 {
        self.minimum
    }

    /// The largest value of the map.
    pub fn maximum(&self) -> f32 {
        self.maximum
    }

    /// PNG whose text says what 0 and 65535 stand for.
    ///
    /// # Errors
    /// [`png::EncodingError`] for a map without values.
    pub fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.size[0], self.size[1]);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Sixteen);
        encoder.add_text_chunk("minimum".into(), self.minimum.to_string())?;
        encoder.add_text_chunk("maximum".into(), self.maximum.to_string())?;
        let samples: Vec<u8> = self.levels.iter().flat_map(|v| v.to_be_bytes()).collect();
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&samples)?;
        writer.finish()?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_map_spans_all_levels_and_says_its_range() {
        let picture = MapPicture::of(array![[-1.0, 0.0, 3.0]].view());
        assert_eq!(picture.levels, [0, 16384, 65535]);
        let bytes = picture.png().unwrap();
        let mut reader = png::Decoder::new(Cursor::new(&bytes)).read_info().unwrap();
        let text: Vec<_> = reader
            .info()
            .uncompressed_latin1_text
            .iter()
            .map(|chunk| (chunk.keyword.clone(), chunk.text.clone()))
            .collect();
        assert_eq!(
            text,
            [("minimum", "-1"), ("maximum", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        let mut samples = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut samples).unwrap();
        assert_eq!(samples, [0, 0, 0x40, 0, 0xff, 0xff]);
        assert_eq!(MapPicture::of(array![[2.0, 2.0]].view()).levels, [0, 0]);
    }
}
