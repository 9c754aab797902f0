//! Frames as the bundle will judge them: what calibrates.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use edge_vae::{
    Model,
    scoring::{ScoreSource, Scorer},
    vae::VaeSpec,
};

use super::{
    Detector, Material,
    runner::{Runner, What},
    tensors,
};

/// A frame that is being scored.
#[derive(Default)]
struct Judged {
    scorer: Option<Scorer>,
    score: f64,
    divergence: f64,
    map: Vec<f32>,
}

/// Scores the frames `places` as the runtime will, and hands score, divergence of the posterior
/// ([`Scorer::divergence`]) and map (`H×W` of the canvas) to `take`, in order. Where the detector has
/// folds, a frame's distances are those of the model of the others, and the observers need no features;
/// those of a fold are best scored together (`Folds::frames`).
///
/// # Errors
/// Ctrl-C, and values that are not finite.
pub fn score(
    material: &Material,
    places: &[usize],
    spec: &VaeSpec,
    detector: &Detector,
    make: impl FnMut() -> Result<Model>,
    mut take: impl FnMut(f64, f64, &[f32]),
) -> Result<()> {
    let mut runner = Runner::new(make, material.interrupted)?;
    let folds = detector.folds.as_ref();
    let mut shapes = runner.graph_shapes();
    if let Some(folds) = folds {
        match folds.source() {
            ScoreSource::Details => shapes.detail_distance = Some(folds.shape),
            _ => shapes.distance = Some(folds.shape),
        }
    }
    // Folds may have statistics of their own.
    let own = folds.filter(|folds| !folds.statistics.is_empty());
    let fold_of = |frame: usize| own.map_or(0, |folds| folds.of[frame]);
    let statistics: Vec<_> = match own {
        None => vec![detector.statistics.clone()],
        Some(folds) => (0..folds.count)
            .map(|fold| folds.statistics_of(fold, &detector.statistics))
            .collect(),
    };
    // Scorers that no frame has at the moment, each with its fold.
    let idle = Mutex::new(Vec::new());
    let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
    let spare = |fold: usize| lock().pop().filter(|(of, _)| *of == fold);
    let layout = material.layout;
    runner.each(
        places.len(),
        What::All,
        |place| tensors(layout, material.frames.get(places[place])),
        |[place, tile], observer, input, judged: &mut Judged| {
            let frame = places[place];
            let fold = fold_of(frame);
            let ready = judged.scorer.take();
            let mut scorer = match ready.or_else(|| Some(spare(fold)?.1)) {
                Some(scorer) => scorer,
                None => Scorer::new(&detector.scoring, spec, layout, shapes, &statistics[fold])?,
            };
            let mut observed = observer.outputs(input);
            if let Some(folds) = folds {
                let distances = &folds.distances[frame];
                match folds.source() {
                    ScoreSource::Details => observed.detail_distance = distances,
                    _ => observed.distance = distances,
                }
            }
            scorer.add_tile(tile, &observed)?;
            if tile + 1 < layout.tiles().count() {
                judged.scorer = Some(scorer);
                return Ok(());
            }
            judged.map.resize(scorer.positions(), 0.0);
            judged.score = scorer.finish(&mut judged.map)?;
            judged.divergence = scorer.divergence();
            lock().push((fold, scorer));
            Ok(())
        },
        |_, judged| {
            take(judged.score, judged.divergence, &judged.map);
            Ok(())
        },
    )
}
