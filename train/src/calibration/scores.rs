//! Frames as the bundle will score them: what calibrates.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;
use edge_vae::{Model, scoring::Scorer, vae::VaeSpec};
use ndarray::Array3;

use super::Folds;
use crate::features::{FitData, ModelPool};

/// How a bundle scores.
#[derive(Clone, Copy, Debug)]
pub struct Scoring<'a> {
    /// As in the manifest.
    pub scoring: &'a edge_vae::scoring::Scoring,
    /// Mean and deviation at each place by source, 2×h×w.
    pub statistics: &'a BTreeMap<String, Array3<f32>>,
    /// The VAE's shapes, where there is one.
    pub vae: Option<&'a VaeSpec>,
    /// Where a frame's distances are those of a density of the others: the models then need no
    /// features.
    pub folds: Option<&'a Folds>,
}

/// A scored frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredFrame {
    /// Its place.
    pub place: usize,
    /// Its raw score.
    pub score: f64,
    /// Divergence of its posterior ([`Scorer::divergence`]).
    pub divergence: Option<f64>,
    /// The largest value of its anomaly map.
    pub map_maximum: f64,
}

/// A frame that is being scored.
#[derive(Default)]
struct Pending {
    /// Where a tile is still to come.
    scorer: Option<Scorer>,
    scored: Option<ScoredFrame>,
}

/// Scores the frames `places` as the runtime will. Those of a fold are best scored together
/// ([`Folds::frames`]).
///
/// # Errors
/// Ctrl-C, and values that are not finite.
pub fn score(
    scoring: &Scoring,
    places: &[usize],
    data: &FitData,
    pool: &ModelPool,
) -> Result<Vec<ScoredFrame>> {
    let canvas = |place: usize| data.frames.get(places[place]);
    score_each(scoring, places, canvas, data, pool)
}

/// Scores prepared canvases as the runtime will, by a scoring without folds: the scores in their
/// order, each with its place among them.
///
/// # Errors
/// Those of [`score`].
pub fn score_canvases(
    scoring: &Scoring,
    canvases: &[&[f32]],
    data: &FitData,
    pool: &ModelPool,
) -> Result<Vec<ScoredFrame>> {
    let places: Vec<usize> = (0..canvases.len()).collect();
    score_each(scoring, &places, |place| canvases[place], data, pool)
}

/// Scores the frames `places`, whose canvases are looked up by their place in that list.
fn score_each<'a>(
    scoring: &Scoring,
    places: &[usize],
    canvas: impl Fn(usize) -> &'a [f32] + Sync,
    data: &FitData,
    pool: &ModelPool,
) -> Result<Vec<ScoredFrame>> {
    let folds = scoring.folds;
    let mut shapes = pool.shapes().clone();
    if let Some(folds) = folds {
        folds.add_shape(&mut shapes);
    }
    let statistics = folds.map_or_else(
        || vec![scoring.statistics.clone()],
        |folds| folds.statistics(scoring.statistics),
    );
    // Scorers that no frame has at the moment, each with its fold.
    let idle = Mutex::new(Vec::new());
    let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
    let spare = |fold: usize| lock().pop().filter(|(of, _)| *of == fold);
    let mut scored = Vec::with_capacity(places.len());
    pool.each(
        places.len(),
        Model::run,
        |place| data.tensors(canvas(place)),
        |place, model, input, pending: &mut Pending| {
            let frame = places[place.frame];
            let fold = folds.map_or(0, |folds| folds.fold(frame));
            let ready = pending.scorer.take();
            let mut scorer = match ready.or_else(|| Some(spare(fold)?.1)) {
                Some(scorer) => scorer,
                None => Scorer::new(
                    scoring.scoring,
                    scoring.vae,
                    data.layout,
                    &shapes,
                    &statistics[fold],
                )?,
            };
            let out_of_fold = folds.map(|folds| folds.tensors(frame));
            let mut outputs = model.outputs(input);
            if let Some(tensors) = &out_of_fold {
                outputs = outputs.with(tensors);
            }
            scorer.add_tile(place.tile, &outputs)?;
            if place.tile + 1 < data.tiles() {
                pending.scorer = Some(scorer);
                return Ok(());
            }
            let mut map = vec![0.0; scorer.positions()];
            let score = scorer.finish(&mut map)?;
            pending.scored = Some(ScoredFrame {
                place: frame,
                score,
                divergence: scorer.divergence(),
                map_maximum: f64::from(map.into_iter().fold(f32::MIN, f32::max)),
            });
            lock().push((fold, scorer));
            Ok(())
        },
        |_, pending| {
            scored.extend(pending.scored);
            Ok(())
        },
    )?;
    Ok(scored)
}
