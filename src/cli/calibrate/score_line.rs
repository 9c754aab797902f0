//! One line of `edge-vae score --json`.

use std::path::PathBuf;

use edge_vae::runtime::Label;
use serde::Deserialize;

/// What is read of a line.
#[derive(Debug, Deserialize)]
pub(super) struct ScoreLine {
    schema_version: u32,
    pub(super) model_id: String,
    pub(super) path: PathBuf,
    pub(super) pred_label: Label,
    /// There unless the frame is invalid, as `map_max`.
    pub(super) pred_score: Option<f64>,
    pub(super) map_max: Option<f64>,
    /// Whether a person found the frame normal.
    #[serde(default)]
    pub(super) accepted: Option<bool>,
}

impl ScoreLine {
    /// Reads a line of this schema.
    pub(super) fn parse(line: &[u8], schema_version: u32) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(line)
            .map_err(|error| format!("is no line of `edge-vae score --json`: {error}"))?;
        if line.schema_version != schema_version {
            return Err(format!(
                "schema {} is not the one that this program writes, {schema_version}",
                line.schema_version
            ));
        }
        if line.pred_label != Label::Invalid {
            for (key, value) in [("pred_score", line.pred_score), ("map_max", line.map_max)] {
                if value.is_none() {
                    return Err(format!("{key} is not a number"));
                }
            }
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_corpus_of_the_fuzzer_is_parsed_whole_and_cut() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/score_line");
        let mut whole = 0;
        for file in fs::read_dir(corpus).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            whole += usize::from(ScoreLine::parse(&bytes, 1).is_ok());
            for end in 0..bytes.len() {
                assert!(ScoreLine::parse(&bytes[..end], 1).is_err());
            }
        }
        assert!(whole >= 3);
    }
}
