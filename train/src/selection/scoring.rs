//! A selection as what a bundle says about scoring.

use std::collections::BTreeMap;

use anyhow::Result;
use edge_vae::scoring::{Scoring, SourceSettings};
use ndarray::Array3;

use super::{MapStatistics, Selection};

/// How a bundle scores, and the statistics that it needs for it.
#[derive(Clone, Debug)]
pub struct SelectedScoring {
    /// As in the manifest.
    pub scoring: Scoring,
    /// Mean and deviation at each place by source, 2×h×w.
    pub statistics: BTreeMap<String, Array3<f32>>,
}

/// The file of a bundle with the statistics of the source of this name.
pub fn statistics_file(source: &str) -> String {
    format!("statistics-{source}.npy")
}

/// The scoring of a bundle for `selection`, of whose candidates there are `statistics`; of frames
/// that are cut into tiles only with what score and map need.
///
/// # Errors
/// Statistics of fewer than two frames, or of frames whose maps do not differ.
pub fn scoring(
    selection: &Selection,
    statistics: &[MapStatistics],
    is_tiled: bool,
) -> Result<SelectedScoring> {
    let mut sources = Vec::new();
    let mut arrays = BTreeMap::new();
    for of in statistics {
        // Maps that only explain regions are those that the model makes anyway, and where they are
        // not smoothed for each frame's whole canvas.
        let explains = !is_tiled && of.candidate.density.is_none();
        if !(explains || selection.uses(of.candidate)) {
            continue;
        }
        let source = of.candidate.source;
        let smoothing = selection.smoothing(of.candidate);
        let array = of.standardisation(smoothing)?.to_array();
        arrays.insert(source.name.to_owned(), array);
        sources.push(SourceSettings {
            name: source.name.to_owned(),
            reads: source.reads(),
            smoothing,
            statistics: Some(statistics_file(source.name)),
        });
    }
    Ok(SelectedScoring {
        scoring: Scoring {
            image: selection.image.clone(),
            map: selection.map.clone(),
            sources,
        },
        statistics: arrays,
    })
}
