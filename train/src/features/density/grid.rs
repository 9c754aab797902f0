//! The grid to which all feature maps are brought.

use anyhow::{Result, bail, ensure};
use nalgebra::DMatrix;

use super::FeatureMap;

/// How a grid is chosen where none is given.
#[derive(Debug)]
struct GridParams {
    /// The number of cells that is aimed at: more make graphs larger and find no more.
    cells: f64,
    /// Fewer cells than these are taken only where no map has more: maps whose sides have hardly a
    /// divisor in common would otherwise end in one cell.
    least_cells: usize,
}

const PARAMS: GridParams = GridParams {
    cells: 256.0,
    least_cells: 16,
};

/// Name and shape of a feature map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Name of the tensor in the graph that makes it.
    pub name: String,
    /// C×h×w.
    pub shape: [usize; 3],
}

/// The feature maps that a model expects, and the grid to which they are brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) maps: Vec<MapShape>,
    /// Rows and columns.
    pub(super) size: [usize; 2],
}

/// How one side of a map becomes a side of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Places of the map of which a cell takes the maximum.
    pub(super) pool: usize,
    /// Cells for which a place of the map serves.
    pub(super) repeat: usize,
}

impl Step {
    fn between(map: usize, grid: usize) -> Option<Self> {
        if map.is_multiple_of(grid) {
            Some(Self {
                pool: map / grid,
                repeat: 1,
            })
        } else if grid.is_multiple_of(map) {
            Some(Self {
                pool: 1,
                repeat: grid / map,
            })
        } else {
            None
        }
    }
}

impl Grid {
    /// Chooses the grid for maps like `maps`, or checks the one that was asked for.
    ///
    /// # Errors
    /// No map, an empty map, two of one name, a grid to which a map can't be brought.
    pub(super) fn choose(maps: &[FeatureMap<'_>], asked: Option<[usize; 2]>) -> Result<Self> {
        ensure!(!maps.is_empty(), "there is no feature map to fit on");
        for (i, map) in maps.iter().enumerate() {
            check_length(map)?;
            ensure!(
                !map.shape.contains(&0),
                "feature map `{}` is empty: its shape is {:?} (C×h×w)",
                map.name,
                map.shape
            );
            ensure!(
                !maps[..i].iter().any(|other| other.name == map.name),
                "two feature maps are named `{}`",
                map.name
            );
        }
        let size = match asked {
            Some(size) => {
                for map in maps {
                    ensure!(
                        !size.contains(&0) && fits(map.shape, size),
                        "feature map `{}` has {}×{} places, which are neither multiples nor \
                         divisors of the grid's {}×{}: choose another grid{}",
                        map.name,
                        map.shape[1],
                        map.shape[2],
                        size[0],
                        size[1],
                        best(maps)
                            .map_or(String::new(), |[h, w]| format!(", {h}×{w} for instance"))
                    );
                }
                size
            }
            None => match best(maps) {
                Some(size) => size,
                None => bail!(
                    "no grid suits the feature maps {}: leave out some of them",
                    maps.iter()
                        .map(|m| format!("`{}` {}×{}", m.name, m.shape[1], m.shape[2]))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            },
        };
        Ok(Self {
            maps: maps
                .iter()
                .map(|map| MapShape {
                    name: map.name.to_owned(),
                    shape: map.shape,
                })
                .collect(),
            size,
        })
    }

    /// Number of cells.
    pub(super) fn cells(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Channels of all maps together.
    pub(super) fn channels(&self) -> usize {
        self.maps.iter().map(|map| map.shape[0]).sum()
    }

    /// How rows and columns of a map of `shape` become those of the grid.
    pub(super) fn steps(&self, shape: [usize; 3]) -> Option<[Step; 2]> {
        steps(shape, self.size)
    }

    /// Feature vectors of a frame, a column for each cell: channels×cells.
    ///
    /// # Errors
    /// Maps other than expected; NaN or an infinity, which is named.
    pub(super) fn pool(&self, maps: &[FeatureMap<'_>]) -> Result<DMatrix<f32>> {
        ensure!(
            maps.len() == self.maps.len(),
            "found {} feature maps, expected {}",
            maps.len(),
            self.maps.len()
        );
        let mut pooled = DMatrix::zeros(self.channels(), self.cells());
        let mut first = 0;
        for (map, expected) in maps.iter().zip(&self.maps) {
            ensure!(
                map.name == expected.name && map.shape == expected.shape,
                "found feature map `{}` {:?}, expected `{}` {:?} (C×h×w)",
                map.name,
                map.shape,
                expected.name,
                expected.shape
            );
            check_length(map)?;
            if let Some(place) = map.values.iter().position(|v| !v.is_finite()) {
                let [_, height, width] = map.shape;
                bail!(
                    "feature map `{}` is {} at channel {}, row {}, column {}: look for such values \
                     in the network's weights or its input",
                    map.name,
                    map.values[place],
                    place / (height * width),
                    place / width % height,
                    place % width
                );
            }
            let Some(steps) = self.steps(map.shape) else {
                bail!("feature map `{}` does not fit the grid", map.name);
            };
            self.pool_one(map, steps, first, &mut pooled);
            first += map.shape[0];
        }
        Ok(pooled)
    }

    fn pool_one(
        &self,
        map: &FeatureMap<'_>,
        [down, across]: [Step; 2],
        first: usize,
        pooled: &mut DMatrix<f32>,
    ) {
        let [channels, height, width] = map.shape;
        for channel in 0..channels {
            let plane = &map.values[channel * height * width..][..height * width];
            for row in 0..self.size[0] {
                let top = row / down.repeat * down.pool;
                for column in 0..self.size[1] {
                    let left = column / across.repeat * across.pool;
                    let mut largest = f32::NEG_INFINITY;
                    for y in top..top + down.pool {
                        for &value in &plane[y * width + left..][..across.pool] {
                            largest = largest.max(value);
                        }
                    }
                    pooled[(first + channel, row * self.size[1] + column)] = largest;
                }
            }
        }
    }
}

fn check_length(map: &FeatureMap<'_>) -> Result<()> {
    let expected = map
        .shape
        .iter()
        .try_fold(1_usize, |product, &side| product.checked_mul(side));
    ensure!(
        expected == Some(map.values.len()),
        "feature map `{}` has {} values, its shape is {:?} (C×h×w)",
        map.name,
        map.values.len(),
        map.shape
    );
    Ok(())
}

fn steps(shape: [usize; 3], grid: [usize; 2]) -> Option<[Step; 2]> {
    Some([
        Step::between(shape[1], grid[0])?,
        Step::between(shape[2], grid[1])?,
    ])
}

fn fits(shape: [usize; 3], grid: [usize; 2]) -> bool {
    steps(shape, grid).is_some()
}

/// The grid that suits all maps whose number of cells is nearest to the one that is aimed at, as
/// a ratio; of two as near the finer.
fn best(maps: &[FeatureMap<'_>]) -> Option<[usize; 2]> {
    let distance = |[h, w]: [usize; 2]| ((h * w) as f64 / PARAMS.cells).ln().abs();
    let largest = maps.iter().map(|map| map.shape[1] * map.shape[2]).max()?;
    let mut best: Option<[usize; 2]> = None;
    for map in maps {
        let [_, height, width] = map.shape;
        for divisor in 1..=height.min(width) {
            if !height.is_multiple_of(divisor) || !width.is_multiple_of(divisor) {
                continue;
            }
            let size = [height / divisor, width / divisor];
            if size[0] * size[1] < PARAMS.least_cells.min(largest)
                || !maps.iter().all(|map| fits(map.shape, size))
            {
                continue;
            }
            let better = best.is_none_or(|other| {
                let (new, old) = (distance(size), distance(other));
                new < old || (new == old && size[0] * size[1] > other[0] * other[1])
            });
            if better {
                best = Some(size);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(sizes: &[[usize; 2]], asked: Option<[usize; 2]>) -> Result<[usize; 2]> {
        let values: Vec<Vec<f32>> = sizes.iter().map(|[h, w]| vec![0.0; h * w]).collect();
        let names: Vec<String> = (0..sizes.len()).map(|i| format!("m{i}")).collect();
        let maps: Vec<FeatureMap> = sizes
            .iter()
            .zip(&values)
            .zip(&names)
            .map(|((&[h, w], values), name)| FeatureMap {
                name,
                shape: [1, h, w],
                values,
            })
            .collect();
        Grid::choose(&maps, asked).map(|grid| grid.size)
    }

    #[test]
    fn grids_near_256_cells() {
        assert_eq!(
            chosen(&[[32, 32], [16, 16], [8, 8]], None).unwrap(),
            [16, 16]
        );
        assert_eq!(
            chosen(&[[64, 64], [32, 32], [16, 16]], None).unwrap(),
            [16, 16]
        );
        assert_eq!(
            chosen(&[[56, 56], [28, 28], [14, 14], [7, 7]], None).unwrap(),
            [14, 14]
        );
        assert_eq!(
            chosen(&[[24, 40], [12, 20], [6, 10]], None).unwrap(),
            [12, 20]
        );
        assert_eq!(chosen(&[[37, 37]], None).unwrap(), [37, 37]);
        assert_eq!(chosen(&[[7, 7]], None).unwrap(), [7, 7]);
        assert_eq!(chosen(&[[32, 32]], Some([8, 64])).unwrap(), [8, 64]);
    }

    #[test]
    fn grids_that_do_not_fit_are_refused() {
        let error = chosen(&[[32, 32], [8, 8]], Some([12, 12])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`m0` has 32×32 places"), "{text}");
        assert!(
            text.ends_with("choose another grid, 16×16 for instance"),
            "{text}"
        );
        let error = chosen(&[[37, 37], [16, 16]], None).unwrap_err().to_string();
        assert!(error.contains("leave out some of them"), "{error}");
        assert!(chosen(&[], None).is_err());
        assert!(chosen(&[[4, 4]], Some([0, 4])).is_err());
    }

    #[test]
    fn maxima_and_repetitions() {
        let fine: Vec<f32> = (0..16).map(|v| v as f32).collect();
        let coarse = [5.0, -7.0];
        let maps = [
            FeatureMap {
                name: "fine",
                shape: [1, 4, 4],
                values: &fine,
            },
            FeatureMap {
                name: "coarse",
                shape: [2, 1, 1],
                values: &coarse,
            },
        ];
        let grid = Grid::choose(&maps, Some([2, 2])).unwrap();
        let pooled = grid.pool(&maps).unwrap();
        assert_eq!(
            pooled.row(0).iter().copied().collect::<Vec<_>>(),
            [5.0, 7.0, 13.0, 15.0]
        );
        assert_eq!(pooled.row(2).iter().copied().collect::<Vec<_>>(), [-7.0; 4]);
    }

    #[test]
    fn values_that_are_no_numbers_are_named() {
        let values = vec![0.0; 2 * 3 * 4];
        fn map(values: &[f32]) -> FeatureMap<'_> {
            FeatureMap {
                name: "features_8",
                shape: [2, 3, 4],
                values,
            }
        }
        let grid = Grid::choose(&[map(&values)], None).unwrap();
        let mut spoilt = values.clone();
        spoilt[12 + 4 + 3] = f32::NAN;
        let error = grid.pool(&[map(&spoilt)]).unwrap_err().to_string();
        assert!(
            error.starts_with("feature map `features_8` is NaN at channel 1, row 1, column 3"),
            "{error}"
        );
        let error = grid.pool(&[map(&values[1..])]).unwrap_err().to_string();
        assert!(error.contains("has 23 values"), "{error}");
        assert!(grid.pool(&[]).is_err());
    }
}
