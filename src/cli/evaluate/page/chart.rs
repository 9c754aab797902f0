//! Charts as SVG, in the colours of the page.

use std::fmt::Write;

use edge_vae::render::PageText as Text;

/// Bars of a histogram over the whole width, about.
const BARS: f64 = 64.0;

/// Room of a histogram, in units of the SVG.
const WIDTH: f64 = 990.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 14.0;
const STRIP: f64 = 46.0;
const GAP: f64 = 12.0;

/// A strip for each kind over one axis of scores. Bars end at the threshold, so that each belongs
/// to one side of it. Scores far above all others are counted in the last bar.
pub(super) fn histograms(kinds: &[(&str, &[f64])], threshold: f64) -> String {
    let mut all: Vec<f64> = kinds
        .iter()
        .flat_map(|(_, scores)| *scores)
        .copied()
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    let (Some(&lowest), Some(&highest)) = (all.first(), all.last()) else {
        return String::new();
    };
    let lowest = lowest.min(threshold);
    let typical = all[(all.len() - 1) * 95 / 100];
    // A few very high scores shall not squeeze all others into one bar.
    let top = highest.min(threshold.max(typical) + 0.5 * (threshold.max(typical) - lowest));
    let top = top.max(threshold);
    let width = if top > lowest {
        (top - lowest) / BARS
    } else {
        1.0
    };
    // A score that equals the threshold is normal: bar −1 ends with it, bar 0 begins above it.
    let bar = |score: f64| ((score.min(top) - threshold) / width).ceil() as i64 - 1;
    let (first, last) = (bar(lowest), bar(top).max(0));
    let span = (last - first + 1) as f64;
    let x = |bar: f64| LEFT + (WIDTH - LEFT - RIGHT) * (bar - first as f64) / span;

    let height = kinds.len() as f64 * (STRIP + GAP) + 26.0;
    let mut svg = open(WIDTH, height, "Histograms of the scores by kind");
    for (row, (name, scores)) in kinds.iter().enumerate() {
        let base = row as f64 * (STRIP + GAP) + STRIP + 4.0;
        let mut counts = vec![0_u32; span as usize];
        for &score in *scores {
            counts[(bar(score) - first) as usize] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(1).max(1);
        push(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{base}\" x2=\"{:.1}\" \
                 y2=\"{base}\"/>\n<text class=\"label\" x=\"0\" y=\"{:.1}\">{}</text>\n<text \
                 x=\"0\" y=\"{:.1}\">{} frames</text>\n",
                WIDTH - RIGHT,
                base - 20.0,
                Text(&shortened(name)),
                base - 4.0,
                scores.len()
            ),
        );
        for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let bar = first + index as i64;
            let class = if bar < 0 {
                "called-normal"
            } else {
                "called-anomalous"
            };
            // Even one frame among a thousand is seen.
            let tall = (STRIP * f64::from(count) / f64::from(most)).max(1.5);
            let (left, right) = (x(bar as f64), x((bar + 1) as f64));
            push(
                &mut svg,
                format_args!(
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                     height=\"{tall:.1}\"><title>{count}</title></rect>\n",
                    base - tall,
                    (right - left - 1.0).max(0.5)
                ),
            );
        }
    }
    let base = kinds.len() as f64 * (STRIP + GAP) - 4.0;
    let at = |score: f64| x((score - threshold) / width);
    push(
        &mut svg,
        format_args!(
            "<line class=\"limit\" x1=\"{0:.1}\" y1=\"0\" x2=\"{0:.1}\" y2=\"{base:.1}\"/>\n",
            x(0.0)
        ),
    );
    for tick in ticks(lowest, top) {
        push(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>\n",
                at(tick),
                base + 16.0
            ),
        );
    }
    if highest > top {
        push(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">up to {highest:.1}</text>\n",
                WIDTH,
                base + 28.0
            ),
        );
    }
    svg + "</svg>\n"
}

/// A curve with its name.
pub(super) struct Line<'a> {
    pub(super) name: String,
    pub(super) points: &'a [[f64; 2]],
}

/// Curves over x from 0 to `reach` and y from 0 to 1.
pub(super) fn curves(lines: &[Line<'_>], reach: f64, x_name: &str, y_name: &str) -> String {
    const SIDE: f64 = 360.0;
    const LEFT: f64 = 52.0;
    const TOP: f64 = 8.0;
    let (width, height) = (LEFT + SIDE + 24.0, TOP + SIDE + 46.0);
    let x = |value: f64| LEFT + SIDE * value / reach;
    let y = |value: f64| TOP + SIDE * (1.0 - value);
    let mut svg = open(width, height, &format!("{y_name} by {x_name}"));
    for up in ticks(0.0, 1.0) {
        push(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1:.1}\" \
                 y2=\"{0:.1}\"/>\n<text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{up}</text>\n",
                y(up),
                LEFT + SIDE,
                LEFT - 6.0,
                y(up) + 4.0
            ),
        );
    }
    for along in ticks(0.0, reach) {
        push(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{along}</text>\n",
                x(along),
                y(0.0) + 18.0
            ),
        );
    }
    push(
        &mut svg,
        format_args!(
            "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1:.1}\" \
             y2=\"{0:.1}\"/>\n<text x=\"{2:.1}\" y=\"{3:.1}\" \
             text-anchor=\"middle\">{4}</text>\n<text transform=\"translate(14 {5:.1}) \
             rotate(-90)\" text-anchor=\"middle\">{6}</text>\n<line class=\"chance\" \
             x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1:.1}\" y2=\"{7:.1}\"/>\n",
            y(0.0),
            LEFT + SIDE,
            LEFT + SIDE / 2.0,
            height - 6.0,
            Text(x_name),
            TOP + SIDE / 2.0,
            Text(y_name),
            y(reach)
        ),
    );
    for (index, line) in lines.iter().enumerate() {
        let mut path = String::new();
        for [along, up] in clipped(line.points, reach) {
            push(&mut path, format_args!("{:.1},{:.1} ", x(along), y(up)));
        }
        let row = y(0.0) - 14.0 - 18.0 * (lines.len() - 1 - index) as f64;
        let right = LEFT + SIDE - 10.0;
        let (from, middle) = (right - 18.0, row - 4.0);
        push(
            &mut svg,
            format_args!(
                "<polyline class=\"line line-{index}\" points=\"{}\"/>\n<text class=\"label\" \
                 x=\"{:.1}\" y=\"{row:.1}\" text-anchor=\"end\">{}</text>\n<line class=\"line \
                 line-{index}\" x1=\"{from:.1}\" y1=\"{middle:.1}\" x2=\"{right:.1}\" \
                 y2=\"{middle:.1}\"/>\n",
                path.trim_end(),
                right - 26.0,
                Text(&line.name)
            ),
        );
    }
    svg + "</svg>\n"
}

/// The points up to x = `reach`, and the one at which the curve crosses it.
fn clipped(points: &[[f64; 2]], reach: f64) -> Vec<[f64; 2]> {
    let inside = points.partition_point(|point| point[0] <= reach);
    let mut clipped = points[..inside].to_vec();
    if let (Some(&[x1, y1]), Some(&[x2, y2])) = (clipped.last(), points.get(inside)) {
        clipped.push([reach, y1 + (y2 - y1) * (reach - x1) / (x2 - x1)]);
    }
    clipped
}

fn open(width: f64, height: f64, what: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n",
        Text(what)
    )
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    let _ = text.write_fmt(what);
}

/// Some five round numbers from `low` to `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = high - low;
    if !(span > 0.0 && span.is_finite()) {
        return vec![low];
    }
    let power = 10_f64.powf((span / 6.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| span / step <= 8.0)
        .unwrap_or(10.0 * power);
    // An end that is itself round stays, whatever the division loses.
    let from = (low / step - 1e-9).ceil() as i64;
    let to = (high / step + 1e-9).floor() as i64;
    // i/(1/step) is rounder than i·step for steps below 1.
    let value = |i: i64| {
        if step < 1.0 {
            i as f64 / (1.0 / step).round()
        } else {
            i as f64 * step
        }
    };
    (from..=to).map(value).collect()
}

/// A name that fits beside its strip.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 20 {
        return name.to_owned();
    }
    name.chars().take(19).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.0, 7.3), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(ticks(-0.11, 0.5), [-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(ticks(130.0, 990.0), [200.0, 400.0, 600.0, 800.0]);
        assert_eq!(ticks(0.0, 0.3), [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
        assert_eq!(ticks(2.0, 2.0), [2.0]);
    }

    #[test]
    fn a_score_at_the_threshold_is_drawn_as_normal() {
        let svg = histograms(&[("good", &[1.0, 3.0]), ("<odd>", &[3.0, 3.1, 900.0])], 3.0);
        let bars = |class: &str| svg.matches(&format!("class=\"{class}\"")).count();
        assert_eq!((bars("called-normal"), bars("called-anomalous")), (3, 2));
        assert!(svg.contains("&lt;odd&gt;") && !svg.contains("<odd>"));
        assert!(svg.contains("up to 900.0"), "{svg}");
        // Nothing leaves the picture.
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("x=\"-"));
        let same = histograms(&[("good", &[2.0, 2.0])], 2.0);
        assert_eq!(same.matches("called-normal").count(), 1);
        assert_eq!(histograms(&[], 1.0), "");
    }

    #[test]
    fn a_curve_ends_where_the_axis_does() {
        let points = [[0.0, 0.0], [0.1, 0.5], [0.5, 0.9], [1.0, 1.0]];
        let found = clipped(&points, 0.3);
        assert_eq!(found.len(), 3);
        assert!((found[2][1] - 0.7).abs() < 1e-12 && found[2][0] == 0.3);
        assert_eq!(clipped(&points, 1.0), points);
        let line = Line {
            name: "a & b".into(),
            points: &points,
        };
        let svg = curves(&[line], 0.3, "x", "y");
        assert!(
            svg.contains("a &amp; b") && svg.contains("polyline"),
            "{svg}"
        );
    }
}
