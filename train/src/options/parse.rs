//! Values of flags.

use std::path::PathBuf;

use edge_vae::{
    dataset::{DatasetError, Grouping},
    preprocess::{Crop, Denoise},
    vae::Likelihood,
};

use super::{LatentChoice, TileChoice};

/// Which feature extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Features {
    /// The one that comes with the trainer.
    Pretrained,
    /// The encoder that is trained.
    Own,
    /// An ONNX file.
    File(PathBuf),
}

/// Weights of the head's losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadWeights {
    /// Focal loss.
    pub focal: f64,
    /// Soft Dice loss.
    pub dice: f64,
    /// Image-level cross-entropy.
    pub image: f64,
}

pub(super) fn features(text: &str) -> Result<Features, String> {
    match text {
        "" => Err("wanted pretrained, own or an ONNX file".to_owned()),
        "pretrained" => Ok(Features::Pretrained),
        "own" => Ok(Features::Own),
        path => Ok(Features::File(path.into())),
    }
}

pub(super) fn latent(text: &str) -> Result<LatentChoice, String> {
    let size = |size: &str| match size.parse::<usize>() {
        Ok(size) if (1..=4096).contains(&size) => Ok(size),
        _ => Err(format!("{size:?} is not a size from 1 to 4096")),
    };
    match text.split_once(':') {
        Some(("vector", length)) => Ok(LatentChoice::Vector(size(length)?)),
        Some(("map", channels)) => Ok(LatentChoice::Map(size(channels)?)),
        _ => Err("wanted vector:LENGTH or map:CHANNELS".to_owned()),
    }
}

pub(super) fn likelihood(text: &str) -> Result<Likelihood, String> {
    match text.split_once(':') {
        None if text == "gaussian" => Ok(Likelihood::GaussianLearned),
        None if text == "bernoulli" => Ok(Likelihood::Bernoulli),
        Some(("gaussian", sigma)) => match sigma.parse::<f32>() {
            Ok(sigma) if (1e-3..=1e3).contains(&sigma) => Ok(Likelihood::Gaussian { sigma }),
            _ => Err(format!("{sigma:?} is not a deviation from 0.001 to 1000")),
        },
        _ => Err("wanted gaussian, gaussian:SIGMA or bernoulli".to_owned()),
    }
}

pub(super) fn crop(text: &str) -> Result<Crop, String> {
    let number = |part: &str| {
        let number = part.trim().parse::<f64>();
        number.map_err(|_| format!("{part:?} is not a number"))
    };
    let numbers: Vec<f64> = text.split(',').map(number).collect::<Result<_, _>>()?;
    let ordered = |low: f64, high: f64| 0.0 <= low && low < high && high <= 1.0;
    match numbers[..] {
        [left, top, right, bottom] if ordered(left, right) && ordered(top, bottom) => Ok(Crop {
            left,
            top,
            right,
            bottom,
        }),
        _ => Err(
            "wanted LEFT,TOP,RIGHT,BOTTOM with 0 ≤ left < right ≤ 1, 0 ≤ top < bottom ≤ 1"
                .to_owned(),
        ),
    }
}

pub(super) fn tiles(text: &str) -> Result<TileChoice, String> {
    let wanted = || "wanted auto, off, or WIDTHxHEIGHT in pixels".to_owned();
    let side = |side: &str| side.parse().map_err(|_| wanted());
    match text {
        "auto" => Ok(TileChoice::Auto),
        "off" => Ok(TileChoice::Off),
        _ => {
            let (width, height) = text.split_once('x').ok_or_else(wanted)?;
            Ok(TileChoice::Canvas {
                width: side(width)?,
                height: side(height)?,
            })
        }
    }
}

pub(super) fn head_weights(text: &str) -> Result<HeadWeights, String> {
    let wanted = || "wanted three weights of 0 or more: FOCAL,DICE,IMAGE".to_owned();
    let weight = |part: &str| non_negative(part.trim()).map_err(|_| wanted());
    let weights: Vec<f64> = text.split(',').map(weight).collect::<Result<_, _>>()?;
    match weights[..] {
        [focal, dice, image] => Ok(HeadWeights { focal, dice, image }),
        _ => Err(wanted()),
    }
}

pub(super) fn denoise(text: &str) -> Result<Denoise, String> {
    match text.split_once(':') {
        Some(("median", radius)) => match radius.parse() {
            Ok(radius) if (1..=16).contains(&radius) => Ok(Denoise::Median { radius }),
            _ => Err(format!("{radius:?} is not a radius from 1 to 16")),
        },
        Some(("gaussian", sigma)) => match sigma.parse::<f32>() {
            Ok(sigma) if sigma > 0.0 && sigma <= 32.0 => Ok(Denoise::Gaussian { sigma }),
            _ => Err(format!(
                "{sigma:?} is not a deviation above 0 and at most 32"
            )),
        },
        _ => Err("wanted median:RADIUS or gaussian:SIGMA".to_owned()),
    }
}

pub(super) fn group_by(text: &str) -> Result<String, String> {
    match Grouping::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(DatasetError::Grouping { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

fn number(text: &str, wanted: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && fits(value) => Ok(value),
        _ => Err(format!("wanted {wanted}")),
    }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |v| v > 0.0)
}

pub(super) fn non_negative(text: &str) -> Result<f64, String> {
    number(text, "a number of 0 or more", |v| v >= 0.0)
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1, 1 excluded", |v| {
        (0.0..1.0).contains(&v)
    })
}

pub(super) fn whole_share(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v))
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    number(text, "a number between 0 and 1", |v| v > 0.0 && v < 1.0)
}
