//! What builds engines and runs a bundle on them.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Error,
    backend::{BackendError, Engine, EngineOptions},
    bundle::Bundle,
    frame::Frame,
    replace_file,
    runtime::{InferenceSession, load_scorer},
};

/// What a bundle makes of frames on an engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// A score for each frame.
    pub scores: Vec<f64>,
    /// For the graphs of a frame, the fastest.
    pub took: Duration,
}

/// Builds engines, and runs a bundle on them. [`Engine`] is one; tests have another.
pub trait EngineProvider {
    /// Board, GPU, driver and versions: engines of another are stale.
    fn identity(&self) -> BTreeMap<String, String>;

    /// Prepares the engines of an integer precision, which are scaled by the largest magnitudes on
    /// frames.
    ///
    /// # Errors
    /// A bundle that can't be used, failures of the engine, and a folder that can't be written.
    fn calibrate(&mut self, bundle: &Bundle, frames: &[Frame]) -> Result<(), Error>;

    /// Builds the engine of a graph, or finds it built.
    ///
    /// # Errors
    /// What the engine says.
    fn build(&mut self, name: &str, onnx: &[u8]) -> Result<(), Error>;

    /// Scores frames, whatever the golden frame says.
    ///
    /// # Errors
    /// A bundle that has no scoring or can't be used, and failures of the engine.
    fn score(&mut self, bundle: &Bundle, frames: &[Frame]) -> Result<Scored, Error>;
}

impl EngineProvider for Engine {
    fn identity(&self) -> BTreeMap<String, String> {
        self.tensor_rt_identity().cloned().unwrap_or_default()
    }

    fn calibrate(&mut self, bundle: &Bundle, frames: &[Frame]) -> Result<(), Error> {
        let mut observed = Engine::open(&EngineOptions::default())?;
        let ranges = observed.observe();
        observed.score(bundle, frames)?;
        for (_, onnx) in bundle.graphs() {
            let Some(path) = self.ranges_file(onnx) else {
                continue;
            };
            replace_file(&path, ranges.table(onnx).as_bytes()).map_err(|error| {
                BackendError::Cache {
                    path,
                    message: error.to_string(),
                }
            })?;
        }
        Ok(())
    }

    fn build(&mut self, name: &str, onnx: &[u8]) -> Result<(), Error> {
        // The session builds it, and keeps it where the next one looks.
        self.load(onnx, name, 1)?;
        Ok(())
    }

    fn score(&mut self, bundle: &Bundle, frames: &[Frame]) -> Result<Scored, Error> {
        let mut session = InferenceSession::open(bundle, self)?;
        let Some(mut scorer) = load_scorer(bundle, &session.tensor_shapes())? else {
            return Ok(Scored {
                scores: Vec::new(),
                took: Duration::ZERO,
            });
        };
        let plan = session.plan_for(&scorer.scored_tensors());
        let mut map = vec![0.0; scorer.positions()];
        let mut scored = Scored {
            scores: Vec::with_capacity(frames.len()),
            took: Duration::MAX,
        };
        for frame in frames {
            session.run_tiles(frame, |tile, outputs| Ok(scorer.add_tile(tile, outputs)?))?;
            scored.scores.push(scorer.finish(&mut map)?);
            let (_, stages) = session.run_plan(&plan, |_, _| Ok(()))?;
            scored.took = scored.took.min(stages.total());
        }
        Ok(scored)
    }
}
