//! A canvas cut into overlapping tiles, and the maps of tiles put together again without seams.

use std::f64::consts::FRAC_PI_2;

use super::{PixelRect, PreprocessSettings, tile_grid::starts};

/// Where the tiles of a canvas lie: columns × rows of them, all inside, counted row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileLayout {
    /// Width and height.
    canvas: [usize; 2],
    tile: [usize; 2],
    columns: Vec<usize>,
    rows: Vec<usize>,
}

impl TileLayout {
    /// The layout of valid settings: one tile where they have no `tiles`.
    pub(super) fn new(settings: &PreprocessSettings) -> Self {
        let [_, height, width] = settings.canvas_shape();
        let overlap = settings.tiles.map_or(0.0, |tiles| tiles.overlap);
        Self {
            canvas: [width, height],
            tile: [settings.width, settings.height],
            columns: starts(width, settings.width, overlap),
            rows: starts(height, settings.height, overlap),
        }
    }

    /// One tile of `height × width`.
    pub(super) fn single(height: usize, width: usize) -> Self {
        Self {
            canvas: [width, height],
            tile: [width, height],
            columns: vec![0],
            rows: vec![0],
        }
    }

    /// Height and width of the canvas, in pixels.
    pub fn canvas_size(&self) -> [usize; 2] {
        [self.canvas[1], self.canvas[0]]
    }

    /// Height and width of a tile, in pixels.
    pub fn tile_size(&self) -> [usize; 2] {
        [self.tile[1], self.tile[0]]
    }

    /// Number of tiles, at least 1.
    pub fn count(&self) -> usize {
        self.columns.len() * self.rows.len()
    }

    /// Number of tiles side by side.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Number of tiles one below the other.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Where tile `index` lies on the canvas, in pixels of the canvas; `None` for one that is not
    /// there.
    pub fn tile(&self, index: usize) -> Option<PixelRect> {
        let [width, height] = self.tile;
        Some(PixelRect {
            x: self.columns[index % self.columns.len()] as u32,
            y: *self.rows.get(index / self.columns.len())? as u32,
            width: width as u32,
            height: height as u32,
        })
    }

    /// Tile `index` of a canvas, C×H'×W', as a tensor of its own, C×H×W; `None` for one that is
    /// not there.
    pub fn cut(&self, index: usize, canvas: &[f32]) -> Option<Vec<f32>> {
        let tile = self.tile(index)?;
        let channels = canvas.len() / self.canvas.iter().product::<usize>().max(1);
        let mut out = vec![0.0; channels * self.tile.iter().product::<usize>()];
        self.copy(canvas, tile, &mut out);
        Some(out)
    }

    /// Copies a tile, C×H×W, out of a canvas, C×H'×W'.
    pub(super) fn copy(&self, canvas: &[f32], tile: PixelRect, out: &mut [f32]) {
        let [x, y, width, height] = tile.as_usize();
        let [canvas_width, canvas_height] = self.canvas;
        for (plane, out) in canvas
            .chunks_exact(canvas_width * canvas_height)
            .zip(out.chunks_exact_mut(width * height))
        {
            let rows = plane.chunks_exact(canvas_width).skip(y);
            for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
                out.copy_from_slice(&row[x..x + width]);
            }
        }
    }
}

/// Puts the maps of tiles together into one of the canvas.
///
/// Each tile counts by a raised-cosine window, cos² over its overlap with either neighbour and 1
/// towards the border of the canvas; the windows of all tiles are scaled so that they sum to 1
/// everywhere. Where the grids of a tile's map and of the canvas's don't fall together, the tile's
/// is interpolated bilinearly.
#[derive(Clone, Debug)]
pub struct TileBlend {
    columns: Vec<Span>,
    rows: Vec<Span>,
    /// Width and height of a tile's map and of the canvas's.
    tile: [usize; 2],
    canvas: [usize; 2],
}

/// What a tile has along one axis of the canvas's map.
#[derive(Clone, Debug)]
struct Span {
    /// First cell of the canvas's map.
    start: usize,
    cells: Vec<Cell>,
}

/// One place of the canvas's map along an axis, as a tile sees it.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// The tile's cells between which it lies, and how far from the first to the second.
    first: usize,
    second: usize,
    fraction: f32,
    /// Share of this tile.
    weight: f32,
    /// Shares of the tiles before this one.
    before: f32,
}

impl TileBlend {
    /// For maps of `height × width` of each tile; a side is at least 1.
    pub fn new(layout: &TileLayout, height: usize, width: usize) -> Self {
        let [columns, rows] = [0, 1].map(|axis| {
            let starts = [&layout.columns, &layout.rows][axis];
            let cells = [width, height][axis].max(1);
            axis_spans(starts, layout.tile[axis], layout.canvas[axis], cells)
        });
        Self {
            tile: [width, height],
            canvas: [columns.1, rows.1],
            columns: columns.0,
            rows: rows.0,
        }
    }

    /// Height and width of the canvas's map: its share of the canvas is that of a tile's map of
    /// the tile, rounded to whole cells.
    pub fn size(&self) -> [usize; 2] {
        [self.canvas[1], self.canvas[0]]
    }

    /// Adds the map of tile `index` to the map of the canvas. Tiles are added in ascending order,
    /// from 0; after the last one the map is whole, and nothing of what it held before is left.
    ///
    /// The map is the running weighted mean of its tiles, so that where they agree, it is exactly
    /// what they say. Maps of other sizes than those that this was made for are cut off; a tile
    /// that is not there adds nothing.
    pub fn add(&self, index: usize, map: &[f32], canvas: &mut [f32]) {
        let column = &self.columns[index % self.columns.len()];
        let Some(row) = self.rows.get(index / self.columns.len()) else {
            return;
        };
        let lines = canvas.chunks_exact_mut(self.canvas[0]).skip(row.start);
        for (line, y) in lines.zip(&row.cells) {
            let (Some(above), Some(below)) = (self.line(map, y.first), self.line(map, y.second))
            else {
                return;
            };
            for (value, x) in line[column.start..].iter_mut().zip(&column.cells) {
                let between =
                    |line: &[f32]| line[x.first] + x.fraction * (line[x.second] - line[x.first]);
                let upper = between(above);
                let found = upper + y.fraction * (between(below) - upper);
                let earlier = y.before + y.weight * x.before;
                let weight = y.weight * x.weight;
                if earlier > 0.0 {
                    *value += weight / (earlier + weight) * (found - *value);
                } else {
                    *value = found;
                }
            }
        }
    }

    fn line<'a>(&self, map: &'a [f32], row: usize) -> Option<&'a [f32]> {
        map.get(row * self.tile[0]..(row + 1) * self.tile[0])
    }
}

/// The spans of all tiles along one axis, and the number of cells of the canvas's map.
fn axis_spans(starts: &[usize], tile: usize, length: usize, cells: usize) -> (Vec<Span>, usize) {
    let total = ((length * cells) as f64 / tile as f64).round().max(1.0) as usize;
    // Centre of a cell of the canvas's map, in pixels of the canvas.
    let centre = |cell: usize| (cell as f64 + 0.5) * length as f64 / total as f64;
    let overlap = |tiles: &[usize]| (tiles[0] + tile) as f64 - tiles[1] as f64;
    let mut sums = vec![0.0; total];
    let windows: Vec<(usize, Vec<f64>)> = starts
        .iter()
        .enumerate()
        .map(|(i, &from)| {
            let to = from + tile;
            let rise = (i > 0).then(|| overlap(&starts[i - 1..=i]));
            let fall = (i + 1 < starts.len()).then(|| overlap(&starts[i..=i + 1]));
            let inside = |cell: &usize| (from as f64..to as f64).contains(&centre(*cell));
            let first = (0..total).find(inside).unwrap_or(0);
            let weights = (first..total)
                .take_while(inside)
                .map(|cell| {
                    let rise = window(centre(cell) - from as f64, rise);
                    let weight = rise * window(to as f64 - centre(cell), fall);
                    sums[cell] += weight;
                    weight
                })
                .collect();
            (first, weights)
        })
        .collect();
    let mut before = vec![0.0; total];
    let spans = windows
        .into_iter()
        .zip(starts)
        .map(|((start, weights), &from)| {
            let cells = weights
                .into_iter()
                .enumerate()
                .map(|(place, weight)| {
                    let cell = start + place;
                    let weight = weight / sums[cell];
                    let place = (centre(cell) - from as f64) * cells as f64 / tile as f64 - 0.5;
                    let (first, fraction) = split(place, cells);
                    let found = Cell {
                        first,
                        second: (first + 1).min(cells - 1),
                        fraction,
                        weight: weight as f32,
                        before: before[cell] as f32,
                    };
                    before[cell] += weight;
                    found
                })
                .collect();
            Span { start, cells }
        })
        .collect();
    (spans, total)
}

/// sin² from 0 at the edge of a tile to 1 where its neighbour ends; `None` for no neighbour.
fn window(distance: f64, overlap: Option<f64>) -> f64 {
    match overlap {
        Some(overlap) if distance < overlap => (FRAC_PI_2 * distance / overlap).sin().powi(2),
        _ => 1.0,
    }
}

/// The cell at or before a place between the centres of the first and the last, and the fraction
/// beyond it; the rounding of places that fall on a centre is taken back.
fn split(place: f64, cells: usize) -> (usize, f32) {
    let place = place.clamp(0.0, (cells - 1) as f64);
    let nearest = place.round();
    let place = if (place - nearest).abs() < 1e-9 * nearest.max(1.0) {
        nearest
    } else {
        place
    };
    (place as usize, place.fract() as f32)
}

#[cfg(test)]
mod tests;
