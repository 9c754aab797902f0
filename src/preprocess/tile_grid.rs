//! Where tiles of a canvas begin.

use serde::{Deserialize, Serialize};

/// Most tiles of a canvas.
pub(super) const MAX_TILES: usize = 1024;

/// Largest overlap of neighbouring tiles, as a fraction of a tile's side.
pub(super) const MAX_OVERLAP: f32 = 0.75;

/// Tiles begin at multiples of this where canvas and tile allow it, so that maps of up to a
/// sixteenth of the tensor's resolution fall on one grid.
pub(super) const ALIGNMENT: usize = 16;

/// The canvas that frames are resized to, to be cut into tiles of the tensor's size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiles {
    /// Width W' of the canvas in pixels, at least that of the tensor.
    pub width: usize,
    /// Height H' of the canvas in pixels, at least that of the tensor.
    pub height: usize,
    /// Least overlap of neighbouring tiles, as a fraction of the tile's side, 0–0.75.
    pub overlap: f32,
}

impl Tiles {
    /// The largest canvas for a region of a frame (`width × height` pixels) that is not larger
    /// than the region, keeps its aspect to within 16 pixels, and makes at most `most` tiles of
    /// `tile_width × tile_height`. `None` where one tile does as well: the region is not larger
    /// than a tile, or `most` allows only one.
    pub fn fitting(
        [width, height]: [usize; 2],
        [tile_width, tile_height]: [usize; 2],
        overlap: f32,
        most: usize,
    ) -> Option<Self> {
        if tile_width == 0 || tile_height == 0 || width == 0 || height == 0 {
            return None;
        }
        let snapped = |length: f64, tile: usize| {
            let beyond = (length - tile as f64).max(0.0) as usize;
            tile + beyond / ALIGNMENT * ALIGNMENT
        };
        // The longer side, in tiles, leads: a step of it is the smaller change.
        let steps = width.max(height);
        (1..=steps)
            .rev()
            .map(|step| step as f64 / steps as f64)
            .map(|scale| Self {
                width: snapped(width as f64 * scale, tile_width),
                height: snapped(height as f64 * scale, tile_height),
                overlap,
            })
            .find(|tiles| tiles.count(tile_width, tile_height) <= most)
            .filter(|tiles| tiles.count(tile_width, tile_height) > 1)
    }

    /// Number of tiles of `tile_width × tile_height` pixels.
    pub(super) fn count(&self, tile_width: usize, tile_height: usize) -> usize {
        let columns = starts(self.width, tile_width, self.overlap).len();
        columns * starts(self.height, tile_height, self.overlap).len()
    }
}

/// Where the tiles of one axis begin: the fewest with at least this overlap, as evenly as the
/// alignment allows, the first at 0 and the last at `length − tile`.
pub(super) fn starts(length: usize, tile: usize, overlap: f32) -> Vec<usize> {
    let beyond = length.saturating_sub(tile);
    // The cast saturates, and turns NaN into 0.
    let step = ((tile as f64 * (1.0 - f64::from(overlap))) as usize).max(1);
    let mut alignment = ALIGNMENT;
    while !beyond.is_multiple_of(alignment) || !tile.is_multiple_of(alignment) || step < alignment {
        alignment /= 2;
    }
    // In multiples of the alignment, so that rounding to it makes no step larger.
    let step = step / alignment;
    let beyond = beyond / alignment;
    let count = 1 + beyond.div_ceil(step);
    (0..count)
        .map(|i| match count {
            1 => 0,
            _ => alignment * ((i * beyond + (count - 1) / 2) / (count - 1)),
        })
        .collect()
}
