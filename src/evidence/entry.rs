//! What a line says.

use serde::{Deserialize, Serialize};

/// Schema of the lines; it changes when a key changes its meaning or goes away.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// What stands in the place of a digest in the first line.
pub(super) const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Lines are counted from 0.
    pub sequence: u64,
    /// SHA-256 of the line before, without its line feed, in lower-case hexadecimal; zeros in the
    /// first line.
    pub previous: String,
    /// When it was written, RFC 3339 in UTC with milliseconds.
    pub timestamp: String,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Entry {
    /// A process began to write.
    Open {
        /// Schema of the lines.
        schema_version: u32,
        /// Program and version.
        program: String,
        /// Whether a line here was cut off when an earlier process ended; it was removed.
        after_torn: bool,
    },
    /// The file before this one was full.
    Continue {
        /// Schema of the lines.
        schema_version: u32,
        /// Program and version.
        program: String,
    },
    /// How frames are judged from here on.
    Settings(EvidenceSettings),
    /// A frame was judged.
    Verdict(EvidenceVerdict),
    /// Entries that could not be written.
    Gap {
        /// How many.
        lost: u64,
    },
    /// Everything so far, signed.
    Checkpoint(Signed),
    /// The process ended as it should.
    Close {
        /// Verdicts that it wrote.
        verdicts: u64,
        /// Everything so far, signed, where there is a key.
        #[serde(flatten)]
        signed: Option<Signed>,
    },
}

/// A signature of the line, and by the digest of the line before of all before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signed {
    /// Fingerprint of the key.
    pub key: String,
    /// ECDSA signature, DER in base64: over `edge-vae evidence 1`, a line feed, and the line with
    /// an empty signature.
    pub signature: String,
}

/// How frames are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceSettings {
    /// The model.
    pub model_id: String,
    /// SHA-256 of its manifest, which has the digests of all its files.
    pub model_sha256: String,
    /// The engine that runs it: `tract`, `ort`.
    pub backend: String,
    /// Where it runs: `cpu`, `cuda`, `tensorrt`.
    pub device: String,
    /// A frame with a score above it is anomalous.
    pub threshold: f64,
    /// The target false-alarm rate of the calibration.
    pub false_alarm_rate: f64,
}

/// A frame that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceVerdict {
    /// Name of the source; of `score` none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The source's frames are counted from 0; lost frames leave gaps.
    pub frame_number: u64,
    /// The file, for sources of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// [`Frame::sha256`](crate::Frame::sha256) of the picture; `null` where it could not be read.
    pub frame_sha256: Option<String>,
    /// `normal`, `anomalous`, `invalid`; `failed` where it could not be read or scored.
    pub pred_label: String,
    /// Whether a normal frame is for review.
    pub review: bool,
    /// Raw score; `null` where it was not scored. All digits are written, so that it is the same
    /// number when it is read.
    pub pred_score: Option<f64>,
    /// Conformal p-value.
    pub p_value: Option<f64>,
    /// Why it is anomalous, invalid or for review, or what failed.
    pub reasons: Vec<String>,
}

impl Line {
    /// The line as it is written, without its line feed.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Texts and numbers always are JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What the signature in the line is of: a heading, and the line with an empty signature.
    pub(super) fn signed_message(&self) -> Vec<u8> {
        let mut unsigned = self.clone();
        match &mut unsigned.entry {
            Entry::Checkpoint(signed)
            | Entry::Close {
                signed: Some(signed),
                ..
            } => signed.signature.clear(),
            _ => {}
        }
        let heading = format!("edge-vae evidence {SCHEMA_VERSION}\n");
        [heading.into_bytes(), unsigned.to_json()].concat()
    }
}
