//! The variational autoencoder: its network, its objective, and how it is trained.

mod checkpoint;
mod clock;
mod curve;
mod gradients;
mod network;
mod noise;
mod objective;
mod progress;
mod ranks;
mod record;
pub(crate) mod schedule;
mod step;
mod training;
mod validation;

pub use checkpoint::{Checkpoint, FILE, Running, State};
pub use network::{
    Encoded, Head, HeadOutput, INPUT, LOG_VARIANCE_BOUNDS, LOGITS, Network, Observation,
    RECONSTRUCTION, Step,
};
pub use record::{HeadRecord, Record};
pub use step::Training;
pub use training::{Start, Trained, train};
