//! Trains the variational autoencoders that edge-vae runs.

pub mod ops;
pub mod optimiser;
