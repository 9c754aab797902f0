//! Draws what the display beside a line shows (`[[screen]]` of `edge-vae watch`), for a size of
//! your choice, into a PNG file: one camera with an event, one that drifted, one that is lost.
//!
//! ```text
//! cargo run --example draw_display -- display.png 1280 720
//! ```
//!
//! The frames are procedural, and their masks stand in for the anomaly maps of a model.

use anyhow::Context;
use edge_vae::{
    render::{Canvas, HudTile, HudView, LabelView, MapScale, Past, RegionView, draw_hud},
    scoring::regions,
    synth::{DefectKind, Defects, SurfaceSettings, surface_frame},
};
use embedded_graphics::pixelcolor::Rgb888;
use image::{DynamicImage, RgbImage, imageops};
use ndarray::Array2;

const THRESHOLD: f64 = 3.0;

/// What is wrong where the size is none.
const SIDES: &str = "width and height are whole numbers of pixels";

/// A frame, and what was found in it.
struct Scene {
    frame: RgbImage,
    map: Array2<f32>,
    regions: Vec<RegionView>,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or("display.png".to_owned());
    let mut side = |usual: u32| arguments.next().map_or(Ok(usual), |text| text.parse());
    let (width, height) = (side(1280).context(SIDES)?, side(720).context(SIDES)?);

    let (bad, good) = (scene(Some(DefectKind::Chip))?, scene(None)?);
    let (calm, event) = (past(150), [past(190), defective(10)].concat());
    let normal = HudTile {
        source: "line-2",
        frame: Some(&good.frame),
        map: None,
        scale: MapScale::around(THRESHOLD as f32, 0.0),
        label: Some(LabelView::Normal),
        score: calm.last().and_then(|latest| latest.score),
        threshold: Some(THRESHOLD),
        p_value: Some(0.41),
        regions: &[],
        past: &calm,
        fps: 29.8,
        judged: 48_211,
        dropped: 12,
        events: 3,
        event_open: false,
        lost: false,
        notice: Some("drifted: the light or the exposure changed"),
    };
    let view = HudView {
        model: "surface",
        clock: "2026-03-04 14:05:06 UTC",
        temperature: Some(61.4),
        late: 0,
        tiles: vec![
            HudTile {
                source: "line-1",
                frame: Some(&bad.frame),
                map: Some(bad.map.view()),
                label: Some(LabelView::Anomalous),
                score: event.last().and_then(|latest| latest.score),
                p_value: Some(0.0008),
                regions: &bad.regions,
                past: &event,
                event_open: true,
                notice: None,
                ..normal.clone()
            },
            normal.clone(),
            HudTile {
                source: "line-3",
                frame: None,
                label: None,
                score: None,
                p_value: None,
                past: &[],
                lost: true,
                notice: Some("lost: /dev/video2: unplugged; trying again"),
                ..normal
            },
        ],
    };
    let mut canvas = Canvas::new(width, height, Rgb888::new(0, 0, 0));
    let Ok(()) = draw_hud(&mut canvas, &view);
    RgbImage::from(canvas).save(&path)?;
    println!("{path}: {width}×{height} pixels");
    Ok(())
}

/// A procedural frame, with a map that is the defect's mask, blurred.
fn scene(defect: Option<DefectKind>) -> anyhow::Result<Scene> {
    let settings = SurfaceSettings {
        width: 480,
        height: 360,
        defects: defect.map_or(Defects::Never, Defects::Always),
        ..SurfaceSettings::default()
    };
    let drawn = surface_frame(5, 4, &settings)?;
    let mut map = Array2::zeros((360, 480));
    if let Some(mask) = &drawn.mask {
        let blurred = imageops::fast_blur(mask, 5.0);
        let heat = |(y, x)| f32::from(blurred.get_pixel(x as u32, y as u32).0[0]);
        let peak = blurred.pixels().map(|pixel| pixel.0[0]).max();
        map = Array2::from_shape_fn(map.dim(), heat) * (8.0 / f32::from(peak.unwrap_or(1).max(1)));
    }
    let found = regions(map.view(), THRESHOLD as f32, 40);
    Ok(Scene {
        frame: DynamicImage::from(drawn.picture).into_rgb8(),
        regions: found.iter().map(RegionView::from).collect(),
        map,
    })
}

/// Scores of normal frames: a slow wave with a fine one on it.
fn past(count: u32) -> Vec<Past> {
    let score = |at: f64| 2.0 + 0.25 * (at * 0.09).sin() + 0.2 * (at * 1.7).sin();
    (0..count)
        .map(|place| Past {
            score: Some(score(place.into())),
            label: LabelView::Normal,
        })
        .collect()
}

/// Rising scores of frames with a defect.
fn defective(count: u32) -> Vec<Past> {
    (0..count)
        .map(|place| Past {
            score: Some(4.0 + 0.4 * f64::from(place)),
            label: LabelView::Anomalous,
        })
        .collect()
}
