//! One source: its picture, and beside or below it what is said of it.

use embedded_graphics::{
    Drawable,
    draw_target::DrawTarget,
    geometry::{Point, Size},
    pixelcolor::Rgb888,
    primitives::{CornerRadii, Primitive, PrimitiveStyle, Rectangle, RoundedRectangle},
    text::Alignment,
};
use ndarray::{Array2, ArrayView2};

use super::{
    AMBER, Area, HUGE, HudTile, LARGE, NORMAL, SMALL, Type,
    spark::{draw_gauge, draw_spark},
};
use crate::render::{
    Canvas, colour, draw_regions,
    map::compose,
    panel::{cut, short, wrapped},
};

const WHITE: Rgb888 = Rgb888::new(255, 255, 255);
/// Behind a picture that does not fill its place.
const EMPTY: Rgb888 = Rgb888::new(14, 15, 18);

/// Where the parts of a tile lie.
pub(super) struct Layout {
    pub(super) picture: Area,
    beside: Beside,
}

enum Beside {
    /// A column at the right.
    Panel(Area),
    /// Lines below.
    Strip(Area),
}

pub(super) fn layout(area: &Area) -> Layout {
    let (width, height) = (area.width(), area.height());
    if width >= 400 && width * 10 >= height * 13 {
        let panel = (width * 30 / 100).clamp(170, 360);
        let picture = width - panel - 10;
        Layout {
            picture: area.part(0, 0, picture, height),
            beside: Beside::Panel(area.part(picture + 10, 0, panel, height)),
        }
    } else {
        let strip = if height >= 300 { 84 } else { 68 }.min(height / 2);
        Layout {
            picture: area.part(0, 0, width, height.saturating_sub(strip + 4)),
            beside: Beside::Strip(area.part(0, height - strip, width, strip)),
        }
    }
}

pub(super) fn draw<D>(target: &mut D, area: Area, tile: &HudTile<'_>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let layout = layout(&area);
    draw_picture(target, layout.picture, tile)?;
    match layout.beside {
        Beside::Panel(panel) => draw_panel(target, panel, tile),
        Beside::Strip(strip) => {
            draw_strip(target, strip, tile)?;
            // There is no other room.
            match tile.notice {
                Some(notice) => draw_notice_on(target, layout.picture, notice),
                None => Ok(()),
            }
        }
    }
}

/// The frame as large as it fits, with heat, contours and boxes.
fn draw_picture<D>(target: &mut D, area: Area, tile: &HudTile<'_>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    area.fill(target, EMPTY)?;
    let frame = tile
        .frame
        .filter(|frame| frame.width() > 0 && frame.height() > 0);
    let Some(frame) = frame else {
        let at = Point::new(area.width() as i32 / 2, area.height() as i32 / 2 - 7);
        return area.text(
            target,
            at,
            if tile.lost {
                "no frames"
            } else {
                "no frame yet"
            },
            NORMAL,
            colour::DIM,
            Alignment::Center,
        );
    };
    let Size { width, height } = area.size;
    if width == 0 || height == 0 {
        return Ok(());
    }
    let factor = (f64::from(width) / f64::from(frame.width()))
        .min(f64::from(height) / f64::from(frame.height()));
    let fitted = |side: u32, room: u32| ((f64::from(side) * factor) as u32).clamp(1, room);
    let shown = [fitted(frame.width(), width), fitted(frame.height(), height)];
    let cold = Array2::from_elem((1, 1), tile.scale.low);
    let map: ArrayView2<'_, f32> = tile.map.unwrap_or(cold.view());
    let picture = compose(frame, map, &tile.scale, shown, area.factor as usize);
    let mut picture = Canvas::from(picture);
    let labelled = shown[0].min(shown[1]) >= 120 * area.factor;
    let scaled = [
        shown[0] as f32 / frame.width() as f32,
        shown[1] as f32 / frame.height() as f32,
    ];
    let Ok(()) = draw_regions(&mut picture, tile.regions, scaled, area.factor, labelled);
    let corner = area.corner
        + Point::new(
            ((width - shown[0]) / 2) as i32,
            ((height - shown[1]) / 2) as i32,
        );
    let pixels = picture.picture().pixels();
    target.fill_contiguous(
        &Rectangle::new(corner, Size::new(shown[0], shown[1])),
        pixels.map(|p| Rgb888::new(p.0[0], p.0[1], p.0[2])),
    )
}

fn banner(tile: &HudTile<'_>) -> (&'static str, Rgb888) {
    match tile.label {
        _ if tile.lost => ("LOST", AMBER),
        None => ("WAITING", colour::TRACK),
        Some(label) => (label.text(), label.colour()),
    }
}

fn draw_banner<D>(
    target: &mut D,
    area: Area,
    (text, colour): (&str, Rgb888),
    font: Type,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let radius = 4 * area.factor;
    RoundedRectangle::new(
        area.rectangle(),
        CornerRadii::new(Size::new(radius, radius)),
    )
    .into_styled(PrimitiveStyle::with_fill(colour))
    .draw(target)?;
    let letters = (font.0.character_size.height * font.1) as i32;
    let at = Point::new(
        area.width() as i32 / 2,
        (area.height() as i32 - letters) / 2,
    );
    area.text(target, at, text, font, WHITE, Alignment::Center)
}

fn draw_panel<D>(target: &mut D, panel: Area, tile: &HudTile<'_>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let width = panel.width();
    let wide = width >= 250 && panel.height() >= 420;
    let (name, value, small) = if wide {
        (LARGE, HUGE, NORMAL)
    } else {
        (NORMAL, LARGE, SMALL)
    };
    let line = small.0.character_size.height + 5;
    let row = |y: u32, height: u32| panel.part(0, y, width, height);

    panel.text(
        target,
        Point::zero(),
        tile.source,
        name,
        colour::TEXT,
        Alignment::Left,
    )?;
    let mut y = name.0.character_size.height + 6;
    let high = if wide { 56 } else { 32 };
    draw_banner(target, row(y, high), banner(tile), value)?;
    y += high + 10;

    let right = Point::new(width as i32, y as i32);
    panel.text(
        target,
        Point::new(0, y as i32),
        "score",
        small,
        colour::DIM,
        Alignment::Left,
    )?;
    panel.text(
        target,
        right,
        "threshold",
        small,
        colour::DIM,
        Alignment::Right,
    )?;
    y += line - 2;
    let number = |value: Option<f64>| value.map_or("-".to_owned(), short);
    let at = Point::new(0, y as i32);
    panel.text(
        target,
        at,
        &number(tile.score),
        value,
        colour::TEXT,
        Alignment::Left,
    )?;
    let large = value.0.character_size.height * value.1;
    let lower = y + large - name.0.character_size.height - u32::from(wide) * 4;
    let right = Point::new(width as i32, lower as i32);
    panel.text(
        target,
        right,
        &number(tile.threshold),
        name,
        colour::DIM,
        Alignment::Right,
    )?;
    y += large + 4;
    let high = if wide { 18 } else { 14 };
    draw_gauge(target, row(y, high), tile.score, tile.threshold, tile.label)?;
    y += high + 12;

    // From below: notice, values; the line of scores has what is left.
    let letters = (width.saturating_sub(16) / small.0.character_size.width).max(1);
    let mut lines = tile
        .notice
        .map_or(Vec::new(), |notice| wrapped(notice, letters as usize));
    lines.truncate(4);
    let values = [
        ("judged", tile.judged.to_string()),
        (
            "p-value",
            tile.p_value.map_or("-".to_owned(), |p| format!("{p:.4}")),
        ),
        ("frames/s", format!("{:.1}", tile.fps)),
        ("dropped", tile.dropped.to_string()),
        ("events", tile.events.to_string()),
    ];
    let notice = if lines.is_empty() {
        0
    } else {
        lines.len() as u32 * line + 14
    };
    // The line of scores says more than the first of the values.
    let left = |values: usize| {
        panel
            .height()
            .saturating_sub(y + values as u32 * line + notice)
    };
    let fewer = (0..values.len()).find(|&without| left(values.len() - without) >= line + 44);
    let values = &values[fewer.unwrap_or(0)..];
    let left = left(values.len());
    if left >= line + 30 {
        let at = Point::new(0, y as i32);
        panel.text(
            target,
            at,
            "last scores",
            small,
            colour::DIM,
            Alignment::Left,
        )?;
        let most = if wide { 280 } else { 120 };
        let high = (left - line - 12).min(most);
        draw_spark(target, row(y + line, high), tile.past, tile.threshold)?;
        y += line + high + 12;
    }
    for (what, content) in values {
        if y + line > panel.height().saturating_sub(notice) {
            break;
        }
        let at = Point::new(0, y as i32);
        panel.text(target, at, what, small, colour::DIM, Alignment::Left)?;
        let at = Point::new(width as i32, y as i32);
        let lit = *what == "events" && tile.event_open;
        let colour = if lit { colour::BOX } else { colour::TEXT };
        let content = if lit {
            format!("{content}, one open")
        } else {
            content.clone()
        };
        panel.text(target, at, &content, small, colour, Alignment::Right)?;
        y += line;
    }
    if lines.is_empty() {
        return Ok(());
    }
    let high = notice - 4;
    let around = row(panel.height().saturating_sub(high), high);
    around.fill(target, colour::TRACK)?;
    around.part(0, 0, 3, high).fill(target, AMBER)?;
    for (place, content) in (0u32..).zip(&lines) {
        let at = Point::new(10, (5 + place * line) as i32);
        around.text(target, at, content, small, colour::TEXT, Alignment::Left)?;
    }
    Ok(())
}

fn draw_strip<D>(target: &mut D, strip: Area, tile: &HudTile<'_>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let width = strip.width();
    let font = if width >= 300 { NORMAL } else { SMALL };
    let letter = font.0.character_size.width;
    let high = font.0.character_size.height + 6;
    let banner = banner(tile);
    let chip = (banner.0.len() as u32 + 2) * letter;
    draw_banner(target, strip.part(0, 0, chip, high), banner, font)?;
    let number = |value: Option<f64>| value.map_or("-".to_owned(), short);
    let score = format!("{} / {}", number(tile.score), number(tile.threshold));
    let at = Point::new(width as i32, 3);
    strip.text(target, at, &score, font, colour::TEXT, Alignment::Right)?;
    let room = width.saturating_sub(chip + 8 + (score.len() as u32 + 1) * letter);
    let named = cut(tile.source, (room / letter) as usize);
    let at = Point::new(chip as i32 + 8, 3);
    strip.text(target, at, &named, font, colour::TEXT, Alignment::Left)?;

    let mut y = high + 3;
    draw_gauge(
        target,
        strip.part(0, y, width, 8),
        tile.score,
        tile.threshold,
        tile.label,
    )?;
    y += 11;
    let small = SMALL.0.character_size.height + 2;
    let left = strip.height().saturating_sub(y);
    if left < small {
        return Ok(());
    }
    let counts = format!(
        "{:.1} fps  {} dropped  {} events{}",
        tile.fps,
        tile.dropped,
        tile.events,
        if tile.event_open { ", one open" } else { "" }
    );
    if left >= small + 16 {
        draw_spark(
            target,
            strip.part(0, y, width, left - small),
            tile.past,
            tile.threshold,
        )?;
    }
    let at = Point::new(0, (strip.height() - small + 2) as i32);
    strip.text(target, at, &counts, SMALL, colour::DIM, Alignment::Left)
}

/// A line at the lower edge of the picture.
fn draw_notice_on<D>(target: &mut D, picture: Area, notice: &str) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let font = if picture.width() >= 300 {
        NORMAL
    } else {
        SMALL
    };
    let high = font.0.character_size.height + 6;
    let top = picture.height().saturating_sub(high);
    let line = picture.part(0, top, picture.width(), high);
    line.fill(target, colour::TRACK)?;
    line.part(0, 0, 3, high).fill(target, AMBER)?;
    line.inside(3).text(
        target,
        Point::new(5, 0),
        notice,
        font,
        colour::TEXT,
        Alignment::Left,
    )
}
