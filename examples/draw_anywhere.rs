//! Draws a judged frame on any `DrawTarget` of embedded-graphics: here a display of 160×128 pixels
//! in 16-bit colour, whose contents are then written to a PNG file.
//!
//! ```text
//! cargo run --example draw_anywhere -- display.png
//! ```

use std::convert::Infallible;

use edge_vae::{
    render::{LabelView, MapScale, RegionView, VerdictView, draw_overlay},
    synth::{DefectKind, Defects, SurfaceSettings, surface_frame},
};
use embedded_graphics::{pixelcolor::Rgb565, prelude::*};
use image::{DynamicImage, Rgb, RgbImage};
use ndarray::Array2;

/// Stands for a display's driver: most crates for displays implement the same trait.
struct Display {
    width: u32,
    height: u32,
    memory: Vec<Rgb565>,
}

impl OriginDimensions for Display {
    fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

impl DrawTarget for Display {
    type Color = Rgb565;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb565>>,
    {
        for Pixel(point, colour) in pixels {
            if self.bounding_box().contains(point) {
                self.memory[point.y as usize * self.width as usize + point.x as usize] = colour;
            }
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).unwrap_or("display.png".to_owned());

    // A procedural frame. Its mask stands in for the anomaly map of a model.
    let settings = SurfaceSettings {
        defects: Defects::Always(DefectKind::Chip),
        ..SurfaceSettings::default()
    };
    let drawn = surface_frame(1, 0, &settings)?;
    let mask = drawn.mask.unwrap_or_default();
    let soft = image::imageops::fast_blur(&mask, 3.0);
    let map = Array2::from_shape_fn((256, 256), |(y, x)| {
        8.0 * f32::from(soft.get_pixel(x as u32, y as u32).0[0]) / 255.0
    });

    // Where the map is above the threshold.
    let threshold = 3.0;
    let hot: Vec<[u32; 2]> = map
        .indexed_iter()
        .filter(|(_, value)| **value > threshold)
        .map(|((y, x), _)| [x as u32, y as u32])
        .collect();
    let range = |axis: usize| {
        let values = hot.iter().map(|point| point[axis]);
        (values.clone().min().unwrap_or(0), values.max().unwrap_or(0))
    };
    let ((left, right), (top, bottom)) = (range(0), range(1));
    let verdict = VerdictView {
        label: LabelView::Anomalous,
        score: Some(7.9),
        threshold: Some(3.0),
        p_value: Some(0.005),
        regions: vec![RegionView {
            bbox: [left, top, right - left + 1, bottom - top + 1],
            max: 7.9,
        }],
        reasons: Vec::new(),
        model: "surface".to_owned(),
    };

    let mut display = Display {
        width: 160,
        height: 128,
        memory: vec![Rgb565::BLACK; 160 * 128],
    };
    let frame = DynamicImage::from(drawn.picture).into_rgb8();
    let scale = MapScale::around(threshold, 0.0);
    let Ok(()) = draw_overlay(&mut display, &frame, map.view(), &scale, &verdict);

    let picture = RgbImage::from_fn(display.width, display.height, |x, y| {
        let colour = display.memory[(y * display.width + x) as usize];
        let colour = embedded_graphics::pixelcolor::Rgb888::from(colour);
        Rgb([colour.r(), colour.g(), colour.b()])
    });
    picture.save(&path)?;
    println!("{path}: the display's contents, 160×128 pixels");
    Ok(())
}
