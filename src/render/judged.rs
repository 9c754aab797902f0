//! What a picture says of a frame that a `Detector` judged.

use image::RgbImage;
use ndarray::{Array2, ArrayView2};

use super::{LabelView, MapScale, RegionView, VerdictView, overlay};
use crate::{
    Detection, Frame,
    runtime::{Label, Verdict},
    scoring::Region,
};

impl LabelView {
    /// Of a frame's label, and whether it is for review.
    pub fn of(label: Label, review: bool) -> Self {
        match label {
            Label::Normal if review => Self::Review,
            Label::Normal => Self::Normal,
            Label::Anomalous => Self::Anomalous,
            Label::Invalid => Self::Invalid,
        }
    }
}

impl From<&Region> for RegionView {
    fn from(region: &Region) -> Self {
        Self {
            bbox: region.bbox,
            max: region.max,
        }
    }
}

impl VerdictView {
    /// Of a verdict; `threshold` is the calibration's, which is shown for invalid frames too.
    pub fn of(verdict: &Verdict, threshold: f64, model: &str) -> Self {
        Self {
            label: LabelView::of(verdict.label, verdict.review),
            score: verdict.score,
            threshold: Some(threshold),
            p_value: verdict.p_value,
            regions: verdict.regions.iter().map(RegionView::from).collect(),
            reasons: verdict.reasons.clone(),
            model: model.to_owned(),
        }
    }
}

impl MapScale {
    /// The scale on which heat and contours of a scored frame end at the threshold of its regions.
    /// Boxes are around regions, which end half way to their peak where the map is coarse.
    /// `cold` and `threshold` are the map's for all frames: the mean of normal frames (0 for a
    /// standardised map) and the threshold of their peaks. It reaches up to the frame's own peak,
    /// so that a strong anomaly is not one colour all over.
    pub fn of(detection: &Detection, [cold, threshold]: [f32; 2]) -> Self {
        let threshold = detection.region_threshold.unwrap_or(threshold);
        let regions = &detection.verdict.regions;
        let peak = regions
            .iter()
            .map(|region| region.max)
            .fold(threshold, f32::max);
        Self::around(threshold, cold.min(threshold.next_down())).up_to(peak)
    }
}

/// [`overlay`] of a judged frame. Frames without regions have no heat; `map` is in the frame's
/// geometry, `map_range` as in [`MapScale::of`], `threshold` the calibration's for scores.
pub fn judged_overlay(
    frame: &Frame,
    detection: &Detection,
    map: Option<ArrayView2<'_, f32>>,
    map_range: [f32; 2],
    threshold: f64,
    model: &str,
) -> RgbImage {
    let scale = MapScale::of(detection, map_range);
    let view = VerdictView::of(&detection.verdict, threshold, model);
    let cold = Array2::from_elem((1, 1), scale.low);
    let map = map.filter(|_| detection.region_threshold.is_some());
    overlay(&frame.to_rgb8(), map.unwrap_or(cold.view()), &scale, &view)
}
