//! From options and frames to the shapes of the model and its preprocessing.

use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_vae::{
    dataset::{Dataset, DatasetOptions},
    frame::DecodeOptions,
    preprocess::{Exposure, Mask, PreprocessSettings, Tiles},
    read_bounded,
    vae::VaeSpec,
};

use super::{
    exclude::exclude,
    params::PARAMS,
    shape::{self, Aspects},
    survey::{self, FrameSizes, Sizing},
};
use crate::{
    options::{FitOptions, FitOverrides, LatentChoice, Preset, Size, TileChoice},
    reporter::Reporter,
};

/// File of the bundle with the region of interest.
pub const MASK: &str = "mask.png";

/// Opens the data set at `path` as `overrides` say, and where they leave it open the options of an
/// earlier run, without the frames that are to be excluded.
///
/// # Errors
/// No data set; a list of frames to exclude that names others.
pub fn open(
    path: &Path,
    overrides: &FitOverrides,
    earlier: Option<&FitOptions>,
    reporter: &Reporter,
) -> Result<Dataset> {
    let usual = DecodeOptions::default();
    let bits = overrides.bits.or(earlier.and_then(|earlier| earlier.bits));
    let max_pixels = overrides.max_pixels;
    let max_pixels = max_pixels.or(earlier.and_then(|earlier| earlier.max_pixels));
    let options = DatasetOptions {
        class: overrides
            .class
            .or(earlier.and_then(|earlier| earlier.class)),
        decode: DecodeOptions {
            bits,
            max_pixels: max_pixels.unwrap_or(usual.max_pixels),
            ..usual
        }
        .with_room(),
    };
    let mut dataset = Dataset::open(path, &options)?;
    let list = overrides.exclude.as_ref();
    if let Some(list) = list.or(earlier.and_then(|earlier| earlier.exclude.as_ref())) {
        let all = dataset.train.len();
        let excluded = exclude(&mut dataset, list)?;
        reporter.line(format_args!(
            "{excluded} of {all} frames are excluded by {}",
            list.display()
        ));
    }
    Ok(dataset)
}

/// The network for frames as large as the first readable one, unless the user names another.
pub fn usual_preset(dataset: &Dataset) -> Preset {
    let first = dataset.train.iter().find_map(|sample| sample.frame().ok());
    match first {
        Some(frame) if frame.width().max(frame.height()) <= PARAMS.digit_side => Preset::Small28,
        _ => Preset::Edge,
    }
}

/// The mask's file, which is one for the crop of `options`.
///
/// # Errors
/// No file, and one that is no mask.
pub fn read_mask(options: &FitOptions) -> Result<Option<Vec<u8>>> {
    let Some(path) = &options.mask else {
        return Ok(None);
    };
    let name = path.display().to_string();
    let bytes = read_bounded(path, DecodeOptions::default().max_file_bytes)
        .with_context(|| format!("--mask {name}: cannot read"))?;
    Mask::from_png(&bytes, &name, options.crop)?;
    Ok(Some(bytes))
}

/// What a model is given.
#[derive(Clone, Debug)]
pub struct Input {
    /// Shapes of the model.
    pub spec: VaeSpec,
    /// From frame to tensor; values in [0, 1] until a normalisation is known.
    pub preprocess: PreprocessSettings,
    /// How large the tensor was to be, which no longer is [`Size::Auto`].
    pub size: Size,
    /// Least and largest width over height of the frames, where these differ so much that all are
    /// squeezed into one square.
    pub squeezed: Option<[f64; 2]>,
}

/// The input of a run with `options` and the mask's PNG, as the training frames ask for it where
/// the options leave it open.
///
/// # Errors
/// Tiles that the network can't be trained for; frames whose contrast can't be measured.
pub fn input(dataset: &Dataset, options: &FitOptions, mask: Option<&[u8]>) -> Result<Input> {
    let colour = match options.colour {
        Some(colour) => colour,
        None => survey::colour_of(&dataset.train),
    };
    let preset = options.preset;
    let exact = match (preset.fixed_side(), options.size) {
        (Some(side), _) => Some([side; 2]),
        (None, Size::Exact { width, height }) => Some([height, width]),
        (None, Size::Auto | Size::Budget(_)) => None,
    };
    let frames = FrameSizes::of(&dataset.train, options.crop);
    let budget = match (options.size, frames) {
        (Size::Budget(side), _) => side,
        (_, Some(frames)) => frames.budget(
            dataset.train.len(),
            Sizing {
                usual: preset.usual_side(),
                enlarges: options.backbone.is_some(),
                tiles: options.tiles == TileChoice::Auto,
                channels: colour.channels(),
            },
        ),
        (_, None) => PARAMS.small_side,
    };
    let tiles = match (options.tiles, crop(options)) {
        (TileChoice::Auto, Some(_)) if exact.is_none() => frames.and_then(|f| f.tiles(budget)),
        (TileChoice::Auto | TileChoice::Off, _) => None,
        (TileChoice::Canvas { width, height }, Some(_)) => Some(Tiles {
            width,
            height,
            overlap: PARAMS.overlap,
        }),
        (TileChoice::Canvas { .. }, None) => bail!(
            "--tiles: this network sees whole frames only: give --preset edge, balanced or best \
             and a map of latents"
        ),
    };
    // A tile is a part of the canvas, which has the frames' proportions itself.
    let aspects = frames
        .map(|f| f.aspects)
        .filter(|_| exact.is_none() && tiles.is_none());
    let aspect = aspects.and_then(Aspects::common);
    let usual = || aspect.map_or([budget; 2], |aspect| shape::fitting(budget, aspect));
    let tensor = exact.unwrap_or_else(usual);
    let (likelihood, latent) = (options.likelihood, options.latent);
    let spec = preset.spec(tensor, colour.channels(), likelihood, latent);
    let mut preprocess = PreprocessSettings {
        tiles,
        mask: mask.is_some().then(|| MASK.to_owned()),
        crop: options.crop,
        bits: options.bits,
        max_pixels: options.max_pixels,
        denoise: options.denoise,
        filter: options.filter,
        ..PreprocessSettings::new(spec.width, spec.height, colour)
    };
    if options.exposure {
        preprocess.exposure = Some(Exposure::default());
    }
    if options.contrast {
        preprocess.contrast = survey::contrast_of(&dataset.train, &preprocess, mask)?;
    }
    Ok(Input {
        spec,
        preprocess,
        size: match exact {
            Some([height, width]) => Size::Exact { width, height },
            None => Size::Budget(budget),
        },
        squeezed: aspects
            .filter(|_| aspect.is_none())
            .map(|aspects| aspects.range),
    })
}

/// Side of the crops that are trained on; none for a vector latent, which is made of the whole
/// frame, as the digits' is.
pub fn crop(options: &FitOptions) -> Option<usize> {
    let of_whole = matches!(options.latent, Some(LatentChoice::Vector(_)));
    let convolutional = options.preset.fixed_side().is_none() && !of_whole;
    convolutional.then_some(PARAMS.crop)
}

#[cfg(test)]
mod tests {
    use edge_vae::preprocess::Crop;

    use super::*;

    /// The input of grey frames of these widths and heights.
    fn of(sizes: &[[u32; 2]], change: &dyn Fn(&mut FitOptions)) -> Result<Input> {
        let room = tempfile::tempdir().unwrap();
        for (number, &[width, height]) in sizes.iter().enumerate() {
            let path = room.path().join(format!("{number}.png"));
            let picture = image::GrayImage::from_fn(width, height, |x, y| {
                image::Luma([(x * 7 + y * 3 + number as u32) as u8])
            });
            picture.save(path).unwrap();
        }
        let dataset = Dataset::open(room.path(), &DatasetOptions::default()).unwrap();
        let mut options = FitOptions::defaults(Preset::Edge);
        change(&mut options);
        input(&dataset, &options, None)
    }

    /// Height and width of the tensor.
    fn tensor(sizes: &[[u32; 2]], change: &dyn Fn(&mut FitOptions)) -> [usize; 2] {
        let Input {
            spec, preprocess, ..
        } = of(sizes, change).unwrap();
        assert_eq!(spec.input_shape(), preprocess.shape());
        let small = spec.latent.shape();
        assert_eq!(small[1..], [spec.height / 16, spec.width / 16]);
        [spec.height, spec.width]
    }

    #[test]
    fn the_tensor_has_the_proportions_that_all_frames_have() {
        let strips = [[250, 100], [252, 100], [500, 200]];
        let budget = |options: &mut FitOptions| options.size = Size::Budget(128);
        assert_eq!(tensor(&strips, &|_| ()), [160, 400]);
        assert_eq!(tensor(&strips, &budget), [80, 192]);
        assert_eq!(of(&strips, &budget).unwrap().squeezed, None);
        let mixed = [[100, 250], [250, 100]];
        assert_eq!(tensor(&mixed, &budget), [128; 2]);
        assert_eq!(of(&mixed, &budget).unwrap().squeezed, Some([0.4, 2.5]));
        assert_eq!(tensor(&[[64, 64], [128, 128]], &budget), [128; 2]);
        let exact = |options: &mut FitOptions| {
            options.size = Size::Exact {
                width: 160,
                height: 64,
            };
        };
        assert_eq!(tensor(&[[64, 64]], &exact), [64, 160]);
        // What counts is what the tensor shows of them.
        let middle = |options: &mut FitOptions| {
            options.crop = Some(Crop {
                left: 0.3,
                top: 0.0,
                right: 0.7,
                bottom: 1.0,
            });
        };
        assert_eq!(tensor(&strips, &middle), [256; 2]);
    }

    #[test]
    fn the_fastest_preset_is_small_whatever_the_frames_are() {
        let tiny = |options: &mut FitOptions| *options = FitOptions::defaults(Preset::Tiny);
        for large in [[200, 200], [640, 640], [4000, 4000]] {
            let input = of(&[large], &tiny).unwrap();
            assert_eq!(input.spec.input_shape()[1..], [128; 2]);
            assert_eq!(input.preprocess.tiles, None);
        }
        let long = of(&[[4000, 1600]], &tiny).unwrap();
        assert_eq!(long.spec.input_shape()[1..], [80, 192]);
    }

    #[test]
    fn tiles_are_square_and_their_canvas_has_the_proportions() {
        let large = |tiles| {
            let change = move |options: &mut FitOptions| options.tiles = tiles;
            of(&[[2600, 1040]], &change).unwrap()
        };
        let cut = large(TileChoice::Auto);
        assert_eq!(cut.preprocess.shape()[1..], [256; 2]);
        let [_, height, width] = cut.preprocess.canvas_shape();
        assert!((width as f64 / height as f64 - 2.5).abs() < 0.15);
        let whole = large(TileChoice::Off);
        assert_eq!(whole.preprocess.canvas_shape()[1..], [320, 800]);
        assert_eq!(whole.size, Size::Budget(512));
    }
}
