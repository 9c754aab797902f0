//! Which graphs run for a frame, and how long they took.

use std::{ops::AddAssign, time::Duration};

/// How long the stages of [`Model::run`](super::Model::run) took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StageTimes {
    pub(crate) encode: Duration,
    pub(crate) decode: Duration,
    pub(crate) detect: Duration,
}

impl StageTimes {
    pub(crate) fn total(&self) -> Duration {
        self.encode + self.decode + self.detect
    }
}

impl AddAssign for StageTimes {
    fn add_assign(&mut self, other: Self) {
        self.encode += other.encode;
        self.decode += other.decode;
        self.detect += other.detect;
    }
}

/// Which of a model's graphs are run for a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecutionPlan {
    /// Encoder and decoder.
    pub(crate) vae: bool,
    pub(super) extractor: bool,
    /// By place in the chain.
    pub(super) graphs: Vec<bool>,
}

impl ExecutionPlan {
    /// What it leaves out.
    pub(crate) fn rest(&self) -> Self {
        Self {
            vae: !self.vae,
            extractor: !self.extractor,
            graphs: self.graphs.iter().map(|graph| !graph).collect(),
        }
    }
}
