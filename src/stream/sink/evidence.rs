//! A log of verdicts as evidence: see [`crate::evidence`].

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    EventFilter, Message, ScoredFrame, Sink, SinkError, SinkNeeds, SinkSettings, SinkStatus, Wants,
    quantity,
};
use crate::{
    evidence::{EvidenceError, EvidenceLog, EvidenceParams, EvidenceSettings, EvidenceVerdict},
    trust::SigningKey,
};

/// Settings of the sink `evidence`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EvidenceSinkSettings {
    /// The file, which is only ever appended to; full ones get the number of their first line.
    pub path: PathBuf,
    /// A private key, PEM: the log is signed with it now and then and at the end.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Lines between signatures, and between waits for the disk; 1000 by default.
    #[serde(default = "default_every")]
    pub every: u64,
    /// Size at which a new file is begun; 1 GB by default.
    #[serde(default = "default_max_size", deserialize_with = "quantity::bytes")]
    pub max_size: u64,
}

fn default_every() -> u64 {
    EvidenceParams::default().every
}

fn default_max_size() -> u64 {
    EvidenceParams::default().max_size
}

impl EvidenceSinkSettings {
    /// The defaults, for a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            key: None,
            every: default_every(),
            max_size: default_max_size(),
        }
    }

    fn read_key(&self) -> Result<Option<SigningKey>, SinkError> {
        let key = self.key.as_deref().map(SigningKey::read).transpose();
        key.map_err(|error| SinkError::setting(&self.describe(), error.to_string()))
    }
}

impl SinkSettings for EvidenceSinkSettings {
    fn describe(&self) -> String {
        format!("evidence {}", self.path.display())
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        [Some(&mut self.path), self.key.as_mut()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn needs(&self) -> SinkNeeds {
        SinkNeeds {
            folders: self.path.parent().map(Path::to_owned).into_iter().collect(),
            ..SinkNeeds::default()
        }
    }

    fn check(&self) -> Result<(), SinkError> {
        if self.every == 0 {
            let problem = "every is 0: choose 1 or more lines";
            return Err(SinkError::setting(&self.describe(), problem));
        }
        self.read_key().map(drop)
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        self.check()?;
        let name = self.describe();
        let params = EvidenceParams {
            every: self.every,
            max_size: self.max_size,
        };
        let log =
            EvidenceLog::open(&self.path, self.read_key()?, params).map_err(
                |error| match &error {
                    EvidenceError::Write { source, .. } => {
                        SinkError::opening(&name, error.to_string(), source)
                    }
                    _ => SinkError::setting(&name, error.to_string()),
                },
            )?;
        Ok(Box::new(Evidence {
            name,
            log: Some(log),
            failing: false,
        }))
    }
}

/// Writes every verdict; the sources wait for it.
struct Evidence {
    name: String,
    /// Until it is closed.
    log: Option<EvidenceLog>,
    failing: bool,
}

impl Sink for Evidence {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants {
            frames: true,
            events: EventFilter::All,
            every_frame: true,
            ..Wants::default()
        }
    }

    fn missed(&mut self, frames: u64) {
        if let Some(log) = &mut self.log {
            log.missed(frames);
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        let (Message::Frame(scored), Some(log)) = (message, &mut self.log) else {
            return Ok(());
        };
        let written = log.verdict(&settings_of(scored), verdict_of(scored));
        self.failing = written.is_err();
        written.map_err(|error| SinkError::unavailable(&self.name, error.to_string()))
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(SinkStatus {
            failing: self.failing,
            lost: self.log.as_ref().map_or(0, EvidenceLog::lost),
            ..SinkStatus::default()
        })
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let closed = self.log.take().map_or(Ok(()), |log| log.close().map(drop));
        closed.map_err(|error| SinkError::unavailable(&self.name, error.to_string()))
    }
}

fn settings_of(scored: &ScoredFrame) -> EvidenceSettings {
    let record = &scored.record;
    EvidenceSettings {
        model_id: record.model_id.clone(),
        model_sha256: scored.model_sha256.to_string(),
        backend: record.backend.to_owned(),
        device: record.device.to_owned(),
        threshold: record.threshold,
        false_alarm_rate: scored.false_alarm_rate,
    }
}

fn verdict_of(scored: &ScoredFrame) -> EvidenceVerdict {
    let record = &scored.record;
    EvidenceVerdict {
        source: Some(record.source.clone()),
        frame_number: record.frame_number,
        path: record.path.clone(),
        frame_sha256: Some(scored.frame.sha256()),
        pred_label: record.pred_label.as_str().to_owned(),
        review: record.review,
        pred_score: record.pred_score,
        p_value: record.p_value,
        reasons: record.reasons.clone(),
    }
}
