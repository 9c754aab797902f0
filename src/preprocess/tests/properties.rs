//! What holds for frames of any size and content, extremes among them.

use ndarray::Array2;
use proptest::prelude::*;

use super::*;

fn sides() -> impl Strategy<Value = u32> {
    // One pixel, a few, and more than the tensor has.
    prop_oneof![Just(1), 2_u32..9, 30_u32..70]
}

fn crops() -> impl Strategy<Value = Option<Crop>> {
    let edges = (0.0_f64..0.6, 0.05_f64..0.4);
    prop::option::of(
        (edges.clone(), edges).prop_map(|((left, width), (top, height))| Crop {
            left,
            top,
            right: left + width,
            bottom: top + height,
        }),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No value leaves the range of the samples by more than its filter overshoots, whatever is
    /// resized to what, and a frame of one grey is a tensor of that grey.
    #[test]
    fn values_stay_in_range(
        (width, height) in (sides(), sides()),
        (columns, rows) in (1_usize..24, 1_usize..24),
        filter in prop::sample::select(FILTERS.to_vec()),
        crop in crops(),
        seed in any::<u64>(),
        grey in any::<u8>(),
    ) {
        let settings = PreprocessSettings {
            crop,
            ..settings(columns, rows, Colour::Grey, filter)
        };
        let count = (width * height) as usize;
        let samples = random_bytes(count, seed);
        let found = prepare(&settings, &frame8(width, height, PixelFormat::Gray8, samples));
        // In two directions, a sixth of an edge's height each at most.
        let overshoot = match filter {
            ResizeFilter::Area | ResizeFilter::Bilinear => 1e-6,
            ResizeFilter::Cubic | ResizeFilter::Lanczos3 => 0.5,
        };
        let range = -overshoot..=1.0 + overshoot;
        prop_assert!(found.iter().all(|value| range.contains(value)), "{found:?}");
        let plain = frame8(width, height, PixelFormat::Gray8, vec![grey; count]);
        let expected = f32::from(grey) / 255.0;
        for value in prepare(&settings, &plain) {
            prop_assert!((value - expected).abs() < 1e-5, "{value} {expected}");
        }
    }

    /// The way back: what is hot in the map is hot at its place in the frame, and nothing outside
    /// the region is.
    #[test]
    fn a_hot_cell_is_found_where_it_lies(
        (width, height) in (sides(), sides()),
        (columns, rows) in (1_usize..24, 1_usize..24),
        (column, row) in (0_usize..24, 0_usize..24),
        crop in crops(),
    ) {
        let (column, row) = (column % columns, row % rows);
        let geometry = Geometry::of(width, height, crop);
        let region = geometry.region;
        prop_assert!(region.x + region.width <= width && region.y + region.height <= height);
        let mut map = Array2::zeros((rows, columns));
        map[[row, column]] = 1.0_f32;
        let frame = geometry.map_to_frame(map.view());
        prop_assert_eq!(frame.dim(), (height as usize, width as usize));
        let hottest = frame.iter().copied().fold(f32::MIN, f32::max);
        prop_assert!((0.0..=1.0).contains(&hottest));
        for ((y, x), &value) in frame.indexed_iter() {
            let inside = |at: usize, start: u32, length: u32| {
                (start as usize..(start + length) as usize).contains(&at)
            };
            if !(inside(x, region.x, region.width) && inside(y, region.y, region.height)) {
                // The map's minimum; of a map of one cell that is the cell.
                prop_assert!(value == 0.0 || map.len() == 1, "{value} at {x}, {y}");
                continue;
            }
            // Bilinear interpolation reaches as far as the next cell's centre, averaging over
            // pixels no farther than a pixel.
            let near = |at: usize, start: u32, length: u32, cells: usize, cell: usize| {
                let scale = cells as f64 / f64::from(length);
                let centre = (at as f64 + 0.5 - f64::from(start)) * scale;
                (centre - (cell as f64 + 0.5)).abs() <= 1.0 + scale
            };
            let is_near = near(x, region.x, region.width, columns, column)
                && near(y, region.y, region.height, rows, row);
            prop_assert!(value <= 1e-6 || is_near, "{value} at {x}, {y}");
        }
    }
}
