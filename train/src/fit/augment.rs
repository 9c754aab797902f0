//! Random changes of training frames, and batches of them.

use candle_core::{Device, Result, Tensor};
use edge_vae::preprocess::Normalise;
use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::{frames::Frames, options::Augmentation};
use crate::random::{Purpose, stream};

/// Makes batches of frames.
#[derive(Debug)]
pub(super) struct Batches<'a> {
    /// The frames, C×H×W each.
    pub frames: &'a Frames,
    /// Their normalisation: brightness is changed before it.
    pub normalise: &'a Normalise,
    /// Seed of the run.
    pub seed: u64,
}

impl Batches<'_> {
    /// The frames `indices` changed at random, N×H×W×C. `counter` numbers the first of them and
    /// must never repeat in a run.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(super) fn train(
        &self,
        indices: &[usize],
        augmentation: &Augmentation,
        counter: u64,
        device: &Device,
    ) -> Result<Tensor> {
        self.assemble(indices, device, |place, frame| {
            let mut random = stream(self.seed, Purpose::Augment, counter + place as u64);
            self.change(frame, augmentation, &mut random);
        })
    }

    /// The frames `indices` as they are, N×H×W×C; binarised, with the same draws each time, where
    /// `binarise`.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(super) fn validate(
        &self,
        indices: &[usize],
        binarise: bool,
        device: &Device,
    ) -> Result<Tensor> {
        self.assemble(indices, device, |place, frame| {
            if binarise {
                let counter = indices[place] as u64;
                draw_binary(frame, &mut stream(self.seed, Purpose::Validate, counter));
            }
        })
    }

    fn assemble(
        &self,
        indices: &[usize],
        device: &Device,
        change: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Tensor> {
        let [channels, height, width] = self.frames.shape();
        let length = channels * height * width;
        let mut values = vec![0.0; indices.len() * length];
        values
            .par_chunks_mut(length)
            .zip(indices)
            .enumerate()
            .for_each(|(place, (out, &index))| {
                out.copy_from_slice(self.frames.get(index));
                change(place, out);
                if channels > 1 {
                    let planar = out.to_vec();
                    for (pixel, samples) in out.chunks_exact_mut(channels).enumerate() {
                        for (c, sample) in samples.iter_mut().enumerate() {
                            *sample = planar[c * height * width + pixel];
                        }
                    }
                }
            });
        Tensor::from_vec(values, (indices.len(), height, width, channels), device)
    }

    fn change(&self, frame: &mut [f32], augmentation: &Augmentation, random: &mut impl Rng) {
        let [_, height, width] = self.frames.shape();
        let mirror_x = augmentation.flip_horizontal && random.random();
        let mirror_y = augmentation.flip_vertical && random.random();
        let mut reach = |side: usize| {
            let most = (augmentation.shift * side as f64).round() as i64;
            random.random_range(-most..=most)
        };
        let (dx, dy) = (reach(width), reach(height));
        if mirror_x || mirror_y || dx != 0 || dy != 0 {
            let columns: Vec<usize> = (0..width).map(|x| source(x, dx, width, mirror_x)).collect();
            let mut moved = vec![0.0; height * width];
            for plane in frame.chunks_exact_mut(height * width) {
                for y in 0..height {
                    let row = source(y, dy, height, mirror_y) * width;
                    for (x, &column) in columns.iter().enumerate() {
                        moved[y * width + x] = plane[row + column];
                    }
                }
                plane.copy_from_slice(&moved);
            }
        }
        let most = augmentation.brightness as f32;
        if most > 0.0 && random.random_bool(0.7) {
            let gain = 1.0 + random.random_range(-most..=most);
            let offset = 0.25 * random.random_range(-most..=most);
            for (c, plane) in frame.chunks_exact_mut(height * width).enumerate() {
                let (mean, std) = (self.normalise.mean[c], self.normalise.std[c]);
                for value in plane {
                    let raw = (*value * std + mean) * gain + offset;
                    *value = (raw.clamp(0.0, 1.0) - mean) / std;
                }
            }
        }
        if augmentation.binarise {
            draw_binary(frame, random);
        }
    }
}

/// Where the pixel at `place` comes from after a shift, the border mirrored, and a flip.
fn source(place: usize, shift: i64, side: usize, mirror: bool) -> usize {
    let last = side as i64 - 1;
    let mut from = place as i64 - shift;
    if from < 0 {
        from = -from;
    }
    if from > last {
        from = 2 * last - from;
    }
    let from = from.clamp(0, last) as usize;
    if mirror { side - 1 - from } else { from }
}

fn draw_binary(frame: &mut [f32], random: &mut impl Rng) {
    for value in frame {
        let draw: f32 = random.random();
        *value = if draw < *value { 1.0 } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Augmentation = Augmentation {
        flip_horizontal: false,
        flip_vertical: false,
        shift: 0.0,
        brightness: 0.0,
        binarise: false,
    };

    fn batch(augmentation: &Augmentation, counter: u64) -> Vec<f32> {
        let frames = Frames::new([2, 3, 4], (0..24).map(|v| v as f32 / 24.0).collect());
        let normalise = Normalise::identity(2);
        let batches = Batches {
            frames: &frames,
            normalise: &normalise,
            seed: 5,
        };
        let tensor = batches
            .train(&[0], augmentation, counter, &Device::Cpu)
            .unwrap();
        assert_eq!(tensor.dims(), [1, 3, 4, 2]);
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn unchanged_frames_only_change_layout() {
        let values = batch(&NONE, 0);
        assert_eq!(&values[..4], &[0.0, 12.0 / 24.0, 1.0 / 24.0, 13.0 / 24.0]);
    }

    #[test]
    fn shifts_mirror_the_border() {
        let from = |shift| -> Vec<usize> { (0..4).map(|x| source(x, shift, 4, false)).collect() };
        assert_eq!(from(1), [1, 0, 1, 2]);
        assert_eq!(from(-2), [2, 3, 2, 1]);
        assert_eq!(
            (0..4).map(|x| source(x, 0, 4, true)).collect::<Vec<_>>(),
            [3, 2, 1, 0]
        );
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
}
