//! Which tensors a density is fitted on: tiles of the training frames, and augmented samples.
//!
//! An augmented sample is the frame as another camera, light and hand would have taken it. Without
//! them blur, compression or a new hand are what is found, and of a few frames a covariance can't
//! be known.

use super::{
    FitData,
    augmentation::{FULL_ROTATION, SMALL_JITTER},
};
use crate::data::Movement;

/// How many augmented samples a density is fitted on, and what they count.
#[derive(Debug, PartialEq)]
pub struct SamplingParams {
    /// How the part lies in them.
    pub movement: Movement,
    /// Tiles of all frames together, at least one of each frame: more hardly differ.
    pub tiles: usize,
    /// Tiles that are taken of these, evenly spaced.
    pub most_tiles: usize,
    /// Augmented samples of each tile where there are enough tiles for it.
    pub per_tile: usize,
    /// The same at most: further ones of the same tile say nothing new.
    pub most_per_tile: usize,
    /// Augmented samples in all, at least and at most: with fewer, covariances are not known; more
    /// only take time.
    pub samples: [usize; 2],
    /// As how many frames all samples together count at least.
    pub weight: f64,
    /// The same as a share of the frames: how many frames vary they say better themselves.
    pub weight_of_frames: f64,
    /// What of their weight counts in a mixture. Its components are few, and those that learn what
    /// blur and noise do to a place tell less what is anomalous there.
    pub weight_in_mixture: f64,
}

impl SamplingParams {
    /// For patch features.
    pub const PATCH: Self = Self {
        movement: SMALL_JITTER,
        tiles: 2000,
        most_tiles: usize::MAX,
        per_tile: 2,
        most_per_tile: 16,
        samples: [600, 1500],
        weight: 200.0,
        weight_of_frames: 0.5,
        weight_in_mixture: 0.5,
    };
    /// For the finest features, of which each frame has four times as many vectors.
    pub const FINE: Self = Self {
        samples: [600; 2],
        ..Self::PATCH
    };
    /// For residual features, in which sharpness and noise of a sample are larger than small
    /// defects.
    pub const RESIDUAL: Self = Self {
        weight: 100.0,
        weight_of_frames: 0.0,
        ..Self::FINE
    };
    /// For a mixture of parts at any angle: a turned sample counts as a frame, and a mixture takes
    /// some of all vectors only.
    pub const ROTATED: Self = Self {
        movement: FULL_ROTATION,
        most_tiles: 300,
        samples: [300; 2],
        weight: f64::INFINITY,
        weight_in_mixture: 1.0,
        ..Self::PATCH
    };

    /// What is taken of the frames `frames`: their tiles, each with its augmented samples.
    pub fn augmented(&self, data: &FitData, frames: &[usize]) -> Vec<AugmentedTile> {
        let tiles = evenly_spaced(self.tiles_of(data, frames), self.most_tiles);
        self.with_samples(&tiles, self.samples_of(tiles.len()))
    }

    /// The same without augmented samples, to hold out.
    pub(super) fn plain(&self, data: &FitData, frames: &[usize]) -> Vec<AugmentedTile> {
        self.with_samples(&self.tiles_of(data, frames), 0)
    }

    /// Tensors that a fit to `frames` frames of `tiles` tiles runs through the network.
    pub fn passes(&self, frames: usize, tiles: usize) -> usize {
        let taken = match tiles {
            1 => frames,
            _ => self.tiles.max(frames),
        };
        let taken = taken.min(self.most_tiles);
        taken + self.samples_of(taken).min(self.most_per_tile * taken)
    }

    /// What an augmented sample counts where there are so many beside so many tiles as they are.
    pub(super) fn weight_of_sample(&self, samples: usize, originals: usize) -> f64 {
        let all = self.weight.max(self.weight_of_frames * originals as f64);
        (all / samples.max(1) as f64).min(1.0)
    }

    fn samples_of(&self, tiles: usize) -> usize {
        let [least, most] = self.samples;
        (self.per_tile * tiles).clamp(least, most)
    }

    /// Tiles of `frames` by frame and place: all but those of which the mask leaves nothing, of
    /// many frames some in turn.
    fn tiles_of(&self, data: &FitData, frames: &[usize]) -> Vec<[usize; 2]> {
        let layout = data.layout.tiles();
        let [rows, columns] = layout.canvas_size();
        let interior = data.layout.interior([rows, columns]);
        let counts = |tile: &usize| {
            let (Some(interior), Some(place)) = (&interior, layout.tile(*tile)) else {
                return true;
            };
            let [x, y, width, height] =
                [place.x, place.y, place.width, place.height].map(|length| length as usize);
            (y..y + height).any(|y| interior.cells()[y * columns + x..][..width].contains(&true))
        };
        let tiles: Vec<usize> = (0..layout.count()).filter(counts).collect();
        let each = match tiles.len() {
            1 => 1,
            count => (self.tiles / frames.len().max(1)).clamp(1, count),
        };
        let of_frame = |(place, &frame): (usize, &usize)| {
            let tiles = &tiles;
            (0..each).map(move |i| [frame, tiles[(place * each + i) % tiles.len()]])
        };
        frames.iter().enumerate().flat_map(of_frame).collect()
    }

    /// Each of `tiles` as it is, and some `samples` of them in all, evenly spaced.
    fn with_samples(&self, tiles: &[[usize; 2]], samples: usize) -> Vec<AugmentedTile> {
        let count = tiles.len().max(1);
        let samples = samples.min(self.most_per_tile * count);
        // Of the first `place` tiles there are this many.
        let until = |place: usize| place * samples / count;
        let of_tile = |(place, &[frame, tile]): (usize, &[usize; 2])| {
            let last = until(place + 1) - until(place);
            (0..=last).map(move |number| AugmentedTile {
                frame,
                tile,
                number,
            })
        };
        tiles.iter().enumerate().flat_map(of_tile).collect()
    }
}

/// A tensor that features are computed of. Those of a frame follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AugmentedTile {
    /// The frame.
    pub frame: usize,
    /// Its tile.
    pub(super) tile: usize,
    /// 0 for the tile as it is, else the number of the augmented sample.
    pub number: usize,
}

/// At most `most` of `all`, evenly spaced.
fn evenly_spaced<T: Copy>(all: Vec<T>, most: usize) -> Vec<T> {
    let taken = all.len().min(most);
    (0..taken)
        .map(|place| all[place * all.len() / taken])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_shared_out_evenly() {
        let tiles = |count: usize| (0..count).map(|frame| [frame, 0]).collect::<Vec<_>>();
        let counts = |frames: usize, samples: usize| {
            let all = SamplingParams::PATCH.with_samples(&tiles(frames), samples);
            assert_eq!(all.iter().filter(|t| t.number == 0).count(), frames);
            let mut of_each = vec![0; frames];
            for tile in all.iter().filter(|tile| tile.number > 0) {
                of_each[tile.frame] += 1;
                // Numbered from one, after the frame itself.
                assert_eq!(tile.number, of_each[tile.frame]);
            }
            of_each
        };
        assert_eq!(counts(3, 600), [16; 3]);
        assert_eq!(counts(4, 10).iter().sum::<usize>(), 10);
        assert!(counts(4, 10).iter().all(|&n| n == 2 || n == 3));
        assert_eq!(counts(1000, 500).iter().sum::<usize>(), 500);
        assert_eq!(counts(5, 0), [0; 5]);
        assert_eq!(
            evenly_spaced(tiles(10), 4),
            [[0, 0], [2, 0], [5, 0], [7, 0]]
        );
        assert_eq!(evenly_spaced(tiles(2), 4).len(), 2);
    }

    #[test]
    fn weights_of_samples_go_with_the_frames() {
        let patch = |samples, frames| SamplingParams::PATCH.weight_of_sample(samples, frames);
        assert_eq!(patch(600, 100), 200.0 / 600.0);
        assert_eq!(patch(1500, 1000), 500.0 / 1500.0);
        assert_eq!(patch(100, 10), 1.0);
        assert_eq!(
            SamplingParams::RESIDUAL.weight_of_sample(600, 1000),
            1.0 / 6.0
        );
        assert_eq!(SamplingParams::ROTATED.weight_of_sample(300, 300), 1.0);
    }
}
