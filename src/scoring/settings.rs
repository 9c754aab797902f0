//! What a bundle says about scoring.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::model;

/// What a score map is made of; the higher its values, the more anomalous. Written as `residual`,
/// `likelihood`, `divergence`, or the name of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ScoreSource {
    /// The reconstruction's residual in units of the decoder's deviation: mean over channels of
    /// |x − r|/σ, `H×W`.
    Residual,
    /// The negative ELBO at the posterior mean, in nats, as a map `H×W` whose sum it is: each
    /// pixel's −log p(x|z), and the KL divergence of each latent position spread evenly over the
    /// pixels that it covers.
    Likelihood,
    /// KL divergence from the prior at each latent position, in nats, `h×w` (`1×1` where the
    /// latent is a vector).
    Divergence,
    /// The tensor of a graph that has this name, `1×h×w`.
    Tensor(Cow<'static, str>),
}

impl ScoreSource {
    /// The tensor of a graph.
    pub const fn tensor(name: &'static str) -> Self {
        Self::Tensor(Cow::Borrowed(name))
    }

    /// As in manifests.
    pub fn name(&self) -> &str {
        match self {
            Self::Residual => "residual",
            Self::Likelihood => "likelihood",
            Self::Divergence => "divergence",
            Self::Tensor(name) => name,
        }
    }

    /// Whether it is made of what a VAE makes.
    pub fn is_of_vae(&self) -> bool {
        !matches!(self, Self::Tensor(_))
    }

    /// The tensors whose graphs have to run for it.
    pub(crate) fn tensors(&self) -> Vec<&str> {
        match self {
            Self::Residual => vec![model::RECONSTRUCTION],
            Self::Likelihood => vec![model::MEAN, model::RECONSTRUCTION],
            Self::Divergence => vec![model::MEAN],
            Self::Tensor(name) => vec![name],
        }
    }
}

impl From<String> for ScoreSource {
    fn from(name: String) -> Self {
        [Self::Residual, Self::Likelihood, Self::Divergence]
            .into_iter()
            .find(|source| source.name() == name)
            .unwrap_or(Self::Tensor(Cow::Owned(name)))
    }
}

impl From<ScoreSource> for String {
    fn from(source: ScoreSource) -> Self {
        source.name().to_owned()
    }
}

impl fmt::Display for ScoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a frame's anomaly map and score are computed; the two may come from different sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scoring {
    /// From maps to one raw score.
    pub image: ImageScore,
    /// From maps to the anomaly map.
    pub map: MapScore,
    /// The sources that are computed for every frame.
    pub sources: Vec<SourceSettings>,
}

/// How a source's map is post-processed before anything is made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceSettings {
    /// What score, map, regions and JSON call it.
    pub name: String,
    /// What its map is made of.
    pub reads: ScoreSource,
    /// Standard deviation of a Gaussian smoothing, in tensor pixels; 0 for none.
    pub smoothing: f32,
    /// File of the bundle with mean μ and deviation s of the smoothed map at each position over
    /// normal frames: NPY, f32, `2×h×w` in the source's own resolution, of the whole canvas. The
    /// standardised map is z = (a − μ)/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<String>,
}

/// The raw score of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImageScore {
    /// The source whose map is aggregated in its own resolution; the maps of several are brought to
    /// the canvas's size and averaged first.
    pub sources: Vec<String>,
    /// Whether z is aggregated, not the map itself.
    pub standardised: bool,
    /// From the map to one score.
    pub aggregation: Aggregation,
}

/// The anomaly map of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MapScore {
    /// The sources whose maps, brought to the canvas's size, are averaged.
    pub sources: Vec<String>,
    /// Whether the z are averaged, not the maps themselves.
    pub standardised: bool,
    /// How they are averaged.
    #[serde(default, skip_serializing_if = "Mean::is_arithmetic")]
    pub mean: Mean,
    /// Standard deviation of a last Gaussian smoothing, in tensor pixels; 0 for none.
    pub smoothing: f32,
}

/// How the values of several sources at a pixel become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mean {
    /// Their sum, divided by their number.
    #[default]
    Arithmetic,
    /// The root of their product: for distances, of which no unit is the other's. Values below 10⁻⁶
    /// count as that; not for z.
    Geometric,
}

impl Mean {
    /// Smaller distances count as this one in a product.
    const LEAST_FACTOR: f32 = 1e-6;

    /// What a value adds to the arithmetic mean of terms that [`Self::of_terms`] takes; NaN stays
    /// NaN.
    pub fn term(self, value: f32) -> f32 {
        match self {
            Self::Arithmetic => value,
            Self::Geometric if value < Self::LEAST_FACTOR => Self::LEAST_FACTOR.ln(),
            Self::Geometric => value.ln(),
        }
    }

    /// The mean of values, from the arithmetic mean of their [terms](Self::term).
    pub fn of_terms(self, mean: f32) -> f32 {
        match self {
            Self::Arithmetic => mean,
            Self::Geometric => mean.exp(),
        }
    }

    /// Whether it is the usual one.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_arithmetic(&self) -> bool {
        *self == Self::Arithmetic
    }
}

impl Scoring {
    /// Map and score from one source, which is called `name`, standardised where `statistics`
    /// names a file.
    pub fn of_one(
        name: &str,
        reads: ScoreSource,
        smoothing: f32,
        statistics: Option<String>,
        aggregation: Aggregation,
    ) -> Self {
        let standardised = statistics.is_some();
        Self {
            image: ImageScore {
                sources: vec![name.to_owned()],
                standardised,
                aggregation,
            },
            map: MapScore {
                sources: vec![name.to_owned()],
                standardised,
                mean: Mean::Arithmetic,
                smoothing: 0.0,
            },
            sources: vec![SourceSettings {
                name: name.to_owned(),
                reads,
                smoothing,
                statistics,
            }],
        }
    }

    /// Whether the score is that of the highest-scoring places of the anomaly map itself, so that
    /// their scales agree.
    pub fn score_is_of_map(&self) -> bool {
        self.image.sources == self.map.sources
            && self.image.standardised == self.map.standardised
            && matches!(
                self.image.aggregation,
                Aggregation::Maximum | Aggregation::TopFraction { .. }
            )
    }

    /// Files of the sources' statistics.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|s| s.statistics.as_deref())
    }
}

/// How a map becomes one raw score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Aggregation {
    /// The largest value.
    Maximum,
    /// The mean of the largest values.
    TopFraction {
        /// Share of all pixels that the mask lets count, above 0 and at most 1; at least one pixel
        /// counts.
        fraction: f32,
    },
    /// The sum of all values: of the `likelihood` map, the negative ELBO in nats.
    Total,
}
