//! Rates of false alarms and misses, with exact intervals.

use statrs::distribution::{Beta, ContinuousCDF};

use super::Interval;

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Frames that it happened to.
    pub count: u64,
    /// Frames that it could have happened to, at least `count`.
    pub total: u64,
}

impl Rate {
    /// The share, in [0, 1]; `None` of nothing.
    pub fn value(self) -> Option<f64> {
        (self.total > 0).then(|| self.count as f64 / self.total as f64)
    }

    /// The exact interval of Clopper & Pearson (1934) for the probability behind the share: it
    /// holds the true one with at least this confidence, in (0, 1). With k of n its ends are the (1
    /// − c)/2 quantile of Beta(k, n − k + 1), 0 for k = 0, and the (1 + c)/2 quantile of
    /// Beta(k + 1, n − k), 1 for k = n.
    ///
    /// `None` of nothing, and for a confidence outside of (0, 1).
    pub fn interval(self, confidence: f64) -> Option<Interval> {
        if self.total == 0 || self.count > self.total || !(confidence > 0.0 && confidence < 1.0) {
            return None;
        }
        let (count, others) = (self.count as f64, (self.total - self.count) as f64);
        let quantile =
            |a: f64, b: f64, p: f64| Beta::new(a, b).ok().map(|beta| beta.inverse_cdf(p));
        Some(Interval {
            lower: match self.count {
                0 => 0.0,
                _ => quantile(count, others + 1.0, 0.5 * (1.0 - confidence))?,
            },
            upper: match self.total - self.count {
                0 => 1.0,
                _ => quantile(count + 1.0, others, 0.5 * (1.0 + confidence))?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_the_values_of_scipy() {
        // scipy.stats.binomtest(k, n).proportion_ci(c, method="exact")
        for (count, total, confidence, lower, upper) in RATES {
            let found = Rate { count, total }.interval(confidence).unwrap();
            assert!(
                (found.lower - lower).abs() < 1e-7,
                "{count} {total}: {found:?}"
            );
            assert!(
                (found.upper - upper).abs() < 1e-7,
                "{count} {total}: {found:?}"
            );
        }
    }

    #[test]
    fn nothing_has_no_rate() {
        let nothing = Rate { count: 0, total: 0 };
        assert_eq!((nothing.value(), nothing.interval(0.95)), (None, None));
        assert_eq!(Rate { count: 1, total: 4 }.value(), Some(0.25));
        assert_eq!(Rate { count: 1, total: 4 }.interval(1.0), None);
        assert_eq!(Rate { count: 5, total: 4 }.interval(0.95), None);
    }

    const RATES: [(u64, u64, f64, f64, f64); 6] = [
        (0, 20, 0.95, 0.0, 0.16843347098308548),
        (2, 108, 0.95, 0.002250599501648854, 0.06529654694447373),
        (60, 185, 0.95, 0.25748231966524543, 0.39690287846963773),
        (7, 7, 0.9, 0.6518363448688391, 1.0),
        (1, 1, 0.95, 0.025000000000000022, 1.0),
        (
            13,
            100000,
            0.99,
            5.580297831344131e-05,
            0.000254950950293853,
        ),
    ];
}
