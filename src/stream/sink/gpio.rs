//! A line of a GPIO chip: a lamp, a relay, a reject gate.
//!
//! The line has a fail-safe level: the one at the start, at the end, while a source is lost, and
//! when frames stop coming. After `kill -9` the kernel lets the line go, and what it then has is
//! the hardware's default: a pull resistor towards the fail-safe level covers that too.

mod kernel_line;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Message, Sink, SinkError, SinkNeeds, SinkSettings, SinkStatus, Wants, quantity};
use crate::{
    runtime::Label,
    stream::record::{EventClass, EventPhase},
};

/// What makes the line active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpioCondition {
    /// An event of anomalous frames is open.
    #[default]
    Event,
    /// The latest frame is anomalous.
    Anomalous,
    /// An event of frames for review is open.
    Review,
    /// The latest frame is invalid.
    Invalid,
    /// A source is lost, silent, or its latest frame is invalid.
    Fault,
}

/// A level of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpioLevel {
    /// As without the condition.
    #[default]
    Inactive,
    /// As with the condition.
    Active,
}

/// Settings of the sink `gpio`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GpioSettings {
    /// Chip and number of the line: `/dev/gpiochip0:17`.
    pub line: String,
    /// Whether the line is low when it is active; high by default.
    #[serde(default)]
    pub active_low: bool,
    /// `"event"` (the default), `"anomalous"`, `"review"`, `"invalid"` or `"fault"`, at any source.
    #[serde(default)]
    pub on: GpioCondition,
    /// How long the line stays active at least; 200 ms by default.
    #[serde(
        default = "default_minimum_pulse",
        deserialize_with = "quantity::duration"
    )]
    pub minimum_pulse: Duration,
    /// `"inactive"` (the default) or `"active"`: the level where nothing can be said. With
    /// `on = "fault"` a fault makes the line active whatever this says.
    #[serde(default)]
    pub fail_safe: GpioLevel,
    /// A source that gives no frame for so long has failed; 5 s by default, 0 for never.
    #[serde(default = "default_timeout", deserialize_with = "quantity::duration")]
    pub timeout: Duration,
}

fn default_minimum_pulse() -> Duration {
    Duration::from_millis(200)
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

impl GpioSettings {
    /// The defaults, for a line.
    pub fn new(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            active_low: false,
            on: GpioCondition::default(),
            minimum_pulse: default_minimum_pulse(),
            fail_safe: GpioLevel::default(),
            timeout: default_timeout(),
        }
    }
}

impl SinkSettings for GpioSettings {
    fn describe(&self) -> String {
        format!("gpio {}", self.line)
    }

    fn needs(&self) -> SinkNeeds {
        let chip = self
            .line
            .rsplit_once(':')
            .map_or(&*self.line, |(chip, _)| chip);
        SinkNeeds {
            devices: vec![chip.into()],
            ..SinkNeeds::default()
        }
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(Gpio::open(self)?))
    }
}

/// Where levels go.
trait Line: Send {
    fn set(&mut self, level: GpioLevel) -> Result<(), String>;
}

/// What is known of a source.
#[derive(Debug)]
struct SourceStatus {
    name: String,
    label: Label,
    event_open: bool,
    review_open: bool,
    lost: bool,
    paused: bool,
    last_frame: Instant,
}

/// What the line has to say.
struct Logic {
    on: GpioCondition,
    fail_safe: GpioLevel,
    minimum_pulse: Duration,
    timeout: Duration,
    sources: Vec<SourceStatus>,
    active_since: Option<Instant>,
}

impl Logic {
    fn new(settings: &GpioSettings) -> Self {
        Self {
            on: settings.on,
            fail_safe: settings.fail_safe,
            minimum_pulse: settings.minimum_pulse,
            timeout: settings.timeout,
            sources: Vec::new(),
            active_since: None,
        }
    }

    fn source(&mut self, name: &str, now: Instant) -> &mut SourceStatus {
        let place = self.sources.iter().position(|source| source.name == name);
        let place = place.unwrap_or_else(|| {
            self.sources.push(SourceStatus {
                name: name.to_owned(),
                label: Label::Normal,
                event_open: false,
                review_open: false,
                lost: false,
                paused: false,
                last_frame: now,
            });
            self.sources.len() - 1
        });
        &mut self.sources[place]
    }

    fn take_in(&mut self, message: &Message, now: Instant) {
        match message {
            Message::Frame(scored) => {
                let source = self.source(&scored.record.source, now);
                source.label = scored.record.pred_label;
                source.last_frame = now;
                source.lost = false;
            }
            Message::Event { record, .. } => {
                let source = self.source(&record.source, now);
                let open = match record.class {
                    EventClass::Defect => &mut source.event_open,
                    EventClass::Review => &mut source.review_open,
                };
                *open = record.phase == EventPhase::Open;
            }
            Message::Source(record) => {
                let source = self.source(&record.source, now);
                source.lost = !record.up;
                source.last_frame = now;
            }
            Message::Pause(record) => {
                let source = self.source(&record.source, now);
                source.paused = record.paused;
                source.last_frame = now;
            }
            Message::Drift(_) | Message::Threshold(_) | Message::Tally(_) => {}
        }
    }

    /// The level from now on.
    fn level(&mut self, now: Instant) -> GpioLevel {
        let failed = |source: &SourceStatus| {
            let silent = !self.timeout.is_zero()
                && now.saturating_duration_since(source.last_frame) > self.timeout;
            source.lost || source.paused || silent
        };
        let fails = self.sources.is_empty() || self.sources.iter().any(failed);
        let any = |condition: fn(&SourceStatus) -> bool| self.sources.iter().any(condition);
        let holds = match self.on {
            GpioCondition::Event => any(|source| source.event_open),
            GpioCondition::Review => any(|source| source.review_open),
            GpioCondition::Anomalous => any(|source| source.label == Label::Anomalous),
            GpioCondition::Invalid => any(|source| source.label == Label::Invalid),
            GpioCondition::Fault => any(|source| source.label == Label::Invalid),
        };
        let active = if !fails {
            holds
        } else if self.sources.is_empty() {
            self.fail_safe == GpioLevel::Active
        } else {
            // What another source found is not hidden by the failure of one.
            self.on == GpioCondition::Fault || self.fail_safe == GpioLevel::Active || {
                holds && self.sources.iter().any(|source| !failed(source))
            }
        };
        if active {
            self.active_since.get_or_insert(now);
            return GpioLevel::Active;
        }
        match self.active_since {
            Some(since) if now.saturating_duration_since(since) < self.minimum_pulse => {
                GpioLevel::Active
            }
            _ => {
                self.active_since = None;
                GpioLevel::Inactive
            }
        }
    }
}

/// Sets a line of a GPIO chip.
pub struct Gpio {
    name: String,
    logic: Logic,
    line: Box<dyn Line>,
    /// What the line was set to; unknown after an error.
    level: Option<GpioLevel>,
}

impl Gpio {
    /// Takes the line, and sets it to its fail-safe level.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for a chip or line that is not there, may not be used, or is used by
    /// another program.
    pub fn open(settings: &GpioSettings) -> Result<Self, SinkError> {
        let name = settings.describe();
        let wrong = |problem: String| SinkError::setting(&name, problem);
        let (chip, offset) = address(&settings.line).map_err(wrong)?;
        let line = kernel_line::take(&chip, offset, settings).map_err(wrong)?;
        Ok(Self::on(name, settings, line, Some(settings.fail_safe)))
    }

    fn on(
        name: String,
        settings: &GpioSettings,
        line: Box<dyn Line>,
        level: Option<GpioLevel>,
    ) -> Self {
        Self {
            name,
            logic: Logic::new(settings),
            line,
            level,
        }
    }

    fn set(&mut self, level: GpioLevel) -> Result<(), SinkError> {
        if self.level == Some(level) {
            return Ok(());
        }
        let set = self.line.set(level);
        self.level = set.is_ok().then_some(level);
        set.map_err(|problem| SinkError::unavailable(&self.name, problem))
    }

    fn update(&mut self, now: Instant) -> Result<(), SinkError> {
        let level = self.logic.level(now);
        self.set(level)
    }
}

/// `/dev/gpiochip0:17`
fn address(line: &str) -> Result<(PathBuf, u32), String> {
    line.rsplit_once(':')
        .filter(|(chip, _)| !chip.is_empty())
        .and_then(|(chip, number)| Some((PathBuf::from(chip), number.parse().ok()?)))
        .ok_or_else(|| "is no line; write chip and number: /dev/gpiochip0:17".to_owned())
}

impl Sink for Gpio {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants {
            frames: true,
            ..Wants::default()
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        let now = Instant::now();
        self.logic.take_in(message, now);
        self.update(now)
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(SinkStatus {
            failing: self.level.is_none(),
            ..SinkStatus::default()
        })
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        self.update(Instant::now())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.set(self.logic.fail_safe)
    }
}

impl Drop for Gpio {
    fn drop(&mut self) {
        let _ = self.set(self.logic.fail_safe);
    }
}

#[cfg(test)]
mod tests;
