//! From options and frames to the shapes of the model and its preprocessing.

use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_vae::{
    dataset::{Dataset, DatasetOptions},
    frame::DecodeOptions,
    preprocess::{Exposure, Mask, PreprocessSettings, Tiles},
    vae::{Latent, VaeSpec},
};

use super::{params::PARAMS, survey};
use crate::options::{FitOptions, FitOverrides, Preset, TileChoice};

/// File of the bundle with the region of interest.
pub const MASK: &str = "mask.png";

/// Opens the data set at `path` as `overrides` say, and where they leave it open the options of an
/// earlier run.
///
/// # Errors
/// No data set.
pub fn open(
    path: &Path,
    overrides: &FitOverrides,
    earlier: Option<&FitOptions>,
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
    Ok(Dataset::open(path, &options)?)
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
    let bytes = std::fs::read(path).with_context(|| format!("--mask {name}: cannot read"))?;
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
    let side = match preset.fixed_side().or(options.size) {
        Some(side) => side,
        None => {
            let sizing = survey::Sizing {
                usual: preset.usual_side(),
                enlarges: options.backbone.is_some(),
                tiles: options.tiles == TileChoice::Auto,
                channels: colour.channels(),
            };
            survey::side_of(&dataset.train, options.crop, sizing)
        }
    };
    let (likelihood, latent) = (options.likelihood, options.latent);
    let spec = preset.spec(side, colour.channels(), likelihood, latent);
    let tiles = match (options.tiles, crop(preset, &spec)) {
        (TileChoice::Auto, Some(_)) => survey::tiles_of(&dataset.train, options.crop, side),
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
    Ok(Input { spec, preprocess })
}

/// Side of the crops that are trained on; none for a vector latent, which is made of the whole
/// frame, as the digits' is.
pub fn crop(preset: Preset, spec: &VaeSpec) -> Option<usize> {
    let convolutional = preset.fixed_side().is_none() && matches!(spec.latent, Latent::Map { .. });
    convolutional.then_some(PARAMS.crop)
}
