//! The prepared training frames in memory.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use edge_vae::{
    dataset::{Sample, read_frames},
    frame::{Frame, Samples},
    preprocess::{
        CanvasLayout, Colour, Contrast, Crop, Interior, Normalise, PreprocessSettings,
        Preprocessor, Tiles,
    },
};
use sha2::{Digest, Sha256};

/// Most bytes that the prepared frames may take.
const MEMORY: usize = 8 << 30;

/// Prepared frames, C×H×W of the canvas each.
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
    /// Tiles and mask of the frames.
    pub layout: CanvasLayout,
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
    mask: Option<&[u8]>,
    interrupted: &AtomicBool,
) -> Result<Loaded<'a>> {
    let shape = settings.canvas_shape();
    let length: usize = shape.iter().product();
    let needed = samples.len() * length * size_of::<f32>();
    if needed > MEMORY {
        bail!(
            "{} frames of {shape:?} need {:.1} GiB of memory, more than {} GiB: give fewer frames, --colour grey, --tiles off, or a smaller --preset",
            samples.len(),
            needed as f64 / (1_u64 << 30) as f64,
            MEMORY >> 30
        );
    }
    let plain = PreprocessSettings {
        normalise: Normalise::identity(settings.channels()),
        ..settings.clone()
    };
    let mut preprocessor = Preprocessor::with_mask(plain, mask)?;
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
            preprocessor.prepare_canvas(&frame)?;
            values.extend_from_slice(preprocessor.canvas());
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
        layout: preprocessor.canvas_layout().clone(),
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

/// Side of the tensor for small frames, and the shorter side of frames, in pixels, above which they
/// are not small. Enlarging adds no details, but brings those that there are to the size that the
/// shipped backbone knows: frames of 128 pixels are told better at 256.
const SMALL_SIDE: usize = 128;
const SMALL_FRAMES: f64 = 96.0;

/// Width and height of some of `samples` within `crop`, in pixels, each by its shorter side.
fn sizes_of(samples: &[Sample], crop: Option<Crop>) -> Vec<[f64; 2]> {
    let mut sizes: Vec<[f64; 2]> = some_of(samples)
        .map(|frame| {
            let (width, height) = (f64::from(frame.width()), f64::from(frame.height()));
            crop.map_or([width, height], |crop| {
                [
                    width * (crop.right - crop.left),
                    height * (crop.bottom - crop.top),
                ]
            })
        })
        .collect();
    sizes.sort_by(|a, b| a[0].min(a[1]).total_cmp(&b[0].min(b[1])));
    sizes
}

/// Shorter side of frames, in pixels, from which on details are lost at the usual side; the side at
/// which they are worked on in its place where a second network's features judge them; and most bytes
/// that all frames may take at it.
const LARGE_FRAMES: f64 = 320.0;
const LARGE_SIDE: usize = 512;
const LARGE_MEMORY: usize = MEMORY / 2;

/// What decides at which size frames are worked on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizing {
    /// Side of the tensor for frames neither small nor large.
    pub usual: usize,
    /// Whether large frames are worked on at a larger side.
    pub enlarges: bool,
    /// Whether very large frames are cut into tiles of the usual side.
    pub tiles: bool,
    /// Channels of the tensor.
    pub channels: usize,
}

/// Side of the tensor for frames as large as the median of some of `samples` within `crop`.
pub(super) fn side_of(samples: &[Sample], crop: Option<Crop>, sizing: Sizing) -> usize {
    let sizes = sizes_of(samples, crop);
    match sizes.get(sizes.len() / 2) {
        Some(&[width, height]) => side_for(width.min(height), samples.len(), sizing),
        None => SMALL_SIDE,
    }
}

/// The same for `count` frames whose shorter side has `side` pixels.
fn side_for(side: f64, count: usize, sizing: Sizing) -> usize {
    let large = sizing.usual.max(LARGE_SIDE);
    let bytes = count * sizing.channels * large * large * size_of::<f32>();
    let is_tiled = side > TILED_FRAMES && sizing.tiles;
    if side <= SMALL_FRAMES {
        SMALL_SIDE
    } else if side < LARGE_FRAMES || !sizing.enlarges || is_tiled || bytes > LARGE_MEMORY {
        sizing.usual
    } else {
        large
    }
}

/// Shorter side of frames, in pixels, above which they are cut into tiles; the factor to their
/// canvas; and the most tiles, for the sake of the time that a frame takes.
const TILED_FRAMES: f64 = 1536.0;
const CANVAS_SCALE: f64 = 0.5;
const MOST_TILES: usize = 16;

/// Least overlap of neighbouring tiles, as a fraction of their side.
pub(super) const OVERLAP: f32 = 0.25;

/// The canvas for frames as large as the median of some of `samples` within `crop`, cut into
/// tensors of `side` pixels; `None` where whole frames do.
pub(super) fn tiles_of(samples: &[Sample], crop: Option<Crop>, side: usize) -> Option<Tiles> {
    let sizes = sizes_of(samples, crop);
    tiles_for(*sizes.get(sizes.len() / 2)?, side)
}

/// The same for frames of this width and height.
fn tiles_for([width, height]: [f64; 2], side: usize) -> Option<Tiles> {
    if width.min(height) <= TILED_FRAMES {
        return None;
    }
    let canvas = [width, height].map(|length| (CANVAS_SCALE * length).round() as usize);
    Tiles::fitting(canvas, [side; 2], OVERLAP, MOST_TILES)
}

/// The least local contrast, as a fraction of full scale, that is worth bringing frames to: below
/// is the rounding of 8 bits.
const LEAST_CONTRAST: f32 = 0.5 / 255.0;

/// The local contrast that frames are brought to, the median of that of some of `samples`; `None`
/// where they hardly have any.
///
/// # Errors
/// Settings that are impossible.
pub(super) fn contrast_of(
    samples: &[Sample],
    settings: &PreprocessSettings,
    mask: Option<&[u8]>,
) -> Result<Option<Contrast>> {
    let mut preprocessor = Preprocessor::with_mask(settings.clone(), mask)?;
    let mut found: Vec<f32> = some_of(samples)
        .filter_map(|frame| preprocessor.measure(&frame).ok()?.contrast)
        .collect();
    found.sort_by(f32::total_cmp);
    Ok(found
        .get(found.len() / 2)
        .filter(|&&median| median >= LEAST_CONTRAST)
        .map(|&median| Contrast {
            target: median.min(0.2),
        }))
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

    /// Mean and standard deviation of each channel over the pixels of the frames `indices` that
    /// count, without `interior` over all; the deviation is at least [`LEAST_DEVIATION`], so that
    /// noise in an all but empty channel is not blown up.
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
            std.push((variance.sqrt() as f32).max(LEAST_DEVIATION));
        }
        Normalise { mean, std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_frames_are_cut_into_few_tiles() {
        assert_eq!(tiles_for([1536.0, 4000.0], 256), None);
        for (size, side, canvas) in [
            ([1600.0, 1600.0], 256, Some([800, 800])),
            ([1700.0, 1900.0], 256, None),
            ([3840.0, 2160.0], 256, None),
            ([8000.0, 8000.0], 128, None),
        ] {
            let tiles = tiles_for(size, side).expect("tiles");
            let settings = PreprocessSettings {
                tiles: Some(tiles),
                ..PreprocessSettings::new(side, side, Colour::Grey)
            };
            let preprocessor = Preprocessor::new(settings).expect("settings");
            let count = preprocessor.layout().count();
            assert!((2..=MOST_TILES).contains(&count), "{size:?}: {count}");
            let [width, height] = [tiles.width, tiles.height].map(|side| side as f64);
            assert!(width <= size[0] / 2.0 && height <= size[1] / 2.0);
            assert!(
                (width / height - size[0] / size[1]).abs() < 0.1,
                "{tiles:?}"
            );
            if let Some(canvas) = canvas {
                assert_eq!([tiles.width, tiles.height], canvas);
            }
        }
    }

    #[test]
    fn sides_by_the_size_of_frames() {
        let sizing = Sizing {
            usual: 256,
            enlarges: true,
            tiles: true,
            channels: 3,
        };
        let sides = |sizing: Sizing| {
            [28.0, 96.0, 97.0, 319.0, 320.0, 1500.0, 2000.0].map(|side| side_for(side, 100, sizing))
        };
        assert_eq!(sides(sizing), [128, 128, 256, 256, 512, 512, 256]);
        let whole = Sizing {
            tiles: false,
            ..sizing
        };
        assert_eq!(sides(whole), [128, 128, 256, 256, 512, 512, 512]);
        let own = Sizing {
            enlarges: false,
            ..sizing
        };
        assert_eq!(sides(own), [128, 128, 256, 256, 256, 256, 256]);
        // 3 MiB each at 512 pixels: 1365 are 4 GiB.
        assert_eq!(
            [1365, 1366].map(|count| side_for(400.0, count, sizing)),
            [512, 256]
        );
    }

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
