//! What densities are fitted to and candidates are selected by.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use edge_vae::{
    dataset::{Sample, Split},
    preprocess::{CanvasLayout, PreprocessSettings},
};

use super::FeatureMemory;
use crate::{data::Frames, reporter::Reporter};

/// Normal frames, and which of them serve what.
#[derive(Clone, Copy, Debug)]
pub struct FitData<'a> {
    /// All canvases.
    pub frames: &'a Frames,
    /// Their tiles, and the valid mask.
    pub layout: &'a CanvasLayout,
    /// Where they came from.
    pub samples: &'a [&'a Sample],
    /// From frame to tensor.
    pub preprocess: &'a PreprocessSettings,
    /// PNG of the mask that it names.
    pub mask: Option<&'a [u8]>,
    /// Densities and statistics are fitted on the training frames, score and map are selected on
    /// the validation frames.
    pub split: &'a Split,
    /// The number of each frame's group, from 0. Frames of a group are in one part of the split and
    /// in one fold. Where nothing groups them, each has its own.
    pub groups: &'a [usize],
    /// Steps in which the network was trained.
    pub steps: u64,
    /// Seed of everything random.
    pub seed: u64,
    /// Memory for what is kept of the features.
    pub memory: &'a FeatureMemory,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
    /// Says how far it is.
    pub reporter: &'a Reporter,
}

impl FitData<'_> {
    /// Number of tiles of a canvas.
    pub fn tiles(&self) -> usize {
        self.layout.tiles().count()
    }

    /// Whether `frames` all show one picture, so that nothing is known of how frames differ.
    pub fn is_one_picture(&self, frames: &[usize]) -> bool {
        let mut groups = frames.iter().map(|&frame| self.groups[frame]);
        let first = groups.next();
        groups.all(|group| Some(group) == first)
    }

    /// The tensors of the tiles of a canvas, C×H×W each.
    ///
    /// # Errors
    /// A canvas of another size.
    pub fn tensors(&self, canvas: &[f32]) -> Result<Vec<Vec<f32>>> {
        let tiles = self.layout.tiles();
        (0..tiles.count())
            .map(|tile| tiles.cut(tile, canvas).context("a canvas lacks a tile"))
            .collect()
    }

    /// Ends the work after Ctrl-C.
    ///
    /// # Errors
    /// «interrupted».
    pub fn check_interrupted(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
