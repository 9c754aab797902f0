//! Signals, the supervisor, and messages to people while a pipeline runs.

use std::{
    fmt::Display,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Context;
use edge_vae::stream::{Host, Plan, record::Tally};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use super::{
    super::reporter::{Reporter, one_line},
    service::Service,
};

/// Reads the configuration again and opens what it names.
pub(super) type Reload = Arc<dyn Fn() -> anyhow::Result<Plan> + Send + Sync>;

/// Listens to signals and to nothing else.
pub(super) struct Signals {
    stop: Arc<AtomicBool>,
    hangup: Arc<AtomicBool>,
}

impl Signals {
    /// Catches Ctrl-C, termination and hang-up from now on. A second Ctrl-C ends the program at
    /// once.
    pub(super) fn catch() -> anyhow::Result<Self> {
        let signals = Self {
            stop: Arc::default(),
            hangup: Arc::default(),
        };
        let caught = || -> io::Result<()> {
            for signal in [SIGINT, SIGTERM] {
                flag::register_conditional_shutdown(signal, 2, Arc::clone(&signals.stop))?;
                flag::register(signal, Arc::clone(&signals.stop))?;
            }
            flag::register(SIGHUP, Arc::clone(&signals.hangup))?;
            Ok(())
        };
        caught().context("signals can't be caught")?;
        Ok(signals)
    }
}

/// The host of the pipeline.
pub(super) struct Watcher {
    reporter: Reporter,
    signals: Signals,
    service: Service,
    reload: Reload,
    reading: Option<JoinHandle<anyhow::Result<Plan>>>,
    /// Whether a line on standard error is drawn again and again.
    status_line: bool,
}

impl Watcher {
    pub(super) fn new(
        reporter: Reporter,
        signals: Signals,
        reload: Reload,
        status_line: bool,
    ) -> Self {
        Self {
            reporter,
            signals,
            service: Service::new(),
            reload,
            reading: None,
            status_line,
        }
    }

    /// Whether the end was asked for by a signal.
    pub(super) fn was_stopped(&self) -> bool {
        self.signals.stop.load(Ordering::Relaxed)
    }

    fn refused(&self, error: &dyn Display) -> String {
        let problem = format!("{error}; the old configuration goes on");
        self.reporter.error(&problem);
        problem
    }
}

impl Host for Watcher {
    fn stop(&mut self) -> bool {
        let stop = self.was_stopped();
        if stop {
            self.service.stopping();
        }
        stop
    }

    fn reload(&mut self) -> bool {
        let free = self.reading.is_none();
        if free {
            self.signals.hangup.store(true, Ordering::Relaxed);
        }
        free
    }

    fn change(&mut self) -> Option<Result<Plan, String>> {
        if self.reading.is_none() && self.signals.hangup.swap(false, Ordering::Relaxed) {
            self.service.reloading();
            let reload = Arc::clone(&self.reload);
            // Frames are judged while the new model is opened and proves itself.
            match thread::Builder::new()
                .name("reload".into())
                .spawn(move || reload())
            {
                Ok(thread) => self.reading = Some(thread),
                Err(error) => return Some(Err(self.refused(&error))),
            }
        }
        let reading = self.reading.take_if(|thread| thread.is_finished())?;
        Some(match reading.join() {
            Ok(Ok(plan)) => {
                self.reporter.note(&format_args!(
                    "the configuration was read again; model {}",
                    plan.detector.model_id()
                ));
                Ok(plan)
            }
            Ok(Err(error)) => Err(self.refused(&one_line(&error))),
            Err(_) => Err(self.refused(&"reading the configuration broke off")),
        })
    }

    fn alive(&mut self) {
        if self.reading.is_none() {
            self.service.alive();
        }
    }

    fn tally(&mut self, tally: &Tally) {
        let sum = |of: fn(&edge_vae::stream::record::SourceTally) -> u64| -> u64 {
            tally.sources.iter().map(of).sum()
        };
        let up = tally.sources.iter().filter(|source| source.up).count();
        let paused = tally.sources.iter().filter(|source| source.paused).count();
        let paused = match paused {
            0 => String::new(),
            paused => format!("{paused} paused, "),
        };
        self.service.status(&format!(
            "{up} of {} sources up, {paused}{:.1} frames/s, {} judged, {} anomalous, {} invalid, \
             {} events",
            tally.sources.len(),
            tally.sources.iter().map(|source| source.fps).sum::<f64>(),
            sum(|source| source.judged),
            sum(|source| source.anomalous),
            sum(|source| source.invalid),
            sum(|source| source.events),
        ));
    }

    fn note(&mut self, text: &dyn Display) {
        if self.status_line {
            // It is drawn again below the message; where the terminal is gone, there is nobody to
            // see.
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
        self.reporter.note(text);
    }
}
