//! Which evidence becomes the score, and which the map: chosen on synthetic defects in held-out
//! normal frames, never on real ones.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use edge_vae::{
    image::GaussianSmoothing,
    metrics::{PixelScores, auroc},
    model::FeatureExtractorSettings,
    scoring::{Aggregation, ImageScore, MapScore, Mean, ScoreSource, Scoring, SourceSettings},
};
use ndarray::{Array2, Array3};
use rayon::prelude::*;

use super::{gather::Gathered, trials::Truth};
use crate::{features::Kind, options::Score};

/// A better map has to be better by this much (AUROC, or its mean with AUPRO) than one that comes before it in
/// the order of preference, and so has a score by changes of the whole shape: synthetic validation ranks them no finer.
const TIE: f64 = 0.01;

/// The same of scores: a third of what the best lacks, from [`TIE`] to this. Where all find nearly
/// everything, differences are sharper.
const WIDEST_TIE: f64 = 0.02;

/// What is taken off the AUROC of defects, or of their pixels, of a score whose network was trained on
/// defects of these very kinds: it knows them better than real ones, and another network knows
/// neither. A map that is the mean of two such scores, one of them practised, loses half as much.
const PRACTICE: f64 = 0.05;

/// What is taken off a map that encoder and decoder have to run for, where the score does without: each
/// frame takes twice as long.
const LONGER: f64 = 0.02;

/// From this AUROC of changes of the whole shape on normal frames have a shape, which a frame must
/// have before it can be flawless.
const SHAPED: f64 = 0.8;

/// Least share of such changes that could be seen, against the defects: a surface looks the same
/// turned and joined.
const LEAST_SHAPES: f64 = 1.0 / 3.0;

/// The same among smoothings and aggregations of one source.
const FINE_TIE: f64 = 0.004;

/// Aggregations that are tried, the preferred first.
const AGGREGATIONS: [Aggregation; 5] = [
    Aggregation::TopFraction { fraction: 0.005 },
    Aggregation::TopFraction { fraction: 0.02 },
    Aggregation::Maximum,
    Aggregation::TopFraction { fraction: 0.05 },
    Aggregation::TopFraction { fraction: 0.002 },
];

/// Final smoothings of the anomaly map that are tried, as shares of the tensor's shorter side.
const MAP_SMOOTHINGS: [f32; 3] = [0.0, 1.0 / 64.0, 1.0 / 32.0];

/// Side of the blocks of pixels that are looked at where maps are compared.
const PIXEL_STRIDE: usize = 3;

/// One frame of synthetic validation.
#[derive(Debug)]
pub(super) struct Trial {
    /// The map of each field, as [`Gathered::fields`] lists them, neither smoothed nor
    /// standardised.
    pub maps: Vec<Vec<f32>>,
    /// What is wrong with it.
    pub truth: Truth,
}

/// What was chosen, and what it was chosen from.
#[derive(Debug)]
pub(super) struct Choice {
    /// Field whose map becomes the score.
    pub image_field: usize,
    /// How the map becomes the score.
    pub image: ImageScore,
    /// Fields whose maps become the anomaly map.
    pub map_fields: Vec<usize>,
    /// How.
    pub map: MapScore,
    /// Smoothing of each field, in tensor pixels.
    pub smoothings: Vec<f32>,
    /// AUROC of synthetic defects of the best of each score, best first.
    pub table: Vec<Row>,
    /// How well each map showed where synthetic defects were, the best first.
    pub maps: Vec<MapRow>,
}

/// How well a map showed where synthetic defects were.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MapRow {
    /// Its sources.
    pub name: String,
    /// Of the defects' pixels.
    pub figures: PixelFigures,
    /// Whether it is the chosen one.
    pub chosen: bool,
}

/// How well a map tells the pixels of synthetic defects, 0–1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PixelFigures {
    /// AUROC of all pixels: large defects decide.
    pub auroc: f64,
    /// AUPRO up to a false-positive rate of 30 %: small defects count as much as large ones.
    pub aupro: f64,
}

impl PixelFigures {
    /// What maps are chosen by.
    fn mean(self) -> f64 {
        0.5 * (self.auroc + self.aupro)
    }
}

/// How well a score told synthetic defects from normal frames.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The score, with what was chosen of it.
    pub name: String,
    /// Its AUROC, 0–1.
    pub auroc: f64,
    /// That of defects, and of changes of the whole shape, where there are such.
    pub parts: Option<[f64; 2]>,
    /// Whether it is the chosen one.
    pub chosen: bool,
}

/// The best of one score's candidates.
struct Best {
    field: usize,
    smoothing: usize,
    standardised: bool,
    aggregation: Aggregation,
    auroc: f64,
    /// AUROC of defects alone.
    of_defects: f64,
    /// AUROC of changes of the whole shape, where there are such.
    of_shapes: Option<f64>,
    /// Whether its network was trained on synthetic defects.
    practised: bool,
    /// What it is made of.
    source: ScoreSource,
    /// Where Gaussians look for what a cell should be, if it is of Gaussians.
    gaussians: Option<Kind>,
}

impl Best {
    /// AUROC of defects as it counts against that of other scores.
    fn of_unseen_defects(&self) -> f64 {
        let practice = if self.practised { PRACTICE } else { 0.0 };
        self.of_defects - practice
    }
}

/// Chooses score and map for `wanted`.
///
/// # Errors
/// A score that the model does not have; maps that are not finite.
pub(super) fn choose(wanted: Score, gathered: &Gathered, trials: &[Trial]) -> Result<Choice> {
    let fields = gathered.fields.iter().enumerate();
    let candidates: Vec<(usize, bool)> = fields
        .flat_map(|(place, field)| {
            let both = standardisations(wanted, field.source);
            both.into_iter()
                .map(move |standardised| (place, standardised))
        })
        .collect();
    let bests = candidates
        .into_par_iter()
        .map(|(place, standardised)| best_of(wanted, gathered, place, standardised, trials))
        .collect::<Result<Vec<Best>>>()?;
    let Some(chosen) = preferred(&bests, shapes_are_seen(trials)) else {
        bail!("--score {wanted}: this model does not have it");
    };
    let names: Vec<String> = bests.iter().map(|b| describe(gathered, b)).collect();
    let mut table: Vec<Row> = bests
        .iter()
        .zip(names)
        .enumerate()
        .map(|(place, (best, name))| Row {
            name,
            auroc: best.auroc,
            parts: best.of_shapes.map(|shapes| [best.of_defects, shapes]),
            chosen: place == chosen,
        })
        .collect();
    table.sort_by(|a, b| b.auroc.total_cmp(&a.auroc));

    let mut smoothings: Vec<f32> = gathered.fields.iter().map(|f| f.smoothings[0]).collect();
    for best in bests.iter().rev() {
        smoothings[best.field] = gathered.fields[best.field].smoothings[best.smoothing];
    }
    let best = &bests[chosen];
    smoothings[best.field] = gathered.fields[best.field].smoothings[best.smoothing];
    let image = ImageScore {
        sources: vec![gathered.fields[best.field].source],
        standardised: best.standardised,
        aggregation: best.aggregation,
    };
    let (map_fields, map, maps) = choose_map(wanted, gathered, best, &smoothings, trials)?;
    Ok(Choice {
        image_field: best.field,
        image,
        map_fields,
        map,
        smoothings,
        table,
        maps,
    })
}

/// The place of the score that is taken: of those that tell defects best (within a tie, and less what
/// a score owes to practice) the first in the order of preference. Where normal frames have a shape, which `seen` says that its changes show,
/// only those are considered that tell its changes best: another thing is worse than a flaw, and
/// where all tell it, as for registered parts, flaws decide. Gaussians have to look where
/// [`gaussians_of_the_set`] says.
fn preferred(bests: &[Best], seen: bool) -> Option<usize> {
    let within = |widest: f64, places: Vec<usize>, measure: &dyn Fn(&Best) -> f64| {
        let top = places
            .iter()
            .map(|&p| measure(&bests[p]))
            .fold(0.0, f64::max);
        let tie = ((1.0 - top) / 3.0).clamp(TIE, widest);
        let kept = places
            .into_iter()
            .filter(|&p| measure(&bests[p]) >= top - tie);
        (kept.collect::<Vec<usize>>(), top)
    };
    let mut places: Vec<usize> = (0..bests.len()).collect();
    if seen {
        let of_shapes = |best: &Best| best.of_shapes.unwrap_or(0.0);
        let (kept, top) = within(TIE, places.clone(), &of_shapes);
        if top >= SHAPED {
            places = kept;
        }
    }
    if let Some(kinds) = gaussians_of_the_set(bests, &places) {
        places.retain(|&p| bests[p].gaussians.is_none_or(|kind| kinds.contains(&kind)));
    }
    let (kept, _) = within(WIDEST_TIE, places, &Best::of_unseen_defects);
    kept.first().copied()
}

/// Whether things lie in place is a property of the frames and not of a score, so features and details are
/// asked together: the kinds of Gaussians that tell synthetic defects better in the mean of both, in place
/// where both are alike (within a tie), since a part that is missing or lies elsewhere is among real defects and not among the
/// synthetic. Nothing where one of the two is not among the candidates at `places`.
fn gaussians_of_the_set(bests: &[Best], places: &[usize]) -> Option<&'static [Kind]> {
    const IN_PLACE: &[Kind] = &[Kind::PerPosition, Kind::ShiftTolerant];
    const ANYWHERE: &[Kind] = &[Kind::PositionFree];
    let best_of = |source: ScoreSource, kinds: &[Kind]| {
        let candidates = places.iter().map(|&p| &bests[p]);
        candidates
            .filter(|b| b.source == source && b.gaussians.is_some_and(|k| kinds.contains(&k)))
            .map(Best::of_unseen_defects)
            .max_by(f64::total_cmp)
    };
    let of_both = |kinds| {
        let features = best_of(ScoreSource::Features, kinds)?;
        Some(0.5 * (features + best_of(ScoreSource::Details, kinds)?))
    };
    let anywhere_is_better = of_both(ANYWHERE)? > of_both(IN_PLACE)? + TIE;
    Some(if anywhere_is_better {
        ANYWHERE
    } else {
        IN_PLACE
    })
}

/// Whether the plain map, the standardised, or both are candidates.
fn standardisations(wanted: Score, source: ScoreSource) -> Vec<bool> {
    match (wanted, source) {
        (Score::Residual, ScoreSource::Residual) => vec![false],
        (Score::ResidualZ, ScoreSource::Residual) => vec![true],
        (Score::ResidualZ, ScoreSource::Reconstruction) => vec![false, true],
        (Score::Likelihood, ScoreSource::Likelihood) | (Score::Latent, ScoreSource::Latent) => {
            vec![false]
        }
        (Score::LikelihoodZ, ScoreSource::Likelihood) => vec![true],
        (Score::Head, ScoreSource::Head)
        | (Score::Features | Score::FeaturesVae, ScoreSource::Features) => {
            vec![false, true]
        }
        (Score::Auto, ScoreSource::Residual) => vec![true],
        (Score::Auto, _) => vec![false, true],
        _ => Vec::new(),
    }
}

fn best_of(
    wanted: Score,
    gathered: &Gathered,
    place: usize,
    standardised: bool,
    trials: &[Trial],
) -> Result<Best> {
    let field = &gathered.fields[place];
    let total =
        matches!(field.source, ScoreSource::Likelihood | ScoreSource::Latent) && !standardised;
    let aggregations: Vec<Aggregation> = match wanted {
        // What the field means by these names is the sum over the frame.
        Score::Likelihood | Score::Latent => vec![Aggregation::Total],
        // Of a single cell all are the same.
        _ if field.shape == [1, 1] => vec![Aggregation::Maximum],
        _ => total
            .then_some(Aggregation::Total)
            .into_iter()
            .chain(AGGREGATIONS)
            .collect(),
    };
    let has_shapes = trials.iter().any(|trial| trial.truth.is_shape());
    let mut found: Option<Best> = None;
    for smoothing in 0..field.smoothings.len() {
        let mut treatment = field.treatment(smoothing, standardised)?;
        let mut scores = vec![Vec::with_capacity(trials.len()); aggregations.len()];
        for trial in trials {
            let map = field.inside(treatment.apply(&trial.maps[place])?);
            for (scores, aggregation) in scores.iter_mut().zip(&aggregations) {
                scores.push(aggregation.score(&mut map.clone())?);
            }
        }
        for (scores, &aggregation) in scores.iter().zip(&aggregations) {
            let auroc = separation(scores, trials, Truth::is_anomalous);
            if found
                .as_ref()
                .is_none_or(|best| auroc > best.auroc + FINE_TIE)
            {
                found = Some(Best {
                    field: place,
                    smoothing,
                    standardised,
                    aggregation,
                    auroc,
                    of_defects: separation(scores, trials, Truth::is_defect),
                    of_shapes: has_shapes.then(|| separation(scores, trials, Truth::is_shape)),
                    practised: field.practised,
                    source: field.source,
                    gaussians: field.gaussians,
                });
            }
        }
    }
    found.ok_or_else(|| anyhow::anyhow!("source `{}` has no candidate", field.source))
}

/// Whether enough changes of the whole shape could be seen.
fn shapes_are_seen(trials: &[Trial]) -> bool {
    let count = |wanted: fn(&Truth) -> bool| trials.iter().filter(|t| wanted(&t.truth)).count();
    let (shapes, defects) = (count(Truth::is_shape), count(Truth::is_defect));
    shapes > 0 && shapes as f64 >= LEAST_SHAPES * defects as f64
}

/// AUROC of the anomalous frames that are `wanted` against the normal ones.
fn separation(scores: &[f64], trials: &[Trial], wanted: fn(&Truth) -> bool) -> f64 {
    let of = |wanted: &dyn Fn(&Truth) -> bool| -> Vec<f64> {
        let pairs = scores.iter().zip(trials);
        pairs
            .filter(|(_, trial)| wanted(&trial.truth))
            .map(|(&score, _)| score)
            .collect()
    };
    auroc(&of(&|truth| !truth.is_anomalous()), &of(&wanted)).unwrap_or(0.5)
}

/// The map that shows best where synthetic defects are ([`PixelFigures::mean`]), less what is owed to
/// practice, and for time: of one source, or the mean of two. Of those within a tie the first: a product
/// of two distances, whose finer one shows where small defects are; then that of the score's source.
fn choose_map(
    wanted: Score,
    gathered: &Gathered,
    image: &Best,
    smoothings: &[f32],
    trials: &[Trial],
) -> Result<(Vec<usize>, MapScore, Vec<MapRow>)> {
    let arithmetic = Mean::Arithmetic;
    let mut candidates = vec![(vec![image.field], image.standardised, arithmetic)];
    if wanted == Score::Auto {
        candidates.push((vec![image.field], !image.standardised, arithmetic));
        // Where parts lie anywhere, Gaussians of single places tell what lies where in the synthetic
        // frames, and the map of a part that lies otherwise is full of it.
        let lies_anywhere = gathered.fields[image.field].gaussians == Some(Kind::PositionFree);
        let others = (0..gathered.fields.len()).filter(|&f| {
            let field = &gathered.fields[f];
            let judging = gathered.fields[image.field].source;
            // Of several kinds of features only one becomes a graph: the score's, or that of a map beside details.
            let of_features = field.source == ScoreSource::Features;
            field.source != judging
                && (!of_features || (judging == ScoreSource::Details && field.gaussians.is_some()))
                && field.source != ScoreSource::Latent
                && !(lies_anywhere && field.gaussians == Some(Kind::PerPosition))
        });
        // A single cell tells no places apart.
        let says_where = gathered.fields[image.field].shape != [1, 1];
        if !says_where {
            candidates.clear();
        }
        for other in others {
            let both = vec![image.field, other];
            let distances = [other, image.field].map(|f| gathered.fields[f].gaussians.is_some());
            if distances == [true; 2] {
                candidates.push((both.clone(), false, Mean::Geometric));
            }
            candidates.push((vec![other], true, arithmetic));
            if says_where {
                candidates.push((both, true, arithmetic));
            }
        }
    }
    candidates.sort_by_key(|(_, _, mean)| *mean != Mean::Geometric);
    let handicap = |fields: &[usize]| {
        let heads = fields
            .iter()
            .filter(|&&f| gathered.fields[f].source == ScoreSource::Head);
        let longer = fields.iter().any(|&f| gathered.fields[f].needs_vae)
            && !gathered.fields[image.field].needs_vae;
        PRACTICE * heads.count() as f64 / fields.len() as f64 + if longer { LONGER } else { 0.0 }
    };
    let best_smoothing = |(fields, standardised, mean): (Vec<usize>, bool, Mean)| {
        let mut best: Option<(MapScore, PixelFigures)> = None;
        for smoothing in MAP_SMOOTHINGS {
            let score = MapScore {
                sources: fields.iter().map(|&f| gathered.fields[f].source).collect(),
                standardised,
                mean,
                smoothing: smoothing * gathered.side as f32,
            };
            let figures = pixel_figures(gathered, &fields, &score, smoothings, trials)?;
            if best
                .as_ref()
                .is_none_or(|(_, other)| figures.mean() > other.mean() + FINE_TIE)
            {
                best = Some((score, figures));
            }
        }
        Ok(best.map(|(score, figures)| (fields, score, figures)))
    };
    let mut bests: Vec<(Vec<usize>, MapScore, PixelFigures)> = candidates
        .into_par_iter()
        .map(best_smoothing)
        .filter_map(Result::transpose)
        .collect::<Result<_>>()?;
    let counts = |fields: &[usize], figures: PixelFigures| figures.mean() - handicap(fields);
    let top = bests
        .iter()
        .map(|(fields, _, figures)| counts(fields, *figures));
    let top = top.fold(0.0, f64::max);
    let chosen = bests
        .iter()
        .position(|(fields, _, figures)| counts(fields, *figures) >= top - TIE);
    let chosen = chosen.context("no map to choose from")?;
    let row = |place: usize| {
        let (fields, score, figures) = &bests[place];
        let names: Vec<&str> = fields
            .iter()
            .map(|&f| &gathered.fields[f].name[..])
            .collect();
        let (joint, z) = match (score.mean, score.standardised) {
            (Mean::Geometric, _) => (" × ", ""),
            (Mean::Arithmetic, true) => (" + ", ", standardised"),
            (Mean::Arithmetic, false) => (" + ", ""),
        };
        MapRow {
            name: format!("{}{z}", names.join(joint)),
            figures: *figures,
            chosen: place == chosen,
        }
    };
    let mut rows: Vec<MapRow> = (0..bests.len()).map(row).collect();
    rows.sort_by(|a, b| b.figures.mean().total_cmp(&a.figures.mean()));
    let (fields, map, _) = bests.swap_remove(chosen);
    Ok((fields, map, rows))
}

fn pixel_figures(
    gathered: &Gathered,
    fields: &[usize],
    score: &MapScore,
    smoothings: &[f32],
    trials: &[Trial],
) -> Result<PixelFigures> {
    let size = gathered.size;
    let mut treatments = fields
        .iter()
        .map(|&f| {
            let field = &gathered.fields[f];
            let place = field.smoothings.iter().position(|&s| s == smoothings[f]);
            field.treatment(place.unwrap_or(0), score.standardised)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut last = GaussianSmoothing::new(size[1], size[0], score.smoothing)?;
    let blocks = size.map(|side| side.div_ceil(PIXEL_STRIDE));
    let rows_and_columns = |(y, x): (usize, usize)| {
        let range = |at: usize, side: usize| at * PIXEL_STRIDE..((at + 1) * PIXEL_STRIDE).min(side);
        (range(y, size[0]), range(x, size[1]))
    };
    // Any pixel of a block: a crack stays one region.
    let any = |pixels: &[bool], block: (usize, usize)| {
        let (rows, columns) = rows_and_columns(block);
        rows.into_iter()
            .any(|y| pixels[y * size[1]..][columns.clone()].contains(&true))
    };
    let shrunk = |pixels: &[bool]| Array2::from_shape_fn(blocks, |block| any(pixels, block));
    let within = gathered
        .interior
        .as_ref()
        .map(|interior| shrunk(interior.cells()));
    let mut pixels = PixelScores::new(2);
    for trial in trials {
        let mask = match &trial.truth {
            Truth::Normal => None,
            Truth::Defect(mask) => Some(mask),
            Truth::Shape => continue,
        };
        let mut map = vec![0.0; size[0] * size[1]];
        let share = 1.0 / fields.len() as f32;
        for (treatment, &field) in treatments.iter_mut().zip(fields) {
            let values = treatment.apply(&trial.maps[field])?;
            let shape = gathered.fields[field].shape;
            for (out, value) in map.iter_mut().zip(nearest(&values, shape, size)) {
                *out += share * score.mean.term(value);
            }
        }
        for out in &mut map {
            *out = score.mean.of_terms(*out);
        }
        last.apply(&mut map)?;
        let of_blocks = Array2::from_shape_fn(blocks, |block| {
            let (rows, columns) = rows_and_columns(block);
            map[rows.start.midpoint(rows.end - 1) * size[1]
                + columns.start.midpoint(columns.end - 1)]
        });
        let mask = mask.map(|mask| shrunk(mask));
        pixels.add_within(
            usize::from(mask.is_some()),
            of_blocks.view(),
            mask.as_ref().map(|pixels| pixels.view()),
            within.as_ref().map(|pixels| pixels.view()),
        )?;
    }
    let metrics = pixels.evaluate(None).all;
    Ok(
        metrics.map_or(PixelFigures::default(), |metrics| PixelFigures {
            auroc: metrics.auroc.value,
            aupro: metrics.aupro.value,
        }),
    )
}

/// A map in the canvas's size; which interpolation is used hardly matters for comparing maps.
fn nearest<'a>(
    values: &'a [f32],
    [height, width]: [usize; 2],
    [rows, columns]: [usize; 2],
) -> impl Iterator<Item = f32> + 'a {
    (0..rows * columns).map(move |place| {
        let (y, x) = (place / columns, place % columns);
        values[(y * height / rows) * width + x * width / columns]
    })
}

fn describe(gathered: &Gathered, best: &Best) -> String {
    let field = &gathered.fields[best.field];
    let z = if best.standardised {
        ", standardised"
    } else {
        ""
    };
    let smoothing = field.smoothings[best.smoothing];
    let smoothed = if smoothing > 0.0 {
        format!(", smoothed {smoothing}")
    } else {
        String::new()
    };
    let aggregation = match best.aggregation {
        Aggregation::Maximum => "maximum".to_owned(),
        Aggregation::Total => "sum".to_owned(),
        Aggregation::TopFraction { fraction } => format!("top {} %", 100.0 * fraction),
    };
    format!("{}{z}{smoothed}, {aggregation}", field.name)
}

/// The bundle's scoring for a choice, its graphs still missing, with its statistics by source;
/// `name_of` names their files.
pub(super) fn scoring(
    choice: &Choice,
    gathered: &Gathered,
    backbone: Option<FeatureExtractorSettings>,
    name_of: impl Fn(ScoreSource) -> String,
) -> Result<(Scoring, BTreeMap<ScoreSource, Array3<f32>>)> {
    let mut sources = Vec::new();
    let mut statistics = BTreeMap::new();
    let chosen_features = [choice.image_field]
        .into_iter()
        .chain(choice.map_fields.iter().copied())
        .find(|&f| gathered.fields[f].source == ScoreSource::Features);
    let of_backbone = [ScoreSource::Features, ScoreSource::Details];
    let uses_backbone = [choice.image_field]
        .iter()
        .chain(&choice.map_fields)
        .any(|&f| of_backbone.contains(&gathered.fields[f].source));
    for (place, field) in gathered.fields.iter().enumerate() {
        if field.source == ScoreSource::Features && chosen_features != Some(place) {
            continue;
        }
        // Those that only explain regions would be smoothed for each frame's whole canvas; Gaussians of
        // reconstructions would make the bundle larger.
        let used = choice.image_field == place || choice.map_fields.contains(&place);
        let only_if_used =
            [ScoreSource::Reconstruction, ScoreSource::Details].contains(&field.source);
        if (gathered.tiled || only_if_used) && !used {
            continue;
        }
        let smoothing = choice.smoothings[place];
        let index = field.smoothings.iter().position(|&s| s == smoothing);
        let array = field.standardisation(index.unwrap_or(0))?.to_array();
        statistics.insert(field.source, array);
        sources.push(SourceSettings {
            source: field.source,
            smoothing,
            statistics: Some(name_of(field.source)),
        });
    }
    let scoring = Scoring {
        backbone: backbone.filter(|_| uses_backbone),
        graphs: Vec::new(),
        image: choice.image.clone(),
        map: choice.map.clone(),
        sources,
    };
    Ok((scoring, statistics))
}

/// Whether the maps of a source are candidates for a score.
pub(super) fn considers(wanted: Score, source: ScoreSource) -> bool {
    !standardisations(wanted, source).is_empty()
}

#[cfg(test)]
mod tests;
