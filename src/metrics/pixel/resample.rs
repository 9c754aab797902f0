//! A short histogram of each frame, from which resamples are made without its pixels.

use std::collections::BTreeMap;

use super::{
    sweep::{Group, Totals, sweep},
    tally::{Defective, Weight},
};
use crate::metrics::{Bootstrap, strata::Side};

/// Bits that keys lose: sign, exponent and seven bits of the mantissa stay, steps of 0.8 % or less.
const SHIFT: u32 = 16;

/// Entries of all histograms together beyond which another bit is dropped: 256 MiB.
const MAX_ENTRIES: usize = 1 << 24;

/// Share of the background, or of the regions, that one bin of a resample holds at most, unless a
/// single key has more.
const BIN: f64 = 1.0 / 2048.0;

/// Histograms of frames.
#[derive(Clone, Debug)]
pub(super) struct Histograms {
    shift: u32,
    entries: usize,
    limit: usize,
    frames: Vec<Histogram>,
}

#[derive(Clone, Debug)]
struct Histogram {
    stratum: usize,
    regions: u32,
    background: Vec<(u32, u64)>,
    defective: Vec<(u32, Defective)>,
}

impl Histograms {
    pub(super) fn new() -> Self {
        Self {
            shift: SHIFT,
            entries: 0,
            limit: MAX_ENTRIES,
            frames: Vec::new(),
        }
    }

    /// Takes in a frame: its background and its defective pixels by ascending key.
    pub(super) fn push(
        &mut self,
        stratum: usize,
        regions: u32,
        background: impl Iterator<Item = (u32, u64)>,
        defective: impl Iterator<Item = (u32, Defective)>,
    ) {
        let shift = self.shift;
        let background = background.map(|(key, pixels)| (key >> shift, pixels));
        let defective = defective.map(|(key, pixels)| (key >> shift, pixels));
        let histogram = Histogram {
            stratum,
            regions,
            background: gathered(background),
            defective: gathered(defective),
        };
        self.entries += histogram.entries();
        self.frames.push(histogram);
        while self.entries > self.limit && self.shift < u32::BITS - 1 {
            self.shift += 1;
            for frame in &mut self.frames {
                frame.background = gathered(frame.background.drain(..).map(|(k, w)| (k >> 1, w)));
                frame.defective = gathered(frame.defective.drain(..).map(|(k, w)| (k >> 1, w)));
            }
            self.entries = self.frames.iter().map(Histogram::entries).sum();
        }
    }

    /// For each resample and each of `sides` the metrics of [`figures`], and those of the frames as
    /// they are, in the same coarse bins. `strata`: how many there are.
    pub(super) fn resampled(
        &self,
        bootstrap: Bootstrap,
        strata: usize,
        sides: &[Side],
    ) -> (Vec<Vec<Figures>>, Vec<Figures>) {
        let (bins, count) = self.bins();
        let mut frames: Vec<Vec<Binned>> = vec![Vec::new(); strata];
        for frame in &self.frames {
            frames[frame.stratum].push(Binned::of(frame, &bins));
        }
        let sizes: Vec<usize> = frames.iter().map(Vec::len).collect();
        let measure = |pools: &mut Vec<Pool>, times: &[Vec<u32>]| {
            for ((pool, frames), times) in pools.iter_mut().zip(&frames).zip(times) {
                pool.fill(frames, times);
            }
            let figures = |side: &Side| figures(pools, *side);
            sides.iter().map(figures).collect::<Vec<Figures>>()
        };
        let pools = || vec![Pool::new(count); strata];
        let resampled = bootstrap.map(&sizes, pools, measure);
        let once: Vec<Vec<u32>> = sizes.iter().map(|&frames| vec![1; frames]).collect();
        let plain = measure(&mut pools(), &once);
        (resampled, plain)
    }

    /// Bin of each key, bin 0 having the highest scores, and the number of bins.
    fn bins(&self) -> (BTreeMap<u32, usize>, usize) {
        let mut keys: BTreeMap<u32, (u64, f64)> = BTreeMap::new();
        let (mut background, mut overlap) = (0, 0.0);
        for frame in &self.frames {
            for &(key, pixels) in &frame.background {
                keys.entry(key).or_default().0 += pixels;
                background += pixels;
            }
            for &(key, defective) in &frame.defective {
                keys.entry(key).or_default().1 += defective.overlap;
                overlap += defective.overlap;
            }
        }
        let most = (background as f64 * BIN, overlap * BIN);
        let mut bins = BTreeMap::new();
        let mut bin = 0;
        let mut filled = (0, 0.0);
        for (key, (pixels, share)) in keys.into_iter().rev() {
            let next = (filled.0 + pixels, filled.1 + share);
            let full = next.0 as f64 > most.0 || next.1 > most.1;
            if full && !bins.is_empty() {
                bin += 1;
                filled = (pixels, share);
            } else {
                filled = next;
            }
            bins.insert(key, bin);
        }
        (bins, bin + 1)
    }
}

impl Histogram {
    fn entries(&self) -> usize {
        self.background.len() + self.defective.len()
    }
}

/// Pixels by ascending key, each key once.
fn gathered<W: Weight>(pixels: impl Iterator<Item = (u32, W)>) -> Vec<(u32, W)> {
    let mut gathered: Vec<(u32, W)> = Vec::new();
    for (key, weight) in pixels {
        match gathered.last_mut() {
            Some((last, sum)) if *last == key => sum.add(weight),
            _ => gathered.push((key, weight)),
        }
    }
    gathered.shrink_to_fit();
    gathered
}

/// A frame's histogram in the bins of the resamples.
#[derive(Clone, Debug)]
struct Binned {
    regions: u64,
    background: Vec<(usize, u64)>,
    defective: Vec<(usize, Defective)>,
}

impl Binned {
    fn of(frame: &Histogram, bins: &BTreeMap<u32, usize>) -> Self {
        Self {
            regions: u64::from(frame.regions),
            background: binned(&frame.background, bins),
            defective: binned(&frame.defective, bins),
        }
    }
}

fn binned<W: Weight>(entries: &[(u32, W)], bins: &BTreeMap<u32, usize>) -> Vec<(usize, W)> {
    let mut binned: Vec<(usize, W)> = Vec::new();
    for (key, weight) in entries {
        // Every key of every frame has a bin, and neighbouring keys often the same.
        let Some(&bin) = bins.get(key) else { continue };
        match binned.last_mut() {
            Some((last, sum)) if *last == bin => sum.add(*weight),
            _ => binned.push((bin, *weight)),
        }
    }
    binned
}

/// The pixels of one stratum in one resample.
#[derive(Clone)]
struct Pool {
    totals: Totals,
    background: Vec<u64>,
    defective: Vec<Defective>,
}

impl Pool {
    fn new(bins: usize) -> Self {
        Self {
            totals: Totals::default(),
            background: vec![0; bins],
            defective: vec![Defective::default(); bins],
        }
    }

    fn fill(&mut self, frames: &[Binned], times: &[u32]) {
        self.totals = Totals::default();
        self.background.fill(0);
        self.defective.fill(Defective::default());
        for (frame, &times) in frames.iter().zip(times).filter(|(_, times)| **times > 0) {
            let times = u64::from(times);
            self.totals.regions += times * frame.regions;
            for &(bin, pixels) in &frame.background {
                self.background[bin] += times * pixels;
                self.totals.background += times * pixels;
            }
            for &(bin, weight) in &frame.defective {
                let defective = &mut self.defective[bin];
                defective.pixels += times * weight.pixels;
                defective.overlap += times as f64 * weight.overlap;
                self.totals.defective += times * weight.pixels;
            }
        }
    }
}

/// AUROC, F1-max and the AUPRO of each limit; NaN where a resample has no region or no background.
pub(super) type Figures = [f64; 4];

fn figures(pools: &[Pool], side: Side) -> Figures {
    let chosen = || {
        let defects = &pools[side.strata(pools.len())];
        pools.iter().take(1).chain(defects)
    };
    let mut totals = Totals::default();
    for pool in chosen() {
        totals.background += pool.totals.background;
        totals.defective += pool.totals.defective;
        totals.regions += pool.totals.regions;
    }
    if totals.background == 0 || totals.regions == 0 {
        return [f64::NAN; 4];
    }
    let bins = pools.first().map_or(0, |pool| pool.background.len());
    let groups = (0..bins).map(|bin| {
        let mut group = Group::default();
        for pool in chosen() {
            group.background += pool.background[bin];
            group.defective.add(pool.defective[bin]);
        }
        group
    });
    let swept = sweep(groups, totals, true);
    [
        swept.auroc.value,
        swept.f1_max.value,
        swept.aupro[0].value,
        swept.aupro[1].value,
    ]
}

#[cfg(test)]
impl Histograms {
    /// With another limit of entries.
    pub(super) fn limited(limit: usize) -> Self {
        Self {
            limit,
            ..Self::new()
        }
    }

    /// Entries of all frames.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }
}
