//! Weights by score, in bounded memory.

/// A number that orders as the score does: −∞ first, then the negative ones, then the others. −0 is
/// 0, and NaN has no place.
pub(super) fn key_of(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 {
        bits | 0x8000_0000
    } else {
        !bits
    }
}

/// The score of a key.
pub(super) fn score_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 0 {
        !key
    } else {
        key & 0x7fff_ffff
    })
}

/// What is summed up for the pixels of a score.
pub(super) trait Weight: Copy {
    /// Takes in the other's pixels.
    fn add(&mut self, other: Self);
}

impl Weight for u64 {
    fn add(&mut self, other: Self) {
        *self += other;
    }
}

/// Pixels of defects.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Defective {
    /// Their number.
    pub(super) pixels: u64,
    /// Their shares of their regions, summed up: a region's pixels add up to 1.
    pub(super) overlap: f64,
}

impl Weight for Defective {
    fn add(&mut self, other: Self) {
        self.pixels += other.pixels;
        self.overlap += other.overlap;
    }
}

/// Distinct scores in ascending order with their weights. When they become more than `limit`, the
/// lowest bits of their keys are dropped until they are not: scores that then have the same key
/// have become one.
#[derive(Clone, Debug)]
pub(super) struct Tally<W> {
    limit: usize,
    /// Bits that were dropped, 0 as long as all scores are told apart.
    shift: u32,
    /// Keys without the dropped bits, ascending.
    keys: Vec<u32>,
    /// Weight of each key.
    weights: Vec<W>,
    /// Keys with all bits that are not yet counted.
    pending: Vec<(u32, W)>,
}

impl<W: Weight> Tally<W> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(2),
            shift: 0,
            keys: Vec::new(),
            weights: Vec::new(),
            pending: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, key: u32, weight: W) {
        self.pending.push((key, weight));
        // Each merging goes through all keys: once for so many new ones.
        if self.pending.len() >= (self.limit / 4).max(1 << 12) {
            self.settle();
        }
    }

    /// Counts what is pending.
    pub(super) fn settle(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for (key, _) in &mut pending {
            *key >>= self.shift;
        }
        // Stable, so that sums of f64 have one order; and fast, for frames come sorted.
        pending.sort_by_key(|(key, _)| *key);
        let shift = self.shift;
        self.merge(shift, pending.iter().copied());
        pending.clear();
        self.pending = pending;
    }

    /// Takes in another tally, which is settled.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.settle();
        let keys = other.keys.iter().copied();
        self.merge(other.shift, keys.zip(other.weights.iter().copied()));
    }

    /// Merges keys, ascending, of which `shift` bits are dropped.
    fn merge(&mut self, shift: u32, other: impl Iterator<Item = (u32, W)>) {
        let common = self.shift.max(shift);
        self.coarsen_to(common);
        let other = other.map(|(key, weight)| (key >> (common - shift), weight));
        let mut keys = Vec::with_capacity(self.keys.len());
        let mut weights = Vec::with_capacity(self.keys.len());
        let own = self.keys.iter().copied().zip(self.weights.iter().copied());
        let (mut own, mut other) = (own.peekable(), other.peekable());
        loop {
            let next = match (own.peek(), other.peek()) {
                (Some(a), Some(b)) if a.0 > b.0 => other.next(),
                (Some(_), _) => own.next(),
                (None, _) => other.next(),
            };
            let Some((key, weight)) = next else { break };
            push_sorted(&mut keys, &mut weights, key, weight);
        }
        self.keys = keys;
        self.weights = weights;
        while self.keys.len() > self.limit {
            self.coarsen_to(self.shift + 1);
        }
    }

    fn coarsen_to(&mut self, shift: u32) {
        let dropped = shift - self.shift;
        if dropped == 0 {
            return;
        }
        let (mut keys, mut weights) = (Vec::new(), Vec::new());
        for (key, weight) in self.keys.iter().zip(&self.weights) {
            push_sorted(&mut keys, &mut weights, key >> dropped, *weight);
        }
        (self.keys, self.weights, self.shift) = (keys, weights, shift);
    }

    /// Bits that were dropped.
    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// Keys and weights, the highest score first, with `shift` bits dropped, at least as many as
    /// [`Tally::shift`] says. What is pending is left out. A key may come several times in a row.
    pub(super) fn descending(&self, shift: u32) -> impl Iterator<Item = (u32, W)> {
        let dropped = shift - self.shift;
        let keys = self.keys.iter().rev().map(move |key| key >> dropped);
        keys.zip(self.weights.iter().rev().copied())
    }
}

fn push_sorted<W: Weight>(keys: &mut Vec<u32>, weights: &mut Vec<W>, key: u32, weight: W) {
    match weights.last_mut() {
        Some(last) if keys.last() == Some(&key) => last.add(weight),
        _ => {
            keys.push(key);
            weights.push(weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    #[test]
    fn keys_order_as_scores_do() {
        let scores = [
            f32::NEG_INFINITY,
            f32::MIN,
            -2.5,
            -1.0e-40,
            0.0,
            1.0e-40,
            1.0,
            1.000_000_1,
            f32::MAX,
            f32::INFINITY,
        ];
        for pair in scores.windows(2) {
            assert!(key_of(pair[0]) < key_of(pair[1]), "{pair:?}");
        }
        for score in scores {
            assert_eq!(score_of(key_of(score)).to_bits(), score.to_bits());
        }
        assert_eq!(key_of(-0.0), key_of(0.0));
    }

    #[test]
    fn nothing_is_lost_and_scores_stay_apart_as_long_as_they_may() {
        let mut rng = Pcg64::seed_from_u64(1);
        for (limit, levels) in [(4096, 1000), (64, 1000), (2, 1_000_000)] {
            let mut tally = Tally::<u64>::new(limit);
            let mut other = Tally::<u64>::new(limit);
            let mut counts = std::collections::BTreeMap::<u32, u64>::new();
            for i in 0..3000 {
                let key = key_of(rng.random_range(-levels..levels) as f32 * 0.37);
                *counts.entry(key).or_default() += 1;
                if i % 3 == 0 {
                    other.push(key, 1);
                } else {
                    tally.push(key, 1);
                }
                if i % 700 == 0 {
                    tally.settle();
                }
            }
            other.settle();
            tally.absorb(&other);
            let shift = tally.shift();
            assert_eq!(shift == 0, limit > 2000, "{limit}");
            assert!(tally.keys.len() <= limit);
            let mut expected = std::collections::BTreeMap::<u32, u64>::new();
            for (key, count) in counts {
                *expected.entry(key >> shift).or_default() += count;
            }
            let found: Vec<_> = tally.descending(shift).collect();
            assert_eq!(found, expected.into_iter().rev().collect::<Vec<_>>());
        }
    }
}
