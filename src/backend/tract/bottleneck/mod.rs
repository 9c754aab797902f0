//! Inverted bottlenecks: a 1×1 convolution to many channels, a depthwise one, and a 1×1 convolution
//! to few channels, computed together, with the sum of the block's input where there is one.
//!
//! The many channels of a picture take megabytes, which tract writes to memory and reads again,
//! twice. Here a few output rows are computed from the first to the last of these steps. Six of the
//! many channels at a time are expanded and filtered, and what the last step reads is kept in the
//! second-level cache. Input rows that two runs of output rows look at are expanded for both.
//!
//! Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, section
//! 5.1, splits the block by channels; by rows nothing has to be added up in memory.

mod find;

use std::{cell::Cell, ops::Range};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::{
    direct_conv::{DirectConv, every},
    plain_operator::plain_operator,
    pointwise::{PANEL, PIXELS, Planes, Pointwise},
};

pub(super) use self::find::replace_blocks;

#[cfg(test)]
mod tests;

/// Bytes that a run of rows keeps: half of the second-level cache of a current core.
const KEPT: usize = 1 << 19;

/// Rows that two neighbouring runs both expand are at most one in so many.
const ROWS_PER_SHARED_ROW: usize = 4;

/// A block. Without `expand` it begins with the depthwise convolution.
#[derive(Clone, Debug, PartialEq)]
struct Bottleneck {
    expand: Option<Pointwise>,
    depthwise: DirectConv,
    project: Pointwise,
    /// Whether the block's input is added to what it gives.
    residual: bool,
    /// N×C×H×W, or C×H×W of one frame.
    input_shape: TVec<usize>,
    /// N×C×H×W, or C×H×W of one frame.
    output_shape: TVec<usize>,
}

/// Weights that are NaN make it unlike itself, and then it is merely not merged with its like.
impl Eq for Bottleneck {}

impl Bottleneck {
    /// Output rows that are computed together.
    fn run(&self) -> usize {
        let (rows, columns) = (&self.depthwise.rows, &self.depthwise.columns);
        let inputs = self.expand.as_ref().map_or(0, Pointwise::inputs);
        let of_row = self.project.inputs() * columns.output + inputs * columns.input * rows.stride;
        let shared = rows.kernel.saturating_sub(rows.stride) * usize::from(self.expand.is_some());
        let most = (KEPT / (of_row * size_of::<f32>()))
            .max(ROWS_PER_SHARED_ROW * shared / rows.stride)
            .clamp(1, rows.output);
        // Runs of one length: the last should not be a mere rest.
        rows.output.div_ceil(rows.output.div_ceil(most))
    }

    /// Whether the shapes are those of as many frames.
    fn is_whole(&self) -> bool {
        let (rows, columns) = (&self.depthwise.rows, &self.depthwise.columns);
        let frames = |shape: &[usize], frame: usize| {
            let all: usize = shape.iter().product();
            (frame > 0 && all.is_multiple_of(frame)).then(|| all / frame)
        };
        let from = self.inputs() * rows.input * columns.input;
        let to = self.project.outputs() * rows.output * columns.output;
        let frames = [
            frames(&self.input_shape, from),
            frames(&self.output_shape, to),
        ];
        frames[0].is_some() && frames[0] == frames[1]
    }

    /// Channels of the input.
    fn inputs(&self) -> usize {
        let expand = self.expand.as_ref();
        expand.map_or(self.project.inputs(), Pointwise::inputs)
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        let (rows, columns) = (&self.depthwise.rows, &self.depthwise.columns);
        let channels = self.project.inputs();
        let run = self.run();
        let mut room = self.depthwise.make_rows();
        let mut kept = KEPT_ROOM.take();
        let filtered = &mut kept.filtered;
        filtered.resize(
            (run * columns.output).div_ceil(PIXELS) * channels,
            [0.0; PIXELS],
        );
        let mut expander = self.expand.as_ref().map(|expand| {
            let spans = (0..rows.output)
                .step_by(run)
                .map(|first| rows.span(first, run).len());
            let most = spans.max().unwrap_or(0);
            Expander::new(
                expand,
                [most, columns.input],
                columns.stride,
                &mut kept.expanded,
            )
        });
        let from = self.inputs() * rows.input * columns.input;
        let to = self.project.outputs() * rows.output * columns.output;
        for (input, output) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)) {
            for first in (0..rows.output).step_by(run) {
                let count = run.min(rows.output - first);
                let pixels = count * columns.output;
                let filtered = &mut filtered[..pixels.div_ceil(PIXELS) * channels];
                let mut filter = |channel: usize, copy: &dyn Fn(usize, usize, &mut [f32])| {
                    let range = (first, count);
                    self.depthwise.depthwise_rows(
                        channel,
                        range,
                        &mut room,
                        copy,
                        |row, values| {
                            let at = (row - first) * columns.output;
                            put(filtered, (channels, channel), at, values);
                        },
                    );
                };
                match &mut expander {
                    Some(expander) => {
                        let span = rows.span(first, count);
                        expander.take(input, rows.input, span.clone());
                        for panel in 0..expander.expand.panels() {
                            let of_panel = panel * PANEL..channels.min((panel + 1) * PANEL);
                            expander.fill(panel);
                            for (own, channel) in of_panel.enumerate() {
                                filter(channel, &|row, at, target| {
                                    expander.copy(own, row - span.start, at, target);
                                });
                            }
                        }
                    }
                    None => {
                        let pictures = input.chunks_exact(rows.input * columns.input);
                        for (channel, picture) in pictures.enumerate() {
                            filter(channel, &self.depthwise.of_picture(picture));
                        }
                    }
                }
                let place = first * columns.output..first * columns.output + pixels;
                self.project(filtered, place, input, output);
            }
        }
        KEPT_ROOM.set(kept);
    }

    /// Writes the output of the pixels at `place` in each channel.
    fn project(
        &self,
        filtered: &[[f32; PIXELS]],
        place: Range<usize>,
        input: &[f32],
        output: &mut [f32],
    ) {
        let plane = output.len() / self.project.outputs();
        for panel in 0..self.project.panels() {
            let first = panel * PANEL * plane;
            let planes = Planes {
                values: &mut output[first..],
                plane,
                pixels: place.clone(),
                add: self.residual.then(|| &input[first..]),
            };
            self.project.multiply(panel, filtered, planes);
        }
    }
}

thread_local! {
    /// What blocks write on the way, one after the other in a thread, so that none has to clear new
    /// memory.
    static KEPT_ROOM: Cell<Room> = Cell::default();
}

/// Room that is not cleared between two uses.
#[derive(Default)]
struct Room {
    filtered: Vec<[f32; PIXELS]>,
    expanded: Expanded,
}

/// Some rows of the input, and of a panel of the many channels.
#[derive(Default)]
struct Expanded {
    /// The input's rows.
    tiles: Vec<[f32; PIXELS]>,
    /// A channel of them.
    line: Vec<f32>,
    /// A panel's channels.
    values: Vec<f32>,
}

/// The expanded channels of some rows, a panel at a time.
struct Expander<'a> {
    expand: &'a Pointwise,
    /// Width of a row.
    columns: usize,
    /// Columns are sorted by their phase in it, so that a phase can be copied.
    stride: usize,
    /// Values of a channel in the room.
    plane: usize,
    room: &'a mut Expanded,
}

impl<'a> Expander<'a> {
    /// For at most so many rows of so many columns.
    fn new(
        expand: &'a Pointwise,
        [rows, columns]: [usize; 2],
        stride: usize,
        room: &'a mut Expanded,
    ) -> Self {
        let plane = (rows * columns).next_multiple_of(PIXELS);
        room.values.resize(plane * PANEL, 0.0);
        Self {
            expand,
            columns,
            stride,
            plane,
            room,
        }
    }

    /// Takes rows of a picture of `height` rows.
    fn take(&mut self, picture: &[f32], height: usize, rows: Range<usize>) {
        let inputs = self.expand.inputs();
        let pixels = rows.len() * self.columns;
        let begin = self.phases();
        let Expanded { tiles, line, .. } = &mut *self.room;
        tiles.resize(pixels.div_ceil(PIXELS) * inputs, [0.0; PIXELS]);
        let planes = picture.chunks_exact(height * self.columns);
        for (channel, plane) in planes.enumerate() {
            let plane = &plane[rows.start * self.columns..][..pixels];
            if self.stride == 1 {
                put(tiles, (inputs, channel), 0, plane);
                continue;
            }
            line.resize(pixels, 0.0);
            let rows = plane.chunks_exact(self.columns);
            for (row, sorted) in rows.zip(line.chunks_exact_mut(self.columns)) {
                for phase in 0..self.stride.min(self.columns) {
                    let [begin, end] = [phase, phase + 1].map(&begin);
                    every(self.stride, &row[phase..], &mut sorted[begin..end]);
                }
            }
            put(tiles, (inputs, channel), 0, line);
        }
    }

    /// Where the columns of a phase begin in a row: columns of the phases before it.
    fn phases(&self) -> impl Fn(usize) -> usize + use<> {
        let (columns, stride) = (self.columns, self.stride);
        move |phase| {
            let before = (0..phase).map(|phase| columns.saturating_sub(phase).div_ceil(stride));
            before.sum()
        }
    }

    /// Computes the channels of a panel.
    fn fill(&mut self, panel: usize) {
        let planes = Planes {
            values: &mut self.room.values,
            plane: self.plane,
            pixels: 0..self.room.tiles.len() / self.expand.inputs() * PIXELS,
            add: None,
        };
        self.expand.multiply(panel, &self.room.tiles, planes);
    }

    /// Fills `target` with a channel of the panel: every `stride`-th value of a row from column
    /// `at` on.
    fn copy(&self, channel: usize, row: usize, at: usize, target: &mut [f32]) {
        let column = self.phases()(at % self.stride) + at / self.stride;
        let from = channel * self.plane + row * self.columns + column;
        target.copy_from_slice(&self.room.values[from..][..target.len()]);
    }
}

/// Writes a channel's pixels into tiles of so many `channels`, from pixel `at` on.
fn put(
    tiles: &mut [[f32; PIXELS]],
    (channels, channel): (usize, usize),
    mut at: usize,
    mut pixels: &[f32],
) {
    while !pixels.is_empty() {
        let tile = &mut tiles[at / PIXELS * channels + channel];
        if let (0, Some(whole)) = (at % PIXELS, pixels.first_chunk()) {
            *tile = *whole;
            pixels = &pixels[PIXELS..];
            at += PIXELS;
        } else {
            let part = (PIXELS - at % PIXELS).min(pixels.len());
            tile[at % PIXELS..][..part].copy_from_slice(&pixels[..part]);
            pixels = &pixels[part..];
            at += part;
        }
    }
}

plain_operator!(Bottleneck);
