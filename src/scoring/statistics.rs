//! Mean and deviation of the residual at each position over normal frames, and the
//! standardisation by them.

use ndarray::{Array3, ArrayView3, Axis};

use super::ScoringError;
use crate::{
    image::Upsample,
    preprocess::Interior,
    value::{check_finite, check_length},
};

/// Weight, in frames, of the variance averaged over all positions in the variance of one position:
/// few frames give an uncertain variance, and the smallest of ten thousand uncertain ones would
/// decide every score (moderated variance; Smyth 2004). With hundreds of frames it hardly counts.
const PRIOR_FRAMES: f64 = 8.0;

/// Least deviation as a share of the root mean square deviation of all positions, so that a
/// position that never varied in training, such as a black corner, cannot divide by zero.
const LEAST_DEVIATION: f64 = 0.1;

/// Accumulates mean and variance of residual maps at each position (Welford 1962), in one pass over
/// normal frames.
#[derive(Clone, Debug)]
pub struct PositionStatistics {
    height: usize,
    width: usize,
    /// Positions whose variance counts in the average over all; without it every one.
    interior: Option<Interior>,
    frames: u64,
    mean: Vec<f64>,
    /// Sum of squared differences from the mean.
    squares: Vec<f64>,
}

impl PositionStatistics {
    /// For maps of `height×width`.
    pub fn new(height: usize, width: usize) -> Self {
        Self::within(height, width, None)
    }

    /// For maps of `height×width` of which only the positions of `interior` count.
    pub fn within(height: usize, width: usize, interior: Option<Interior>) -> Self {
        Self {
            height,
            width,
            interior,
            frames: 0,
            mean: vec![0.0; height * width],
            squares: vec![0.0; height * width],
        }
    }

    /// Adds the smoothed residual map (`H×W`) of a normal frame.
    ///
    /// # Errors
    /// A map of another size; NaN or an infinity in it. The statistics are then as before.
    pub fn push(&mut self, map: &[f32]) -> Result<(), ScoringError> {
        check_length("residual map", map.len(), self.mean.len())?;
        check_finite("residual map: value", map)?;
        self.frames += 1;
        let n = self.frames as f64;
        for ((&value, mean), squares) in map.iter().zip(&mut self.mean).zip(&mut self.squares) {
            let value = f64::from(value);
            let difference = value - *mean;
            *mean += difference / n;
            *squares += difference * (value - *mean);
        }
        Ok(())
    }

    /// Number of frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// μ and s at each position (of a large map, of [cells](statistics_size)), where s² = ((n −
    /// 1)·v + 8·v̄)/(n − 1 + 8) + (0.1)²·v̄ with v the variance at the position (divisor n − 1) and
    /// v̄ its mean over the positions that count: steadied where frames are few, and never 0.
    ///
    /// # Errors
    /// Fewer than two frames, or frames whose maps do not differ at all.
    pub fn finish(&self) -> Result<Standardisation, ScoringError> {
        if self.frames < 2 {
            return Err(ScoringError::Statistics {
                reason: format!(
                    "found {} frames, expected at least 2 normal frames",
                    self.frames
                ),
            });
        }
        let freedom = (self.frames - 1) as f64;
        let (sum, positions) = match &self.interior {
            None => (self.squares.iter().sum::<f64>(), self.squares.len()),
            Some(interior) => {
                let cells = interior.cells().iter().zip(&self.squares);
                let inside = cells.filter(|(inside, _)| **inside);
                (inside.map(|(_, squares)| squares).sum(), interior.count())
            }
        };
        let pooled = sum / freedom / positions as f64;
        let deviation = self.squares.iter().map(|squares| {
            let moderated = (squares + PRIOR_FRAMES * pooled) / (freedom + PRIOR_FRAMES);
            (moderated + LEAST_DEVIATION.powi(2) * pooled).sqrt() as f32
        });
        let mean = self.mean.iter().map(|&mean| mean as f32);
        let fine: Vec<f32> = mean.chain(deviation).collect();
        let size = [self.height, self.width];
        let fine = ArrayView3::from_shape([2, size[0], size[1]], &fine)
            .expect("two planes of as many values");
        let inside = self.interior.as_ref().map(Interior::cells);
        Standardisation::from_array(coarse(fine, inside).view(), size)
    }
}

/// Most cells of the statistics of a map.
const MOST_CELLS: usize = 65_536;

/// Rows and columns of the statistics of maps of `[height, width]`: a map with more than 65,536
/// positions has ⌈h/s⌉×⌈w/s⌉ cells of equal size, s = ⌈√(h w / 65,536)⌉, so that a bundle's file
/// stays below 600 kB.
pub fn statistics_size([height, width]: [usize; 2]) -> [usize; 2] {
    let step = ((height * width) as f64 / MOST_CELLS as f64).sqrt().ceil();
    let step = (step as usize).max(1);
    [height.div_ceil(step), width.div_ceil(step)]
}

/// μ and s of [cells](statistics_size) from those of positions: the mean of μ, and s so that s² is
/// the mean of the positions' squared deviations from it; of those `inside` where a cell has any.
fn coarse(fine: ArrayView3<f32>, inside: Option<&[bool]>) -> Array3<f32> {
    let (planes, height, width) = fine.dim();
    let [rows, columns] = statistics_size([height, width]);
    if [rows, columns] == [height, width] {
        return fine.to_owned();
    }
    let mut cells = Array3::zeros((planes, rows, columns));
    for row in 0..rows {
        for column in 0..columns {
            let span =
                |cell: usize, of: usize, side: usize| cell * side / of..(cell + 1) * side / of;
            let across = span(column, columns, width);
            let all: Vec<[usize; 2]> = span(row, rows, height)
                .flat_map(|y| across.clone().map(move |x| [y, x]))
                .collect();
            let counts = |&[y, x]: &[usize; 2]| inside.is_none_or(|inside| inside[y * width + x]);
            let counted: Vec<[usize; 2]> = all.iter().copied().filter(counts).collect();
            let positions = if counted.is_empty() { all } else { counted };
            let count = positions.len() as f32;
            let mean = positions.iter().map(|&[y, x]| fine[(0, y, x)]).sum::<f32>() / count;
            let squares = positions
                .iter()
                .map(|&[y, x]| (fine[(0, y, x)] - mean).powi(2) + fine[(1, y, x)].powi(2));
            cells[(0, row, column)] = mean;
            cells[(1, row, column)] = (squares.sum::<f32>() / count).sqrt();
        }
    }
    cells
}

/// Standardises maps: z = (a − μ)/s at each position.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardisation {
    /// As the bundle's file holds them.
    cells: Array3<f32>,
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Standardisation {
    /// From `2×h×w`, μ, then s, as the bundle's file holds them, for maps of `[height, width]`. h×w
    /// is what [`statistics_size`] makes of these; where that is coarser, values between the
    /// centres of cells are interpolated linearly, and level beyond the outermost ones.
    ///
    /// # Errors
    /// Another shape; no position; NaN or an infinity; a deviation that is not positive.
    pub fn from_array(
        array: ArrayView3<f32>,
        [height, width]: [usize; 2],
    ) -> Result<Self, ScoringError> {
        let wrong = |reason| Err(ScoringError::Statistics { reason });
        if height * width == 0 {
            return wrong(format!(
                "found a map of {height}×{width}, expected at least one position"
            ));
        }
        let (planes, rows, columns) = array.dim();
        let [expected_rows, expected_columns] = statistics_size([height, width]);
        check_length("statistics of the anomaly maps: planes", planes, 2)?;
        check_length("statistics of the anomaly maps: rows", rows, expected_rows)?;
        check_length(
            "statistics of the anomaly maps: columns",
            columns,
            expected_columns,
        )?;
        let cells = array.as_standard_layout().into_owned();
        let mut upsample = Upsample::to([height, width]);
        let mut plane = |index: usize| {
            let plane: Vec<f32> = cells.index_axis(Axis(0), index).iter().copied().collect();
            upsample.apply(&plane, [rows, columns]).to_vec()
        };
        let (mean, deviation) = (plane(0), plane(1));
        check_finite("mean of the residual at position", &mean)?;
        check_finite("deviation of the residual at position", &deviation)?;
        if let Some(position) = deviation.iter().position(|&deviation| deviation <= 0.0) {
            return wrong(format!(
                "the deviation at position {position} is {}, expected a positive one; train on \
                 normal frames that differ from each other",
                deviation[position]
            ));
        }
        Ok(Self {
            cells,
            mean,
            deviation,
        })
    }

    /// As [`Standardisation::from_array`] takes it.
    pub fn to_array(&self) -> Array3<f32> {
        self.cells.clone()
    }

    /// Standardises a map (`H×W`) in place.
    ///
    /// # Errors
    /// A map of another size.
    pub fn apply(&self, map: &mut [f32]) -> Result<(), ScoringError> {
        check_length("anomaly map", map.len(), self.mean.len())?;
        for ((value, mean), deviation) in map.iter_mut().zip(&self.mean).zip(&self.deviation) {
            *value = (*value - mean) / deviation;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    #[test]
    fn mean_and_moderated_deviation_by_hand() {
        let mut statistics = PositionStatistics::new(1, 3);
        for map in [[1.0, 5.0, 0.0], [3.0, 5.0, 4.0], [5.0, 5.0, 2.0]] {
            statistics.push(&map).unwrap();
        }
        assert_eq!(statistics.frames(), 3);
        // Variances 4, 0, 4 with two degrees of freedom; their mean is 8/3.
        let pooled = 8.0f64 / 3.0;
        let expected =
            |variance: f64| ((2.0 * variance + 8.0 * pooled) / 10.0 + 0.01 * pooled).sqrt() as f32;
        let found = statistics.finish().unwrap().to_array();
        let by_hand = array![
            [[3.0, 5.0, 2.0]],
            [[expected(4.0), expected(0.0), expected(4.0)]]
        ];
        assert!((&found - &by_hand).iter().all(|d: &f32| d.abs() < 1e-6));
    }

    #[test]
    fn masked_positions_do_not_steady_the_others() {
        let interior = Interior::of(vec![true, false, true]);
        let mut statistics = PositionStatistics::within(1, 3, Some(interior));
        for map in [[1.0, 5.0, 0.0], [3.0, 5.0, 4.0], [5.0, 5.0, 2.0]] {
            statistics.push(&map).unwrap();
        }
        // Variances 4 and 4, so their mean is 4; outside, where the variance is 0, it serves too.
        let found = statistics.finish().unwrap().to_array();
        let expected = |variance: f64| ((2.0 * variance + 32.0) / 10.0 + 0.04).sqrt() as f32;
        for (x, variance) in [4.0, 0.0, 4.0].into_iter().enumerate() {
            assert!((found[(1, 0, x)] - expected(variance)).abs() < 1e-6);
        }
    }

    #[test]
    fn welford_agrees_with_two_passes_far_from_zero() {
        let frames: Vec<[f32; 2]> = (0..200)
            .map(|i| [10_000.0 + ((i * 37) % 101) as f32 / 100.0, (i % 2) as f32])
            .collect();
        let mut statistics = PositionStatistics::new(2, 1);
        for map in &frames {
            statistics.push(map).unwrap();
        }
        for position in 0..2 {
            let values: Vec<f64> = frames.iter().map(|m| f64::from(m[position])).collect();
            let mean = values.iter().sum::<f64>() / 200.0;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            assert!((statistics.mean[position] - mean).abs() < 1e-9);
            assert!((statistics.squares[position] / squares - 1.0).abs() < 1e-7);
        }
    }

    #[test]
    fn the_array_goes_there_and_back() {
        let array = Array3::from_shape_fn((2, 3, 4), |(p, y, x)| (1 + p + 2 * y + 3 * x) as f32);
        let standardisation = Standardisation::from_array(array.view(), [3, 4]).unwrap();
        assert_eq!(standardisation.to_array(), array);
        // A transposed view, whose memory is in another order.
        let transposed = array.view().permuted_axes([0, 2, 1]);
        let standardisation = Standardisation::from_array(transposed, [4, 3]).unwrap();
        assert_eq!(standardisation.to_array(), transposed);
        assert_eq!(standardisation.mean[..4], [1.0, 3.0, 5.0, 4.0]);
    }

    #[test]
    fn large_maps_have_coarser_statistics() {
        assert_eq!(statistics_size([256, 256]), [256, 256]);
        assert_eq!(statistics_size([512, 512]), [256, 256]);
        assert_eq!(statistics_size([301, 301]), [151, 151]);
        assert_eq!(statistics_size([2160, 3840]), [180, 320]);

        // μ climbs by one a column, s is 2; in a cell of 2×2 μ differs by a half from its mean.
        let fine = Array3::from_shape_fn((2, 512, 512), |(plane, _, x)| match plane {
            0 => x as f32,
            _ => 2.0,
        });
        let cells = coarse(fine.view(), None);
        assert_eq!(cells.dim(), (2, 256, 256));
        assert_eq!(cells[(0, 7, 3)], 6.5);
        assert!((cells[(1, 7, 3)] - 4.25_f32.sqrt()).abs() < 1e-6);
        // Interpolated, the slope is there again, but for half a cell at the edge.
        let found = Standardisation::from_array(cells.view(), [512, 512]).unwrap();
        let row = &found.mean[100 * 512..101 * 512];
        assert!(
            (1..511).all(|x| (row[x] - x as f32).abs() < 1e-3),
            "{:?}",
            &row[..4]
        );
        assert_eq!([row[0], row[511]], [0.5, 510.5]);
        assert_eq!(found.to_array(), cells);

        // Of a cell at a mask's edge the positions that count speak, of one beyond it all.
        let inside: Vec<bool> = (0..512 * 512).map(|place| place % 512 >= 7).collect();
        let masked = coarse(fine.view(), Some(&inside));
        assert_eq!([2, 3, 4].map(|x| masked[(0, 9, x)]), [4.5, 7.0, 8.5]);
        assert_eq!(masked[(1, 9, 3)], 2.0);
    }

    #[test]
    fn maps_are_standardised() {
        let array = array![[[1.0, 2.0]], [[0.5, 4.0]]];
        let mut map = [2.0, 0.0];
        Standardisation::from_array(array.view(), [1, 2])
            .unwrap()
            .apply(&mut map)
            .unwrap();
        assert_eq!(map, [2.0, -0.5]);
    }

    #[test]
    fn unusable_statistics_are_refused() {
        let mut statistics = PositionStatistics::new(1, 2);
        assert!(statistics.push(&[1.0]).is_err());
        assert!(statistics.push(&[1.0, f32::NAN]).is_err());
        assert_eq!(statistics.frames(), 0);
        statistics.push(&[1.0, 2.0]).unwrap();
        assert!(statistics.finish().is_err());
        statistics.push(&[1.0, 2.0]).unwrap();
        let message = statistics.finish().unwrap_err().to_string();
        assert!(message.contains("differ from each other"), "{message}");
        assert!(PositionStatistics::new(0, 5).finish().is_err());

        for array in [
            array![[[1.0f32]], [[0.0]]],
            array![[[1.0]], [[-1.0]]],
            array![[[1.0]], [[f32::NAN]]],
            array![[[f32::INFINITY]], [[1.0]]],
            array![[[1.0]]],
        ] {
            assert!(Standardisation::from_array(array.view(), [1, 1]).is_err());
        }
        let empty = Array3::zeros((2, 0, 4));
        assert!(Standardisation::from_array(empty.view(), [0, 4]).is_err());
    }
}
