//! The panel beside the frame: verdict, values, gauge of the score, legend of the colours.

use embedded_graphics::{
    Drawable,
    draw_target::DrawTarget,
    geometry::{Point, Size},
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts},
    pixelcolor::Rgb888,
    primitives::{CornerRadii, Primitive, PrimitiveStyle, Rectangle, RoundedRectangle, Triangle},
    text::{Alignment, Baseline, Text, TextStyleBuilder},
};

use super::{LabelView, MapScale, VerdictView, colour};

/// Narrowest column, enlarged pixels.
pub(super) const COLUMN: u32 = 208;
/// Around and between things.
const MARGIN: u32 = 10;
const LINE: u32 = 16;
const BANNER: u32 = 30;
const GAUGE: u32 = 58;
const LEGEND: u32 = 52;
const FONT: &MonoFont<'_> = &fonts::FONT_7X13;
const SMALL: &MonoFont<'_> = &fonts::FONT_6X10;

impl LabelView {
    pub(super) fn colour(self) -> Rgb888 {
        match self {
            Self::Normal => Rgb888::new(34, 139, 74),
            Self::Review => Rgb888::new(38, 110, 196),
            Self::Anomalous => Rgb888::new(206, 44, 40),
            Self::Invalid => Rgb888::new(190, 116, 0),
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Review => "REVIEW",
            Self::Anomalous => "ANOMALOUS",
            Self::Invalid => "INVALID",
        }
    }
}

/// A value in about four digits.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        format!("{value}")
    } else if size >= 1e5 || (size > 0.0 && size < 1e-3) {
        format!("{value:.2e}")
    } else if size >= 100.0 {
        format!("{value:.1}")
    } else if size >= 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// The panel's text and its layout in columns of the given width.
pub(super) struct Panel<'a> {
    view: &'a VerdictView,
    scale: &'a MapScale,
    values: Vec<(&'static str, String)>,
    reasons: Vec<String>,
    /// 1 or 2.
    columns: u32,
    column_width: u32,
}

impl<'a> Panel<'a> {
    /// `width`: of all columns, enlarged pixels.
    pub(super) fn new(
        view: &'a VerdictView,
        scale: &'a MapScale,
        columns: u32,
        width: u32,
    ) -> Self {
        let mut values = Vec::new();
        let number = |value: Option<f64>| value.map_or("-".to_owned(), short);
        values.push(("score", number(view.score)));
        values.push(("threshold", number(view.threshold)));
        let p_value = view.p_value.map_or("-".to_owned(), |p| format!("{p:.4}"));
        values.push(("p-value", p_value));
        values.push(("regions", view.regions.len().to_string()));
        if !view.model.is_empty() {
            values.push(("model", view.model.clone()));
        }
        let column_width = width / columns;
        let letters = (column_width.saturating_sub(2 * MARGIN) / SMALL.character_size.width).max(1);
        let reasons = view
            .reasons
            .iter()
            .flat_map(|reason| wrapped(reason, letters as usize))
            .collect();
        Self {
            view,
            scale,
            values,
            reasons,
            columns,
            column_width,
        }
    }

    fn status_height(&self) -> u32 {
        BANNER + 14 + LINE * self.values.len() as u32 + 12 * self.reasons.len() as u32
    }

    /// Height of the whole panel, enlarged pixels.
    pub(super) fn height(&self) -> u32 {
        let (status, scales) = (self.status_height(), GAUGE + LEGEND);
        2 * MARGIN
            + if self.columns == 1 {
                status + MARGIN + scales
            } else {
                status.max(scales)
            }
    }

    /// Draws the panel with its corner at (0, 0).
    pub(super) fn draw<D>(&self, target: &mut D) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        let width = self.column_width.saturating_sub(2 * MARGIN).max(8);
        let margin = MARGIN as i32;
        self.draw_status(target, Point::new(margin, margin), width)?;
        let origin = if self.columns == 1 {
            Point::new(margin, (2 * MARGIN + self.status_height()) as i32)
        } else {
            Point::new(self.column_width as i32 + margin, margin)
        };
        self.draw_gauge(target, origin, width)?;
        self.draw_legend(target, origin + Point::new(0, GAUGE as i32), width)
    }

    fn draw_status<D>(&self, target: &mut D, at: Point, width: u32) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        RoundedRectangle::new(
            Rectangle::new(at, Size::new(width, BANNER)),
            CornerRadii::new(Size::new(4, 4)),
        )
        .into_styled(PrimitiveStyle::with_fill(self.view.label.colour()))
        .draw(target)?;
        text(
            target,
            self.view.label.text(),
            at + Point::new(width as i32 / 2, 5),
            &fonts::FONT_10X20,
            Rgb888::new(255, 255, 255),
            Alignment::Center,
        )?;
        let mut y = at.y + BANNER as i32 + 8;
        let right = at.x + width as i32;
        for (name, value) in &self.values {
            text(
                target,
                name,
                Point::new(at.x, y),
                FONT,
                colour::DIM,
                Alignment::Left,
            )?;
            let room = (width / FONT.character_size.width) as usize;
            let value = cut(value, room.saturating_sub(name.len() + 1));
            text(
                target,
                &value,
                Point::new(right, y),
                FONT,
                colour::TEXT,
                Alignment::Right,
            )?;
            y += LINE as i32;
        }
        y += 6;
        for reason in &self.reasons {
            text(
                target,
                reason,
                Point::new(at.x, y),
                SMALL,
                colour::TEXT,
                Alignment::Left,
            )?;
            y += 12;
        }
        Ok(())
    }

    /// The score on a line whose middle is the threshold.
    fn draw_gauge<D>(&self, target: &mut D, at: Point, width: u32) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        const BAR: u32 = 12;
        text(target, "score", at, SMALL, colour::DIM, Alignment::Left)?;
        let bar = at + Point::new(0, 16);
        fill(target, bar, Size::new(width, BAR), colour::TRACK)?;
        let middle = bar.x + width as i32 / 2;
        let (score, threshold) = (self.view.score, self.view.threshold);
        let reach = gauge_reach(score, threshold);
        if let (Some(score), Some(threshold), Some(reach)) = (score, threshold, reach) {
            let share = (0.5 + 0.5 * (score - threshold) / reach).clamp(0.0, 1.0);
            let filled = (share * f64::from(width)) as u32;
            fill(
                target,
                bar,
                Size::new(filled, BAR),
                self.view.label.colour(),
            )?;
            let tip = Point::new(bar.x + filled as i32, bar.y - 1);
            Triangle::new(tip, tip + Point::new(-4, -6), tip + Point::new(4, -6))
                .into_styled(PrimitiveStyle::with_fill(colour::TEXT))
                .draw(target)?;
        }
        fill(
            target,
            Point::new(middle - 1, bar.y - 3),
            Size::new(2, BAR + 6),
            colour::TEXT,
        )?;
        let below = bar.y + BAR as i32 + 5;
        if let (Some(threshold), Some(reach)) = (threshold, reach) {
            let ends = [threshold - reach, threshold + reach].map(short);
            axis(
                target,
                at.x,
                below,
                width,
                [&ends[0], &short(threshold), &ends[1]],
            )?;
        }
        Ok(())
    }

    /// The colours of the map, the threshold in the middle.
    fn draw_legend<D>(&self, target: &mut D, at: Point, width: u32) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        const BAR: u32 = 12;
        text(
            target,
            "anomaly map",
            at,
            SMALL,
            colour::DIM,
            Alignment::Left,
        )?;
        let bar = at + Point::new(0, 16);
        for column in 0..width {
            let [r, g, b] = colour::heat((column as f32 + 0.5) / width as f32);
            let point = bar + Point::new(column as i32, 0);
            fill(target, point, Size::new(1, BAR), Rgb888::new(r, g, b))?;
        }
        let middle = bar.x + width as i32 / 2;
        fill(
            target,
            Point::new(middle - 1, bar.y - 3),
            Size::new(2, BAR + 6),
            colour::TEXT,
        )?;
        let values = [self.scale.low, self.scale.threshold, self.scale.high];
        let [low, threshold, high] = values.map(|value| short(f64::from(value)));
        let below = bar.y + BAR as i32 + 5;
        axis(target, at.x, below, width, [&low, &threshold, &high])
    }
}

/// Half the gauge: at least half the threshold, and the score inside.
pub(super) fn gauge_reach(score: Option<f64>, threshold: Option<f64>) -> Option<f64> {
    let threshold = threshold.filter(|t| t.is_finite())?;
    let away = score.map_or(0.0, |score| (score - threshold).abs());
    let reach = (0.5 * threshold.abs()).max(if away.is_finite() { 1.15 * away } else { 0.0 });
    Some(if reach > 0.0 && reach.is_finite() {
        reach
    } else {
        1.0
    })
}

/// Three values under a bar: at its left end, middle and right end.
fn axis<D>(
    target: &mut D,
    x: i32,
    y: i32,
    width: u32,
    [left, middle, right]: [&str; 3],
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let width = width as i32;
    text(
        target,
        left,
        Point::new(x, y),
        SMALL,
        colour::DIM,
        Alignment::Left,
    )?;
    text(
        target,
        middle,
        Point::new(x + width / 2, y),
        SMALL,
        colour::TEXT,
        Alignment::Center,
    )?;
    text(
        target,
        right,
        Point::new(x + width, y),
        SMALL,
        colour::DIM,
        Alignment::Right,
    )
}

pub(super) fn fill<D>(target: &mut D, at: Point, size: Size, colour: Rgb888) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    target.fill_solid(&Rectangle::new(at, size), colour)
}

/// One line of text, `at` its upper corner (or the middle of its upper edge).
pub(super) fn text<D>(
    target: &mut D,
    content: &str,
    at: Point,
    font: &MonoFont<'_>,
    colour: Rgb888,
    alignment: Alignment,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let style = TextStyleBuilder::new()
        .alignment(alignment)
        .baseline(Baseline::Top)
        .build();
    Text::with_text_style(content, at, MonoTextStyle::new(font, colour), style).draw(target)?;
    Ok(())
}

/// Text of at most `letters` letters; what is too long ends in two dots.
pub(super) fn cut(content: &str, letters: usize) -> String {
    let content: String = content
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if content.chars().count() <= letters {
        return content;
    }
    let kept: String = content.chars().take(letters.saturating_sub(2)).collect();
    format!("{kept}{}", &".."[..letters.min(2)])
}

/// Lines of at most `letters` letters, broken at spaces where there are any.
pub(super) fn wrapped(content: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in content.split_whitespace() {
        let word = cut(word, letters);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_about_four_digits() {
        for (value, expected) in [
            (0.0, "0.000"),
            (0.0123, "0.012"),
            (-3.45678, "-3.457"),
            (34.5678, "34.57"),
            (345.678, "345.7"),
            (34567.8, "34567.8"),
            (1.5e7, "1.50e7"),
            (0.000_25, "2.50e-4"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn long_text_is_cut_and_wrapped() {
        assert_eq!(cut("surface", 7), "surface");
        assert_eq!(cut("surface-9", 7), "surfa..");
        assert_eq!(cut("µµµµ", 3), "µ..");
        assert_eq!(cut("abc", 1), ".");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(
            wrapped("the frame is black everywhere", 12),
            ["the frame is", "black", "everywhere"]
        );
    }

    #[test]
    fn gauge_holds_score_and_threshold() {
        assert_eq!(gauge_reach(Some(14.0), Some(10.0)), Some(5.0));
        assert_eq!(gauge_reach(Some(30.0), Some(10.0)), Some(23.0));
        assert_eq!(gauge_reach(Some(0.0), Some(0.0)), Some(1.0));
        assert_eq!(gauge_reach(Some(f64::NAN), Some(2.0)), Some(1.0));
        assert_eq!(gauge_reach(Some(1.0), None), None);
    }
}
