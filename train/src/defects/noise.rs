//! Smooth noise, and masks made of it.

use rand::{Rng, RngExt};

use super::{
    params::PARAMS,
    patch::Patch,
    scene::{Scene, angle, between, log_between, normal},
};

/// Standard normal values on a grid that repeats itself, interpolated.
#[derive(Debug)]
pub(super) struct Lattice {
    columns: usize,
    rows: usize,
    values: Vec<f32>,
}

impl Lattice {
    /// Of at least `columns × rows` values.
    pub(super) fn new(random: &mut impl Rng, columns: usize, rows: usize) -> Self {
        // Powers of two wrap by a bit mask.
        let (columns, rows) = (
            columns.max(4).next_power_of_two(),
            rows.max(4).next_power_of_two(),
        );
        let values = (0..columns * rows).map(|_| normal(random)).collect();
        Self {
            columns,
            rows,
            values,
        }
    }

    /// Bicubic (Catmull-Rom).
    pub(super) fn cubic(&self, u: f32, v: f32) -> f32 {
        let (column, across) = split(u);
        let (row, down) = split(v);
        let (across, down) = (catmull_rom(across), catmull_rom(down));
        let mut sum = 0.0;
        for (dy, weight) in (-1..).zip(down) {
            let start = (row + dy) as usize & (self.rows - 1);
            let line = &self.values[start * self.columns..][..self.columns];
            let mut inner = 0.0;
            for (dx, weight) in (-1..).zip(across) {
                inner += weight * line[(column + dx) as usize & (self.columns - 1)];
            }
            sum += weight * inner;
        }
        sum
    }

    /// Bilinear: a quarter of the time, for noise about as fine as the pixels.
    pub(super) fn linear(&self, u: f32, v: f32) -> f32 {
        let (column, across) = split(u);
        let (row, down) = split(v);
        let line = |row: i32| {
            let line = &self.values[(row as usize & (self.rows - 1)) * self.columns..];
            let left = line[column as usize & (self.columns - 1)];
            let right = line[(column + 1) as usize & (self.columns - 1)];
            left + across * (right - left)
        };
        let (above, below) = (line(row), line(row + 1));
        above + down * (below - above)
    }
}

/// The whole number below, and the rest.
fn split(value: f32) -> (i32, f32) {
    let whole = value.floor();
    (whole as i32, value - whole)
}

fn catmull_rom(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        0.5 * (2.0 * t2 - t - t3),
        0.5 * (3.0 * t3 - 5.0 * t2 + 2.0),
        0.5 * (4.0 * t2 + t - 3.0 * t3),
        0.5 * (t3 - t2),
    ]
}

/// Noise over a box of `width × height` pixels: cells of `cell` pixels (along and across), turned
/// by `angle`; about standard normal.
pub(super) fn field(
    random: &mut impl Rng,
    [width, height]: [usize; 2],
    cell: [f32; 2],
    angle: f32,
) -> Vec<f32> {
    let cell = cell.map(|side| side.max(1.0));
    let diagonal = (width as f32).hypot(height as f32);
    let cells = cell.map(|side| (diagonal / side) as usize + 4);
    let lattice = Lattice::new(random, cells[0].min(512), cells[1].min(512));
    let (sin, cos) = angle.sin_cos();
    let at = |x: f32, y: f32| [(x * cos + y * sin) / cell[0], (y * cos - x * sin) / cell[1]];
    // Cells of many pixels are computed at every few pixels.
    let step = ((0.25 * cell[0].min(cell[1])) as usize).clamp(1, 8);
    if step == 1 {
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let [u, v] = at(x as f32, y as f32);
                values.push(lattice.linear(u, v));
            }
        }
        return values;
    }
    let (columns, rows) = (width.div_ceil(step) + 1, height.div_ceil(step) + 1);
    let mut coarse = Vec::with_capacity(columns * rows);
    for y in 0..rows {
        for x in 0..columns {
            let [u, v] = at((x * step) as f32, (y * step) as f32);
            coarse.push(lattice.cubic(u, v));
        }
    }
    let mut values = Vec::with_capacity(width * height);
    let mut line = vec![0.0; columns];
    for y in 0..height {
        let (row, share) = (y / step, (y % step) as f32 / step as f32);
        let (above, below) = coarse[row * columns..].split_at(columns);
        for ((value, a), b) in line.iter_mut().zip(above).zip(below) {
            *value = a + share * (b - a);
        }
        for (pair, start) in line.windows(2).zip((0..width).step_by(step)) {
            let slope = (pair[1] - pair[0]) / step as f32;
            values.extend((0..step.min(width - start)).map(|x| pair[0] + slope * x as f32));
        }
    }
    values
}

/// The value below which a share of all values lies.
pub(super) fn quantile(values: &[f32], share: f32) -> f32 {
    // A few hundred tell well enough.
    let stride = (values.len() / 1024) | 1;
    let mut some: Vec<f32> = values.iter().copied().step_by(stride).collect();
    if some.is_empty() {
        return 0.0;
    }
    let place = ((share * some.len() as f32) as usize).min(some.len() - 1);
    *some.select_nth_unstable_by(place, f32::total_cmp).1
}

/// Islands where smooth noise is high: a grid of 2–16 cells, turned, cut off at a quantile; 60 %
/// inside an ellipse. Pictures larger than the sizes are meant for always have the ellipse.
pub(super) fn mask(random: &mut impl Rng, scene: &Scene<'_>) -> Patch {
    let unit = PARAMS.side * scene.scale;
    let large = scene.height.max(scene.width) as f32 > 1.6 * unit;
    let windowed = random.random_bool(0.6) || large;
    let (mut patch, window, share) = if windowed {
        let axis = log_between(random, [0.07, 0.4]) * unit;
        let axes = [axis, axis * between(random, [0.4, 1.0])];
        let (patch, distance) = Patch::elliptic(scene, scene.place(random), axes, angle(random));
        (patch, Some(distance), [0.5, 0.92])
    } else {
        (Patch::whole(scene), None, [0.75, 0.97])
    };
    if patch.weights.is_empty() {
        return patch;
    }
    let first = unit / log_between(random, [2.0, 16.0]);
    let cell = [first, first * log_between(random, [0.5, 2.0])];
    let turn = angle(random);
    let noise = field(random, [patch.width, patch.height], cell, turn);
    let threshold = quantile(&noise, between(random, share));
    // Noise changes by about two deviations a cell.
    let slope = 2.0 / cell[0].min(cell[1]);
    let edge = 1.0 / (slope * between(random, [0.6, 2.0]));
    let mut values = noise.iter();
    patch.fill(|x, y| {
        let above = values.next().map_or(0.0, |value| value - threshold);
        let weight = (above * edge + 0.5).clamp(0.0, 1.0);
        match &window {
            // About a pixel of soft edge: of a hundred, the distance changes by 0.02 a pixel.
            Some(distance) if weight > 0.0 => {
                weight * (8.0 * (1.0 - distance(x, y))).clamp(0.0, 1.0)
            }
            _ => weight,
        }
    });
    patch
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    #[test]
    fn interpolation_passes_through_the_lattice() {
        let lattice = Lattice::new(&mut Pcg64::seed_from_u64(1), 8, 5);
        assert_eq!((lattice.columns, lattice.rows), (8, 8));
        for (row, column) in [(0, 0), (3, 7), (6, 2)] {
            let value = lattice.values[row * 8 + column];
            for shift in [0.0, 8.0, -16.0] {
                let (u, v) = (column as f32 + shift, row as f32);
                assert!((lattice.cubic(u, v) - value).abs() < 1e-6);
                assert!((lattice.linear(u, v) - value).abs() < 1e-6);
            }
        }
        // Catmull-Rom is exact for straight lines, its weights sum to 1.
        for t in [0.0, 0.3, 0.9] {
            let weights = catmull_rom(t);
            let line: f32 = weights
                .iter()
                .zip([-1.0, 0.0, 1.0, 2.0])
                .map(|(w, x)| w * x)
                .sum();
            assert!((line - t).abs() < 1e-6);
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn coarse_evaluation_is_the_lattice_at_every_step() {
        let (size, cell, turn) = ([37, 23], [19.0, 33.0], 0.7_f32);
        let values = field(&mut Pcg64::seed_from_u64(2), size, cell, turn);
        assert_eq!(values.len(), 37 * 23);
        let diagonal = 37.0_f32.hypot(23.0);
        let cells = cell.map(|side| (diagonal / side) as usize + 4);
        let lattice = Lattice::new(&mut Pcg64::seed_from_u64(2), cells[0], cells[1]);
        for (x, y) in [(0, 0), (4, 8), (36, 20), (8, 12)] {
            let (fx, fy) = (x as f32, y as f32);
            let u = (fx * turn.cos() + fy * turn.sin()) / 19.0;
            let v = (fy * turn.cos() - fx * turn.sin()) / 33.0;
            let found = values[y * 37 + x];
            assert!((found - lattice.cubic(u, v)).abs() < 1e-5, "{x},{y}");
        }
    }

    #[test]
    fn quantiles_are_those_of_a_sorted_list() {
        let values: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32).collect();
        assert_eq!(quantile(&values, 0.75), 750.0);
        assert_eq!(quantile(&values, 0.0), 0.0);
        assert_eq!(quantile(&values, 1.0), 999.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn masks_stay_below_their_share() {
        let picture = vec![0.4; 128 * 128];
        let scene = Scene {
            picture: &picture,
            donor: &picture,
            channels: 1,
            height: 128,
            width: 128,
            scale: 1.0,
            level: 1.0,
        };
        let mut random = Pcg64::seed_from_u64(5);
        let mut areas: Vec<f32> = (0..300)
            .map(|_| {
                let patch = mask(&mut random, &scene);
                assert!(patch.weights.iter().all(|w| (0.0..=1.0).contains(w)));
                patch.weights.iter().sum::<f32>() / 16384.0
            })
            .collect();
        areas.sort_unstable_by(f32::total_cmp);
        // A quarter of the picture, and soft edges.
        assert!(areas[299] < 0.3, "{}", areas[299]);
        assert!(areas[30] < 0.01 && areas[150] > 0.01, "{:?}", &areas[..150]);
    }
}
