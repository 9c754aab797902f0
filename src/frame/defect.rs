//! Frames that carry no picture.

use std::fmt;

use super::{Frame, Samples};

/// Largest difference of two samples of a channel in a frame without a picture, as a fraction of
/// full range: beneath the read noise of 8-bit cameras, so that a scene, however dull, exceeds it.
const FLAT: f64 = 2.0 / 255.0;

/// Highest mean of a frame that is called black: 16 is the black level of 8-bit video
/// (ITU-R BT.601), which a covered camera delivers.
const BLACK: f64 = 16.0 / 255.0;

/// Lowest mean of a frame that is called saturated: 235 is the white level of 8-bit video
/// (ITU-R BT.601), at which a blinded camera clips.
const SATURATED: f64 = 235.0 / 255.0;

/// Why a frame carries no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameDefect {
    /// Nothing but black: covered lens, closed shutter, no light.
    Black,
    /// Nothing but white: over-exposed.
    Saturated,
    /// One colour all over.
    Uniform,
}

impl fmt::Display for FrameDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Black => "black",
            Self::Saturated => "saturated",
            Self::Uniform => "uniform",
        })
    }
}

pub(super) fn of(frame: &Frame) -> Option<FrameDefect> {
    let channels = frame.format().channels();
    let white = frame.format().white();
    let spread = (f64::from(white) * FLAT).round() as u16;
    let mean = match frame.samples() {
        Samples::U8(samples) => flat_mean(samples, channels, spread),
        Samples::U16(samples) => flat_mean(samples, channels, spread),
    }? / f64::from(white);
    Some(if mean <= BLACK {
        FrameDefect::Black
    } else if mean >= SATURATED {
        FrameDefect::Saturated
    } else {
        FrameDefect::Uniform
    })
}

/// Mean of all samples if no two of a channel differ by more than `spread`. Judgeable frames leave
/// after their first rows.
fn flat_mean<T: Copy + Into<u16>>(samples: &[T], channels: usize, spread: u16) -> Option<f64> {
    let mut low = [u16::MAX; 3];
    let mut high = [0; 3];
    let mut sum = 0_u64;
    for pixel in samples.chunks_exact(channels) {
        for (channel, &sample) in pixel.iter().enumerate() {
            let v: u16 = sample.into();
            low[channel] = low[channel].min(v);
            high[channel] = high[channel].max(v);
            if high[channel] - low[channel] > spread {
                return None;
            }
            sum += u64::from(v);
        }
    }
    Some(sum as f64 / samples.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{super::PixelFormat, *};

    fn grey(samples: Vec<u8>) -> Frame {
        let width = samples.len() as u32;
        Frame::from_u8(width, 1, PixelFormat::Gray8, samples, "test").unwrap()
    }

    #[test]
    fn flat_frames_are_named_by_their_mean() {
        assert_eq!(grey(vec![0; 50]).defect(), Some(FrameDefect::Black));
        assert_eq!(grey(vec![14, 16, 15]).defect(), Some(FrameDefect::Black));
        assert_eq!(grey(vec![255; 50]).defect(), Some(FrameDefect::Saturated));
        assert_eq!(grey(vec![120, 122]).defect(), Some(FrameDefect::Uniform));
        assert_eq!(grey(vec![120, 123]).defect(), None);
    }

    #[test]
    fn a_digit_on_black_is_a_picture() {
        let mut samples = vec![0; 784];
        samples[400] = 255;
        assert_eq!(grey(samples).defect(), None);
    }

    #[test]
    fn channels_are_judged_one_by_one() {
        let rgb = |samples: Vec<u8>| {
            Frame::from_u8(2, 1, PixelFormat::Rgb8, samples, "test")
                .unwrap()
                .defect()
        };
        assert_eq!(
            rgb(vec![200, 10, 10, 201, 10, 11]),
            Some(FrameDefect::Uniform)
        );
        assert_eq!(rgb(vec![200, 10, 10, 200, 90, 10]), None);
    }

    #[test]
    fn sixteen_bits_have_the_same_limits() {
        let frame = |low: u16, high: u16| {
            Frame::from_u16(2, 1, PixelFormat::Gray16, vec![low, high], "test")
                .unwrap()
                .defect()
        };
        assert_eq!(frame(30000, 30514), Some(FrameDefect::Uniform));
        assert_eq!(frame(30000, 30515), None);
        assert_eq!(frame(0, 514), Some(FrameDefect::Black));
    }
}
