//! Synthetic defects: ten kinds of change that a network and its scores learn from, since real
//! defects are not there to be learnt from. `docs/design/defects.md` shows each kind and says
//! where it comes from.
//!
//! Sizes are in pixels of a picture of side 128 or more; smaller pictures have smaller defects.
//! Amplitudes are for a picture whose median is 0.4 and go with its exposure. Everything random
//! comes from the caller's generator: the same generator gives the same bits.

mod blobs;
mod breaks;
mod brightness;
mod change;
mod crack;
mod illumination;
mod noise;
mod params;
mod patch;
mod sampler;
mod scene;
mod shape;
mod sharpness;
mod step;
mod stripes;
mod texture;

#[cfg(test)]
mod tests;

use rand::{Rng, RngExt};

pub use shape::changed_shape;

use change::Change;
use params::PARAMS;
use scene::{Scene, log_between};

/// A kind of synthetic defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Texture of another frame, or of another place, changed and blended in through a noise mask.
    ForeignTexture,
    /// A ragged area that is darker or brighter.
    Brightness,
    /// Small pits and specks, some with a rim of the opposite sign.
    Blobs,
    /// Cracks and scratches; every third one a faint hairline along the local streaks.
    Crack,
    /// A piece of the picture or of another one, in another place.
    CutPaste,
    /// Smooth change of the light: a wide spot, slow noise, or a weak uneven band.
    Illumination,
    /// An area that is blurred, sharpened, or noisy.
    Sharpness,
    /// A piece broken out: a polygon without texture; also small chips on a border or an edge.
    Break,
    /// Streaks of oriented noise.
    Stripes,
    /// A part of the picture, beyond a curve or in a band, with other gain, contrast or texture.
    Step,
}

impl Kind {
    /// All kinds.
    pub fn all() -> [Self; 10] {
        [
            Self::ForeignTexture,
            Self::Brightness,
            Self::Blobs,
            Self::Crack,
            Self::CutPaste,
            Self::Illumination,
            Self::Sharpness,
            Self::Break,
            Self::Stripes,
            Self::Step,
        ]
    }

    /// Name in flags, reports and captions.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForeignTexture => "foreign-texture",
            Self::Brightness => "brightness",
            Self::Blobs => "blobs",
            Self::Crack => "crack",
            Self::CutPaste => "cut-paste",
            Self::Illumination => "illumination",
            Self::Sharpness => "sharpness",
            Self::Break => "break",
            Self::Stripes => "stripes",
            Self::Step => "step",
        }
    }
}

/// Which defects [`defective`] draws.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DefectOptions {
    /// The kinds, each with an equal share; none means all.
    pub kinds: Vec<Kind>,
    /// Probability of a second defect.
    pub second: f64,
    /// Factor of all sizes: 1 for pictures at the resolution at which the network works.
    pub scale: f32,
}

impl Default for DefectOptions {
    fn default() -> Self {
        Self {
            kinds: Kind::all().to_vec(),
            second: 0.3,
            scale: 1.0,
        }
    }
}

/// A picture with one or two defects, in [0, 1], C×H×W, before normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Defective {
    /// The picture, C×H×W.
    pub values: Vec<f32>,
    /// Where it was changed, H×W.
    pub mask: Vec<bool>,
    /// What was drawn; empty, with an empty mask, if every attempt would have been invisible.
    pub kinds: Vec<Kind>,
}

/// Draws a defect on `picture`, C×H×W in [0, 1]: the changed picture, and where it changed (H×W).
/// `donor` is another normal picture of the same shape, or the same one. `None` where the change
/// would be invisible, or all over the picture.
///
/// A pixel has changed if one of its channels differs by more than 0.02 (for a picture with a
/// median of 0.4; in proportion otherwise), or if of the pixels around it (7×7; 3×3 in pictures
/// below 64) more than half differ by half of that and a third by all of it. Over all changed
/// pixels the mean difference is at least 0.03, and they are at least 3 and at most 60 % of the
/// picture.
///
/// # Panics
/// If picture or donor do not have C·H·W values.
pub fn draw(
    random: &mut impl Rng,
    kind: Kind,
    picture: &[f32],
    shape: [usize; 3],
    donor: &[f32],
) -> Option<(Vec<f32>, Vec<bool>)> {
    draw_scaled(random, kind, picture, shape, donor, 1.0)
}

/// Draws a defect, and with probability [`DefectOptions::second`] another one, of kinds with equal
/// shares; tries again where [`draw`] rejects.
///
/// # Panics
/// If picture or donor do not have C·H·W values.
pub fn defective(
    random: &mut impl Rng,
    options: &DefectOptions,
    picture: &[f32],
    shape: [usize; 3],
    donor: &[f32],
) -> Defective {
    let all = Kind::all();
    let choice: &[Kind] = if options.kinds.is_empty() {
        &all
    } else {
        &options.kinds
    };
    let mut attempt = |picture: &[f32], attempts: usize| {
        let mut kind = choice[0];
        (0..attempts).find_map(|attempt| {
            if attempt % PARAMS.attempts_of_kind == 0 {
                kind = choice[random.random_range(0..choice.len())];
            }
            draw_scaled(random, kind, picture, shape, donor, options.scale)
                .map(|(values, mask)| (kind, values, mask, random.random_bool(options.second)))
        })
    };
    let Some((first, values, mask, more)) = attempt(picture, PARAMS.attempts) else {
        return Defective {
            values: picture.to_vec(),
            mask: vec![false; shape[1] * shape[2]],
            kinds: Vec::new(),
        };
    };
    if more && let Some((second, both, _, _)) = attempt(&values, PARAMS.attempts_of_kind) {
        // Against the first picture: the second defect may lie on the first.
        let change = Change::between(picture, &both, shape, scene::level(picture));
        if change.is_visible() {
            return Defective {
                values: both,
                mask: change.mask,
                kinds: vec![first, second],
            };
        }
    }
    Defective {
        values,
        mask,
        kinds: vec![first],
    }
}

fn draw_scaled(
    random: &mut impl Rng,
    kind: Kind,
    picture: &[f32],
    shape: [usize; 3],
    donor: &[f32],
    scale: f32,
) -> Option<(Vec<f32>, Vec<bool>)> {
    let [channels, height, width] = shape;
    let length = channels * height * width;
    assert!(
        picture.len() == length && donor.len() == length,
        "picture and donor have {} and {} values, their shape is {shape:?}",
        picture.len(),
        donor.len()
    );
    if length == 0 {
        return None;
    }
    let side = height.min(width) as f32;
    let natural = (side / PARAMS.side).min(1.0).powf(PARAMS.size_exponent);
    let scene = Scene {
        picture,
        donor,
        channels,
        height,
        width,
        scale: natural * scale * log_between(random, PARAMS.sizes),
        level: scene::level(picture),
    };
    let mut values = picture.to_vec();
    match kind {
        Kind::ForeignTexture => texture::foreign(random, &scene, &mut values),
        Kind::Brightness => brightness::paint(random, &scene, &mut values),
        Kind::Blobs => blobs::paint(random, &scene, &mut values),
        Kind::Crack => crack::paint(random, &scene, &mut values),
        Kind::CutPaste => texture::cut_paste(random, &scene, &mut values),
        Kind::Illumination => illumination::paint(random, &scene, &mut values),
        Kind::Sharpness => sharpness::paint(random, &scene, &mut values),
        Kind::Break => breaks::paint(random, &scene, &mut values),
        Kind::Stripes => stripes::paint(random, &scene, &mut values),
        Kind::Step => step::paint(random, &scene, &mut values),
    }
    for value in &mut values {
        *value = value.clamp(0.0, 1.0);
    }
    let change = Change::between(picture, &values, shape, scene.level);
    change.is_visible().then_some((values, change.mask))
}
