//! What commands do to a running pipeline.

use std::{
    sync::{Arc, mpsc::SyncSender},
    time::SystemTime,
};

use crate::{
    Detector,
    render::{judged_overlay, png},
};

use super::{
    super::{
        control::{
            Answer, Command, Order, SnapshotRecord, SourceStatus, StatusRecord, ThresholdChoice,
        },
        plan::Host,
        record::{
            PauseRecord, SCHEMA_VERSION, SourceTally, ThresholdOrigin, ThresholdRecord, timestamp,
        },
        sink::Message,
        source_state::{LatestFrame, SourceState},
    },
    Pipeline,
};

/// The threshold of a model's calibration.
pub(super) fn calibrated(detector: &Detector) -> ThresholdRecord {
    let calibration = detector.calibration();
    ThresholdRecord {
        schema_version: SCHEMA_VERSION,
        timestamp: timestamp(SystemTime::now()),
        model_id: detector.model_id().to_owned(),
        threshold: calibration.threshold,
        origin: ThresholdOrigin::Calibration,
        false_alarm_rate: calibration.false_alarm_rate,
        calibrated: calibration.threshold,
    }
}

impl Pipeline {
    /// Does what was asked for since the last frame. An answer that nobody waits for any more is
    /// dropped.
    pub(super) fn take_orders(&mut self, host: &mut dyn Host) {
        while let Ok(Order { command, answer }) = self.orders.try_recv() {
            let done = match command {
                Command::Status => Answer::Status(Box::new(self.status())),
                Command::Pause(source) => self.pause(source.as_deref(), true, host),
                Command::Resume(source) => self.pause(source.as_deref(), false, host),
                Command::Threshold(choice) => self.set_threshold(choice, host),
                Command::Snapshot { source, overlay } => self.snapshot(source, overlay),
                Command::Reload => {
                    self.reload(answer, host);
                    continue;
                }
            };
            let _ = answer.try_send(done);
        }
    }

    fn reload(&mut self, answer: SyncSender<Answer>, host: &mut dyn Host) {
        if host.reload() {
            self.reloading.push(answer);
        } else {
            let under_way = "the configuration is being read already; ask again";
            let _ = answer.try_send(Answer::Refused(under_way.to_owned()));
        }
    }

    /// Tells those who asked for another plan what came of it.
    pub(super) fn answer_reload(&mut self, answer: impl Fn() -> Answer) {
        for waiting in self.reloading.drain(..) {
            let _ = waiting.try_send(answer());
        }
    }

    fn status(&mut self) -> StatusRecord {
        let tally = self.tally();
        let status = |(source, counts): (&SourceState, SourceTally)| SourceStatus {
            state: match () {
                () if source.thread.is_none() => "ended",
                () if counts.paused => "paused",
                () if counts.up => "up",
                () => "lost",
            },
            last: source.last.clone(),
            event_id: source.open_event().map(str::to_owned),
            counts,
        };
        let sources = self.sources.iter().zip(tally.sources).map(status);
        let sources: Vec<SourceStatus> = sources.collect();
        StatusRecord {
            model_id: self.detector.model_id().to_owned(),
            engine: self.detector.description().to_owned(),
            threshold: self.threshold.clone(),
            paused: sources.iter().all(|source| source.counts.paused),
            uptime: tally.seconds,
            sources,
            sinks: tally.sinks,
            late: tally.late,
        }
    }

    fn pause(&mut self, name: Option<&str>, paused: bool, host: &mut dyn Host) -> Answer {
        if let Some(problem) = name.and_then(|name| self.unknown(name)) {
            return Answer::Refused(problem);
        }
        let is_meant = |source: &SourceState| name.is_none_or(|name| source.name == name);
        for index in 0..self.sources.len() {
            let source = &mut self.sources[index];
            if !is_meant(source) || source.tally.paused == paused {
                continue;
            }
            let (notices, name) = (source.pause(paused), source.name.clone());
            self.announce(notices);
            let what = if paused {
                "paused; its frames are not judged"
            } else {
                "resumed"
            };
            host.note(&format_args!("{name}: {what}"));
            self.give(&Message::Pause(Arc::new(PauseRecord {
                schema_version: SCHEMA_VERSION,
                source: name,
                timestamp: timestamp(SystemTime::now()),
                paused,
            })));
        }
        let paused = self.sources.iter().filter(|source| source.tally.paused);
        Answer::Paused(paused.map(|source| source.name.clone()).collect())
    }

    /// What is wrong with the name of a source that is none.
    fn unknown(&self, name: &str) -> Option<String> {
        let known = |source: &SourceState| source.name == name;
        (!self.sources.iter().any(known)).then(|| {
            let names: Vec<&str> = self.sources.iter().map(|s| s.name.as_str()).collect();
            format!(
                "no source is called {name:?}; there are {}",
                names.join(", ")
            )
        })
    }

    fn set_threshold(&mut self, choice: ThresholdChoice, host: &mut dyn Host) -> Answer {
        let own = self.threshold.calibrated;
        let calibration = self.detector.calibration();
        let found = match choice {
            ThresholdChoice::Calibrated => Ok((own, ThresholdOrigin::Calibration)),
            ThresholdChoice::Rate(rate) => calibration
                .threshold_at(rate)
                .map(|threshold| (threshold, ThresholdOrigin::Rate))
                .map_err(|error| match calibration.least_rate() {
                    // Rounded up, so that it can be asked for.
                    least if rate > 0.0 && rate < least => format!(
                        "{error}; the smallest rate that this calibration can guarantee is {}",
                        (1e6 * least).ceil() / 1e6
                    ),
                    _ => error.to_string(),
                }),
            ThresholdChoice::Value(value) if value.is_finite() => {
                Ok((value, ThresholdOrigin::Value))
            }
            ThresholdChoice::Value(value) => Err(format!("{value} is no threshold")),
        };
        let (threshold, origin) = match found {
            Ok(found) => found,
            Err(problem) => return Answer::Refused(problem),
        };
        let rate = match choice {
            ThresholdChoice::Calibrated => self.calibrated_rate,
            ThresholdChoice::Rate(rate) => rate,
            ThresholdChoice::Value(value) => calibration.rate_above(value),
        };
        let mut changed = calibration.clone();
        (changed.threshold, changed.false_alarm_rate) = (threshold, rate);
        for source in &self.sources {
            if let Err(error) = source.check(&changed) {
                return Answer::Refused(format!("{}: {error}", source.name));
            }
        }
        *self.detector.calibration_mut() = changed;
        self.threshold = ThresholdRecord {
            timestamp: timestamp(SystemTime::now()),
            threshold,
            origin,
            false_alarm_rate: rate,
            ..self.threshold.clone()
        };
        for index in 0..self.sources.len() {
            let why = "the threshold was changed";
            match self.sources[index].recalibrate(&self.detector, why) {
                Ok(notices) => self.announce(notices),
                Err(error) => host.note(&error),
            }
        }
        self.announce_threshold(host);
        Answer::Threshold(self.threshold.clone())
    }

    /// Tells everybody which threshold judges.
    pub(super) fn announce_threshold(&self, host: &mut dyn Host) {
        let record = &self.threshold;
        let origin = match record.origin {
            ThresholdOrigin::Calibration => "the calibration's",
            ThresholdOrigin::Rate | ThresholdOrigin::Value => "by command",
        };
        host.note(&format_args!(
            "the threshold is {:.4} now ({origin}; false-alarm rate {:.3e}, calibrated {:.4})",
            record.threshold, record.false_alarm_rate, record.calibrated
        ));
        self.give(&Message::Threshold(Arc::new(record.clone())));
    }

    fn snapshot(&self, name: Option<String>, overlay: bool) -> Answer {
        let source = match (&name, &self.sources[..]) {
            (Some(name), sources) => match sources.iter().find(|source| source.name == *name) {
                Some(source) => source,
                None => return Answer::Refused(self.unknown(name).unwrap_or_default()),
            },
            (None, [source]) => source,
            (None, sources) => {
                let names: Vec<&str> = sources.iter().map(|s| s.name.as_str()).collect();
                return Answer::Refused(format!("name a source: {}", names.join(", ")));
            }
        };
        match source.latest.clone() {
            Some(latest) => Answer::Snapshot {
                frame: Box::new(SnapshotRecord {
                    source: source.name.clone(),
                    frame_number: latest.number,
                    timestamp: timestamp(latest.frame.captured()),
                    frame: latest.scored.as_ref().map(|scored| scored.record.clone()),
                }),
                picture: Box::new(move || picture(&latest, overlay)),
            },
            None => Answer::Refused(format!("{}: there was no frame yet", source.name)),
        }
    }
}

/// A frame as PNG of 8 bits, with what was found in it where that is wanted.
fn picture(latest: &LatestFrame, overlay: bool) -> Result<Vec<u8>, String> {
    let made = match latest.scored.as_deref().filter(|_| overlay) {
        Some(scored) => png(judged_overlay(
            &scored.frame,
            &scored.detection,
            scored.map.as_ref().map(|map| map.view()),
            scored.map_range,
            scored.record.threshold,
            &scored.record.model_id,
        )),
        None => png(latest.frame.to_rgb8()),
    };
    made.map_err(|error| error.to_string())
}
