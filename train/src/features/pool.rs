//! Prepared frames through the exported graphs, on all processors, results in order.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, anyhow, bail};
use edge_vae::{
    Model,
    model::{ModelError, TensorShapes},
};

use super::Features;

/// One model for each processor, shared by all that reads features.
pub struct ModelPool<'a> {
    models: Mutex<Vec<Model>>,
    /// Of the tensors that the graphs make.
    shapes: TensorShapes,
    has_backbone: bool,
    has: Vec<Features>,
    fine_grid: Option<[usize; 2]>,
    /// Frames that one model takes before results are handed over.
    round: usize,
    interrupted: &'a AtomicBool,
}

/// A tile of a frame: their places among those that are run.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Of the frame.
    pub frame: usize,
    /// Of its tile.
    pub tile: usize,
}

impl<'a> ModelPool<'a> {
    /// A pool of equal `models`, of which there are as many as processors; each takes `round`
    /// frames before results are handed over.
    ///
    /// # Errors
    /// No model.
    pub fn new(models: Vec<Model>, round: usize, interrupted: &'a AtomicBool) -> Result<Self> {
        let first = models.first();
        let first = first.ok_or_else(|| anyhow!("no model to run frames through"))?;
        let fine = first.detail_maps();
        let grids = fine
            .iter()
            .map(|(_, [_, height, width], _)| [*height, *width]);
        let has = [
            (Features::Patch, !first.feature_maps().is_empty()),
            (Features::Fine, !fine.is_empty()),
            (Features::Residual, !first.residual_maps().is_empty()),
            // Where a network hands out features, they tell more than pixels.
            (Features::Frame, first.feature_maps().is_empty()),
        ];
        let has = has.into_iter().filter(|(_, has)| *has);
        Ok(Self {
            shapes: first.tensor_shapes(),
            has_backbone: first.has_feature_extractor(),
            fine_grid: grids.max(),
            has: has.map(|(features, _)| features).collect(),
            models: Mutex::new(models),
            round,
            interrupted,
        })
    }

    /// Shapes of the tensors that the graphs make.
    pub fn shapes(&self) -> &TensorShapes {
        &self.shapes
    }

    /// Whether the graphs make a tensor of this name.
    pub fn makes(&self, tensor: &str) -> bool {
        self.shapes.get(tensor).is_some()
    }

    /// Whether a pretrained backbone makes the patch features.
    pub fn has_backbone(&self) -> bool {
        self.has_backbone
    }

    /// Whether there are such features.
    pub fn has(&self, features: Features) -> bool {
        self.has.contains(&features)
    }

    /// Rows and columns of the finest features.
    pub fn fine_grid(&self) -> Option<[usize; 2]> {
        self.fine_grid
    }

    /// Runs `count` frames: `tensors` makes those of a frame's tiles, `run` runs a model on one of
    /// them, `read` adds what the model made of it to the frame's result, all on any thread; `take`
    /// gets the results in order.
    ///
    /// # Errors
    /// Ctrl-C, and the errors of what is called.
    pub fn each<T: Send + Default>(
        &self,
        count: usize,
        run: impl Fn(&mut Model, &[f32]) -> Result<(), ModelError> + Sync,
        tensors: impl Fn(usize) -> Result<Vec<Vec<f32>>> + Sync,
        read: impl Fn(Place, &Model, &[f32], &mut T) -> Result<()> + Sync,
        mut take: impl FnMut(usize, T) -> Result<()>,
    ) -> Result<()> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = models.len();
        let (run, tensors, read) = (&run, &tensors, &read);
        for first in (0..count).step_by(threads * self.round) {
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let places = first..(first + threads * self.round).min(count);
            let one = |thread: usize, model: &mut Model| {
                let mine = places.clone().skip(thread).step_by(threads);
                mine.map(|frame| {
                    let mut result = T::default();
                    for (tile, input) in tensors(frame)?.iter().enumerate() {
                        run(model, input)?;
                        read(Place { frame, tile }, model, input, &mut result)?;
                    }
                    Ok((frame, result))
                })
                .collect::<Result<Vec<_>>>()
            };
            let one = &one;
            let seen = std::thread::scope(|scope| {
                let each = models.iter_mut().enumerate();
                let running = each.map(|(thread, model)| scope.spawn(move || one(thread, model)));
                let running: Vec<_> = running.collect();
                let failed = |_| anyhow!("a thread of the detector's fit failed");
                let ended = running
                    .into_iter()
                    .map(|thread| thread.join().map_err(failed)?);
                ended.collect::<Result<Vec<_>>>()
            })?;
            let mut seen: Vec<(usize, T)> = seen.into_iter().flatten().collect();
            seen.sort_by_key(|(frame, _)| *frame);
            for (frame, found) in seen {
                take(frame, found)?;
            }
        }
        Ok(())
    }
}
