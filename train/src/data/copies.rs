//! Pictures that are among the training frames more than once: equal ones, and re-encoded ones.
//!
//! Frames of one camera may be nearly alike and yet independent: what tells them from copies is
//! that each has sensor noise and texture of its own. So frames are compared in fine detail, less
//! what all of them have in common, block by block: in a copy the detail of most blocks is the
//! same, in another frame of the same scene that of edges at most.

use std::collections::HashMap;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::frames::Frames;

/// How copies are recognised.
#[derive(Clone, Copy, Debug)]
struct CopyParams {
    /// Rows and columns of blocks.
    blocks: usize,
    /// Values of a block that are compared: by chance they correlate with a deviation of 0.09.
    values: usize,
    /// Share of the blocks that may differ, as where something was drawn on.
    differing: f64,
    /// Least correlation of a block of a copy: five deviations above chance. JPEG files of quality
    /// 50 reach 0.7 and more.
    correlation: f32,
    /// Least standard deviation of a block's detail, of full scale: below is rounding.
    least_detail: f32,
    /// Shorter side of frames below which only equal ones are copies: digits are alike.
    least_side: usize,
    /// Frames above which only equal ones are looked for, since all pairs would take minutes.
    most_frames: usize,
}

const PARAMS: CopyParams = CopyParams {
    blocks: 4,
    values: 128,
    differing: 0.25,
    correlation: 0.5,
    least_detail: 0.1 / 255.0,
    least_side: 64,
    most_frames: 10_000,
};

/// For each frame the first frame that shows the same picture, which may be itself.
pub(super) fn originals(frames: &Frames) -> Vec<usize> {
    let mut of = equal(frames);
    let distinct: Vec<usize> = (0..of.len()).filter(|&frame| of[frame] == frame).collect();
    let [_, height, width] = frames.shape();
    let can_compare = height.min(width) >= PARAMS.least_side;
    if !can_compare || distinct.len() > PARAMS.most_frames {
        return of;
    }
    let details = details(frames, &distinct);
    let copies: Vec<(usize, usize)> = (1..distinct.len())
        .into_par_iter()
        .filter_map(|later| {
            let is_copy = |&earlier: &usize| alike(&details[earlier], &details[later]);
            Some(((0..later).find(is_copy)?, later))
        })
        .collect();
    // In ascending order, so that the original of an earlier frame is known.
    for (earlier, later) in copies {
        of[distinct[later]] = of[distinct[earlier]];
    }
    // What equals a copy is a copy of its original.
    (0..of.len()).for_each(|frame| of[frame] = of[of[frame]]);
    of
}

/// The first frame of equal values.
fn equal(frames: &Frames) -> Vec<usize> {
    let mut seen = HashMap::new();
    let digest = |frame: usize| {
        let values = frames.get(frame).iter();
        let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
        <[u8; 32]>::from(Sha256::digest(bytes))
    };
    let digests: Vec<_> = (0..frames.count()).into_par_iter().map(digest).collect();
    let each = digests.into_iter().enumerate();
    each.map(|(frame, digest)| *seen.entry(digest).or_insert(frame))
        .collect()
}

/// Standardised values of each block; none for a block without detail.
type Detail = Vec<Option<Vec<f32>>>;

/// The fine detail of `places`, less what it is on average.
fn details(frames: &Frames, places: &[usize]) -> Vec<Detail> {
    let fine: Vec<Vec<f32>> = places
        .par_iter()
        .map(|&place| sampled(&band(frames.get(place), frames.shape()), frames.shape()))
        .collect();
    let mut mean = vec![0.0_f32; fine.first().map_or(0, Vec::len)];
    for values in &fine {
        for (mean, value) in mean.iter_mut().zip(values) {
            *mean += value / fine.len() as f32;
        }
    }
    fine.into_par_iter()
        .map(|mut values| {
            for (value, mean) in values.iter_mut().zip(&mean) {
                *value -= mean;
            }
            values
                .chunks_exact(PARAMS.values)
                .map(standardised)
                .collect()
        })
        .collect()
}

/// Of a frame C×H×W the mean of its channels over 2×2 pixels, less that over 6×6: the band of
/// texture and noise that survives re-encoding. H/2×W/2.
fn band(frame: &[f32], [channels, height, width]: [usize; 3]) -> Vec<f32> {
    let [rows, columns] = [height / 2, width / 2];
    let mut half = vec![0.0_f32; rows * columns];
    for plane in frame.chunks_exact(height * width) {
        for (at, value) in half.iter_mut().enumerate() {
            let corner = 2 * (at / columns) * width + 2 * (at % columns);
            let square = [corner, corner + 1, corner + width, corner + width + 1];
            *value += square.iter().map(|&pixel| plane[pixel]).sum::<f32>();
        }
    }
    let scale = 1.0 / (4 * channels) as f32;
    half.iter_mut().for_each(|value| *value *= scale);
    let around = |at: usize| {
        let [y, x] = [
            (at / columns).clamp(1, rows - 2),
            (at % columns).clamp(1, columns - 2),
        ];
        let rows = (y - 1..=y + 1).map(|row| row * columns + x);
        rows.map(|at| half[at - 1] + half[at] + half[at + 1])
            .sum::<f32>()
            / 9.0
    };
    (0..half.len()).map(|at| half[at] - around(at)).collect()
}

/// [`CopyParams::values`] evenly spread values of each block of a map H/2×W/2, block by block.
fn sampled(map: &[f32], [_, height, width]: [usize; 3]) -> Vec<f32> {
    let [rows, columns] = [height / 2 / PARAMS.blocks, width / 2 / PARAMS.blocks];
    let area = rows * columns;
    let blocks = 0..PARAMS.blocks * PARAMS.blocks;
    let each = blocks.flat_map(|block| {
        let [top, left] = [
            block / PARAMS.blocks * rows,
            block % PARAMS.blocks * columns,
        ];
        (0..PARAMS.values).map(move |value| {
            let at = value * area / PARAMS.values;
            map[(top + at / columns) * (width / 2) + left + at % columns]
        })
    });
    each.collect()
}

/// The values with mean 0 and length 1; none where they hardly vary.
fn standardised(values: &[f32]) -> Option<Vec<f32>> {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    let length = values
        .iter()
        .map(|v| (v - mean) * (v - mean))
        .sum::<f32>()
        .sqrt();
    let varies = length >= PARAMS.least_detail * count.sqrt();
    varies.then(|| values.iter().map(|value| (value - mean) / length).collect())
}

/// Whether all blocks but a few correlate, of those that have detail in both.
fn alike(first: &Detail, second: &Detail) -> bool {
    let pairs = first.iter().zip(second);
    let both: Vec<_> = pairs
        .filter_map(|(a, b)| a.as_ref().zip(b.as_ref()))
        .collect();
    let may_differ = (PARAMS.differing * both.len() as f64) as usize;
    let mut differing = 0;
    let agree = both.iter().all(|(a, b)| {
        differing += usize::from(product(a, b) < PARAMS.correlation);
        differing <= may_differ
    });
    // What shows detail in a corner alone is too little to go by.
    agree && both.len() > PARAMS.blocks * PARAMS.blocks / 4
}

/// Sum of products, in lanes that a processor adds at once.
fn product(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, Normal};
    use rand_pcg::Pcg64;

    use super::*;

    const SIDE: usize = 96;

    /// A scene with edges, `shift` pixels to the right, with noise of its own.
    fn taken(shift: f32, seed: u64) -> Vec<f32> {
        let mut random = Pcg64::seed_from_u64(seed);
        let noise = Normal::new(0.0, 2.0 / 255.0).unwrap();
        let pixel = |at: usize| {
            let [y, x] = [(at / SIDE) as f32, (at % SIDE) as f32 - shift];
            let edge = 1.0 / (1.0 + (-(x - 40.0 - 0.2 * y)).exp());
            0.3 + 0.4 * edge
        };
        let noisy = (0..SIDE * SIDE).map(|at| pixel(at) + noise.sample(&mut random) as f32);
        noisy.collect()
    }

    fn frames(pictures: &[Vec<f32>]) -> Frames {
        Frames::new([1, SIDE, SIDE], pictures.concat())
    }

    #[test]
    fn frames_of_one_scene_are_no_copies() {
        let mut random = Pcg64::seed_from_u64(99);
        let mut pictures: Vec<_> = (0..20).map(|seed| taken(0.0, seed)).collect();
        assert_eq!(originals(&frames(&pictures)), (0..20).collect::<Vec<_>>());
        // Not quite in one place each.
        pictures = (0..20)
            .map(|seed| taken(random.random_range(-1.0..1.0), seed))
            .collect();
        assert_eq!(originals(&frames(&pictures)), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn equal_and_rewritten_frames_are_copies() {
        let mut pictures: Vec<_> = (0..12).map(|seed| taken(0.0, seed)).collect();
        pictures.push(pictures[3].clone());
        // Coarser levels, as a lossy file has, and a little brighter.
        let coarse = |v: &f32| (v * 64.0).round() / 64.0 + 0.01;
        pictures.push(pictures[5].iter().map(coarse).collect());
        pictures.push(pictures[13].clone());
        let found = originals(&frames(&pictures));
        assert_eq!(found[..12], (0..12).collect::<Vec<_>>());
        assert_eq!(found[12..], [3, 5, 5]);
    }
}
