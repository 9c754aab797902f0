//! How long the stages of the pipeline take: percentiles in constant memory.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::record::{StageTally, StageTimes};

/// Longest time that is told apart, microseconds: a minute.
const LONGEST: u64 = 60_000_000;

/// Percentiles of each stage since the start, to three digits.
#[derive(Debug)]
pub(super) struct Stages {
    histograms: Vec<(&'static str, Histogram<u64>)>,
}

impl Stages {
    pub(super) fn new() -> Self {
        let names = [
            "queue", "prepare", "encode", "decode", "detect", "score", "total",
        ];
        let histograms = names.map(|name| {
            let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
            (name, histogram.expect("one to a minute, three digits"))
        });
        Self {
            histograms: histograms.into(),
        }
    }

    pub(super) fn record(&mut self, times: &StageTimes) {
        let times = [
            times.queue,
            times.prepare,
            times.encode,
            times.decode,
            times.detect,
            times.score,
            times.total,
        ];
        for ((_, histogram), milliseconds) in self.histograms.iter_mut().zip(times) {
            let microseconds = (milliseconds * 1e3) as u64;
            // A stage that did not run took no time. Above a minute counts as a minute.
            if microseconds > 0 {
                histogram.saturating_record(microseconds);
            }
        }
    }

    /// The percentiles, milliseconds, over the frames for which the stage ran; zeros before the
    /// first of them.
    pub(super) fn tally(&self) -> Vec<StageTally> {
        self.histograms
            .iter()
            .map(|(stage, histogram)| {
                let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
                StageTally {
                    stage,
                    p50: at(0.5),
                    p95: at(0.95),
                    p99: at(0.99),
                    max: histogram.max() as f64 / 1e3,
                }
            })
            .collect()
    }
}

/// Milliseconds, to the microsecond.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut stages = Stages::new();
        for millisecond in 1..=1000 {
            stages.record(&StageTimes {
                total: f64::from(millisecond),
                ..StageTimes::default()
            });
        }
        let tallies = stages.tally();
        let total = &tallies[6];
        assert_eq!(total.stage, "total");
        for (found, expected) in [
            (total.p50, 500.0),
            (total.p95, 950.0),
            (total.p99, 990.0),
            (total.max, 1000.0),
        ] {
            assert!(
                (found / expected - 1.0_f64).abs() < 2e-3,
                "{found} {expected}"
            );
        }
        assert!(tallies[0].max < 0.01);
    }
}
