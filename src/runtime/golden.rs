//! The golden frame: what proves that preprocessing, engine and scoring still compute here what
//! they computed for the trainer.

use super::{InferenceSession, golden_frame, load_scorer};
use crate::{
    Error,
    backend::Engine,
    bundle::{Bundle, BundleError, Golden, read_npz, write_npz},
    frame::Frame,
    model::{GraphShapes, ModelOutputs},
    npy::Npz,
    scoring::Scorer,
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
    /// Distances of residual and posterior mean, `h×w`; empty without them.
    pub reconstruction_distance: Vec<f32>,
    /// Distances of the finest features, `h×w`; empty without them.
    pub detail_distance: Vec<f32>,
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
        session: &mut InferenceSession,
        scorer: Option<&mut Scorer>,
    ) -> Result<Self, Error> {
        let (mut scorer, mut values) = (scorer, Self::default());
        session.run_tiles(frame, |tile, outputs| {
            if tile == 0 {
                values = Self::of(outputs);
            }
            match &mut scorer {
                Some(scorer) => Ok(scorer.add_tile(tile, outputs)?),
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
    fn of(outputs: &ModelOutputs) -> Self {
        Self {
            input: outputs.input.to_vec(),
            mean: outputs.mean.to_vec(),
            log_variance: outputs.log_variance.to_vec(),
            reconstruction: outputs.reconstruction.to_vec(),
            logits: outputs.logits.to_vec(),
            reconstruction_log_variance: outputs.reconstruction_log_variance.to_vec(),
            head_logits: outputs.head.to_vec(),
            distance: outputs.distance.to_vec(),
            reconstruction_distance: outputs.reconstruction_distance.to_vec(),
            detail_distance: outputs.detail_distance.to_vec(),
            anomaly_map: Vec::new(),
            score: None,
        }
    }

    /// The NPZ file that [`Golden::expected`] names, with [every s-th value](Grid) of large planes;
    /// `canvas` are height and width of the map.
    ///
    /// # Errors
    /// Arrays of another length than the shapes of `spec`, `graphs` and `canvas`.
    pub fn to_npz(
        &self,
        spec: &VaeSpec,
        graphs: GraphShapes,
        canvas: [usize; 2],
    ) -> Result<Vec<u8>, BundleError> {
        let failed = |problem| BundleError::Array {
            path: "golden values".into(),
            problem,
        };
        let shapes = shapes(spec, graphs, canvas);
        let arrays = self.values().into_iter().zip(&shapes);
        let arrays = arrays
            .filter(|((_, values), _)| !values.is_empty())
            .map(|((name, values), shape)| {
                let expected: usize = shape.iter().product();
                if values.len() != expected {
                    return Err(failed(format!(
                        "array `{name}` has {} values, {expected} are needed for {shape:?}",
                        values.len()
                    )));
                }
                let grid = Grid::of(shape);
                Ok((name, grid.shape(), grid.values(values)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        write_npz(&arrays).map_err(failed)
    }

    /// The values that a bundle keeps of these, as [`Bundle::golden_values`] gives them: of planes with
    /// more than 16,384 values every s-th row and column; `canvas` are height and width of the map.
    pub fn kept(&self, spec: &VaeSpec, graphs: GraphShapes, canvas: [usize; 2]) -> Self {
        let shapes = shapes(spec, graphs, canvas);
        let mut kept = self.clone();
        for (values, shape) in kept.values_mut().into_iter().zip(&shapes) {
            if !values.is_empty() {
                *values = Grid::of(shape).values(values);
            }
        }
        kept
    }

    /// What the bundle [keeps](Self::kept) of what the trainer saw for the golden frame, with
    /// the maps of the further graphs in the shapes that [`InferenceSession::graph_shapes`] tells.
    ///
    /// # Errors
    /// An array that is missing, or of another shape than the manifest's.
    pub fn read(bundle: &Bundle, graphs: GraphShapes) -> Result<Self, BundleError> {
        let name = &bundle.manifest().golden.expected;
        let spec = &bundle.manifest().vae;
        let failed = |problem| BundleError::Array {
            path: bundle.path().join(name),
            problem,
        };
        let mut npz = Npz::open(bundle.listed(name)).map_err(|error| failed(error.to_string()))?;
        let mut read = |name: &str, shape: &[usize], wanted: bool| {
            if wanted {
                read_npz(&mut npz, name, &Grid::of(shape).shape()).map_err(failed)
            } else {
                Ok(Vec::new())
            }
        };
        let (pixels, latent) = (spec.input_shape(), spec.latent.shape());
        let [_, height, width] = bundle.manifest().preprocess.canvas_shape();
        Ok(Self {
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
            reconstruction_distance: read(
                RECONSTRUCTION_DISTANCE,
                &graphs.reconstruction_distance.unwrap_or_default(),
                graphs.reconstruction_distance.is_some(),
            )?,
            detail_distance: read(
                DETAIL_DISTANCE,
                &graphs.detail_distance.unwrap_or_default(),
                graphs.detail_distance.is_some(),
            )?,
            anomaly_map: read(
                ANOMALY_MAP,
                &[height, width],
                bundle.manifest().scoring.is_some(),
            )?,
            score: bundle.manifest().golden.score,
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
                tolerance: if DIVIDED.contains(&name) {
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

    /// In the order of the data's way.
    fn values(&self) -> [(&'static str, &[f32]); 11] {
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
            (RECONSTRUCTION_DISTANCE, &self.reconstruction_distance),
            (DETAIL_DISTANCE, &self.detail_distance),
            (ANOMALY_MAP, &self.anomaly_map),
        ]
    }

    /// The same to be changed.
    fn values_mut(&mut self) -> [&mut Vec<f32>; 11] {
        [
            &mut self.input,
            &mut self.mean,
            &mut self.log_variance,
            &mut self.reconstruction,
            &mut self.logits,
            &mut self.reconstruction_log_variance,
            &mut self.head_logits,
            &mut self.distance,
            &mut self.reconstruction_distance,
            &mut self.detail_distance,
            &mut self.anomaly_map,
        ]
    }
}

/// Shapes of whole arrays, in the order of [`GoldenValues::values`].
fn shapes(spec: &VaeSpec, graphs: GraphShapes, canvas: [usize; 2]) -> [Vec<usize>; 11] {
    let (pixels, latent) = (spec.input_shape().to_vec(), spec.latent.shape());
    let of_graph = |shape: Option<[usize; 2]>| shape.map_or_else(Vec::new, Vec::from);
    [
        pixels.clone(),
        latent.clone(),
        latent,
        pixels.clone(),
        pixels.clone(),
        pixels,
        of_graph(graphs.head),
        of_graph(graphs.distance),
        of_graph(graphs.reconstruction_distance),
        of_graph(graphs.detail_distance),
        canvas.to_vec(),
    ]
}

/// Most values of a plane that is kept whole.
const MOST_OF_A_PLANE: usize = 16_384;

/// Which values of an array a bundle keeps: of planes H×W with more than 16,384 values those of rows
/// and columns 0, s, 2s, …, with s = ⌈√(H W / 16,384)⌉, of others all. A frame of 512 pixels would take
/// 11 MB whole. Latents and features depend on every pixel, so one that is not kept shows in them.
struct Grid<'a> {
    whole: &'a [usize],
    step: usize,
}

impl<'a> Grid<'a> {
    fn of(whole: &'a [usize]) -> Self {
        let plane: usize = match whole {
            [.., height, width] => height * width,
            _ => 0,
        };
        let step = (plane as f64 / MOST_OF_A_PLANE as f64).sqrt().ceil();
        Self {
            whole,
            step: (step as usize).max(1),
        }
    }

    /// Shape of what is kept.
    fn shape(&self) -> Vec<usize> {
        let planes = self.whole.len().saturating_sub(2);
        let (before, plane) = self.whole.split_at(planes);
        let kept = plane.iter().map(|side| side.div_ceil(self.step));
        before.iter().copied().chain(kept).collect()
    }

    /// What is kept of the values of a whole array.
    fn values(&self, values: &[f32]) -> Vec<f32> {
        let [.., height, width] = self.whole else {
            return values.to_vec();
        };
        values
            .chunks(height * width)
            .flat_map(|plane| plane.chunks(*width).step_by(self.step))
            .flat_map(|row| row.iter().copied().step_by(self.step))
            .collect()
    }
}

const HEAD_LOGITS: &str = "head_logits";
const DISTANCE: &str = "distance";
const RECONSTRUCTION_DISTANCE: &str = "reconstruction_distance";
const DETAIL_DISTANCE: &str = "detail_distance";

/// Values that small deviations were divided by.
const DIVIDED: [&str; 4] = [
    ANOMALY_MAP,
    DISTANCE,
    RECONSTRUCTION_DISTANCE,
    DETAIL_DISTANCE,
];

/// Name of the map among the golden values.
const ANOMALY_MAP: &str = "anomaly_map";

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
pub struct GoldenCheck {
    /// The engine, as [`Engine::description`] names it.
    pub engine: String,
    /// One for each array, in the order of the data's way, then the score.
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
        let check = Self::run(bundle, engine)?;
        check.require(bundle)?;
        Ok(check)
    }

    /// Whether the engine agrees in everything.
    pub fn agrees(&self) -> bool {
        self.differences.iter().all(Difference::agrees)
    }

    /// An error unless everything agrees.
    fn require(&self, bundle: &Bundle) -> Result<(), BundleError> {
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
        let graphs = session.graph_shapes();
        let mut scorer = load_scorer(bundle, graphs)?;
        let expected = GoldenValues::read(bundle, graphs)?;
        let frame = golden_frame(bundle)?;
        let found = GoldenValues::compute(&frame, &mut session, scorer.as_mut())?;
        let [_, height, width] = bundle.manifest().preprocess.canvas_shape();
        let found = found.kept(&bundle.manifest().vae, graphs, [height, width]);
        let check = GoldenCheck {
            engine: session.description().to_owned(),
            differences: found.differences(&expected, &bundle.manifest().golden),
        };
        Ok(Self {
            session,
            scorer,
            check,
        })
    }

    /// [`Checked::run`], and an error unless everything agrees.
    pub(super) fn verified(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        let checked = Self::run(bundle, engine)?;
        checked.check.require(bundle)?;
        Ok(checked)
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
    fn large_planes_are_kept_on_a_grid() {
        let small = [3, 128, 128];
        assert_eq!(Grid::of(&small).shape(), small);
        assert_eq!(Grid::of(&[7]).values(&[1.0; 7]), [1.0; 7]);
        assert!(Grid::of(&[]).shape().is_empty());
        let long = [40_000];
        assert_eq!(Grid::of(&long).shape(), long);

        // 131 · 260 = 34,060 values: every second row and column.
        let shape = [2, 131, 260];
        let grid = Grid::of(&shape);
        assert_eq!(grid.shape(), [2, 66, 130]);
        let values: Vec<f32> = (0..2 * 131 * 260).map(|value| value as f32).collect();
        let kept = grid.values(&values);
        assert_eq!(kept.len(), 2 * 66 * 130);
        assert_eq!(kept[..2], [0.0, 2.0]);
        assert_eq!(kept[130], 2.0 * 260.0);
        assert_eq!(kept[66 * 130 + 1], (131 * 260 + 2) as f32);
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
