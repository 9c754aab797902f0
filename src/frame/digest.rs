//! A short digest of the picture that a frame shows.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use super::{Frame, Samples};

/// The first 8 bytes of a SHA-256 over a frame's size and samples, written as 16 hexadecimal
/// digits.
///
/// It is one of the picture, not of its file: a picture that was written again without loss (PNG,
/// BMP, TIFF, another compression, grey as RGB, 8 bits as 16) has the same. Of 100,000 frames any
/// two share one with a probability of 3·10⁻¹⁰.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PictureDigest([u8; 8]);

/// Text that is no [`PictureDigest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a digest of 16 lower-case hexadecimal digits")]
pub struct NoDigest;

impl Frame {
    /// The digest of the picture: of its shortest form, which is grey where all channels are equal,
    /// and of 8 bits where no more are used.
    pub fn digest(&self) -> PictureDigest {
        let mut digest = [0; 8];
        digest.copy_from_slice(&self.hasher().finalize()[..8]);
        PictureDigest(digest)
    }

    /// The whole SHA-256 of which [`Frame::digest`] is the beginning, in lower-case hexadecimal: as
    /// evidence, where nobody may be able to make another picture with the same.
    pub fn sha256(&self) -> String {
        let digest = self.hasher().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn hasher(&self) -> Sha256 {
        let channels = self.format().channels();
        let step = match self.samples() {
            Samples::U8(samples) => shortest(samples, channels),
            Samples::U16(samples) => shortest(samples, channels),
        };
        let kept = channels / step;
        let mut hasher = Sha256::new();
        hasher.update(self.width().to_le_bytes());
        hasher.update(self.height().to_le_bytes());
        match self.samples() {
            Samples::U8(samples) => {
                hasher.update([kept as u8, 8]);
                match step {
                    1 => hasher.update(samples),
                    _ => hasher.update(every(samples, step, |sample| sample)),
                }
            }
            Samples::U16(samples) if samples.iter().all(|sample| sample % 257 == 0) => {
                hasher.update([kept as u8, 8]);
                hasher.update(every(samples, step, |sample| (sample / 257) as u8));
            }
            Samples::U16(samples) => {
                hasher.update([kept as u8, 16]);
                let bytes = every(samples, step, u16::to_le_bytes);
                hasher.update(bytes.as_flattened());
            }
        }
        hasher
    }
}

/// Which samples are enough: every one, or one of `channels` equal ones.
fn shortest<T: PartialEq>(samples: &[T], channels: usize) -> usize {
    let is_grey = |pixel: &[T]| pixel.iter().all(|sample| *sample == pixel[0]);
    match samples.chunks_exact(channels).all(is_grey) {
        true => channels,
        false => 1,
    }
}

fn every<T: Copy, U>(samples: &[T], step: usize, of: impl Fn(T) -> U) -> Vec<U> {
    samples
        .iter()
        .step_by(step)
        .map(|sample| of(*sample))
        .collect()
}

impl fmt::Display for PictureDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for PictureDigest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err(NoDigest);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| NoDigest)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    fn grey(samples: Vec<u8>) -> Frame {
        Frame::from_u8(2, 2, PixelFormat::Gray8, samples, "grey").unwrap()
    }

    #[test]
    fn one_picture_has_one_digest_in_every_form() {
        let samples = [7, 0, 255, 31];
        let digest = grey(samples.to_vec()).digest();
        let rgb: Vec<u8> = samples.iter().flat_map(|&sample| [sample; 3]).collect();
        let rgb = Frame::from_u8(2, 2, PixelFormat::Rgb8, rgb, "rgb").unwrap();
        assert_eq!(rgb.digest(), digest);
        let deep: Vec<u16> = samples.map(|sample| u16::from(sample) * 257).to_vec();
        let deep = Frame::from_u16(2, 2, PixelFormat::Gray16, deep, "deep").unwrap();
        assert_eq!(deep.digest(), digest);
        // sha256(struct.pack("<IIBB", 2, 2, 1, 8) + bytes([7, 0, 255, 31]))
        assert_eq!(digest.to_string(), "5df6031060529bbe");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(deep.sha256().starts_with(&digest.to_string()));
        assert_eq!(deep.sha256().len(), 64);
    }

    #[test]
    fn other_pictures_have_others() {
        let digest = grey(vec![7, 0, 255, 31]).digest();
        assert_ne!(grey(vec![7, 0, 255, 32]).digest(), digest);
        let narrow = Frame::from_u8(1, 4, PixelFormat::Gray8, vec![7, 0, 255, 31], "n").unwrap();
        assert_ne!(narrow.digest(), digest);
        let colour = vec![7, 0, 255, 31, 1, 2, 3, 4, 5, 6, 7, 8];
        let colour = Frame::from_u8(2, 2, PixelFormat::Rgb8, colour, "c").unwrap();
        let deep = |last: u16| {
            let samples = vec![7 * 257, 0, 65535, last];
            let frame = Frame::from_u16(2, 2, PixelFormat::Gray16, samples, "deep");
            frame.unwrap().digest()
        };
        assert_ne!(deep(31 * 257 + 1), digest);
        assert_ne!(deep(31 * 257 + 1), deep(31 * 257 + 2));
        assert_ne!(colour.digest(), digest);
        for text in [
            "",
            "0123456789abcde",
            "0123456789abcdeF",
            "+123456789abcdef",
        ] {
            assert_eq!(text.parse::<PictureDigest>(), Err(NoDigest), "{text}");
        }
    }
}
