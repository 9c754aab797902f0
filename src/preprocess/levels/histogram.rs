//! Quantiles of weighted values.

/// Bins of a histogram. Medians are interpolated within one.
const BINS: usize = 4096;

/// Weights of values in [0, `most`] in equal bins; larger values are counted in the last. They are
/// integers, which add up exactly, and faster than floats where neighbours fall into one bin.
#[derive(Debug)]
pub(super) struct Histogram {
    bins: Vec<u64>,
    most: f32,
    pub(super) total: u64,
}

/// Weight of a pixel that counts in full.
const FULL: u64 = 1 << 16;

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            bins: vec![0; BINS],
            most: 1.0,
            total: 0,
        }
    }

    pub(super) fn clear(&mut self, most: f32) {
        self.bins.fill(0);
        self.total = 0;
        self.most = most;
    }

    pub(super) fn add(&mut self, value: f32, weight: f32) {
        // The cast saturates.
        let bin = (value * (BINS as f32 / self.most)) as usize;
        let weight = (weight * FULL as f32) as u64;
        self.bins[bin.min(BINS - 1)] += weight;
        self.total += weight;
    }

    /// Where `share` of the weight lies below; `None` without weight.
    ///
    /// It is linear between the centres of bins that are not empty, each of which half the bin's
    /// weight lies below: so it does not jump over empty bins when a little weight moves.
    pub(super) fn quantile(&self, share: f64) -> Option<f32> {
        let wanted = share * self.total as f64;
        let mut below = 0;
        let mut last: Option<(f64, f64)> = None;
        for (bin, &weight) in self.bins.iter().enumerate() {
            if weight == 0 {
                continue;
            }
            let (middle, centre) = (below as f64 + 0.5 * weight as f64, bin as f64 + 0.5);
            if middle >= wanted {
                let (earlier, place) = last.unwrap_or((wanted - 1.0, centre));
                let along = (wanted - earlier) / (middle - earlier);
                return Some(self.value(place + along * (centre - place)));
            }
            last = Some((middle, centre));
            below += weight;
        }
        last.map(|(_, centre)| self.value(centre))
    }

    /// The value at a place, in bins.
    fn value(&self, place: f64) -> f32 {
        (place * f64::from(self.most) / BINS as f64) as f32
    }
}
