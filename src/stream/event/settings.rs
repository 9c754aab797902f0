//! When an event begins and ends.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::{
    calibration::{Calibration, CalibrationError, ReviewBand},
    value::ValueError,
};

/// Most frames that debouncing looks back on.
const LONGEST: u32 = 1000;

/// The release rate where none is set: so many times the calibration's false-alarm rate.
const RELEASE_FACTOR: f64 = 5.0;

/// When an event begins and ends, as configured. What is absent depends on the source: a live one
/// shows a defect in several frames, a folder has one frame of each part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EventSettings {
    /// An event begins when so many of the last [`of`](Self::of) frames are anomalous. Live 2, else
    /// 1. A camera that is triggered once for each part needs 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomalous: Option<u32>,
    /// How many of the last frames are looked back on, at most 1000. Live 3, else 1. Frames that
    /// could not be judged are not among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// An event stays open until fewer than [`anomalous`](Self::anomalous) of the last
    /// [`of`](Self::of) frames score above the threshold for this target false-alarm rate.
    /// At least the calibration's own, and below 1; five times that by default, at most a half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_rate: Option<f64>,
    /// Seconds for which it must stay so before the event is closed: what is anomalous meanwhile
    /// belongs to it, and to no new event. Shorter than from one part to the next. Live 1, else 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<f64>,
    /// An open event is closed when no frame could be judged for more than so many seconds. Live
    /// 30; otherwise no limit, since files are not taken at their pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_gap: Option<f64>,
    /// An event that is open for more than so many seconds is closed, and the next one begins as
    /// any does: a lasting fault is told again. Live 600; otherwise no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<f64>,
}

/// [`EventSettings`] resolved for one source and one calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRule {
    /// So many of the last frames make an event.
    pub(super) anomalous: usize,
    /// How many are looked back on.
    pub(super) of: usize,
    /// The calibration's threshold.
    pub(super) threshold: f64,
    /// A frame with a score above it keeps an event open.
    pub(super) release: f64,
    pub(super) release_rate: f64,
    /// Seconds.
    pub(super) cool_down: f64,
    /// Seconds; infinite for no limit.
    pub(super) max_gap: f64,
    /// Seconds; infinite for no limit.
    pub(super) max_duration: f64,
}

/// How often normal frames make an event, as a share of all frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FalseEvents {
    /// At most so many, if frames are independent of each other: p·P(B ≥ N − 1), B binomial of
    /// M − 1 frames and p. An event begins with a frame that is anomalous, and so are N − 1 of the
    /// M − 1 before.
    pub independent: f64,
    /// At most so many, however frames depend on each other: p/N, since an event has N false alarms
    /// of its own.
    pub at_most: f64,
}

impl EventRule {
    /// Resolves the settings of a source that is `live` or not.
    ///
    /// # Errors
    /// A setting outside of its domain, by its name.
    pub fn new(
        settings: &EventSettings,
        calibration: &Calibration,
        live: bool,
    ) -> Result<Self, CalibrationError> {
        let (usual, usual_of) = if live { (2, 3) } else { (1, 1) };
        let of = settings
            .of
            .unwrap_or(usual_of.max(settings.anomalous.unwrap_or(1)));
        let anomalous = settings.anomalous.unwrap_or(usual.min(of));
        let check = |setting, found: f64, fine: bool, expected| match fine {
            true => Ok(found),
            false => Err(ValueError::Setting {
                setting,
                found,
                expected,
            }),
        };
        check(
            "events.of",
            f64::from(of),
            (1..=LONGEST).contains(&of),
            "1 to 1000 frames",
        )?;
        check(
            "events.anomalous",
            f64::from(anomalous),
            (1..=of).contains(&anomalous),
            "at least 1 frame, and no more than events.of",
        )?;
        let target = calibration.false_alarm_rate;
        let release_rate = settings
            .release_rate
            .unwrap_or((RELEASE_FACTOR * target).min(0.5).max(target));
        check(
            "events.release-rate",
            release_rate,
            (target..1.0).contains(&release_rate),
            "a rate below 1 and not below the calibration's false-alarm rate",
        )?;
        let seconds = |setting, found: Option<f64>, usual: f64| {
            let found = found.unwrap_or(usual);
            check(setting, found, found >= 0.0, "0 seconds or more")
        };
        let limit = |usual| if live { usual } else { f64::INFINITY };
        Ok(Self {
            anomalous: anomalous as usize,
            of: of as usize,
            threshold: calibration.threshold,
            release: calibration.threshold_at(release_rate)?,
            release_rate,
            cool_down: seconds(
                "events.cool-down",
                settings.cool_down,
                if live { 1.0 } else { 0.0 },
            )?,
            max_gap: seconds("events.max-gap", settings.max_gap, limit(30.0))?,
            max_duration: seconds("events.max-duration", settings.max_duration, limit(600.0))?,
        })
    }

    /// The same rule for frames of a review band.
    pub fn of_band(&self, band: ReviewBand) -> Self {
        Self {
            threshold: band.threshold,
            release: band.threshold,
            release_rate: band.rate,
            ..self.clone()
        }
    }

    /// How often normal frames make an event, where a normal frame is called anomalous with a
    /// probability of `false_alarm_rate`.
    pub fn false_events(&self, false_alarm_rate: f64) -> FalseEvents {
        let p = false_alarm_rate.clamp(0.0, 1.0);
        let others = match self.anomalous.checked_sub(2) {
            None => 1.0,
            Some(k) => Binomial::new(p, self.of as u64 - 1).map_or(1.0, |b| b.sf(k as u64)),
        };
        let at_most = p / self.anomalous as f64;
        FalseEvents {
            independent: (p * others).min(at_most),
            at_most,
        }
    }

    /// The rule in words, with what it does to false alarms at so many frames a second, where that
    /// is known.
    pub fn statement(&self, false_alarm_rate: f64, frames_per_second: Option<f64>) -> String {
        let Self { anomalous, of, .. } = self;
        let begins = match of {
            1 => "an event begins with each anomalous frame".to_owned(),
            _ => format!("an event begins when {anomalous} of the last {of} frames are anomalous"),
        };
        let mut text = format!(
            "{begins}, and ends when {}",
            self.calm(["scores", "score"], self.cool_down)
        );
        if self.max_gap.is_finite() {
            text += &format!(", when no frame could be judged for {:.0} s", self.max_gap);
        }
        if self.max_duration.is_finite() {
            text += &format!(", or after {:.0} s", self.max_duration);
        }
        let found = self.false_events(false_alarm_rate);
        let often = |share: f64| match frames_per_second {
            Some(fps) if fps > 0.0 && share > 0.0 => {
                let seconds = (1.0 / (share * fps)).min(1e9);
                let whole = std::time::Duration::from_secs_f64(seconds.max(1.0).round());
                format!("one in {}", humantime::format_duration(whole))
            }
            _ => format!("{share:.1e} a frame"),
        };
        text + &format!(
            "; false events of normal frames, each called anomalous with probability \
             {false_alarm_rate}: at most {} if frames are independent, at most {} however they \
             depend on each other",
            often(found.independent),
            often(found.at_most)
        )
    }

    /// That an event has calmed down, in words.
    pub(super) fn calm(&self, [one, several]: [&str; 2], seconds: f64) -> String {
        let release = self.release;
        let what = match self.of {
            1 => format!("a frame {one} no more than {release:.4}"),
            of => format!(
                "fewer than {} of the last {of} frames {several} above {release:.4}",
                self.anomalous
            ),
        };
        if seconds > 0.0 {
            format!("{what}, for {seconds} s")
        } else {
            what
        }
    }
}
