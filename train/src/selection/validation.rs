//! The synthetic validation set: samples of held-out normal frames, half of them with synthetic
//! defects, all augmented in sharpness, noise and position as strongly as a production line does,
//! and in exposure and contrast where the model normalises these.
//!
//! Where frames are so small that each shows one thing as a whole, every second anomaly is a change
//! of the whole shape.

use std::ops::RangeInclusive;

use anyhow::Result;
use edge_vae::{image::GaussianSmoothing, preprocess::Interior};
use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::proportions::Proportions;
use crate::{
    data::equivalent_side,
    defects::{self, DefectOptions, changed_shape},
    features::{FitData, FrameAugmentation, SMALL_JITTER, preprocessors},
    random::{Purpose, stream},
};

/// How many samples there are, and of what.
#[derive(Debug)]
struct ValidationParams {
    /// Normal samples and anomalous ones, of as many held-out frames as there are: the AUROC is
    /// then known to about two points.
    samples: [usize; 2],
    /// The same of a single frame at most: more of it differ by augmentation alone.
    of_one_frame: [usize; 2],
    /// Times as many where every second anomaly is a change of the whole shape.
    with_shapes: usize,
    /// Longest side of tensors that show one thing as a whole, in pixels.
    whole: usize,
    /// Least share of the changes of the whole shape that can be seen, against the defects: a
    /// surface looks the same turned and joined, and the few that can be seen say nothing of it.
    visible_shapes: f64,
    /// Most values of all samples together: canvases of tiles are large, and the maps of all
    /// candidates are kept beside them.
    most_values: usize,
    /// Standard deviation, as a share of the equivalent side of a tensor, of what is looked away
    /// from
    /// where the busy places of a frame are found.
    coarse: f32,
    /// The same of the surroundings that count.
    surroundings: f32,
    /// Side of the tensors in which defects have the sizes that they are drawn in, in pixels.
    drawn_side: f32,
}

const PARAMS: ValidationParams = ValidationParams {
    samples: [160, 240],
    of_one_frame: [6, 16],
    with_shapes: 2,
    whole: 32,
    visible_shapes: 1.0 / 3.0,
    most_values: 160 << 20,
    coarse: 1.0 / 16.0,
    surroundings: 1.0 / 32.0,
    drawn_side: 128.0,
};

/// The groups of samples.
const NORMAL: usize = 0;
const ANOMALOUS: usize = 1;

/// A sample, prepared or not.
#[derive(Debug)]
pub struct SyntheticSample {
    /// The canvas, C×H×W.
    pub canvas: Vec<f32>,
    /// What is wrong with it.
    pub label: Label,
    /// Mean absolute change of the values that a defect covers, 0–1; 0 where there is none.
    pub contrast: f32,
}

/// Which defects there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Defects {
    /// Rounds of the frames of which one has defects anywhere. In the others a defect is the one of
    /// some drawings where most is to be seen: of a part before a plain background most drawings
    /// would miss it, and what is found on the background says nothing of the part.
    rounds: usize,
    /// The drawings.
    drawings: usize,
    /// Mean change of the values that the faintest defects cover; contrasts are log-uniform from
    /// there to what is drawn. `None` where they stay as they are drawn.
    faintest: Option<f32>,
}

/// What input sizes are compared by: a size loses what is small, not what is faint.
pub(super) const AS_DRAWN: Defects = Defects {
    rounds: 2,
    drawings: 6,
    faintest: None,
};

/// What scores are compared by: a defect that every score finds tells nothing of them, and on the
/// part they differ.
const TELLING: Defects = Defects {
    rounds: 4,
    drawings: 12,
    faintest: Some(0.03),
};

/// What is wrong with a sample.
#[derive(Clone, Debug)]
pub enum Label {
    /// Nothing.
    Normal,
    /// A defect in this place, H×W of the canvas.
    Defect(Vec<bool>),
    /// Its shape as a whole, which is in no place.
    Shape,
}

impl Label {
    /// Whether anything is wrong.
    pub fn is_anomalous(&self) -> bool {
        !matches!(self, Self::Normal)
    }

    /// Whether it has a defect in some place.
    pub fn is_defect(&self) -> bool {
        matches!(self, Self::Defect(_))
    }

    /// Whether its shape as a whole is wrong.
    pub fn is_shape(&self) -> bool {
        matches!(self, Self::Shape)
    }
}

/// Bytes that the samples on canvases of `shape` take at most.
pub fn most_bytes(shape: [usize; 3]) -> u64 {
    let values: usize = shape.iter().product();
    let times = match shape[1].max(shape[2]) <= PARAMS.whole {
        true => PARAMS.with_shapes,
        false => 1,
    };
    let samples = times * PARAMS.samples.iter().sum::<usize>();
    ((samples * values).min(PARAMS.most_values) * size_of::<f32>()) as u64
}

/// How many samples are made of so many held-out frames, at most.
pub(super) fn most(held_out: usize) -> usize {
    let of_group = PARAMS.samples.iter().zip(PARAMS.of_one_frame);
    let each = of_group.map(|(&wanted, of_one)| wanted.min(of_one * held_out));
    each.sum()
}

/// Draws the samples of one of so many `folds`, normal ones first, and prepares them.
///
/// # Errors
/// A frame that can no longer be read.
pub fn make(data: &FitData, folds: usize) -> Result<Vec<SyntheticSample>> {
    prepare(draw(data, folds, TELLING)?, data)
}

/// Draws those of [`make`] that have a defect in some place, and prepares them.
///
/// # Errors
/// A frame that can no longer be read.
pub fn make_defects(data: &FitData, folds: usize) -> Result<Vec<SyntheticSample>> {
    let mut drawn = draw_groups(data, folds, TELLING, ANOMALOUS..=ANOMALOUS)?;
    drawn.retain(|sample| sample.label.is_defect());
    prepare(drawn, data)
}

/// Draws those of [`make`] that are normal, and prepares them.
///
/// # Errors
/// A frame that can no longer be read.
pub fn make_normal(data: &FitData) -> Result<Vec<SyntheticSample>> {
    prepare(draw_groups(data, 1, TELLING, NORMAL..=NORMAL)?, data)
}

fn prepare(drawn: Vec<SyntheticSample>, data: &FitData) -> Result<Vec<SyntheticSample>> {
    let [_, mut whole] = preprocessors(data)?;
    let prepare = |sample: SyntheticSample| {
        whole.prepare_values(&sample.canvas, "a sample of synthetic validation")?;
        Ok(SyntheticSample {
            canvas: whole.canvas().to_vec(),
            ..sample
        })
    };
    drawn.into_iter().map(prepare).collect()
}

/// Draws the samples of one of so many `folds`, normal ones first; their canvases are in [0, 1],
/// nothing of them normalised.
///
/// # Errors
/// A frame that can no longer be read.
pub(super) fn draw(data: &FitData, folds: usize, defects: Defects) -> Result<Vec<SyntheticSample>> {
    let mut made = draw_groups(data, folds, defects, NORMAL..=ANOMALOUS)?;
    let count = |is: fn(&Label) -> bool| made.iter().filter(|s| is(&s.label)).count() as f64;
    if count(Label::is_shape) < PARAMS.visible_shapes * count(Label::is_defect) {
        made.retain(|sample| !sample.label.is_shape());
    }
    Ok(made)
}

/// The samples of some groups, of which there are two, [`NORMAL`] and [`ANOMALOUS`].
fn draw_groups(
    data: &FitData,
    folds: usize,
    defects: Defects,
    groups: RangeInclusive<usize>,
) -> Result<Vec<SyntheticSample>> {
    let [mut plain, _] = preprocessors(data)?;
    let shape = data.preprocess.canvas_shape();
    let [_, height, width] = data.preprocess.shape();
    let side = equivalent_side([height, width]);
    let shows_one_thing = height.max(width) <= PARAMS.whole && data.tiles() == 1;
    let interior = data.layout.interior([shape[1], shape[2]]);
    let held_out = &data.split.validation;
    let room = (PARAMS.most_values / shape.iter().product::<usize>()).max(2);
    let share = (room as f64 / PARAMS.samples.iter().sum::<usize>() as f64).min(1.0);
    let share = share / folds.max(1) as f64;
    let times = if shows_one_thing {
        PARAMS.with_shapes
    } else {
        1
    };
    let wanted = PARAMS
        .samples
        .map(|count| ((count as f64 * share) as usize * times).max(1));
    let most = held_out.len().min(wanted[1]);
    let frames = held_out[..most]
        .iter()
        .map(|&index| {
            let frame = data.samples[index].frame()?;
            plain.prepare_canvas(&frame)?;
            let size = [frame.height(), frame.width()].map(f64::from);
            let proportions = Proportions::of(size, data.preprocess.crop, shape);
            Ok((plain.canvas().to_vec(), proportions))
        })
        .collect::<Result<Vec<_>>>()?;
    let maker = Maker {
        augmentation: FrameAugmentation::to_score(data.preprocess),
        frames: &frames,
        shape,
        side,
        shows_one_thing,
        interior: interior.as_ref().map(Interior::cells),
        defects,
    };
    let mut made = Vec::new();
    for group in groups {
        let wanted = wanted[group];
        let of_each = wanted.div_ceil(frames.len().max(1));
        let count = of_each.min(PARAMS.of_one_frame[group]) * frames.len();
        let drawn = (0..count.min(wanted))
            .into_par_iter()
            .map(|place| {
                let counter = (place + group * (1 << 32)) as u64;
                let mut random = stream(data.seed, Purpose::SyntheticValidation, counter);
                match group {
                    NORMAL => maker.normal(place, &mut random).map(Some),
                    _ => maker.anomalous(place, &mut random),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        made.extend(drawn.into_iter().flatten());
    }
    Ok(made)
}

/// Makes samples of held-out frames.
struct Maker<'a> {
    augmentation: FrameAugmentation,
    /// Held-out frames, nothing of them normalised, and their proportions where the canvas has
    /// others.
    frames: &'a [(Vec<f32>, Option<Proportions>)],
    /// C×H×W of the canvas.
    shape: [usize; 3],
    /// [`equivalent_side`] of a tensor.
    side: f32,
    shows_one_thing: bool,
    /// Pixels that count, where not all do.
    interior: Option<&'a [bool]>,
    defects: Defects,
}

impl Maker<'_> {
    fn frame(&self, place: usize) -> &[f32] {
        &self.frames[place % self.frames.len()].0
    }

    fn donor(&self, random: &mut impl Rng) -> &[f32] {
        &self.frames[random.random_range(0..self.frames.len())].0
    }

    fn normal(&self, place: usize, random: &mut impl Rng) -> Result<SyntheticSample> {
        let values = self
            .augmentation
            .apply(self.frame(place), &SMALL_JITTER, random)?;
        Ok(SyntheticSample {
            canvas: values,
            label: Label::Normal,
            contrast: 0.0,
        })
    }

    /// `None` where nothing was drawn that can be seen.
    fn anomalous(&self, place: usize, random: &mut impl Rng) -> Result<Option<SyntheticSample>> {
        if self.shows_one_thing && place % 2 == 1 {
            let donor = self.donor(random);
            let Some(other) = changed_shape(random, self.frame(place), self.shape, donor) else {
                return Ok(None);
            };
            let values = self.augmentation.apply(&other, &SMALL_JITTER, random)?;
            return Ok(Some(SyntheticSample {
                canvas: values,
                label: Label::Shape,
                contrast: 0.0,
            }));
        }
        let values = self
            .augmentation
            .apply(self.frame(place), &SMALL_JITTER, random)?;
        let drawn = if !(place / self.frames.len()).is_multiple_of(self.defects.rounds) {
            let busy = busy(&values, self.shape, self.side)?;
            (0..self.defects.drawings)
                .filter_map(|_| self.draw(place, &values, random))
                .max_by(|(_, a), (_, b)| mean_inside(&busy, a).total_cmp(&mean_inside(&busy, b)))
        } else {
            self.draw(place, &values, random)
        };
        Ok(drawn.map(|(canvas, mask)| SyntheticSample {
            contrast: contrast(&values, &canvas, &mask),
            canvas,
            label: Label::Defect(mask),
        }))
    }

    /// `picture`, of the frame at `place`, with a defect, and where it is.
    fn draw(
        &self,
        place: usize,
        picture: &[f32],
        random: &mut impl Rng,
    ) -> Option<(Vec<f32>, Vec<bool>)> {
        let donor = self.donor(random);
        let options = DefectOptions {
            scale: scale(self.side, random),
            ..DefectOptions::default()
        };
        let mut drawn = match &self.frames[place % self.frames.len()].1 {
            None => defects::defective(random, &options, picture, self.shape, donor),
            Some(own) => own.draw(picture, donor, |picture, shape, donor| {
                defects::defective(random, &options, picture, shape, donor)
            }),
        };
        if let Some(interior) = self.interior {
            let cells = drawn.mask.iter_mut().zip(interior);
            cells.for_each(|(defect, inside)| *defect &= inside);
        }
        let visible = !drawn.kinds.is_empty() && drawn.mask.contains(&true);
        if let Some(faintest) = self.defects.faintest {
            let share = random.random();
            fade(&mut drawn.values, picture, &drawn.mask, [faintest, share]);
        }
        visible.then_some((drawn.values, drawn.mask))
    }
}

/// Factor of a defect's size: in tensors of more than 128 pixels a side some defects are as small
/// as in those, some as large in proportion.
fn scale(side: f32, random: &mut impl Rng) -> f32 {
    let largest = (side / PARAMS.drawn_side).max(1.0);
    largest.powf(random.random())
}

/// Fades a defect to a contrast between `faintest` and its own, which is `share` of the way on a
/// logarithmic scale.
fn fade(values: &mut [f32], picture: &[f32], mask: &[bool], [faintest, share]: [f32; 2]) {
    let covered = mask.iter().cycle();
    let changes = values.iter().zip(picture).zip(covered);
    let changes = changes.filter(|(_, covered)| **covered);
    let (sum, count) = changes.fold((0.0, 0), |(sum, count), ((value, was), _)| {
        (sum + (value - was).abs(), count + 1)
    });
    let contrast = sum / count.max(1) as f32;
    if contrast <= faintest {
        return;
    }
    let factor = (faintest / contrast).powf(1.0 - share);
    for (value, was) in values.iter_mut().zip(picture) {
        *value = was + factor * (*value - was);
    }
}

/// How much is to be seen around each pixel of a frame C×H×W: the mean difference from what it
/// looks like out of focus, H×W.
fn busy(frame: &[f32], [_, height, width]: [usize; 3], side: f32) -> Result<Vec<f32>> {
    let deviation = |share: f32| share * side;
    let mut coarse = GaussianSmoothing::new(width, height, deviation(PARAMS.coarse))?;
    let mut around = GaussianSmoothing::new(width, height, deviation(PARAMS.surroundings))?;
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

/// Mean absolute change from `clean` to `drawn`, both C×H×W, where `mask` (H×W) is set.
fn contrast(clean: &[f32], drawn: &[f32], mask: &[bool]) -> f32 {
    let planes = clean.len() / mask.len().max(1);
    let change: Vec<f32> = clean
        .iter()
        .zip(drawn)
        .map(|(a, b)| (a - b).abs())
        .collect();
    let each = change.chunks_exact(mask.len().max(1));
    each.map(|plane| mean_inside(plane, mask)).sum::<f32>() / planes.max(1) as f32
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
        let busy = busy(&frame, [1, height, width], 64.0).unwrap();
        let inside: Vec<bool> = (0..height * width)
            .map(|i| part(i / width, i % width))
            .collect();
        let outside: Vec<bool> = (0..height * width).map(|i| i % width < 40).collect();
        assert!(mean_inside(&busy, &inside) > 20.0 * mean_inside(&busy, &outside));
        assert_eq!(mean_inside(&busy, &vec![false; height * width]), 0.0);
    }

    #[test]
    fn contrasts_go_from_the_faintest_to_what_was_drawn() {
        let picture = vec![0.5; 8];
        let mask = [true, true, false, false];
        let drawn = [0.8, 0.8, 0.5, 0.5, 0.2, 0.2, 0.5, 0.5];
        let faded = |share: f32| {
            let mut values = drawn.to_vec();
            fade(&mut values, &picture, &mask, [0.03, share]);
            (values[0] - 0.5, values[4] - 0.5, values[2])
        };
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} {b}");
        close(faded(1.0).0, 0.3);
        close(faded(0.0).0, 0.03);
        close(faded(0.0).1, -0.03);
        close(faded(0.5).0, (0.3_f32 * 0.03).sqrt());
        close(faded(0.5).2, 0.5);
    }

    #[test]
    fn contrast_is_the_mean_change_inside_a_defect() {
        let clean = [0.5; 8];
        let drawn = [0.5, 0.7, 0.1, 0.0, 0.5, 0.5, 0.9, 0.0];
        // Two planes of four pixels, of which two count: 0.2, 0.4 and 0, 0.4.
        let found = contrast(&clean, &drawn, &[false, true, true, false]);
        assert!((found - 0.25).abs() < 1e-6, "{found}");
    }

    #[test]
    fn sizes_of_defects_go_with_large_tensors_only() {
        let mut random = stream(3, Purpose::SyntheticValidation, 0);
        assert_eq!(scale(128.0, &mut random), 1.0);
        assert_eq!(scale(28.0, &mut random), 1.0);
        let large: Vec<f32> = (0..50).map(|_| scale(256.0, &mut random)).collect();
        assert!(large.iter().all(|s| (1.0..=2.0).contains(s)));
        assert!(large.iter().any(|&s| s < 1.2) && large.iter().any(|&s| s > 1.8));
    }
}
