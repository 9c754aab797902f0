//! Synthetic validation: held-out normal frames, half of them with synthetic defects, all changed
//! in sharpness, noise and position as strongly as a production line does, and in exposure and contrast
//! where the model evens these out.
//!
//! Where frames are so small that each shows one thing as a whole, every second defect is a change of
//! the whole shape.

use anyhow::Result;
use edge_vae::{
    anomaly::GaussianSmoothing,
    preprocess::{Normalise, PreprocessSettings, Preprocessor},
};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::Material;
use crate::{
    defects::{self, DefectOptions, changed_shape},
    random::{Purpose, stream},
};

/// Normal frames and defective ones that are made at least, of as many held-out frames as there
/// are, and at most of a single frame.
const WANTED: [usize; 2] = [160, 240];
const MOST_OF_ONE: [usize; 2] = [6, 16];
/// Times as many where every second one is a change of the whole shape.
const WITH_SHAPES: usize = 2;

/// Longest side of tensors that show one thing as a whole.
const WHOLE: usize = 32;

/// Most values of all frames together: canvases of tiles are large, and the maps of all candidates
/// are kept beside them.
const MOST_VALUES: usize = 100 << 20;

/// Largest changes of a frame: gain, as a power of two; offset, as a share of full scale; gamma, as
/// a power of two; contrast about the mean, relative; deviation of noise; of blur, in pixels of a
/// tensor of 128; shift, as a share of the side.
const GAIN: f32 = 0.38;
const OFFSET: f32 = 0.03;
const GAMMA: f32 = 0.15;
const CONTRAST: f32 = 0.15;
const NOISE: f32 = 0.012;
const BLUR: f32 = 0.5;
const SHIFT: f32 = 0.015;

/// Share of the changes of exposure and of contrast where preprocessing does not even them out: such
/// a model is for a camera and a light that hold still, and would otherwise be chosen for what it
/// does without.
const UNEVENED: f32 = 0.1;

/// A prepared frame of synthetic validation.
#[derive(Debug)]
pub(super) struct Made {
    /// The prepared canvas, C×H×W.
    pub canvas: Vec<f32>,
    /// What is wrong with it.
    pub truth: Truth,
}

/// What is wrong with a frame.
#[derive(Clone, Debug)]
pub(super) enum Truth {
    /// Nothing.
    Normal,
    /// A defect in this place, H×W of the canvas.
    Defect(Vec<bool>),
    /// Its shape as a whole, which is in no place.
    Shape,
}

impl Truth {
    /// Whether anything is wrong.
    pub(super) fn is_anomalous(&self) -> bool {
        !matches!(self, Self::Normal)
    }

    /// Whether it has a defect in some place.
    pub(super) fn is_defect(&self) -> bool {
        matches!(self, Self::Defect(_))
    }

    /// Whether its shape as a whole is wrong.
    pub(super) fn is_shape(&self) -> bool {
        matches!(self, Self::Shape)
    }
}

/// Makes the frames, normal ones first.
///
/// # Errors
/// A frame that can no longer be read.
pub(super) fn make(material: &Material) -> Result<Vec<Made>> {
    let settings = PreprocessSettings {
        exposure: None,
        contrast: None,
        normalise: Normalise::identity(material.preprocess.channels()),
        ..material.preprocess.clone()
    };
    let mut plain = Preprocessor::with_mask(settings, material.mask)?;
    let mut whole = Preprocessor::with_mask(material.preprocess.clone(), material.mask)?;
    let shape = material.preprocess.canvas_shape();
    let [_, height, width] = material.preprocess.shape();
    let side = height.min(width);
    let shows_one_thing = height.max(width) <= WHOLE && material.layout.tiles().count() == 1;
    let interior = material.layout.interior([shape[1], shape[2]]);
    let held_out = &material.split.validation;
    let room = (MOST_VALUES / shape.iter().product::<usize>()).max(2);
    let share = (room as f64 / (WANTED[0] + WANTED[1]) as f64).min(1.0);
    let times = if shows_one_thing { WITH_SHAPES } else { 1 };
    let wanted = WANTED.map(|count| ((count as f64 * share) as usize * times).max(1));
    let evened = Evened {
        exposure: material.preprocess.exposure.is_some(),
        contrast: material.preprocess.contrast.is_some(),
    };
    let most = held_out.len().min(wanted[1]);
    let frames = held_out[..most]
        .iter()
        .map(|&index| {
            plain.prepare_canvas(&material.samples[index].frame()?)?;
            Ok(plain.canvas().to_vec())
        })
        .collect::<Result<Vec<Vec<f32>>>>()?;
    let mut made = Vec::new();
    for defective in [false, true] {
        let group = usize::from(defective);
        let copies = wanted[group]
            .div_ceil(frames.len().max(1))
            .min(MOST_OF_ONE[group]);
        for place in 0..copies * frames.len() {
            if made.len() >= wanted[0] + group * wanted[1] {
                break;
            }
            let counter = (place + group * (1 << 32)) as u64;
            let mut random = stream(material.seed, Purpose::Trial, counter);
            let frame = &frames[place % frames.len()];
            let (values, truth) = if !defective {
                (
                    change(frame, shape, side, evened, &mut random)?,
                    Truth::Normal,
                )
            } else if shows_one_thing && place % 2 == 1 {
                let donor = &frames[random.random_range(0..frames.len())];
                let Some(other) = changed_shape(&mut random, frame, shape, donor) else {
                    continue;
                };
                (
                    change(&other, shape, side, evened, &mut random)?,
                    Truth::Shape,
                )
            } else {
                let values = change(frame, shape, side, evened, &mut random)?;
                let donor = &frames[random.random_range(0..frames.len())];
                let options = DefectOptions {
                    scale: scale(side, &mut random),
                    ..DefectOptions::default()
                };
                let mut drawn = defects::defective(&mut random, &options, &values, shape, donor);
                if let Some(interior) = &interior {
                    let cells = drawn.mask.iter_mut().zip(interior.cells());
                    cells.for_each(|(defect, inside)| *defect &= inside);
                }
                if drawn.kinds.is_empty() || !drawn.mask.contains(&true) {
                    continue;
                }
                (drawn.values, Truth::Defect(drawn.mask))
            };
            whole.prepare_values(&values, "a frame of synthetic validation")?;
            made.push(Made {
                canvas: whole.canvas().to_vec(),
                truth,
            });
        }
    }
    Ok(made)
}

/// Factor of a defect's size: in tensors of more than 128 pixels a side some defects are as small as
/// in those, some as large in proportion.
fn scale(side: usize, random: &mut impl Rng) -> f32 {
    let largest = (side as f32 / 128.0).max(1.0);
    largest.powf(random.random())
}

/// What preprocessing evens out.
#[derive(Clone, Copy, Debug)]
struct Evened {
    exposure: bool,
    contrast: bool,
}

/// A frame as another exposure, lens and hand would have taken it, C×H×W in [0, 1], for tensors of
/// `side` pixels.
fn change(
    frame: &[f32],
    [_, height, width]: [usize; 3],
    side: usize,
    evened: Evened,
    random: &mut impl Rng,
) -> Result<Vec<f32>> {
    let share = |evened: bool| if evened { 1.0 } else { UNEVENED };
    let (exposed, contrasted) = (share(evened.exposure), share(evened.contrast));
    let mut both = |most: f32| random.random_range(-most..=most);
    let (gain, gamma) = (
        (exposed * both(GAIN)).exp2(),
        (exposed * both(GAMMA)).exp2(),
    );
    let (offset, contrast) = (exposed * both(OFFSET), 1.0 + contrasted * both(CONTRAST));
    let reach = |side: usize, share: f32| (share * side as f32).round() as i64;
    let shift = [reach(height, both(SHIFT)), reach(width, both(SHIFT))];
    let blur = BLUR * side as f32 / 128.0 * random.random::<f32>().powi(2);
    let noise = NOISE * random.random::<f32>();
    let mut smoothing = GaussianSmoothing::new(width, height, blur)?;
    let mut out = Vec::with_capacity(frame.len());
    for plane in frame.chunks_exact(height * width) {
        let mean = plane.iter().sum::<f32>() / plane.len() as f32;
        let mut changed: Vec<f32> = (0..height * width)
            .map(|place| {
                let from = |place: usize, shift: i64, side: usize| {
                    (place as i64 - shift).clamp(0, side as i64 - 1) as usize
                };
                let y = from(place / width, shift[0], height);
                let x = from(place % width, shift[1], width);
                mean + contrast * (plane[y * width + x] - mean)
            })
            .collect();
        smoothing.apply(&mut changed)?;
        out.extend(changed.iter().map(|value| {
            let grain: f32 = StandardNormal.sample(random);
            let value = (value.clamp(0.0, 1.0).powf(gamma) * gain + offset) + noise * grain;
            value.clamp(0.0, 1.0)
        }));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_frames_stay_in_range_and_differ() {
        let frame: Vec<f32> = (0..2 * 24 * 32).map(|i| (i % 97) as f32 / 97.0).collect();
        let shape = [2, 24, 32];
        let range_of_means = |exposure: bool| {
            let evened = Evened {
                exposure,
                contrast: exposure,
            };
            let means = (0..40).map(|counter| {
                let mut random = stream(3, Purpose::Trial, counter);
                let changed = change(&frame, shape, 24, evened, &mut random).unwrap();
                assert_eq!(changed.len(), frame.len());
                assert!(changed.iter().all(|v| (0.0..=1.0).contains(v)));
                changed.iter().sum::<f32>() / changed.len() as f32
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

    #[test]
    fn sizes_of_defects_go_with_large_tensors_only() {
        let mut random = stream(3, Purpose::Trial, 0);
        assert_eq!(scale(128, &mut random), 1.0);
        assert_eq!(scale(28, &mut random), 1.0);
        let large: Vec<f32> = (0..50).map(|_| scale(256, &mut random)).collect();
        assert!(large.iter().all(|s| (1.0..=2.0).contains(s)));
        assert!(large.iter().any(|&s| s < 1.2) && large.iter().any(|&s| s > 1.8));
    }
}
