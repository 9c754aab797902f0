//! Engines in turn, against the clock.

use std::time::{Duration, Instant};

use super::{EngineTrial, MeasuringParams};
use crate::backend::{BackendKind, EngineOptions};

/// An engine that takes part.
pub(super) trait Contender {
    /// Engine and device, with versions.
    fn engine(&self) -> String;

    /// Runs once.
    fn run(&mut self) -> Result<Duration, String>;
}

/// Opens the candidates one after the other and then runs them in turn, so that a slower moment of
/// the machine is everybody's. A trial each, in their order, and whether all of them were tried.
pub(super) fn measure<C: Contender>(
    candidates: &[EngineOptions],
    params: &MeasuringParams,
    mut open: impl FnMut(&EngineOptions) -> Result<C, String>,
) -> (Vec<EngineTrial>, bool) {
    let began = Instant::now();
    let mut contenders: Vec<Result<C, String>> = Vec::new();
    let mut complete = true;
    for (place, options) in candidates.iter().enumerate() {
        // On a slow or busy machine too there is something to compare.
        contenders.push(if place < 2 || began.elapsed() < params.budget {
            open(options)
        } else {
            complete = false;
            Err(format!(
                "not tried, for those before it took {:.1} s",
                began.elapsed().as_secs_f64()
            ))
        });
    }
    let mut times = vec![None; candidates.len()];
    for round in 0..params.rounds {
        let alone = contenders.iter().flatten().count() < 2;
        if alone || (round > 0 && began.elapsed() >= params.budget) {
            break;
        }
        for (contender, fastest) in contenders.iter_mut().zip(&mut times) {
            let Ok(runs) = contender else { continue };
            match runs.run() {
                Ok(took) => {
                    *fastest = Some(fastest.map_or(took, |least: Duration| least.min(took)))
                }
                Err(problem) => *contender = Err(problem),
            }
        }
    }
    let trials = candidates.iter().zip(contenders).zip(times);
    let trials = trials
        .map(|((options, contender), time)| match contender {
            Ok(contender) => EngineTrial {
                engine: contender.engine(),
                milliseconds: time.map(|time| 1e3 * time.as_secs_f64()),
                problem: None,
            },
            Err(problem) => EngineTrial {
                engine: name(options),
                milliseconds: None,
                problem: Some(problem),
            },
        })
        .collect();
    (trials, complete)
}

/// An engine that may not be open, so that its version is not known.
fn name(options: &EngineOptions) -> String {
    let engine = match options.backend {
        Some(BackendKind::Tract) => "tract",
        Some(BackendKind::Ort) | None => "ONNX Runtime",
    };
    format!("{engine} on {}", options.device)
}
