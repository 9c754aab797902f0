//! Whether frames are still like those of calibration, and what has changed if not.
//!
//! The guarantee of a calibration ends where frames are unlike those it was made on. So the last
//! frames' score, divergence, brightness, contrast and focus are compared with those of the
//! calibration frames, window by window, by the two-sample test of Kolmogorov and Smirnov at a
//! stated false-alarm rate, which is divided among the quantities (Bonferroni). Which of them
//! changed tells a camera that moved or a lamp that aged from parts that are bad.
//!
//! That a few parts are bad is no drift: with a share q of other frames the statistic grows by q at
//! most, and a window of 300 frames against a thousand needs 0.14.

mod likely_cause;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::{
    calibration::{Calibration, two_sample},
    frame::FrameStatistics,
    value::ValueError,
};

pub use likely_cause::LikelyCause;

/// Windows in a row that have to agree before the monitor changes its mind.
const AGREEING_WINDOWS: u32 = 2;

/// Least and most frames of a window.
const WINDOWS: std::ops::RangeInclusive<usize> = 20..=10_000;

/// How closely frames are watched for drift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DriftSettings {
    /// Frames that are compared at a time, 20–10,000; 0 for no comparison. 300 by default.
    pub window: usize,
    /// At a live source one frame is taken every so many seconds, since neighbouring frames show
    /// the same and would count as many. At least as long as a part is in view. 1 by default, so
    /// that a window takes five minutes. Of files each is taken.
    pub every: f64,
    /// The probability that a window is called drifted although nothing has changed, on average
    /// over calibrations; above 0 and below 1. 0.001 by default. Two windows in a row have to agree
    /// before it is told, which is rarer still.
    pub false_alarm_rate: f64,
    /// Brightness, contrast and focus count as changed only where one of their quartiles differs by
    /// at least this share from that of the calibration frames: a lamp that is a thousandth
    /// brighter is told by the test where light is steady, but of no interest. 0.02 by default.
    pub least_change: f64,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self {
            window: 300,
            every: 1.0,
            false_alarm_rate: 0.001,
            least_change: 0.02,
        }
    }
}

impl DriftSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// A setting outside of its domain, by its name.
    pub fn validate(&self) -> Result<(), ValueError> {
        let check = |setting, found, fine, expected| match fine {
            true => Ok(()),
            false => Err(ValueError::Setting {
                setting,
                found,
                expected,
            }),
        };
        check(
            "drift.window",
            self.window as f64,
            self.window == 0 || WINDOWS.contains(&self.window),
            "0 for no comparison, or 20 to 10000 frames",
        )?;
        check(
            "drift.every",
            self.every,
            (0.0..=86_400.0).contains(&self.every),
            "0 to 86400 seconds",
        )?;
        check(
            "drift.false-alarm-rate",
            self.false_alarm_rate,
            self.false_alarm_rate > 0.0 && self.false_alarm_rate < 1.0,
            "a probability above 0 and below 1",
        )?;
        check(
            "drift.least-change",
            self.least_change,
            (0.0..=1.0).contains(&self.least_change),
            "a share from 0 to 1",
        )
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// The raw score.
    Score,
    /// KL(q(z|x) ‖ N(0, I)).
    Divergence,
    /// Mean luma.
    Brightness,
    /// Standard deviation of the luma.
    Contrast,
    /// Fine detail in proportion to the light.
    Focus,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Score,
        Self::Divergence,
        Self::Brightness,
        Self::Contrast,
        Self::Focus,
    ];

    /// As in JSON: `score`, `divergence`, `brightness`, `contrast`, `focus`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Divergence => "divergence",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::Focus => "focus",
        }
    }

    /// Whether it is of the picture alone, before any model.
    fn is_of_frame(self) -> bool {
        matches!(self, Self::Brightness | Self::Contrast | Self::Focus)
    }
}

/// A frame that was scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftFrame {
    /// Its raw score.
    pub score: f64,
    /// [`Scorer::divergence`](crate::scoring::Scorer::divergence).
    pub divergence: Option<f64>,
    /// Brightness, contrast and focus.
    pub statistics: FrameStatistics,
    /// Width and height in pixels.
    pub size: [u32; 2],
}

impl DriftFrame {
    /// `None` where it is not known, or no finite number.
    fn value(&self, quantity: Quantity) -> Option<f64> {
        let value = match quantity {
            Quantity::Score => self.score,
            Quantity::Divergence => self.divergence?,
            Quantity::Brightness => self.statistics.brightness,
            Quantity::Contrast => self.statistics.contrast,
            Quantity::Focus => self.statistics.focus,
        };
        Some(value).filter(|value| value.is_finite())
    }
}

/// One quantity of a window, compared with calibration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantityTest {
    /// What was compared.
    pub quantity: Quantity,
    /// Kolmogorov–Smirnov statistic, 0–1.
    pub statistic: f64,
    /// Its p-value, not corrected for the number of quantities.
    pub p_value: f64,
    /// Median of the window.
    pub median: f64,
    /// Median of the calibration frames.
    pub calibration_median: f64,
    /// Whether it changed.
    pub drifted: bool,
}

/// What one window came to.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowResult {
    /// A test of each quantity that could be compared.
    pub tests: Vec<QuantityTest>,
    /// What has changed; `None` where nothing has.
    pub cause: Option<LikelyCause>,
}

/// Compares the frames of one source with those of calibration.
#[derive(Clone, Debug)]
pub struct DriftMonitor {
    settings: DriftSettings,
    /// Ascending values of the calibration frames, of those quantities that it has.
    references: Vec<(Quantity, Vec<f64>)>,
    /// Size of the calibration frames, where they had one.
    size: Option<[u32; 2]>,
    /// Whether scores may be lower than those of calibration without anything having changed.
    lower_is_expected: bool,
    /// Values of the present window, by reference.
    values: Vec<Vec<f64>>,
    /// Whether all of its frames have the calibration frames' size.
    same_size: bool,
    drifted: bool,
    /// Windows in a row that say otherwise.
    disagreeing: u32,
}

impl DriftMonitor {
    /// Compares with the frames of a calibration. `None` where the settings turn it off, and where
    /// there is nothing to compare with: scores of frames in groups depend on each other. Scores of
    /// frames in folds are a little high; only higher ones than these are a change.
    ///
    /// # Errors
    /// A setting outside of its domain, by its name.
    pub fn new(
        settings: &DriftSettings,
        calibration: &Calibration,
    ) -> Result<Option<Self>, ValueError> {
        settings.validate()?;
        let statistics = calibration.reference.as_ref();
        let references: Vec<(Quantity, Vec<f64>)> = Quantity::ALL
            .into_iter()
            .filter_map(|quantity| {
                let mut values = match (quantity, statistics) {
                    (Quantity::Score, _) => calibration
                        .groups()
                        .is_none()
                        .then(|| calibration.scores.clone())?,
                    (_, None) => return None,
                    (Quantity::Divergence, Some(seen)) => seen.divergence.clone()?,
                    (Quantity::Brightness, Some(seen)) => seen.brightness.clone(),
                    (Quantity::Contrast, Some(seen)) => seen.contrast.clone(),
                    (Quantity::Focus, Some(seen)) => seen.focus.clone(),
                };
                values.sort_by(f64::total_cmp);
                Some((quantity, values))
            })
            .collect();
        if settings.window == 0 || references.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            values: vec![Vec::with_capacity(settings.window); references.len()],
            settings: settings.clone(),
            references,
            size: statistics.and_then(|seen| seen.size()),
            lower_is_expected: calibration.folds.is_some(),
            same_size: true,
            drifted: false,
            disagreeing: 0,
        }))
    }

    /// The settings.
    pub fn settings(&self) -> &DriftSettings {
        &self.settings
    }

    /// Whether frames are unlike those of calibration, as far as told.
    pub fn is_drifted(&self) -> bool {
        self.drifted
    }

    /// Whether the pictures themselves are compared, and not only what the model makes of them.
    pub fn has_reference(&self) -> bool {
        self.references.iter().any(|(q, _)| q.is_of_frame())
    }

    /// Takes in a frame that was scored, and gives what its window came to if that changed the
    /// monitor's mind: [`DriftMonitor::is_drifted`] is then another than before. Frames that lack
    /// what is compared, or where it is no finite number, are not taken.
    pub fn observe(&mut self, frame: &DriftFrame) -> Option<WindowResult> {
        let references = self.references.iter();
        let taken: Vec<f64> = references
            .map(|(quantity, _)| frame.value(*quantity))
            .collect::<Option<_>>()?;
        for (value, values) in taken.into_iter().zip(&mut self.values) {
            values.push(value);
        }
        self.same_size &= self.size.is_none_or(|size| size == frame.size);
        if self.values.first()?.len() < self.settings.window {
            return None;
        }
        let result = self.compare();
        self.same_size = true;
        for values in &mut self.values {
            values.clear();
        }
        if result.cause.is_some() == self.drifted {
            self.disagreeing = 0;
            return None;
        }
        self.disagreeing += 1;
        if self.disagreeing < AGREEING_WINDOWS {
            return None;
        }
        self.disagreeing = 0;
        self.drifted = !self.drifted;
        Some(result)
    }

    /// Tests the present window.
    fn compare(&mut self) -> WindowResult {
        // Focus is a matter of pixels: that of another size can't be compared.
        let same_size = self.same_size;
        let comparable = |quantity| quantity != Quantity::Focus || same_size;
        let number = self
            .references
            .iter()
            .filter(|(quantity, _)| comparable(*quantity))
            .count();
        let level = self.settings.false_alarm_rate / number.max(1) as f64;
        let tests: Vec<QuantityTest> = self
            .references
            .iter()
            .zip(&mut self.values)
            .filter(|((quantity, _), _)| comparable(*quantity))
            .filter_map(|((quantity, reference), values)| {
                values.sort_by(f64::total_cmp);
                let found = two_sample(reference, values)?;
                let (median, calibration_median) = (quantile(values, 2), quantile(reference, 2));
                let matters = match quantity {
                    Quantity::Score if self.lower_is_expected => median > calibration_median,
                    quantity if quantity.is_of_frame() => {
                        change(reference, values) >= self.settings.least_change
                    }
                    _ => true,
                };
                Some(QuantityTest {
                    quantity: *quantity,
                    statistic: found.statistic,
                    p_value: found.p_value,
                    median,
                    calibration_median,
                    drifted: found.p_value <= level && matters,
                })
            })
            .collect();
        WindowResult {
            cause: LikelyCause::of(&tests),
            tests,
        }
    }
}

/// The largest relative difference of a quartile.
fn change(reference: &[f64], values: &[f64]) -> f64 {
    (1..=3)
        .map(|quarters| {
            let (was, is) = (quantile(reference, quarters), quantile(values, quarters));
            if was == is {
                0.0
            } else {
                (is - was).abs() / was.abs()
            }
        })
        .fold(0.0, f64::max)
}

/// The quantile of so many quarters of ascending values, the lower one of two.
fn quantile(values: &[f64], quarters: usize) -> f64 {
    let place = (values.len().saturating_sub(1)) * quarters / 4;
    values.get(place).copied().unwrap_or(f64::NAN)
}
