//! Where an anomalous frame is so.

use ndarray::{Array2, ArrayView2};

use crate::{
    preprocess::{CanvasLayout, Geometry},
    scoring::RegionExtent,
};

/// The anomaly map of a frame in the frame's geometry, as regions are looked for in it.
pub(super) struct RegionMap {
    /// `H×W`; NaN where the mask leaves pixels out.
    values: Array2<f32>,
    /// Whether the map is of cells of several pixels.
    coarse: bool,
}

impl RegionMap {
    /// Of a map of the canvas, whose cells have so many rows and columns.
    pub(super) fn of(
        map: ArrayView2<'_, f32>,
        cell: [usize; 2],
        geometry: &Geometry,
        layout: &CanvasLayout,
    ) -> Self {
        let mut values = geometry.map_to_frame(map);
        if let Some(mask) = layout.mask() {
            // NaN belongs to no region.
            values.zip_mut_with(&mask.in_frame(geometry), |value, &inside| {
                if !inside {
                    *value = f32::NAN;
                }
            });
        }
        Self {
            values,
            coarse: cell.into_iter().any(|side| side > 1),
        }
    }

    /// The threshold for its regions: the first of these that it has a pixel above. Where there is
    /// none, it is below the peak by a tenth of the map's range.
    pub(super) fn threshold(&self, thresholds: impl IntoIterator<Item = f64>) -> f32 {
        let values = self.values.iter().copied();
        let peak = values.clone().fold(f32::NEG_INFINITY, f32::max);
        let lowest = values.fold(f32::INFINITY, f32::min);
        thresholds
            .into_iter()
            .map(not_above)
            .find(|&threshold| peak > threshold)
            .unwrap_or_else(|| (peak - 0.1 * (peak - lowest)).min(peak.next_down()))
    }

    /// Its regions above a threshold.
    pub(super) fn extent(&self, threshold: f32) -> RegionExtent<'_> {
        RegionExtent {
            map: self.values.view(),
            coarse: self.coarse,
            threshold,
        }
    }
}

/// The pixels of the canvas (`rows`, `columns`) that a rectangle `[x, y, width, height]` of the
/// frame covers, in the same order.
pub(super) fn part_of_canvas(
    geometry: &Geometry,
    [x, y, width, height]: [u32; 4],
    (rows, columns): (usize, usize),
) -> [usize; 4] {
    let region = geometry.region;
    let span = |from: u32, length: u32, origin: u32, of: u32, side: usize| {
        let place = |edge: u32| {
            let inside = f64::from(edge.saturating_sub(origin).min(of));
            inside * side as f64 / f64::from(of)
        };
        let first = (place(from) as usize).min(side - 1);
        let last = (place(from + length).ceil() as usize).clamp(first + 1, side);
        (first, last - first)
    };
    let (x, width) = span(x, width, region.x, region.width, columns);
    let (y, height) = span(y, height, region.y, region.height, rows);
    [x, y, width, height]
}

/// The largest f32 that is not above `value`, so that an f32 is above the one if and only if it is
/// above the other.
fn not_above(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) > value {
        nearest.next_down()
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{image::Upsample, preprocess::PixelRect};

    #[test]
    fn the_region_of_a_hot_cell_is_the_cell() {
        // 3×3 cells of 4×4 pixels, of which the middle one is hot, on a frame of the same size.
        let cells = [0.0, 0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0, 0.0];
        let mut upsample = Upsample::to([12, 12]);
        let map = ArrayView2::from_shape((12, 12), upsample.apply(&cells, [3, 3])).unwrap();
        let geometry = Geometry {
            frame_width: 12,
            frame_height: 12,
            region: PixelRect {
                x: 0,
                y: 0,
                width: 12,
                height: 12,
            },
        };
        let layout = CanvasLayout::whole(12, 12);
        let found = |cell| {
            let map = RegionMap::of(map, cell, &geometry, &layout);
            let threshold = map.threshold([20.0, 0.5]);
            assert_eq!(threshold, 0.5);
            let regions = map.extent(threshold).regions(1);
            regions.iter().map(|r| (r.bbox, r.area)).collect::<Vec<_>>()
        };
        // The hill is 7.66 high, and 10·w(x)·w(y) with w = 7/8, 5/8, 3/8, 1/8 from its middle: half
        // way down to the threshold, at 4.08, are all pixels of the cell but its corners.
        assert_eq!(found([4, 4]), [([4, 4, 4, 4], 12)]);
        // A map without cells is taken as it is: all products above 0.05.
        assert_eq!(found([1, 1]), [([2, 2, 8, 8], 52)]);
    }
}
