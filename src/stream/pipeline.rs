//! From sources through one model to sinks.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::Detector;

use super::{
    capture::{Capture, Captured, News, What},
    event::RunId,
    intake::Intake,
    lane::{Lane, Outcome, Shown},
    outlet::Outlet,
    plan::{Camera, Ended, Host, Options, Outflow, Plan, StreamError},
    record::{SCHEMA_VERSION, SourceRecord, Tally, timestamp},
    sink::Message,
    source::SourceError,
    stages::Stages,
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
pub fn run(plan: Plan, host: &mut dyn Host) -> Result<Ended, StreamError> {
    let mut pipeline = Pipeline::start(plan, host)?;
    pipeline.work(host);
    Ok(pipeline.finish(host))
}

struct Pipeline {
    detector: Detector,
    options: Options,
    lanes: Vec<(usize, Lane)>,
    next_lane: usize,
    outlets: Vec<Outlet>,
    intake: Arc<Intake<Captured>>,
    news: mpsc::Receiver<News>,
    news_sender: mpsc::Sender<News>,
    stages: Stages,
    began: Instant,
    ticked: Instant,
    judged: u64,
    late: u64,
    /// Frames on which the engine failed in a row: said once.
    engine_trouble: Option<String>,
    given_up: Option<SourceError>,
    /// Makes the ids of this run's events different from those of others.
    run_id: RunId,
    /// What was said of how frames are judged.
    said: Option<&'static str>,
}

impl Pipeline {
    fn start(plan: Plan, host: &mut dyn Host) -> Result<Self, StreamError> {
        if plan.cameras.is_empty() {
            return Err(StreamError::NoSource);
        }
        let (news_sender, news) = mpsc::channel();
        let mut pipeline = Self {
            detector: plan.detector,
            lanes: Vec::new(),
            next_lane: 0,
            outlets: Vec::new(),
            intake: Arc::new(Intake::new(plan.options.depth)),
            news,
            news_sender,
            stages: Stages::new(),
            began: Instant::now(),
            ticked: Instant::now(),
            judged: 0,
            late: 0,
            engine_trouble: None,
            given_up: None,
            run_id: RunId::now(),
            said: None,
            options: plan.options,
        };
        for outflow in plan.sinks {
            pipeline.add_sink(outflow)?;
        }
        for camera in plan.cameras {
            pipeline.add_camera(camera)?;
        }
        host.alive();
        Ok(pipeline)
    }

    fn add_sink(&mut self, outflow: Outflow) -> Result<(), StreamError> {
        let sink = (outflow.open)()?;
        let outlet = Outlet::start(outflow.key, sink).map_err(StreamError::Thread)?;
        self.outlets.push(outlet);
        Ok(())
    }

    fn add_camera(&mut self, camera: Camera) -> Result<(), StreamError> {
        if self.lanes.iter().any(|(_, lane)| lane.name == camera.name) {
            return Err(StreamError::SameName { name: camera.name });
        }
        let mut lane = Lane::new(
            camera.name,
            camera.key,
            camera.judging,
            &self.detector,
            &self.run_id,
        )?;
        let number = self.next_lane;
        self.next_lane += 1;
        let capture = Capture {
            lane: number,
            name: lane.name.clone(),
            open: camera.open,
            policy: camera.policy,
            retries: self.options.retries,
            intake: Arc::clone(&self.intake),
            news: self.news_sender.clone(),
            counts: Arc::clone(&lane.counts),
            stop: Arc::clone(&lane.stop),
        };
        let thread = thread::Builder::new()
            .name("source".into())
            .spawn(move || capture.run())
            .map_err(StreamError::Thread)?;
        lane.thread = Some(thread);
        self.lanes.push((number, lane));
        Ok(())
    }

    /// Until the sources end, a limit is reached or the host asks for the end.
    fn work(&mut self, host: &mut dyn Host) {
        loop {
            host.alive();
            if host.stop() || self.limit_reached() {
                return;
            }
            if let Some(plan) = host.change() {
                self.change(plan, host);
            }
            self.hear(host);
            match self.intake.take(PATIENCE) {
                Some(captured) => self.judge(captured, host),
                None if self.lanes.iter().all(|(_, lane)| lane.thread.is_none()) => return,
                None => {}
            }
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                self.tick(host);
            }
        }
    }

    fn limit_reached(&self) -> bool {
        self.options.frames.is_some_and(|most| self.judged >= most)
            || self
                .options
                .duration
                .is_some_and(|most| self.began.elapsed() >= most)
    }

    fn judge(&mut self, captured: Captured, host: &mut dyn Host) {
        let number = captured.lane;
        let maps = self.outlets.iter().any(|outlet| outlet.wants().maps);
        let Some((_, lane)) = self.lanes.iter_mut().find(|(n, _)| *n == number) else {
            // Of a source that was taken out of the plan.
            return;
        };
        // The frame may be here before the news that its source is.
        if let Err(error) = lane.is_live(captured.live, &self.detector) {
            host.note(&format_args!("{}: {error}", lane.name));
        }
        let Outcome {
            judged,
            events,
            drift,
            times,
            failure,
        } = lane.judge(&mut self.detector, captured, maps);
        if failure != self.engine_trouble {
            if let Some(failure) = &failure {
                host.note(&format_args!("{}: {failure}", lane.name));
            }
            self.engine_trouble = failure;
        }
        self.judged += 1;
        self.stages.record(&times);
        if times.total > self.options.deadline.as_secs_f64() * 1e3 {
            self.late += 1;
            if self.late == 1 {
                host.note(&format_args!(
                    "{}: the verdict on frame {} came {:.0} ms after the frame, later than the deadline of {:.0} ms; late frames are counted",
                    lane.name,
                    judged.record.frame_number,
                    times.total,
                    self.options.deadline.as_secs_f64() * 1e3
                ));
            }
        }
        if let Some(drift) = &drift {
            host.note(&format_args!("{}: {}", drift.source, drift.explanation));
        }
        // First, for the frame names the event that it opened.
        self.announce(events);
        self.give(&Message::Frame(judged));
        if let Some(drift) = drift {
            self.give(&Message::Drift(Arc::new(drift)));
        }
    }

    fn give(&self, message: &Message) {
        for outlet in &self.outlets {
            outlet.give(message);
        }
    }

    /// Events are on the disk of the sinks that keep them before anybody is told.
    fn announce(&self, events: Vec<Shown>) {
        for (record, shown) in events {
            let message = Message::Event {
                record: Arc::new(record),
                shown,
            };
            let (keepers, others): (Vec<&Outlet>, Vec<&Outlet>) = self
                .outlets
                .iter()
                .partition(|outlet| outlet.wants().durable);
            for outlet in &keepers {
                outlet.give(&message);
            }
            for outlet in &keepers {
                outlet.settle(DURABLE);
            }
            for outlet in others {
                outlet.give(&message);
            }
        }
    }

    /// Tells the sinks that a source is up or down, and why.
    fn tell(&self, source: String, change: Option<(bool, String)>) {
        let Some((up, reason)) = change else {
            return;
        };
        self.give(&Message::Source(Arc::new(SourceRecord {
            schema_version: SCHEMA_VERSION,
            source,
            timestamp: timestamp(SystemTime::now()),
            up,
            reason,
        })));
    }

    /// Finishes the sources that ended, once the last of their frames is judged.
    fn finish_lanes(&mut self) {
        for index in 0..self.lanes.len() {
            let (number, lane) = &mut self.lanes[index];
            let Some(reason) = lane.ended.take_if(|_| self.intake.is_empty(*number)) else {
                continue;
            };
            let (events, source) = (lane.finish(), lane.name.clone());
            self.announce(events);
            self.tell(source, Some((false, reason)));
        }
    }

    /// Listens to the threads of the sources and of the sinks.
    fn hear(&mut self, host: &mut dyn Host) {
        while let Ok(News { lane: number, what }) = self.news.try_recv() {
            let Some((_, lane)) = self.lanes.iter_mut().find(|(n, _)| *n == number) else {
                continue;
            };
            let change = match what {
                What::Up { live } => {
                    if let Err(error) = lane.is_live(live, &self.detector) {
                        host.note(&format_args!("{}: {error}", lane.name));
                    }
                    if let Some(lacks) = lane.lacks().filter(|_| self.said.is_none()) {
                        self.said = Some(lacks);
                        host.note(&lacks);
                    }
                    lane.tally.up = true;
                    let reason = match lane.lost_at.take() {
                        Some(since) => {
                            format!("back after {:.1} s", since.elapsed().as_secs_f64())
                        }
                        None => "gives frames".to_owned(),
                    };
                    if !lane.trouble.is_quiet() {
                        host.note(&format_args!("{}: {reason}", lane.name));
                    }
                    Some((true, reason))
                }
                What::Down(error) => {
                    let reason = error.to_string();
                    let was_up = std::mem::take(&mut lane.tally.up);
                    lane.lost_at.get_or_insert_with(Instant::now);
                    if lane.trouble.is_news(&reason) {
                        host.note(&format_args!("{reason}; trying again"));
                    }
                    was_up.then_some((false, reason))
                }
                What::Unreadable(error) => {
                    host.note(&error);
                    None
                }
                What::Ended(error) => {
                    lane.stop();
                    let reason = match error {
                        Some(error) => {
                            let reason = error.to_string();
                            host.note(&format_args!("{reason}; given up"));
                            self.given_up = Some(error);
                            reason
                        }
                        None => "ended".to_owned(),
                    };
                    lane.ended = Some(reason);
                    None
                }
            };
            let source = lane.name.clone();
            self.tell(source, change);
        }
        self.finish_lanes();
        for outlet in &self.outlets {
            for text in outlet.said() {
                host.note(&text);
            }
        }
    }

    fn tally(&mut self) -> Tally {
        Tally {
            seconds: self.began.elapsed().as_secs_f64(),
            sources: self
                .lanes
                .iter_mut()
                .map(|(_, lane)| lane.tally())
                .collect(),
            stages: self.stages.tally(),
            sinks: self.outlets.iter().map(Outlet::tally).collect(),
            late: self.late,
            temperature: temperature::hottest(),
        }
    }

    fn tick(&mut self, host: &mut dyn Host) {
        let tally = Arc::new(self.tally());
        host.tally(&tally);
        self.give(&Message::Tally(tally));
    }

    /// Goes over to another plan. What can't be opened is said and left out.
    fn change(&mut self, plan: Plan, host: &mut dyn Host) {
        self.detector = plan.detector;
        self.options = plan.options;
        // Old sinks end before new ones begin, which may want the same file or port.
        let (kept, gone): (Vec<Outlet>, Vec<Outlet>) = std::mem::take(&mut self.outlets)
            .into_iter()
            .partition(|outlet| plan.sinks.iter().any(|sink| sink.key == outlet.key));
        self.outlets = kept;
        for outlet in gone {
            for text in outlet.finish() {
                host.note(&text);
            }
        }
        for outflow in plan.sinks {
            let known = self.outlets.iter().any(|outlet| outlet.key == outflow.key);
            if !known && let Err(error) = self.add_sink(outflow) {
                host.note(&error);
            }
        }
        let same =
            |lane: &Lane, camera: &Camera| lane.name == camera.name && lane.key == camera.key;
        let (mut kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.lanes)
            .into_iter()
            .partition(|(_, lane)| plan.cameras.iter().any(|camera| same(lane, camera)));
        for (_, mut lane) in gone {
            lane.stop();
            let ended = lane.finish();
            self.announce(ended);
        }
        for camera in plan.cameras {
            let position = kept.iter().position(|(_, lane)| same(lane, &camera));
            let Some(position) = position else {
                if let Err(error) = self.add_camera(camera) {
                    host.note(&error);
                }
                continue;
            };
            let (number, mut lane) = kept.remove(position);
            let why = "the configuration was read again";
            match lane.judge_by(camera.judging, &self.detector, why) {
                Ok(ended) => self.announce(ended),
                Err(error) => host.note(&format_args!("{}: {error}", lane.name)),
            }
            self.lanes.push((number, lane));
        }
    }

    /// Ends the sources, judges what is in flight, and finishes the sinks.
    fn finish(mut self, host: &mut dyn Host) -> Ended {
        self.intake.close();
        for (_, lane) in &mut self.lanes {
            lane.stop.store(true, Ordering::Relaxed);
        }
        while !self.limit_reached_by_frames()
            && let Some(captured) = self.intake.take(Duration::ZERO)
        {
            host.alive();
            self.judge(captured, host);
        }
        for (_, lane) in &mut self.lanes {
            lane.stop();
        }
        // Their last words; then what was stopped and did not end by itself.
        self.hear(host);
        for index in 0..self.lanes.len() {
            let ended = self.lanes[index].1.finish();
            self.announce(ended);
        }
        let tally = self.tally();
        self.give(&Message::Tally(Arc::new(tally.clone())));
        for outlet in std::mem::take(&mut self.outlets) {
            host.alive();
            for text in outlet.finish() {
                host.note(&text);
            }
        }
        Ended {
            tally,
            given_up: self.given_up,
        }
    }

    fn limit_reached_by_frames(&self) -> bool {
        self.options.frames.is_some_and(|most| self.judged >= most)
    }
}
