//! From one plan to another, between two frames.

use super::{
    super::{
        control::Answer,
        plan::{Host, Plan, SourceConfig},
        record::ThresholdOrigin,
        sink_worker::SinkWorker,
        source_state::SourceState,
        successor::Successor,
    },
    Pipeline, commands, finish_sink,
};

impl Pipeline {
    /// Goes over to the detector that was made meanwhile; thresholds and events go on.
    pub(super) fn take_successor(&mut self, host: &mut dyn Host) {
        let Some(made) = self.successor.as_mut().and_then(Successor::take) else {
            return;
        };
        self.successor = None;
        let until_now = self.detector.description().to_owned();
        match made {
            Ok(mut detector) => {
                // A command may have changed the threshold since.
                detector
                    .calibration_mut()
                    .clone_from(self.detector.calibration());
                let now = detector.description();
                host.note(&format_args!(
                    "runs on {now} from now on, on {until_now} before"
                ));
                self.detector = detector;
            }
            Err(problem) => host.note(&format_args!("goes on on {until_now}: {problem}")),
        }
    }

    /// Goes over to another plan. What can't be opened is logged and left out.
    pub(super) fn change(&mut self, plan: Plan, host: &mut dyn Host) {
        let mut problems = Vec::new();
        self.detector = plan.detector;
        self.successor = plan.successor;
        self.options = plan.options;
        let set_by_command = self.threshold.origin != ThresholdOrigin::Calibration;
        self.threshold = commands::calibrated(&self.detector);
        self.calibrated_rate = self.threshold.false_alarm_rate;
        if let Err(error) = self.listen(plan.control) {
            problems.push(error.to_string());
        }
        // Old sinks end before new ones begin, which may want the same file or port.
        let (kept, gone): (Vec<SinkWorker>, Vec<SinkWorker>) = std::mem::take(&mut self.workers)
            .into_iter()
            .partition(|worker| plan.sinks.iter().any(|sink| sink.key == worker.key));
        self.workers = kept;
        for worker in gone {
            finish_sink(worker, host);
        }
        for sink in plan.sinks {
            let known = self.workers.iter().any(|worker| worker.key == sink.key);
            if !known && let Err(error) = self.add_sink(sink) {
                problems.push(error.to_string());
            }
        }
        let same = |source: &SourceState, config: &SourceConfig| {
            source.name == config.name && source.key == config.key
        };
        let (mut kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sources)
            .into_iter()
            .partition(|source| plan.sources.iter().any(|config| same(source, config)));
        for mut source in gone {
            source.stop();
            self.announce(source.finish());
            self.announce_source(
                source.name.clone(),
                false,
                "no longer configured".to_owned(),
            );
        }
        for config in plan.sources {
            let Some(place) = kept.iter().position(|source| same(source, &config)) else {
                if let Err(error) = self.add_source(config) {
                    problems.push(error.to_string());
                }
                continue;
            };
            let mut source = kept.remove(place);
            let why = "the configuration was read again";
            match source.monitor_by(config.monitoring, &self.detector, why) {
                Ok(notices) => self.announce(notices),
                Err(error) => problems.push(format!("{}: {error}", source.name)),
            }
            self.sources.push(source);
        }
        if set_by_command {
            self.announce_threshold(host);
        }
        for problem in &problems {
            host.note(problem);
        }
        let model_id = self.detector.model_id().to_owned();
        self.answer_reload(|| Answer::Reloaded {
            model_id: model_id.clone(),
            problems: problems.clone(),
        });
    }
}
