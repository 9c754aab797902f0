//! The gauge of the score, and the last scores as a line.

use embedded_graphics::{
    Drawable,
    draw_target::DrawTarget,
    geometry::{Point, Size},
    pixelcolor::Rgb888,
    primitives::{Circle, Line, Primitive, PrimitiveStyle},
};

use super::{AMBER, Area, Past};
use crate::render::{
    LabelView, colour,
    panel::{fill, gauge_reach},
};

/// Scores that the width of the line stands for.
const SHOWN: usize = 200;

/// The scores' line.
const LINE: Rgb888 = Rgb888::new(176, 182, 194);
/// Under it.
const SHADE: Rgb888 = Rgb888::new(36, 40, 47);

/// A bar whose middle is the threshold.
pub(super) fn draw_gauge<D>(
    target: &mut D,
    area: Area,
    score: Option<f64>,
    threshold: Option<f64>,
    label: Option<LabelView>,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let Size { width, height } = area.size;
    let line = area.factor;
    let track = height.saturating_sub(4 * line).max(1);
    let bar = area.corner + Point::new(0, 2 * line as i32);
    fill(target, bar, Size::new(width, track), colour::TRACK)?;
    if let (Some(score), Some(threshold), Some(reach)) =
        (score, threshold, gauge_reach(score, threshold))
    {
        let share = (0.5 + 0.5 * (score - threshold) / reach).clamp(0.0, 1.0);
        let filled = (share * f64::from(width)) as u32;
        let colour = label.map_or(colour::DIM, LabelView::colour);
        fill(target, bar, Size::new(filled, track), colour)?;
    }
    let middle = area.corner + Point::new((width / 2) as i32 - line as i32, 0);
    fill(target, middle, Size::new(2 * line, height), colour::TEXT)
}

/// The range of values that the height stands for: all of the normal scores, and of those above
/// the threshold as much again, so that one far outlier does not make a flat line of the rest.
fn range(past: &[Past], threshold: Option<f64>) -> Option<(f64, f64)> {
    let threshold = threshold.filter(|threshold| threshold.is_finite());
    let scores = || {
        past.iter()
            .filter_map(|past| past.score)
            .filter(|s| s.is_finite())
    };
    let low = scores().chain(threshold).fold(f64::INFINITY, f64::min);
    let high = scores().chain(threshold).fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return None;
    }
    let high = match threshold {
        Some(threshold) if threshold > low => {
            // Half above the threshold at least is a fifth, at most three quarters of the height.
            high.clamp(
                threshold + 0.25 * (threshold - low),
                threshold + 1.5 * (threshold - low),
            )
        }
        _ => high,
    };
    let margin = (0.08 * (high - low))
        .max(1e-6 * high.abs())
        .max(f64::MIN_POSITIVE);
    let (low, high) = (low - margin, high + margin);
    (low.is_finite() && high.is_finite() && high > low).then_some((low, high))
}

/// The last scores, the latest at the right; the threshold as a broken line; anomalous frames as
/// red dots, invalid ones as amber marks at the lower edge.
pub(super) fn draw_spark<D>(
    target: &mut D,
    area: Area,
    past: &[Past],
    threshold: Option<f64>,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let Size { width, height } = area.size;
    let (width, height) = (width as i32, height as i32);
    if width < 8 || height < 8 {
        return Ok(());
    }
    let past = &past[past.len().saturating_sub(SHOWN)..];
    let thick = area.factor as i32;
    let dot = if area.width() < 300 { 3 } else { 5 } * area.factor;
    let x = |place: usize| {
        // The latest lies a dot's radius from the edge.
        let from_right = (past.len() - 1 - place) as i64 * i64::from(width - 4 * thick);
        width - 1 - 2 * thick - (from_right / (SHOWN as i64 - 1)) as i32
    };
    let Some((low, high)) = range(past, threshold) else {
        return fill(
            target,
            area.corner + Point::new(0, height - thick),
            Size::new(width as u32, thick as u32),
            colour::TRACK,
        );
    };
    let y = |value: f64| {
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        ((1.0 - share) * f64::from(height - 1 - 2 * thick)) as i32 + thick
    };
    let points: Vec<Option<Point>> = past
        .iter()
        .enumerate()
        .map(|(place, past)| {
            let score = past.score.filter(|score| score.is_finite())?;
            Some(Point::new(x(place), y(score)))
        })
        .collect();
    let segments = || {
        points
            .windows(2)
            .filter_map(|pair| Some((pair[0]?, pair[1]?)))
    };
    for (a, b) in segments() {
        for column in a.x..b.x.max(a.x + 1) {
            let way = f64::from(column - a.x) / f64::from((b.x - a.x).max(1));
            let top = a.y + (f64::from(b.y - a.y) * way) as i32;
            let at = area.corner + Point::new(column, top);
            fill(
                target,
                at,
                Size::new(1, (height - top).max(0) as u32),
                SHADE,
            )?;
        }
    }
    if let Some(threshold) = threshold.filter(|threshold| threshold.is_finite()) {
        let at = area.corner + Point::new(0, y(threshold));
        for dash in (0..width).step_by(8 * thick as usize) {
            let length = (4 * thick).min(width - dash) as u32;
            fill(
                target,
                at + Point::new(dash, 0),
                Size::new(length, thick as u32),
                colour::DIM,
            )?;
        }
    }
    for (a, b) in segments() {
        Line::new(area.corner + a, area.corner + b)
            .into_styled(PrimitiveStyle::with_stroke(LINE, thick as u32))
            .draw(target)?;
    }
    for (place, (past, point)) in past.iter().zip(&points).enumerate() {
        match (past.label, point) {
            (LabelView::Anomalous, Some(point)) => {
                Circle::with_center(area.corner + *point, dot)
                    .into_styled(PrimitiveStyle::with_fill(LabelView::Anomalous.colour()))
                    .draw(target)?;
            }
            (LabelView::Invalid, _) => {
                let at = area.corner + Point::new(x(place), height - 5 * thick);
                fill(
                    target,
                    at,
                    Size::new(2 * thick as u32, 5 * thick as u32),
                    AMBER,
                )?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(scores: &[f64]) -> Vec<Past> {
        scores
            .iter()
            .map(|&score| Past {
                score: Some(score),
                label: LabelView::Normal,
            })
            .collect()
    }

    #[test]
    fn one_outlier_does_not_flatten_the_rest() {
        let (low, high) = range(&past(&[1.0, 2.0, 1e9]), Some(3.0)).unwrap();
        // 1 to 3 + 1.5·2, and 8 % around.
        assert!(
            (low - 0.6).abs() < 1e-9 && (high - 6.4).abs() < 1e-9,
            "{low} {high}"
        );
        let (low, high) = range(&past(&[1.0, 2.0]), Some(3.0)).unwrap();
        assert!(low < 1.0 && high > 3.5);
        assert_eq!(range(&past(&[f64::NAN]), None), None);
        assert!(range(&past(&[2.0]), Some(2.0)).is_some());
    }
}
