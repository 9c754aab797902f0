use super::*;
use crate::{
    render::Canvas,
    synth::{DefectKind, Defects, SurfaceSettings, surface_frame},
};

fn past(count: usize) -> Vec<Past> {
    // A slow wave with a fine one on it, and what defects do to it.
    (0..count)
        .map(|place| {
            let at = place as f64;
            let quiet =
                2.1 + 0.25 * (at * 0.09).sin() + 0.22 * (at * 1.7).sin() * (at * 0.37).cos();
            match place {
                57..=59 => Past {
                    score: Some(6.4 + 0.5 * (at - 58.0)),
                    label: LabelView::Anomalous,
                },
                120..=123 => Past {
                    score: None,
                    label: LabelView::Invalid,
                },
                195.. => Past {
                    score: Some(5.2 + 0.45 * (at - 195.0)),
                    label: LabelView::Anomalous,
                },
                _ => Past {
                    score: Some(quiet),
                    label: LabelView::Normal,
                },
            }
        })
        .collect()
}

struct Scene {
    frame: RgbImage,
    map: ndarray::Array2<f32>,
    regions: Vec<RegionView>,
    past: Vec<Past>,
}

/// A procedural frame; its map is the defect's mask, blurred.
fn scene(part: u64, defect: Option<DefectKind>) -> Scene {
    let settings = SurfaceSettings {
        width: 480,
        height: 360,
        part,
        defects: defect.map_or(Defects::Never, Defects::Always),
    };
    let drawn = surface_frame(5, 4, &settings).unwrap();
    let mut map = ndarray::Array2::<f32>::zeros((360, 480));
    if let Some(mask) = &drawn.mask {
        let blurred = image::imageops::blur(mask, 5.0);
        for (x, y, pixel) in blurred.enumerate_pixels() {
            map[[y as usize, x as usize]] = f32::from(pixel.0[0]);
        }
        let peak = map.iter().copied().fold(0.0, f32::max);
        map *= 8.0 / peak;
    }
    let regions = crate::scoring::regions(map.view(), 3.0, 40);
    let anomalous = defect.is_some();
    let mut past = past(200);
    if !anomalous {
        past.truncate(195);
    }
    Scene {
        frame: image::DynamicImage::from(drawn.picture).into_rgb8(),
        regions: regions.iter().map(RegionView::from).collect(),
        map,
        past,
    }
}

fn tile<'a>(scene: &'a Scene, source: &'a str, notice: Option<&'a str>) -> HudTile<'a> {
    let latest = scene.past.last().unwrap();
    let anomalous = latest.label == LabelView::Anomalous;
    HudTile {
        source,
        frame: Some(&scene.frame),
        map: anomalous.then_some(scene.map.view()),
        scale: MapScale::around(3.0, 0.0),
        label: Some(latest.label),
        score: latest.score,
        threshold: Some(3.9),
        p_value: Some(if anomalous { 0.0008 } else { 0.41 }),
        regions: if anomalous { &scene.regions } else { &[] },
        past: &scene.past,
        fps: 29.8,
        judged: 48_211,
        dropped: 12,
        events: 3,
        event_open: anomalous,
        lost: false,
        notice,
    }
}

fn view<'a>(tiles: Vec<HudTile<'a>>) -> HudView<'a> {
    HudView {
        model: "surface-1",
        clock: "2026-03-04 14:05:06 UTC",
        temperature: Some(61.4),
        late: 0,
        tiles,
    }
}

fn drawn(width: u32, height: u32, view: &HudView<'_>) -> RgbImage {
    let mut canvas = Canvas::new(width, height, Rgb888::new(255, 0, 255));
    let Ok(()) = draw_hud(&mut canvas, view);
    canvas.into()
}

#[test]
fn every_size_and_number_of_sources_is_drawn() {
    let (bad, good) = (scene(1, Some(DefectKind::Scratch)), scene(2, None));
    for (width, height) in [
        (320, 240),
        (480, 320),
        (800, 480),
        (1080, 1920),
        (1920, 1080),
    ] {
        for count in [0, 1, 2, 5] {
            let tiles = (0..count)
                .map(|place| {
                    let scene = if place == 0 { &bad } else { &good };
                    tile(
                        scene,
                        "line 3",
                        (place == 1).then_some("drifted: the light is darker"),
                    )
                })
                .collect();
            let picture = drawn(width, height, &view(tiles));
            assert!(
                picture.pixels().all(|pixel| pixel.0 != [255, 0, 255]),
                "all is drawn"
            );
            let has = |wanted: Rgb888| {
                use embedded_graphics::pixelcolor::RgbColor;
                let wanted = [wanted.r(), wanted.g(), wanted.b()];
                picture.pixels().any(|pixel| pixel.0 == wanted)
            };
            assert_eq!(
                has(LabelView::Anomalous.colour()),
                count > 0,
                "{width}×{height}"
            );
            assert_eq!(has(LabelView::Normal.colour()), count > 1);
            assert_eq!(
                has(colour::BOX),
                count > 0,
                "box of the region, or the open event"
            );
        }
    }
}

#[test]
fn the_picture_is_shown_as_it_is_where_nothing_is_hot() {
    let good = scene(2, None);
    // The place of the picture: 480 by 360, as large as the frame.
    let mut canvas = Canvas::new(480, 360, Rgb888::new(0, 0, 0));
    let area = Area {
        corner: Point::zero(),
        size: Size::new(480, 448),
        factor: 1,
    };
    let picture = tile::layout(&area).picture;
    assert_eq!((picture.width(), picture.height()), (480, 360));
    let Ok(()) = tile::draw(&mut canvas, area, &tile(&good, "cam", None));
    assert_eq!(RgbImage::from(canvas), good.frame);
}

#[test]
fn nothing_known_and_no_room_do_not_panic() {
    let empty = HudTile {
        source: "a name that is far too long for any tile, µ\u{1F600}\n",
        frame: None,
        map: None,
        scale: MapScale::around(f32::NAN, 0.0),
        label: None,
        score: Some(f64::NAN),
        threshold: Some(f64::INFINITY),
        p_value: None,
        regions: &[],
        past: &[],
        fps: f64::NAN,
        judged: u64::MAX,
        dropped: 0,
        events: 0,
        event_open: true,
        lost: true,
        notice: Some("a notice that is long enough to need more than a single line of a panel"),
    };
    let nothing = RgbImage::new(0, 0);
    let pixel = RgbImage::new(1, 1);
    for (width, height) in [(0, 0), (1, 1), (17, 300), (300, 17), (100, 100), (401, 401)] {
        for count in [0, 1, 7] {
            for frame in [None, Some(&nothing), Some(&pixel)] {
                let one = HudTile {
                    frame,
                    ..empty.clone()
                };
                drawn(width, height, &view(vec![one; count]));
            }
        }
    }
}
