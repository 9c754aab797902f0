//! Pictures of GStreamer's elements in this process, in place of a child's.

use std::{
    ffi::OsString,
    time::{Duration, Instant, SystemTime},
};

use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use gst::prelude::*;
use gst_video::prelude::*;

use super::{
    Arrival, PATIENCE, Source, SourceError, SourceSettings, child_process::ChildOptions,
    command_line::CommandLine, picture_stream::converter,
};
use crate::{
    Frame,
    frame::{
        FrameError,
        raw::{RawConverter, RawFormat, RawLayout},
    },
};

/// Pictures that wait in the sink. Beyond them the elements before it wait, or lose pictures as
/// they see fit: what is too old is the pipeline's to drop.
const WAITING: u32 = 2;

/// A live picture whose timestamp says that it is older is taken for one of now: the timestamps are
/// then not of this clock.
const MOST_AGE: Duration = Duration::from_secs(10);

/// Most characters of what an element says in detail.
const DETAIL: usize = 300;

/// Pictures of a pipeline, which ends on drop.
pub(super) struct AppSource {
    name: String,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    sink: gst_app::AppSink,
    converter: RawConverter,
    options: ChildOptions,
    /// The address, which elements may repeat with its password.
    secret: Option<String>,
    /// What the last picture was, for as long as they are the same.
    kind: Option<(gst::Caps, gst_video::VideoInfo)>,
    /// The planes of a picture, one behind the other.
    planes: Vec<u8>,
    /// Whether timestamps tell when a picture was captured; not known before the first.
    timed: Option<bool>,
    last: Instant,
    frames: u64,
}

impl AppSource {
    /// Runs the elements of `command`, which is one of gst-launch-1.0. `secret` is not repeated in
    /// messages.
    pub(super) fn open(
        name: &str,
        command: &CommandLine,
        secret: Option<&str>,
        settings: &SourceSettings,
        options: ChildOptions,
    ) -> Result<Self, SourceError> {
        let impossible = |problem| SourceError::Impossible {
            source_name: name.to_owned(),
            problem,
        };
        gst::init().map_err(|error| impossible(format!("cannot start GStreamer: {error}")))?;
        let description = description(command).map_err(impossible)?;
        let words: Vec<&str> = description.iter().map(String::as_str).collect();
        let pipeline = gst::parse::launchv(&words)
            .map_err(|error| {
                impossible(format!(
                    "cannot build GStreamer's pipeline: {error}; are its plug-ins installed?"
                ))
            })?
            .downcast::<gst::Pipeline>()
            .map_err(|_| impossible("GStreamer made no pipeline of its elements".to_owned()))?;
        let sink = pipeline.by_name("frames").and_downcast();
        let (Some(sink), Some(bus)) = (sink, pipeline.bus()) else {
            return Err(impossible(
                "GStreamer's appsink is not there; install the package gstreamer1.0-plugins-base"
                    .to_owned(),
            ));
        };
        // Nobody would take the others from the bus, which keeps all.
        bus.set_sync_handler(|_, message| match message.type_() {
            gst::MessageType::Error => gst::BusSyncReply::Pass,
            _ => gst::BusSyncReply::Drop,
        });
        let source = Self {
            name: name.to_owned(),
            pipeline,
            bus,
            sink,
            converter: converter(settings),
            options,
            secret: secret.map(str::to_owned),
            kind: None,
            planes: Vec::new(),
            timed: None,
            last: Instant::now(),
            frames: 0,
        };
        match source.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(source),
            Err(error) => {
                let message = source.complaint();
                Err(source.failed(message.unwrap_or_else(|| format!("GStreamer: {error}"))))
            }
        }
    }

    /// Makes `frame` the picture of a sample.
    fn show(&mut self, sample: &gst::Sample, frame: &mut Frame) -> Result<(), SourceError> {
        let captured = self.captured(sample);
        let broken = |problem: &str| FrameError::Raw {
            name: self.name.clone(),
            problem: format!("GStreamer gave {problem}"),
        };
        let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps()) else {
            return Err(broken("a sample without a picture").into());
        };
        let known = self.kind.take().filter(|(known, _)| **known == *caps);
        let (caps, info) = match known {
            Some(kind) => kind,
            None => {
                let info = gst_video::VideoInfo::from_caps(caps)
                    .map_err(|_| broken(&format!("{caps}, which is no picture")))?;
                (caps.to_owned(), info)
            }
        };
        let (_, info) = self.kind.insert((caps, info));
        let format = match info.format() {
            gst_video::VideoFormat::Rgb => RawFormat::Rgb24,
            gst_video::VideoFormat::Gray8 => RawFormat::Gray,
            gst_video::VideoFormat::Nv12 => RawFormat::Nv12,
            other => return Err(broken(&format!("a picture of {other}")).into()),
        };
        // Where the samples lie, the buffer itself says if it is not as the format has it.
        let picture = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info)
            .map_err(|_| broken("a picture that can't be read"))?;
        let stride = |plane: usize| match picture.plane_stride().get(plane) {
            Some(&stride) => usize::try_from(stride).map_err(|_| broken("rows from the bottom up")),
            None => Ok(0),
        };
        let layout = RawLayout::new(format, picture.width(), picture.height())?
            .with_strides(stride(0)?, stride(1)?)?;
        let plane = |plane| {
            picture
                .plane_data(plane)
                .map_err(|_| broken("a picture that lacks a plane"))
        };
        let bytes = match picture.n_planes() {
            1 => plane(0)?,
            planes => {
                // They may lie anywhere, and are small beside what became of the picture so far.
                self.planes.clear();
                for number in 0..planes {
                    self.planes.extend_from_slice(plane(number)?);
                }
                &self.planes
            }
        };
        self.converter.convert(&layout, bytes, captured, frame)?;
        Ok(())
    }

    /// When a picture was captured: of a live source, as long ago as the pipeline's clock went on
    /// since its timestamp.
    fn captured(&mut self, sample: &gst::Sample) -> SystemTime {
        let now = SystemTime::now();
        let timed = *self.timed.get_or_insert_with(|| {
            let mut latency = gst::query::Latency::new();
            // Asked before the sink, which calls nothing live that it does not hold back.
            let before = self.sink.static_pad("sink");
            let answered = before.is_some_and(|pad| pad.peer_query(&mut latency));
            self.options.live && answered && latency.result().0
        });
        if !timed {
            return now;
        }
        let age = || {
            let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
            let at = segment.to_running_time(sample.buffer()?.pts()?)?;
            let age = self.pipeline.current_running_time()?.checked_sub(at)?;
            Some(Duration::from(age)).filter(|&age| age <= MOST_AGE)
        };
        age().and_then(|age| now.checked_sub(age)).unwrap_or(now)
    }

    /// The first error of an element, in one line.
    fn complaint(&self) -> Option<String> {
        let message = self.bus.pop_filtered(&[gst::MessageType::Error])?;
        let gst::MessageView::Error(error) = message.view() else {
            return None;
        };
        let element = message
            .src()
            .map_or_else(|| "pipeline".into(), |element| element.name());
        let mut message = format!("GStreamer's {element}: {}", error.error());
        // Its first line is a place in the source code.
        let detail = error.debug().unwrap_or_default();
        if let Some((_, detail)) = detail.split_once('\n') {
            let detail: String = detail.trim().chars().take(DETAIL).collect();
            message = format!("{message} {detail}");
        }
        if let Some(secret) = &self.secret {
            message = message.replace(secret.as_str(), &self.name);
        }
        Some(message.replace(char::is_control, " "))
    }

    fn failed(&self, problem: String) -> SourceError {
        let source_name = self.name.clone();
        if self.options.fails_for_good && self.frames == 0 {
            SourceError::Impossible {
                source_name,
                problem,
            }
        } else {
            self.lost(problem)
        }
    }

    fn lost(&self, problem: String) -> SourceError {
        SourceError::Lost {
            source_name: self.name.clone(),
            problem,
        }
    }
}

impl Source for AppSource {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        let patience = gst::ClockTime::try_from(PATIENCE).unwrap_or(gst::ClockTime::ZERO);
        if let Some(sample) = self.sink.try_pull_sample(patience) {
            self.last = Instant::now();
            self.show(&sample, frame)?;
            self.frames += 1;
            return Ok(Arrival::Frame);
        }
        // An element that fails says so before it ends the stream.
        if let Some(message) = self.complaint() {
            return Err(self.failed(message));
        }
        if self.sink.is_eos() {
            return match self.options.ends {
                true => Ok(Arrival::End),
                false => Err(self.lost("the stream ended".to_owned())),
            };
        }
        match self.options.timeout {
            Some(timeout) if self.last.elapsed() > timeout => Err(self.lost(format!(
                "no frame for {}",
                humantime::format_duration(timeout)
            ))),
            _ => Ok(Arrival::Nothing),
        }
    }

    fn is_live(&self) -> bool {
        self.options.live
    }
}

impl Drop for AppSource {
    fn drop(&mut self) {
        // A pipeline may not be let go of while it runs; one that can't be ended is left behind.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// The elements of gst-launch-1.0's command up to those that write pictures out, for which there is
/// a sink that holds them.
fn description(command: &CommandLine) -> Result<Vec<String>, String> {
    let text = |word: &OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            format!(
                "{}: GStreamer takes only names in UTF-8; rename the file, or set decoder=ffmpeg",
                word.display()
            )
        })
    };
    let mut words = command
        .elements()
        .iter()
        .map(text)
        .collect::<Result<Vec<_>, _>>()?;
    let waiting = format!("max-buffers={WAITING}");
    // The last sample would be one fewer for a camera that has few.
    let sink = [
        "!",
        "appsink",
        "name=frames",
        &waiting,
        "drop=false",
        "enable-last-sample=false",
    ];
    words.extend(sink.map(str::to_owned));
    // Whether pictures are held back until their time.
    words.extend(command.arguments.last().map(text).transpose()?);
    Ok(words)
}

#[cfg(test)]
mod tests;
