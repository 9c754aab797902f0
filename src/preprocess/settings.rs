//! What a bundle says about preprocessing.

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeFilter {
    /// Box filter: the mean over the area that a tensor pixel covers.
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
}
