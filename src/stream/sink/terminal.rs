//! Verdicts and events on a terminal, or as JSON lines for a program.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{EventFilter, Message, Sink, SinkError, SinkStatus, Wants};
use crate::stream::record::{DriftRecord, EventClass, EventPhase, EventRecord, Tally};

const NAME: &str = "terminal";

/// Writes to a terminal or a pipe, each line flushed. When the reader has closed the pipe, nothing
/// more is written, and that is no failure.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    json: bool,
    status: Option<Status>,
    closed: bool,
    /// Whether the last line could not be written, and how many could not.
    failing: bool,
    lost: u64,
    line: Vec<u8>,
}

/// The live line.
struct Status {
    bar: ProgressBar,
    /// Label and score of the latest frame by source, in the order of the tally.
    latest: Vec<(String, &'static str, Option<f64>)>,
}

impl Terminal {
    /// One JSON object a frame, an event, a change of drift; of all frames, so that a slow reader
    /// holds the frames up.
    pub fn json(out: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            json: true,
            status: None,
            closed: false,
            failing: false,
            lost: 0,
            line: Vec::new(),
        }
    }

    /// A line for people an event, a change of drift, a source that was lost or came back.
    pub fn lines(out: Box<dyn Write + Send>) -> Self {
        Self {
            json: false,
            ..Self::json(out)
        }
    }

    /// The same with one live line of counts below, drawn on `target` (standard error, where that
    /// is a terminal).
    #[must_use]
    pub fn with_status(mut self, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is constant and was tried.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        self.status = Some(Status {
            bar,
            latest: Vec::new(),
        });
        self
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn object<T: Serialize>(&mut self, record: &T) -> Result<(), SinkError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record).map_err(|error| unavailable(error.into()))?;
        self.write_line()
    }

    fn text(&mut self, text: &str) -> Result<(), SinkError> {
        self.line.clear();
        // A name with a line break would be two lines.
        let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        self.line.extend(printable.collect::<String>().bytes());
        self.write_line()
    }

    /// Writes what is in `line`, in one piece, above the live line.
    fn write_line(&mut self) -> Result<(), SinkError> {
        if self.closed {
            return Ok(());
        }
        self.line.push(b'\n');
        let (out, line) = (&mut self.out, &self.line);
        let mut write = || out.write_all(line).and_then(|()| out.flush());
        let written = match &self.status {
            Some(status) => status.bar.suspend(write),
            None => write(),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => {
                self.failing = written.is_err();
                self.lost += u64::from(self.failing);
                written.map_err(unavailable)
            }
        }
    }
}

fn unavailable(error: io::Error) -> SinkError {
    SinkError::unavailable(NAME, format!("cannot write: {error}"))
}

impl Status {
    fn frame(&mut self, source: &str, label: &'static str, score: Option<f64>) {
        match self.latest.iter_mut().find(|(name, ..)| name == source) {
            Some((_, of, latest)) => (*of, *latest) = (label, score),
            None => self.latest.push((source.to_owned(), label, score)),
        }
    }

    fn tally(&self, tally: &Tally) {
        self.bar.set_message(status_line(tally, &self.latest));
    }
}

/// `cam1 30.0 fps normal 2.13 | 1790 frames, 3 events, 10 dropped | p95 12.3 ms | 61 °C`
fn status_line(tally: &Tally, latest: &[(String, &'static str, Option<f64>)]) -> String {
    let mut line = String::new();
    for source in &tally.sources {
        if !line.is_empty() {
            line.push_str("  ");
        }
        line.push_str(&source.name);
        if !source.up {
            line.push_str(" lost");
            continue;
        }
        if source.paused {
            line.push_str(" paused");
            continue;
        }
        line.push_str(&format!(" {:.1} fps", source.fps));
        if let Some((_, label, score)) = latest.iter().find(|(name, ..)| *name == source.name) {
            line.push_str(&format!(" {label}"));
            if let Some(score) = score {
                line.push_str(&format!(" {score:.2}"));
            }
        }
        if source.drifted {
            line.push_str(" drifted");
        }
    }
    let sum = |of: fn(&crate::stream::record::SourceTally) -> u64| -> u64 {
        tally.sources.iter().map(of).sum()
    };
    line.push_str(&format!(
        " | {} frames, {} events",
        sum(|source| source.judged),
        sum(|source| source.events)
    ));
    for (count, what) in [
        (sum(|source| source.dropped), "dropped"),
        (sum(|source| source.unreadable + source.failed), "failed"),
        (tally.late, "late"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    if let Some(stage) = tally.stages.iter().find(|stage| stage.stage == "total") {
        line.push_str(&format!(" | p95 {:.1} ms", stage.p95));
    }
    if let Some(temperature) = tally.temperature {
        line.push_str(&format!(" | {temperature:.0} °C"));
    }
    line
}

fn event_line(record: &EventRecord) -> String {
    let (frame, what) = match record.phase {
        EventPhase::Open => (&record.first, "opened".to_owned()),
        EventPhase::Closed => {
            let ended = record.ended_by.as_deref().unwrap_or("unknown");
            let frames = record.frames;
            let plural = if frames == 1 { "" } else { "s" };
            (
                &record.last,
                format!("closed after {frames} frame{plural} ({ended})"),
            )
        }
    };
    let regions = record.worst.regions.len();
    format!(
        "{}  {}  {} {} {what}: score {:.4}, threshold {:.4}, p-value {:.2e}, {regions} region{}",
        frame.timestamp,
        record.source,
        match record.class {
            EventClass::Defect => "event",
            EventClass::Review => "review",
        },
        record.event_id,
        record.worst.score,
        record.threshold,
        record.worst.p_value,
        if regions == 1 { "" } else { "s" },
    )
}

fn drift_line(record: &DriftRecord) -> String {
    let what = if record.drifted {
        "drifted"
    } else {
        "as calibrated again"
    };
    format!(
        "{}  {}  {what}: {}",
        record.timestamp, record.source, record.explanation
    )
}

impl Sink for Terminal {
    fn name(&self) -> &str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants {
            events: EventFilter::default(),
            frames: self.json || self.status.is_some(),
            maps: false,
            every_frame: self.json,
            durable: false,
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        if let Some(status) = &mut self.status {
            match message {
                Message::Frame(scored) => {
                    let record = &scored.record;
                    let label = match record.review {
                        true => "review",
                        false => record.pred_label.as_str(),
                    };
                    status.frame(&record.source, label, record.pred_score);
                }
                Message::Tally(tally) => status.tally(tally),
                _ => {}
            }
        }
        match (message, self.json) {
            (Message::Frame(scored), true) => self.object(&scored.record),
            (Message::Event { record, .. }, true) => self.object(&**record),
            (Message::Drift(record), true) => self.object(&**record),
            (Message::Pause(record), true) => self.object(&**record),
            (Message::Threshold(record), true) => self.object(&**record),
            (Message::Event { record, .. }, false) => self.text(&event_line(record)),
            (Message::Drift(record), false) => self.text(&drift_line(record)),
            // The rest is for people, who are told on standard error.
            (Message::Frame(_) | Message::Pause(_) | Message::Threshold(_), false)
            | (Message::Source(_) | Message::Tally(_), _) => Ok(()),
        }
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(SinkStatus {
            failing: self.failing,
            lost: self.lost,
            ..SinkStatus::default()
        })
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Some(status) = &self.status {
            status.bar.finish_and_clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
