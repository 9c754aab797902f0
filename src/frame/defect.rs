//! Frames that carry no picture.

use std::fmt;

use super::{Frame, Samples};

/// What tells frames without a picture from dull ones. Levels and deviations are steps of 8 bits;
/// they were tried on white, demosaiced and JPEG-compressed noise with and without overlays, and on
/// digits, weaves and photographs of tiles down to a twentieth of their light.
#[derive(Clone, Copy, Debug)]
struct DefectParams {
    /// Largest difference of two samples of a channel in a frame that is flat as it is: beneath the
    /// read noise of cameras, so that a scene, however dull, exceeds it.
    flat: f64,
    /// Highest mean of a flat frame that is called black: the black level of 8-bit video
    /// (ITU-R BT.601), which a covered camera delivers.
    black: f64,
    /// Lowest mean of a flat frame that is called saturated: the white level of 8-bit video
    /// (ITU-R BT.601), at which a blinded camera clips.
    saturated: f64,
    /// Medians up to the first and from the second on may be noise about black or white. In
    /// between, even light on an even surface looks like noise, and is a scene.
    noisy: [f64; 2],
    /// Cells along the shorter side of a frame.
    cells: usize,
    /// Sides of a cell: those of the blocks of JPEG at least, in which it spreads a hot pixel; of
    /// more pixels no mean is needed. Smaller frames than two cells are not tested.
    cell_side: [usize; 2],
    /// A cell shows something where its mean differs from the median of all by more than this,
    /// which compression does to blocks of 8×8 pixels,
    least_deviation: f64,
    /// and by so many standard errors of its noise, of which demosaicing leaves up to nine.
    standard_errors: f64,
    /// A single cell that differs by this shows something in any case.
    bright: f64,
    /// Share of the cells between the margins, or one cell, that noise and hot pixels make exceed
    /// the limits.
    by_chance: f64,
    /// Largest share of cells that a clock, a name and a frame counter cover,
    overlay: f64,
    /// and the parts of the height, at the top and the bottom, where they stand.
    margin: f64,
    /// Covariance of pixels four to seven apart, squared steps, from which a texture is one,
    least_covariance: f64,
    /// as a share of the variance; compression leaves a tenth,
    covariance_share: f64,
    /// and in standard errors of an estimate from independent pixels.
    covariance_errors: f64,
}

const PARAMS: DefectParams = DefectParams {
    flat: 2.0,
    black: 16.0,
    saturated: 235.0,
    noisy: [40.0, 228.0],
    cells: 32,
    cell_side: [8, 64],
    least_deviation: 1.0,
    standard_errors: 10.0,
    bright: 16.0,
    by_chance: 0.05,
    overlay: 0.1,
    margin: 0.25,
    least_covariance: 1.0,
    covariance_share: 0.15,
    covariance_errors: 5.0,
};

/// Pixels that are looked at for the median of a frame.
const LOOKED_AT: usize = 1024;

/// Rows of each cell that are looked at: more hardly change its mean, and cost time.
const ROWS: usize = 16;

/// How far apart pixels are compared: beyond what demosaicing mixes, within a block of JPEG.
const LAGS: std::ops::RangeInclusive<usize> = 4..=7;

/// Why a frame carries no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameDefect {
    /// Nothing but black: covered lens, closed shutter, no light.
    Black,
    /// Nothing but white: over-exposed.
    Saturated,
    /// One colour all over.
    Uniform,
}

impl fmt::Display for FrameDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Black => "black",
            Self::Saturated => "saturated",
            Self::Uniform => "uniform",
        })
    }
}

pub(super) fn of(frame: &Frame) -> Option<FrameDefect> {
    match frame.samples() {
        Samples::U8(samples) => of_samples(samples, frame),
        Samples::U16(samples) => of_samples(samples, frame),
    }
}

fn of_samples<T: Copy + Ord + Into<u16>>(samples: &[T], frame: &Frame) -> Option<FrameDefect> {
    let channels = frame.format().channels();
    let unit = 255.0 / f64::from(frame.white());
    let spread = (PARAMS.flat / unit).round() as u16;
    if let Some(mean) = flat_mean(samples, channels, spread) {
        let mean = mean * unit;
        return Some(if mean <= PARAMS.black {
            FrameDefect::Black
        } else if mean >= PARAMS.saturated {
            FrameDefect::Saturated
        } else {
            FrameDefect::Uniform
        });
    }
    let defect = [FrameDefect::Black, FrameDefect::Saturated]
        .into_iter()
        .zip(PARAMS.noisy)
        .find(|&(defect, limit)| {
            (0..channels).all(|channel| {
                let median = f64::from(median(samples, channels, channel)) * unit;
                match defect {
                    FrameDefect::Black => median <= limit,
                    _ => median >= limit,
                }
            })
        })?
        .0;
    let shows_nothing = (0..channels).all(|channel| {
        Channel {
            samples,
            channels,
            channel,
            width: frame.width() as usize,
            height: frame.height() as usize,
            unit: unit as f32,
        }
        .is_noise()
    });
    shows_nothing.then_some(defect)
}

/// Mean of all samples if no two of a channel differ by more than `spread`. Frames that show
/// something leave after their first rows.
fn flat_mean<T: Copy + Into<u16>>(samples: &[T], channels: usize, spread: u16) -> Option<f64> {
    let mut low = [u16::MAX; 3];
    let mut high = [0; 3];
    let mut sum = 0_u64;
    for pixel in samples.chunks_exact(channels) {
        for (channel, &sample) in pixel.iter().enumerate() {
            let v: u16 = sample.into();
            low[channel] = low[channel].min(v);
            high[channel] = high[channel].max(v);
            if high[channel] - low[channel] > spread {
                return None;
            }
            sum += u64::from(v);
        }
    }
    Some(sum as f64 / samples.len() as f64)
}

/// Median of a channel's samples, from about a thousand of them, evenly spread.
fn median<T: Copy + Ord + Into<u16>>(samples: &[T], channels: usize, channel: usize) -> u16 {
    let pixels = samples.len() / channels;
    let mut some = [0; LOOKED_AT];
    let count = pixels.min(LOOKED_AT);
    for (index, place) in some[..count].iter_mut().enumerate() {
        *place = samples[index * pixels / count * channels + channel].into();
    }
    *some[..count].select_nth_unstable(count / 2).1
}

/// One channel of a frame.
struct Channel<'a, T> {
    samples: &'a [T],
    channels: usize,
    channel: usize,
    width: usize,
    height: usize,
    /// What a sample is multiplied by to be in steps of 8 bits.
    unit: f32,
}

/// Mean and standard deviation of a cell.
#[derive(Clone, Copy)]
struct Cell {
    mean: f32,
    deviation: f32,
}

impl<T: Copy + Into<u16>> Channel<'_, T> {
    fn at(&self, x: usize, y: usize) -> f32 {
        let sample: u16 = self.samples[(y * self.width + x) * self.channels + self.channel].into();
        f32::from(sample) * self.unit
    }

    /// Whether there is nothing but noise, hot pixels and an overlay.
    fn is_noise(&self) -> bool {
        let shorter = self.width.min(self.height);
        let [least, most] = PARAMS.cell_side;
        if shorter < 2 * least {
            return false;
        }
        let side = (shorter / PARAMS.cells).clamp(least, most);
        let (columns, rows) = (self.width / side, self.height / side);
        let step = side.div_ceil(ROWS);
        let cells: Vec<Cell> = (0..columns * rows)
            .map(|cell| self.cell(cell % columns * side, cell / columns * side, side, step))
            .collect();
        let median = middle(cells.iter().map(|cell| cell.mean));
        let deviation = middle(cells.iter().map(|cell| cell.deviation));

        let pixels = (side * side.div_ceil(step)) as f32;
        let limit = (PARAMS.least_deviation as f32)
            .max(PARAMS.standard_errors as f32 * deviation / pixels.sqrt());
        let differs: Vec<bool> = cells
            .iter()
            .map(|cell| (cell.mean - median).abs() > limit)
            .collect();
        let margin = (PARAMS.margin * rows as f64) as usize;
        let between = margin * columns..(rows - margin) * columns;
        let count = |cells: &[bool]| cells.iter().filter(|&&differs| differs).count() as f64;
        let bright = limit.max(PARAMS.bright as f32);
        if cells[between.clone()]
            .iter()
            .any(|cell| (cell.mean - median).abs() > bright)
            || count(&differs[between.clone()]) > (PARAMS.by_chance * between.len() as f64).max(1.0)
            || count(&differs) > PARAMS.overlay * cells.len() as f64
        {
            return false;
        }

        // Hot pixels may not pass for a texture.
        let most = 4.0 * deviation + 1.0;
        let value = |x: usize, y: usize| {
            (!differs[y / side * columns + x / side])
                .then(|| (self.at(x, y) - median).clamp(-most, most))
        };
        let (wide, high) = (columns * side, rows * side);
        let covariance = |across: usize, down: usize| {
            let (mut sum, mut count) = (0.0, 0_u32);
            for y in (0..high.saturating_sub(down)).step_by(step) {
                for x in 0..wide.saturating_sub(across) {
                    if let (Some(here), Some(there)) = (value(x, y), value(x + across, y + down)) {
                        sum += f64::from(here * there);
                        count += 1;
                    }
                }
            }
            let count = f64::from(count.max(1));
            let variance = f64::from(deviation).powi(2);
            let limit = PARAMS
                .least_covariance
                .max(PARAMS.covariance_share * variance)
                .max(PARAMS.covariance_errors * variance / count.sqrt());
            (sum / count).abs() > limit
        };
        !LAGS
            .into_iter()
            .any(|lag| covariance(lag, 0) || covariance(0, lag))
    }

    /// A cell from every `step`-th of its rows, the mean without the largest and the smallest
    /// sample, which may be hot or dead pixels.
    fn cell(&self, left: usize, top: usize, side: usize, step: usize) -> Cell {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for y in (top..top + side).step_by(step) {
            for x in left..left + side {
                let value = self.at(x, y);
                low = low.min(value);
                high = high.max(value);
                count += 1.0;
                sum += value;
                squares += value * value;
            }
        }
        let mean = sum / count;
        Cell {
            mean: if count > 2.0 {
                (sum - low - high) / (count - 2.0)
            } else {
                mean
            },
            deviation: (squares / count - mean * mean).max(0.0).sqrt(),
        }
    }
}

/// The median of some values.
fn middle(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    let place = values.len() / 2;
    *values.select_nth_unstable_by(place, f32::total_cmp).1
}

#[cfg(test)]
mod tests;
