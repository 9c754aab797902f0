//! The golden frame: what proves that preprocessing, engine and scoring still compute here what
//! they computed for the trainer.

use super::{
    Bundle, BundleError, Golden,
    arrays::{read_npz, write_npz},
};
use crate::{
    Error, Reconstructor,
    anomaly::{DISTANCE, GraphShapes, HEAD_LOGITS, Observed, Scorer},
    backend::Engine,
    frame::Frame,
    npy::Npz,
    vae::{Likelihood, VaeSpec},
};

/// Everything that is computed on the way from a frame to its score, without batch dimension; of
/// several tiles what the graphs make of the first one, and map and score of the canvas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GoldenValues {
    /// The prepared frame, `C×H×W`.
    pub input: Vec<f32>,
    /// Posterior mean, `L` or `L×h×w`.
    pub mean: Vec<f32>,
    /// Posterior log-variance, `L` or `L×h×w`.
    pub log_variance: Vec<f32>,
    /// Reconstruction from the posterior mean, `C×H×W`.
    pub reconstruction: Vec<f32>,
    /// Bernoulli logits, `C×H×W`; empty with another likelihood.
    pub logits: Vec<f32>,
    /// Learned log-variance of the reconstruction, `C×H×W`; empty with another likelihood.
    pub reconstruction_log_variance: Vec<f32>,
    /// Logits of the head, `h×w`; empty without one.
    pub head_logits: Vec<f32>,
    /// Distances of the features, `h×w`; empty without them.
    pub distance: Vec<f32>,
    /// Anomaly map, `H×W` of the canvas; empty without a scoring.
    pub anomaly_map: Vec<f32>,
    /// Score, where there is a scoring. It is stored in the manifest, not in the NPZ file.
    pub score: Option<f64>,
}

impl GoldenValues {
    /// Goes the whole way for a frame.
    ///
    /// # Errors
    /// A frame that can't be prepared, and failures of the engine.
    pub fn compute(
        frame: &Frame,
        reconstructor: &mut Reconstructor,
        scorer: Option<&mut Scorer>,
    ) -> Result<Self, Error> {
        let (mut scorer, mut values) = (scorer, Self::default());
        reconstructor.run_tiles(frame, |tile, observed| {
            if tile == 0 {
                values = Self::of(observed);
            }
            match &mut scorer {
                Some(scorer) => Ok(scorer.add_tile(tile, observed)?),
                None => Ok(()),
            }
        })?;
        if let Some(scorer) = scorer {
            values.anomaly_map.resize(scorer.positions(), 0.0);
            values.score = Some(scorer.finish(&mut values.anomaly_map)?);
        }
        Ok(values)
    }

    /// What the graphs made of a tensor.
    fn of(observed: &Observed) -> Self {
        Self {
            input: observed.input.to_vec(),
            mean: observed.mean.to_vec(),
            log_variance: observed.log_variance.to_vec(),
            reconstruction: observed.reconstruction.to_vec(),
            logits: observed.logits.to_vec(),
            reconstruction_log_variance: observed.reconstruction_log_variance.to_vec(),
            head_logits: observed.head.to_vec(),
            distance: observed.distance.to_vec(),
            anomaly_map: Vec::new(),
            score: None,
        }
    }

    /// The NPZ file that [`Golden::expected`] names; `canvas` are height and width of the map.
    ///
    /// # Errors
    /// Arrays of another length than the shapes of `spec`, `graphs` and `canvas`.
    pub fn to_npz(
        &self,
        spec: &VaeSpec,
        graphs: GraphShapes,
        canvas: [usize; 2],
    ) -> Result<Vec<u8>, BundleError> {
        let arrays: Vec<_> = self
            .arrays(spec, graphs, canvas)
            .into_iter()
            .filter(|array| !array.values.is_empty())
            .map(|array| (array.name, array.shape, array.values))
            .collect();
        write_npz(&arrays).map_err(|problem| BundleError::Array {
            path: "golden values".into(),
            problem,
        })
    }

    /// Largest differences from `expected`, array by array, score included.
    pub fn differences(&self, expected: &Self, golden: &Golden) -> Vec<Difference> {
        let mut differences: Vec<_> = self
            .values()
            .into_iter()
            .zip(expected.values())
            .filter(|((_, found), (_, expected))| !(found.is_empty() && expected.is_empty()))
            .map(|((name, found), (_, expected))| Difference {
                array: name,
                largest: largest_difference(found, expected),
                tolerance: if [ANOMALY_MAP, DISTANCE].contains(&name) {
                    golden.map_tolerance
                } else {
                    golden.tolerance
                },
            })
            .collect();
        if self.score.is_some() || expected.score.is_some() {
            let largest = match (self.score, expected.score) {
                (Some(found), Some(expected)) => difference(found, expected),
                _ => f64::NAN,
            };
            differences.push(Difference {
                array: "score",
                largest,
                tolerance: golden.map_tolerance,
            });
        }
        differences
    }

    fn arrays(&self, spec: &VaeSpec, graphs: GraphShapes, canvas: [usize; 2]) -> Vec<Array<'_>> {
        let (pixels, latent) = (spec.input_shape().to_vec(), spec.latent.shape());
        let of_graph = |shape: Option<[usize; 2]>| shape.map_or_else(Vec::new, Vec::from);
        let shapes = [
            pixels.clone(),
            latent.clone(),
            latent,
            pixels.clone(),
            pixels.clone(),
            pixels,
            of_graph(graphs.head),
            of_graph(graphs.distance),
            canvas.to_vec(),
        ];
        self.values()
            .into_iter()
            .zip(shapes)
            .map(|((name, values), shape)| Array {
                name,
                shape,
                values,
            })
            .collect()
    }

    /// In the order of the data's way.
    fn values(&self) -> [(&'static str, &[f32]); 9] {
        [
            ("input", &self.input),
            ("mean", &self.mean),
            ("log_variance", &self.log_variance),
            ("reconstruction", &self.reconstruction),
            ("logits", &self.logits),
            (
                "reconstruction_log_variance",
                &self.reconstruction_log_variance,
            ),
            (HEAD_LOGITS, &self.head_logits),
            (DISTANCE, &self.distance),
            (ANOMALY_MAP, &self.anomaly_map),
        ]
    }
}

/// Name of the map among the golden values.
const ANOMALY_MAP: &str = "anomaly_map";

/// An array by its name in the NPZ file.
struct Array<'a> {
    name: &'static str,
    shape: Vec<usize>,
    values: &'a [f32],
}

/// How far an engine is from the trainer in one array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Name in the NPZ file, or `score`.
    pub array: &'static str,
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
pub struct Proof {
    /// The engine, as [`Engine::description`] names it.
    pub engine: String,
    /// One for each array, in the order of the data's way, then the score.
    pub differences: Vec<Difference>,
}

/// What computed the golden values here, and how well.
pub(crate) struct Compared {
    pub(crate) reconstructor: Reconstructor,
    pub(crate) scorer: Option<Scorer>,
    pub(crate) proof: Proof,
}

impl Proof {
    /// Whether the engine agrees in everything.
    pub fn agrees(&self) -> bool {
        self.differences.iter().all(Difference::agrees)
    }

    pub(crate) fn check(&self, bundle: &Bundle) -> Result<(), BundleError> {
        match self.differences.iter().find(|found| !found.agrees()) {
            None => Ok(()),
            Some(found) => Err(BundleError::Disagrees {
                path: bundle.path().to_owned(),
                engine: self.engine.clone(),
                array: found.array,
                largest: found.largest,
                tolerance: found.tolerance,
            }),
        }
    }
}

impl Bundle {
    /// Runs the golden frame on an engine and compares everything with what the trainer saw.
    ///
    /// # Errors
    /// A bundle whose golden frame, graphs or statistics can't be used, and failures of the
    /// engine. A disagreement is no error here: ask [`Proof::agrees`].
    pub fn compare(&self, engine: &Engine) -> Result<Proof, Error> {
        Ok(self.compared(engine)?.proof)
    }

    /// [`Bundle::compare`], and an error unless everything agrees.
    ///
    /// # Errors
    /// Those of [`Bundle::compare`], and [`BundleError::Disagrees`].
    pub fn prove(&self, engine: &Engine) -> Result<Proof, Error> {
        let proof = self.compare(engine)?;
        proof.check(self)?;
        Ok(proof)
    }

    /// [`Bundle::prove`], and what was proved, so that the graphs are loaded once.
    ///
    /// # Errors
    /// Those of [`Bundle::prove`].
    pub fn proved(&self, engine: &Engine) -> Result<Reconstructor, Error> {
        let compared = self.compared(engine)?;
        compared.proof.check(self)?;
        Ok(compared.reconstructor)
    }

    /// What the trainer saw for the golden frame, with the maps of the further graphs in the shapes
    /// that [`Reconstructor::graph_shapes`] tells.
    ///
    /// # Errors
    /// An array that is missing, or of another shape than the manifest's.
    pub fn golden_values(&self, graphs: GraphShapes) -> Result<GoldenValues, BundleError> {
        let name = &self.manifest.golden.expected;
        let spec = &self.manifest.vae;
        let failed = |problem| BundleError::Array {
            path: self.path.join(name),
            problem,
        };
        let mut npz = Npz::open(self.listed(name)).map_err(|error| failed(error.to_string()))?;
        let mut read = |name: &str, shape: &[usize], wanted: bool| {
            if wanted {
                read_npz(&mut npz, name, shape).map_err(failed)
            } else {
                Ok(Vec::new())
            }
        };
        let (pixels, latent) = (spec.input_shape(), spec.latent.shape());
        let [_, height, width] = self.manifest.preprocess.canvas_shape();
        Ok(GoldenValues {
            input: read("input", &pixels, true)?,
            mean: read("mean", &latent, true)?,
            log_variance: read("log_variance", &latent, true)?,
            reconstruction: read("reconstruction", &pixels, true)?,
            logits: read(
                "logits",
                &pixels,
                matches!(spec.likelihood, Likelihood::Bernoulli),
            )?,
            reconstruction_log_variance: read(
                "reconstruction_log_variance",
                &pixels,
                matches!(spec.likelihood, Likelihood::GaussianLearned),
            )?,
            head_logits: read(
                HEAD_LOGITS,
                &graphs.head.unwrap_or_default(),
                graphs.head.is_some(),
            )?,
            distance: read(
                DISTANCE,
                &graphs.distance.unwrap_or_default(),
                graphs.distance.is_some(),
            )?,
            anomaly_map: read(
                ANOMALY_MAP,
                &[height, width],
                self.manifest.scoring.is_some(),
            )?,
            score: self.manifest.golden.score,
        })
    }

    /// Loads the graphs on an engine and runs the golden frame.
    pub(crate) fn compared(&self, engine: &Engine) -> Result<Compared, Error> {
        let mut reconstructor = Reconstructor::new(self, engine)?;
        let graphs = reconstructor.graph_shapes();
        let mut scorer = self.scorer(graphs)?;
        let expected = self.golden_values(graphs)?;
        let frame = self.golden_frame()?;
        let found = GoldenValues::compute(&frame, &mut reconstructor, scorer.as_mut())?;
        let proof = Proof {
            engine: reconstructor.description().to_owned(),
            differences: found.differences(&expected, &self.manifest.golden),
        };
        Ok(Compared {
            reconstructor,
            scorer,
            proof,
        })
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

/// The largest [`difference`]; NaN where the lengths differ.
fn largest_difference(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::NAN;
    }
    found
        .iter()
        .zip(expected)
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

    #[test]
    fn differences_are_absolute_up_to_one_and_relative_beyond() {
        assert_eq!(largest_difference(&[0.5, 0.25], &[0.25, 0.25]), 0.25);
        assert_eq!(largest_difference(&[0.0, 110.0], &[0.0, 100.0]), 0.1);
        assert_eq!(largest_difference(&[-4.0], &[-8.0]), 0.5);
    }

    #[test]
    fn what_is_not_finite_never_agrees() {
        for (found, expected) in [
            (vec![f32::NAN, 0.0], vec![0.0, 0.0]),
            (vec![0.0, f32::NAN], vec![0.0, 0.0]),
            (vec![f32::INFINITY], vec![f32::INFINITY]),
            (vec![0.0], vec![]),
        ] {
            let difference = Difference {
                array: "mean",
                largest: largest_difference(&found, &expected),
                tolerance: 0.5,
            };
            assert!(!difference.agrees(), "{found:?} {expected:?}");
        }
    }
}
