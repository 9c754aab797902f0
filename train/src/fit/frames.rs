//! The prepared training frames in memory.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use edge_vae::{
    dataset::{Sample, read_frames},
    frame::{Frame, Samples},
    preprocess::{Colour, Crop, Normalise, PreprocessSettings, Preprocessor},
};
use sha2::{Digest, Sha256};

/// Most bytes that the prepared frames may take.
const MEMORY: usize = 8 << 30;

/// Prepared frames, C×H×W each.
#[derive(Clone, Debug)]
pub struct Frames {
    shape: [usize; 3],
    values: Vec<f32>,
}

/// Prepared frames and where they came from.
#[derive(Debug)]
pub(super) struct Loaded<'a> {
    /// In [0, 1] until [`Frames::normalise`].
    pub frames: Frames,
    /// The sample of each frame.
    pub samples: Vec<&'a Sample>,
    /// SHA-256 of all values: tells whether a resumed run sees the same frames.
    pub digest: String,
}

/// Reads and prepares `samples`; unreadable and empty (black, saturated, uniform) ones are named
/// on the standard error and left out.
///
/// # Errors
/// More than a tenth unreadable, too few or too many frames.
pub(super) fn load<'a>(
    samples: &'a [Sample],
    settings: &PreprocessSettings,
    interrupted: &AtomicBool,
) -> Result<Loaded<'a>> {
    let shape = settings.shape();
    let length: usize = shape.iter().product();
    let needed = samples.len() * length * size_of::<f32>();
    if needed > MEMORY {
        bail!(
            "{} frames of {shape:?} need {:.1} GiB of memory, more than {} GiB: give fewer frames, --colour grey, or a smaller --preset",
            samples.len(),
            needed as f64 / (1_u64 << 30) as f64,
            MEMORY >> 30
        );
    }
    let mut preprocessor = Preprocessor::new(PreprocessSettings {
        normalise: Normalise::identity(settings.channels()),
        ..settings.clone()
    })?;
    let mut values = Vec::with_capacity(samples.len() * length);
    let mut kept = Vec::with_capacity(samples.len());
    let mut empty = 0;
    let summary = read_frames(
        samples,
        |_, sample, frame| -> Result<(), anyhow::Error> {
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted while reading: nothing was trained");
            }
            if let Some(defect) = frame.defect() {
                eprintln!("{}: left out: {defect}", sample.name());
                empty += 1;
                return Ok(());
            }
            let start = values.len();
            values.resize(start + length, 0.0);
            preprocessor.prepare(&frame, &mut values[start..])?;
            kept.push(sample);
            Ok(())
        },
        |_, error| eprintln!("left out: {error}"),
    )?;
    if summary.skipped + empty > 0 {
        eprintln!(
            "{} of {} frames left out: {} unreadable, {empty} without a picture",
            summary.skipped + empty,
            samples.len(),
            summary.skipped
        );
    }
    if kept.len() < LEAST {
        bail!(
            "{} usable training frames found, at least {LEAST} are needed",
            kept.len()
        );
    }
    let mut hasher = Sha256::new();
    for frame in values.chunks_exact(length) {
        let bytes: Vec<u8> = frame.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(bytes);
    }
    let digest = hasher.finalize();
    Ok(Loaded {
        frames: Frames::new(shape, values),
        samples: kept,
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Fewest frames that can be split into three parts of which each is of some use.
const LEAST: usize = 8;

/// Least standard deviation of a channel, of full scale.
const LEAST_DEVIATION: f32 = 0.01;

/// Samples looked at to find out what frames are like.
const LOOKED_AT: usize = 16;

/// Readable frames among samples from the whole set.
fn some_of(samples: &[Sample]) -> impl Iterator<Item = Frame> {
    let stride = samples.len().div_ceil(LOOKED_AT).max(1);
    samples
        .iter()
        .step_by(stride)
        .filter_map(|sample| sample.frame().ok())
}

/// Sides of the tensor to choose from, and the shorter side of frames, in pixels, above which
/// the larger pays: what enlarging adds are no details.
const SIDES: [usize; 2] = [128, 256];
const LARGE_FRAMES: f64 = 160.0;

/// Side of the tensor for frames as large as the median of some of `samples` within `crop`.
pub(super) fn side_of(samples: &[Sample], crop: Option<Crop>) -> usize {
    let mut sides: Vec<f64> = some_of(samples)
        .map(|frame| {
            let (width, height) = (f64::from(frame.width()), f64::from(frame.height()));
            match crop {
                Some(crop) => {
                    (width * (crop.right - crop.left)).min(height * (crop.bottom - crop.top))
                }
                None => width.min(height),
            }
        })
        .collect();
    sides.sort_by(f64::total_cmp);
    match sides.get(sides.len() / 2) {
        Some(&median) if median > LARGE_FRAMES => SIDES[1],
        _ => SIDES[0],
    }
}

/// Grey, unless one of the readable frames among samples from the whole set has a colour.
pub(super) fn colour_of(samples: &[Sample]) -> Colour {
    if some_of(samples).any(|frame| is_coloured(&frame)) {
        Colour::Rgb
    } else {
        Colour::Grey
    }
}

/// Whether more than one pixel in a thousand has channels that differ by more than 8/255: the
/// noise of a grey picture saved as a colour JPEG stays below.
fn is_coloured(frame: &Frame) -> bool {
    fn count<T: Copy + Into<u32>>(samples: &[T], tolerance: u32) -> usize {
        let differs = |pixel: &[T]| {
            let values = [pixel[0].into(), pixel[1].into(), pixel[2].into()];
            values
                .iter()
                .max()
                .zip(values.iter().min())
                .is_some_and(|(a, b)| a - b > tolerance)
        };
        samples
            .chunks_exact(3)
            .filter(|pixel| differs(pixel))
            .count()
    }
    if frame.format().channels() == 1 {
        return false;
    }
    let coloured = match frame.samples() {
        Samples::U8(samples) => count(samples, 8),
        Samples::U16(samples) => count(samples, 8 * 257),
    };
    coloured * 1000 > frame.width() as usize * frame.height() as usize
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

    /// Mean and standard deviation of each channel over the frames `indices`; the deviation is at
    /// least [`LEAST_DEVIATION`], so that noise in an all but empty channel is not blown up.
    pub fn normalisation(&self, indices: &[usize]) -> Normalise {
        let [channels, height, width] = self.shape;
        let (mut mean, mut std) = (Vec::new(), Vec::new());
        for c in 0..channels {
            let plane = |i: usize| {
                self.get(i)[c * height * width..(c + 1) * height * width]
                    .iter()
                    .map(|&v| f64::from(v))
            };
            let count = (indices.len() * height * width) as f64;
            let m = indices.iter().flat_map(|&i| plane(i)).sum::<f64>() / count;
            let variance = indices
                .iter()
                .flat_map(|&i| plane(i))
                .map(|v| (v - m) * (v - m))
                .sum::<f64>()
                / count;
            mean.push(m as f32);
            std.push((variance.sqrt() as f32).max(LEAST_DEVIATION));
        }
        Normalise { mean, std }
    }
}
