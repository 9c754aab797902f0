//! What the calibration frames looked like.

use std::collections::BTreeMap;

use crate::frame::{Frame, FrameStatistics};

use super::{CalibrationError, check_finite};

/// Most frames whose statistics are kept: a comparison with more of them would find no change that
/// matters, and a manifest is read at every start.
pub const MAX_REFERENCE_FRAMES: usize = 1000;

/// What one frame looked like, whatever was found on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReferenceFrame {
    /// Brightness, contrast and focus.
    pub statistics: FrameStatistics,
    /// [`Scorer::divergence`](crate::scoring::Scorer::divergence), nats.
    pub divergence: Option<f64>,
    /// Width and height in pixels.
    pub size: [u32; 2],
}

impl ReferenceFrame {
    /// That of a frame of this divergence.
    pub fn of(frame: &Frame, divergence: Option<f64>) -> Self {
        Self {
            statistics: FrameStatistics::of(frame),
            divergence,
            size: [frame.width(), frame.height()],
        }
    }
}

/// What held-out normal frames looked like: value i of each list is of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceStatistics {
    /// Mean luma, 0–1.
    pub brightness: Vec<f64>,
    /// Standard deviation of the luma, 0–0.5.
    pub contrast: Vec<f64>,
    /// [`FrameStatistics::focus`], 0 or more.
    pub focus: Vec<f64>,
    /// KL(q(z|x) ‖ N(0, I)) in nats, 0 or more, of models with a VAE.
    pub divergence: Option<Vec<f64>>,
    /// Width of the frames in pixels, where all calibration frames had one size.
    pub width: Option<u32>,
    /// Height of the frames in pixels, where all calibration frames had one size.
    pub height: Option<u32>,
}

impl ReferenceStatistics {
    /// Those of the calibration frames, at most [`MAX_REFERENCE_FRAMES`] of them, evenly chosen. Of
    /// frames that belong together (`groups` has a number for each frame), one of each group is
    /// kept, now an early, now a late one: frames of one group tell less than their number
    /// guarantees. `None` where there are no frames, or some are such as
    /// [`ReferenceStatistics::validate`] refuses.
    pub fn of(frames: &[ReferenceFrame], groups: Option<&[usize]>) -> Option<Self> {
        let chosen: Vec<&ReferenceFrame> = match groups {
            None => evenly(frames.len()).map(|place| &frames[place]).collect(),
            Some(groups) => {
                let candidates = one_of_each(groups);
                evenly(candidates.len())
                    .filter_map(|place| frames.get(candidates[place]))
                    .collect()
            }
        };
        let size = frames.first()?.size;
        let one_size = frames.iter().all(|frame| frame.size == size);
        let list = |of: fn(&ReferenceFrame) -> f64| {
            chosen.iter().map(|&condition| of(condition)).collect()
        };
        let statistics = Self {
            brightness: list(|frame| frame.statistics.brightness),
            contrast: list(|frame| frame.statistics.contrast),
            focus: list(|frame| frame.statistics.focus),
            divergence: chosen.iter().map(|frame| frame.divergence).collect(),
            width: one_size.then_some(size[0]),
            height: one_size.then_some(size[1]),
        };
        statistics.validate(frames.len()).ok()?;
        Some(statistics)
    }

    /// How many frames' statistics were kept.
    pub fn frames(&self) -> usize {
        self.brightness.len()
    }

    /// Width and height in pixels, where all calibration frames had one size.
    pub fn size(&self) -> Option<[u32; 2]> {
        Some([self.width?, self.height?])
    }

    /// Checks what a manifest may say of a calibration on so many frames.
    ///
    /// # Errors
    /// Lists of different lengths, empty or too long ones; values outside of their domain; a width
    /// without a height.
    pub fn validate(&self, calibration_frames: usize) -> Result<(), CalibrationError> {
        let invalid = |reason: String| Err(CalibrationError::Invalid { reason });
        let frames = self.frames();
        let most = calibration_frames.min(MAX_REFERENCE_FRAMES);
        if frames == 0 || frames > most {
            return invalid(format!(
                "reference of {frames} frames, expected between 1 and {most}"
            ));
        }
        for (what, values, highest, expected) in [
            ("brightness", Some(&self.brightness), 1.0, "0 to 1"),
            ("contrast", Some(&self.contrast), 0.5, "0 to 0.5"),
            ("focus", Some(&self.focus), f64::MAX, "0 or more"),
            (
                "divergence",
                self.divergence.as_ref(),
                f64::MAX,
                "0 or more",
            ),
        ] {
            let Some(values) = values else { continue };
            if values.len() != frames {
                return invalid(format!(
                    "reference.{what} has {} values, reference.brightness {frames}",
                    values.len()
                ));
            }
            check_finite(what, values)?;
            // Rounding may lift a mean of ones above 1.
            let outside = |value: &&f64| !(0.0..=highest * (1.0 + 1e-6)).contains(*value);
            if let Some(value) = values.iter().find(outside) {
                return invalid(format!("reference.{what} has {value}, expected {expected}"));
            }
        }
        match (self.width, self.height) {
            (None, None) => Ok(()),
            (Some(width), Some(height)) if width > 0 && height > 0 => Ok(()),
            _ => invalid("reference: width and height belong together, and are at least 1".into()),
        }
    }
}

/// At most [`MAX_REFERENCE_FRAMES`] of so many places, evenly chosen, ascending.
fn evenly(count: usize) -> impl Iterator<Item = usize> {
    let kept = count.min(MAX_REFERENCE_FRAMES);
    (0..kept).map(move |place| place * count / kept)
}

/// A frame of each group, in the order of the groups' first frames: the k-th group's frame k modulo
/// its size.
fn one_of_each(groups: &[usize]) -> Vec<usize> {
    let mut members = BTreeMap::<usize, Vec<usize>>::new();
    for (frame, &group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(frame);
    }
    let mut members: Vec<Vec<usize>> = members.into_values().collect();
    members.sort_unstable();
    members
        .iter()
        .enumerate()
        .map(|(k, frames)| frames[k % frames.len()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(index: usize, size: [u32; 2]) -> ReferenceFrame {
        ReferenceFrame {
            statistics: FrameStatistics {
                brightness: index as f64 / 1e4,
                contrast: 0.25,
                focus: 3.0,
            },
            divergence: Some(index as f64),
            size,
        }
    }

    fn reference_frames(count: usize) -> Vec<ReferenceFrame> {
        (0..count)
            .map(|index| condition(index, [640, 480]))
            .collect()
    }

    #[test]
    fn frames_are_kept_up_to_the_limit_and_evenly_beyond() {
        let few = ReferenceStatistics::of(&reference_frames(7), None).unwrap();
        assert_eq!(
            few.divergence.as_deref(),
            Some(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..])
        );
        assert_eq!(few.brightness[6], 6e-4);
        assert_eq!(few.size(), Some([640, 480]));
        let many = ReferenceStatistics::of(&reference_frames(2500), None).unwrap();
        assert_eq!(many.frames(), MAX_REFERENCE_FRAMES);
        let divergence = many.divergence.as_deref().unwrap();
        assert_eq!(divergence[..4], [0.0, 2.0, 5.0, 7.0]);
        assert_eq!(divergence[999], 2497.0);
        assert_eq!(ReferenceStatistics::of(&[], None), None);
        let mut broken = reference_frames(3);
        broken[1].divergence = Some(f64::INFINITY);
        assert_eq!(ReferenceStatistics::of(&broken, None), None);
        let mixed = [condition(0, [640, 480]), condition(1, [480, 640])];
        assert_eq!(ReferenceStatistics::of(&mixed, None).unwrap().size(), None);
    }

    #[test]
    fn of_each_group_one_frame_is_kept() {
        let groups = [7, 7, 3, 3, 3, 7, 5];
        let kept = ReferenceStatistics::of(&reference_frames(7), Some(&groups)).unwrap();
        // Of 7 (frames 0, 1, 5) the first, of 3 (frames 2, 3, 4) the second, of 5 the only one.
        assert_eq!(kept.divergence.as_deref(), Some(&[0.0, 3.0, 6.0][..]));
    }

    #[test]
    fn impossible_conditions_are_refused() {
        let good = ReferenceStatistics::of(&reference_frames(5), None).unwrap();
        assert!(good.validate(5).is_ok());
        let refused = |change: fn(&mut ReferenceStatistics), part: &str| {
            let mut bad = good.clone();
            change(&mut bad);
            let message = bad.validate(5).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        assert!(good.validate(4).is_err());
        refused(|c| c.brightness[0] = 1.5, "reference.brightness has 1.5");
        refused(|c| c.contrast[2] = 0.6, "reference.contrast has 0.6");
        refused(|c| c.focus[4] = -0.1, "reference.focus has -0.1");
        refused(|c| c.focus[4] = f64::NAN, "focus 4 is NaN");
        refused(|c| c.focus.truncate(4), "reference.focus has 4 values");
        refused(|c| c.height = None, "width and height");
        refused(|c| c.width = Some(0), "width and height");
        refused(|c| c.brightness.clear(), "reference of 0 frames");
    }
}
