//! Frames to compare engines on, where there are no others: the golden frame and what light, a
//! camera and a defect make of it.

use crate::{
    Error,
    bundle::Bundle,
    frame::{Frame, FrameError, Samples},
    runtime::golden_frame,
};

/// Gains of the exposure.
const GAINS: [f32; 4] = [0.85, 0.95, 1.05, 1.15];

/// Shifts in hundredths of width and height.
const SHIFTS: [(i64, i64); 4] = [(2, 0), (0, 2), (-3, -1), (1, -3)];

/// Squares: place and side in hundredths of width and height, and grey level.
const SQUARES: [(i64, i64, i64, f32); 8] = [
    (20, 20, 2, 0.0),
    (60, 30, 4, 0.0),
    (35, 70, 8, 0.1),
    (70, 70, 15, 0.2),
    (30, 45, 2, 1.0),
    (75, 15, 4, 1.0),
    (15, 80, 8, 0.9),
    (45, 50, 15, 0.8),
];

/// The golden frame of a bundle and 18 variants: lighter and darker, shifted, noisy, mirrored, and
/// with dark and bright squares, of which a good model calls some anomalous. They stand in for
/// the calibration's frames, which a bundle does not hold: of those it has the scores alone.
///
/// # Errors
/// A golden frame that can't be decoded.
pub fn golden_variants(bundle: &Bundle) -> Result<Vec<Frame>, Error> {
    let golden = golden_frame(bundle)?;
    let picture = Picture::of(&golden);
    let [width, height] = [picture.width as i64, picture.height as i64];
    let mut frames = vec![golden.clone()];
    let mut add = |sample: &dyn Fn(i64, i64, usize) -> f32| -> Result<(), Error> {
        frames.push(picture.drawn(sample)?);
        Ok(())
    };
    for gain in GAINS {
        add(&|x, y, c| gain * picture.at(x, y, c))?;
    }
    for (dx, dy) in SHIFTS {
        let (dx, dy) = (dx * width / 100, dy * height / 100);
        add(&|x, y, c| picture.at(x + dx, y + dy, c))?;
    }
    add(&|x, y, c| picture.at(width - 1 - x, y, c))?;
    add(&|x, y, c| picture.at(x, y, c) + 0.02 * noise([x, y, c as i64]))?;
    for (left, top, side, level) in SQUARES {
        let inside = |at: i64, begin: i64, size: i64| {
            let begin = begin * size / 100;
            (begin..begin + (side * size / 100).max(1)).contains(&at)
        };
        add(
            &|x, y, c| match inside(x, left, width) && inside(y, top, height) {
                true => level,
                false => picture.at(x, y, c),
            },
        )?;
    }
    Ok(frames)
}

/// Samples from 0 to 1.
struct Picture<'a> {
    frame: &'a Frame,
    width: usize,
    height: usize,
    channels: usize,
    white: f32,
    samples: Vec<f32>,
}

impl<'a> Picture<'a> {
    fn of(frame: &'a Frame) -> Self {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let bits = match frame.samples() {
            Samples::U8(_) => 8,
            Samples::U16(_) => frame.bits().unwrap_or(16),
        };
        let white = ((1u32 << bits) - 1) as f32;
        let samples: Vec<f32> = match frame.samples() {
            Samples::U8(samples) => samples.iter().map(|&s| f32::from(s) / white).collect(),
            Samples::U16(samples) => samples.iter().map(|&s| f32::from(s) / white).collect(),
        };
        Self {
            frame,
            width,
            height,
            channels: samples.len() / (width * height).max(1),
            white,
            samples,
        }
    }

    /// The nearest sample.
    fn at(&self, x: i64, y: i64, channel: usize) -> f32 {
        let x = x.clamp(0, self.width as i64 - 1) as usize;
        let y = y.clamp(0, self.height as i64 - 1) as usize;
        self.samples[(y * self.width + x) * self.channels + channel]
    }

    /// A frame of the same format with other samples.
    fn drawn(&self, sample: &dyn Fn(i64, i64, usize) -> f32) -> Result<Frame, FrameError> {
        let mut values = Vec::with_capacity(self.samples.len());
        for y in 0..self.height as i64 {
            for x in 0..self.width as i64 {
                for channel in 0..self.channels {
                    let value = sample(x, y, channel).clamp(0.0, 1.0);
                    values.push((self.white * value).round());
                }
            }
        }
        let (frame, source) = (self.frame, "a variant of the golden frame");
        let (width, height, format) = (frame.width(), frame.height(), frame.format());
        match frame.samples() {
            Samples::U8(_) => {
                let samples = values.into_iter().map(|value| value as u8).collect();
                Frame::from_u8(width, height, format, samples, source)
            }
            Samples::U16(_) => {
                let samples = values.into_iter().map(|value| value as u16).collect();
                let mut drawn = Frame::from_u16(width, height, format, samples, source)?;
                if let Some(bits) = frame.bits() {
                    drawn.set_bits(bits)?;
                }
                Ok(drawn)
            }
        }
    }
}

/// From −1 to 1, the same for the same place.
fn noise(place: [i64; 3]) -> f32 {
    let mixed = place
        .iter()
        .fold(0x9e37_79b9_7f4a_7c15u64, |state, &value| {
            (state ^ value as u64)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                .rotate_left(29)
        });
    (mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}
