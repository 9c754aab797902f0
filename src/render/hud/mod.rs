//! The display beside a line: live pictures with heat, verdict, gauge, the last scores, notices.
//!
//! Text and lines grow with the display, by whole factors; the pictures have its own pixels.

mod spark;
mod tile;

use embedded_graphics::{
    draw_target::DrawTarget,
    geometry::{Point, Size},
    mono_font::{MonoFont, iso_8859_1 as fonts},
    pixelcolor::Rgb888,
    primitives::Rectangle,
    text::Alignment,
};
use image::RgbImage;
use ndarray::ArrayView2;

use super::{
    LabelView, MapScale, RegionView,
    canvas::Enlarged,
    colour,
    panel::{cut, fill, text},
};

/// One score of the past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// Raw score, where the frame was scored.
    pub score: Option<f64>,
    /// What was said of the frame.
    pub label: LabelView,
}

/// What is shown of one source.
#[derive(Clone, Debug)]
pub struct HudTile<'a> {
    /// Its name.
    pub source: &'a str,
    /// The latest frame; without one the place says that there is none.
    pub frame: Option<&'a RgbImage>,
    /// Its anomaly map in the frame's geometry, where heat is to be shown.
    pub map: Option<ArrayView2<'a, f32>>,
    /// How the map's values become colours.
    pub scale: MapScale,
    /// What was said of it.
    pub label: Option<LabelView>,
    /// Raw score.
    pub score: Option<f64>,
    /// Score above which a frame is anomalous.
    pub threshold: Option<f64>,
    /// Conformal p-value.
    pub p_value: Option<f64>,
    /// Boxes on the frame.
    pub regions: &'a [RegionView],
    /// The last scores, the oldest first; about 200 fit.
    pub past: &'a [Past],
    /// Judged frames a second.
    pub fps: f64,
    /// Frames that were judged.
    pub judged: u64,
    /// Frames that nobody had time for.
    pub dropped: u64,
    /// Events so far.
    pub events: u64,
    /// Whether an event is open.
    pub event_open: bool,
    /// Whether the source gives no frames any more.
    pub lost: bool,
    /// What an operator should know: a lost source, drift, why a frame is invalid.
    pub notice: Option<&'a str>,
}

/// What is shown on the whole display.
#[derive(Clone, Debug)]
pub struct HudView<'a> {
    /// The model's id.
    pub model: &'a str,
    /// Date and time as they are to be read.
    pub clock: &'a str,
    /// The hottest of the machine's sensors, degrees Celsius.
    pub temperature: Option<f64>,
    /// Frames that took longer than their deadline.
    pub late: u64,
    /// The sources.
    pub tiles: Vec<HudTile<'a>>,
}

/// Degrees Celsius from which the temperature is shown as a warning.
const HOT: f64 = 85.0;
/// Around and between tiles, enlarged pixels.
const GAP: u32 = 8;
/// Warnings.
const AMBER: Rgb888 = Rgb888::new(190, 116, 0);

/// A part of the target: its corner and size in pixels, and how much text and lines grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    corner: Point,
    size: Size,
    factor: u32,
}

impl Area {
    /// Width, enlarged pixels.
    fn width(&self) -> u32 {
        self.size.width / self.factor
    }

    /// Height, enlarged pixels.
    fn height(&self) -> u32 {
        self.size.height / self.factor
    }

    /// A part of it, in enlarged pixels, cut off at its edges.
    fn part(&self, x: u32, y: u32, width: u32, height: u32) -> Self {
        let (x, y) = (x * self.factor, y * self.factor);
        let (x, y) = (x.min(self.size.width), y.min(self.size.height));
        Self {
            corner: self.corner + Point::new(x as i32, y as i32),
            size: Size::new(
                (width * self.factor).min(self.size.width - x),
                (height * self.factor).min(self.size.height - y),
            ),
            factor: self.factor,
        }
    }

    /// The same without a margin, in enlarged pixels.
    fn inside(&self, margin: u32) -> Self {
        let both = 2 * margin;
        self.part(
            margin,
            margin,
            self.width().saturating_sub(both),
            self.height().saturating_sub(both),
        )
    }

    fn rectangle(&self) -> Rectangle {
        Rectangle::new(self.corner, self.size)
    }

    /// Fills it.
    fn fill<D>(&self, target: &mut D, colour: Rgb888) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        fill(target, self.corner, self.size, colour)
    }

    /// One line of text from `at` (enlarged pixels), in `enlarged` times the usual letters, cut to
    /// what has room.
    fn text<D>(
        &self,
        target: &mut D,
        at: Point,
        content: &str,
        (font, enlarged): Type,
        colour: Rgb888,
        alignment: Alignment,
    ) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        let letter = font.character_size.width * enlarged;
        let room = match alignment {
            Alignment::Left => self.width().saturating_sub(at.x.max(0) as u32),
            Alignment::Center => self.width(),
            Alignment::Right => (at.x.max(0) as u32).min(self.width()),
        };
        let content = cut(content, (room / letter) as usize);
        let factor = self.factor * enlarged;
        let corner = self.corner + at * self.factor as i32;
        let window = Size::new(self.size.width / factor, self.size.height / factor);
        let mut target = Enlarged::new(target, corner, factor, window);
        text(
            &mut target,
            &content,
            Point::zero(),
            font,
            colour,
            alignment,
        )
    }
}

/// A font, and how much it is enlarged.
type Type = (&'static MonoFont<'static>, u32);

const SMALL: Type = (&fonts::FONT_6X10, 1);
const NORMAL: Type = (&fonts::FONT_7X13, 1);
const LARGE: Type = (&fonts::FONT_10X20, 1);
const HUGE: Type = (&fonts::FONT_10X20, 2);

/// Draws over the whole of a target, 320×240 to 3840×2160 pixels and what is near.
///
/// # Errors
/// Those of the target.
pub fn draw_hud<D>(target: &mut D, view: &HudView<'_>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let bounds = target.bounding_box();
    let Size { width, height } = bounds.size;
    target.fill_solid(&bounds, colour::BACKGROUND)?;
    let nearest = (width * 2 / 900).min(height * 2 / 520).div_ceil(2);
    let all = Area {
        corner: bounds.top_left,
        size: bounds.size,
        factor: nearest.clamp(1, 16),
    };
    let bar = if all.height() < 300 { 16 } else { 26 };
    draw_bar(target, all.part(0, 0, all.width(), bar), view)?;
    let room = all.part(
        GAP,
        bar,
        all.width().saturating_sub(2 * GAP),
        all.height().saturating_sub(bar + GAP),
    );
    if view.tiles.is_empty() {
        let at = Point::new(room.width() as i32 / 2, room.height() as i32 / 2 - 7);
        return room.text(
            target,
            at,
            "no sources",
            NORMAL,
            colour::DIM,
            Alignment::Center,
        );
    }
    let count = view.tiles.len() as u32;
    let (columns, rows) = grid(count, &room, &view.tiles);
    let cell_width = (room.width() + GAP) / columns;
    let cell_height = (room.height() + GAP) / rows;
    for (place, tile) in (0u32..).zip(&view.tiles) {
        let (column, row) = (place % columns, place / columns);
        let area = room.part(
            column * cell_width,
            row * cell_height,
            cell_width.saturating_sub(GAP),
            cell_height.saturating_sub(GAP),
        );
        tile::draw(target, area, tile)?;
    }
    Ok(())
}

/// Columns and rows for which the pictures are largest.
fn grid(count: u32, room: &Area, tiles: &[HudTile<'_>]) -> (u32, u32) {
    let shape = tiles
        .iter()
        .find_map(|tile| tile.frame)
        .map_or(4.0 / 3.0, |frame| {
            f64::from(frame.width().max(1)) / f64::from(frame.height().max(1))
        });
    let area = |columns: u32| {
        let rows = count.div_ceil(columns);
        let width = room.width() / columns;
        let height = room.height() / rows;
        let cell = room.part(0, 0, width.saturating_sub(GAP), height.saturating_sub(GAP));
        let picture = tile::layout(&cell).picture;
        let width = f64::from(picture.width()).min(f64::from(picture.height()) * shape);
        (width * width) as u64
    };
    let columns = (1..=count)
        .rev()
        .max_by_key(|&columns| area(columns))
        .unwrap_or(1);
    (columns, count.div_ceil(columns))
}

fn draw_bar<D>(target: &mut D, bar: Area, view: &HudView<'_>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let font = if bar.height() < 20 { SMALL } else { NORMAL };
    let y = (bar.height() as i32 - font.0.character_size.height as i32) / 2;
    let letter = font.0.character_size.width;
    let mut right = bar.width().saturating_sub(GAP + 2);
    let mut put = |target: &mut D, content: &str, colour| {
        let at = Point::new(right as i32, y);
        right = right.saturating_sub((content.chars().count() as u32 + 3) * letter);
        bar.text(target, at, content, font, colour, Alignment::Right)
    };
    put(target, view.clock, colour::TEXT)?;
    if let Some(temperature) = view.temperature {
        let hot = if temperature >= HOT {
            colour::BOX
        } else {
            colour::DIM
        };
        put(target, &format!("{temperature:.0} °C"), hot)?;
    }
    if view.late > 0 {
        put(target, &format!("{} late", view.late), colour::DIM)?;
    }
    let left = bar.part(GAP + 2, 0, right.saturating_sub(GAP + 2), bar.height());
    left.text(
        target,
        Point::new(0, y),
        view.model,
        font,
        colour::DIM,
        Alignment::Left,
    )
}

#[cfg(test)]
mod tests;
