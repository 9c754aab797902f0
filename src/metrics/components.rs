//! Connected regions of a mask.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView2};

/// The 8-connected regions of a mask: pixels that touch at an edge or at a corner belong together,
/// as in `cv2.connectedComponents`, which anomalib counts regions with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// `H×W`: 0 outside of all regions, else the region's number, from 1, in the order in which
    /// reading row by row meets them.
    pub labels: Array2<u32>,
    /// Pixels of each region; that of region n at n − 1.
    pub sizes: Vec<u32>,
}

impl Components {
    /// The regions of the pixels that are set, `H×W`. Time and memory are linear in the pixels.
    pub fn of(mask: ArrayView2<'_, bool>) -> Self {
        let (height, width) = mask.dim();
        let mut labels = Array2::<u32>::zeros((height, width));
        let mut sizes = Vec::new();
        let mut open: Vec<(usize, usize)> = Vec::new();
        for ((y, x), &set) in mask.indexed_iter() {
            if !set || labels[[y, x]] != 0 {
                continue;
            }
            let label = sizes.len() as u32 + 1;
            let mut size = 0;
            labels[[y, x]] = label;
            open.push((y, x));
            while let Some((y, x)) = open.pop() {
                size += 1;
                for y in y.saturating_sub(1)..(y + 2).min(height) {
                    for x in x.saturating_sub(1)..(x + 2).min(width) {
                        if mask[[y, x]] && labels[[y, x]] == 0 {
                            labels[[y, x]] = label;
                            open.push((y, x));
                        }
                    }
                }
            }
            sizes.push(size);
        }
        Self { labels, sizes }
    }

    /// Regions that are labelled already, `H×W`: 0 outside, and a number of its own in each, which
    /// need not be connected. They are numbered anew in the order in which reading row by row
    /// meets them.
    pub fn from_labels(mut labels: Array2<u32>) -> Self {
        let mut numbers = BTreeMap::new();
        let mut sizes = Vec::new();
        for label in labels.iter_mut().filter(|label| **label > 0) {
            let number: usize = *numbers.entry(*label).or_insert_with(|| {
                sizes.push(0);
                sizes.len()
            });
            sizes[number - 1] += 1;
            *label = number as u32;
        }
        Self { labels, sizes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Array2<bool> {
        let width = rows.first().map_or(0, |row| row.len());
        Array2::from_shape_fn((rows.len(), width), |(y, x)| rows[y].as_bytes()[x] == b'#')
    }

    #[test]
    fn corners_connect() {
        let found = Components::of(
            mask(&[
                "#...##", //
                ".#..#.", //
                "......", //
                "#.#.#.", //
                ".#.#..", //
            ])
            .view(),
        );
        assert_eq!(found.sizes, [2, 3, 5]);
        let expected = [
            [1, 0, 0, 0, 2, 2],
            [0, 1, 0, 0, 2, 0],
            [0, 0, 0, 0, 0, 0],
            [3, 0, 3, 0, 3, 0],
            [0, 3, 0, 3, 0, 0],
        ];
        assert_eq!(found.labels, ndarray::arr2(&expected));
    }

    #[test]
    fn labels_are_numbered_anew() {
        let found = Components::from_labels(ndarray::array![[0, 7, 2], [7, 0, 9]]);
        assert_eq!(found.labels, ndarray::array![[0, 1, 2], [1, 0, 3]]);
        assert_eq!(found.sizes, [2, 1, 1]);
    }

    #[test]
    fn a_spiral_is_one_region_and_nothing_is_none() {
        let spiral = mask(&["#####", "....#", "###.#", "#...#", "#####"]);
        assert_eq!(Components::of(spiral.view()).sizes, [17]);
        let full = Array2::from_elem((300, 200), true);
        assert_eq!(Components::of(full.view()).sizes, [60_000]);
        let empty = Array2::from_elem((0, 0), true);
        assert!(Components::of(empty.view()).sizes.is_empty());
    }
}
