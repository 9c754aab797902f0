//! What the synthetic validation set says of candidates, against what real frames say.

use anyhow::Result;
use edge_vae::dataset::Sample;
use serde::Serialize;

use super::{
    Label, MapStatistics, SampleMaps, SelectionParams, Separation, SyntheticSample, image,
};
use crate::features::{FitData, preprocessors};

/// An image score by both.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
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
        })
    });
    each.collect()
}

/// All image scores, in the order of preference.
///
/// # Errors
/// No candidate; maps that are not finite.
pub fn compare(
    statistics: &[MapStatistics],
    synthetic: &[SampleMaps],
    real: &[SampleMaps],
    params: &SelectionParams,
) -> Result<Vec<Compared>> {
    let (rows, _) = image::select(statistics, synthetic, params)?;
    let real = image::of_others(&rows, statistics, real, params)?;
    let each = rows.into_iter().zip(real).map(|(row, real)| Compared {
        name: row.name,
        synthetic: row.all,
        real,
        selected: row.selected,
    });
    Ok(each.collect())
}
