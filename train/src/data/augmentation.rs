//! Random changes of training frames, synthetic defects on them, and batches of both.

use candle_core::{Device, Result, Tensor};
use edge_vae::preprocess::Normalise;
use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::{frames::Frames, shape::equivalent_side, view::View};
use crate::{
    defects::{self, DefectOptions},
    options::{Augmentation, HeadOptions},
    random::{Purpose, stream},
};

/// What the network learns from in one step.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What the encoder sees, N×H×W×C.
    pub input: Tensor,
    /// The same without defects.
    pub target: Tensor,
    /// 1 where one of 2×2 pixels belongs to a defect, else 0, N×H/2×W/2×1; absent without a head.
    pub masks: Option<Tensor>,
}

/// Makes batches of frames.
#[derive(Debug)]
pub(crate) struct Batches<'a> {
    /// The frames, C×H×W each.
    pub frames: &'a Frames,
    /// Their normalisation: brightness is changed, and defects are drawn, before it.
    pub normalise: &'a Normalise,
    /// Frames whose texture defects may be filled with.
    pub donors: &'a [usize],
    /// Side of the random crops that are taken of each frame; without it the whole frame.
    pub crop: Option<usize>,
    /// Height and width of the tensor, which is a part of a frame where there are tiles.
    pub tensor: [usize; 2],
    /// Without it there are no defects.
    pub head: Option<HeadOptions>,
    /// Seed of the run.
    pub seed: u64,
}

/// Side of a picture for which defects have the size that they are said to have; in crops of larger
/// frames they are up to as much larger.
const DEFECT_SIDE: f32 = 128.0;

/// One frame of a batch, C×H×W in [0, 1].
struct Picture {
    input: Vec<f32>,
    target: Option<Vec<f32>>,
    /// H×W.
    mask: Option<Vec<bool>>,
}

impl Batches<'_> {
    /// The frames `indices` changed at random, some with defects where there is a head. `counter`
    /// numbers the first of them and must never repeat in a run.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(crate) fn train(
        &self,
        indices: &[usize],
        augmentation: &Augmentation,
        counter: u64,
        device: &Device,
    ) -> Result<Batch> {
        self.assemble(indices.len(), augmentation.binarise, device, |place| {
            let counter = counter + place as u64;
            let mut random = stream(self.seed, Purpose::Augment, counter);
            let view = View::random(self.frames.shape(), self.side(), augmentation, &mut random);
            let mut values = self.look(indices[place], &view);
            brighten(&mut values, augmentation, &mut random);
            let mut defects = stream(self.seed, Purpose::Defect, counter);
            let picture = match &self.head {
                Some(head) if !defects.random_bool(head.clean) => self.spoil(values, &mut defects),
                _ => Picture {
                    input: values,
                    target: None,
                    mask: None,
                },
            };
            (picture, random)
        })
    }

    /// The frames `indices`, or a crop of each, as they are, with the same draws each time.
    /// `counter` numbers the first of them.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(crate) fn validate(
        &self,
        indices: &[usize],
        counter: u64,
        binarise: bool,
        device: &Device,
    ) -> Result<Batch> {
        self.assemble(indices.len(), binarise, device, |place| {
            let mut random = stream(self.seed, Purpose::Validate, counter + place as u64);
            let view = View::plain(self.frames.shape(), self.side(), &mut random);
            let input = self.look(indices[place], &view);
            let picture = Picture {
                input,
                target: None,
                mask: None,
            };
            (picture, random)
        })
    }

    /// As [`Batches::validate`], each with a defect.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(crate) fn validate_defects(
        &self,
        indices: &[usize],
        counter: u64,
        binarise: bool,
        device: &Device,
    ) -> Result<Batch> {
        self.assemble(indices.len(), binarise, device, |place| {
            let mut random = stream(self.seed, Purpose::Validate, counter + place as u64);
            let view = View::plain(self.frames.shape(), self.side(), &mut random);
            let picture = self.spoil(self.look(indices[place], &view), &mut random);
            (picture, random)
        })
    }

    /// Height and width of the pictures of a batch.
    fn side(&self) -> [usize; 2] {
        let [_, height, width] = self.frames.shape();
        let most = self.crop.unwrap_or(usize::MAX);
        [height.min(most), width.min(most)]
    }

    /// A view of a frame, C×h×w in [0, 1].
    fn look(&self, index: usize, view: &View) -> Vec<f32> {
        let [channels, height, width] = self.frames.shape();
        let [rows, columns] = self.side();
        let mut out = vec![0.0; channels * rows * columns];
        let planes = self.frames.get(index).chunks_exact(height * width);
        for (c, (plane, out)) in planes.zip(out.chunks_exact_mut(rows * columns)).enumerate() {
            view.take(plane, out);
            let (mean, std) = (self.normalise.mean[c], self.normalise.std[c]);
            for value in out {
                *value = *value * std + mean;
            }
        }
        out
    }

    /// Draws a defect on `picture`.
    fn spoil(&self, picture: Vec<f32>, random: &mut impl Rng) -> Picture {
        let channels = self.frames.shape()[0];
        let [rows, columns] = self.side();
        let donor = match self.donors {
            [] => picture.clone(),
            donors => {
                let index = donors[random.random_range(0..donors.len())];
                let view = View::plain(self.frames.shape(), [rows, columns], random);
                self.look(index, &view)
            }
        };
        let options = DefectOptions {
            scale: defect_scale(self.tensor, random),
            ..DefectOptions::default()
        };
        let shape = [channels, rows, columns];
        let defective = defects::defective(random, &options, &picture, shape, &donor);
        Picture {
            input: defective.values,
            target: Some(picture),
            mask: Some(defective.mask),
        }
    }

    /// A batch of `count` pictures; what `make` gives beside each is the generator for drawing its
    /// binary pixels, where `binarise`.
    fn assemble<R: Rng>(
        &self,
        count: usize,
        binarise: bool,
        device: &Device,
        make: impl Fn(usize) -> (Picture, R) + Sync,
    ) -> Result<Batch> {
        let channels = self.frames.shape()[0];
        let [rows, columns] = self.side();
        let length = channels * rows * columns;
        let coarse = [rows / 2, columns / 2];
        let with_head = self.head.is_some();
        let made: Vec<[Vec<f32>; 3]> = (0..count)
            .into_par_iter()
            .map(|place| {
                let (mut picture, mut random) = make(place);
                let target = picture.target.get_or_insert_with(|| {
                    if with_head {
                        picture.input.clone()
                    } else {
                        Vec::new()
                    }
                });
                self.normalise.apply(&mut picture.input);
                self.normalise.apply(target);
                if binarise {
                    draw_binary(&mut picture.input, target, &mut random);
                }
                let mask = match (&picture.mask, with_head) {
                    (_, false) => Vec::new(),
                    (None, true) => vec![0.0; coarse[0] * coarse[1]],
                    (Some(mask), true) => halve(mask, columns, coarse),
                };
                [
                    interleave(picture.input, channels),
                    interleave(picture.target.unwrap_or_default(), channels),
                    mask,
                ]
            })
            .collect();
        let join = |part: usize, length: usize| {
            let mut values = Vec::with_capacity(count * length);
            for parts in &made {
                values.extend_from_slice(&parts[part]);
            }
            values
        };
        let shape = (count, rows, columns, channels);
        let input = Tensor::from_vec(join(0, length), shape, device)?;
        if !with_head {
            return Ok(Batch {
                target: input.clone(),
                input,
                masks: None,
            });
        }
        let target = Tensor::from_vec(join(1, length), shape, device)?;
        let shape = (count, coarse[0], coarse[1], 1);
        let masks = Tensor::from_vec(join(2, coarse[0] * coarse[1]), shape, device)?;
        Ok(Batch {
            input,
            target,
            masks: Some(masks),
        })
    }
}

/// Factor of the size of a defect on a tensor of this height and width, or a crop of it.
pub(crate) fn defect_scale(tensor: [usize; 2], random: &mut impl Rng) -> f32 {
    let largest = (equivalent_side(tensor) / DEFECT_SIDE).max(1.0);
    largest.powf(random.random())
}

/// Gain and offset for seven pictures in ten, gamma for three, C×H×W in [0, 1].
fn brighten(picture: &mut [f32], augmentation: &Augmentation, random: &mut impl Rng) {
    let most = augmentation.brightness as f32;
    if most > 0.0 && random.random_bool(0.7) {
        let gain = 1.0 + random.random_range(-most..=most);
        let offset = 0.25 * random.random_range(-most..=most);
        for value in &mut *picture {
            *value = (*value * gain + offset).clamp(0.0, 1.0);
        }
    }
    let most = augmentation.gamma as f32;
    if most > 0.0 && random.random_bool(0.3) {
        let exponent = random.random_range(-most..=most).exp2();
        for value in picture {
            *value = value.clamp(0.0, 1.0).powf(exponent);
        }
    }
}

/// 1 where one of 2×2 pixels of `mask`, `columns` wide, is set: `rows×columns` values.
fn halve(mask: &[bool], columns: usize, coarse: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; coarse[0] * coarse[1]];
    for (y, row) in out.chunks_exact_mut(coarse[1]).enumerate() {
        let rows = [&mask[2 * y * columns..], &mask[(2 * y + 1) * columns..]];
        for (x, out) in row.iter_mut().enumerate() {
            if rows.iter().any(|row| row[2 * x] || row[2 * x + 1]) {
                *out = 1.0;
            }
        }
    }
    out
}

/// From C×H×W to H×W×C.
fn interleave(planar: Vec<f32>, channels: usize) -> Vec<f32> {
    if channels == 1 {
        return planar;
    }
    let size = planar.len() / channels;
    let mut out = vec![0.0; planar.len()];
    for (c, plane) in planar.chunks_exact(size.max(1)).enumerate() {
        for (sample, &value) in out[c..].iter_mut().step_by(channels).zip(plane) {
            *sample = value;
        }
    }
    out
}

/// Draws each pixel from the Bernoulli distribution that its value is, alike in both pictures;
/// the second may be empty.
fn draw_binary(first: &mut [f32], second: &mut [f32], random: &mut impl Rng) {
    let mut second = second.iter_mut();
    for value in first {
        let draw: f32 = random.random();
        let binary = |value: f32| if draw < value { 1.0 } else { 0.0 };
        *value = binary(*value);
        if let Some(value) = second.next() {
            *value = binary(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Augmentation = Augmentation {
        flip_horizontal: false,
        flip_vertical: false,
        shift: 0.0,
        zoom: 0.0,
        rotation: 0.0,
        brightness: 0.0,
        gamma: 0.0,
        binarise: false,
    };

    fn frames() -> Frames {
        Frames::new([2, 3, 4], (0..24).map(|v| v as f32 / 24.0).collect())
    }

    fn batch(augmentation: &Augmentation, counter: u64) -> Vec<f32> {
        let batches = Batches {
            frames: &frames(),
            normalise: &Normalise::identity(2),
            donors: &[],
            crop: None,
            tensor: [3, 4],
            head: None,
            seed: 5,
        };
        let batch = batches
            .train(&[0], augmentation, counter, &Device::Cpu)
            .unwrap();
        assert_eq!(batch.input.dims(), [1, 3, 4, 2]);
        assert!(batch.masks.is_none());
        flat(&batch.input)
    }

    fn flat(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn unchanged_frames_only_change_layout() {
        let values = batch(&NONE, 0);
        assert_eq!(&values[..4], &[0.0, 12.0 / 24.0, 1.0 / 24.0, 13.0 / 24.0]);
    }

    #[test]
    fn binarised_frames_have_the_frequency_of_their_values() {
        let binary = Augmentation {
            binarise: true,
            ..NONE
        };
        let mut sum = [0.0; 24];
        for counter in 0..4000 {
            for (s, v) in sum.iter_mut().zip(batch(&binary, counter)) {
                assert!(v == 0.0 || v == 1.0);
                *s += v / 4000.0;
            }
        }
        let plain = batch(&NONE, 0);
        // Four standard deviations of the mean of 4000 draws.
        assert!(sum.iter().zip(&plain).all(|(s, p)| (s - p).abs() < 0.032));
    }

    #[test]
    fn brightness_stays_in_range() {
        let bright = Augmentation {
            brightness: 0.5,
            gamma: 0.3,
            ..NONE
        };
        let mut changed = 0;
        for counter in 0..50 {
            let values = batch(&bright, counter);
            assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
            changed += usize::from(values != batch(&NONE, 0));
        }
        assert!((20..50).contains(&changed));
    }

    #[test]
    fn a_coarse_pixel_is_marked_by_any_of_its_four() {
        let mut mask = vec![false; 24];
        for place in [0, 8, 23] {
            mask[place] = true;
        }
        // Rows of six: (0, 0), (1, 2) and (3, 5).
        assert_eq!(halve(&mask, 6, [2, 3]), [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    /// Two frames of 32×32 with values of a normalised tensor.
    fn with_head(clean: f64) -> Batch {
        let frames = Frames::new(
            [1, 32, 32],
            (0..2048).map(|v| (v % 37) as f32 / 37.0 - 0.5).collect(),
        );
        let normalise = Normalise {
            mean: vec![0.5],
            std: vec![1.0],
        };
        let batches = Batches {
            frames: &frames,
            normalise: &normalise,
            donors: &[0, 1],
            crop: Some(16),
            tensor: [32; 2],
            head: Some(HeadOptions {
                clean,
                ..HeadOptions::default()
            }),
            seed: 3,
        };
        batches
            .train(&[0, 1, 0, 1], &NONE, 8, &Device::Cpu)
            .unwrap()
    }

    #[test]
    fn defects_are_in_the_input_alone_and_where_the_mask_says() {
        let batch = with_head(0.0);
        assert_eq!(batch.input.dims(), [4, 16, 16, 1]);
        let masks = batch.masks.unwrap();
        assert_eq!(masks.dims(), [4, 8, 8, 1]);
        let (input, target, masks) = (flat(&batch.input), flat(&batch.target), flat(&masks));
        assert!(masks.contains(&1.0) && masks.contains(&0.0));
        let mut changed = 0;
        for (place, (x, t)) in input.iter().zip(&target).enumerate() {
            let (image, y, x_place) = (place / 256, place / 16 % 16, place % 16);
            // What counts as a change goes with the picture's exposure: up to 0.05 for a white one.
            if (x - t).abs() > 0.05 {
                assert_eq!(masks[image * 64 + y / 2 * 8 + x_place / 2], 1.0);
                changed += 1;
            }
        }
        assert!(changed > 0);
    }

    #[test]
    fn clean_pictures_are_their_own_target() {
        let batch = with_head(1.0);
        assert_eq!(flat(&batch.input), flat(&batch.target));
        assert!(flat(&batch.masks.unwrap()).iter().all(|m| *m == 0.0));
    }
}
