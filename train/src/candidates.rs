//! What could score a frame: one list, in order of preference.
//!
//! Fitting, selection, calibration and export read [`CANDIDATES`], and nothing else says what there
//! is. `--score` is a filter on it. A new candidate is one entry, and its density or graph.

use anyhow::{Result, bail};
use edge_vae::scoring::{Aggregation, ScoreSource};

use crate::{
    features::{
        self, FeatureDensity, Features, FitData, ModelPool, SamplingParams,
        density::{DensityKind, Directions, FittedDensity, Prototypes},
    },
    options::Score,
};

/// What a bundle calls a score map, and what its detector reads it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSource {
    /// In manifest, JSON and file names.
    pub name: &'static str,
    /// `residual`, `likelihood`, `divergence`, or the tensor of a graph.
    reads: &'static str,
}

impl MapSource {
    /// Of patch features.
    pub const FEATURES: Self = Self::new("features", "distance");
    /// Of fine-scale features.
    pub const FINE_FEATURES: Self = Self::new("fine-features", "fine_distance");
    /// Of features of the reconstruction's residual.
    pub const RESIDUAL_FEATURES: Self = Self::new("residual-features", "residual_distance");
    /// Of the head that was trained on synthetic defects.
    pub const HEAD: Self = Self::new("head", "head_logits");
    /// Of the reconstruction.
    pub const RESIDUAL: Self = Self::new("residual", "residual");
    /// Of the model: the negative ELBO.
    pub const LIKELIHOOD: Self = Self::new("likelihood", "likelihood");
    /// Of the posterior.
    pub const LATENT: Self = Self::new("latent", "divergence");

    const fn new(name: &'static str, reads: &'static str) -> Self {
        Self { name, reads }
    }

    /// As a bundle's scoring has it.
    pub fn reads(self) -> ScoreSource {
        String::from(self.reads).into()
    }

    /// The tensor that its graph makes.
    pub fn tensor(self) -> &'static str {
        self.reads
    }
}

/// A score map, and the image scores that are made of it.
#[derive(Debug)]
pub struct Candidate {
    /// For people; no two have one name.
    pub name: &'static str,
    /// What the bundle calls its map.
    pub source: MapSource,
    /// The density whose distances the map has; none where the model's graphs make the map.
    pub density: Option<FeatureDensity>,
    /// Whether it is for frames that are one tensor each.
    pub of_whole_frames: bool,
    /// Whether it is for frames that are cut into tiles. A cell of a tile is no place of the part,
    /// so that only densities that all cells share are.
    pub of_tiles: bool,
    /// Whether `--score auto` considers it beside a pretrained backbone. What takes long to fit and
    /// finds less than the backbone's features is not.
    pub beside_backbone: bool,
    /// Smoothings of the map, the preferred first: standard deviations as shares of the tensor's
    /// equivalent side.
    pub smoothings: &'static [f32],
    /// Image scores, the preferred first.
    pub variants: &'static [Variant],
}

/// An image score of a map.
#[derive(Debug)]
pub struct Variant {
    /// What `--score` calls it.
    pub score: Score,
    /// Whether `--score auto` considers it too.
    pub auto: bool,
    /// Whether the map is standardised at each place first.
    pub standardised: bool,
    /// From map to score, the preferred first.
    pub aggregations: &'static [Aggregation],
}

/// A considered candidate and its fitted density.
#[derive(Clone, Debug)]
pub struct Member {
    /// The candidate.
    pub candidate: &'static Candidate,
    /// Those of its variants that are considered.
    pub variants: Vec<&'static Variant>,
    /// The density, where it has one.
    pub density: Option<FittedDensity>,
}

/// Means of the largest values of a map: between its maximum, which noise decides, and a mean over
/// so much that small defects vanish in it.
const LARGEST: &[Aggregation] = &[
    Aggregation::TopFraction { fraction: 0.005 },
    Aggregation::TopFraction { fraction: 0.02 },
    Aggregation::Maximum,
    Aggregation::TopFraction { fraction: 0.05 },
    Aggregation::TopFraction { fraction: 0.002 },
];

/// What the field means by likelihood and divergence of a frame.
const SUM: &[Aggregation] = &[Aggregation::Total];

/// Of maps that are as fine as the tensor.
const OF_PIXELS: &[f32] = &[1.0 / 64.0, 1.0 / 128.0, 1.0 / 32.0];

/// Of maps whose values are of a neighbourhood already.
const NONE: &[f32] = &[0.0];

/// An image score of the largest values.
const fn largest(score: Score, standardised: bool) -> Variant {
    Variant {
        score,
        auto: true,
        standardised,
        aggregations: LARGEST,
    }
}

const FEATURES: &[Variant] = &[
    largest(Score::Features, false),
    largest(Score::Features, true),
];
const FEATURES_VAE: &[Variant] = &[
    largest(Score::FeaturesVae, false),
    largest(Score::FeaturesVae, true),
];
const FINE_FEATURES: &[Variant] = &[
    largest(Score::FineFeatures, false),
    largest(Score::FineFeatures, true),
];
const RESIDUAL_FEATURES: &[Variant] = &[
    largest(Score::ResidualZ, false),
    largest(Score::ResidualZ, true),
];

/// What the entries have unless they say otherwise.
const USUAL: Candidate = Candidate {
    name: "",
    source: MapSource::FEATURES,
    density: None,
    of_whole_frames: true,
    of_tiles: false,
    beside_backbone: true,
    smoothings: NONE,
    variants: FEATURES,
};

const fn over(
    features: Features,
    kind: DensityKind,
    sampling: &'static SamplingParams,
) -> Option<FeatureDensity> {
    Some(FeatureDensity {
        features,
        kind,
        sampling,
    })
}

const MIXTURE: DensityKind = DensityKind::Mixture(Directions::All);

/// A density over patch features.
const fn patch(name: &'static str, kind: DensityKind) -> Candidate {
    Candidate {
        name,
        density: over(Features::Patch, kind, &SamplingParams::PATCH),
        ..USUAL
    }
}

/// A density over fine-scale features.
const fn fine(name: &'static str, kind: DensityKind) -> Candidate {
    Candidate {
        name,
        source: MapSource::FINE_FEATURES,
        density: over(Features::Fine, kind, &SamplingParams::FINE),
        variants: FINE_FEATURES,
        ..USUAL
    }
}

/// Prototypes of whole frames.
const fn prototypes(name: &'static str, smoothing: f32) -> Candidate {
    let kind = DensityKind::Prototypes { smoothing };
    Candidate {
        name,
        density: over(Features::Frame, kind, &SamplingParams::PATCH),
        ..USUAL
    }
}

/// All candidates, the preferred first: of two that separate alike the earlier is taken. Before
/// what needs the decoder comes what does without. Before what looks anywhere comes what looks in
/// place: a part that is missing or lies elsewhere is among real defects and not among synthetic
/// ones.
pub static CANDIDATES: [Candidate; 21] = [
    patch(
        "patch features, per-location Gaussian",
        DensityKind::PerLocation(Directions::All),
    ),
    patch(
        "patch features, per-location Gaussian, leading components",
        DensityKind::PerLocation(Directions::Leading),
    ),
    patch(
        "patch features, per-location Gaussian, least-varying components",
        DensityKind::PerLocation(Directions::LeastVarying),
    ),
    patch(
        "patch features, local-neighbourhood minimum",
        DensityKind::LocalNeighbourhood(Directions::All),
    ),
    patch(
        "patch features, local-neighbourhood minimum, leading components",
        DensityKind::LocalNeighbourhood(Directions::Leading),
    ),
    patch(
        "patch features, local-neighbourhood minimum, least-varying components",
        DensityKind::LocalNeighbourhood(Directions::LeastVarying),
    ),
    fine(
        "fine-scale features, per-location Gaussian",
        DensityKind::PerLocation(Directions::All),
    ),
    fine(
        "fine-scale features, per-location Gaussian, least-varying components",
        DensityKind::PerLocation(Directions::LeastVarying),
    ),
    Candidate {
        of_tiles: true,
        ..patch("patch features, global mixture", MIXTURE)
    },
    Candidate {
        of_tiles: true,
        ..patch(
            "patch features, global mixture, least-varying components",
            DensityKind::Mixture(Directions::LeastVarying),
        )
    },
    Candidate {
        variants: FEATURES_VAE,
        ..patch("patch features, VAE", DensityKind::Vae)
    },
    Candidate {
        name: "patch features, global mixture, full rotation",
        density: over(Features::Patch, MIXTURE, &SamplingParams::ROTATED),
        of_tiles: true,
        ..USUAL
    },
    Candidate {
        of_tiles: true,
        ..fine("fine-scale features, global mixture", MIXTURE)
    },
    prototypes("prototypes of smoothed frames", 1.0 / 28.0),
    prototypes("prototypes of frames", 0.0),
    Candidate {
        name: "residual features, per-location Gaussian",
        source: MapSource::RESIDUAL_FEATURES,
        density: over(
            Features::Residual,
            DensityKind::PerLocation(Directions::All),
            &SamplingParams::RESIDUAL,
        ),
        beside_backbone: false,
        variants: RESIDUAL_FEATURES,
        ..USUAL
    },
    Candidate {
        name: "residual features, global mixture",
        source: MapSource::RESIDUAL_FEATURES,
        density: over(Features::Residual, MIXTURE, &SamplingParams::RESIDUAL),
        of_whole_frames: false,
        of_tiles: true,
        beside_backbone: false,
        variants: RESIDUAL_FEATURES,
        ..USUAL
    },
    Candidate {
        name: "head",
        source: MapSource::HEAD,
        of_tiles: true,
        smoothings: &[0.0, 1.0 / 64.0],
        variants: &[largest(Score::Head, false), largest(Score::Head, true)],
        ..USUAL
    },
    Candidate {
        name: "residual",
        source: MapSource::RESIDUAL,
        of_tiles: true,
        smoothings: OF_PIXELS,
        variants: &[
            // How large a residual is depends on the place more than on what is wrong.
            Variant {
                auto: false,
                ..largest(Score::Residual, false)
            },
            largest(Score::ResidualZ, true),
        ],
        ..USUAL
    },
    Candidate {
        name: "likelihood",
        source: MapSource::LIKELIHOOD,
        of_tiles: true,
        smoothings: OF_PIXELS,
        variants: &[
            Variant {
                aggregations: SUM,
                ..largest(Score::Likelihood, false)
            },
            largest(Score::LikelihoodZ, true),
        ],
        ..USUAL
    },
    Candidate {
        name: "latent divergence",
        source: MapSource::LATENT,
        of_tiles: true,
        variants: &[Variant {
            aggregations: SUM,
            ..largest(Score::Latent, false)
        }],
        ..USUAL
    },
];

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Variant {
    fn is_asked_for(&self, score: Score) -> bool {
        match score {
            Score::Auto => self.auto,
            named => self.score == named,
        }
    }
}

impl Candidate {
    /// Those of its variants that `--score` asks for.
    fn variants(&'static self, score: Score, has_backbone: bool) -> Vec<&'static Variant> {
        if score == Score::Auto && has_backbone && !self.beside_backbone {
            return Vec::new();
        }
        let variants = self.variants.iter();
        variants.filter(|v| v.is_asked_for(score)).collect()
    }

    /// The features that its density is over.
    pub fn features(&self) -> Option<Features> {
        self.density.map(|density| density.features)
    }

    /// Whether its map has Mahalanobis distances, which have no unit and can be multiplied.
    pub fn is_distance(&self) -> bool {
        self.density
            .is_some_and(|density| density.kind.is_gaussian())
    }

    /// Whether a pretrained backbone makes what it reads, so that no network that was trained on
    /// these frames has to run for it.
    pub fn is_of_backbone(&self, has_backbone: bool) -> bool {
        has_backbone && matches!(self.features(), Some(Features::Patch | Features::Fine))
    }

    /// The file of a bundle with the graph of its density.
    pub fn graph_file(&self) -> String {
        graph_file(self.source)
    }

    /// Whether `data` and what `pool` computes have what it reads.
    fn suits(&self, data: &FitData, pool: &ModelPool) -> bool {
        let suits_layout = match data.tiles() {
            1 => self.of_whole_frames,
            _ => self.of_tiles,
        };
        suits_layout
            && match self.features() {
                Some(Features::Frame) => {
                    pool.has(Features::Frame) && Prototypes::suit(data.preprocess.shape())
                }
                Some(features) => pool.has(features),
                None => {
                    self.source != MapSource::HEAD
                        || pool.shapes().get(MapSource::HEAD.tensor()).is_some()
                }
            }
    }
}

/// The file of a bundle with the graph that makes a source's map.
pub fn graph_file(source: MapSource) -> String {
    format!("{}.onnx", source.name)
}

/// Whether `file` is the graph of a density over a pretrained backbone's features, where there is a
/// backbone.
pub fn is_of_patches(file: &str) -> bool {
    let mut candidates = CANDIDATES.iter().filter(|c| c.is_of_backbone(true));
    candidates.any(|candidate| candidate.graph_file() == file)
}

/// Whether `--score` asks for anything over these features.
pub fn reads(score: Score, features: Features, has_backbone: bool) -> bool {
    CANDIDATES.iter().any(|candidate| {
        candidate.features() == Some(features)
            && !candidate.variants(score, has_backbone).is_empty()
    })
}

/// What `--score` asks for and model and frames have, with densities fitted to the training frames.
///
/// # Errors
/// Nothing that is asked for; Ctrl-C, and what can't be fitted.
pub fn fit(score: Score, data: &FitData, pool: &ModelPool) -> Result<Vec<Member>> {
    let suited = CANDIDATES.iter().filter(|c| c.suits(data, pool));
    let considered = suited.map(|candidate| Member {
        candidate,
        variants: candidate.variants(score, pool.has_backbone()),
        density: None,
    });
    let considered = considered.filter(|member| !member.variants.is_empty());
    let members = fit_densities(considered.collect(), data, pool)?;
    if members.is_empty() {
        bail!("--score {score}: this model does not have it");
    }
    Ok(members)
}

/// The same candidates with their densities fitted to the training frames of `data`.
///
/// # Errors
/// Ctrl-C, and what can't be fitted.
pub fn fit_densities(
    mut members: Vec<Member>,
    data: &FitData,
    pool: &ModelPool,
) -> Result<Vec<Member>> {
    let densities = members.iter().filter_map(|member| member.candidate.density);
    let mut fitted = features::fit(&densities.collect::<Vec<_>>(), data, pool)?.into_iter();
    for member in members.iter_mut().filter(|m| m.candidate.density.is_some()) {
        member.density = fitted.next().flatten();
    }
    members.retain(|member| member.candidate.density.is_none() == member.density.is_none());
    Ok(members)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_score_has_candidates_and_every_candidate_a_name() {
        for score in Score::value_variants() {
            let asked = |c: &'static Candidate| !c.variants(*score, false).is_empty();
            assert!(CANDIDATES.iter().any(asked), "{score}");
        }
        let names: BTreeSet<&str> = CANDIDATES.iter().map(|candidate| candidate.name).collect();
        assert_eq!(names.len(), CANDIDATES.len());
    }

    #[test]
    fn auto_fits_nothing_to_residuals_beside_a_backbone() {
        assert!(reads(Score::Auto, Features::Residual, false));
        assert!(!reads(Score::Auto, Features::Residual, true));
        assert!(reads(Score::ResidualZ, Features::Residual, true));
        assert!(!reads(Score::Likelihood, Features::Patch, true));
    }
}
