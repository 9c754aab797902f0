//! What the monitor of drift says of a camera whose light, focus or place changes, of its parts
//! that become bad, and of nothing at all: procedural frames through the shipped model.
//!
//! ```text
//! cargo run --release --example changed_camera
//! ```
//!
//! Each line is a camera of its own, watched for two windows of frames; the columns are the
//! p-values of the last window, with a star where the quantity is told as changed.

use std::path::Path;

use edge_vae::{
    Detector, DetectorOptions, Frame,
    drift::{DriftFrame, DriftMonitor, DriftSettings, Quantity, WindowResult},
    frame::PixelFormat,
    synth::{Defects, SurfaceSettings, surface_frame},
};
use image::{GrayImage, Luma, imageops};

/// Frames of a window; those of `edge-vae watch` are 300 by default.
const WINDOW: usize = 60;

/// What has become of a camera's picture.
type Change = fn(GrayImage) -> GrayImage;

fn main() -> anyhow::Result<()> {
    let model = Path::new("models/surface");
    let mut detector = Detector::open(model, &DetectorOptions::default())?;
    let cameras: [(&str, f64, Change); 8] = [
        ("as it was", 0.0, |picture| picture),
        ("5 % of parts bad", 0.05, |picture| picture),
        ("all parts bad", 1.0, |picture| picture),
        ("light -5 %", 0.0, |picture| light(picture, 0.95)),
        ("light -20 %", 0.0, |picture| light(picture, 0.8)),
        ("light +20 %", 0.0, |picture| light(picture, 1.2)),
        ("blurred", 0.0, |picture| imageops::fast_blur(&picture, 1.5)),
        ("turned", 0.0, turned),
    ];
    let columns = Quantity::ALL.map(|quantity| format!("{:<11}", quantity.name()));
    println!("{:<17} {} says", "camera", columns.join(""));
    for (seed, (name, defects, change)) in (100..).zip(cameras) {
        let settings = SurfaceSettings {
            defects: Defects::Rate(defects),
            ..SurfaceSettings::default()
        };
        let found = watched(&mut detector, seed, &settings, change)?;
        println!("{name:<17} {}", line(found.as_ref()));
    }
    Ok(())
}

/// What two windows of frames come to; `None` where the monitor tells nothing.
fn watched(
    detector: &mut Detector,
    seed: u64,
    settings: &SurfaceSettings,
    change: Change,
) -> anyhow::Result<Option<WindowResult>> {
    let drift = DriftSettings {
        window: WINDOW,
        ..DriftSettings::default()
    };
    let Some(mut monitor) = DriftMonitor::new(&drift, detector.calibration())? else {
        anyhow::bail!("the calibration has nothing to compare with");
    };
    for index in 0..2 * WINDOW as u64 {
        let picture = change(surface_frame(seed, index, settings)?.picture);
        let size = [picture.width(), picture.height()];
        let samples = picture.into_raw();
        let frame = Frame::from_u8(size[0], size[1], PixelFormat::Gray8, samples, "camera")?;
        let detection = detector.score(&frame)?;
        // A frame that is too dark or too bright to be judged has no score.
        let Some(score) = detection.verdict.score else {
            continue;
        };
        let told = monitor.observe(&DriftFrame {
            score,
            divergence: detection.divergence,
            statistics: detection.statistics,
            size,
        });
        if told.is_some() {
            return Ok(told);
        }
    }
    Ok(None)
}

fn line(found: Option<&WindowResult>) -> String {
    let Some(found) = found else {
        return format!("{:<55} nothing", "");
    };
    let tests: String = Quantity::ALL
        .iter()
        .map(|quantity| {
            let test = found.tests.iter().find(|test| test.quantity == *quantity);
            let text = test.map_or(String::new(), |test| {
                let star = if test.drifted { "*" } else { "" };
                format!("{:.1e}{star}", test.p_value)
            });
            format!("{text:<11}")
        })
        .collect();
    let cause = found.cause.map(|cause| cause.to_string());
    format!("{tests} {}", cause.unwrap_or_default())
}

fn light(mut picture: GrayImage, factor: f32) -> GrayImage {
    for Luma([value]) in picture.pixels_mut() {
        *value = (f32::from(*value) * factor).round() as u8;
    }
    picture
}

/// Turned a little aside: the picture lies a sixth further to the right.
fn turned(picture: GrayImage) -> GrayImage {
    let aside = picture.width() / 6;
    let mut turned = GrayImage::from_pixel(picture.width(), picture.height(), Luma([30]));
    imageops::replace(&mut turned, &picture, i64::from(aside), 0);
    turned
}
