//! Checkpoints: everything a run needs to go on bit for bit, in one file that is replaced whole.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::{
    nn::Snapshot,
    options::{FitOptions, Golden},
};

/// Written by this version; another one is refused.
const FORMAT: u32 = 4;
/// Name of the file in the run's folder.
pub const FILE: &str = "checkpoint.safetensors";

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
    pub head: f64,
}

/// A whole checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
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
    pub fn load(folder: &Path) -> Result<Self> {
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
