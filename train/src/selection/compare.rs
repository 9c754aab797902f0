//! What the synthetic validation set says of candidates, against what real frames say.

use anyhow::Result;
use edge_vae::dataset::Sample;
use serde::Serialize;

use super::{Fold, Label, SampleMaps, SelectionParams, Separation, SyntheticSample, image};
use crate::features::{FitData, preprocessors};

/// An image score by both.
#[derive(Clone, Debug, Serialize)]
pub struct ScoreComparison {
    /// Of candidate and image score.
    pub name: String,
    /// Of the synthetic validation set.
    pub synthetic: Separation,
    /// Of the real frames, with the same smoothing and aggregation.
    pub real: Separation,
    /// Whether it is what `fit` selects.
    pub selected: bool,
}

/// The frames `test` as samples; that one is anomalous is all that is known of its defects.
///
/// # Errors
/// A frame that can't be read or prepared.
pub fn real_samples(test: &[Sample], data: &FitData) -> Result<Vec<SyntheticSample>> {
    let [_, mut prepare] = preprocessors(data)?;
    let each = test.iter().map(|sample| {
        prepare.prepare_canvas(&sample.frame()?)?;
        Ok(SyntheticSample {
            canvas: prepare.canvas().to_vec(),
            label: match sample.is_good() {
                true => Label::Normal,
                false => Label::Shape,
            },
            contrast: 0.0,
        })
    });
    each.collect()
}

/// All image scores, in the order of preference, and sums of two; `synthetic` is what `fit` selects
/// by, `real` the frames that it does not know.
///
/// # Errors
/// No candidate; maps that are not finite.
pub fn compare(
    synthetic: &[Fold],
    real: &[Fold],
    params: &SelectionParams,
) -> Result<Vec<ScoreComparison>> {
    let (rows, _) = image::select(synthetic, params)?;
    let scores = |folds| image::scores(&rows, folds, params);
    let [of_synthetic, of_real] = [scores(synthetic)?, scores(real)?];
    let separation = |scores: &[f64], folds: &[Fold]| {
        let labels = samples(folds).map(|sample| &sample.label);
        image::separation(scores, labels, Label::is_anomalous, params)
    };
    let alone = rows.iter().enumerate().map(|(place, row)| ScoreComparison {
        name: row.name.clone(),
        synthetic: row.all,
        real: separation(&of_real[place], real),
        selected: row.selected,
    });
    let mut all: Vec<ScoreComparison> = alone.collect();
    for (first, second) in (0..rows.len()).flat_map(|i| (0..i).map(move |j| (j, i))) {
        if rows[first].candidate == rows[second].candidate {
            continue;
        }
        let fused = |of: &[Vec<f64>]| -> Vec<f64> {
            let units = [first, second].map(|place| Unit::of(&of_synthetic[place], synthetic));
            let pairs = of[first].iter().zip(&of[second]);
            pairs
                .map(|(a, b)| units[0].apply(*a) + units[1].apply(*b))
                .collect()
        };
        all.push(ScoreComparison {
            name: format!("{} + {}", rows[first].name, rows[second].name),
            synthetic: separation(&fused(&of_synthetic), synthetic),
            real: separation(&fused(&of_real), real),
            selected: false,
        });
    }
    Ok(all)
}

fn samples(folds: &[Fold]) -> impl Iterator<Item = &SampleMaps> + Clone {
    folds.iter().flat_map(|fold| &fold.samples)
}

/// Mean and deviation of a score over normal samples.
struct Unit {
    mean: f64,
    deviation: f64,
}

impl Unit {
    fn of(scores: &[f64], folds: &[Fold]) -> Self {
        let normal = scores.iter().zip(samples(folds));
        let normal = normal.filter(|(_, sample)| !sample.label.is_anomalous());
        let normal: Vec<f64> = normal.map(|(&score, _)| score).collect();
        let mean = normal.iter().sum::<f64>() / normal.len() as f64;
        let squares: f64 = normal.iter().map(|score| (score - mean).powi(2)).sum();
        Self {
            mean,
            deviation: (squares / normal.len() as f64).sqrt(),
        }
    }

    fn apply(&self, score: f64) -> f64 {
        (score - self.mean) / self.deviation
    }
}
