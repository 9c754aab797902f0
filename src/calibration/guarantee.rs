//! What a calibration guarantees: the false-alarm rate of this very set of frames, and in words.

use std::f64::consts::E;

use statrs::{
    distribution::{Beta, ContinuousCDF},
    function::beta::checked_beta_reg,
};

use super::Calibration;
use crate::counted;

/// Confidence of the interval in [`Calibration::statement`] and in the operating table.
pub(super) const CONFIDENCE: f64 = 0.9;

/// Halvings of an interval in [0, 1]: to the last bit of what is printed and far beyond.
const HALVINGS: usize = 60;

impl Calibration {
    /// The rate that false alarms stay below, for this very set of calibration frames, with the
    /// given confidence in (0, 1).
    ///
    /// [`Calibration::false_alarm_rate`] is an average over calibrations. For one calibration the
    /// rate is itself random, and follows Beta(l, n + 1 − l) for continuous scores (Vovk 2012;
    /// Angelopoulos & Bates 2023, section 3.2); with ties it is smaller. This is that
    /// distribution's quantile. With groups, see [`Calibration::rate_interval`]. 1 for a
    /// confidence outside of (0, 1) and for a calibration that is not valid.
    pub fn rate_with_confidence(&self, confidence: f64) -> f64 {
        if confidence > 0.0 && confidence < 1.0 {
            self.rate_bounds(self.false_alarm_rate, 1.0 - confidence).1
        } else {
            1.0
        }
    }

    /// The interval that holds the rate of false alarms of this very set of calibration frames
    /// with the given confidence in (0, 1), half of the rest on either side; (0, 1) for any other
    /// confidence and for a calibration that is not valid. Scores are taken to be continuous: ties
    /// lower the rate.
    ///
    /// For single frames it is between quantiles of Beta(l, n + 1 − l). With K groups the weight
    /// above a fixed score is a sum of K independent values in [0, 1], whose tails are bounded by
    /// Hoeffding's inequality and by Bentkus's, e times the binomial (Bates, Angelopoulos, Lei,
    /// Malik & Jordan 2021, section 3.1); since the rate falls as the threshold rises, what holds
    /// at the score whose rate is r holds for the fitted threshold. The confidence is then at least
    /// the one given. With folds it is that of as many held-out frames, whose scores do not depend
    /// on each other.
    pub fn rate_interval(&self, confidence: f64) -> (f64, f64) {
        if confidence > 0.0 && confidence < 1.0 {
            self.rate_bounds(self.false_alarm_rate, (1.0 - confidence) / 2.0)
        } else {
            (0.0, 1.0)
        }
    }

    /// Bounds of the rate of false alarms where the target is `rate`, each missed with a
    /// probability of at most `miss` in (0, 1).
    pub(super) fn rate_bounds(&self, rate: f64, miss: f64) -> (f64, f64) {
        let Ok(allowed) = self.allowed(rate) else {
            return (0.0, 1.0);
        };
        let units = self.units() as f64;
        if self.group_sizes.is_some() {
            return grouped_bounds(units, allowed, miss);
        }
        let exceeding = allowed + 1.0;
        match Beta::new(exceeding, units + 1.0 - exceeding) {
            Ok(rates) => (rates.inverse_cdf(miss), rates.inverse_cdf(1.0 - miss)),
            Err(_) => (0.0, 1.0),
        }
    }

    /// What the calibration guarantees, in words for people.
    pub fn statement(&self) -> String {
        let statement = self.of_these_frames();
        if self.trimmed == 0 {
            return statement;
        }
        let all = f64::from(self.trimmed) + self.scores.len() as f64;
        format!(
            "{statement}. {} that looked least normal had been left out: if they were normal, up \
             to {} more are called anomalous",
            counted(self.trimmed as usize, "training frame"),
            percent_up(f64::from(self.trimmed) / all),
        )
    }

    /// What it guarantees of frames like those that it is made of.
    fn of_these_frames(&self) -> String {
        let frames = self.scores.len();
        if self.unguaranteed {
            return format!(
                "no guarantee: the threshold is the largest score of {} of what the model was \
                 trained on, and nothing is known of false alarms; {} takes {}",
                match frames {
                    1 => "an augmented sample".to_owned(),
                    _ => format!("{frames} augmented samples"),
                },
                percent_up(self.false_alarm_rate),
                match Self::needed(self.false_alarm_rate) {
                    Ok(needed) => counted(needed, "normal frame"),
                    Err(error) => error.to_string(),
                }
            );
        }
        let of_groups = self.groups().map_or_else(String::new, |groups| {
            format!(" of {}", counted(groups, "group"))
        });
        let (new, on_average) = match self.groups() {
            None => ("new normal frames like these", "on average"),
            Some(_) => (
                "normal frames of new groups like these",
                "on average (each group counting alike)",
            ),
        };
        let (low, high) = self.rate_interval(CONFIDENCE);
        if let Some(folds) = self.folds {
            let (each, counting) = match self.groups() {
                None => ("each", ""),
                Some(_) => ("each group", ", each group counting alike,"),
            };
            return format!(
                "calibrated on {}{of_groups}, {each} scored out of fold ({folds} folds): of {new}, \
                 about {} or fewer{counting} are called anomalous (between {} and {} with {:.0} % \
                 confidence, if their scores were independent)",
                counted(frames, "normal frame"),
                percent_up(self.false_alarm_rate),
                percent_down(low),
                percent_up(high),
                100.0 * CONFIDENCE,
            );
        }
        format!(
            "calibrated on {}{of_groups}: of {new}, at most {} {on_average} are called anomalous; \
             with {:.0} % confidence the true rate lies between {} and {}",
            counted(frames, "held-out normal frame"),
            percent_up(self.false_alarm_rate),
            100.0 * CONFIDENCE,
            percent_down(low),
            percent_up(high),
        )
    }
}

/// Bounds of the mean r of K values in [0, 1] of which a sum of `allowed` was let through.
fn grouped_bounds(groups: f64, allowed: f64, miss: f64) -> (f64, f64) {
    let mean = allowed / groups;
    let hoeffding = |rate: f64| (-groups * relative_entropy(mean, rate)).exp();
    // P(sum ≤ allowed), for rates above the mean, falls with the rate.
    let reached = allowed.ceil();
    let few = |rate: f64| {
        let binomial = checked_beta_reg(groups - reached, reached + 1.0, 1.0 - rate);
        hoeffding(rate).min(binomial.map_or(1.0, |below| E * below))
    };
    // P(sum > allowed), for rates below the mean, rises with the rate.
    let least = allowed.floor();
    let many = |rate: f64| {
        let binomial = checked_beta_reg(least, groups - least + 1.0, rate);
        hoeffding(rate).min(binomial.map_or(1.0, |above| E * above))
    };
    let (mut low, mut high) = ((0.0, mean), (mean, 1.0));
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low.0 + low.1);
        if many(middle) <= miss {
            low.0 = middle;
        } else {
            low.1 = middle;
        }
        let middle = 0.5 * (high.0 + high.1);
        if few(middle) <= miss {
            high.1 = middle;
        } else {
            high.0 = middle;
        }
    }
    (low.0, high.1)
}

/// Kullback–Leibler divergence of the Bernoulli distributions of two probabilities.
fn relative_entropy(a: f64, b: f64) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    part(a, b) + part(1.0 - a, 1.0 - b)
}

/// A probability in percent with two significant digits, rounded up, for it follows «at most».
pub fn percent_up(probability: f64) -> String {
    // What is 7 but for rounding errors stays 7.
    percent(probability, |scaled| (scaled * (1.0 - 1e-9)).ceil())
}

/// The same rounded down, for it follows «at least»; what is next to nothing is 0.
pub(super) fn percent_down(probability: f64) -> String {
    let probability = if probability < 1e-5 { 0.0 } else { probability };
    percent(probability, |scaled| (scaled * (1.0 + 1e-9)).floor())
}

fn percent(probability: f64, round: impl Fn(f64) -> f64) -> String {
    let percent = 100.0 * probability;
    if !(percent > 0.0 && percent < 100.0) {
        return format!("{percent} %");
    }
    let digits = 1 - percent.log10().floor() as i32;
    let scale = 10f64.powi(digits);
    let rounded = round(percent * scale) / scale;
    let decimals = usize::try_from(digits).unwrap_or(0);
    format!("{rounded:.decimals$} %")
}
