use super::*;
use crate::preprocess::{Colour, Tiles, tile_grid::ALIGNMENT};

fn layout(canvas: [usize; 2], tile: [usize; 2], overlap: f32) -> TileLayout {
    let settings = PreprocessSettings {
        tiles: Some(Tiles {
            width: canvas[0],
            height: canvas[1],
            overlap,
        }),
        ..PreprocessSettings::new(tile[0], tile[1], Colour::Grey)
    };
    settings.validate().unwrap();
    TileLayout::new(&settings)
}

/// Even and odd, with one tile and with many, aligned and not, up to 4K.
fn layouts() -> Vec<TileLayout> {
    [
        ([256, 256], [256, 256], 0.25),
        ([3840, 2160], [256, 256], 0.25),
        ([3840, 2160], [512, 512], 0.1),
        ([1024, 256], [256, 256], 0.0),
        ([701, 333], [128, 96], 0.3),
        ([129, 300], [128, 128], 0.75),
        ([97, 61], [28, 28], 0.5),
        ([5, 4], [2, 3], 0.4),
    ]
    .into_iter()
    .map(|(canvas, tile, overlap)| layout(canvas, tile, overlap))
    .collect()
}

#[test]
fn tiles_cover_the_canvas_with_the_overlap_asked_for() {
    for (canvas, tile, overlap) in [
        (3840, 256, 0.25),
        (2160, 256, 0.25),
        (701, 128, 0.3),
        (129, 128, 0.75),
        (1024, 256, 0.0),
        (8192, 512, 0.5),
        (97, 28, 0.5),
        (28, 28, 0.5),
        (2, 1, 0.75),
    ] {
        let starts = starts(canvas, tile, overlap);
        assert_eq!((starts[0], *starts.last().unwrap()), (0, canvas - tile));
        let most = tile as f64 * (1.0 - f64::from(overlap));
        let steps: Vec<usize> = starts.windows(2).map(|w| w[1] - w[0]).collect();
        for &step in &steps {
            assert!(step > 0 && step as f64 <= most.max(1.0), "{starts:?}");
        }
        // Even to one step of the alignment, and no tile too many.
        let (least, largest) = (steps.iter().min(), steps.iter().max());
        if let (Some(least), Some(largest)) = (least, largest) {
            assert!(largest - least <= ALIGNMENT, "{starts:?}");
            let fewer = steps.len() - 1;
            assert!(
                ((fewer * (most as usize)) as f64) < (canvas - tile) as f64 + 16.0 * fewer as f64
            );
        }
    }
    // By hand: steps of at most 192 over 3584 and 1904 pixels, in sixteenths.
    assert_eq!(starts(640, 256, 0.25), [0, 192, 384]);
    assert_eq!(starts(688, 256, 0.25), [0, 144, 288, 432]);
    let layout = layout([3840, 2160], [256, 256], 0.25);
    assert_eq!((layout.columns(), layout.rows()), (20, 11));
    assert_eq!(layout.count(), 220);
    let tile = layout.tile(219).unwrap();
    assert_eq!(
        [tile.x, tile.y, tile.width, tile.height],
        [3584, 1904, 256, 256]
    );
    assert_eq!(layout.tile(220), None);
}

#[test]
fn a_canvas_fits_its_frame() {
    let fitting = |frame, tile, most| Tiles::fitting(frame, tile, 0.25, most);
    // Not larger than a tile, or only one allowed.
    assert_eq!(fitting([200, 100], [256, 256], 64), None);
    assert_eq!(fitting([256, 256], [256, 256], 64), None);
    assert_eq!(fitting([3840, 2160], [256, 256], 1), None);
    assert_eq!(fitting([0, 5], [2, 2], 9), None);
    let native = fitting([640, 480], [128, 128], 1024).unwrap();
    assert_eq!((native.width, native.height), (640, 480));
    for (frame, tile, most) in [
        ([3840, 2160], [256, 256], 64),
        ([3840, 2160], [256, 256], 4),
        ([1021, 777], [128, 128], 20),
        ([300, 4000], [256, 256], 6),
        ([500, 100], [256, 256], 8),
    ] {
        let tiles = fitting(frame, tile, most).unwrap();
        assert!(tiles.count(tile[0], tile[1]) <= most);
        assert!(tiles.width <= frame[0].max(tile[0]) && tiles.height <= frame[1].max(tile[1]));
        assert!(tiles.width > tile[0] || tiles.height > tile[1]);
        assert_eq!(
            (tiles.width - tile[0]) % 16 + (tiles.height - tile[1]) % 16,
            0
        );
        if tiles.height > tile[1] && tiles.width > tile[0] {
            let kept = frame[1] as f64 * tiles.width as f64 / frame[0] as f64;
            assert!((tiles.height as f64 - kept).abs() < 32.0, "{tiles:?}");
        }
    }
    // As large as possible: the tiles of 4K at 64 are nearly used up.
    let large = fitting([3840, 2160], [256, 256], 64).unwrap();
    assert!(large.count(256, 256) > 48, "{large:?}");
}

/// Sizes of a tile's map for a layout: the tile's own, and a quarter, eighth and sixteenth.
fn maps(layout: &TileLayout) -> Vec<[usize; 2]> {
    [1, 4, 8, 16]
        .map(|stride| layout.tile.map(|side| side.div_ceil(stride)))
        .into_iter()
        .filter(|&[width, height]| stride_is_cheap(layout, width * height))
        .collect()
}

/// Full-resolution maps of a whole 4K canvas are left to one test.
fn stride_is_cheap(layout: &TileLayout, cells: usize) -> bool {
    layout.count() * cells < 4_000_000
}

fn blend(layout: &TileLayout, blend: &TileBlend, map: impl Fn(usize) -> Vec<f32>) -> Vec<f32> {
    let [height, width] = blend.size();
    let mut canvas = vec![f32::NAN; height * width];
    for tile in 0..layout.count() {
        blend.add(tile, &map(tile), &mut canvas);
    }
    canvas
}

#[test]
fn constants_stay_what_they_are() {
    for layout in layouts() {
        for [width, height] in maps(&layout) {
            let parts = TileBlend::new(&layout, height, width);
            for value in [0.1, -7.3e5, 0.0] {
                let canvas = blend(&layout, &parts, |_| vec![value; width * height]);
                assert!(canvas.iter().all(|&v| v == value), "{layout:?}");
            }
        }
    }
}

#[test]
fn the_shares_of_all_tiles_sum_to_one() {
    for layout in layouts().into_iter().filter(|layout| layout.count() < 40) {
        let [width, height] = layout.tile.map(|side| side.div_ceil(4));
        let parts = TileBlend::new(&layout, height, width);
        let [rows, columns] = parts.size();
        let mut sums = vec![0.0_f64; rows * columns];
        for chosen in 0..layout.count() {
            let share = blend(&layout, &parts, |tile| {
                vec![if tile == chosen { 1.0 } else { 0.0 }; width * height]
            });
            for (sum, share) in sums.iter_mut().zip(share) {
                assert!((-1e-6..=1.0 + 1e-6).contains(&share));
                *sum += f64::from(share);
            }
        }
        for sum in sums {
            assert!((sum - 1.0).abs() < 1e-6, "{sum} in {layout:?}");
        }
    }
}

#[test]
fn two_tiles_share_as_cosines() {
    // Tiles at 0 and 8 of 16 pixels: over the overlap the first has cos², the second sin².
    let layout = layout([24, 16], [16, 16], 0.5);
    assert_eq!((layout.columns(), layout.rows()), (2, 1));
    let parts = TileBlend::new(&layout, 16, 16);
    let canvas = blend(&layout, &parts, |tile| vec![tile as f32; 256]);
    for (x, &share) in canvas[..24].iter().enumerate() {
        let phase = ((x as f64 + 0.5 - 8.0) / 8.0).clamp(0.0, 1.0);
        let expected = (FRAC_PI_2 * phase).sin().powi(2);
        assert!((f64::from(share) - expected).abs() < 1e-6, "{x}: {share}");
    }
}

#[test]
fn a_ramp_survives() {
    for layout in layouts() {
        for [width, height] in maps(&layout) {
            let parts = TileBlend::new(&layout, height, width);
            let [rows, columns] = parts.size();
            let [tile_width, tile_height] = layout.tile;
            let (step_x, step_y) = (
                tile_width as f64 / width as f64,
                tile_height as f64 / height as f64,
            );
            let ramp = |x: f64, y: f64| 2.0 * x - y;
            let canvas = blend(&layout, &parts, |tile| {
                let place = layout.tile(tile).unwrap();
                (0..width * height)
                    .map(|i| {
                        let x = f64::from(place.x) + ((i % width) as f64 + 0.5) * step_x;
                        let y = f64::from(place.y) + ((i / width) as f64 + 0.5) * step_y;
                        ramp(x, y) as f32
                    })
                    .collect()
            });
            // Exact where the grids fall together; otherwise a tile's map ends half a cell
            // before the tile.
            let aligned = layout
                .columns
                .iter()
                .all(|&x| (x as f64 / step_x).fract() == 0.0)
                && layout
                    .rows
                    .iter()
                    .all(|&y| (y as f64 / step_y).fract() == 0.0)
                && (layout.canvas[0] as f64 / step_x).fract() == 0.0
                && (layout.canvas[1] as f64 / step_y).fract() == 0.0;
            let tolerance = if aligned { 1e-3 } else { step_x + 0.5 * step_y };
            for (i, &found) in canvas.iter().enumerate() {
                let x = ((i % columns) as f64 + 0.5) * layout.canvas[0] as f64 / columns as f64;
                let y = ((i / columns) as f64 + 0.5) * layout.canvas[1] as f64 / rows as f64;
                let difference = (f64::from(found) - ramp(x, y)).abs();
                assert!(difference <= tolerance, "{difference} in {layout:?}");
            }
        }
    }
}

#[test]
fn maps_of_a_sixteenth_fall_on_one_grid() {
    let layout = layout([3840, 2160], [256, 256], 0.25);
    assert_eq!(TileBlend::new(&layout, 16, 16).size(), [135, 240]);
    for stride in [4, 8, 16] {
        let parts = TileBlend::new(&layout, 256 / stride, 256 / stride);
        let cells = parts.columns.iter().chain(&parts.rows);
        assert!(
            cells
                .flat_map(|span| &span.cells)
                .all(|c| c.fraction == 0.0)
        );
    }
}

#[test]
fn wrong_maps_do_no_harm() {
    let layout = layout([24, 16], [16, 16], 0.5);
    let parts = TileBlend::new(&layout, 4, 4);
    let mut canvas = vec![0.0; 24];
    parts.add(0, &[1.0; 3], &mut canvas);
    parts.add(7, &[1.0; 16], &mut canvas);
    parts.add(0, &[1.0; 16], &mut canvas[..5]);
    assert_eq!(canvas, [0.0; 24]);
}
