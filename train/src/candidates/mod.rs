//! What could score a frame: one list, in order of preference.
//!
//! Fitting, selection, calibration and export read [`CANDIDATES`], and nothing else says what there
//! is. `--score` is a filter on it. A new candidate is one entry, and its density or graph.

use anyhow::{Result, bail};
use edge_vae::{
    dataset::Split,
    model::RECONSTRUCTION,
    scoring::{Aggregation, ScoreSource},
};

use crate::{
    features::{
        self, FeatureDensity, Features, FitData, ModelPool,
        density::{DensityKind, FittedDensity, Prototypes},
    },
    options::Score,
};

mod list;

pub use list::CANDIDATES;

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

    /// Its place in the order of preference.
    pub fn rank(&self) -> usize {
        let place = CANDIDATES.iter().position(|candidate| candidate == self);
        place.unwrap_or(CANDIDATES.len())
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
        // A VAE over features is trained in proportion to the network.
        let is_trained = !self
            .density
            .is_some_and(|density| density.kind == DensityKind::Vae)
            || data.steps > 0;
        suits_layout
            && is_trained
            && match self.features() {
                Some(Features::Frame) => {
                    pool.has(Features::Frame) && Prototypes::suit(data.preprocess.shape())
                }
                Some(features) => pool.has(features),
                None if self.source == MapSource::HEAD => pool.makes(MapSource::HEAD.tensor()),
                None => pool.makes(RECONSTRUCTION),
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

/// Whether `--score` asks for a density over one of these features that is no VAE itself.
pub fn judge_without_vae(score: Score, features: &[Features], has_backbone: bool) -> bool {
    CANDIDATES.iter().any(|candidate| {
        let density = candidate.density;
        density.is_some_and(|d| d.kind != DensityKind::Vae && features.contains(&d.features))
            && !candidate.variants(score, has_backbone).is_empty()
    })
}

/// What `--score` asks for and model and frames have, but for what is `known` already, with
/// densities fitted to the training frames of each of `splits`.
///
/// # Errors
/// Nothing that is asked for; Ctrl-C, and what can't be fitted.
pub fn fit(
    score: Score,
    data: &FitData,
    splits: &[Split],
    pool: &ModelPool,
    known: &[&'static Candidate],
) -> Result<Vec<Vec<Member>>> {
    let suited = CANDIDATES.iter().filter(|c| c.suits(data, pool));
    let suited = suited.filter(|candidate| !known.contains(candidate));
    let considered = suited.map(|candidate| Member {
        candidate,
        variants: candidate.variants(score, pool.has_backbone()),
        density: None,
    });
    let considered = considered.filter(|member| !member.variants.is_empty());
    let fitted = fit_densities(&considered.collect::<Vec<_>>(), data, splits, pool)?;
    if known.is_empty() && fitted.iter().any(Vec::is_empty) {
        let hint = match pool.makes(RECONSTRUCTION) {
            true => "this model does not have it",
            false => "without a VAE a model does not have it",
        };
        bail!("--score {score}: {hint}");
    }
    Ok(fitted)
}

/// The same candidates with their densities fitted to the training frames of each of `splits`.
///
/// # Errors
/// Ctrl-C, and what can't be fitted.
pub fn fit_densities(
    members: &[Member],
    data: &FitData,
    splits: &[Split],
    pool: &ModelPool,
) -> Result<Vec<Vec<Member>>> {
    let densities = members.iter().filter_map(|member| member.candidate.density);
    let fitted = features::fit(&densities.collect::<Vec<_>>(), data, splits, pool)?;
    let of_split = |fitted: Vec<Option<FittedDensity>>| {
        let mut fitted = fitted.into_iter();
        let mut members = members.to_vec();
        for member in members.iter_mut().filter(|m| m.candidate.density.is_some()) {
            member.density = fitted.next().flatten();
        }
        members.retain(|m| m.candidate.density.is_none() == m.density.is_none());
        members
    };
    Ok(fitted.into_iter().map(of_split).collect())
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
    fn a_vae_over_features_needs_a_vae() {
        let patch = [Features::Patch, Features::Fine];
        assert!(judge_without_vae(Score::Auto, &patch, true));
        assert!(judge_without_vae(Score::FineFeatures, &patch, true));
        assert!(!judge_without_vae(Score::FeaturesVae, &patch, true));
        assert!(!judge_without_vae(Score::Residual, &patch, true));
        assert!(!judge_without_vae(Score::Auto, &[], false));
        assert!(judge_without_vae(Score::Auto, &[Features::Frame], false));
    }

    #[test]
    fn auto_fits_nothing_to_residuals_beside_a_backbone() {
        assert!(reads(Score::Auto, Features::Residual, false));
        assert!(!reads(Score::Auto, Features::Residual, true));
        assert!(reads(Score::ResidualZ, Features::Residual, true));
        assert!(!reads(Score::Likelihood, Features::Patch, true));
    }
}
