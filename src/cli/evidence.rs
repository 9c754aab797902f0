//! The log of verdicts that a run keeps as evidence.

use std::path::{Path, PathBuf};

use clap::Args;
use edge_vae::{
    Detector,
    evidence::{EvidenceLog, EvidenceParams, EvidenceSettings, EvidenceVerdict},
    runtime::Verdict,
    trust::SigningKey,
};

/// Flags of the verbs that keep evidence.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct EvidenceFlags {
    /// Append every verdict to this file, as evidence: each line holds the digest of the line
    /// before; see `log verify`.
    #[arg(long, value_name = "FILE")]
    pub(crate) evidence: Option<PathBuf>,

    /// Sign the evidence with this private key (PEM).
    #[arg(long, value_name = "KEY", requires = "evidence")]
    pub(crate) evidence_key: Option<PathBuf>,
}

impl EvidenceFlags {
    /// Opens the log, where one is asked for, for the verdicts of a detector.
    pub(crate) fn open(&self, detector: &Detector) -> anyhow::Result<Option<Evidence>> {
        let Some(path) = &self.evidence else {
            return Ok(None);
        };
        let key = self.evidence_key.as_deref();
        let key = key.map(SigningKey::read).transpose()?;
        let calibration = detector.calibration();
        Ok(Some(Evidence {
            log: EvidenceLog::open(path, key, EvidenceParams::default())?,
            settings: EvidenceSettings {
                model_id: detector.model_id().to_owned(),
                model_sha256: detector.model_sha256().to_string(),
                backend: detector.backend().name().to_owned(),
                device: detector.device().name().to_owned(),
                threshold: calibration.threshold,
                false_alarm_rate: calibration.false_alarm_rate,
            },
        }))
    }
}

/// A log that is open. What it can't take ends the run: evidence with holes is none.
pub(crate) struct Evidence {
    log: EvidenceLog,
    settings: EvidenceSettings,
}

impl Evidence {
    pub(crate) fn scored(
        &mut self,
        id: usize,
        path: &Path,
        frame_sha256: Option<String>,
        verdict: &Verdict,
    ) -> anyhow::Result<()> {
        self.append(EvidenceVerdict {
            frame_sha256,
            pred_label: verdict.label.as_str().to_owned(),
            review: verdict.review,
            pred_score: verdict.score,
            p_value: verdict.p_value,
            reasons: verdict.reasons.clone(),
            ..unscored(id, path)
        })
    }

    pub(crate) fn failed(&mut self, id: usize, path: &Path, error: String) -> anyhow::Result<()> {
        self.append(EvidenceVerdict {
            reasons: vec![error],
            ..unscored(id, path)
        })
    }

    fn append(&mut self, verdict: EvidenceVerdict) -> anyhow::Result<()> {
        Ok(self.log.verdict(&self.settings, verdict)?)
    }

    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.log.close()?;
        Ok(())
    }
}

fn unscored(id: usize, path: &Path) -> EvidenceVerdict {
    EvidenceVerdict {
        source: None,
        frame_number: id as u64,
        path: Some(path.to_string_lossy().into_owned()),
        frame_sha256: None,
        pred_label: "failed".to_owned(),
        review: false,
        pred_score: None,
        p_value: None,
        reasons: Vec::new(),
    }
}
