//! What is said of a frame, and why.

use serde::{Deserialize, Serialize};

use crate::{calibration::Calibration, scoring::Region};

/// What a frame is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Within what was seen of normal frames.
    Normal,
    /// Stranger than the threshold.
    Anomalous,
    /// The frame could not be scored: it is black, saturated or uniform.
    Invalid,
}

impl Label {
    /// As in JSON: `normal`, `anomalous`, `invalid`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Anomalous => "anomalous",
            Self::Invalid => "invalid",
        }
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is said of one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What the frame is called.
    pub label: Label,
    /// Whether a normal frame is for review: above the second, lower threshold of the calibration.
    pub review: bool,
    /// Raw score; `None` where the frame was not scored or the score is not a finite number.
    pub score: Option<f64>,
    /// The calibration's threshold; `None` where nothing was compared with it.
    pub threshold: Option<f64>,
    /// Conformal p-value; `None` where the frame is invalid.
    pub p_value: Option<f64>,
    /// What is anomalous in an anomalous frame; none in others.
    pub regions: Vec<Region>,
    /// Why the frame is anomalous, invalid or for review, a sentence each; else empty.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// Of a frame, by its score and by what the frame itself suffers from.
    ///
    /// A `defect` of the frame (such as «the frame is black») makes it invalid whatever its score,
    /// which is kept for the record; so does a score that is not a finite number. Otherwise the
    /// frame is anomalous where its score is above the threshold. Only then it has `regions`.
    pub fn of(
        score: f64,
        calibration: &Calibration,
        defect: Option<String>,
        regions: Vec<Region>,
    ) -> Self {
        if let Some(defect) = defect {
            return Self {
                score: score.is_finite().then_some(score),
                ..Self::invalid(defect)
            };
        }
        if !score.is_finite() {
            return Self::invalid(format!("the score is {score}, not a finite number"));
        }
        let p_value = calibration.p_value(score);
        let (label, reasons, regions) = if calibration.is_anomalous(score) {
            let reason = match calibration.unguaranteed {
                true => format!(
                    "score {score:.4} is above the threshold {:.4}, which guarantees no rate of \
                     false alarms",
                    calibration.threshold
                ),
                false => format!(
                    "score {score:.4} is above the threshold {:.4} and {} (p-value {p_value:.2e})",
                    calibration.threshold,
                    calibration.percentile(score)
                ),
            };
            (Label::Anomalous, vec![reason], regions)
        } else {
            let band = calibration.review.filter(|band| score > band.threshold);
            let reason = band.map(|band| {
                format!(
                    "for review: score {score:.4} is above the review threshold {:.4} and {} \
                     (p-value {p_value:.2e})",
                    band.threshold,
                    calibration.percentile(score)
                )
            });
            (Label::Normal, reason.into_iter().collect(), Vec::new())
        };
        Self {
            label,
            review: calibration.is_for_review(score),
            score: Some(score),
            threshold: Some(calibration.threshold),
            p_value: Some(p_value),
            regions,
            reasons,
        }
    }

    /// A frame that could not be scored, and was not scored.
    pub fn invalid(reason: String) -> Self {
        Self {
            label: Label::Invalid,
            review: false,
            score: None,
            threshold: None,
            p_value: None,
            regions: Vec::new(),
            reasons: vec![reason],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration() -> Calibration {
        let scores: Vec<f64> = (1..=9).map(f64::from).collect();
        Calibration::fit(scores.clone(), scores, 0.1).unwrap()
    }

    fn region() -> Region {
        Region {
            bbox: [1, 2, 3, 4],
            area: 5,
            max: 9.5,
            sources: Vec::new(),
        }
    }

    #[test]
    fn the_threshold_parts_normal_from_anomalous() {
        let normal = Verdict::of(9.0, &calibration(), None, vec![region()]);
        assert_eq!(normal.label, Label::Normal);
        assert_eq!((normal.p_value, normal.threshold), (Some(0.2), Some(9.0)));
        assert!(normal.reasons.is_empty() && normal.regions.is_empty());

        let anomalous = Verdict::of(9.25, &calibration(), None, vec![region()]);
        assert_eq!(anomalous.label, Label::Anomalous);
        assert_eq!(anomalous.p_value, Some(0.1));
        assert_eq!(anomalous.regions, [region()]);
        assert_eq!(
            anomalous.reasons,
            [
                "score 9.2500 is above the threshold 9.0000 and higher than all 9 normal frames \
                 (p-value 1.00e-1)"
            ]
        );
    }

    #[test]
    fn frames_of_the_review_band_are_normal() {
        let mut banded = calibration();
        banded.set_review_rate(Some(0.3)).unwrap();
        // The thresholds are 9 and 7.
        for (score, label, review) in [
            (7.0, Label::Normal, false),
            (7.5, Label::Normal, true),
            (9.0, Label::Normal, true),
            (9.5, Label::Anomalous, false),
        ] {
            let verdict = Verdict::of(score, &banded, None, vec![region()]);
            assert_eq!((verdict.label, verdict.review), (label, review), "{score}");
            let told = verdict
                .reasons
                .iter()
                .any(|r| r.starts_with("for review: "));
            assert_eq!(told, review, "{score}");
        }
        let black = Verdict::of(8.0, &banded, Some("black".into()), vec![]);
        assert!(!black.review);
    }

    #[test]
    fn a_defect_of_the_frame_comes_first() {
        let black = Some("the frame is black".to_owned());
        let verdict = Verdict::of(100.0, &calibration(), black.clone(), vec![region()]);
        assert_eq!(verdict.label, Label::Invalid);
        assert_eq!(verdict.score, Some(100.0));
        assert_eq!((verdict.p_value, verdict.threshold), (None, None));
        assert!(verdict.regions.is_empty());
        assert_eq!(verdict.reasons, ["the frame is black"]);
        let verdict = Verdict::of(f64::NAN, &calibration(), black, vec![]);
        assert_eq!(verdict, Verdict::invalid("the frame is black".into()));
    }

    #[test]
    fn a_score_that_is_no_number_is_no_verdict() {
        for score in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let verdict = Verdict::of(score, &calibration(), None, vec![region()]);
            assert_eq!(verdict.label, Label::Invalid);
            assert_eq!(verdict.score, None);
            assert_eq!(verdict.reasons.len(), 1);
        }
    }

    #[test]
    fn labels_are_lower_case_everywhere() {
        for (label, text) in [
            (Label::Normal, "normal"),
            (Label::Anomalous, "anomalous"),
            (Label::Invalid, "invalid"),
        ] {
            assert_eq!(label.to_string(), text);
            assert_eq!(
                serde_json::to_string(&label).unwrap(),
                format!("\"{text}\"")
            );
        }
    }
}
