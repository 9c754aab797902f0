//! What a rate of false alarms buys: threshold, guarantee, and the synthetic defects that are found
//! at it.

use std::fmt;

use serde::Serialize;

use super::{
    Calibration,
    guarantee::{CONFIDENCE, percent_down, percent_up},
};
use crate::{
    text::{aligned, counted},
    value::{ValueError, check_finite, check_length},
};

/// The rates of false alarms that a table has.
pub const OPERATING_RATES: [f64; 5] = [0.001, 0.01, 0.02, 0.05, 0.1];

/// Most synthetic defects of a bundle: more would tell no share better than it need be known.
const MOST_DEFECTS: usize = 100_000;

/// Defects that were drawn on normal frames, and how the model scores them. Value i of each list is
/// of one frame with one drawing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyntheticDefects {
    /// Raw score of the frame.
    pub scores: Vec<f64>,
    /// Share of the frame's area that the defect covers, above 0, at most 1.
    pub sizes: Vec<f64>,
    /// Mean absolute change of the samples that it covers, 0–1.
    pub contrasts: Vec<f64>,
}

impl SyntheticDefects {
    /// Checks what a bundle may hold.
    ///
    /// # Errors
    /// Lists of different lengths, empty or too long ones, and values outside of their domain.
    pub fn validate(&self) -> Result<(), ValueError> {
        check_length("sizes of defects", self.sizes.len(), self.scores.len())?;
        check_length(
            "contrasts of defects",
            self.contrasts.len(),
            self.scores.len(),
        )?;
        check_finite("score of a defect", &self.scores)?;
        let within = |setting, found: f64, fine: bool, expected| match fine {
            true => Ok(()),
            false => Err(ValueError::Setting {
                setting,
                found,
                expected,
            }),
        };
        let count = self.scores.len();
        within(
            "number of synthetic defects",
            count as f64,
            (1..=MOST_DEFECTS).contains(&count),
            "1 to 100,000",
        )?;
        for &size in &self.sizes {
            let fine = size > 0.0 && size <= 1.0;
            within("size of a defect", size, fine, "above 0 and at most 1")?;
        }
        for &contrast in &self.contrasts {
            let fine = (0.0..=1.0).contains(&contrast);
            within("contrast of a defect", contrast, fine, "0 to 1")?;
        }
        Ok(())
    }

    /// Those that score above a threshold.
    fn found(&self, threshold: f64, classes: &DefectClasses) -> FoundDefects {
        let mut found = FoundDefects::default();
        for ((&score, &size), &contrast) in self.scores.iter().zip(&self.sizes).zip(&self.contrasts)
        {
            let is_found = score > threshold;
            found.all.count(is_found);
            found.by_size[class(classes.sizes, size)].count(is_found);
            found.by_contrast[class(classes.contrasts, contrast)].count(is_found);
        }
        found
    }
}

/// Where the classes of size and contrast end: a third of the drawn defects is of each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DefectClasses {
    /// How many defects were drawn.
    pub defects: usize,
    /// Largest small and largest medium defect, shares of the frame's area.
    pub sizes: [f64; 2],
    /// Contrast of the strongest faint and of the strongest medium defect, 0–1.
    pub contrasts: [f64; 2],
}

impl DefectClasses {
    fn of(defects: &SyntheticDefects) -> Self {
        Self {
            defects: defects.scores.len(),
            sizes: terciles(&defects.sizes),
            contrasts: terciles(&defects.contrasts),
        }
    }
}

fn terciles(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let end = |third: usize| (sorted.len() * third).div_ceil(3).saturating_sub(1);
    [1, 2].map(|third| sorted.get(end(third)).copied().unwrap_or(0.0))
}

fn class([low, high]: [f64; 2], value: f64) -> usize {
    usize::from(value > low) + usize::from(value > high)
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Defects that are found.
    pub found: usize,
    /// Defects of the class.
    pub of: usize,
}

impl Share {
    fn count(&mut self, is_found: bool) {
        self.of += 1;
        self.found += usize::from(is_found);
    }

    fn percent(self) -> String {
        match self.of {
            0 => "–".to_owned(),
            of => format!("{:.0} %", 100.0 * self.found as f64 / of as f64),
        }
    }
}

/// The synthetic defects that are found at a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoundDefects {
    /// All.
    pub all: Share,
    /// Small, medium, large.
    pub by_size: [Share; 3],
    /// Faint, medium, strong.
    pub by_contrast: [Share; 3],
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// Target rate of false alarms.
    pub false_alarm_rate: f64,
    /// Whether it is the one that the model is set to.
    pub is_set: bool,
    /// The threshold for it; `None` where the calibration can't promise it.
    pub threshold: Option<f64>,
    /// How many more calibration frames, or groups of them, it would take to promise it.
    pub missing: usize,
    /// What holds the rate of this very calibration with the table's confidence.
    pub rate_interval: Option<[f64; 2]>,
    /// What is found above the threshold, where the model has synthetic defects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic_defects: Option<FoundDefects>,
}

/// What rates of false alarms buy, for a line to choose among. It is displayed as a table with its
/// legend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatingTable {
    /// [`OPERATING_RATES`] and the one that is set, ascending.
    pub rows: Vec<OperatingPoint>,
    /// What promises: calibration frames, or groups of them.
    pub units: usize,
    /// Whether these are groups.
    pub grouped: bool,
    /// Whether any rate is guaranteed.
    pub guaranteed: bool,
    /// Whether frames were scored out of fold, so that the guarantee is measured and not proved.
    pub out_of_fold: bool,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Where classes end, where the model has synthetic defects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<DefectClasses>,
}

impl OperatingTable {
    /// Of a calibration, and of the model's synthetic defects where it has some.
    pub fn of(calibration: &Calibration, defects: Option<&SyntheticDefects>) -> Self {
        let set = Some(calibration.false_alarm_rate).filter(|_| !calibration.unguaranteed);
        let others = OPERATING_RATES.into_iter().filter(|&r| Some(r) != set);
        let mut rates: Vec<f64> = others.chain(set).collect();
        rates.sort_unstable_by(f64::total_cmp);
        let classes = defects.map(DefectClasses::of);
        let row = |rate: f64| {
            let threshold = calibration.threshold_at(rate).ok();
            let needed = Calibration::needed(rate).unwrap_or(usize::MAX);
            OperatingPoint {
                false_alarm_rate: rate,
                is_set: Some(rate) == set,
                threshold,
                missing: match threshold {
                    Some(_) => 0,
                    None => needed.saturating_sub(calibration.units()),
                },
                rate_interval: threshold.map(|_| {
                    calibration
                        .rate_bounds(rate, 0.5 * (1.0 - CONFIDENCE))
                        .into()
                }),
                synthetic_defects: threshold
                    .zip(defects.zip(classes.as_ref()))
                    .map(|(threshold, (defects, classes))| defects.found(threshold, classes)),
            }
        };
        Self {
            rows: rates.into_iter().map(row).collect(),
            units: calibration.units(),
            grouped: calibration.group_sizes.is_some() && !calibration.unguaranteed,
            guaranteed: !calibration.unguaranteed,
            out_of_fold: calibration.folds.is_some(),
            confidence: CONFIDENCE,
            classes,
        }
    }

    fn unit(&self) -> &'static str {
        if self.grouped { "group" } else { "frame" }
    }

    /// Columns before those of the synthetic defects.
    pub const OWN_COLUMNS: usize = 3;

    /// Heading and rows as they are displayed.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let mut heading = vec!["false alarms", "threshold", "guaranteed"];
        if self.classes.is_some() {
            heading.extend([
                "drawn", "small", "medium", "large", "faint", "medium", "strong",
            ]);
        }
        let heading = heading.into_iter().map(str::to_owned).collect();
        let row = |point: &OperatingPoint| {
            let mark = if point.is_set { " *" } else { "" };
            let rate = (1e8 * point.false_alarm_rate).round() / 1e6;
            let mut row = vec![format!("{rate} %{mark}")];
            match (point.threshold, point.rate_interval) {
                (Some(threshold), Some([low, high])) => row.extend([
                    format!("{threshold:.4}"),
                    format!("yes: {} to {}", percent_down(low), percent_up(high)),
                ]),
                _ => row.extend([
                    "–".to_owned(),
                    format!("no: {} more needed", counted(point.missing, self.unit())),
                ]),
            }
            if let Some(found) = point.synthetic_defects {
                let shares = [found.all].into_iter();
                let shares = shares.chain(found.by_size).chain(found.by_contrast);
                row.extend(shares.map(Share::percent));
            }
            row
        };
        [heading]
            .into_iter()
            .chain(self.rows.iter().map(row))
            .collect()
    }

    /// What the columns mean, a sentence or two for each line.
    pub fn legend(&self) -> Vec<String> {
        if !self.guaranteed {
            return vec!["No rate is guaranteed, so none is set.".to_owned()];
        }
        let frames = counted(self.units, self.unit());
        let (promise, condition) = match self.out_of_fold {
            true => (
                "about this share or less",
                ", if their scores were independent",
            ),
            false => ("at most this share, on average,", ""),
        };
        let guarantee = format!(
            "* is set. Of new normal frames like the {frames} of the calibration, {promise} is \
             called anomalous; the true rate lies in the given range with {:.0} % \
             confidence{condition}.",
            100.0 * self.confidence,
        );
        let Some(classes) = &self.classes else {
            return vec![guarantee];
        };
        let [small, medium] = classes.sizes.map(percent_up);
        let [faint, strong] = classes.contrasts;
        let drawn = format!(
            "Drawn: the share found of {}, drawn on normal frames. Small ones cover up to {small} \
             of the frame, large ones more than {medium}; faint ones change it by up to {:.1} % of \
             the range from black to white, strong ones by more than {:.1} %. Drawn defects are \
             not yours: \
             `edge-vae evaluate` measures on yours.",
            counted(classes.defects, "synthetic defect"),
            100.0 * faint,
            100.0 * strong,
        );
        vec![guarantee, drawn]
    }
}

impl fmt::Display for OperatingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = aligned(&self.cells());
        lines.extend(self.legend());
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(frames: usize) -> Calibration {
        let scores: Vec<f64> = (1..=frames).map(|i| i as f64).collect();
        Calibration::fit(scores.clone(), scores, 0.05).unwrap()
    }

    /// Nine defects: score 80, 90, … 160; size and contrast grow with it.
    fn defects() -> SyntheticDefects {
        let each = |step: f64, from: f64| (0..9).map(|i| from + step * f64::from(i)).collect();
        SyntheticDefects {
            scores: each(10.0, 80.0),
            sizes: each(0.01, 0.01),
            contrasts: each(0.1, 0.1),
        }
    }

    #[test]
    fn rows_have_the_conformal_thresholds_and_what_is_found_above_them() {
        let calibration = calibration(99);
        let table = OperatingTable::of(&calibration, Some(&defects()));
        let rates: Vec<f64> = table.rows.iter().map(|row| row.false_alarm_rate).collect();
        assert_eq!(rates, OPERATING_RATES);
        let thresholds: Vec<_> = table.rows.iter().map(|row| row.threshold).collect();
        let expected = [None, Some(99.0), Some(98.0), Some(95.0), Some(90.0)];
        assert_eq!(thresholds, expected);
        assert_eq!(table.rows[0].missing, 900);
        assert!(table.rows[0].synthetic_defects.is_none());
        assert!(table.rows[3].is_set && !table.rows[1].is_set);
        assert_eq!(
            table.rows[3].rate_interval.map(|[low, high]| (low, high)),
            Some(calibration.rate_interval(0.9))
        );
        // Above 90: 100 to 160.
        let found = table.rows[4].synthetic_defects.unwrap();
        assert_eq!(found.all, Share { found: 7, of: 9 });
        assert_eq!(found.by_size.map(|share| share.found), [1, 3, 3]);
        assert_eq!(found.by_contrast.map(|share| share.of), [3, 3, 3]);
        let classes = table.classes.unwrap();
        assert!((classes.sizes[0] - 0.03).abs() < 1e-12, "{classes:?}");
        assert!((classes.sizes[1] - 0.06).abs() < 1e-12, "{classes:?}");
    }

    #[test]
    fn a_rate_between_those_of_the_table_has_a_row_of_its_own() {
        let mut calibration = calibration(120);
        calibration.set_rate(0.03).unwrap();
        let table = OperatingTable::of(&calibration, None);
        assert_eq!(table.rows.len(), 6);
        assert_eq!(table.rows[3].false_alarm_rate, 0.03);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "false alarms  threshold                  guaranteed"
        );
        assert_eq!(
            lines[1],
            "0.1 %                 –  no: 879 frames more needed"
        );
        assert!(lines[4].starts_with("3 % *  "), "{text}");
        assert!(!text.contains("synthetic"), "{text}");
        let text = OperatingTable::of(&calibration, Some(&defects())).to_string();
        assert!(text.contains("9 synthetic defects"), "{text}");
        assert!(text.contains("Drawn defects are not yours"), "{text}");
    }

    #[test]
    fn impossible_defects_are_refused() {
        defects().validate().unwrap();
        let refused = |change: fn(&mut SyntheticDefects), part: &str| {
            let mut bad = defects();
            change(&mut bad);
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        refused(|d| d.sizes.truncate(8), "sizes of defects");
        refused(|d| d.contrasts.clear(), "contrasts of defects");
        refused(|d| d.scores[2] = f64::NAN, "score of a defect");
        refused(|d| d.sizes[2] = 0.0, "size of a defect");
        refused(|d| d.contrasts[2] = 1.5, "contrast of a defect");
        refused(
            |d| *d = SyntheticDefects::default(),
            "number of synthetic defects",
        );
    }
}
