//! Which of the modes of a camera is taken.

use super::{PictureFormat, SourceSettings};
use crate::frame::raw::RawFormat;

/// What is asked for where nothing else was: enough for most models, and what every camera has.
const USUAL_SIZE: [u32; 2] = [1280, 720];
const USUAL_RATE: f64 = 30.0;

/// Sizes of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    /// One size.
    Exactly([u32; 2]),
    /// From the smallest to the largest in steps.
    Range {
        least: [u32; 2],
        most: [u32; 2],
        step: [u32; 2],
    },
}

/// What a camera offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mode {
    pub(super) format: PictureFormat,
    /// How the driver calls the format.
    pub(super) code: [u8; 4],
    pub(super) sizes: Sizes,
    /// Most frames a second, where the driver tells.
    pub(super) fastest: Option<f64>,
}

/// What a camera is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) format: PictureFormat,
    pub(super) code: [u8; 4],
    pub(super) size: [u32; 2],
    pub(super) rate: f64,
}

/// Chooses by what is asked for. Nothing that is asked for is replaced by something like it.
///
/// The size is the one closest to 1280×720, where a side is given the largest with it. Of its
/// formats the cheapest that reaches the rate is taken: grey where that will do, then raw ones,
/// then JPEG, which is what a camera on USB has for large sizes, with its losses.
///
/// # Errors
/// What the camera has in place of what is asked for.
pub(super) fn negotiate(modes: &[Mode], wanted: &SourceSettings) -> Result<Choice, String> {
    if modes.is_empty() {
        return Err(
            "it offers no format that is known; have another program read it, by pipe:COMMAND"
                .into(),
        );
    }
    let of_format: Vec<_> = modes
        .iter()
        .filter(|mode| wanted.format.is_none_or(|format| format == mode.format))
        .collect();
    if of_format.is_empty() {
        return Err(offers(
            "format",
            modes.iter().map(|mode| mode.format.to_string()),
        ));
    }
    let sized: Vec<_> = of_format
        .iter()
        .filter_map(|mode| Some((*mode, size(mode.sizes, wanted)?)))
        .collect();
    if sized.is_empty() {
        return Err(offers(
            "size",
            of_format.iter().map(|mode| describe(mode.sizes)),
        ));
    }
    let rate = wanted.fps.filter(|&fps| fps > 0.0);
    let fast_enough = |mode: &Mode, rate: f64| mode.fastest.is_none_or(|most| most > 0.99 * rate);
    let fast: Vec<_> = sized
        .iter()
        .filter(|(mode, _)| rate.is_none_or(|rate| fast_enough(mode, rate)))
        .collect();
    if fast.is_empty() {
        return Err(offers(
            "rate",
            sized.iter().map(|(mode, [width, height])| {
                let fastest = (100.0 * mode.fastest.unwrap_or(0.0)).round() / 100.0;
                format!("{fastest} fps at {width}×{height}")
            }),
        ));
    }

    let distance = |[width, height]: [u32; 2]| {
        let pixels = f64::from(width) * f64::from(height);
        if wanted.width.is_some() || wanted.height.is_some() {
            -pixels
        } else {
            let usual = f64::from(USUAL_SIZE[0]) * f64::from(USUAL_SIZE[1]);
            (pixels / usual).ln().abs()
        }
    };
    let closest = fast
        .iter()
        .map(|(_, size)| distance(*size))
        .fold(f64::INFINITY, f64::min);
    let usual = rate.unwrap_or(USUAL_RATE);
    let grey = wanted.grey == Some(true);
    let (mode, size) = fast
        .into_iter()
        .filter(|(_, size)| distance(*size) <= closest)
        .min_by_key(|(mode, _)| {
            let slow = !fast_enough(mode, usual);
            // Among the too slow ones the fastest, in thousandths of a frame.
            let slowness = if slow {
                -1000.0 * mode.fastest.unwrap_or(0.0)
            } else {
                0.0
            };
            (slow, slowness as i64, rank(mode.format, grey))
        })
        .ok_or("it offers nothing")?;
    Ok(Choice {
        format: mode.format,
        code: mode.code,
        size: *size,
        rate: rate.unwrap_or_else(|| mode.fastest.map_or(USUAL_RATE, |most| most.min(USUAL_RATE))),
    })
}

/// The lower, the better.
fn rank(format: PictureFormat, grey: bool) -> u32 {
    let PictureFormat::Raw(format) = format else {
        return 5;
    };
    match format {
        RawFormat::Gray => {
            if grey {
                0
            } else {
                8
            }
        }
        RawFormat::Gray10le
        | RawFormat::Gray12le
        | RawFormat::Gray14le
        | RawFormat::Gray16le
        | RawFormat::Gray16be => {
            if grey {
                1
            } else {
                9
            }
        }
        RawFormat::Nv12 | RawFormat::Nv21 | RawFormat::Yuv420p => {
            if grey {
                2
            } else {
                3
            }
        }
        RawFormat::Yuyv422 | RawFormat::Uyvy422 | RawFormat::Yuv422p | RawFormat::Yuv444p => {
            if grey { 3 } else { 2 }
        }
        _ => {
            if grey {
                4
            } else {
                1
            }
        }
    }
}

/// The size of a mode that is the one asked for.
fn size(sizes: Sizes, wanted: &SourceSettings) -> Option<[u32; 2]> {
    let asked = [wanted.width, wanted.height];
    match sizes {
        Sizes::Exactly(size) => {
            let fits = |axis: usize| asked[axis].is_none_or(|side| side == size[axis]);
            (fits(0) && fits(1)).then_some(size)
        }
        Sizes::Range { least, most, step } => {
            let mut size = [0; 2];
            for axis in 0..2 {
                let steps = step[axis].max(1);
                let fits = |side: u32| {
                    (least[axis]..=most[axis]).contains(&side)
                        && (side - least[axis]).is_multiple_of(steps)
                };
                size[axis] = match asked[axis] {
                    Some(side) if fits(side) => side,
                    Some(_) => return None,
                    None => {
                        let most = most[axis].max(least[axis]);
                        let side = USUAL_SIZE[axis].clamp(least[axis], most);
                        side - (side - least[axis]) % steps
                    }
                };
            }
            Some(size)
        }
    }
}

fn describe(sizes: Sizes) -> String {
    match sizes {
        Sizes::Exactly([width, height]) => format!("{width}×{height}"),
        Sizes::Range { least, most, step } => format!(
            "{}×{} to {}×{} in steps of {}×{}",
            least[0], least[1], most[0], most[1], step[0], step[1]
        ),
    }
}

fn offers(what: &str, found: impl Iterator<Item = String>) -> String {
    let mut known: Vec<String> = Vec::new();
    for found in found {
        if !known.contains(&found) {
            known.push(found);
        }
    }
    format!(
        "the {what} asked for is none of the camera's, which are {}",
        known.join(", ")
    )
}

/// `mjpeg 1920×1080 at 30 fps`: of each format the largest size, with its rate where it is told.
pub(super) fn largest_of_each_format(modes: &[Mode]) -> Vec<String> {
    let largest = |mode: &Mode| match mode.sizes {
        Sizes::Exactly(size) => size,
        Sizes::Range { most, .. } => most,
    };
    let pixels = |mode: &Mode| largest(mode).map(u64::from).iter().product::<u64>();
    let mut best: Vec<&Mode> = Vec::new();
    for mode in modes {
        match best.iter_mut().find(|other| other.format == mode.format) {
            Some(other) if pixels(mode) > pixels(other) => *other = mode,
            Some(_) => {}
            None => best.push(mode),
        }
    }
    let shown = |mode: &&Mode| {
        let [width, height] = largest(mode);
        let rate = mode
            .fastest
            .map_or(String::new(), |rate| format!(" at {rate:.0} fps"));
        format!("{} {width}×{height}{rate}", mode.format)
    };
    best.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(code: &str, size: [u32; 2], fastest: f64) -> Mode {
        Mode {
            format: code.trim_end().parse().unwrap(),
            code: code.as_bytes().try_into().unwrap(),
            sizes: Sizes::Exactly(size),
            fastest: Some(fastest),
        }
    }

    /// A webcam on USB 2.
    fn webcam() -> Vec<Mode> {
        vec![
            mode("YUYV", [640, 480], 30.0),
            mode("YUYV", [1280, 720], 10.0),
            mode("YUYV", [1920, 1080], 5.0),
            mode("MJPG", [640, 480], 60.0),
            mode("MJPG", [1280, 720], 30.0),
            mode("MJPG", [1920, 1080], 30.0),
        ]
    }

    fn chosen(modes: &[Mode], settings: &str) -> Result<(String, [u32; 2], f64), String> {
        let choice = negotiate(modes, &toml::from_str(settings).unwrap())?;
        Ok((choice.format.to_string(), choice.size, choice.rate))
    }

    #[test]
    fn raw_where_it_is_fast_enough_and_jpeg_where_not() {
        let modes = webcam();
        let of = |settings| chosen(&modes, settings).unwrap();
        assert_eq!(of(""), ("mjpeg".into(), [1280, 720], 30.0));
        assert_eq!(of("width = 640"), ("yuyv422".into(), [640, 480], 30.0));
        assert_eq!(
            of("width = 640\nfps = 60"),
            ("mjpeg".into(), [640, 480], 60.0)
        );
        assert_eq!(of("fps = 10"), ("yuyv422".into(), [1280, 720], 10.0));
        assert_eq!(of("height = 1080"), ("mjpeg".into(), [1920, 1080], 30.0));
        assert_eq!(of("format = 'YUYV'"), ("yuyv422".into(), [1280, 720], 10.0));
        assert_eq!(
            of("format = 'YUYV'\nfps = 30"),
            ("yuyv422".into(), [640, 480], 30.0)
        );
    }

    #[test]
    fn what_the_camera_lacks_is_told_with_what_it_has() {
        let modes = webcam();
        let problem = |settings| chosen(&modes, settings).unwrap_err();
        assert!(problem("format = 'nv12'").ends_with("which are yuyv422, mjpeg"));
        assert!(problem("width = 800").contains("640×480, 1280×720, 1920×1080"));
        assert!(problem("width = 1920\nfps = 60").contains("30 fps at 1920×1080"));
        assert!(problem("width = 640\nheight = 720").contains("size"));
        assert!(chosen(&[], "").unwrap_err().contains("pipe:COMMAND"));
    }

    #[test]
    fn grey_sensors_give_grey_to_those_who_want_it() {
        let modes = [
            mode("YUYV", [640, 480], 30.0),
            mode("GREY", [640, 480], 30.0),
            mode("Y16 ", [640, 480], 30.0),
        ];
        assert_eq!(chosen(&modes, "grey = true").unwrap().0, "gray");
        assert_eq!(chosen(&modes, "").unwrap().0, "yuyv422");
        assert_eq!(chosen(&modes[1..], "").unwrap().0, "gray");
    }

    #[test]
    fn ranges_hold_what_lies_on_their_steps() {
        let mut range = mode("NV12", [0; 2], 60.0);
        range.sizes = Sizes::Range {
            least: [32, 32],
            most: [4096, 3040],
            step: [2, 2],
        };
        range.fastest = None;
        let of = |settings| chosen(&[range], settings);
        assert_eq!(of("").unwrap(), ("nv12".into(), [1280, 720], 30.0));
        assert_eq!(of("width = 640\nheight = 360").unwrap().1, [640, 360]);
        assert!(
            of("width = 641")
                .unwrap_err()
                .contains("32×32 to 4096×3040 in steps of 2×2")
        );
        assert!(of("width = 5000").is_err());
        let mut odd = range;
        odd.sizes = Sizes::Range {
            least: [2000, 2000],
            most: [1000, 1000],
            step: [0, 0],
        };
        assert_eq!(chosen(&[odd], "").unwrap().1, [2000, 2000]);
    }
}
