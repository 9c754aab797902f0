//! What the training frames are like, and the input that follows from it: side of the tensor, tiles,
//! contrast, colour.

use anyhow::Result;
use edge_vae::{
    dataset::Sample,
    frame::{Frame, Samples},
    preprocess::{Colour, Contrast, Crop, PreprocessSettings, Preprocessor, Tiles},
};

use super::frames::MEMORY;

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
}
