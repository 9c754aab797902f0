//! The image score: which candidate separates synthetic anomalies from normal frames best.

use anyhow::{Context as _, Result};
use edge_vae::{
    metrics::{auroc, partial_auroc},
    scoring::Aggregation,
};
use rayon::prelude::*;
use serde::Serialize;

use super::{Fold, Label, MapStatistics, SampleMaps, SelectionParams, candidates_of};
use crate::candidates::Variant;

/// The best of an image score's smoothings and aggregations, and how well it separates.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRow {
    /// For people.
    pub name: String,
    /// Place of the candidate.
    pub(super) candidate: usize,
    /// Smoothing of its map, in tensor pixels.
    pub(super) smoothing: f32,
    /// Whether its map is standardised.
    pub(super) standardised: bool,
    /// From map to score.
    pub(super) aggregation: Aggregation,
    /// Of all anomalies.
    pub all: Separation,
    /// Of defects.
    pub defects: Separation,
    /// Of changes of the whole shape, where there are such.
    pub shapes: Option<Separation>,
    /// What is taken off the separation of defects.
    pub penalty: f64,
    /// Whether it was selected.
    pub selected: bool,
}

/// How well a score separates anomalous frames from normal ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Separation {
    /// AUROC, 0–1.
    pub auroc: f64,
    /// The same up to the false-positive rate that counts ([`partial_auroc`]).
    pub partial: f64,
}

impl Separation {
    /// What scores are selected by.
    pub(super) fn mean(self) -> f64 {
        0.5 * (self.auroc + self.partial)
    }

    /// Of the scores of some `normal` and `anomalous` frames; that of chance where there are none.
    fn of(normal: &[f64], anomalous: &[f64], params: &SelectionParams) -> Self {
        let partial = partial_auroc(normal, anomalous, params.false_positives);
        Self {
            auroc: auroc(normal, anomalous).unwrap_or(0.5),
            partial: partial.unwrap_or(0.5),
        }
    }
}

/// All image scores in the order of preference, and the place of the selected one.
///
/// Where the synthetic validation set has changes of the whole shape, only those within a tie of
/// the best on these are considered: another thing is worse than a flaw. Among them defects decide,
/// less the penalty for what was trained on such defects.
pub(super) fn select(folds: &[Fold], params: &SelectionParams) -> Result<(Vec<ImageRow>, usize)> {
    let variants = candidates_of(folds)
        .iter()
        .enumerate()
        .flat_map(|(place, of)| {
            let variants = of.variants.iter();
            variants.map(move |&variant| (place, variant))
        });
    let variants: Vec<(usize, &Variant)> = variants.collect();
    let rows = variants.into_par_iter().map(|(place, variant)| {
        let of = Scores {
            folds,
            place,
            params,
        };
        of.best(variant)
    });
    let mut rows = rows.collect::<Result<Vec<ImageRow>>>()?;
    let selected = preferred(&rows, params).context("no score to select from")?;
    rows[selected].selected = true;
    Ok((rows, selected))
}

/// The place of the row that is selected.
pub(super) fn preferred(rows: &[ImageRow], params: &SelectionParams) -> Option<usize> {
    let mut places: Vec<usize> = (0..rows.len()).collect();
    let shapes = |row: &ImageRow| row.shapes.map_or(0.0, Separation::mean);
    let defects = |row: &ImageRow| row.defects.mean() - row.penalty;
    let measures: [&dyn Fn(&ImageRow) -> f64; 2] = [&shapes, &defects];
    for measure in measures {
        let values: Vec<f64> = places.iter().map(|&place| measure(&rows[place])).collect();
        let kept = params.within_tie(&values);
        places = kept.into_iter().map(|kept| places[kept]).collect();
    }
    places.first().copied()
}

/// Smoothing of each candidate's map: that of the selected score, of others that of their first.
pub(super) fn smoothings(
    statistics: &[MapStatistics],
    rows: &[ImageRow],
    selected: usize,
) -> Vec<f32> {
    let of = |(place, statistics): (usize, &MapStatistics)| {
        let selected = [&rows[selected]];
        let mut own = selected
            .into_iter()
            .chain(rows)
            .filter(|r| r.candidate == place);
        own.next()
            .map_or(statistics.smoothings[0], |row| row.smoothing)
    };
    statistics.iter().enumerate().map(of).collect()
}

/// The best first.
pub(super) fn sorted(mut rows: Vec<ImageRow>) -> Vec<ImageRow> {
    rows.sort_by(|a, b| b.all.mean().total_cmp(&a.all.mean()));
    rows
}

/// A candidate's image scores of the samples.
struct Scores<'a> {
    folds: &'a [Fold],
    /// Of the candidate.
    place: usize,
    params: &'a SelectionParams,
}

impl Scores<'_> {
    fn candidate(&self) -> &MapStatistics {
        &candidates_of(self.folds)[self.place]
    }

    fn samples(&self) -> impl Iterator<Item = &SampleMaps> + Clone {
        self.folds.iter().flat_map(|fold| &fold.samples)
    }

    /// The first of a variant's smoothings and aggregations that are within a tie of the best.
    fn best(&self, variant: &Variant) -> Result<ImageRow> {
        let aggregations = match self.candidate().is_one_cell() {
            // Of a single cell all are the same.
            true => &[Aggregation::Maximum],
            false => variant.aggregations,
        };
        let mut tried = Vec::new();
        for &smoothing in &self.candidate().smoothings {
            let scores = self.scores(smoothing, variant.standardised, aggregations)?;
            let of_smoothing = scores.into_iter().zip(aggregations);
            tried.extend(of_smoothing.map(|(scores, &aggregation)| {
                let all = self.separation(&scores, Label::is_anomalous);
                (all, smoothing, aggregation, scores)
            }));
        }
        let separations: Vec<f64> = tried.iter().map(|(all, ..)| all.mean()).collect();
        let first = self.params.within_tie(&separations).first().copied();
        let first = first.context("a score without smoothings or aggregations")?;
        let (all, smoothing, aggregation, scores) = tried.swap_remove(first);
        let has_shapes = self.samples().any(|sample| sample.label.is_shape());
        Ok(ImageRow {
            name: self.describe(variant.standardised, smoothing, aggregation),
            candidate: self.place,
            smoothing,
            standardised: variant.standardised,
            aggregation,
            all,
            defects: self.separation(&scores, Label::is_defect),
            shapes: has_shapes.then(|| self.separation(&scores, Label::is_shape)),
            penalty: match self.candidate().trained_on_defects {
                true => self.params.synthetic_training_penalty,
                false => 0.0,
            },
            selected: false,
        })
    }

    /// The scores of all samples by each of `aggregations`.
    fn scores(
        &self,
        smoothing: f32,
        standardised: bool,
        aggregations: &[Aggregation],
    ) -> Result<Vec<Vec<f64>>> {
        let mut scores = vec![Vec::new(); aggregations.len()];
        for fold in self.folds {
            let statistics = &fold.statistics[self.place];
            let mut post = statistics.post_processing(smoothing, standardised)?;
            for sample in &fold.samples {
                let map = statistics.valid(post.apply(&sample.maps[self.place])?);
                for (scores, aggregation) in scores.iter_mut().zip(aggregations) {
                    scores.push(aggregation.score(&mut map.clone())?);
                }
            }
        }
        Ok(scores)
    }

    /// Of the anomalous samples that are `wanted` from the normal ones.
    fn separation(&self, scores: &[f64], wanted: fn(&Label) -> bool) -> Separation {
        let labels = self.samples().map(|sample| &sample.label);
        separation(scores, labels, wanted, self.params)
    }

    fn describe(&self, standardised: bool, smoothing: f32, aggregation: Aggregation) -> String {
        let mut name = self.candidate().candidate.name.to_owned();
        if standardised {
            name += ", standardised";
        }
        if smoothing > 0.0 {
            name += &format!(", smoothed {smoothing}");
        }
        name + &match aggregation {
            Aggregation::Maximum => ", maximum".to_owned(),
            Aggregation::Total => ", sum".to_owned(),
            Aggregation::TopFraction { fraction } => format!(", top {} %", 100.0 * fraction),
        }
    }
}

/// Of the anomalous samples that are `wanted` from the normal ones, by their `labels`.
pub(super) fn separation<'a>(
    scores: &[f64],
    labels: impl Iterator<Item = &'a Label> + Clone,
    wanted: fn(&Label) -> bool,
    params: &SelectionParams,
) -> Separation {
    let of = |is: &dyn Fn(&Label) -> bool| -> Vec<f64> {
        let pairs = scores.iter().zip(labels.clone());
        pairs
            .filter(|(_, l)| is(l))
            .map(|(&score, _)| score)
            .collect()
    };
    Separation::of(&of(&|label| !label.is_anomalous()), &of(&wanted), params)
}

/// The image scores `rows` of the samples of `folds`, for each row.
pub(super) fn scores(
    rows: &[ImageRow],
    folds: &[Fold],
    params: &SelectionParams,
) -> Result<Vec<Vec<f64>>> {
    let each = rows.par_iter().map(|row| {
        let of = Scores {
            folds,
            place: row.candidate,
            params,
        };
        let scores = of.scores(row.smoothing, row.standardised, &[row.aggregation])?;
        let first = scores.into_iter().next();
        first.context("a score without an aggregation")
    });
    each.collect()
}
