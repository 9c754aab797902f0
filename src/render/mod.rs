//! Heat maps, contours, gauges and text, drawn by embedded-graphics onto any `DrawTarget`.
//!
//! [`overlay`] makes the picture of a judged frame; [`draw_overlay`] draws a compact one on a
//! display of any size and colour depth; [`contact_sheet`] lays out pictures with captions;
//! [`Page`] is HTML with [`Thumbnail`]s; [`draw_hud`] shows live sources.

mod canvas;
mod colour;
mod hud;
mod judged;
mod map;
mod page;
mod panel;
mod picture_file;
mod sheet;
mod thumbnail;

use embedded_graphics::{
    draw_target::DrawTarget,
    geometry::{Dimensions, Point, Size},
    mono_font::iso_8859_1::FONT_6X10,
    pixelcolor::{PixelColor, Rgb888},
    primitives::Rectangle,
    text::Alignment,
};
use image::RgbImage;
use ndarray::ArrayView2;

pub use canvas::Canvas;
pub use colour::{MapScale, turbo};
pub use hud::{HudTile, HudView, Past, draw_hud};
pub use judged::judged_overlay;
pub use map::heat_map;
pub use page::{Page, PageText};
pub use picture_file::{MapPicture, png};
pub use sheet::{Tile, contact_sheet};
pub use thumbnail::Thumbnail;

use canvas::Enlarged;
use map::compose;
use panel::{Panel, fill, short, text};

/// What is said of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelView {
    /// Like the frames the model was calibrated on.
    Normal,
    /// The same, but nearly above the threshold: a person shall look at it.
    Review,
    /// Above the threshold.
    Anomalous,
    /// The frame could not be judged.
    Invalid,
}

/// One region above the map's threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionView {
    /// x, y, width, height in frame pixels.
    pub bbox: [u32; 4],
    /// Largest value of the map inside.
    pub max: f32,
}

/// What a picture says of a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictView {
    /// The banner.
    pub label: LabelView,
    /// Raw score of the frame.
    pub score: Option<f64>,
    /// Score above which a frame is anomalous.
    pub threshold: Option<f64>,
    /// Share of normal frames with at least this score.
    pub p_value: Option<f64>,
    /// Boxes on the frame.
    pub regions: Vec<RegionView>,
    /// Why the frame is invalid, or anything worth saying.
    pub reasons: Vec<String>,
    /// Name of the model; empty for none.
    pub model: String,
}

/// Longer side, pixels, up to which a frame is enlarged by a whole factor to be seen at all.
const SHOWN: u32 = 384;

/// Regions whose value is written beside their box: of more, only the strongest.
const LABELLED: usize = 12;

/// The picture of a judged frame: the frame with the hot areas of its map, their contours and the
/// boxes of the regions, and a panel with verdict, values, gauge and legend beside it (wide frames:
/// below it). A normal frame's own pixels stay as they are.
///
/// Frames below 384 pixels are enlarged by a whole factor; lines and letters grow with large ones.
/// `map` is `H×W` in frame geometry; another size is stretched over the frame. NaN and −∞ count as
/// cold, +∞ as hot.
pub fn overlay(
    frame: &RgbImage,
    map: ArrayView2<'_, f32>,
    scale: &MapScale,
    view: &VerdictView,
) -> RgbImage {
    let (width, height) = frame.dimensions();
    let zoom = SHOWN.div_ceil(width.max(height).max(1));
    let zoom = if width == 0 || height == 0 { 1 } else { zoom };
    let (width, height) = (width * zoom, height * zoom);
    // Thin frames keep small letters, else the panel would dwarf them.
    let side = width.max(height).min(width.min(height).saturating_mul(4));
    let size = ((side + 450) / 900).clamp(1, 32);

    let below = width > height + height / 2;
    let panel = if below {
        let columns = if width >= 2 * panel::COLUMN * size {
            2
        } else {
            1
        };
        let columns_width = (width / size).max(columns * panel::COLUMN);
        Panel::new(view, scale, columns, columns_width)
    } else {
        Panel::new(view, scale, 1, panel::COLUMN)
    };
    let panel_height = panel.height() * size;
    let (canvas_width, canvas_height, corner) = if below {
        let canvas_width = width.max(panel::COLUMN * size);
        (
            canvas_width,
            height + panel_height,
            Point::new(0, height as i32),
        )
    } else {
        let canvas_width = width + panel::COLUMN * size;
        (
            canvas_width,
            height.max(panel_height),
            Point::new(width as i32, 0),
        )
    };

    let mut picture = Canvas::from(compose(frame, map, scale, [width, height], size as usize));
    let Ok(()) = draw_regions(&mut picture, &view.regions, [zoom as f32; 2], size, true);
    let mut canvas = RgbImage::from(Canvas::new(canvas_width, canvas_height, colour::BACKGROUND));
    image::imageops::replace(&mut canvas, picture.picture(), 0, 0);
    let mut canvas = Canvas::from(canvas);
    let window = Size::new(canvas_width / size, canvas_height / size);
    let Ok(()) = panel.draw(&mut Enlarged::new(&mut canvas, corner, size, window));
    canvas.into()
}

/// Draws a judged frame over the whole of a target, as small as 16×16: the frame as large as it
/// fits with heat, contours and boxes, and, where there is room, a line below with verdict, score
/// and gauge.
///
/// # Errors
/// Those of the target.
pub fn draw_overlay<D>(
    target: &mut D,
    frame: &RgbImage,
    map: ArrayView2<'_, f32>,
    scale: &MapScale,
    view: &VerdictView,
) -> Result<(), D::Error>
where
    D: DrawTarget,
    D::Color: PixelColor + From<Rgb888>,
{
    let area = target.bounding_box();
    let Size { width, height } = area.size;
    let size = (width.min(height) / 240).max(1);
    let line = if width >= 72 && height >= 48 {
        19 * size
    } else {
        0
    };
    target.fill_solid(&area, colour::BACKGROUND.into())?;

    let room = [width, height - line];
    let (frame_width, frame_height) = frame.dimensions();
    if frame_width > 0 && frame_height > 0 && room[0] > 0 && room[1] > 0 {
        let factor = (f64::from(room[0]) / f64::from(frame_width))
            .min(f64::from(room[1]) / f64::from(frame_height));
        let fitted = |side: u32, room: u32| ((f64::from(side) * factor) as u32).clamp(1, room);
        let shown = [fitted(frame_width, room[0]), fitted(frame_height, room[1])];
        let mut picture = Canvas::from(compose(frame, map, scale, shown, size as usize));
        let labelled = shown[0].min(shown[1]) >= 120;
        let Ok(()) = draw_regions(
            &mut picture,
            &view.regions,
            [
                shown[0] as f32 / frame_width as f32,
                shown[1] as f32 / frame_height as f32,
            ],
            size,
            labelled,
        );
        let corner = Point::new(
            ((room[0] - shown[0]) / 2) as i32,
            ((room[1] - shown[1]) / 2) as i32,
        );
        let pixels = picture.picture().pixels();
        target.fill_contiguous(
            &Rectangle::new(area.top_left + corner, Size::new(shown[0], shown[1])),
            pixels.map(|p| Rgb888::new(p.0[0], p.0[1], p.0[2]).into()),
        )?;
    }
    if line == 0 {
        return Ok(());
    }
    let corner = area.top_left + Point::new(0, (height - line) as i32);
    let window = Size::new(width / size, line / size);
    let mut status = Enlarged::new(target, corner, size, window);
    draw_line(&mut status, window, view)
}

/// The status line: gauge of 4 pixels over a bar in the verdict's colour with label and score.
fn draw_line<D>(target: &mut D, window: Size, view: &VerdictView) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let width = window.width;
    fill(target, Point::zero(), Size::new(width, 4), colour::TRACK)?;
    if let (Some(score), Some(threshold), Some(reach)) = (
        view.score,
        view.threshold,
        panel::gauge_reach(view.score, view.threshold),
    ) {
        let share = (0.5 + 0.5 * (score - threshold) / reach).clamp(0.0, 1.0);
        let filled = (share * f64::from(width)) as u32;
        fill(target, Point::zero(), Size::new(filled, 4), colour::BOX)?;
        let middle = Point::new(width as i32 / 2 - 1, 0);
        fill(target, middle, Size::new(2, 4), colour::TEXT)?;
    }
    let bar = Size::new(width, window.height.saturating_sub(4));
    fill(target, Point::new(0, 4), bar, view.label.colour())?;
    let white = Rgb888::new(255, 255, 255);
    let label = view.label.text();
    text(
        target,
        label,
        Point::new(3, 7),
        &FONT_6X10,
        white,
        Alignment::Left,
    )?;
    if let Some(score) = view.score {
        let score = short(score);
        // Only where it does not run into the label.
        if (label.len() + score.len() + 1) as u32 * 6 + 6 <= width {
            let at = Point::new(width as i32 - 3, 7);
            text(target, &score, at, &FONT_6X10, white, Alignment::Right)?;
        }
    }
    Ok(())
}

/// Boxes just outside the regions, and the largest value of each on a label above its box, or
/// below where there is no room above. `factor`: canvas pixels a frame pixel.
fn draw_regions(
    canvas: &mut Canvas,
    regions: &[RegionView],
    factor: [f32; 2],
    size: u32,
    labelled: bool,
) -> Result<(), std::convert::Infallible> {
    let bounds = canvas.bounding_box().size;
    let mut strongest: Vec<&RegionView> = regions.iter().collect();
    strongest.sort_by(|a, b| b.max.total_cmp(&a.max));
    // Strongest last, so that it lies on top.
    for (rank, region) in strongest.iter().enumerate().rev() {
        let [x, y, w, h] = region.bbox.map(|side| side as f32);
        let line = size as f32;
        let side = |at: f32, limit: u32| at.clamp(0.0, limit as f32) as u32;
        let left = side(x * factor[0] - line, bounds.width);
        let top = side(y * factor[1] - line, bounds.height);
        let right = side(((x + w) * factor[0]).ceil() + line, bounds.width);
        let bottom = side(((y + h) * factor[1]).ceil() + line, bounds.height);
        if right <= left || bottom <= top {
            continue;
        }
        let (width, height) = (right - left, bottom - top);
        let at = Point::new(left as i32, top as i32);
        let thick = [size.min(width), size.min(height)];
        for (corner, piece) in [
            (at, Size::new(width, thick[1])),
            (at, Size::new(thick[0], height)),
            (
                Point::new(at.x, (bottom - thick[1]) as i32),
                Size::new(width, thick[1]),
            ),
            (
                Point::new((right - thick[0]) as i32, at.y),
                Size::new(thick[0], height),
            ),
        ] {
            fill(canvas, corner, piece, colour::BOX)?;
        }
        if !labelled || rank >= LABELLED {
            continue;
        }
        let label = short(f64::from(region.max));
        let chip = Size::new(label.len() as u32 * 6 + 3, 11);
        let chip_height = chip.height * size;
        let y = if top >= chip_height {
            top - chip_height
        } else {
            bottom.min(bounds.height.saturating_sub(chip_height))
        };
        let x = left.min(bounds.width.saturating_sub(chip.width * size));
        let mut chip_target = Enlarged::new(canvas, Point::new(x as i32, y as i32), size, chip);
        fill(&mut chip_target, Point::zero(), chip, colour::BOX)?;
        text(
            &mut chip_target,
            &label,
            Point::new(2, 1),
            &FONT_6X10,
            colour::ON_BOX,
            Alignment::Left,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
