//! How the frames of a source are judged over time: events, health, drift.

use crate::{
    calibration::{Calibration, CalibrationError},
    drift::DriftSettings,
};

use super::{
    drift::SourceDrift,
    event::{EventRule, EventSettings},
    health::{Health, HealthSettings},
};

/// How frames of a source are judged beyond the verdict of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MonitorSettings {
    /// When anomalous frames are an event.
    pub events: EventSettings,
    /// Which frames can't be judged.
    pub health: HealthSettings,
    /// How drift is looked for; `None` for not at all.
    pub drift: Option<DriftSettings>,
}

/// What [`MonitorSettings`] are for one source and one calibration.
pub(super) struct Monitors {
    pub(super) events: EventRule,
    /// For frames for review, where the calibration has a band of them.
    pub(super) review: Option<EventRule>,
    pub(super) health: Health,
    pub(super) drift: Option<SourceDrift>,
}

impl MonitorSettings {
    pub(super) fn resolve(
        &self,
        name: &str,
        calibration: &Calibration,
        live: bool,
    ) -> Result<Monitors, CalibrationError> {
        let drift = self.drift.as_ref().map_or(Ok(None), |settings| {
            SourceDrift::new(settings, calibration, name, live)
        });
        let events = EventRule::new(&self.events, calibration, live)?;
        Ok(Monitors {
            review: calibration.review.map(|band| events.of_band(band)),
            events,
            health: Health::new(self.health.clone(), calibration, live)?,
            drift: drift?,
        })
    }

    /// The rules in words, for a source that is `live` or not.
    ///
    /// # Errors
    /// A setting outside of its domain, by its name.
    pub fn statements(
        &self,
        calibration: &Calibration,
        live: bool,
    ) -> Result<Vec<String>, CalibrationError> {
        let monitors = self.resolve("", calibration, live)?;
        let rate = calibration.false_alarm_rate;
        let mut statements = vec![monitors.events.statement(rate, None)];
        statements.extend(calibration.review.map(|band| {
            format!(
                "normal frames that score above {:.4} (rate {}) are for review, and have events \
                 of class review by the same rule",
                band.threshold, band.rate
            )
        }));
        statements.extend(monitors.health.disabled_checks().map(str::to_owned));
        statements.extend(monitors.drift.map(|drift| drift.statement()));
        Ok(statements)
    }
}
