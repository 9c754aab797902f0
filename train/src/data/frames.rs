//! The prepared training frames in memory.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use edge_vae::{
    bundle::TrainingFrames,
    dataset::{Sample, read_frames},
    preprocess::{CanvasLayout, Interior, Normalise, PreprocessSettings, Preprocessor},
};
use sha2::{Digest, Sha256};

use super::params::PARAMS;
use crate::reporter::Reporter;

/// Prepared frames, C×H×W of the canvas each.
#[derive(Clone, Debug)]
pub struct Frames {
    shape: [usize; 3],
    values: Vec<f32>,
}

/// Prepared frames and where they came from.
#[derive(Debug)]
pub struct Loaded<'a> {
    /// In [0, 1] until [`Frames::normalise`].
    pub frames: Frames,
    /// Tiles and mask of the frames.
    pub layout: CanvasLayout,
    /// The sample of each frame.
    pub samples: Vec<&'a Sample>,
    /// Digests of their pictures, as they were decoded.
    pub pictures: TrainingFrames,
    /// SHA-256 of all values: tells whether a resumed run sees the same frames.
    pub digest: String,
}

/// Reads and prepares `samples`; unreadable and empty (black, saturated, uniform) ones are named
/// on the standard error and left out.
///
/// # Errors
/// More than a tenth unreadable, none that is left, or too many.
pub fn load<'a>(
    samples: &'a [Sample],
    settings: &PreprocessSettings,
    mask: Option<&[u8]>,
    interrupted: &AtomicBool,
    reporter: &Reporter,
) -> Result<Loaded<'a>> {
    let shape = settings.canvas_shape();
    let length: usize = shape.iter().product();
    let needed = samples.len() * length * size_of::<f32>();
    if needed > PARAMS.memory {
        bail!(
            "{} frames of {shape:?} need {:.1} GiB of memory, more than {} GiB: give fewer frames, \
             --colour grey, --tiles off, or a smaller --preset",
            samples.len(),
            needed as f64 / (1_u64 << 30) as f64,
            PARAMS.memory >> 30
        );
    }
    let plain = PreprocessSettings {
        normalise: Normalise::identity(settings.channels()),
        ..settings.clone()
    };
    let mut preprocessor = Preprocessor::with_mask(plain, mask)?;
    let mut values = Vec::with_capacity(samples.len() * length);
    let mut kept = Vec::with_capacity(samples.len());
    let mut pictures = TrainingFrames::default();
    let mut empty = 0;
    // Of the deepest frame, as long as none uses all of its bits.
    let mut seeming_bits = Some(0);
    let summary = read_frames(
        samples,
        |_, sample, frame| -> Result<(), anyhow::Error> {
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted while reading: nothing was trained");
            }
            seeming_bits = seeming_bits
                .zip(frame.seeming_bits())
                .map(|(deepest, bits)| bits.max(deepest));
            if let Some(problem) = frame.problem() {
                reporter.line(format_args!("{}: left out: {problem}", sample.name()));
                empty += 1;
                return Ok(());
            }
            preprocessor.prepare_canvas(&frame)?;
            values.extend_from_slice(preprocessor.canvas());
            pictures.insert(frame.digest());
            kept.push(sample);
            Ok(())
        },
        |_, error| reporter.line(format_args!("left out: {error}")),
    )?;
    if summary.skipped + empty > 0 {
        reporter.line(format_args!(
            "{} of {} frames left out: {} unreadable, {empty} without a picture",
            summary.skipped + empty,
            samples.len(),
            summary.skipped
        ));
    }
    if let Some(bits @ 1..) = seeming_bits {
        reporter.line(format_args!(
            "values of all frames only reach {} of 65535: are they of {bits} bits? train with \
             --bits {bits}",
            (1_u32 << bits) - 1
        ));
    }
    if kept.is_empty() {
        bail!("no usable training frame among {}", samples.len());
    }
    let mut hasher = Sha256::new();
    for frame in values.chunks_exact(length) {
        let bytes: Vec<u8> = frame.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(bytes);
    }
    let digest = hasher.finalize();
    Ok(Loaded {
        frames: Frames::new(shape, values),
        layout: preprocessor.canvas_layout().clone(),
        samples: kept,
        pictures,
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

impl Frames {
    /// Frames of `shape` (C×H×W), one after the other.
    pub fn new(shape: [usize; 3], values: Vec<f32>) -> Self {
        Self { shape, values }
    }

    /// Shape of one frame: C×H×W.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Values of one frame.
    pub fn get(&self, index: usize) -> &[f32] {
        let length = self.length();
        &self.values[index * length..(index + 1) * length]
    }

    /// Number of frames.
    pub fn count(&self) -> usize {
        self.values.len() / self.length()
    }

    /// Applies `normalise` to each frame, as preprocessing does at run time.
    pub fn normalise(&mut self, normalise: &Normalise) {
        let length = self.length();
        for frame in self.values.chunks_exact_mut(length) {
            normalise.apply(frame);
        }
    }

    fn length(&self) -> usize {
        self.shape.iter().product()
    }

    /// Mean and standard deviation of each channel over the pixels of the frames `indices` that
    /// count, without `interior` over all; the deviation is at least a hundredth.
    pub fn normalisation(&self, indices: &[usize], interior: Option<&Interior>) -> Normalise {
        let [channels, height, width] = self.shape;
        let (mut mean, mut std) = (Vec::new(), Vec::new());
        for c in 0..channels {
            let counts = |pixel: usize| interior.is_none_or(|inside| inside.cells()[pixel]);
            let plane = |i: usize| {
                self.get(i)[c * height * width..(c + 1) * height * width]
                    .iter()
                    .enumerate()
                    .filter(move |(pixel, _)| counts(*pixel))
                    .map(|(_, &v)| f64::from(v))
            };
            let pixels = interior.map_or(height * width, Interior::count);
            let count = (indices.len() * pixels) as f64;
            let m = indices.iter().flat_map(|&i| plane(i)).sum::<f64>() / count;
            let variance = indices
                .iter()
                .flat_map(|&i| plane(i))
                .map(|v| (v - m) * (v - m))
                .sum::<f64>()
                / count;
            mean.push(m as f32);
            std.push((variance.sqrt() as f32).max(PARAMS.least_deviation));
        }
        Normalise { mean, std }
    }
}

#[cfg(test)]
mod tests {
    use edge_vae::preprocess::Colour;

    use super::*;

    #[test]
    fn normalisation_is_that_of_what_counts() {
        let frames = Frames::new([1, 1, 3], vec![1.0, 3.0, 100.0, 5.0, 7.0, 100.0]);
        let settings = PreprocessSettings {
            mask: Some("mask.png".to_owned()),
            ..PreprocessSettings::new(3, 1, Colour::Grey)
        };
        let mut png = std::io::Cursor::new(Vec::new());
        image::GrayImage::from_vec(3, 1, vec![255, 255, 0])
            .expect("a picture")
            .write_to(&mut png, image::ImageFormat::Png)
            .expect("a PNG");
        let preprocessor = Preprocessor::with_mask(settings, Some(png.get_ref())).expect("a mask");
        let interior = preprocessor.canvas_layout().interior([1, 3]);
        let found = frames.normalisation(&[0, 1], interior.as_ref());
        // 1, 3, 5, 7: mean 4, variance 5.
        assert_eq!(found.mean, [4.0]);
        assert!((found.std[0] - 5.0_f32.sqrt()).abs() < 1e-6);
    }
}
