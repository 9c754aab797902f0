//! Texture from elsewhere: blended in through a mask, or cut and pasted.

use rand::{Rng, RngExt, seq::IndexedRandom};

use super::{
    noise,
    params::PARAMS,
    patch::{Patch, ring},
    sampler::Sampler,
    scene::{Scene, angle, between, log_between, normal},
};

/// What is done to the tones of a foreign texture.
#[derive(Clone, Copy, Debug)]
enum Tone {
    Gamma(f32),
    Gain(f32),
    Inverted,
    Contrast(f32),
    /// Number of tones.
    Posterised(f32),
    /// Tones above are inverted.
    Solarised(f32),
}

impl Tone {
    /// Two different ones, in any order.
    fn two(random: &mut impl Rng) -> [Self; 2] {
        let first = random.random_range(0..6_usize);
        let second = (first + random.random_range(1..6_usize)) % 6;
        [first, second].map(|choice| match choice {
            0 => Self::Gamma(log_between(random, [0.4, 2.5])),
            1 => Self::Gain(log_between(random, [0.5, 1.8])),
            2 => Self::Inverted,
            3 => Self::Contrast(log_between(random, [0.4, 2.5])),
            4 => Self::Posterised(random.random_range(3..8_u8) as f32),
            _ => Self::Solarised(between(random, [0.3, 0.7])),
        })
    }

    /// `mean` is that of the picture's level: contrast turns about it.
    fn of(self, value: f32, mean: f32) -> f32 {
        match self {
            Self::Gamma(power) => value.max(0.0).powf(power),
            Self::Gain(gain) => value * gain,
            Self::Inverted => 1.0 - value,
            Self::Contrast(factor) => mean + factor * (value - mean),
            Self::Posterised(tones) => (value * tones).floor() / (tones - 1.0),
            Self::Solarised(from) => {
                if value > from {
                    1.0 - value
                } else {
                    value
                }
            }
        }
    }
}

/// A noise mask filled with the donor's texture (60 %), the picture's own, or noise of its own
/// kind; turned, bent, with two changes of tone; the picture shines through by 0–0.8.
pub(super) fn foreign(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let patch = noise::mask(random, scene);
    if patch.weights.is_empty() {
        return;
    }
    let centre = [
        patch.left as f32 + 0.5 * patch.width as f32,
        patch.top as f32 + 0.5 * patch.height as f32,
    ];
    let mut sampler = Sampler::new(random, scene, centre, 0.7, [0.5, 1.8]);
    if random.random_bool(0.4) {
        sampler.bend(random, scene.scale);
    }
    // Pictures without texture have none to lend.
    let grain = random.random_bool(0.15).then(|| {
        let first = (scene.scale * log_between(random, [1.5, 12.0])).max(1.0);
        let cell = [first * log_between(random, [1.0, 5.0]), first];
        let turn = angle(random);
        let field = noise::field(random, [patch.width, patch.height], cell, turn);
        (field, scene.level * between(random, [0.06, 0.2]))
    });
    let mean = 0.4 * scene.level;
    let tones = Tone::two(random);
    let strength = 1.0 - between(random, [0.0, 0.8]);
    let tint = scene.tint(random);
    let mut fetched = vec![0.0; scene.channels];
    patch.each(scene, |at, weight| {
        let (column, row) = (at % scene.width, at / scene.width);
        sampler.fetch(column as f32 + 0.5, row as f32 + 0.5, &mut fetched);
        let place = (row - patch.top) * patch.width + column - patch.left;
        for (channel, value) in fetched.iter().enumerate() {
            let value = match &grain {
                Some((field, amount)) => mean + amount * tint[channel] * field[place],
                None => *value,
            };
            let value = tones.iter().fold(value, |value, tone| tone.of(value, mean));
            let out = &mut out[channel * scene.area() + at];
            *out += weight * strength * (value.clamp(0.0, 1.0) - *out);
        }
    });
}

/// A piece of the picture itself (60 %) or of the donor in another place: a turned rectangle or
/// ragged piece of 4–35 % of the side, or a long thin scar; half of them with the mean of what they
/// cover.
pub(super) fn cut_paste(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let unit = PARAMS.side * scene.scale;
    let centre = scene.place(random);
    let [long, wide] = if random.random_bool(0.35) {
        [
            unit * between(random, [0.08, 0.4]),
            scene.scale * between(random, [2.0, 7.0]),
        ]
    } else {
        let long = unit * log_between(random, [0.04, 0.35]);
        [long, long * between(random, [0.4, 1.0])]
    };
    let axes = [0.5 * long, 0.5 * wide].map(|axis| axis.max(1.0));
    let outline = if random.random_bool(0.6) {
        let turn = *[0.0, angle(random)].choose(random).unwrap_or(&0.0);
        rectangle(centre, axes, turn)
    } else {
        ring(random, centre, axes, 14, 0.3)
    };
    let patch = Patch::polygon(scene, &outline, between(random, [0.0, 1.2]));
    let sampler = Sampler::new(random, scene, centre, 0.4, [0.8, 1.25]);
    let gain = 1.0 + between(random, [-0.15, 0.15]);
    let mut fetched = vec![0.0; scene.channels];
    let mut piece = Vec::with_capacity(scene.channels * patch.weights.len());
    let (mut shift, mut total) = (vec![0.0_f32; scene.channels], 0.0_f32);
    patch.each(scene, |at, weight| {
        let (x, y) = (at % scene.width, at / scene.width);
        sampler.fetch(x as f32 + 0.5, y as f32 + 0.5, &mut fetched);
        for (channel, value) in fetched.iter().enumerate() {
            let value = gain * value;
            shift[channel] += weight * (scene.picture[channel * scene.area() + at] - value);
            piece.push(value);
        }
        total += weight;
    });
    let matched = random.random_bool(0.5);
    for shift in &mut shift {
        *shift = if matched {
            *shift / total.max(1e-3)
        } else {
            0.0
        };
    }
    // A picture that is the same everywhere has no other place: a little noise tells the piece.
    let grain = if random.random_bool(0.2) {
        scene.level * between(random, [0.03, 0.08])
    } else {
        0.0
    };
    let mut piece = piece.chunks_exact(scene.channels);
    patch.each(scene, |at, weight| {
        let noise = if grain > 0.0 {
            grain * normal(random)
        } else {
            0.0
        };
        for (channel, value) in piece.next().unwrap_or(&[]).iter().enumerate() {
            let out = &mut out[channel * scene.area() + at];
            *out += weight.min(1.0) * (value + shift[channel] + noise - *out);
        }
    });
}

fn rectangle([x, y]: [f32; 2], [a, b]: [f32; 2], turn: f32) -> Vec<[f32; 2]> {
    let (sin, cos) = turn.sin_cos();
    [[-a, -b], [a, -b], [a, b], [-a, b]]
        .iter()
        .map(|[u, v]| [x + u * cos - v * sin, y + u * sin + v * cos])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_are_what_they_are_called() {
        let near = |tone: Tone, value: f32, wanted: f32| {
            let found = tone.of(value, 0.4);
            assert!((found - wanted).abs() < 1e-6, "{tone:?}: {found}");
        };
        near(Tone::Gamma(2.0), 0.5, 0.25);
        near(Tone::Gain(1.5), 0.4, 0.6);
        near(Tone::Inverted, 0.3, 0.7);
        near(Tone::Contrast(2.0), 0.5, 0.6);
        // Four tones: 0, 1/3, 2/3, 1.
        near(Tone::Posterised(4.0), 0.3, 1.0 / 3.0);
        near(Tone::Posterised(4.0), 0.99, 1.0);
        near(Tone::Solarised(0.5), 0.8, 0.2);
        near(Tone::Solarised(0.5), 0.3, 0.3);
    }
}
