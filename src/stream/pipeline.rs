//! From sources through one model to sinks.

mod change;
mod commands;

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::Detector;

use super::{
    capture::{Capture, CapturedFrame, SourceChange, SourceEvent},
    control::{Answer, ControlError, ControlHandle, ControlSettings, ControlSocket, Order},
    event::RunId,
    event_tracker::EventNotice,
    frame_queue::FrameQueue,
    plan::{Host, PipelineOptions, Plan, RunSummary, SinkConfig, SourceConfig, StreamError},
    record::{SCHEMA_VERSION, SinkTally, SourceRecord, Tally, ThresholdRecord, timestamp},
    sink::Message,
    sink_worker::SinkWorker,
    source::SourceError,
    source_state::{FrameOutcome, SourceState},
    stages::{Stages, milliseconds},
    successor::Successor,
    temperature,
};

/// How long the pipeline waits for a frame before it looks after other things.
const PATIENCE: Duration = Duration::from_millis(50);

/// How often counts are told.
const TICK: Duration = Duration::from_secs(1);

/// How long others wait for a sink that has to have an event on disk before they announce it.
const DURABLE: Duration = Duration::from_secs(2);

/// Runs a plan until its sources end, a limit is reached or the host asks for the end; then judges
/// the frames in flight, finishes the sinks, and gives the counts.
///
/// # Errors
/// A sink that can't be opened, impossible sources, and a system without threads: nothing ran then.
pub fn run(plan: Plan, host: &mut dyn Host) -> Result<RunSummary, StreamError> {
    let mut pipeline = Pipeline::start(plan, host)?;
    pipeline.work(host);
    Ok(pipeline.finish(host))
}

struct Pipeline {
    detector: Detector,
    successor: Option<Successor>,
    options: PipelineOptions,
    sources: Vec<SourceState>,
    next_source: usize,
    workers: Vec<SinkWorker>,
    queue: Arc<FrameQueue<CapturedFrame>>,
    events: mpsc::Receiver<SourceEvent>,
    event_sender: mpsc::Sender<SourceEvent>,
    stages: Stages,
    began: Instant,
    ticked: Instant,
    judged: u64,
    late: u64,
    /// Frames on which the engine failed in a row: logged once.
    engine_trouble: Option<String>,
    abandoned: Option<SourceError>,
    /// Makes the ids of this run's events different from those of others.
    run_id: RunId,
    /// Which checks are off, as it was logged.
    disabled_checks: Option<&'static str>,
    control: ControlHandle,
    orders: mpsc::Receiver<Order>,
    socket: Option<ControlSocket>,
    /// Who waits for the plan that is being made.
    reloading: Vec<mpsc::SyncSender<Answer>>,
    threshold: ThresholdRecord,
    /// The false-alarm rate that the model was calibrated for.
    calibrated_rate: f64,
}

impl Pipeline {
    fn start(plan: Plan, host: &mut dyn Host) -> Result<Self, StreamError> {
        if plan.sources.is_empty() {
            return Err(StreamError::NoSource);
        }
        let (event_sender, events) = mpsc::channel();
        let (control, orders) = ControlHandle::new();
        let mut pipeline = Self {
            threshold: commands::calibrated(&plan.detector),
            calibrated_rate: plan.detector.calibration().false_alarm_rate,
            detector: plan.detector,
            successor: plan.successor,
            sources: Vec::new(),
            next_source: 0,
            workers: Vec::new(),
            queue: Arc::new(FrameQueue::new(plan.options.depth)),
            events,
            event_sender,
            stages: Stages::new(),
            began: Instant::now(),
            ticked: Instant::now(),
            judged: 0,
            late: 0,
            engine_trouble: None,
            abandoned: None,
            run_id: RunId::now(),
            disabled_checks: None,
            control,
            orders,
            socket: None,
            reloading: Vec::new(),
            options: plan.options,
        };
        // Before anything is begun that another watch may be doing.
        pipeline.listen(plan.control)?;
        for sink in plan.sinks {
            pipeline.add_sink(sink)?;
        }
        for source in plan.sources {
            pipeline.add_source(source)?;
        }
        host.alive();
        Ok(pipeline)
    }

    /// Takes commands where it is said, and nowhere else.
    fn listen(&mut self, settings: Option<ControlSettings>) -> Result<(), ControlError> {
        if self.socket.as_ref().map(|socket| &socket.settings) != settings.as_ref() {
            self.socket = None;
            let open = |settings| ControlSocket::open(&settings, self.control.clone());
            self.socket = settings.map(open).transpose()?;
        }
        Ok(())
    }

    fn add_sink(&mut self, config: SinkConfig) -> Result<(), StreamError> {
        let mut sink = (config.open)()?;
        sink.control(&self.control);
        let worker = SinkWorker::start(config.key, sink).map_err(StreamError::Thread)?;
        self.workers.push(worker);
        Ok(())
    }

    fn add_source(&mut self, config: SourceConfig) -> Result<(), StreamError> {
        if self.sources.iter().any(|source| source.name == config.name) {
            return Err(StreamError::SameName { name: config.name });
        }
        let id = self.next_source;
        self.next_source += 1;
        let mut source = SourceState::new(id, &config, &self.detector, &self.run_id)?;
        let capture = Capture {
            source: id,
            name: source.name.clone(),
            open: config.open,
            policy: config.policy,
            retries: self.options.retries,
            queue: Arc::clone(&self.queue),
            events: self.event_sender.clone(),
            counters: Arc::clone(&source.counters),
            stop: Arc::clone(&source.stop),
            began: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name("source".into())
            .spawn(move || capture.run())
            .map_err(StreamError::Thread)?;
        source.thread = Some(thread);
        self.sources.push(source);
        Ok(())
    }

    /// Until the sources end, a limit is reached or the host asks for the end.
    fn work(&mut self, host: &mut dyn Host) {
        loop {
            host.alive();
            if host.stop() || self.limit_reached() {
                return;
            }
            match host.change() {
                Some(Ok(plan)) => self.change(plan, host),
                Some(Err(problem)) => self.answer_reload(|| Answer::Refused(problem.clone())),
                None => {}
            }
            self.take_successor(host);
            self.take_orders(host);
            self.take_reports(host);
            match self.take(PATIENCE) {
                Some(captured) => self.judge(captured, host),
                None if self.are_over() => return,
                None => {}
            }
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                self.tick(host);
            }
        }
    }

    /// The next frame, but for those that wait while their source is paused.
    fn take(&self, patience: Duration) -> Option<CapturedFrame> {
        let held = |id| {
            let mut sources = self.sources.iter();
            sources.any(|source| source.id == id && source.holds())
        };
        self.queue.take(patience, &|id| !held(id))
    }

    /// Whether no source has a frame any more.
    fn are_over(&self) -> bool {
        let over = |source: &SourceState| source.thread.is_none() && self.queue.is_empty(source.id);
        self.sources.iter().all(over)
    }

    fn limit_reached(&self) -> bool {
        let elapsed = self.began.elapsed();
        self.frame_limit_reached() || self.options.duration.is_some_and(|most| elapsed >= most)
    }

    fn judge(&mut self, captured: CapturedFrame, host: &mut dyn Host) {
        let id = captured.source;
        // A snapshot may be asked for with the map that was anomalous.
        let maps = self.socket.is_some() || self.workers.iter().any(|worker| worker.wants().maps);
        let Some(source) = self.sources.iter_mut().find(|source| source.id == id) else {
            // Of a source that was taken out of the plan.
            return;
        };
        // The frame may be here before the event that its source is.
        if let Err(error) = source.set_live(captured.live, &self.detector) {
            host.note(&format_args!("{}: {error}", source.name));
        }
        if source.tally.paused {
            source.skip(captured);
            return;
        }
        if let Some(damage) = &captured.damage {
            host.note(damage);
        }
        let FrameOutcome {
            scored,
            notices,
            drift,
            times,
            failure,
        } = source.score(&mut self.detector, captured, maps);
        if failure != self.engine_trouble {
            if let Some(failure) = &failure {
                host.note(&format_args!("{}: {failure}", source.name));
            }
            self.engine_trouble = failure;
        }
        self.judged += 1;
        self.stages.record(&times);
        let deadline = milliseconds(self.options.deadline);
        if times.total > deadline {
            self.late += 1;
            if self.late == 1 {
                host.note(&format_args!(
                    "{}: the verdict on frame {} came {:.0} ms after the frame, later than the \
                     deadline of {deadline:.0} ms; late frames are counted",
                    source.name, scored.record.frame_number, times.total,
                ));
            }
        }
        if let Some(drift) = &drift {
            host.note(&format_args!("{}: {}", drift.source, drift.explanation));
        }
        // First, for the frame names the event that it opened.
        self.announce(notices);
        self.give(&Message::Frame(scored));
        if let Some(drift) = drift {
            self.give(&Message::Drift(Arc::new(drift)));
        }
    }

    fn give(&self, message: &Message) {
        for worker in &self.workers {
            worker.give(message);
        }
    }

    /// Events are on the disk of the sinks that keep them before anybody is told.
    fn announce(&self, notices: Vec<EventNotice>) {
        for EventNotice { record, frame } in notices {
            let message = Message::Event {
                record: Arc::new(record),
                frame,
            };
            let (durable, others): (Vec<&SinkWorker>, Vec<&SinkWorker>) = self
                .workers
                .iter()
                .partition(|worker| worker.wants().durable);
            for worker in &durable {
                worker.give(&message);
            }
            for worker in &durable {
                worker.wait_until_idle(DURABLE);
            }
            for worker in others {
                worker.give(&message);
            }
        }
    }

    /// Tells the sinks that a source is up or down, and why.
    fn announce_source(&self, source: String, up: bool, reason: String) {
        self.give(&Message::Source(Arc::new(SourceRecord {
            schema_version: SCHEMA_VERSION,
            source,
            timestamp: timestamp(SystemTime::now()),
            up,
            reason,
        })));
    }

    /// Finishes the sources that ended, once the last of their frames is judged.
    fn finish_sources(&mut self) {
        for index in 0..self.sources.len() {
            let source = &mut self.sources[index];
            let Some(reason) = source.ended.take_if(|_| self.queue.is_empty(source.id)) else {
                continue;
            };
            let (notices, name) = (source.finish(), source.name.clone());
            self.announce(notices);
            self.announce_source(name, false, reason);
        }
    }

    /// Takes in what the threads of the sources and of the sinks have to report.
    fn take_reports(&mut self, host: &mut dyn Host) {
        while let Ok(SourceEvent { source, change }) = self.events.try_recv() {
            self.take_change(source, change, host);
        }
        self.finish_sources();
        for worker in &self.workers {
            for text in worker.take_log() {
                host.note(&text);
            }
        }
    }

    fn take_change(&mut self, id: usize, change: SourceChange, host: &mut dyn Host) {
        let Some(source) = self.sources.iter_mut().find(|source| source.id == id) else {
            return;
        };
        let name = source.name.clone();
        match change {
            SourceChange::Up { live } => {
                if let Err(error) = source.set_live(live, &self.detector) {
                    host.note(&format_args!("{name}: {error}"));
                }
                if self.disabled_checks.is_none() {
                    self.disabled_checks = source.disabled_checks();
                    if let Some(disabled) = self.disabled_checks {
                        host.note(&disabled);
                    }
                }
                source.tally.up = true;
                let reason = match source.lost_at.take() {
                    Some(since) => format!("back after {:.1} s", since.elapsed().as_secs_f64()),
                    None => "gives frames".to_owned(),
                };
                if !source.losses.is_suppressed() {
                    host.note(&format_args!("{name}: {reason}"));
                }
                self.announce_source(name, true, reason);
            }
            SourceChange::Down(error) => {
                let reason = error.to_string();
                let was_up = std::mem::take(&mut source.tally.up);
                source.lost_at.get_or_insert_with(Instant::now);
                if source.losses.should_log(&reason) {
                    host.note(&format_args!("{reason}; trying again"));
                }
                if was_up {
                    self.announce_source(name, false, reason);
                }
            }
            SourceChange::Unreadable(error) => host.note(&error),
            SourceChange::Ended(error) => {
                source.stop();
                source.ended = Some(match &error {
                    Some(error) => {
                        host.note(&format_args!("{error}; given up"));
                        error.to_string()
                    }
                    None => "ended".to_owned(),
                });
                self.abandoned = error.or(self.abandoned.take());
            }
        }
    }

    fn tally(&mut self) -> Tally {
        Tally {
            seconds: self.began.elapsed().as_secs_f64(),
            sources: self.sources.iter_mut().map(SourceState::tally).collect(),
            stages: self.stages.tally(),
            sinks: self.workers.iter().map(SinkWorker::tally).collect(),
            late: self.late,
            temperature: temperature::hottest(),
        }
    }

    fn tick(&mut self, host: &mut dyn Host) {
        let tally = Arc::new(self.tally());
        host.tally(&tally);
        self.give(&Message::Tally(tally));
    }

    /// Ends the sources, judges what is in flight, and finishes the sinks.
    fn finish(mut self, host: &mut dyn Host) -> RunSummary {
        self.socket = None;
        self.queue.close();
        for source in &mut self.sources {
            source.stop.store(true, Ordering::Relaxed);
        }
        while !self.frame_limit_reached()
            && let Some(captured) = self.take(Duration::ZERO)
        {
            host.alive();
            self.judge(captured, host);
        }
        for source in &mut self.sources {
            source.stop();
        }
        // Their last reports; then what was stopped and did not end by itself.
        self.take_reports(host);
        for index in 0..self.sources.len() {
            let notices = self.sources[index].finish();
            self.announce(notices);
        }
        let mut tally = self.tally();
        self.give(&Message::Tally(Arc::new(tally.clone())));
        let workers = std::mem::take(&mut self.workers).into_iter();
        tally.sinks = workers.map(|worker| finish_sink(worker, host)).collect();
        RunSummary {
            tally,
            abandoned: self.abandoned,
        }
    }

    fn frame_limit_reached(&self) -> bool {
        self.options.frames.is_some_and(|most| self.judged >= most)
    }
}

fn finish_sink(worker: SinkWorker, host: &mut dyn Host) -> SinkTally {
    host.alive();
    let (log, tally) = worker.finish();
    for text in log {
        host.note(&text);
    }
    tally
}
