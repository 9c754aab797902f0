//! A selection as what a bundle says about scoring.

use std::collections::BTreeMap;

use anyhow::Result;
use edge_vae::{
    model::FeatureExtractorSettings,
    scoring::{ScoreSource, Scoring, SourceSettings},
};
use ndarray::Array3;

use super::{MapStatistics, Selection};

/// How a bundle scores, and the statistics that it needs for it.
#[derive(Clone, Debug)]
pub struct SelectedScoring {
    /// As in the manifest, its graphs still missing.
    pub scoring: Scoring,
    /// Mean and deviation at each place by source, 2×h×w.
    pub statistics: BTreeMap<ScoreSource, Array3<f32>>,
}

/// The file of a bundle with the statistics of a source.
pub fn statistics_file(source: ScoreSource) -> String {
    format!("statistics-{source}.npy")
}

/// The scoring of a bundle for `selection`, of whose candidates there are `statistics`; of frames
/// that are cut into tiles only with what score and map need. `backbone` is what its features come
/// from.
///
/// # Errors
/// Statistics of fewer than two frames, or of frames whose maps do not differ.
pub fn scoring(
    selection: &Selection,
    statistics: &[MapStatistics],
    is_tiled: bool,
    backbone: Option<&FeatureExtractorSettings>,
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
        arrays.insert(source, of.standardisation(smoothing)?.to_array());
        sources.push(SourceSettings {
            source,
            smoothing,
            statistics: Some(statistics_file(source)),
        });
    }
    let used = statistics.iter().filter(|of| selection.uses(of.candidate));
    let has_backbone = backbone.is_some();
    let uses_backbone = used
        .map(|of| of.candidate)
        .any(|c| c.is_of_backbone(has_backbone));
    Ok(SelectedScoring {
        scoring: Scoring {
            backbone: backbone.filter(|_| uses_backbone).cloned(),
            graphs: Vec::new(),
            image: selection.image.clone(),
            map: selection.map.clone(),
            sources,
        },
        statistics: arrays,
    })
}
