//! A calibration on disk: its numbers in `calibration.toml`, its arrays in a file beside it.

use serde::{Deserialize, Serialize};

use super::{
    BundleError,
    arrays::{read_list, write_npz},
    digest::sha256,
};
use crate::{
    calibration::{Calibration, ReferenceStatistics, ReviewBand},
    npy::Npz,
};

/// What `calibration.toml` says of a [`Calibration`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CalibrationEntry {
    /// The target probability that a normal frame is called anomalous, in (0, 1).
    pub false_alarm_rate: f64,
    /// A frame with a score above it is anomalous.
    pub threshold: f64,
    /// A pixel of the anomaly map above it belongs to a region.
    pub map_threshold: f64,
    /// The second, larger rate: normal frames above its threshold are for review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_rate: Option<f64>,
    /// The threshold for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_threshold: Option<f64>,
    /// When it was calibrated, RFC 3339 in UTC; absent where that was done with the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// In how many folds the model was fitted to the calibration frames too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<u32>,
    /// Whether nothing is guaranteed: the scores are of augmented samples of frames that the model
    /// knows. Absent where a rate is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unguaranteed: bool,
    /// Training frames that were left out because they looked least normal; absent where none was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trimmed: u32,
    /// Width and height of the calibration frames in pixels, where all had one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_size: Option<[u32; 2]>,
    /// Id of the model that it is of.
    pub model_id: String,
    /// NPZ of lists of f64: `scores`; `group_sizes` where frames have groups; where it has
    /// reference statistics `brightness`, `contrast`, `focus` and, with a VAE, `divergence`.
    pub file: String,
    /// Size of that file in bytes.
    pub bytes: u64,
    /// Lower-case hexadecimal SHA-256 of that file.
    pub sha256: String,
}

/// Whether there is nothing to say.
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl CalibrationEntry {
    /// Of a calibration for a model, with the bytes of its file.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub(super) fn of(
        calibration: &Calibration,
        model_id: &str,
    ) -> Result<(Self, Vec<u8>), BundleError> {
        let group_sizes = calibration.group_sizes.as_ref();
        let group_sizes: Option<Vec<f64>> =
            group_sizes.map(|sizes| sizes.iter().copied().map(f64::from).collect());
        let reference = calibration.reference.as_ref();
        let lists = [
            ("scores", Some(&calibration.scores)),
            ("group_sizes", group_sizes.as_ref()),
            ("brightness", reference.map(|frames| &frames.brightness)),
            ("contrast", reference.map(|frames| &frames.contrast)),
            ("focus", reference.map(|frames| &frames.focus)),
            (
                "divergence",
                reference.and_then(|frames| frames.divergence.as_ref()),
            ),
        ];
        let lengths = lists.map(|(_, list)| [list.map_or(0, Vec::len)]);
        let arrays: Vec<(&str, &[usize], &[f64])> = lists
            .iter()
            .zip(&lengths)
            .filter_map(|((name, list), length)| Some((*name, &length[..], &(*list)?[..])))
            .collect();
        let bytes = write_npz(&arrays)?;
        let digest = sha256([bytes.as_slice()]);
        let entry = Self {
            model_id: model_id.to_owned(),
            file: format!("calibration-{}.npz", &digest[..8]),
            bytes: bytes.len() as u64,
            sha256: digest,
            false_alarm_rate: calibration.false_alarm_rate,
            threshold: calibration.threshold,
            map_threshold: calibration.map_threshold,
            review_rate: calibration.review.map(|band| band.rate),
            review_threshold: calibration.review.map(|band| band.threshold),
            date: calibration.date.clone(),
            folds: calibration.folds,
            unguaranteed: calibration.unguaranteed,
            trimmed: calibration.trimmed,
            frame_size: reference.and_then(ReferenceStatistics::size),
        };
        Ok((entry, bytes))
    }

    /// The calibration, of the bytes of its file.
    ///
    /// # Errors
    /// Lists that are missing or of other values, and what [`Calibration::validate`] refuses.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Calibration, String> {
        let mut npz = Npz::open(bytes).map_err(|error| error.to_string())?;
        let mut list = |name| read_list(&mut npz, name);
        let scores = list("scores")?.ok_or("has no array `scores`")?;
        let group_sizes = list("group_sizes")?
            .map(|sizes| sizes.into_iter().map(whole).collect::<Result<_, _>>())
            .transpose()?;
        let divergence = list("divergence")?;
        let of_frames = ["brightness", "contrast", "focus"].map(&mut list);
        let reference = match of_frames {
            [Ok(Some(brightness)), Ok(Some(contrast)), Ok(Some(focus))] => {
                Some(ReferenceStatistics {
                    brightness,
                    contrast,
                    focus,
                    divergence,
                    width: self.frame_size.map(|[width, _]| width),
                    height: self.frame_size.map(|[_, height]| height),
                })
            }
            [Ok(None), Ok(None), Ok(None)] if divergence.is_none() => None,
            [a, b, c] => {
                a.and(b).and(c)?;
                return Err("has some of the reference statistics and not all".to_owned());
            }
        };
        let review = match (self.review_rate, self.review_threshold) {
            (None, None) => None,
            (Some(rate), Some(threshold)) => Some(ReviewBand { rate, threshold }),
            _ => return Err("review-rate and review-threshold belong together".to_owned()),
        };
        let calibration = Calibration {
            false_alarm_rate: self.false_alarm_rate,
            threshold: self.threshold,
            map_threshold: self.map_threshold,
            review,
            date: self.date.clone(),
            scores,
            group_sizes,
            folds: self.folds,
            unguaranteed: self.unguaranteed,
            trimmed: self.trimmed,
            reference,
        };
        calibration.validate().map_err(|error| error.to_string())?;
        Ok(calibration)
    }
}

fn whole(size: f64) -> Result<u32, String> {
    if size.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&size) {
        Ok(size as u32)
    } else {
        Err(format!("array `group_sizes` holds {size}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calibration::{MAX_CALIBRATION_FRAMES, ReferenceFrame},
        frame::FrameStatistics,
    };

    fn calibration(frames: usize) -> Calibration {
        let scores: Vec<f64> = (1..=frames)
            .map(|i| (i as f64 * 0.731).sin() / 3.0)
            .collect();
        Calibration::fit(scores.clone(), scores, 0.01).unwrap()
    }

    #[test]
    fn a_calibration_survives_its_file() {
        let plain = calibration(149);
        let groups: Vec<usize> = (0..149).map(|i| i / 2).collect();
        let scores = plain.scores.clone();
        let grouped = Calibration::fit_grouped(scores.clone(), scores, &groups, 0.05).unwrap();
        let frames = [0.25, 0.5].map(|brightness| ReferenceFrame {
            statistics: FrameStatistics {
                brightness,
                contrast: 0.125,
                focus: 3.0,
            },
            divergence: Some(1.0 / 3.0),
            size: [640, 480],
        });
        let dated = Calibration {
            date: Some("2026-01-31T12:00:00Z".into()),
            folds: Some(5),
            reference: ReferenceStatistics::of(&frames, None),
            ..grouped.clone()
        };
        let mut banded = plain.clone();
        banded.set_review_rate(Some(0.05)).unwrap();
        let largest = calibration(MAX_CALIBRATION_FRAMES);
        let copies = vec![0.5, 0.25, 0.75];
        let unguaranteed = Calibration::without_guarantee(copies.clone(), copies, 0.01).unwrap();
        for calibration in [plain, banded, grouped, dated, largest, unguaranteed] {
            let (entry, bytes) = CalibrationEntry::of(&calibration, "a-01234567").unwrap();
            assert_eq!(entry.read(&bytes).unwrap(), calibration);
        }
    }

    #[test]
    fn other_files_are_refused() {
        let (entry, bytes) = CalibrationEntry::of(&calibration(120), "a-01234567").unwrap();
        let refused = |entry: &CalibrationEntry, bytes: &[u8]| entry.read(bytes).unwrap_err();
        assert!(refused(&entry, b"PK").contains("is not an NPZ file"));
        let lists = |lists: &[(&str, &[f64])]| {
            let shapes: Vec<[usize; 1]> = lists.iter().map(|(_, list)| [list.len()]).collect();
            let arrays = lists.iter().zip(&shapes);
            let arrays: Vec<_> = arrays
                .map(|((name, list), shape)| (*name, &shape[..], *list))
                .collect();
            write_npz(&arrays).unwrap()
        };
        let none = lists(&[("brightness", &[0.5])]);
        assert!(refused(&entry, &none).contains("no array `scores`"));
        let scores = calibration(120).scores;
        let some = lists(&[("scores", &scores), ("brightness", &[0.5])]);
        assert!(refused(&entry, &some).contains("not all"));
        let parts = lists(&[("scores", &scores), ("group_sizes", &[0.5])]);
        assert!(refused(&entry, &parts).contains("`group_sizes` holds 0.5"));
        let other = CalibrationEntry {
            threshold: 7.0,
            ..entry
        };
        assert!(refused(&other, &bytes).contains("threshold"));
    }
}
