//! Frames as another exposure, lens, hand or codec would have taken them: what the features'
//! Gaussians learn is harmless, and what synthetic validation does to normal frames and defective
//! ones alike.

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

use super::{Material, planes};
use crate::data::{Movement, View};

/// How strongly frames are changed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Strength {
    /// Least and largest gain, as powers of two.
    gain: [f32; 2],
    /// By what the largest blur and noise are multiplied.
    softer: f32,
    /// Share of the frames that are made so bright that some of their own highlights are lost.
    washed_out: f64,
}

/// As of a line: gain by ±30 %.
const JUDGED: Strength = Strength {
    gain: [-0.38, 0.38],
    softer: 1.0,
    washed_out: 0.0,
};

/// What models are fitted on goes beyond what they judge: what lies at the end of a range is rare in it.
/// Exposure is evened afterwards, so that a darker frame is nearly the same again; of a brighter one, what
/// was saturated is lost, and unless frames like it were seen it is taken for a defect.
const FITTED: Strength = Strength {
    gain: [-0.2, 0.6],
    softer: 1.4,
    washed_out: 0.4,
};

/// Frames from which on so many copies are washed out.
const MANY_FRAMES: f64 = 600.0;

/// Share of such a frame's values that are lost at most. Where what is bright is a small part before a dark
/// background, they would be more than what is bright: so how far beyond white the brightest hundredth is at
/// most, and the largest gain, as powers of two.
const LOST: f32 = 0.6;
const BRIGHTEST_PART: f32 = 0.01;
const BEYOND: f32 = 0.8;
const BRIGHTEST: f32 = 1.2;

/// Largest changes of a frame: offset, as a share of full scale; gamma, as
/// a power of two; contrast about the mean, relative; deviation of noise.
const OFFSET: f32 = 0.03;
const GAMMA: f32 = 0.15;
const CONTRAST: f32 = 0.15;
const NOISE: f32 = 0.02;

/// Largest deviation of blur, in pixels, and as a share of the tensor's shorter side.
const BLUR: f32 = 1.5;
const BLUR_SHARE: f32 = 0.006;

/// Share of the frames that are blurred; that have noise; that were stored as JPEG; and the range of
/// its quality.
const OFTEN: f64 = 0.6;
const QUALITY: [u8; 2] = [40, 95];

/// Steps of the tone curve: finer than any camera's.
const TONES: usize = 1 << 12;

/// How a part lies that is held in place, and how one that lies as it falls.
const HELD: Movement = Movement {
    rotation: 2.5,
    shift: 0.015,
    zoom: 0.03,
    mirrored: false,
};
const TURNED: Movement = Movement {
    rotation: 180.0,
    mirrored: true,
    ..HELD
};

/// How many pixels of a frame may be as long as one of the canvas for it to be changed as it is.
const MOST_SHRUNK: f32 = 2.5;

/// What such a frame is called in errors.
const ANEW: &str = "a training frame, taken anew";

/// Shorter side of tensors below which frames are neither moved nor compressed: a pixel is a large
/// part of what they show.
const LEAST_SIDE: usize = 64;

/// Share of the changes of exposure and of contrast where preprocessing does not even them out: such
/// a model is for a camera and a light that hold still, and would otherwise be chosen for what it
/// does without.
const UNEVENED: f32 = 0.1;

/// How the part lies in a retaken frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pose {
    /// Nearly as it did.
    Held,
    /// At any angle, on either side.
    Turned,
}

/// Takes frames anew.
#[derive(Clone, Debug)]
pub(super) struct Retake {
    /// C×H×W of the canvas.
    shape: [usize; 3],
    /// Shorter side of a tensor.
    side: usize,
    /// Share of a frame that the canvas shows.
    cropped: f64,
    evened: Evened,
    strength: Strength,
}

/// What a frame is taken anew from.
#[derive(Clone, Debug)]
pub(super) struct Original {
    /// C×H×W in [0, 1], neither evened nor normalised.
    values: Vec<f32>,
    shape: [usize; 3],
    /// How many of its pixels are as long as one of the canvas.
    scale: f32,
    /// Bits of a sample of the frame; `None` of its canvas.
    bits: Option<u32>,
}

/// What preprocessing evens out.
#[derive(Clone, Copy, Debug)]
struct Evened {
    exposure: bool,
    contrast: bool,
}

/// What frames are before exposure and contrast are evened and values normalised, in [0, 1]; and
/// after.
pub(super) fn preprocessors(material: &Material) -> Result<[Preprocessor; 2]> {
    let plain = PreprocessSettings {
        exposure: None,
        contrast: None,
        normalise: Normalise::identity(material.preprocess.channels()),
        ..material.preprocess.clone()
    };
    Ok([
        Preprocessor::with_mask(plain, material.mask)?,
        Preprocessor::with_mask(material.preprocess.clone(), material.mask)?,
    ])
}

impl Retake {
    /// As a line changes frames that are to be judged; for the canvases of `settings`.
    pub(super) fn to_judge(settings: &PreprocessSettings) -> Self {
        Self::new(settings, JUDGED)
    }

    /// What models are fitted on beside so many frames: further from these as they are, and the more of it
    /// washed out, the more frames there are to outweigh it.
    pub(super) fn to_fit(settings: &PreprocessSettings, frames: usize) -> Self {
        let affordable = (frames as f64 / MANY_FRAMES).min(1.0);
        Self::new(
            settings,
            Strength {
                washed_out: affordable * FITTED.washed_out,
                ..FITTED
            },
        )
    }

    fn new(settings: &PreprocessSettings, strength: Strength) -> Self {
        let [_, height, width] = settings.shape();
        Self {
            shape: settings.canvas_shape(),
            side: height.min(width),
            cropped: settings.crop.map_or(1.0, |crop| {
                (crop.right - crop.left) * (crop.bottom - crop.top)
            }),
            strength,
            evened: Evened {
                exposure: settings.exposure.is_some(),
                contrast: settings.contrast.is_some(),
            },
        }
    }

    /// A canvas (C×H×W in [0, 1], neither evened nor normalised) taken anew, in the same form.
    ///
    /// # Errors
    /// A codec that fails.
    pub(super) fn take(
        &self,
        canvas: &[f32],
        pose: Pose,
        random: &mut impl Rng,
    ) -> Result<Vec<f32>> {
        self.change(canvas, self.shape, 1.0, pose, random)
    }

    /// What a frame is to be taken anew from: itself, or the canvas that `plain` makes of it where its pixels are
    /// so small that nothing of how they saturate would be left.
    ///
    /// # Errors
    /// A frame that can't be prepared.
    pub(super) fn original(&self, frame: &Frame, plain: &mut Preprocessor) -> Result<Original> {
        let scale = self.scale(frame);
        if scale <= MOST_SHRUNK {
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

    /// Leaves in `whole` the canvas of a frame taken anew.
    ///
    /// # Errors
    /// A codec that fails, a frame that can't be prepared.
    pub(super) fn prepare(
        &self,
        original: &Original,
        pose: Pose,
        whole: &mut Preprocessor,
        random: &mut impl Rng,
    ) -> Result<()> {
        let Original { values, shape, .. } = original;
        let taken = self.change(values, *shape, original.scale, pose, random)?;
        match original.bits {
            Some(bits) => {
                whole.prepare_canvas(&planes::to_frame(&taken, *shape, bits, ANEW)?)?;
            }
            None => whole.prepare_values(&taken, ANEW)?,
        }
        Ok(())
    }

    /// How many pixels of a frame are as long as one of the canvas: the geometric mean of both directions.
    fn scale(&self, frame: &Frame) -> f32 {
        let [_, height, width] = self.shape;
        let pixels = f64::from(frame.width()) * f64::from(frame.height()) * self.cropped;
        (pixels / (height * width) as f64).sqrt() as f32
    }

    /// Whether what is taken with `random`, which is fresh, is washed out.
    pub(super) fn washes_out(&self, random: &mut impl Rng) -> bool {
        random.random_bool(self.strength.washed_out)
    }

    /// `values` (C×H×W in [0, 1], neither evened nor normalised) taken anew, in the same form, `scale` of whose
    /// pixels are as long as one of the canvas.
    fn change(
        &self,
        values: &[f32],
        shape: [usize; 3],
        scale: f32,
        pose: Pose,
        random: &mut impl Rng,
    ) -> Result<Vec<f32>> {
        let [_, height, width] = shape;
        let share = |evened: bool| if evened { 1.0 } else { UNEVENED };
        let exposed = share(self.evened.exposure);
        let contrasted = share(self.evened.contrast);
        let Strength {
            gain: [least, most],
            softer,
            ..
        } = self.strength;
        let gain = match self.washes_out(random) {
            true => washing_out(values, LOST * random.random::<f32>()),
            false => random.random_range(least..=most),
        };
        let gain = (exposed * gain).exp2();
        let mut both = |most: f32| random.random_range(-most..=most);
        let gamma = (exposed * both(GAMMA)).exp2();
        let offset = exposed * both(OFFSET);
        let contrast = 1.0 + contrasted * both(CONTRAST);
        let mut often = |most: f32| match random.random_bool(OFTEN) {
            true => softer * most * random.random::<f32>(),
            false => 0.0,
        };
        let noise = often(NOISE);
        let blur = scale * often(BLUR.min(BLUR_SHARE * self.side as f32));

        let is_small = self.side < LEAST_SIDE;
        let mut out = match pose {
            Pose::Held if is_small => values.to_vec(),
            Pose::Held => moved(values, shape, &HELD, random),
            Pose::Turned => moved(values, shape, &TURNED, random),
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
        if !is_small && random.random_bool(OFTEN) {
            let quality = random.random_range(QUALITY[0]..=QUALITY[1]);
            compress(&mut out, shape, quality)?;
        }
        Ok(out)
    }
}

/// The gain, as a power of two, at which a share of `values` is beyond white, or the most that is wise.
fn washing_out(values: &[f32], share: f32) -> f32 {
    let mut values = values.to_vec();
    let last = (values.len() - 1) as f32;
    let mut to_white = |share: f32| {
        let place = ((1.0 - share) * last) as usize;
        let (_, value, _) = values.select_nth_unstable_by(place, f32::total_cmp);
        -value.max(f32::EPSILON).log2()
    };
    let most = to_white(BRIGHTEST_PART) + BEYOND;
    to_white(share).min(most).min(BRIGHTEST)
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
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn retake(shape: [usize; 3], evened: bool) -> Retake {
        Retake {
            shape,
            side: shape[1].min(shape[2]),
            cropped: 1.0,
            strength: JUDGED,
            evened: Evened {
                exposure: evened,
                contrast: evened,
            },
        }
    }

    fn frame(shape: [usize; 3]) -> Vec<f32> {
        let count = shape.iter().product::<usize>();
        (0..count).map(|i| (i % 97) as f32 / 97.0).collect()
    }

    #[test]
    fn retaken_frames_stay_in_range_and_differ() {
        for shape in [[3, 24, 32], [1, 80, 96], [3, 64, 64]] {
            let frame = frame(shape);
            for pose in [Pose::Held, Pose::Turned] {
                let range_of_means = |evened: bool| {
                    let retake = retake(shape, evened);
                    let means = (0..40).map(|counter| {
                        let mut random = stream(3, Purpose::Trial, counter);
                        let taken = retake.take(&frame, pose, &mut random).unwrap();
                        assert_eq!(taken.len(), frame.len());
                        assert!(taken.iter().all(|v| (0.0..=1.0).contains(v)));
                        taken.iter().sum::<f32>() / taken.len() as f32
                    });
                    means.fold([f32::MAX, f32::MIN], |[least, most], mean| {
                        [least.min(mean), most.max(mean)]
                    })
                };
                let [least, most] = range_of_means(true);
                assert!(least < 0.45 && most > 0.55, "{least} {most}");
                // Where nothing evens the exposure out, it hardly changes.
                let [least, most] = range_of_means(false);
                assert!(
                    least > 0.46 && most < 0.54 && least < most,
                    "{least} {most}"
                );
            }
        }
    }

    #[test]
    fn more_is_saturated_of_what_is_fitted_on() {
        let shape = [1, 80, 96];
        let saturated = |strength| {
            let retake = Retake {
                strength,
                ..retake(shape, true)
            };
            let shares = (0..40).map(|counter| {
                let mut random = stream(3, Purpose::Retake, counter);
                let taken = retake.take(&frame(shape), Pose::Held, &mut random).unwrap();
                taken.iter().filter(|value| **value > 0.99).count()
            });
            shares.sum::<usize>()
        };
        assert!(saturated(FITTED) > 2 * saturated(JUDGED));
    }

    #[test]
    fn dark_frames_are_washed_out_too() {
        let dark: Vec<f32> = frame([1, 80, 96]).iter().map(|v| 0.55 * v).collect();
        let lost = |strength: Strength| -> Vec<f32> {
            let each = (0..60).map(|counter| {
                let mut random = stream(3, Purpose::Retake, counter);
                let retake = Retake {
                    strength,
                    ..retake([1, 80, 96], true)
                };
                let taken = retake.take(&dark, Pose::Held, &mut random).unwrap();
                let lost = taken.iter().filter(|value| **value > 0.97).count();
                lost as f32 / dark.len() as f32
            });
            each.collect()
        };
        let fitted = lost(FITTED);
        let with = |least: f32| fitted.iter().filter(|lost| **lost > least).count();
        // A fair share of the frames, and of each frame.
        assert!((15..48).contains(&with(0.05)), "{fitted:?}");
        assert!(with(0.2) > 0 && with(0.6) == 0, "{fitted:?}");
        assert!(lost(JUDGED).iter().all(|lost| *lost < 0.01));
        // A fifth of it is bright, before a dark background.
        let part: Vec<f32> = (0..1000).map(|i| if i < 200 { 0.8 } else { 0.1 }).collect();
        let bright = -0.8f32.log2();
        assert!((washing_out(&part, 0.1) - bright).abs() < 1e-6);
        assert!((washing_out(&part, 0.5) - bright - BEYOND).abs() < 1e-6);
        assert_eq!(washing_out(&[0.0; 4], 0.5), BRIGHTEST);
    }

    /// A frame of three times the canvas's pixels is changed as it is, a much larger one on its canvas.
    #[test]
    fn frames_are_changed_before_they_are_resized() {
        let settings = PreprocessSettings {
            exposure: Some(edge_vae::preprocess::Exposure::default()),
            ..PreprocessSettings::new(64, 64, edge_vae::preprocess::Colour::Grey)
        };
        let mut plain = Preprocessor::new(PreprocessSettings {
            exposure: None,
            ..settings.clone()
        })
        .unwrap();
        let mut whole = Preprocessor::new(settings.clone()).unwrap();
        let retake = Retake::to_fit(&settings, 100);
        for (side, bits) in [(110, Some(8)), (300, None)] {
            let shape = [1, side, side];
            let picture = planes::to_frame(&frame(shape), shape, 8, "drawn").unwrap();
            let original = retake.original(&picture, &mut plain).unwrap();
            assert_eq!(original.bits, bits);
            let kept = bits.map_or([1, 64, 64], |_| shape);
            assert_eq!(original.shape, kept);
            let mut canvases = (0..2).map(|counter| {
                let mut random = stream(3, Purpose::Retake, counter);
                let whole = &mut whole;
                retake
                    .prepare(&original, Pose::Held, whole, &mut random)
                    .unwrap();
                whole.canvas().to_vec()
            });
            let (a, b) = (canvases.next().unwrap(), canvases.next().unwrap());
            assert_eq!(a.len(), 64 * 64);
            assert_ne!(a, b);
        }
    }

    #[test]
    fn compression_keeps_the_picture_and_costs_details() {
        for channels in [1, 3] {
            let shape = [channels, 64, 64];
            let smooth: Vec<f32> = (0..channels * 4096)
                .map(|i| 0.2 + 0.6 * ((i % 64) as f32 / 64.0))
                .collect();
            let mut stored = smooth.clone();
            compress(&mut stored, shape, 90).unwrap();
            let worst = |a: &[f32], b: &[f32]| {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max)
            };
            assert!(worst(&smooth, &stored) < 0.03);
            let busy = frame(shape);
            let mut stored = busy.clone();
            compress(&mut stored, shape, 40).unwrap();
            assert!(worst(&busy, &stored) > 0.1);
        }
    }

    #[test]
    fn small_frames_are_not_moved() {
        let shape = [1, 28, 28];
        let mut dot = vec![0.0; 784];
        dot[14 * 28 + 14] = 1.0;
        for counter in 0..20 {
            let mut random = stream(5, Purpose::Trial, counter);
            let taken = retake(shape, false)
                .take(&dot, Pose::Held, &mut random)
                .unwrap();
            let brightest = taken.iter().position(|v| taken.iter().all(|o| o <= v));
            assert_eq!(brightest, Some(14 * 28 + 14));
        }
    }
}
