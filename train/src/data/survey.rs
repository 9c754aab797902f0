//! What the training frames are like, and the input that follows from it: side of the tensor,
//! tiles, contrast, colour.

use anyhow::Result;
use edge_vae::{
    dataset::Sample,
    frame::{Frame, Samples},
    preprocess::{Colour, Contrast, Crop, PreprocessSettings, Preprocessor, Tiles},
};

use super::params::PARAMS;

/// Readable frames among samples from the whole set.
fn some_of(samples: &[Sample]) -> impl Iterator<Item = Frame> {
    let stride = samples.len().div_ceil(PARAMS.surveyed).max(1);
    samples
        .iter()
        .step_by(stride)
        .filter_map(|sample| sample.frame().ok())
}

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

/// What decides about the input resolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizing {
    /// Side of the tensor for frames neither small nor large.
    pub usual: usize,
    /// Whether large frames have a larger side.
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
        None => PARAMS.small_side,
    }
}

/// The same for `count` frames whose shorter side has `side` pixels.
fn side_for(side: f64, count: usize, sizing: Sizing) -> usize {
    let large = sizing.usual.max(PARAMS.large_side);
    let bytes = count * sizing.channels * large * large * size_of::<f32>();
    let is_tiled = side > PARAMS.tiled_frames && sizing.tiles;
    let fits = bytes <= PARAMS.large_memory;
    if side <= PARAMS.small_frames {
        PARAMS.small_side
    } else if side < PARAMS.large_frames || !sizing.enlarges || is_tiled || !fits {
        sizing.usual
    } else {
        large
    }
}

/// The canvas for frames as large as the median of some of `samples` within `crop`, cut into
/// tensors of `side` pixels; `None` where whole frames do.
pub(super) fn tiles_of(samples: &[Sample], crop: Option<Crop>, side: usize) -> Option<Tiles> {
    let sizes = sizes_of(samples, crop);
    tiles_for(*sizes.get(sizes.len() / 2)?, side)
}

/// The same for frames of this width and height.
fn tiles_for([width, height]: [f64; 2], side: usize) -> Option<Tiles> {
    if width.min(height) <= PARAMS.tiled_frames {
        return None;
    }
    let canvas = [width, height].map(|length| (PARAMS.canvas_scale * length).round() as usize);
    Tiles::fitting(canvas, [side; 2], PARAMS.overlap, PARAMS.most_tiles)
}

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
        .filter(|&&median| median >= PARAMS.least_contrast)
        .map(|&median| Contrast {
            target: median.min(PARAMS.most_contrast),
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
            assert!(
                (2..=PARAMS.most_tiles).contains(&count),
                "{size:?}: {count}"
            );
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
