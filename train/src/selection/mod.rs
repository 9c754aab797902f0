//! Selection of image score, anomaly map and input size on synthetic defects in held-out normal
//! frames, never on real ones.

mod compare;
mod image;
mod input_size;
mod map;
mod maps;
mod params;
mod pictures;
mod proportions;
mod report;
mod scoring;
mod splits;
mod statistics;
mod time;
mod validation;

use anyhow::Result;
use edge_vae::scoring::{ImageScore, MapScore};

pub use compare::{ScoreComparison, compare, real_samples};
pub use image::{ImageRow, Separation};
pub use input_size::{INPUT_SIZE, InputSizeParams, select_input_size};
pub use map::{MapRow, PixelMetrics};
pub use maps::{CandidateMaps, SampleMaps};
pub use params::SelectionParams;
pub use pictures::InputSize;
pub use report::report;
pub use scoring::{SelectedScoring, scoring, statistics_file};
pub use splits::cross_validation;
pub use statistics::MapStatistics;
pub use time::seconds;
pub use validation::{
    Label, SyntheticSample, make as validation_set, make_defects, make_normal,
    most_bytes as validation_bytes,
};

use crate::candidates::Candidate;

/// What was selected, and from what.
#[derive(Debug)]
pub struct Selection {
    /// The candidate whose map becomes the score.
    pub image_candidate: &'static Candidate,
    /// How the map becomes the score.
    pub image: ImageScore,
    /// The candidates whose maps become the anomaly map.
    pub map_candidates: Vec<&'static Candidate>,
    /// How.
    pub map: MapScore,
    /// Smoothing of each candidate's map, in tensor pixels.
    pub smoothings: Vec<(&'static Candidate, f32)>,
    /// How well each image score separates, the best first.
    pub images: Vec<ImageRow>,
    /// How well each map shows where defects are, the best first.
    pub maps: Vec<MapRow>,
}

impl Selection {
    /// Whether score or map need `candidate`.
    pub fn uses(&self, candidate: &Candidate) -> bool {
        *self.image_candidate == *candidate || self.map_uses(candidate)
    }

    /// Whether the map needs `candidate`.
    pub fn map_uses(&self, candidate: &Candidate) -> bool {
        self.map_candidates.iter().any(|used| **used == *candidate)
    }

    /// Whether score and map are made as by `other`.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let made = |of: &Self| (of.image.clone(), of.map.clone());
        let candidates = |of: &Self| {
            let all = [of.image_candidate].into_iter();
            all.chain(of.map_candidates.iter().copied())
                .map(|candidate| (candidate.rank(), of.smoothing(candidate).to_bits()))
                .collect::<Vec<_>>()
        };
        made(self) == made(other) && candidates(self) == candidates(other)
    }

    /// Smoothing of a candidate's map, in tensor pixels.
    pub fn smoothing(&self, candidate: &Candidate) -> f32 {
        let mut smoothings = self.smoothings.iter();
        let found = smoothings.find(|(of, _)| **of == *candidate);
        found.map_or(0.0, |(_, smoothing)| *smoothing)
    }
}

/// What maps are compared on.
#[derive(Clone, Copy, Debug)]
pub struct Canvas<'a> {
    /// Its rows and columns.
    pub size: [usize; 2],
    /// Its pixels that count, where not all do.
    pub valid: Option<&'a [bool]>,
    /// [`equivalent_side`](crate::data::equivalent_side) of a tensor, in pixels.
    pub side: f32,
}

/// The maps of the candidates of one split.
#[derive(Debug)]
pub struct Fold {
    /// Of each candidate, over the training frames.
    pub statistics: Vec<MapStatistics>,
    /// Of the synthetic validation set.
    pub samples: Vec<SampleMaps>,
}

impl Fold {
    /// The candidates, in their order.
    pub fn candidates(&self) -> impl Iterator<Item = &'static Candidate> {
        self.statistics.iter().map(|of| of.candidate)
    }

    /// With the other candidates of `more` of the same split, in the order of preference.
    pub fn with(self, more: Self) -> Self {
        let candidates = self.candidates().chain(more.candidates());
        let ranks: Vec<usize> = candidates.map(Candidate::rank).collect();
        let samples = self.samples.into_iter().zip(more.samples);
        Self {
            statistics: ranked(&ranks, self.statistics, more.statistics),
            samples: samples
                .map(|(own, more)| SampleMaps {
                    maps: ranked(&ranks, own.maps, more.maps),
                    label: own.label,
                })
                .collect(),
        }
    }
}

/// The values of some candidates and of `more` of them, in the order of the candidates' `ranks`.
fn ranked<T>(ranks: &[usize], some: Vec<T>, more: Vec<T>) -> Vec<T> {
    let mut values: Vec<(&usize, T)> = ranks.iter().zip(some.into_iter().chain(more)).collect();
    values.sort_by_key(|(rank, _)| *rank);
    values.into_iter().map(|(_, value)| value).collect()
}

/// Selects image score and anomaly map among candidates, which are the same in all of `folds`;
/// `all_maps` says whether maps of other candidates than the score's are considered.
///
/// # Errors
/// No candidate; maps that are not finite.
pub fn select(
    folds: &[Fold],
    canvas: Canvas,
    all_maps: bool,
    params: &SelectionParams,
) -> Result<Selection> {
    let statistics = candidates_of(folds);
    let (images, chosen) = image::select(folds, params)?;
    let smoothings = image::smoothings(statistics, &images, chosen);
    let image = &images[chosen];
    let image_candidate = statistics[image.candidate].candidate;
    let score = ImageScore {
        sources: vec![image_candidate.source.name.to_owned()],
        standardised: image.standardised,
        aggregation: image.aggregation,
    };
    let compared = map::Compared {
        folds,
        smoothings: &smoothings,
        canvas,
        params,
    };
    let (maps, map) = compared.select(image, all_maps)?;
    let map_candidates = map.members.iter().map(|&m| statistics[m].candidate);
    let each = statistics.iter().zip(&smoothings);
    Ok(Selection {
        image_candidate,
        image: score,
        map_candidates: map_candidates.collect(),
        map: map.score,
        smoothings: each
            .map(|(s, &smoothing)| (s.candidate, smoothing))
            .collect(),
        images: image::sorted(images),
        maps,
    })
}

/// What is the same in all of them: names, shapes and smoothings of the candidates.
fn candidates_of(folds: &[Fold]) -> &[MapStatistics] {
    folds.first().map_or(&[], |fold| &fold.statistics)
}

#[cfg(test)]
mod tests;
