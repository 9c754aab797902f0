//! `edge-vae.toml`: everything that a pipeline can be told.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, de};

use crate::{
    backend::{BackendKind, Device},
    drift::DriftSettings,
    read_text_bounded,
    trust::TrustSettings,
};

use super::{
    control::ControlSettings,
    event::EventSettings,
    frame_queue::Policy,
    health::HealthSettings,
    monitor::MonitorSettings,
    plan::{PipelineOptions, SinkConfig, SourceConfig},
    quantity,
    sink::{
        EvidenceSinkSettings, GpioSettings, LogSettings, MqttSettings, PicturesSettings,
        PrometheusSettings, ScreenSettings, SinkError, SinkNeeds, SinkSettings, WebhookSettings,
        open_or_wait,
    },
    source::{self, SourceError, SourceSettings, SourceUri},
};

/// Longest configuration that is read, in bytes: one of a thousand sources has a tenth.
const MOST_BYTES: u64 = 1 << 20;

/// What a configuration file says. Every key may be absent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Configuration {
    /// Folder of the model.
    pub model: Option<PathBuf>,
    /// The second, larger rate of false alarms; absent: that of the model's calibration.
    pub review_rate: Option<f64>,
    /// The engine: `tract` or `ort`.
    #[serde(deserialize_with = "named")]
    pub backend: Option<BackendKind>,
    /// Where it runs: `auto`, `cpu`, `cuda` or `tensorrt`.
    #[serde(deserialize_with = "named")]
    pub device: Option<Device>,
    /// ONNX Runtime's shared library.
    pub ort_library: Option<PathBuf>,
    /// Threads of the engine, at least 1.
    pub threads: Option<u16>,
    /// What happens to frames for which there is no time; absent: a live source loses the oldest,
    /// any other waits.
    pub policy: Option<Policy>,
    /// Frames of a source that wait for the model, 1 to 1000; 4 by default.
    pub queue: usize,
    /// Judged frames after which it ends.
    pub frames: Option<u64>,
    /// Time after which it ends.
    #[serde(deserialize_with = "quantity::optional_duration")]
    pub duration: Option<Duration>,
    /// Attempts after which a source is given up that does not come back; absent: never.
    pub retries: Option<u32>,
    /// Most pixels of a picture file; absent: the model's limit, else 100 million.
    pub max_pixels: Option<u64>,
    /// A frame whose verdict takes longer, from its arrival, is counted as late; 1 second by
    /// default.
    #[serde(deserialize_with = "quantity::duration")]
    pub deadline: Duration,
    /// When anomalous frames are an event.
    pub events: EventSettings,
    /// Which frames can't be judged.
    pub health: HealthSettings,
    /// Whether drift is looked for; yes by default.
    pub monitor_drift: bool,
    /// How drift is looked for.
    pub drift: DriftSettings,
    /// The sources.
    #[serde(rename = "source")]
    pub sources: Vec<SourceEntry>,
    /// JSON-lines files.
    #[serde(rename = "log")]
    pub logs: Vec<LogSettings>,
    /// Folders of pictures of events.
    pub pictures: Vec<PicturesSettings>,
    /// MQTT brokers.
    pub mqtt: Vec<MqttSettings>,
    /// Addresses to which events are posted.
    #[serde(rename = "webhook")]
    pub webhooks: Vec<WebhookSettings>,
    /// Displays.
    #[serde(rename = "screen")]
    pub screens: Vec<ScreenSettings>,
    /// Output lines.
    pub gpio: Vec<GpioSettings>,
    /// Ports with metrics.
    pub prometheus: Vec<PrometheusSettings>,
    /// Logs of verdicts as evidence.
    pub evidence: Vec<EvidenceSinkSettings>,
    /// The socket for commands.
    pub control: Option<ControlSettings>,
    /// Which models are believed.
    pub trust: TrustSettings,
}

impl Default for Configuration {
    fn default() -> Self {
        let options = PipelineOptions::default();
        Self {
            model: None,
            review_rate: None,
            backend: None,
            device: None,
            ort_library: None,
            threads: None,
            policy: None,
            queue: options.depth,
            frames: None,
            duration: None,
            retries: None,
            max_pixels: None,
            deadline: options.deadline,
            events: EventSettings::default(),
            health: HealthSettings::default(),
            monitor_drift: true,
            drift: DriftSettings::default(),
            sources: Vec::new(),
            logs: Vec::new(),
            pictures: Vec::new(),
            mqtt: Vec::new(),
            webhooks: Vec::new(),
            screens: Vec::new(),
            gpio: Vec::new(),
            prometheus: Vec::new(),
            evidence: Vec::new(),
            control: None,
            trust: TrustSettings::default(),
        }
    }
}

/// Does something with the settings of each sink. A new kind of sink is one more field of
/// [`Configuration`], and its name here.
macro_rules! for_each_sink {
    ($configuration:ident.$iter:ident(), $sink:ident => $body:expr) => {
        for_each_sink!(@$configuration.$iter(), $sink => $body;
            logs pictures mqtt webhooks screens gpio prometheus evidence)
    };
    (@$configuration:ident.$iter:ident(), $sink:ident => $body:expr;
        $($field:ident)+) => {
        $(for $sink in $configuration.$field.$iter() { $body; })+
    };
}

/// One source. What is absent is as for all sources.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceEntry {
    /// Its address.
    pub uri: String,
    /// Its name in records, topics and labels; absent: made of the address.
    pub name: Option<String>,
    /// What happens to its frames for which there is no time.
    pub policy: Option<Policy>,
    /// When its anomalous frames are an event.
    pub events: Option<EventSettings>,
    /// Which of its frames can't be judged.
    pub health: Option<HealthSettings>,
    /// How drift is looked for in its frames.
    pub drift: Option<DriftSettings>,
    /// How it is read; what the address says comes first.
    #[serde(default)]
    pub settings: SourceSettings,
}

impl SourceEntry {
    /// A source with nothing but an address.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            name: None,
            policy: None,
            events: None,
            health: None,
            drift: None,
            settings: SourceSettings::default(),
        }
    }
}

/// Why a configuration can't be used. Every message names the file or the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// The file can't be read.
    #[error("{path}: cannot read the configuration: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What was found.
        problem: String,
    },
    /// A value is impossible.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was found, and what would be right.
        problem: String,
    },
    /// A source's address or settings are impossible.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl Configuration {
    /// Reads a file. Paths in it are relative to its folder; addresses of sources are taken as they
    /// stand.
    ///
    /// # Errors
    /// A file that can't be read, is not TOML, or has a key or a value that is not known.
    pub fn read(path: &Path) -> Result<Self, ConfigurationError> {
        let text =
            read_text_bounded(path, MOST_BYTES).map_err(|source| ConfigurationError::Read {
                path: path.to_owned(),
                source,
            })?;
        Self::parse(&text, path)
    }

    /// As [`read`](Self::read), of the text of the file `path`.
    ///
    /// # Errors
    /// Text that is not TOML, or has a key or a value that is not known.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigurationError> {
        let mut configuration: Self =
            toml::from_str(text).map_err(|error| ConfigurationError::Syntax {
                path: path.to_owned(),
                line: error.span().map_or(1, |span| line_of(text, span.start)),
                problem: error
                    .message()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
            })?;
        configuration.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(configuration)
    }

    fn resolve(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| *path = folder.join(&*path);
        self.model.iter_mut().for_each(resolve);
        self.ort_library.iter_mut().for_each(resolve);
        self.control
            .iter_mut()
            .for_each(|control| resolve(&mut control.path));
        self.trust.paths().for_each(resolve);
        for_each_sink!(self.iter_mut(), sink => sink.paths().into_iter().for_each(resolve));
    }

    /// How the pipeline runs.
    ///
    /// # Errors
    /// A value out of range.
    pub fn options(&self) -> Result<PipelineOptions, ConfigurationError> {
        let value = |key, problem: &str| {
            Err(ConfigurationError::Value {
                key,
                problem: problem.to_owned(),
            })
        };
        if !(1..=1000).contains(&self.queue) {
            return value("queue", "choose 1 to 1000 frames");
        }
        if self.max_pixels == Some(0) {
            return value("max-pixels", "choose 1 or more");
        }
        if self.threads == Some(0) {
            return value("threads", "choose 1 or more");
        }
        for (place, one) in self.mqtt.iter().enumerate() {
            let same = |other: &MqttSettings| {
                one.client_id.is_some()
                    && one.client_id == other.client_id
                    && one.broker() == other.broker()
            };
            if self.mqtt[..place].iter().any(same) {
                return value("mqtt.client-id", "is used twice at one broker: choose two");
            }
        }
        Ok(PipelineOptions {
            depth: self.queue,
            frames: self.frames,
            duration: self.duration,
            retries: self.retries,
            deadline: self.deadline,
        })
    }

    /// The sources, to be opened by the pipeline.
    ///
    /// # Errors
    /// None; an address that is not one; two sources of one name.
    pub fn sources(&self) -> Result<Vec<SourceConfig>, ConfigurationError> {
        if self.sources.is_empty() {
            return Err(ConfigurationError::Value {
                key: "source",
                problem: "there is none: name one, such as v4l2:///dev/video0".to_owned(),
            });
        }
        let mut sources: Vec<SourceConfig> = Vec::new();
        for entry in &self.sources {
            let uri: SourceUri = entry.uri.parse()?;
            let name = self.name_of(entry, &uri, &sources)?;
            let mut settings = entry.settings.clone();
            if uri.address().settings().contains(&"max-pixels") {
                settings.max_pixels = settings.max_pixels.or(self.max_pixels);
            }
            uri.resolve(&settings)?;
            let policy = entry.policy.or(self.policy);
            sources.push(SourceConfig {
                key: format!("{uri:?} {settings:?} {policy:?} {:?}", self.retries),
                open: source::opener(uri, settings),
                policy,
                monitoring: self.monitoring(entry),
                name,
            });
        }
        Ok(sources)
    }

    fn monitoring(&self, entry: &SourceEntry) -> MonitorSettings {
        let drift = entry.drift.clone().unwrap_or_else(|| self.drift.clone());
        MonitorSettings {
            events: entry.events.clone().unwrap_or_else(|| self.events.clone()),
            health: entry.health.clone().unwrap_or_else(|| self.health.clone()),
            drift: self.monitor_drift.then_some(drift),
        }
    }

    /// The name that was given; else that of the address, with a number where another has it.
    fn name_of(
        &self,
        entry: &SourceEntry,
        uri: &SourceUri,
        others: &[SourceConfig],
    ) -> Result<String, ConfigurationError> {
        let taken = |name: &str| {
            others.iter().any(|other| other.name == name)
                || self
                    .sources
                    .iter()
                    .any(|other| !std::ptr::eq(other, entry) && other.name.as_deref() == Some(name))
        };
        if let Some(name) = &entry.name {
            // It becomes part of topics, file names and labels.
            let sound = !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_alphanumeric() || "-_.".contains(c))
                && !name.starts_with('.');
            if !sound {
                return Err(ConfigurationError::Value {
                    key: "source.name",
                    problem: format!("{name:?}: use letters, digits, '-', '_' and '.'"),
                });
            }
            if taken(name) {
                return Err(ConfigurationError::Value {
                    key: "source.name",
                    problem: format!("two sources are called {name}"),
                });
            }
            return Ok(name.clone());
        }
        let short = uri.short_name();
        let mut name = short.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{short}-{number}");
            number += 1;
        }
        Ok(name)
    }

    /// The sinks, to be opened by the pipeline.
    pub fn sinks(&self) -> Vec<SinkConfig> {
        let mut sinks = Vec::new();
        for_each_sink!(self.iter(), sink => sinks.push(sink_config(sink)));
        sinks
    }

    /// The sinks in words, passwords left out.
    pub fn sink_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for_each_sink!(self.iter(), sink => names.push(sink.describe()));
        names
    }

    /// The sinks in words, and what each needs of the machine; or why its settings can't work.
    pub fn sink_needs(&self) -> Vec<(String, Result<SinkNeeds, SinkError>)> {
        let mut needs = Vec::new();
        for_each_sink!(self.iter(), sink => {
            needs.push((sink.describe(), sink.check().map(|()| sink.needs())));
        });
        needs
    }

    /// Checks the settings of the sinks without opening them.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for settings that can't work.
    pub fn check_sinks(&self) -> Result<(), SinkError> {
        for_each_sink!(self.iter(), sink => sink.check()?);
        Ok(())
    }
}

fn sink_config<S: SinkSettings>(settings: &S) -> SinkConfig {
    // All of it, passwords too: a key is compared and never shown.
    let written = serde_json::to_string(settings).unwrap_or_default();
    let settings = settings.clone();
    SinkConfig {
        key: format!("{} {written}", std::any::type_name::<S>()),
        open: Box::new(move || open_or_wait(&settings)),
    }
}

fn line_of(text: &str, place: usize) -> usize {
    1 + text
        .bytes()
        .take(place)
        .filter(|&byte| byte == b'\n')
        .count()
}

/// A word that names one of a few things.
fn named<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: FromStr,
    T::Err: fmt::Display,
    D: Deserializer<'de>,
{
    let word = String::deserialize(from)?;
    word.parse().map(Some).map_err(de::Error::custom)
}
