//! Whether a frame can be judged at all: frozen, blurred, resized or torn pictures are not.
//!
//! A camera that shows last week's part for ever shows a normal one. So each check makes a frame
//! `invalid` with a reason, and never normal.

use std::{collections::hash_map::DefaultHasher, hash::Hasher};

use serde::{Deserialize, Serialize};

use crate::{
    calibration::Calibration,
    frame::{Frame, FrameStatistics, PixelFormat, Samples},
    value::ValueError,
};

/// Share of the blurriest calibration frames that the limit does without: of 100 frames one, of
/// fewer none, so that one unsharp frame among them does not move it far.
const LEAST_SHARP: f64 = 0.01;

/// Largest relative difference of the proportions of two sizes that are one picture scaled: what
/// rounding to whole pixels, or to multiples of 16, makes of them.
const PROPORTION: f64 = 0.02;

/// A frame is torn if at least this part of its rows, from the bottom, is of one colour.
const TORN: f64 = 1.0 / 8.0;

/// Luma from 0 to 1 beyond which a colour is black or white, which a dark field or a back light may
/// be over half the picture: the limits of 8-bit video (ITU-R BT.601).
const BLACK_AND_WHITE: [f64; 2] = [16.0 / 255.0, 235.0 / 255.0];

/// Which frames can't be judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HealthSettings {
    /// A live source is frozen when so many frames in a row are the very same, sample by sample; 0
    /// for never, else at least 2. 10 by default: the noise of a sensor makes no two pictures
    /// alike, and what changes the frame rate repeats a picture up to five or six times. Strongly
    /// compressed streams of a still scene may need more.
    pub frozen_after: u32,
    /// A frame is blurred when its focus is below this share of that of the blurriest calibration
    /// frames (of a hundred, the second); 0 for never, below 1. 0.5 by default: a blur of one
    /// pixel's standard deviation lowers the focus of most pictures to a sixth, noise and light
    /// leave it as it is, and sharp frames of one scene differ by less.
    pub blur: f64,
    /// Whether a frame of another size is invalid: at a live source than that of its first frame;
    /// at any source, of other proportions (by more than 2 %) than the calibration frames, which
    /// would be distorted. Another size in the same proportions is taken, and only its focus can't
    /// be told. True by default.
    pub size: bool,
    /// Whether a frame is invalid of which at least the lowest eighth is exactly of one colour that
    /// is neither black nor white, as streams and cables that lose data leave it. True by default.
    pub torn: bool,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            frozen_after: 10,
            blur: 0.5,
            size: true,
            torn: true,
        }
    }
}

/// The checks of one source's frames.
#[derive(Clone, Debug)]
pub struct Health {
    settings: HealthSettings,
    live: bool,
    /// Size of the calibration frames, where they had one.
    calibrated_size: Option<[u32; 2]>,
    /// Focus below which a frame is blurred; `None` where the calibration does not say.
    least_focus: Option<f64>,
    /// Size of the source's first frame.
    first_size: Option<[u32; 2]>,
    /// What the last frame looked like.
    last: Option<(FrameStatistics, [u32; 2], PixelFormat)>,
    /// Hash of its samples, where the frame before it looked the same.
    fingerprint: Option<u64>,
    /// How many frames with this fingerprint there were in a row.
    repeated: u32,
}

impl Health {
    /// For frames of a source that is `live` or not, judged with this calibration.
    ///
    /// # Errors
    /// A setting outside of its domain, by its name.
    pub fn new(
        settings: HealthSettings,
        calibration: &Calibration,
        live: bool,
    ) -> Result<Self, ValueError> {
        let refuse = |setting, found, expected| {
            Err(ValueError::Setting {
                setting,
                found,
                expected,
            })
        };
        if settings.frozen_after == 1 {
            return refuse(
                "health.frozen-after",
                1.0,
                "0 for never, or 2 frames or more",
            );
        }
        if !(0.0..1.0).contains(&settings.blur) {
            return refuse(
                "health.blur",
                settings.blur,
                "0 for never, or a share below 1",
            );
        }
        let mut health = Self {
            settings,
            live,
            calibrated_size: None,
            least_focus: None,
            first_size: None,
            last: None,
            fingerprint: None,
            repeated: 0,
        };
        health.calibrate(calibration);
        Ok(health)
    }

    /// Goes on with another calibration, as after a model was replaced.
    pub fn calibrate(&mut self, calibration: &Calibration) {
        let reference = calibration.reference.as_ref();
        self.calibrated_size = reference.and_then(|reference| reference.size());
        self.least_focus = reference.and_then(|reference| {
            let mut focus = reference.focus.clone();
            focus.sort_by(f64::total_cmp);
            let place = (LEAST_SHARP * focus.len() as f64) as usize;
            Some(self.settings.blur * focus.get(place)?).filter(|&limit| limit > 0.0)
        });
    }

    /// Which checks are off for want of what they need, in words; `None` where all that are wanted
    /// are on.
    pub fn disabled_checks(&self) -> Option<&'static str> {
        let wants_focus = self.settings.blur > 0.0 && self.least_focus.is_none();
        let lacks =
            wants_focus || (self.settings.size && !self.live && self.calibrated_size.is_none());
        lacks.then_some(
            "the model does not know how sharp and how large the frames of this camera are, so \
             blurred and distorted frames are not told: calibrate on frames of this camera to \
             turn that on",
        )
    }

    /// Why a frame can't be judged; `None` for one that can. Each frame of the source is shown, in
    /// their order, with its statistics. Allocates nothing but the reason.
    pub fn check(&mut self, frame: &Frame, statistics: &FrameStatistics) -> Option<String> {
        let size = [frame.width(), frame.height()];
        // First, for it counts every frame.
        let frozen = self.frozen(frame, statistics, size);
        frame
            .problem()
            .or_else(|| self.resized(size))
            .or_else(|| self.torn(frame))
            .or(frozen)
            .or_else(|| self.blurred(statistics, size))
    }

    fn frozen(
        &mut self,
        frame: &Frame,
        statistics: &FrameStatistics,
        size: [u32; 2],
    ) -> Option<String> {
        if !self.live || self.settings.frozen_after == 0 {
            return None;
        }
        let looks = Some((*statistics, size, frame.format()));
        if self.last != looks {
            // As good as every frame of a camera ends here, and is not read a second time.
            self.last = looks;
            self.fingerprint = None;
            self.repeated = 0;
            return None;
        }
        let fingerprint = fingerprint(frame);
        self.repeated = if self.fingerprint == Some(fingerprint) {
            self.repeated.saturating_add(1)
        } else {
            1
        };
        self.fingerprint = Some(fingerprint);
        (self.repeated >= self.settings.frozen_after).then(|| {
            format!(
                "the camera is frozen: {} frames in a row are exactly the same",
                self.repeated
            )
        })
    }

    fn resized(&mut self, size: [u32; 2]) -> Option<String> {
        if !self.settings.size {
            return None;
        }
        let [width, height] = size;
        if let Some([wide, high]) = self.calibrated_size {
            let proportion = |width: u32, height: u32| f64::from(width) / f64::from(height);
            let change = proportion(width, height) / proportion(wide, high);
            if change.max(1.0 / change) > 1.0 + PROPORTION {
                return Some(format!(
                    "the frame has {width}×{height} pixels, other proportions than the \
                     {wide}×{high} that were calibrated on: set the source to that size, or \
                     calibrate on its frames"
                ));
            }
        }
        if !self.live {
            return None;
        }
        let [wide, high] = *self.first_size.get_or_insert(size);
        (size != [wide, high]).then(|| {
            format!(
                "the frame has {width}×{height} pixels, the source's first one had {wide}×{high}: \
                 if that is meant, start again"
            )
        })
    }

    fn torn(&self, frame: &Frame) -> Option<String> {
        if !self.settings.torn {
            return None;
        }
        let rows = dead_rows(frame);
        let share = rows as f64 / f64::from(frame.height());
        (share >= TORN).then(|| {
            format!(
                "the frame is torn: the lowest {:.0} % of it are of one colour",
                100.0 * share
            )
        })
    }

    fn blurred(&self, statistics: &FrameStatistics, size: [u32; 2]) -> Option<String> {
        let least = self.least_focus?;
        // Focus is a matter of pixels: that of another size can't be compared.
        let comparable = self.calibrated_size.is_none_or(|known| known == size);
        (comparable && statistics.focus < least).then(|| {
            format!(
                "the frame is blurred, or shows nothing: its focus is {:.2e}, less than {} of \
                 that of the blurriest calibration frames",
                statistics.focus, self.settings.blur
            )
        })
    }
}

fn fingerprint(frame: &Frame) -> u64 {
    let mut hasher = DefaultHasher::new();
    match frame.samples() {
        Samples::U8(samples) => hasher.write(samples),
        Samples::U16(samples) => hasher.write(bytemuck::cast_slice(samples)),
    }
    hasher.finish()
}

/// How many rows at the bottom have exactly the colour of the last pixel; none if that is black or
/// white.
fn dead_rows(frame: &Frame) -> usize {
    fn of<T: Copy + Into<f64> + PartialEq>(samples: &[T], frame: &Frame) -> usize {
        let channels = frame.format().channels();
        let mut pixels = samples.rchunks_exact(channels);
        let Some(last) = pixels.next() else {
            return 0;
        };
        let luma = match *last {
            [red, green, blue] => 0.299 * red.into() + 0.587 * green.into() + 0.114 * blue.into(),
            _ => last[0].into(),
        };
        let [black, white] = BLACK_AND_WHITE;
        let luma = luma / f64::from(frame.white());
        if luma <= black || luma >= white {
            return 0;
        }
        let same = 1 + pixels.take_while(|&pixel| pixel == last).count();
        same / frame.width() as usize
    }
    match frame.samples() {
        Samples::U8(samples) => of(samples, frame),
        Samples::U16(samples) => of(samples, frame),
    }
}

#[cfg(test)]
mod tests;
