//! Synthetic validation: held-out normal frames, half of them with synthetic defects, all changed
//! in sharpness, noise and position as strongly as a production line does, and in exposure and contrast
//! where the model evens these out.
//!
//! Where frames are so small that each shows one thing as a whole, every second defect is a change of
//! the whole shape.

use anyhow::Result;
use edge_vae::{image::GaussianSmoothing, preprocess::Interior};
use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::{
    Material,
    retake::{Pose, Retake, preprocessors},
};
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
const MOST_VALUES: usize = 160 << 20;

/// Drawings of which every second defect is the one where most is to be seen: of a part before a plain
/// background most drawings would miss it.
const DRAWINGS: usize = 6;

/// Standard deviations, as shares of the shorter side of a tensor, of what is looked away from and of
/// the surroundings that count where the busy places of a frame are found.
const COARSE: f32 = 1.0 / 16.0;
const SURROUNDINGS: f32 = 1.0 / 32.0;

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

/// How many frames are made of so many held-out ones, at most.
pub(super) fn most(held_out: usize) -> usize {
    let of_group = WANTED.iter().zip(MOST_OF_ONE);
    let each = of_group.map(|(&wanted, of_one)| wanted.min(of_one * held_out));
    each.sum()
}

/// Makes the frames, normal ones first, and prepares them.
///
/// # Errors
/// A frame that can no longer be read.
pub(super) fn make(material: &Material) -> Result<Vec<Made>> {
    let [_, mut whole] = preprocessors(material)?;
    let prepare = |(values, truth): (Vec<f32>, Truth)| {
        whole.prepare_values(&values, "a frame of synthetic validation")?;
        Ok(Made {
            canvas: whole.canvas().to_vec(),
            truth,
        })
    };
    draw(material)?.into_iter().map(prepare).collect()
}

/// Draws the frames, normal ones first: C×H×W of the canvas in [0, 1], neither evened nor normalised.
///
/// # Errors
/// A frame that can no longer be read.
pub(super) fn draw(material: &Material) -> Result<Vec<(Vec<f32>, Truth)>> {
    let [mut plain, _] = preprocessors(material)?;
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
    let most = held_out.len().min(wanted[1]);
    let frames = held_out[..most]
        .iter()
        .map(|&index| {
            plain.prepare_canvas(&material.samples[index].frame()?)?;
            Ok(plain.canvas().to_vec())
        })
        .collect::<Result<Vec<Vec<f32>>>>()?;
    let maker = Maker {
        retake: Retake::to_judge(material.preprocess),
        frames: &frames,
        shape,
        side,
        shows_one_thing,
        interior: interior.as_ref().map(Interior::cells),
    };
    let mut made = Vec::new();
    for (group, wanted) in wanted.into_iter().enumerate() {
        let copies = wanted.div_ceil(frames.len().max(1)).min(MOST_OF_ONE[group]);
        let count = copies * frames.len();
        let drawn = (0..count.min(wanted))
            .into_par_iter()
            .map(|place| {
                let counter = (place + group * (1 << 32)) as u64;
                let mut random = stream(material.seed, Purpose::Trial, counter);
                match group {
                    0 => maker.normal(place, &mut random).map(Some),
                    _ => maker.anomalous(place, &mut random),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        made.extend(drawn.into_iter().flatten());
    }
    Ok(made)
}

/// Makes frames of synthetic validation out of held-out ones.
struct Maker<'a> {
    retake: Retake,
    /// Held-out frames, neither evened nor normalised.
    frames: &'a [Vec<f32>],
    /// C×H×W of the canvas.
    shape: [usize; 3],
    /// Shorter side of a tensor.
    side: usize,
    shows_one_thing: bool,
    /// Pixels that count, where not all do.
    interior: Option<&'a [bool]>,
}

impl Maker<'_> {
    fn frame(&self, place: usize) -> &[f32] {
        &self.frames[place % self.frames.len()]
    }

    fn donor(&self, random: &mut impl Rng) -> &[f32] {
        &self.frames[random.random_range(0..self.frames.len())]
    }

    fn normal(&self, place: usize, random: &mut impl Rng) -> Result<(Vec<f32>, Truth)> {
        let values = self.retake.take(self.frame(place), Pose::Held, random)?;
        Ok((values, Truth::Normal))
    }

    /// `None` where nothing was drawn that can be seen.
    fn anomalous(&self, place: usize, random: &mut impl Rng) -> Result<Option<(Vec<f32>, Truth)>> {
        if self.shows_one_thing && place % 2 == 1 {
            let donor = self.donor(random);
            let Some(other) = changed_shape(random, self.frame(place), self.shape, donor) else {
                return Ok(None);
            };
            let values = self.retake.take(&other, Pose::Held, random)?;
            return Ok(Some((values, Truth::Shape)));
        }
        let values = self.retake.take(self.frame(place), Pose::Held, random)?;
        let drawn = if place / self.frames.len() % 2 == 1 {
            let busy = busy(&values, self.shape, self.side)?;
            (0..DRAWINGS)
                .filter_map(|_| self.draw(&values, random))
                .max_by(|(_, a), (_, b)| mean_inside(&busy, a).total_cmp(&mean_inside(&busy, b)))
        } else {
            self.draw(&values, random)
        };
        Ok(drawn.map(|(values, mask)| (values, Truth::Defect(mask))))
    }

    /// `picture` with a defect, and where it is.
    fn draw(&self, picture: &[f32], random: &mut impl Rng) -> Option<(Vec<f32>, Vec<bool>)> {
        let donor = self.donor(random);
        let options = DefectOptions {
            scale: scale(self.side, random),
            ..DefectOptions::default()
        };
        let mut drawn = defects::defective(random, &options, picture, self.shape, donor);
        if let Some(interior) = self.interior {
            let cells = drawn.mask.iter_mut().zip(interior);
            cells.for_each(|(defect, inside)| *defect &= inside);
        }
        let visible = !drawn.kinds.is_empty() && drawn.mask.contains(&true);
        visible.then_some((drawn.values, drawn.mask))
    }
}

/// Factor of a defect's size: in tensors of more than 128 pixels a side some defects are as small as
/// in those, some as large in proportion.
fn scale(side: usize, random: &mut impl Rng) -> f32 {
    let largest = (side as f32 / 128.0).max(1.0);
    largest.powf(random.random())
}

/// How much is to be seen around each pixel of a frame C×H×W: the mean difference from what it
/// looks like out of focus, H×W.
fn busy(frame: &[f32], [_, height, width]: [usize; 3], side: usize) -> Result<Vec<f32>> {
    let deviation = |share: f32| share * side as f32;
    let mut coarse = GaussianSmoothing::new(width, height, deviation(COARSE))?;
    let mut around = GaussianSmoothing::new(width, height, deviation(SURROUNDINGS))?;
    let mut busy = vec![0.0; height * width];
    for plane in frame.chunks_exact(height * width) {
        let mut smooth = plane.to_vec();
        coarse.apply(&mut smooth)?;
        for ((busy, value), smooth) in busy.iter_mut().zip(plane).zip(smooth) {
            *busy += (value - smooth).abs();
        }
    }
    around.apply(&mut busy)?;
    Ok(busy)
}

/// The mean of `values` where `mask` is set, 0 where it is nowhere.
fn mean_inside(values: &[f32], mask: &[bool]) -> f32 {
    let (sum, count) = values
        .iter()
        .zip(mask)
        .filter(|(_, inside)| **inside)
        .fold((0.0, 0), |(sum, count), (value, _)| {
            (sum + value, count + 1)
        });
    sum / count.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_before_a_plain_background_is_busy() {
        let (height, width) = (64, 96);
        let part = |y: usize, x: usize| (20..30).contains(&y) && (60..80).contains(&x);
        let frame: Vec<f32> = (0..height * width)
            .map(|i| match part(i / width, i % width) {
                true => 0.3 + 0.4 * ((i % 2) as f32),
                false => 0.5,
            })
            .collect();
        let busy = busy(&frame, [1, height, width], 64).unwrap();
        let inside: Vec<bool> = (0..height * width)
            .map(|i| part(i / width, i % width))
            .collect();
        let outside: Vec<bool> = (0..height * width).map(|i| i % width < 40).collect();
        assert!(mean_inside(&busy, &inside) > 20.0 * mean_inside(&busy, &outside));
        assert_eq!(mean_inside(&busy, &vec![false; height * width]), 0.0);
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
