//! What a bundle says about preprocessing.

use serde::{Deserialize, Serialize};

use super::PreprocessError;

/// Longest side of a tensor, here and in every bundle: far beyond what an edge device runs; it keeps products of sides
/// within range.
pub(crate) const MAX_SIDE: usize = 8192;

/// Everything between a decoded frame and the tensor a network sees, in the order in which it is
/// done: crop, colour, denoise, resize, normalise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PreprocessSettings {
    /// Width of the tensor, in pixels.
    pub width: usize,
    /// Height of the tensor, in pixels.
    pub height: usize,
    /// Grey (one channel) or RGB (three).
    pub colour: Colour,
    /// Region of interest; without it the whole frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// Noise filter before resizing, at the frame's own resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denoise: Option<Denoise>,
    /// Resampling filter.
    pub filter: ResizeFilter,
    /// Affine map from [0, 1] to network input, a value for each channel.
    pub normalise: Normalise,
}

impl PreprocessSettings {
    /// Channels of the tensor: 1 or 3.
    pub fn channels(&self) -> usize {
        self.colour.channels()
    }

    /// Shape of the tensor for one frame: `C×H×W`.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels(), self.height, self.width]
    }

    /// Refuses settings that can't be carried out, naming the first such.
    pub(super) fn validate(&self) -> Result<(), PreprocessError> {
        let refuse = |message: String| Err(PreprocessError::Settings(message));
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return refuse(format!("{name} is {side}; it has to be 1–{MAX_SIDE}"));
            }
        }
        if let Some(crop) = self.crop {
            for (names, from, to) in [
                (["left", "right"], crop.left, crop.right),
                (["top", "bottom"], crop.top, crop.bottom),
            ] {
                if !(0.0 <= from && from < to && to <= 1.0) {
                    let [low, high] = names;
                    return refuse(format!(
                        "crop has {low} = {from} and {high} = {to}; it has to be 0 ≤ {low} < {high} ≤ 1"
                    ));
                }
            }
        }
        match self.denoise {
            Some(Denoise::Median { radius }) if !(1..=16).contains(&radius) => {
                return refuse(format!("denoise radius is {radius}; it has to be 1–16"));
            }
            Some(Denoise::Gaussian { sigma }) if !(sigma > 0.0 && sigma <= 32.0) => {
                return refuse(format!(
                    "denoise sigma is {sigma}; it has to be above 0 and at most 32"
                ));
            }
            _ => {}
        }
        let Normalise { mean, std } = &self.normalise;
        for (name, values) in [("mean", mean), ("std", std)] {
            if values.len() != self.channels() {
                return refuse(format!(
                    "normalise {name} has {} values; colour asks for {}",
                    values.len(),
                    self.channels()
                ));
            }
        }
        if let Some(mean) = mean.iter().find(|mean| !mean.is_finite()) {
            return refuse(format!("normalise mean has {mean}; it has to be finite"));
        }
        if let Some(std) = std.iter().find(|std| !(std.is_normal() && **std > 0.0)) {
            return refuse(format!(
                "normalise std has {std}; it has to be positive and finite"
            ));
        }
        Ok(())
    }
}

/// Colour space of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// Luma by ITU-R BT.601 weights (0.299, 0.587, 0.114).
    Grey,
    /// Red, green, blue.
    Rgb,
}

impl Colour {
    /// Channels: 1 or 3.
    pub fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// A rectangle as fractions of the frame's width and height, so that it holds for frames of any
/// size: `0 ≤ left < right ≤ 1`, `0 ≤ top < bottom ≤ 1`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Left edge, fraction of the width.
    pub left: f64,
    /// Upper edge, fraction of the height.
    pub top: f64,
    /// Right edge, fraction of the width.
    pub right: f64,
    /// Lower edge, fraction of the height.
    pub bottom: f64,
}

/// A noise filter, applied to the frame's own pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Denoise {
    /// Median over a square of `2·radius + 1` pixels.
    Median {
        /// Radius in frame pixels, 1–16.
        radius: u32,
    },
    /// Gaussian blur.
    Gaussian {
        /// Standard deviation in frame pixels, above 0 and at most 32.
        sigma: f32,
    },
}

/// Resampling filter; each widens its support when shrinking, so every frame pixel counts.
/// Weights are those of Pillow's `resize`, in floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeFilter {
    /// Box filter: the mean of the frame pixels whose centres lie in the area that a tensor pixel
    /// covers; when enlarging, the nearest pixel.
    Area,
    /// Triangle filter.
    Bilinear,
    /// Catmull-Rom cubic.
    Cubic,
    /// Lanczos with three lobes.
    Lanczos3,
}

/// `tensor = (value − mean) / std`, where `value` is in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// Subtracted; one value for each channel.
    pub mean: Vec<f32>,
    /// Divided by; positive, one value for each channel.
    pub std: Vec<f32>,
}

impl Normalise {
    /// Leaves values in [0, 1].
    pub fn identity(channels: usize) -> Self {
        Self {
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    /// Normalises a tensor C×H×W in place; C is the number of values that this holds.
    pub fn apply(&self, tensor: &mut [f32]) {
        let channels = self.mean.len().max(1);
        let planes = tensor.chunks_exact_mut((tensor.len() / channels).max(1));
        for (plane, (mean, std)) in planes.zip(self.mean.iter().zip(&self.std)) {
            for value in plane {
                *value = (*value - mean) / std;
            }
        }
    }
}
