//! How learning rate, KL weight and averaging change over a run.

use std::f64::consts::PI;

/// How long the learning rate rises.
struct WarmUpParams {
    /// A twentieth of the run, at most a hundred steps.
    share: u64,
    most: u64,
}

const WARM_UP: WarmUpParams = WarmUpParams {
    share: 20,
    most: 100,
};

/// Learning rate of step `step` (from 0) of `total`: linear warm-up, then a half cosine down to a
/// hundredth of `peak` (Loshchilov & Hutter 2017).
pub(crate) fn learning_rate(step: u64, total: u64, warm_up: u64, peak: f64) -> f64 {
    if step < warm_up {
        return peak * (step + 1) as f64 / warm_up as f64;
    }
    let floor = 0.01 * peak;
    let span = total.saturating_sub(warm_up).max(1) as f64;
    let progress = ((step - warm_up) as f64 / span).min(1.0);
    floor + (peak - floor) * 0.5 * (1.0 + (PI * progress).cos())
}

/// Steps over which the learning rate of a run of `total` rises.
pub(super) fn warm_up_steps(total: u64) -> u64 {
    (total / WARM_UP.share).clamp(1, WARM_UP.most)
}

/// Weight of the KL divergence: rises linearly to `beta` over the first `share` of the run
/// (Bowman et al. 2016; Sønderby et al. 2016).
pub(crate) fn kl_weight(step: u64, total: u64, share: f64, beta: f64) -> f64 {
    let steps = share * total as f64;
    if steps < 1.0 {
        return beta;
    }
    beta * ((step + 1) as f64 / steps).min(1.0)
}

/// K of step `step`: `samples` in the last `share` of the run, 1 before.
pub(super) fn importance_samples(step: u64, total: u64, share: f64, samples: usize) -> usize {
    if step as f64 >= (1.0 - share) * total as f64 {
        samples
    } else {
        1
    }
}

/// Decay of the running statistics in step `step` (from 0): as the optimiser's for the weights,
/// short at first, so that the initial values are forgotten.
pub(super) fn average_decay(step: u64, decay: f64) -> f64 {
    decay.min((2 + step) as f64 / (11 + step) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_rises_peaks_and_ends_at_the_floor() {
        assert_eq!(learning_rate(0, 1000, 10, 1.0), 0.1);
        assert_eq!(learning_rate(9, 1000, 10, 1.0), 1.0);
        assert_eq!(learning_rate(10, 1000, 10, 1.0), 1.0);
        assert!((learning_rate(505, 1000, 10, 1.0) - 0.505).abs() < 1e-12);
        assert!((learning_rate(1000, 1000, 10, 1.0) - 0.01).abs() < 1e-12);
        assert!((learning_rate(2000, 1000, 10, 1.0) - 0.01).abs() < 1e-12);
    }

    #[test]
    fn kl_weight_is_whole_after_its_share() {
        assert_eq!(kl_weight(0, 100, 0.1, 2.0), 0.2);
        assert_eq!(kl_weight(9, 100, 0.1, 2.0), 2.0);
        assert_eq!(kl_weight(0, 100, 0.0, 2.0), 2.0);
    }

    #[test]
    fn importance_samples_come_at_the_end() {
        assert_eq!(importance_samples(0, 100, 0.25, 5), 1);
        assert_eq!(importance_samples(74, 100, 0.25, 5), 1);
        assert_eq!(importance_samples(75, 100, 0.25, 5), 5);
        assert_eq!(importance_samples(0, 100, 1.0, 5), 5);
    }

    #[test]
    fn average_is_short_at_first() {
        assert!(average_decay(0, 0.995) < 0.2);
        assert_eq!(average_decay(1_000_000, 0.995), 0.995);
    }
}
