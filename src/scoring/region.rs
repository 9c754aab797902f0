//! Connected regions of an anomaly map.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::SourceShare;

/// A region of the frame above the threshold, as [`RegionExtent`] has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Smallest rectangle around it: x, y, width, height, in pixels of the map.
    pub bbox: [u32; 4],
    /// Number of its pixels.
    pub area: u32,
    /// Largest value of the map in it.
    pub max: f32,
    /// Which sources speak against it, the strongest first; empty until a scorer was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceShare>,
}

/// Where regions of an anomaly map in the frame's geometry begin and end.
///
/// Pixels above the threshold that are 8-connected are one region. A map of coarse cells shows a
/// defect as a hill that is wider than the defect by as far as a cell sees. A step that was blurred
/// lies where it is half as high: there a region has the pixels that are higher than half of the
/// way from the threshold to its peak. Elsewhere it has all its pixels.
#[derive(Clone, Copy, Debug)]
pub struct RegionExtent<'a> {
    /// The map, `H×W`. NaN belongs to no region.
    pub map: ArrayView2<'a, f32>,
    /// Whether the map is of coarse cells.
    pub coarse: bool,
    /// Regions are above it.
    pub threshold: f32,
}

/// The regions of all pixels of a map, `H×W`, above a threshold, as [`RegionExtent::regions`] has
/// them of a map without blur.
pub fn regions(map: ArrayView2<'_, f32>, threshold: f32, minimum_area: u32) -> Vec<Region> {
    let extent = RegionExtent {
        map,
        coarse: false,
        threshold,
    };
    extent.regions(minimum_area)
}

impl RegionExtent<'_> {
    /// The regions of at least `minimum_area` pixels, by descending maximum; among equal ones from
    /// top to bottom, then from left to right.
    ///
    /// Time is linear in the pixels and memory in the runs of pixels above the threshold.
    pub fn regions(&self, minimum_area: u32) -> Vec<Region> {
        let mut extents = BTreeMap::<usize, Extent>::new();
        self.each_pixel(|y, x, region| {
            let pixel = Extent::of_pixel(y, x, self.map[[y, x]]);
            extents
                .entry(region)
                .and_modify(|extent| *extent = extent.merged(pixel))
                .or_insert(pixel);
        });
        let mut found: Vec<Region> = extents
            .into_values()
            .map(Extent::region)
            .filter(|region| region.area >= minimum_area)
            .collect();
        found.sort_unstable_by(|a, b| {
            b.max
                .total_cmp(&a.max)
                .then_with(|| (a.bbox[1], a.bbox[0]).cmp(&(b.bbox[1], b.bbox[0])))
                .then_with(|| (b.area, b.bbox).cmp(&(a.area, a.bbox)))
        });
        found
    }

    /// The region of each pixel, `H×W`: 0 for none, else a number of its own.
    pub fn labels(&self) -> Array2<u32> {
        let mut labels = Array2::zeros(self.map.dim());
        self.each_pixel(|y, x, region| labels[[y, x]] = region as u32 + 1);
        labels
    }

    /// Calls `take` with row, column and region of each pixel that a region has.
    fn each_pixel(&self, mut take: impl FnMut(usize, usize, usize)) {
        let (runs, mut components) = self.runs();
        let mut floors = BTreeMap::<usize, f32>::new();
        for run in runs.iter().filter(|_| self.coarse) {
            let values = (run.start..run.end).map(|x| self.map[[run.row, x]]);
            let peak = values.fold(self.threshold, f32::max);
            // Below the peak, however near it the threshold is.
            let half = (0.5 * (self.threshold + peak)).min(peak.next_down());
            let floor = floors.entry(components.root(run.component));
            floor
                .and_modify(|floor| *floor = floor.max(half))
                .or_insert(half);
        }
        for run in runs {
            let region = components.root(run.component);
            let floor = floors.get(&region).copied().unwrap_or(self.threshold);
            for x in run.start..run.end {
                if self.map[[run.row, x]] > floor {
                    take(run.row, x, region);
                }
            }
        }
    }

    /// Runs of pixels above the threshold, and which of them are connected.
    fn runs(&self) -> (Vec<Run>, Components) {
        let mut components = Components::default();
        let mut runs: Vec<Run> = Vec::new();
        let mut above = 0..0;
        for (row, values) in self.map.rows().into_iter().enumerate() {
            let first = runs.len();
            let mut open = None;
            // A value that ends the last run, so that no run is open after the row.
            let values = values.iter().copied().chain([f32::NAN]);
            for (x, value) in values.enumerate() {
                if value > self.threshold {
                    open = open.or(Some(x));
                    continue;
                }
                let Some(start) = open.take() else {
                    continue;
                };
                let component = components.add();
                // Runs of the row above that end before this one starts touch no later one either.
                while runs[above.clone()]
                    .first()
                    .is_some_and(|run| run.end < start)
                {
                    above.start += 1;
                }
                // Diagonal neighbours count: a run that ends where this one starts touches it.
                for run in runs[above.clone()].iter().take_while(|run| run.start <= x) {
                    components.join(component, run.component);
                }
                runs.push(Run {
                    row,
                    start,
                    end: x,
                    component,
                });
            }
            above = first..runs.len();
        }
        (runs, components)
    }
}

/// Neighbouring pixels of one row above the threshold: columns `start..end`.
struct Run {
    row: usize,
    start: usize,
    end: usize,
    component: usize,
}

/// Columns `left..right`, rows `top..bottom`.
#[derive(Clone, Copy)]
struct Extent {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
    area: usize,
    max: f32,
}

impl Extent {
    fn of_pixel(y: usize, x: usize, value: f32) -> Self {
        Self {
            left: x,
            right: x + 1,
            top: y,
            bottom: y + 1,
            area: 1,
            max: value,
        }
    }

    fn merged(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            right: self.right.max(other.right),
            top: self.top.min(other.top),
            bottom: self.bottom.max(other.bottom),
            area: self.area + other.area,
            max: self.max.max(other.max),
        }
    }

    fn region(self) -> Region {
        let pixels = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Region {
            bbox: [
                pixels(self.left),
                pixels(self.top),
                pixels(self.right - self.left),
                pixels(self.bottom - self.top),
            ],
            area: pixels(self.area),
            max: self.max,
            sources: Vec::new(),
        }
    }
}

/// Disjoint sets of runs.
#[derive(Default)]
struct Components {
    parents: Vec<usize>,
}

impl Components {
    fn add(&mut self) -> usize {
        self.parents.push(self.parents.len());
        self.parents.len() - 1
    }

    fn root(&mut self, mut component: usize) -> usize {
        while self.parents[component] != component {
            self.parents[component] = self.parents[self.parents[component]];
            component = self.parents[component];
        }
        component
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    fn by_flood_fill(map: &Array2<f32>, threshold: f32) -> Vec<Region> {
        let (height, width) = map.dim();
        let mut seen = Array2::from_elem((height, width), false);
        let mut found = Vec::new();
        for seed in 0..height * width {
            let mut stack = vec![(seed / width, seed % width)];
            let mut pixels = Vec::new();
            while let Some((y, x)) = stack.pop() {
                if seen[(y, x)] || map[(y, x)] <= threshold {
                    continue;
                }
                seen[(y, x)] = true;
                pixels.push((y, x));
                for ny in y.saturating_sub(1)..(y + 2).min(height) {
                    for nx in x.saturating_sub(1)..(x + 2).min(width) {
                        stack.push((ny, nx));
                    }
                }
            }
            if pixels.is_empty() {
                continue;
            }
            let ys = || pixels.iter().map(|p| p.0);
            let xs = || pixels.iter().map(|p| p.1);
            let (top, left) = (ys().min().unwrap(), xs().min().unwrap());
            found.push(Region {
                bbox: [
                    left as u32,
                    top as u32,
                    (xs().max().unwrap() - left + 1) as u32,
                    (ys().max().unwrap() - top + 1) as u32,
                ],
                area: pixels.len() as u32,
                max: pixels.iter().map(|&p| map[p]).fold(f32::MIN, f32::max),
                sources: Vec::new(),
            });
        }
        found
    }

    #[test]
    fn random_masks_are_filled_alike() {
        let mut rng = Pcg64::seed_from_u64(2);
        for round in 0..400 {
            let (height, width) = (rng.random_range(1..24), rng.random_range(1..24));
            let density = f64::from(round % 10) / 10.0 + 0.05;
            let map = Array2::from_shape_fn((height, width), |_| {
                if rng.random_bool(density) {
                    1.0 + rng.random::<f32>()
                } else {
                    rng.random::<f32>()
                }
            });
            let mut expected = by_flood_fill(&map, 1.0);
            expected.sort_unstable_by(|a, b| b.max.total_cmp(&a.max));
            assert_eq!(regions(map.view(), 1.0, 0), expected);
            expected.retain(|region| region.area >= 4);
            assert_eq!(regions(map.view(), 1.0, 4), expected);
        }
    }

    #[test]
    fn a_spiral_and_a_comb_are_one_region() {
        let picture = [
            "#########.#.#.#.#",
            "........#.#.#.#.#",
            "#######.#.#.#.#.#",
            "#.....#.#.#.#.#.#",
            "#.###.#.#.#.#.#.#",
            "#.#...#.#.#.#.#.#",
            "#.#####.#.#.#.#.#",
            "#.......#.#######",
            "#########........",
        ];
        let map = Array2::from_shape_fn((9, 17), |(y, x)| {
            f32::from(u8::from(picture[y].as_bytes()[x] == b'#'))
        });
        let found = regions(map.view(), 0.5, 1);
        let boxes: Vec<_> = found.iter().map(|region| region.bbox).collect();
        assert_eq!(boxes, [[0, 0, 9, 9], [10, 0, 7, 8]]);
    }

    #[test]
    fn diagonals_connect_and_the_threshold_itself_is_outside() {
        let map = array![
            [2.0f32, 1.0, 0.0, 0.0],
            [0.0, 3.0, 0.0, 5.0],
            [0.0, 0.0, f32::NAN, 0.0],
        ];
        assert_eq!(
            regions(map.view(), 1.0, 1),
            [
                Region {
                    bbox: [3, 1, 1, 1],
                    area: 1,
                    max: 5.0,
                    sources: Vec::new(),
                },
                Region {
                    bbox: [0, 0, 2, 2],
                    area: 2,
                    max: 3.0,
                    sources: Vec::new(),
                },
            ]
        );
        assert_eq!(regions(map.view(), f32::NAN, 1), []);
        assert_eq!(regions(map.view(), 9.0, 1), []);
    }

    #[test]
    fn empty_full_and_transposed_maps() {
        assert_eq!(regions(Array2::zeros((0, 0)).view(), 0.0, 0), []);
        assert_eq!(regions(Array2::zeros((3, 0)).view(), -1.0, 0), []);
        let full = Array2::<f32>::ones((3, 5));
        let found = regions(full.view().reversed_axes(), 0.5, 1);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].bbox, found[0].area), ([0, 0, 3, 5], 15));
    }

    #[test]
    fn regions_of_coarse_maps_end_half_way_to_their_peak() {
        // A hill of 9 with a shoulder, and a hill of 5, above 1.
        let map = array![[
            0.0f32, 3.0, 6.0, 9.0, 9.0, 5.5, 2.0, 3.0, 4.0, 0.5, 2.0, 3.5, 5.0, 3.0, 1.0
        ]];
        let extent = |coarse| RegionExtent {
            map: map.view(),
            coarse,
            threshold: 1.0,
        };
        assert_eq!(
            extent(true).labels(),
            array![[0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 2, 2, 0, 0]]
        );
        let of = |coarse| {
            let regions = extent(coarse).regions(1);
            let each = regions
                .iter()
                .map(|r| (r.bbox[0], r.bbox[2], r.area, r.max));
            each.collect::<Vec<_>>()
        };
        assert_eq!(of(true), [(2, 4, 4, 9.0), (11, 2, 2, 5.0)]);
        assert_eq!(of(false), [(1, 8, 8, 9.0), (10, 4, 4, 5.0)]);
        let flat = array![[1.0f32, 1.0f32.next_up()]];
        let extent = RegionExtent {
            map: flat.view(),
            coarse: true,
            threshold: 1.0,
        };
        assert_eq!(
            extent.regions(1).len(),
            1,
            "there is a region above each threshold"
        );
    }
}
