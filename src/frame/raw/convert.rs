//! From raw pictures to frames.

use std::time::SystemTime;

use super::{
    super::{Frame, FrameError, PixelFormat, Samples},
    RawFormat, RawLayout, YuvColour,
    yuv::YuvMatrix,
};

/// Makes frames of raw pictures.
///
/// Chroma is not interpolated: each sample serves the two or four pixels that it was taken for, the
/// left and the upper one of a pair first. That is what ffmpeg does unless it is asked for more,
/// and leaves no difference between cameras that site their chroma in different places, which they
/// don't tell. Grey of fewer than 16 bits is scaled to the full range.
#[derive(Clone, Debug)]
pub struct RawConverter {
    matrix: Box<YuvMatrix>,
    as_grey: bool,
}

impl Default for RawConverter {
    fn default() -> Self {
        Self::new(YuvColour::default())
    }
}

impl RawConverter {
    /// Makes RGB of YUV by this matrix.
    pub fn new(colour: YuvColour) -> Self {
        Self {
            matrix: Box::new(YuvMatrix::new(colour)),
            as_grey: false,
        }
    }

    /// Makes 8-bit grey of YUV in place of RGB: its luma, brought to the full range. It is what a
    /// grey model makes of the RGB picture too, but for clipped colours. Other formats stay what
    /// they are.
    pub fn as_grey(self, as_grey: bool) -> Self {
        Self { as_grey, ..self }
    }

    /// What a frame of that format becomes.
    pub fn pixel_format(&self, format: RawFormat) -> PixelFormat {
        if self.as_grey && format.is_yuv() {
            PixelFormat::Gray8
        } else {
            format.pixel_format()
        }
    }

    /// Makes `frame` the picture that lies in `bytes`, in the memory it has. Bytes behind the
    /// picture are not looked at.
    ///
    /// # Errors
    /// [`FrameError::Raw`] for too few bytes.
    pub fn convert(
        &self,
        layout: &RawLayout,
        bytes: &[u8],
        captured: SystemTime,
        frame: &mut Frame,
    ) -> Result<(), FrameError> {
        if bytes.len() < layout.needed_bytes() {
            return Err(FrameError::Raw {
                name: frame.source().to_owned(),
                problem: format!(
                    "{} bytes are not a picture of {}×{} pixels of {}, which has {}; is the size \
                     right, and the padding of rows?",
                    bytes.len(),
                    layout.width(),
                    layout.height(),
                    layout.format(),
                    layout.frame_bytes()
                ),
            });
        }
        let pixel_format = self.pixel_format(layout.format());
        let (width, height) = (layout.width(), layout.height());
        frame.refill(width, height, pixel_format, captured, |samples| {
            let row_samples = width as usize * pixel_format.channels();
            match samples {
                Samples::U8(samples) => {
                    for (y, row) in samples.chunks_exact_mut(row_samples).enumerate() {
                        self.row_of_8_bits(layout, bytes, y, row);
                    }
                }
                Samples::U16(samples) => {
                    for (y, row) in samples.chunks_exact_mut(row_samples).enumerate() {
                        row_of_16_bits(layout.format(), layout.row(bytes, 0, y), row);
                    }
                }
            }
            Ok(())
        })?;
        // These are brought to 16 bits.
        match layout.format() {
            RawFormat::Gray10le | RawFormat::Gray12le | RawFormat::Gray14le => frame.set_bits(16),
            _ => Ok(()),
        }
    }

    fn row_of_8_bits(&self, layout: &RawLayout, bytes: &[u8], y: usize, out: &mut [u8]) {
        let first = layout.row(bytes, 0, y);
        let chroma = |plane| layout.row(bytes, plane, y);
        let matrix = &self.matrix;
        match layout.format() {
            RawFormat::Bgr24 => reorder::<3, true>(out, first),
            RawFormat::Rgba => reorder::<4, false>(out, first),
            RawFormat::Bgra => reorder::<4, true>(out, first),
            RawFormat::Yuyv422 if self.as_grey => {
                matrix.fill_grey(out, first.iter().step_by(2).copied());
            }
            RawFormat::Uyvy422 if self.as_grey => {
                matrix.fill_grey(out, first.iter().skip(1).step_by(2).copied());
            }
            format if self.as_grey && format.is_yuv() => {
                matrix.fill_grey(out, first.iter().copied());
            }
            RawFormat::Yuyv422 => {
                let pairs = first.as_chunks::<4>().0.iter();
                matrix.fill_pairs(out, pairs.map(|&[a, u, b, v]| [a, b, u, v]));
            }
            RawFormat::Uyvy422 => {
                let pairs = first.as_chunks::<4>().0.iter();
                matrix.fill_pairs(out, pairs.map(|&[u, a, v, b]| [a, b, u, v]));
            }
            RawFormat::Nv12 => {
                let uv = chroma(1).as_chunks::<2>().0.iter();
                matrix.fill_pairs(
                    out,
                    pairs(first).zip(uv).map(|([a, b], &[u, v])| [a, b, u, v]),
                );
            }
            RawFormat::Nv21 => {
                let vu = chroma(1).as_chunks::<2>().0.iter();
                matrix.fill_pairs(
                    out,
                    pairs(first).zip(vu).map(|([a, b], &[v, u])| [a, b, u, v]),
                );
            }
            RawFormat::Yuv420p | RawFormat::Yuv422p => {
                let uv = chroma(1).iter().zip(chroma(2));
                matrix.fill_pairs(
                    out,
                    pairs(first).zip(uv).map(|([a, b], (&u, &v))| [a, b, u, v]),
                );
            }
            RawFormat::Yuv444p => {
                let uv = chroma(1).iter().zip(chroma(2));
                matrix.fill_singles(out, first.iter().zip(uv).map(|(&y, (&u, &v))| [y, u, v]));
            }
            _ => out.copy_from_slice(first),
        }
    }
}

/// The samples two by two; the last of an odd number is repeated.
fn pairs(samples: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    samples
        .chunks(2)
        .map(|pair| [pair[0], pair[pair.len() - 1]])
}

fn reorder<const BYTES: usize, const BLUE_FIRST: bool>(out: &mut [u8], row: &[u8]) {
    for (out, pixel) in out.chunks_exact_mut(3).zip(row.as_chunks::<BYTES>().0) {
        let [a, b, c] = [pixel[0], pixel[1], pixel[2]];
        out.copy_from_slice(&if BLUE_FIRST { [c, b, a] } else { [a, b, c] });
    }
}

fn row_of_16_bits(format: RawFormat, row: &[u8], out: &mut [u16]) {
    let words = row.as_chunks::<2>().0;
    let most: u32 = match format {
        RawFormat::Gray10le => 0x3ff,
        RawFormat::Gray12le => 0xfff,
        RawFormat::Gray14le => 0x3fff,
        RawFormat::Gray16be | RawFormat::Rgb48be => {
            for (out, &word) in out.iter_mut().zip(words) {
                *out = u16::from_be_bytes(word);
            }
            return;
        }
        _ => {
            for (out, &word) in out.iter_mut().zip(words) {
                *out = u16::from_le_bytes(word);
            }
            return;
        }
    };
    for (out, &word) in out.iter_mut().zip(words) {
        // Bits above those of the sensor are none of its doing: clipped, so that white stays white.
        let value = u32::from(u16::from_le_bytes(word)).min(most);
        *out = ((value * 0xffff + most / 2) / most) as u16;
    }
}
