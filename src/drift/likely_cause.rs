//! What a change of the frames is taken for.

use std::fmt;

use super::{Quantity, QuantityTest};

/// Largest relative difference of two factors that count as one: brightness and contrast that
/// grow by one factor are more light, or a longer exposure.
const SAME_FACTOR: f64 = 0.1;

/// What has changed, as far as the quantities tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LikelyCause {
    /// Brightness, contrast, or both by one factor.
    Light,
    /// Focus, with no other light: fine details are gone or came, contrast with them at most.
    Focus,
    /// Several of brightness, contrast and focus in another way, and what the model sees.
    Scene,
    /// Several of brightness, contrast and focus, but not what the model sees.
    LightAndFocus,
    /// Score or divergence only: what is seen is seen as well as before.
    Parts,
    /// The score; the bundle does not know what its calibration frames looked like.
    Unknown,
}

impl LikelyCause {
    /// From the tests of a window; `None` where nothing has changed.
    pub(super) fn of(tests: &[QuantityTest]) -> Option<Self> {
        let test = |quantity| tests.iter().find(|test| test.quantity == quantity);
        let changed = |quantity| test(quantity).is_some_and(|test| test.drifted);
        // By how much the median grew.
        let factor = |quantity| {
            test(quantity).map_or(1.0, |test| match test.calibration_median {
                0.0 => 1.0,
                was => test.median / was,
            })
        };
        let model = changed(Quantity::Score) || changed(Quantity::Divergence);
        let [light, contrast, focus] =
            [Quantity::Brightness, Quantity::Contrast, Quantity::Focus].map(changed);
        let has_reference = tests.iter().any(|test| test.quantity.is_of_frame());
        let several = if model {
            Self::Scene
        } else {
            Self::LightAndFocus
        };
        match (light, contrast, focus) {
            (false, false, false) if !model => None,
            (false, false, false) if has_reference => Some(Self::Parts),
            (false, false, false) => Some(Self::Unknown),
            (true, false, false) | (false, true, false) => Some(Self::Light),
            (true, true, false) => {
                let [light, contrast] = [Quantity::Brightness, Quantity::Contrast].map(factor);
                let one_factor = (contrast / light - 1.0).abs() <= SAME_FACTOR;
                Some(if one_factor || !model {
                    Self::Light
                } else {
                    Self::Scene
                })
            }
            (false, false, true) => Some(Self::Focus),
            // A blur takes details and contrast, a sharper picture brings both.
            (false, true, true) => {
                let [contrast, focus] = [Quantity::Contrast, Quantity::Focus].map(factor);
                Some(if (contrast < 1.0) == (focus < 1.0) {
                    Self::Focus
                } else {
                    several
                })
            }
            (true, _, true) => Some(several),
        }
    }
}

impl fmt::Display for LikelyCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Light => "the light or the exposure changed",
            Self::Focus => "the focus changed: lens, distance or dirt",
            Self::Scene => "the camera moved or the scene changed",
            Self::LightAndFocus => "light and focus changed, or the camera moved",
            Self::Parts => "the parts changed: light and focus are as calibrated",
            Self::Unknown => {
                "the scores changed; whether camera, light or parts did can't be told: calibrate \
                 on frames of this camera"
            }
        })
    }
}
