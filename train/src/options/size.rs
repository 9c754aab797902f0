//! How large the tensor is.

use serde::{Deserialize, Serialize};

/// Input resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// As the training frames ask for.
    #[default]
    Auto,
    /// At most as many pixels as a square of this side has, in the proportions of the training
    /// frames.
    Budget(usize),
    /// This tensor, whatever the proportions of the frames are.
    Exact {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
}

/// Shortest and longest side that can be asked for. Below, nothing is left at a sixteenth of the
/// side; above, a frame takes seconds.
const SIDES: [usize; 2] = [32, 4096];

/// Longest side of a budget.
const MOST_BUDGET: usize = 1024;

/// What the sides of a tensor of as many pixels as a square of `side` are multiples of: 16, by
/// which the networks reduce them, or such a power of two more that a square has at most 16×16
/// cells of that side. Feature maps of both strides can then be averaged to one grid of cells.
pub fn multiple_of(side: f64) -> usize {
    let mut multiple = 16;
    while side > (16 * multiple) as f64 {
        multiple *= 2;
    }
    multiple
}

impl Size {
    /// What `--size` takes.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wanted = || "wanted auto, SIDE or WIDTHxHEIGHT in pixels".to_owned();
        let number = |text: &str| text.parse::<usize>().map_err(|_| wanted());
        let (size, sides, most) = match text.split_once('x') {
            _ if text == "auto" => return Ok(Self::Auto),
            None => {
                let side = number(text)?;
                (Self::Budget(side), [side; 2], MOST_BUDGET)
            }
            Some((width, height)) => {
                let (width, height) = (number(width)?, number(height)?);
                (Self::Exact { width, height }, [width, height], SIDES[1])
            }
        };
        if let Some(side) = sides.iter().find(|side| !(SIDES[0]..=most).contains(side)) {
            return Err(format!("{side} is not from {} to {most}", SIDES[0]));
        }
        let multiple = multiple_of((sides[0] as f64 * sides[1] as f64).sqrt());
        match sides.iter().find(|side| !side.is_multiple_of(multiple)) {
            None => Ok(size),
            Some(side) => Err(format!(
                "{side} is not a multiple of {multiple}, as sides of so many pixels have to be; \
                 {} is",
                (side / multiple).max(1) * multiple
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_a_budget_and_two_are_the_tensor() {
        assert_eq!(Size::parse("auto"), Ok(Size::Auto));
        for side in [32, 128, 240, 256, 384, 512, 1024] {
            assert_eq!(Size::parse(&side.to_string()), Ok(Size::Budget(side)));
        }
        let exact = Size::Exact {
            width: 480,
            height: 192,
        };
        assert_eq!(Size::parse("480x192"), Ok(exact));
    }

    #[test]
    fn sides_that_no_network_takes_are_refused() {
        for (text, words) in [
            ("", "wanted auto, SIDE or WIDTHxHEIGHT"),
            ("256x", "wanted auto"),
            ("-1", "wanted auto"),
            ("16", "16 is not from 32 to 1024"),
            ("2048", "2048 is not from 32 to 1024"),
            ("64x8192", "8192 is not from 32 to 4096"),
            ("250", "250 is not a multiple of 16"),
            ("272", "272 is not a multiple of 32"),
            ("272", "256 is"),
            ("480x176", "176 is not a multiple of 32"),
            ("800x672", "800 is not a multiple of 64"),
        ] {
            let error = Size::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
