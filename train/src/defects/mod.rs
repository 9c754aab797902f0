//! Synthetic defects: changes of normal pictures that a network learns from, since real defects are
//! not there to be learnt from.

use rand::{Rng, RngExt};

/// A kind of synthetic defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An ellipse that is darker or brighter.
    Brightness,
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
            kinds: vec![Kind::Brightness],
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
    /// What was drawn; empty, with an empty mask, where nothing is to be seen.
    pub kinds: Vec<Kind>,
}

/// Draws a defect on `picture`, C×H×W in [0, 1], and with probability [`DefectOptions::second`]
/// another one. `donor` is another normal picture of the same shape.
pub fn defective(
    random: &mut impl Rng,
    options: &DefectOptions,
    picture: &[f32],
    shape: [usize; 3],
    _donor: &[f32],
) -> Defective {
    let [_, height, width] = shape;
    let mut values = picture.to_vec();
    let mut mask = vec![false; height * width];
    let count = 1 + usize::from(random.random_bool(options.second));
    for _ in 0..count {
        let mut radius = || options.scale * random.random_range(2.0..12.0_f32);
        let (tall, wide) = (radius(), radius());
        let y = random.random_range(0..height.max(1)) as f32;
        let x = random.random_range(0..width.max(1)) as f32;
        let sign = if random.random() { 1.0 } else { -1.0 };
        let change = sign * random.random_range(0.05..0.4_f32);
        for (place, marked) in mask.iter_mut().enumerate() {
            let (dy, dx) = ((place / width) as f32 - y, (place % width) as f32 - x);
            if (dy / tall).powi(2) + (dx / wide).powi(2) <= 1.0 {
                *marked = true;
                for plane in values.chunks_exact_mut(height * width) {
                    plane[place] = (plane[place] + change).clamp(0.0, 1.0);
                }
            }
        }
    }
    Defective {
        values,
        mask,
        kinds: vec![Kind::Brightness; count],
    }
}
