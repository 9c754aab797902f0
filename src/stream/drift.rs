//! Drift of one source: which of its frames are compared, and what is written of it.

use std::time::{Duration, SystemTime};

use crate::{
    Detection,
    calibration::Calibration,
    drift::{DriftFrame, DriftMonitor, DriftSettings, WindowResult},
    frame::Frame,
    value::ValueError,
};

use super::record::{DriftRecord, DriftTest, SCHEMA_VERSION, timestamp};

/// What is written when frames are like those of calibration again.
const BACK: &str = "frames are as calibrated again";

/// Watches the frames of one source for drift.
#[derive(Clone, Debug)]
pub struct SourceDrift {
    monitor: DriftMonitor,
    source: String,
    /// Seconds between the frames that are taken; 0 for all.
    every: f64,
    last: Option<Duration>,
}

impl SourceDrift {
    /// Of a source that is `live` or not. `None` where the settings turn it off or the calibration
    /// has nothing to compare with.
    ///
    /// # Errors
    /// A setting outside of its domain, by its name.
    pub fn new(
        settings: &DriftSettings,
        calibration: &Calibration,
        source: &str,
        live: bool,
    ) -> Result<Option<Self>, ValueError> {
        let monitor = DriftMonitor::new(settings, calibration)?;
        Ok(monitor.map(|monitor| Self {
            monitor,
            source: source.to_owned(),
            every: if live { settings.every } else { 0.0 },
            last: None,
        }))
    }

    /// Whether the source drifted, as far as told.
    pub fn is_drifted(&self) -> bool {
        self.monitor.is_drifted()
    }

    /// What is compared how often, in words.
    pub fn statement(&self) -> String {
        let DriftSettings {
            window,
            false_alarm_rate,
            ..
        } = self.monitor.settings();
        let taken = if self.every > 0.0 {
            format!(", one every {} s,", self.every)
        } else {
            String::new()
        };
        let of = if self.monitor.has_reference() {
            "scores, light and focus"
        } else {
            "scores"
        };
        let lacks = if self.monitor.has_reference() {
            ""
        } else {
            "; light and focus are not compared: calibrate on frames of this camera to turn that on"
        };
        format!(
            "{of} of each {window} frames{taken} are compared with calibration, with a \
             false-alarm rate of {false_alarm_rate} a window; two windows in a row are told{lacks}"
        )
    }

    /// Whether a frame of this time is taken, if it can be judged.
    pub(super) fn takes(&self, at: Duration) -> bool {
        // Pictures that are older than those before them start anew.
        self.last.is_none_or(|last| {
            at.checked_sub(last)
                .is_none_or(|since| since.as_secs_f64() >= self.every)
        })
    }

    /// Takes in the next frame of the source and what was said of it. What is returned is told: the
    /// source drifted, or is back.
    pub fn observe(
        &mut self,
        frame: &Frame,
        at: Duration,
        detection: &Detection,
    ) -> Option<DriftRecord> {
        let score = detection.verdict.score?;
        // Only of frames that were judged.
        detection.verdict.p_value?;
        let captured = frame.captured();
        if !self.takes(at) {
            return None;
        }
        self.last = Some(at);
        let found = self.monitor.observe(&DriftFrame {
            score,
            divergence: detection.divergence,
            statistics: detection.statistics,
            size: [frame.width(), frame.height()],
        })?;
        Some(self.record(captured, found))
    }

    fn record(&self, captured: SystemTime, found: WindowResult) -> DriftRecord {
        let settings = self.monitor.settings();
        DriftRecord {
            schema_version: SCHEMA_VERSION,
            source: self.source.clone(),
            timestamp: timestamp(captured),
            drifted: self.is_drifted(),
            explanation: found
                .cause
                .map_or_else(|| BACK.to_owned(), |cause| cause.to_string()),
            tests: found
                .tests
                .iter()
                .map(|test| DriftTest {
                    quantity: test.quantity.name().to_owned(),
                    statistic: test.statistic,
                    p_value: test.p_value,
                    median: test.median,
                    calibration_median: test.calibration_median,
                    drifted: test.drifted,
                })
                .collect(),
            window: settings.window,
            false_alarm_rate: settings.false_alarm_rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{
        calibration::ReferenceStatistics,
        frame::{FrameStatistics, PixelFormat},
        runtime::Verdict,
    };

    fn calibration() -> Calibration {
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let light: Vec<f64> = (0..100).map(|k| 0.4 + 0.001 * f64::from(k)).collect();
        Calibration {
            reference: Some(ReferenceStatistics {
                contrast: light.iter().map(|v| 0.1 * v).collect(),
                focus: vec![1.0; 100],
                divergence: Some(scores.clone()),
                brightness: light,
                width: Some(1),
                height: Some(1),
            }),
            ..Calibration::fit(scores.clone(), scores, 0.1).unwrap()
        }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn frame(seconds: f64) -> Frame {
        Frame::from_u8(1, 1, PixelFormat::Gray8, vec![9], "camera")
            .unwrap()
            .with_captured(UNIX_EPOCH + Duration::from_secs_f64(seconds))
    }

    /// The k-th frame of a source with so much of the calibrated light.
    fn detection(k: u32, gain: f64) -> Detection {
        let place = f64::from(k * 37 % 100);
        let light = gain * (0.4 + 0.001 * place);
        let statistics = FrameStatistics {
            brightness: light,
            contrast: 0.1 * light,
            focus: 1.0,
        };
        Detection {
            verdict: Verdict::of(place, &calibration(), None, Vec::new()),
            divergence: Some(place),
            ..Detection::invalid(String::new(), statistics)
        }
    }

    fn drift(live: bool) -> SourceDrift {
        let settings = DriftSettings {
            window: 100,
            ..DriftSettings::default()
        };
        SourceDrift::new(&settings, &calibration(), "line", live)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn light_that_fails_is_told_once_and_its_return_too() {
        let mut drift = drift(false);
        let mut told = Vec::new();
        for k in 0..1000 {
            let gain = if (250..650).contains(&k) { 0.7 } else { 1.0 };
            if let Some(record) = drift.observe(
                &frame(f64::from(k)),
                seconds(f64::from(k)),
                &detection(k, gain),
            ) {
                told.push((k, record));
            }
        }
        // Windows end at 99, 199, …: that of 299 is half dark, so is that of 699.
        let [(dark, changed), (light, back)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((*dark, *light), (399, 899));
        assert!(changed.drifted && !back.drifted);
        assert_eq!(changed.explanation, "the light or the exposure changed");
        assert_eq!(back.explanation, BACK);
        assert_eq!(changed.timestamp, "1970-01-01T00:06:39.000Z");
        assert_eq!((changed.window, changed.false_alarm_rate), (100, 0.001));
        let names: Vec<_> = changed.tests.iter().map(|t| t.quantity.as_str()).collect();
        assert_eq!(
            names,
            ["score", "divergence", "brightness", "contrast", "focus"]
        );
        let drifted: Vec<_> = changed.tests.iter().map(|t| t.drifted).collect();
        assert_eq!(drifted, [false, false, true, true, false]);
        assert!((changed.tests[2].median - 0.7 * 0.449).abs() < 1e-9);
        assert!((changed.tests[2].calibration_median - 0.449).abs() < 1e-9);
    }

    #[test]
    fn a_live_source_is_thinned_and_invalid_frames_are_left_out() {
        let mut live = drift(true);
        // Dark from the start, four frames a second: two windows of 100 frames take 200 s.
        let told: Vec<u32> = (0..1000)
            .filter(|&k| {
                let time = f64::from(k) / 4.0;
                live.observe(&frame(time), seconds(time), &detection(k, 0.7))
                    .is_some()
            })
            .collect();
        assert_eq!(told, [796]);
        let mut files = drift(false);
        let invalid = Detection::invalid("the frame is black".into(), FrameStatistics::default());
        for k in 0..1000 {
            assert_eq!(
                files.observe(&frame(f64::from(k)), seconds(f64::from(k)), &invalid),
                None
            );
        }
        assert!(!files.is_drifted());
    }

    #[test]
    fn what_is_compared_is_said() {
        assert_eq!(
            drift(true).statement(),
            "scores, light and focus of each 100 frames, one every 1 s, are compared with \
             calibration, with a false-alarm rate of 0.001 a window; two windows in a row are told"
        );
        let bare = Calibration {
            reference: None,
            ..calibration()
        };
        let settings = DriftSettings::default();
        let bare = SourceDrift::new(&settings, &bare, "line", false).unwrap();
        let text = bare.unwrap().statement();
        assert!(text.starts_with("scores of each 300 frames are"), "{text}");
        assert!(text.ends_with("calibrate on frames of this camera to turn that on"));
        let off = DriftSettings {
            window: 0,
            ..settings
        };
        let off = SourceDrift::new(&off, &calibration(), "line", true).unwrap();
        assert!(off.is_none());
    }
}
