//! What a bundle says about preprocessing.

use serde::{Deserialize, Serialize};

use super::{
    PreprocessError,
    tile_grid::{MAX_OVERLAP, MAX_TILES, Tiles},
};
use crate::{
    frame::{DecodeOptions, LESS_THAN_16},
    image::Filter,
};

/// Longest side of a tensor, here and in every bundle: far beyond what an edge device runs; it
/// keeps products of sides within range.
pub(crate) const MAX_SIDE: usize = 8192;

/// Most values of a canvas, C·H'·W': 256 MiB of f32.
const MAX_VALUES: usize = 1 << 26;

/// Everything between a decoded frame and the tensor a network sees, in the order in which it is
/// done: crop, colour, denoise, resize, exposure, mask, contrast, normalise, tiles.
///
/// What is resized to is the *canvas*: the tensor itself, or with [`tiles`](Self::tiles) a larger
/// picture of which each tile is a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PreprocessSettings {
    /// Width of the tensor, in pixels.
    pub width: usize,
    /// Height of the tensor, in pixels.
    pub height: usize,
    /// Grey (one channel) or RGB (three).
    pub colour: Colour,
    /// Bits that samples of 16 bits use, 9–15; without it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
    /// Most pixels of a picture file, where more than the usual 100 million are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
    /// Region of interest; without it the whole frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// Noise filter before resizing, at the frame's own resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denoise: Option<Denoise>,
    /// Resampling filter.
    pub filter: ResizeFilter,
    /// Brings frames to one brightness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// Brings frames to one local contrast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contrast: Option<Contrast>,
    /// File of the bundle with the region of interest: see [`Mask`](super::Mask).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Larger canvas, cut into overlapping tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiles: Option<Tiles>,
    /// Affine map from [0, 1] to network input, a value for each channel.
    pub normalise: Normalise,
}

impl PreprocessSettings {
    /// The whole frame, resized by the area filter to a tensor of `width × height` pixels with
    /// values in [0, 1], and nothing else.
    pub fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self {
            width,
            height,
            colour,
            bits: None,
            max_pixels: None,
            crop: None,
            denoise: None,
            filter: ResizeFilter::Area,
            exposure: None,
            contrast: None,
            mask: None,
            tiles: None,
            normalise: Normalise::identity(colour.channels()),
        }
    }

    /// Channels of the tensor: 1 or 3.
    pub fn channels(&self) -> usize {
        self.colour.channels()
    }

    /// Shape of the tensor for one frame: `C×H×W`.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels(), self.height, self.width]
    }

    /// Shape of the canvas: `C×H'×W'`; that of the tensor where there are no tiles.
    pub fn canvas_shape(&self) -> [usize; 3] {
        let [channels, height, width] = self.shape();
        self.tiles.map_or([channels, height, width], |tiles| {
            [channels, tiles.height, tiles.width]
        })
    }

    /// How picture files are read for these settings.
    pub fn decode_options(&self) -> DecodeOptions {
        let usual = DecodeOptions::default();
        DecodeOptions {
            bits: self.bits,
            max_pixels: self.max_pixels.unwrap_or(usual.max_pixels),
            ..usual
        }
        .with_room()
    }

    /// Refuses settings that can't be carried out, naming the first such.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Settings`].
    pub fn validate(&self) -> Result<(), PreprocessError> {
        let refuse = |message: String| Err(PreprocessError::Settings(message));
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return refuse(format!("{name} is {side}; it has to be 1–{MAX_SIDE}"));
            }
        }
        if let Some(bits) = self.bits.filter(|bits| !LESS_THAN_16.contains(bits)) {
            return refuse(format!("bits is {bits}; it has to be 9–15"));
        }
        if self.max_pixels == Some(0) {
            return refuse("max-pixels is 0; it has to be 1 or more".to_owned());
        }
        if let Some(crop) = self.crop {
            for (names, from, to) in [
                (["left", "right"], crop.left, crop.right),
                (["top", "bottom"], crop.top, crop.bottom),
            ] {
                if !(0.0 <= from && from < to && to <= 1.0) {
                    let [low, high] = names;
                    return refuse(format!(
                        "crop has {low} = {from} and {high} = {to}; it has to be 0 ≤ {low} < \
                         {high} ≤ 1"
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
        if let Some(Exposure { target }) = self.exposure
            && !(0.05..=0.95).contains(&target)
        {
            return refuse(format!(
                "exposure target is {target}; it has to be 0.05–0.95"
            ));
        }
        if let Some(Contrast { target }) = self.contrast
            && !(target > 0.0 && target <= 0.2)
        {
            return refuse(format!(
                "contrast target is {target}; it has to be above 0 and at most 0.2"
            ));
        }
        if let Some(tiles) = self.tiles {
            self.validate_tiles(tiles)?;
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

    fn validate_tiles(&self, tiles: Tiles) -> Result<(), PreprocessError> {
        let refuse = |message: String| Err(PreprocessError::Settings(message));
        for (name, canvas, tensor) in [
            ("width", tiles.width, self.width),
            ("height", tiles.height, self.height),
        ] {
            if !(tensor..=MAX_SIDE).contains(&canvas) {
                return refuse(format!(
                    "tiles {name} is {canvas}; it has to be {tensor}–{MAX_SIDE}: a canvas is at \
                     least as large as a tile"
                ));
            }
        }
        if !(0.0..=MAX_OVERLAP).contains(&tiles.overlap) {
            return refuse(format!(
                "tiles overlap is {}; it has to be 0–{}",
                tiles.overlap, MAX_OVERLAP
            ));
        }
        // Sides of at most 8192 can't overflow.
        let values: usize = self.canvas_shape().iter().product();
        if values > MAX_VALUES {
            return refuse(format!(
                "tiles make a canvas of {values} values; at most {MAX_VALUES} are possible"
            ));
        }
        let count = tiles.count(self.width, self.height);
        if count > MAX_TILES {
            return refuse(format!(
                "tiles cut the canvas into {count}; at most {} are possible: a smaller canvas, a \
                 larger tensor or less overlap has fewer",
                MAX_TILES
            ));
        }
        Ok(())
    }
}

/// Brings the frame's median luma to `target` by one gain for all channels.
///
/// The gain is target/median, at most what brings the 95 % quantile of the luma to 0.9, and
/// within 0.25–4. The median is taken over pixels that are neither black nor saturated; where few
/// are, as in pictures of black and white, the gain fades to 1. See
/// [`Levels`](super::Levels) for what a frame was found to have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exposure {
    /// Median luma of a prepared frame, 0.05–0.95.
    pub target: f32,
}

impl Default for Exposure {
    /// 0.4.
    fn default() -> Self {
        Self { target: 0.4 }
    }
}

/// Brings the frame's local contrast to `target`: x = b + (x − b)·clip(target/s, 0.6, 1.6), with
/// the background b, smoothed by a Gaussian of σ = (shorter side)/32, and s = 1.4826 times the
/// median of the luma of |x − b|, a robust standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// Local contrast of a prepared frame, as a fraction of full scale; above 0, at most 0.2. That
    /// of a data set is the median of [`Levels::contrast`](super::Levels::contrast) over its
    /// frames.
    pub target: f32,
}

impl Default for Contrast {
    /// 5.5/255, that of machined metal under a camera's light.
    fn default() -> Self {
        Self {
            target: 5.5 / 255.0,
        }
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

impl From<ResizeFilter> for Filter {
    fn from(filter: ResizeFilter) -> Self {
        match filter {
            ResizeFilter::Area => Self::Area,
            ResizeFilter::Bilinear => Self::Bilinear,
            ResizeFilter::Cubic => Self::Cubic,
            ResizeFilter::Lanczos3 => Self::Lanczos3,
        }
    }
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
