//! What the training frames are like, and the input that follows from it: size of the tensor,
//! tiles, contrast, colour.

use anyhow::Result;
use edge_vae::{
    dataset::Sample,
    frame::{Frame, Samples},
    preprocess::{Colour, Contrast, Crop, PreprocessSettings, Preprocessor, Tiles},
};

use super::{params::PARAMS, shape::Aspects};

/// Readable frames among samples from the whole set.
fn some_of(samples: &[Sample]) -> impl Iterator<Item = Frame> {
    let stride = samples.len().div_ceil(PARAMS.surveyed).max(1);
    samples
        .iter()
        .step_by(stride)
        .filter_map(|sample| sample.frame().ok())
}

/// Size and proportions of frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FrameSizes {
    /// Width and height of the one in the middle, in pixels.
    median: [f64; 2],
    /// Width over height of all.
    pub(super) aspects: Aspects,
}

impl FrameSizes {
    /// Of some of `samples` within `crop`; `None` where none can be read.
    pub(super) fn of(samples: &[Sample], crop: Option<Crop>) -> Option<Self> {
        let size = |frame: Frame| {
            let (width, height) = (f64::from(frame.width()), f64::from(frame.height()));
            crop.map_or([width, height], |crop| {
                [
                    width * (crop.right - crop.left),
                    height * (crop.bottom - crop.top),
                ]
            })
        };
        Self::among(some_of(samples).map(size).collect())
    }

    /// Of frames of these widths and heights.
    fn among(mut sizes: Vec<[f64; 2]>) -> Option<Self> {
        sizes.sort_by(|a, b| a[0].min(a[1]).total_cmp(&b[0].min(b[1])));
        Some(Self {
            median: *sizes.get(sizes.len() / 2)?,
            aspects: Aspects::of(&sizes)?,
        })
    }

    /// Side of a square that has as many pixels, where the tensor has the frames' proportions; of
    /// frames that are squeezed into a square the shorter one.
    fn side(self) -> f64 {
        let [width, height] = self.median;
        match self.aspects.common() {
            Some(_) => (width * height).sqrt(),
            None => width.min(height),
        }
    }

    /// Whether they are so large that tiles of `side` pixels may show more, and none of their sides
    /// is so short that one tile would be higher or wider than the canvas.
    fn are_for_tiles(self, side: usize) -> bool {
        let [width, height] = self.median;
        let shorter = PARAMS.canvas_scale * width.min(height);
        self.side() > PARAMS.tiled_frames && shorter >= side as f64
    }

    /// Side of the square that has as many pixels as the tensor at most, for `count` such frames.
    pub(super) fn budget(self, count: usize, sizing: Sizing) -> usize {
        let large = sizing.usual.max(PARAMS.large_side);
        let bytes = count * sizing.channels * large * large * size_of::<f32>();
        let is_tiled = sizing.tiles && self.are_for_tiles(sizing.usual);
        let fits = bytes <= PARAMS.large_memory;
        let side = self.side();
        if side <= PARAMS.small_frames {
            PARAMS.small_side
        } else if side < PARAMS.large_frames || !sizing.enlarges || is_tiled || !fits {
            sizing.usual
        } else {
            large
        }
    }

    /// The canvas that is cut into tensors of `side` by `side` pixels; `None` where whole frames
    /// do.
    pub(super) fn tiles(self, side: usize) -> Option<Tiles> {
        if !self.are_for_tiles(side) {
            return None;
        }
        let canvas = self
            .median
            .map(|length| (PARAMS.canvas_scale * length).round() as usize);
        Tiles::fitting(canvas, [side; 2], PARAMS.overlap, PARAMS.most_tiles)
    }
}

/// What decides about the input resolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizing {
    /// Side of a square with as many pixels as the tensor for frames neither small nor large.
    pub usual: usize,
    /// Whether large frames have a larger one.
    pub enlarges: bool,
    /// Whether very large frames are cut into tiles of the usual side.
    pub tiles: bool,
    /// Channels of the tensor.
    pub channels: usize,
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

    fn all_of(size: [f64; 2]) -> FrameSizes {
        FrameSizes::among(vec![size; 3]).unwrap()
    }

    #[test]
    fn large_frames_are_cut_into_few_tiles() {
        for [width, height] in [[1536.0, 1536.0], [600.0, 3900.0], [508.0, 12000.0]] {
            assert_eq!(all_of([width, height]).tiles(256), None);
            assert_eq!(all_of([height, width]).tiles(256), None);
        }
        // Of other proportions than the rest.
        let mixed = FrameSizes::among(vec![[1500.0, 4000.0], [4000.0, 1500.0]]);
        assert_eq!(mixed.unwrap().tiles(256), None);
        for (size, side, canvas) in [
            ([1600.0, 1600.0], 256, Some([800, 800])),
            ([1700.0, 1900.0], 256, None),
            ([3840.0, 2160.0], 256, None),
            ([640.0, 4000.0], 256, None),
            ([8000.0, 8000.0], 128, None),
        ] {
            let tiles = all_of(size).tiles(side).expect("tiles");
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
            [28.0, 96.0, 97.0, 319.0, 320.0, 1500.0, 2000.0]
                .map(|side| all_of([side; 2]).budget(100, sizing))
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
            [1365, 1366].map(|count| all_of([400.0; 2]).budget(count, sizing)),
            [512, 256]
        );
        // Long frames are as large as a square of their pixels, unless they are squeezed into one.
        assert_eq!(all_of([200.0, 600.0]).budget(100, sizing), 512);
        assert_eq!(all_of([40.0, 200.0]).budget(100, sizing), 128);
        let mixed = FrameSizes::among(vec![[600.0, 200.0], [200.0, 600.0]]);
        assert_eq!(mixed.unwrap().budget(100, sizing), 256);
    }
}
