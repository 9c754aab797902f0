//! The golden check: what proves that preprocessing, engine and scoring still compute here what
//! they computed for the trainer.

use super::{
    InferenceSession,
    golden::{ANOMALY_MAP, GoldenTensor, GoldenValues},
    golden_frame, load_scorer,
};
use crate::{
    Error,
    backend::Engine,
    bundle::{Bundle, BundleError, Manifest},
    model::ToleranceClass,
    scoring::Scorer,
};

/// How far an engine is from the trainer in one array.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Name of the tensor, or `score`.
    pub array: String,
    /// Largest of |found − expected| / max(1, |expected|); NaN where a value is not finite.
    pub largest: f64,
    /// Largest one at which the engine still agrees.
    pub tolerance: f64,
}

impl Difference {
    /// Whether the engine agrees; it does not where a value is not finite.
    pub fn agrees(&self) -> bool {
        self.largest <= self.tolerance
    }
}

/// What an engine computed for the golden frame, compared with what the trainer computed.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenCheck {
    /// The engine, as [`Engine::description`] names it.
    pub engine: String,
    /// One for each tensor, in the order in which they are computed, then the score.
    pub differences: Vec<Difference>,
}

impl GoldenCheck {
    /// Runs the golden frame on an engine and compares everything with what the trainer saw.
    ///
    /// # Errors
    /// A bundle whose golden frame, graphs or statistics can't be used, and failures of the
    /// engine. A disagreement is no error here: ask [`GoldenCheck::agrees`].
    pub fn run(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        Ok(Checked::run(bundle, engine)?.check)
    }

    /// [`GoldenCheck::run`], and an error unless everything agrees.
    ///
    /// # Errors
    /// Those of [`GoldenCheck::run`], and [`BundleError::Disagrees`].
    pub fn verify(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        Ok(Checked::verified(bundle, engine)?.check)
    }

    /// Whether the engine agrees in everything.
    pub fn agrees(&self) -> bool {
        self.differences.iter().all(Difference::agrees)
    }

    /// Compares what `session` computed with what the bundle keeps. Of an engine of reduced
    /// precision the score may differ by as much as was accepted on frames; its tensors have to be
    /// finite.
    fn compare(
        bundle: &Bundle,
        session: &InferenceSession,
        found: &GoldenValues,
        accepted: Option<f64>,
    ) -> Result<Self, BundleError> {
        let (manifest, expected) = (bundle.manifest(), GoldenValues::read(bundle)?);
        let lacks = |problem| BundleError::Array {
            path: bundle.path().join(&manifest.golden.expected),
            problem,
        };
        let mut differences = Vec::new();
        for (name, found) in found.iter() {
            let expected = expected
                .get(name)
                .ok_or_else(|| lacks(format!("has no array `{name}`")))?;
            if found.shape != expected.shape {
                return Err(lacks(format!(
                    "array `{name}` has shape {:?}, expected {:?}",
                    expected.shape, found.shape
                )));
            }
            differences.push(Difference {
                array: name.to_owned(),
                largest: largest_difference(found, expected),
                tolerance: match accepted {
                    Some(_) => f64::INFINITY,
                    None => tolerance(name, manifest, session),
                },
            });
        }
        if found.score.is_some() || expected.score.is_some() {
            differences.push(Difference {
                array: "score".to_owned(),
                largest: match (found.score, expected.score, accepted) {
                    (Some(found), Some(expected), None) => difference(found, expected),
                    (Some(found), Some(expected), Some(_)) => (found - expected).abs(),
                    _ => f64::NAN,
                },
                tolerance: accepted.unwrap_or(manifest.golden.map_tolerance),
            });
        }
        Ok(Self {
            engine: session.description().to_owned(),
            differences,
        })
    }

    /// An error unless everything agrees.
    fn require(&self, bundle: &Bundle) -> Result<(), BundleError> {
        match self.differences.iter().find(|found| !found.agrees()) {
            None => Ok(()),
            Some(found) => Err(BundleError::Disagrees {
                path: bundle.path().to_owned(),
                engine: self.engine.clone(),
                array: found.array.clone(),
                largest: found.largest,
                tolerance: found.tolerance,
            }),
        }
    }
}

impl InferenceSession {
    /// [`InferenceSession::open`], and an error unless the engine computes for the golden frame
    /// what the trainer saw.
    ///
    /// # Errors
    /// Those of [`GoldenCheck::verify`].
    pub fn verified(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        Ok(Checked::verified(bundle, engine)?.session)
    }
}

/// Session and scorer of a bundle, with what they made of the golden frame.
pub(super) struct Checked {
    pub(super) session: InferenceSession,
    pub(super) scorer: Option<Scorer>,
    pub(super) check: GoldenCheck,
}

impl Checked {
    /// Loads the graphs on an engine and runs the golden frame.
    fn run(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        let mut session = InferenceSession::open(bundle, engine)?;
        let mut scorer = load_scorer(bundle, &session.tensor_shapes())?;
        let frame = golden_frame(bundle)?;
        let found = GoldenValues::compute(&frame, &mut session, scorer.as_mut())?;
        Ok(Self {
            check: GoldenCheck::compare(bundle, &session, &found, engine.score_tolerance())?,
            session,
            scorer,
        })
    }

    /// [`Checked::run`], and an error unless everything agrees.
    pub(super) fn verified(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        let checked = Self::run(bundle, engine)?;
        checked.check.require(bundle)?;
        Ok(checked)
    }
}

/// The largest difference at which an engine still agrees on a tensor.
fn tolerance(tensor: &str, manifest: &Manifest, session: &InferenceSession) -> f64 {
    let graph = session.graph_of(tensor);
    let settings = graph.and_then(|graph| manifest.graphs.get(graph));
    let class = match settings {
        Some(settings) => settings.tolerance,
        None if tensor == ANOMALY_MAP => ToleranceClass::Map,
        None => ToleranceClass::Tensor,
    };
    match class {
        ToleranceClass::Tensor => manifest.golden.tolerance,
        ToleranceClass::Map => manifest.golden.map_tolerance,
    }
}

/// Absolute for values up to 1, relative beyond; NaN where a value is not finite.
fn difference(found: f64, expected: f64) -> f64 {
    if found.is_finite() && expected.is_finite() {
        (found - expected).abs() / expected.abs().max(1.0)
    } else {
        f64::NAN
    }
}

/// The largest [`difference`] of two tensors of one shape.
fn largest_difference(found: &GoldenTensor, expected: &GoldenTensor) -> f64 {
    let pairs = found.values.iter().zip(&expected.values);
    pairs
        .map(|(&found, &expected)| difference(f64::from(found), f64::from(expected)))
        .fold(0.0, |largest, next| {
            if next.is_nan() || next > largest {
                next
            } else {
                largest
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(found: &[f32], expected: &[f32]) -> f64 {
        let tensor = |values: &[f32]| GoldenTensor {
            shape: vec![values.len()],
            values: values.to_vec(),
        };
        largest_difference(&tensor(found), &tensor(expected))
    }

    #[test]
    fn differences_are_absolute_up_to_one_and_relative_beyond() {
        assert_eq!(largest(&[0.5, 0.25], &[0.25, 0.25]), 0.25);
        assert_eq!(largest(&[0.0, 110.0], &[0.0, 100.0]), 0.1);
        assert_eq!(largest(&[-4.0], &[-8.0]), 0.5);
    }

    #[test]
    fn what_is_not_finite_never_agrees() {
        for (found, expected) in [
            ([f32::NAN, 0.0], [0.0, 0.0]),
            ([0.0, f32::NAN], [0.0, 0.0]),
            ([f32::INFINITY, 0.0], [f32::INFINITY, 0.0]),
        ] {
            let difference = Difference {
                array: "mean".into(),
                largest: largest(&found, &expected),
                tolerance: 0.5,
            };
            assert!(!difference.agrees(), "{found:?} {expected:?}");
        }
    }
}
