//! Checkpoints: everything a run needs to go on bit for bit, in one file that is replaced whole.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{options::FitOptions, record::Record};
use crate::{export::Golden, network::Snapshot};

/// Written by this version; another one is refused.
const FORMAT: u32 = 2;
/// Name of the file in the run's folder.
pub(super) const FILE: &str = "checkpoint.safetensors";

/// Where a run stands, all but the tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Layout of the file.
    pub format: u32,
    /// The options of the run.
    pub options: FitOptions,
    /// The golden frame of the export.
    pub golden: Golden,
    /// SHA-256 of the prepared frames.
    pub dataset: String,
    /// Steps done.
    pub step: u64,
    /// Steps planned.
    pub total: u64,
    /// Seconds trained so far.
    pub seconds: f64,
    /// The training losses since they were last reported.
    pub running: Running,
    /// Validations made so far.
    pub records: Vec<Record>,
    /// Step of the best validation.
    pub best_step: u64,
    /// Whether training has ended.
    pub finished: bool,
}

/// Sums of the losses of some steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Number of steps.
    pub steps: u64,
    /// −log p(x|z) in nats a frame.
    pub nll: f64,
    /// KL divergence in nats a frame.
    pub divergence: f64,
    /// The head's weighted loss.
    #[serde(default)]
    pub head: f64,
}

/// A whole checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Where the run stands.
    pub state: State,
    /// Weights and running statistics.
    pub values: Snapshot,
    /// The averaged ones of the best validation.
    pub best: Snapshot,
    /// What the optimiser remembers.
    pub optimiser: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Writes the checkpoint into `folder`, beside the old one, then in its place.
    ///
    /// # Errors
    /// The folder can't be written, the disk is full: the old checkpoint is then untouched.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let mut tensors: Vec<(String, Tensor)> = Vec::new();
        for (group, entries) in [
            ("values", &self.values.0),
            ("best", &self.best.0),
            ("optimiser", &self.optimiser),
        ] {
            for (name, t) in entries {
                tensors.push((format!("{group}/{name}"), t.to_device(&Device::Cpu)?));
            }
        }
        let state = serde_json::to_string(&self.state)?;
        let metadata = Some([("state".to_owned(), state)].into());
        let bytes =
            safetensors::serialize(tensors.iter().map(|(name, t)| (name.as_str(), t)), metadata)
                .context("cannot lay out the checkpoint")?;
        write_whole(&path, &bytes)
    }

    /// Reads the checkpoint of `folder`.
    ///
    /// # Errors
    /// There is none, it is damaged, or it is another version's.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = std::fs::read(&path)
            .with_context(|| format!("{}: cannot read the checkpoint", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("{}: not a usable checkpoint", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let (_, header) = safetensors::SafeTensors::read_metadata(bytes)?;
        let text = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get("state"))
            .context("it holds no training state")?;
        let state: State = serde_json::from_str(text)?;
        if state.format != FORMAT {
            bail!(
                "it has format {}, this program reads {FORMAT}",
                state.format
            );
        }
        let mut groups: BTreeMap<&str, BTreeMap<String, Tensor>> = BTreeMap::new();
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        for (name, t) in tensors {
            let Some((group, name)) = name.split_once('/') else {
                bail!("tensor {name} has no group");
            };
            let group = ["values", "best", "optimiser"]
                .into_iter()
                .find(|g| *g == group)
                .with_context(|| format!("unknown group of tensors {group}"))?;
            groups.entry(group).or_default().insert(name.to_owned(), t);
        }
        let mut take = |group: &str| groups.remove(group).unwrap_or_default();
        Ok(Self {
            state,
            values: Snapshot(take("values")),
            best: Snapshot(take("best")),
            optimiser: take("optimiser"),
        })
    }
}

impl State {
    /// The state before the first step.
    pub fn new(options: FitOptions, golden: Golden, dataset: String) -> Self {
        Self {
            format: FORMAT,
            options,
            golden,
            dataset,
            step: 0,
            total: 0,
            seconds: 0.0,
            running: Running::default(),
            records: Vec::new(),
            best_step: 0,
            finished: false,
        }
    }
}

/// Replaces the file `path` by `bytes`, whole.
///
/// # Errors
/// What the system says; `path` then holds what it held before.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    edge_vae::replace_file(path, bytes).with_context(|| format!("{}: cannot write", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{detection::Score, fit::TileChoice, network::Preset};

    /// As written by the trainer that had no heads yet, and by the one that had no importance
    /// weights.
    #[test]
    fn states_of_older_trainers_are_read_as_they_were_meant() {
        let common = r#""latent": null, "likelihood": {"kind": "bernoulli"}, "colour": null,
            "crop": null, "denoise": null, "filter": "area", "class": null,
            "budget": {"epochs": 40.0}, "batch": 64, "learning_rate": 0.002,
            "weight_decay": 0.0001, "clip": 1.0, "average": 0.999, "beta": 1.0,
            "kl_warm_up": 0.1, "free_bits": 0.0, "patience": 12, "seed": 1,
            "false_alarm_rate": 0.01"#;
        let rest = r#""golden": "calibration-frame", "dataset": "25", "step": 2, "total": 9,
            "seconds": 2.5, "records": [], "best_step": 2, "finished": false"#;
        let changes = r#""flip_horizontal": false, "flip_vertical": false, "shift": 0.0,
            "brightness": 0.0, "binarise": true"#;
        let headless: State = serde_json::from_str(&format!(
            r#"{{"format": 2, {rest}, "running": [3, 1.5, 2.5], "options": {{{common},
                "preset": "28x28", "importance_samples": 5, "importance_share": 0.2,
                "augmentation": {{{changes}}}}}}}"#
        ))
        .unwrap();
        let running = Running {
            steps: 3,
            nll: 1.5,
            divergence: 2.5,
            head: 0.0,
        };
        assert_eq!(headless.running, running);
        let options = &headless.options;
        assert_eq!(options.preset, Preset::Small28);
        assert_eq!((options.size, options.head), (Some(28), None));
        assert!(!options.exposure && !options.contrast);
        assert_eq!((&options.mask, options.tiles), (&None, TileChoice::Off));
        assert_eq!(options.score, Score::Auto);
        assert_eq!(
            (options.importance_samples, options.importance_share),
            (5, 0.2)
        );
        let changes_left = &options.augmentation;
        assert_eq!(
            [changes_left.zoom, changes_left.rotation, changes_left.gamma],
            [0.0; 3]
        );

        let plain: State = serde_json::from_str(&format!(
            r#"{{"format": 2, {rest}, "running": {{"steps": 3, "nll": 1.5, "divergence": 2.5,
                "head": 0.5}}, "options": {{{common}, "preset": "edge", "size": null, "head": null,
                "exposure": true, "contrast": true, "score": "head", "augmentation": {{{changes},
                "zoom": 0.1, "rotation": 2.0, "gamma": 0.3}}}}}}"#
        ))
        .unwrap();
        let options = &plain.options;
        assert_eq!(
            (options.importance_samples, options.importance_share),
            (1, 0.15)
        );
        assert_eq!((options.size, options.score), (None, Score::Head));
        assert!(options.exposure && options.contrast);
        assert_eq!(options.augmentation.gamma, 0.3);
        assert_eq!(plain.running.head, 0.5);
    }
}
