//! The frames that a model is worst at, beside their maps.

use anyhow::Context;
use edge_vae::{
    Detector,
    dataset::Sample,
    render::{MapScale, Page, PageText as Text, Thumbnail},
};
use image::{Rgb, RgbImage};
use ndarray::Array2;

use super::super::{
    mask,
    measure::{Measurement, ScoredFrame},
};

/// Frames of each sort.
const SHOWN: usize = 12;

/// The worst frames of either side.
pub(in super::super) struct Gallery {
    /// Frames with a defect, the lowest score first.
    misses: Vec<Shown>,
    /// Normal frames, the highest score first.
    alarms: Vec<Shown>,
}

/// A frame with its pictures.
struct Shown {
    scored: ScoredFrame,
    /// Addresses of frame and map.
    pictures: [String; 2],
    is_small: bool,
}

impl Gallery {
    /// Judges the worst frames once more, to have their maps.
    pub(in super::super) fn collect(
        detector: &mut Detector,
        samples: &[&Sample],
        measured: &Measurement,
    ) -> anyhow::Result<Self> {
        let worst = |normal: bool| {
            let of_side = |frame: &&ScoredFrame| (frame.stratum == 0) == normal;
            let frames = measured.frames.iter().filter(of_side).copied();
            let mut frames: Vec<ScoredFrame> = frames.collect();
            frames.sort_by(|a, b| a.score.total_cmp(&b.score));
            if normal {
                frames.reverse();
            }
            frames.truncate(SHOWN);
            frames
        };
        let hot = detector.calibration().map_threshold as f32;
        let scale = MapScale::around(hot, (measured.cold as f32).min(hot.next_down()));
        let mut shown = |frames: Vec<ScoredFrame>| -> anyhow::Result<Vec<Shown>> {
            let mut list = Vec::with_capacity(frames.len());
            for scored in frames {
                list.push(show(detector, samples[scored.sample], scored, &scale)?);
            }
            Ok(list)
        };
        Ok(Self {
            misses: shown(worst(false))?,
            alarms: shown(worst(true))?,
        })
    }

    /// Both sides, as far as there are frames.
    pub(super) fn section(
        &self,
        page: &mut Page,
        measured: &Measurement,
        samples: &[&Sample],
        threshold: f64,
    ) {
        for (heading, words, wrong, shown) in [
            (
                "Defects with the lowest scores",
                "Left the frame, right its anomaly map with the mask's outline in white.",
                "missed",
                &self.misses,
            ),
            (
                "Normal frames with the highest scores",
                "Left the frame, right its anomaly map.",
                "false alarm",
                &self.alarms,
            ),
        ] {
            if shown.is_empty() {
                continue;
            }
            page.heading(heading);
            page.push(format_args!(
                "<p>{words} The threshold is {threshold:.4}.</p>\n<div class=\"gallery\">\n"
            ));
            for shown in shown {
                let scored = shown.scored;
                let is_wrong = scored.anomalous == (scored.stratum == 0);
                let mark = if is_wrong {
                    format!(" · <span class=\"wrong\">{wrong}</span>")
                } else {
                    String::new()
                };
                let class = if shown.is_small {
                    " class=\"small\""
                } else {
                    ""
                };
                let name = samples[scored.sample].name();
                page.push(format_args!(
                    "<figure><div class=\"pair\"><img{class} alt=\"frame\" src=\"{}\"><img{class} \
                     alt=\"anomaly map\" \
                     src=\"{}\"></div><figcaption><strong>{}</strong>{mark}<br>score {:.4} · p \
                     {:.2e}<br>{}</figcaption></figure>\n",
                    shown.pictures[0],
                    shown.pictures[1],
                    Text(&measured.kinds[scored.stratum]),
                    scored.score,
                    scored.p_value,
                    Text(name)
                ));
            }
            page.push("</div>\n");
        }
    }
}

fn show(
    detector: &mut Detector,
    sample: &Sample,
    scored: ScoredFrame,
    scale: &MapScale,
) -> anyhow::Result<Shown> {
    let frame = sample.frame()?;
    let detection = detector.score(&frame)?;
    let map = detector.frame_map(&detection).with_context(|| {
        format!(
            "{}: was scored before and is invalid now; leave the data set alone while it is read",
            sample.name()
        )
    })?;
    // An unusable mask was told of.
    let outline = Some(&sample.masks)
        .filter(|masks| scored.stratum > 0 && !masks.is_empty())
        .and_then(|masks| mask::read(masks, &frame).ok())
        .map(|mask| mask.set);
    let mut thumbnail = Thumbnail::of(&frame, map.view(), scale);
    if let Some(outline) = outline {
        draw_outline(&mut thumbnail.heat, &outline);
    }
    Ok(Shown {
        scored,
        pictures: thumbnail.data_uris()?,
        is_small: thumbnail.is_small,
    })
}

/// White where a pixel of the picture lies outside of the mask and touches it.
fn draw_outline(picture: &mut RgbImage, mask: &Array2<bool>) {
    let (width, height) = picture.dimensions();
    let (rows, columns) = mask.dim();
    // Whether any pixel of the mask that a pixel of the picture covers is set, so that no thin
    // defect is lost.
    let span = |i: u32, n: u32, m: usize| {
        let from = i as usize * m / n as usize;
        from..((i as usize + 1) * m / n as usize).max(from + 1)
    };
    let set = Array2::from_shape_fn((height as usize, width as usize), |(y, x)| {
        span(y as u32, height, rows)
            .any(|row| span(x as u32, width, columns).any(|column| mask[[row, column]]))
    });
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let (x, y) = (x as usize, y as usize);
        let near = |y: usize, x: usize| set.get([y, x]).is_some_and(|set| *set);
        let touches = (y.saturating_sub(1)..=y + 1)
            .any(|row| (x.saturating_sub(1)..=x + 1).any(|column| near(row, column)));
        if touches && !near(y, x) {
            *pixel = Rgb([255; 3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_surrounds_even_the_thinnest_defect() {
        let mut mask = Array2::from_elem((64, 64), false);
        mask[[33, 21]] = true;
        let mut picture = RgbImage::new(16, 16);
        draw_outline(&mut picture, &mask);
        let white: Vec<_> = picture
            .enumerate_pixels()
            .filter(|(.., pixel)| pixel.0 == [255; 3])
            .map(|(x, y, _)| (x, y))
            .collect();
        let around = [
            (4, 7),
            (5, 7),
            (6, 7),
            (4, 8),
            (6, 8),
            (4, 9),
            (5, 9),
            (6, 9),
        ];
        assert_eq!(white, around);
    }
}
