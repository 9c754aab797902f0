//! Augmentation of whole frames: as another exposure, lens, hand or codec would have taken them.
//! Densities learn from it what is harmless, and the synthetic validation set is augmented like it,
//! normal samples and defective ones alike.

use std::io::Cursor;

use anyhow::{Context, Result};
use edge_vae::{
    frame::Frame,
    image::GaussianSmoothing,
    preprocess::{Normalise, PreprocessSettings, Preprocessor},
};
use image::{DynamicImage, GrayImage, RgbImage, codecs::jpeg::JpegEncoder};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::{FitData, planes};
use crate::data::{Movement, View, equivalent_side};

/// How strongly frames are augmented. The ranges are those of a production line: what changes with
/// camera, lens, lamp and codec.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AugmentationParams {
    /// Least and largest gain, as powers of two.
    gain: [f32; 2],
    /// Share of the frames that are overexposed: so bright that some of their highlights are lost.
    overexposed: f64,
    /// Frames from which on so many are overexposed; of fewer, proportionally fewer.
    many_frames: f64,
    /// Share of an overexposed frame's values that are lost at most.
    lost: f32,
    /// Where what is bright is a small part before a dark background, they would be more than what
    /// is bright: so how far beyond white the brightest hundredth is at most, as a power of two.
    beyond_white: f32,
    /// The hundredth.
    brightest_part: f32,
    /// Largest gain of an overexposed frame, as a power of two.
    overexposed_gain: f32,
    /// Largest offset, as a share of full scale.
    offset: f32,
    /// Largest gamma, as a power of two.
    gamma: f32,
    /// Largest change of contrast about the mean, relative.
    contrast: f32,
    /// By what the largest blur and noise are multiplied.
    softer: f32,
    /// Largest deviation of noise, as a share of full scale.
    noise: f32,
    /// Largest deviation of blur, in pixels.
    blur: f32,
    /// The same as a share of the tensor's equivalent side.
    blur_of_side: f32,
    /// Share of the frames that are blurred; that have noise; that were stored as JPEG.
    often: f64,
    /// Range of the JPEG quality.
    quality: [u8; 2],
    /// Share of the changes of exposure and of contrast where preprocessing does not normalise
    /// them: such a model is for a camera and a light that hold still, and would otherwise be
    /// selected for what it does without.
    not_normalised: f32,
    /// How many pixels of a frame may be as long as one of the canvas for it to be augmented before
    /// it is resized: beyond, nothing is left of how single pixels saturate.
    most_shrunk: f32,
    /// Equivalent side of tensors below which frames are neither moved nor compressed: a pixel is a
    /// large part of what they show.
    least_side: f32,
}

impl AugmentationParams {
    /// For frames that are to be scored: a gain of ±30 %.
    const SCORED: Self = Self {
        gain: [-0.38, 0.38],
        overexposed: 0.0,
        many_frames: 600.0,
        lost: 0.6,
        beyond_white: 0.8,
        brightest_part: 0.01,
        overexposed_gain: 1.2,
        offset: 0.03,
        gamma: 0.15,
        contrast: 0.15,
        softer: 1.0,
        noise: 0.02,
        blur: 1.5,
        blur_of_side: 0.006,
        often: 0.6,
        quality: [40, 95],
        not_normalised: 0.1,
        most_shrunk: 2.5,
        least_side: 64.0,
    };

    /// What densities are fitted on goes beyond what they score: what lies at the end of a range is
    /// rare in it. Exposure is normalised afterwards, so that a darker frame is nearly the same
    /// again; of a brighter one, what was clipped is lost, and unless frames like it were seen it
    /// is taken for a defect.
    const FITTED: Self = Self {
        gain: [-0.2, 0.6],
        overexposed: 0.4,
        softer: 1.4,
        ..Self::SCORED
    };
}

/// Levels of the tone curve: finer than any camera's.
const TONES: usize = 1 << 12;

/// Small-jitter augmentation: a part that is held in place, within what a fixture allows.
pub const SMALL_JITTER: Movement = Movement {
    rotation: 2.5,
    shift: 0.015,
    zoom: 0.03,
    mirrored: false,
};

/// Full-rotation augmentation: a part that lies as it falls.
pub const FULL_ROTATION: Movement = Movement {
    rotation: 180.0,
    mirrored: true,
    ..SMALL_JITTER
};

/// What an augmented frame is called in errors.
const AUGMENTED: &str = "an augmented training frame";

/// Augments frames.
#[derive(Clone, Debug)]
pub struct FrameAugmentation {
    /// C×H×W of the canvas.
    shape: [usize; 3],
    /// [`equivalent_side`] of a tensor.
    side: f32,
    /// Share of a frame that the canvas shows.
    cropped: f64,
    /// Whether preprocessing normalises exposure.
    exposure: bool,
    /// Whether preprocessing normalises contrast.
    contrast: bool,
    params: AugmentationParams,
}

/// What a frame is augmented from.
#[derive(Clone, Debug)]
pub struct Original {
    /// C×H×W in [0, 1], nothing of it normalised.
    values: Vec<f32>,
    shape: [usize; 3],
    /// How many of its pixels are as long as one of the canvas.
    scale: f32,
    /// Bits of a sample of the frame; `None` of its canvas.
    bits: Option<u32>,
}

/// What makes of a frame its canvas in [0, 1] before exposure, contrast and values are normalised;
/// and after.
///
/// # Errors
/// A mask that can't be read.
pub fn preprocessors(data: &FitData) -> Result<[Preprocessor; 2]> {
    let plain = PreprocessSettings {
        exposure: None,
        contrast: None,
        normalise: Normalise::identity(data.preprocess.channels()),
        ..data.preprocess.clone()
    };
    Ok([
        Preprocessor::with_mask(plain, data.mask)?,
        Preprocessor::with_mask(data.preprocess.clone(), data.mask)?,
    ])
}

impl FrameAugmentation {
    /// As a line changes frames that are to be scored; for the canvases of `settings`.
    pub fn to_score(settings: &PreprocessSettings) -> Self {
        Self::new(settings, AugmentationParams::SCORED)
    }

    /// What densities are fitted on beside so many frames: further from these as they are, and the
    /// more of it overexposed, the more frames there are to outweigh it.
    pub fn to_fit(settings: &PreprocessSettings, frames: usize) -> Self {
        let fitted = AugmentationParams::FITTED;
        let affordable = (frames as f64 / fitted.many_frames).min(1.0);
        Self::new(
            settings,
            AugmentationParams {
                overexposed: affordable * fitted.overexposed,
                ..fitted
            },
        )
    }

    fn new(settings: &PreprocessSettings, params: AugmentationParams) -> Self {
        let [_, height, width] = settings.shape();
        Self {
            shape: settings.canvas_shape(),
            side: equivalent_side([height, width]),
            cropped: settings.crop.map_or(1.0, |crop| {
                (crop.right - crop.left) * (crop.bottom - crop.top)
            }),
            exposure: settings.exposure.is_some(),
            contrast: settings.contrast.is_some(),
            params,
        }
    }

    /// A canvas (C×H×W in [0, 1], nothing of it normalised) augmented, in the same form.
    ///
    /// # Errors
    /// A codec that fails.
    pub fn apply(
        &self,
        canvas: &[f32],
        movement: &Movement,
        random: &mut impl Rng,
    ) -> Result<Vec<f32>> {
        self.change(canvas, self.shape, 1.0, movement, random)
    }

    /// What a frame is to be augmented from: itself, or the canvas that `plain` makes of it where
    /// its pixels are much smaller.
    ///
    /// # Errors
    /// A frame that can't be prepared.
    pub fn original(&self, frame: &Frame, plain: &mut Preprocessor) -> Result<Original> {
        let scale = self.scale(frame);
        if scale <= self.params.most_shrunk {
            let (values, shape) = planes::of_frame(frame);
            return Ok(Original {
                values,
                shape,
                scale,
                bits: Some(frame.format().bits()),
            });
        }
        plain.prepare_canvas(frame)?;
        Ok(Original {
            values: plain.canvas().to_vec(),
            shape: self.shape,
            scale: 1.0,
            bits: None,
        })
    }

    /// Leaves in `whole` the canvas of an augmented frame.
    ///
    /// # Errors
    /// A codec that fails, a frame that can't be prepared.
    pub fn prepare(
        &self,
        original: &Original,
        movement: &Movement,
        whole: &mut Preprocessor,
        random: &mut impl Rng,
    ) -> Result<()> {
        let Original { values, shape, .. } = original;
        let changed = self.change(values, *shape, original.scale, movement, random)?;
        match original.bits {
            Some(bits) => {
                whole.prepare_canvas(&planes::to_frame(&changed, *shape, bits, AUGMENTED)?)?;
            }
            None => whole.prepare_values(&changed, AUGMENTED)?,
        }
        Ok(())
    }

    /// How many pixels of a frame are as long as one of the canvas: the geometric mean of both
    /// directions.
    fn scale(&self, frame: &Frame) -> f32 {
        let [_, height, width] = self.shape;
        let pixels = f64::from(frame.width()) * f64::from(frame.height()) * self.cropped;
        (pixels / (height * width) as f64).sqrt() as f32
    }

    /// Whether what is augmented with `random`, which is fresh, is overexposed.
    pub fn overexposes(&self, random: &mut impl Rng) -> bool {
        random.random_bool(self.params.overexposed)
    }

    /// `values` (C×H×W in [0, 1], nothing of it normalised) augmented, in the same form; `scale` of
    /// their pixels are as long as one of the canvas.
    fn change(
        &self,
        values: &[f32],
        shape: [usize; 3],
        scale: f32,
        movement: &Movement,
        random: &mut impl Rng,
    ) -> Result<Vec<f32>> {
        let params = &self.params;
        let [_, height, width] = shape;
        let share = |normalised: bool| {
            if normalised {
                1.0
            } else {
                params.not_normalised
            }
        };
        let (exposed, contrasted) = (share(self.exposure), share(self.contrast));
        let [least, most] = params.gain;
        let gain = match self.overexposes(random) {
            true => params.overexposing_gain(values, params.lost * random.random::<f32>()),
            false => random.random_range(least..=most),
        };
        let gain = (exposed * gain).exp2();
        let mut both = |most: f32| random.random_range(-most..=most);
        let gamma = (exposed * both(params.gamma)).exp2();
        let offset = exposed * both(params.offset);
        let contrast = 1.0 + contrasted * both(params.contrast);
        let mut often = |most: f32| match random.random_bool(params.often) {
            true => params.softer * most * random.random::<f32>(),
            false => 0.0,
        };
        let noise = often(params.noise);
        let blur = params.blur.min(params.blur_of_side * self.side);
        let blur = scale * often(blur);

        let is_small = self.side < params.least_side;
        let mut out = match is_small && *movement == SMALL_JITTER {
            true => values.to_vec(),
            false => moved(values, shape, movement, random),
        };
        let tone: Vec<f32> = (0..=TONES)
            .map(|level| (level as f32 / TONES as f32).powf(gamma) * gain + offset)
            .map(|value| value.clamp(0.0, 1.0))
            .collect();
        let mut smoothing = GaussianSmoothing::new(width, height, blur)?;
        for plane in out.chunks_exact_mut(height * width) {
            let mean = plane.iter().sum::<f32>() / plane.len() as f32;
            for value in &mut *plane {
                *value = mean + contrast * (*value - mean);
            }
            smoothing.apply(plane)?;
            for value in &mut *plane {
                *value = tone[(value.clamp(0.0, 1.0) * TONES as f32).round() as usize];
            }
            if noise > 0.0 {
                for value in plane {
                    let grain: f32 = StandardNormal.sample(random);
                    *value = (*value + noise * grain).clamp(0.0, 1.0);
                }
            }
        }
        if !is_small && random.random_bool(params.often) {
            let [worst, best] = params.quality;
            compress(&mut out, shape, random.random_range(worst..=best))?;
        }
        Ok(out)
    }
}

impl AugmentationParams {
    /// The gain, as a power of two, at which a `share` of `values` is beyond white, or the largest
    /// that is wise.
    fn overexposing_gain(&self, values: &[f32], share: f32) -> f32 {
        let mut values = values.to_vec();
        let last = (values.len() - 1) as f32;
        let mut to_white = |share: f32| {
            let place = ((1.0 - share) * last) as usize;
            let (_, value, _) = values.select_nth_unstable_by(place, f32::total_cmp);
            -value.max(f32::EPSILON).log2()
        };
        let most = to_white(self.brightest_part) + self.beyond_white;
        to_white(share).min(most).min(self.overexposed_gain)
    }
}

fn moved(frame: &[f32], shape: [usize; 3], movement: &Movement, random: &mut impl Rng) -> Vec<f32> {
    let [_, height, width] = shape;
    let view = View::moved(shape, movement, random);
    let mut out = vec![0.0; frame.len()];
    let size = height * width;
    for (from, to) in frame.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
        view.take(from, to);
    }
    out
}

/// To JPEG and back.
fn compress(values: &mut [f32], [channels, height, width]: [usize; 3], quality: u8) -> Result<()> {
    let (Ok(columns), Ok(rows)) = (u16::try_from(width), u16::try_from(height)) else {
        return Ok(());
    };
    let size = height * width;
    let bytes: Vec<u8> = (0..size)
        .flat_map(|place| (0..channels).map(move |c| c * size + place))
        .map(|place| (255.0 * values[place]).round() as u8)
        .collect();
    let [columns, rows] = [columns, rows].map(u32::from);
    let picture = match channels {
        1 => GrayImage::from_raw(columns, rows, bytes).map(DynamicImage::from),
        _ => RgbImage::from_raw(columns, rows, bytes).map(DynamicImage::from),
    };
    let picture = picture.context("a frame that is neither grey nor of three colours")?;
    let mut file = Cursor::new(Vec::new());
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut file, quality))?;
    let read = image::load_from_memory_with_format(file.get_ref(), image::ImageFormat::Jpeg)?;
    let bytes = match channels {
        1 => read.into_luma8().into_raw(),
        _ => read.into_rgb8().into_raw(),
    };
    for (place, pixel) in bytes.chunks_exact(channels).enumerate() {
        for (c, &byte) in pixel.iter().enumerate() {
            values[c * size + place] = f32::from(byte) / 255.0;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
