//! From luma and chroma to red, green and blue.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What the numbers of a YUV picture mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum YuvColour {
    /// ITU-R BT.601, luma 16–235, chroma 16–240: what cameras deliver unless they say otherwise.
    #[default]
    Bt601,
    /// ITU-R BT.709, luma 16–235, chroma 16–240: high-definition video.
    Bt709,
    /// ITU-R BT.601, all of 0–255: JPEG (JFIF).
    Bt601Full,
    /// ITU-R BT.709, all of 0–255.
    Bt709Full,
}

impl YuvColour {
    /// All of them, by name.
    const NAMES: [(&'static str, Self); 4] = [
        ("bt601", Self::Bt601),
        ("bt709", Self::Bt709),
        ("bt601-full", Self::Bt601Full),
        ("bt709-full", Self::Bt709Full),
    ];

    fn is_full(self) -> bool {
        matches!(self, Self::Bt601Full | Self::Bt709Full)
    }

    /// Weights of red and blue in luma.
    fn weights(self) -> [f64; 2] {
        match self {
            Self::Bt601 | Self::Bt601Full => [0.299, 0.114],
            Self::Bt709 | Self::Bt709Full => [0.2126, 0.0722],
        }
    }
}

impl fmt::Display for YuvColour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, colour)| colour == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for YuvColour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = if text == "jpeg" { "bt601-full" } else { text };
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, colour)| *colour)
            .ok_or_else(|| {
                format!(
                    "{text:?} is not a colour; known are bt601, bt709, bt601-full (jpeg), \
                     bt709-full"
                )
            })
    }
}

/// Fractional bits of the factors. The largest product is below 2^16 · 2.2 · 255 < 2^31.
const BITS: u32 = 16;

/// The matrix of one [`YuvColour`], in fixed point: within half a level and the rounding of the
/// factors (2^-17 · 255 each) of the exact value.
#[derive(Clone, Debug)]
pub(super) struct YuvMatrix {
    /// Luma as grey of the full range.
    grey: [u8; 256],
    /// Luma, scaled, one half for rounding included.
    luma: [i32; 256],
    /// Factors of V in red and green, of U in green and blue.
    red_v: i32,
    green_v: i32,
    green_u: i32,
    blue_u: i32,
}

impl YuvMatrix {
    pub(super) fn new(colour: YuvColour) -> Self {
        let [red, blue] = colour.weights();
        let green = 1.0 - red - blue;
        let (black, luma_gain, chroma_gain) = if colour.is_full() {
            (0.0, 1.0, 1.0)
        } else {
            (16.0, 255.0 / 219.0, 255.0 / 224.0)
        };
        let fixed = |value: f64| (value * f64::from(1 << BITS)).round() as i32;
        let full = |y: usize| (y as f64 - black) * luma_gain;
        Self {
            // `as` saturates.
            grey: std::array::from_fn(|y| full(y).round() as u8),
            luma: std::array::from_fn(|y| fixed(full(y)) + (1 << (BITS - 1))),
            red_v: fixed(2.0 * (1.0 - red) * chroma_gain),
            green_v: fixed(-2.0 * (1.0 - red) * red / green * chroma_gain),
            green_u: fixed(-2.0 * (1.0 - blue) * blue / green * chroma_gain),
            blue_u: fixed(2.0 * (1.0 - blue) * chroma_gain),
        }
    }

    /// What the chroma adds to red, green and blue.
    fn chroma(&self, u: u8, v: u8) -> [i32; 3] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [
            self.red_v * v,
            self.green_v * v + self.green_u * u,
            self.blue_u * u,
        ]
    }

    fn pixel(&self, out: &mut [u8], y: u8, chroma: [i32; 3]) {
        let luma = self.luma[usize::from(y)];
        for (out, chroma) in out.iter_mut().zip(chroma) {
            *out = ((luma + chroma) >> BITS).clamp(0, 255) as u8;
        }
    }

    /// Fills a row of red, green and blue with pixels that have their own chroma, `[y, u, v]`.
    pub(super) fn fill_singles(&self, row: &mut [u8], pixels: impl Iterator<Item = [u8; 3]>) {
        for (out, [y, u, v]) in row.chunks_exact_mut(3).zip(pixels) {
            self.pixel(out, y, self.chroma(u, v));
        }
    }

    /// Fills a row of red, green and blue with pairs of pixels that share their chroma,
    /// `[y, y, u, v]`. Of the last pair of an odd row the second pixel is left out.
    pub(super) fn fill_pairs(&self, row: &mut [u8], pairs: impl Iterator<Item = [u8; 4]>) {
        for (out, [first, second, u, v]) in row.chunks_mut(6).zip(pairs) {
            let chroma = self.chroma(u, v);
            let (left, right) = out.split_at_mut(3);
            self.pixel(left, first, chroma);
            self.pixel(right, second, chroma);
        }
    }

    /// Fills a row of grey.
    pub(super) fn fill_grey(&self, row: &mut [u8], luma: impl Iterator<Item = u8>) {
        for (out, y) in row.iter_mut().zip(luma) {
            *out = self.grey[usize::from(y)];
        }
    }
}
