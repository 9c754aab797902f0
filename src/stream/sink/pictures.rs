//! Pictures of events in folders by day, within a budget.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::{
    EventFilter, Message, ScoredFrame, Sink, SinkError, SinkNeeds, SinkSettings, SinkStatus, Wants,
    quantity,
};
use crate::{
    render::{MapPicture, judged_overlay, png},
    replace::{create_folder, is_left, is_partial, replace_file},
    stream::record::{EventPhase, EventRecord},
};

/// How the anomaly map is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MapFormat {
    /// Not at all.
    None,
    /// 16-bit PNG, from the map's minimum to its maximum, which stand in its text.
    #[default]
    Png,
    /// NPY, raw values, f32.
    Npy,
}

/// Which frames of an event are saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SavePolicy {
    /// The frame that opened it.
    Open,
    /// The worst frame, when it has ended.
    Worst,
    /// Both.
    #[default]
    Both,
}

/// Settings of the sink `pictures`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PicturesSettings {
    /// The folder; below it is one for each day.
    pub folder: PathBuf,
    /// Whether the frame is written as it was captured; it is by default.
    #[serde(default = "yes")]
    pub frame: bool,
    /// Whether the frame is written with heat, boxes and verdict; it is by default.
    #[serde(default = "yes")]
    pub overlay: bool,
    /// `"png"` (the default), `"npy"` or `"none"`.
    #[serde(default)]
    pub map: MapFormat,
    /// `"open"`, `"worst"` or `"both"` (the default).
    #[serde(default)]
    pub save: SavePolicy,
    /// `"all"` events (the default), or only those of class `"defect"` or `"review"`.
    #[serde(default)]
    pub events: EventFilter,
    /// Most bytes of all pictures; of more, the oldest are removed. 1 GB by default.
    #[serde(default = "default_max_bytes", deserialize_with = "quantity::bytes")]
    pub max_bytes: u64,
    /// Most files of all pictures; of more, the oldest are removed. 10000 by default.
    #[serde(default = "default_max_files")]
    pub max_files: usize,
}

fn yes() -> bool {
    true
}

fn default_max_bytes() -> u64 {
    1_000_000_000
}

fn default_max_files() -> usize {
    10_000
}

impl PicturesSettings {
    /// The defaults, for a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            frame: true,
            overlay: true,
            map: MapFormat::default(),
            save: SavePolicy::default(),
            events: EventFilter::default(),
            max_bytes: default_max_bytes(),
            max_files: default_max_files(),
        }
    }
}

impl SinkSettings for PicturesSettings {
    fn describe(&self) -> String {
        format!("pictures {}", self.folder.display())
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.folder]
    }

    fn needs(&self) -> SinkNeeds {
        SinkNeeds {
            folders: vec![self.folder.clone()],
            ..SinkNeeds::default()
        }
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(Pictures::open(self)?))
    }
}

/// What the names of our files end in; others in the folder are neither counted nor removed.
const ENDINGS: [&str; 4] = [".frame.png", ".overlay.png", ".map.png", ".map.npy"];

/// Writes the pictures of events, each file whole or not at all:
/// `2026-03-04/05-06-07.089_cam_EVENT_open.overlay.png`.
pub struct Pictures {
    name: String,
    settings: PicturesSettings,
    /// Bytes by path below the folder; the order of the names is that of time.
    kept: BTreeMap<PathBuf, u64>,
    bytes: u64,
    /// Whether the last event's pictures could not be written, and of how many events.
    failing: bool,
    lost: u64,
}

impl Pictures {
    /// Opens the folder, makes it where it does not exist, and counts what is in it.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for a folder that can't be written or settings that leave nothing.
    pub fn open(settings: &PicturesSettings) -> Result<Self, SinkError> {
        let name = settings.describe();
        let wrong = |problem: String| SinkError::setting(&name, problem);
        if settings.max_bytes == 0 || settings.max_files == 0 {
            return Err(wrong(
                "no picture has room; set max-bytes and max-files to more than 0".to_owned(),
            ));
        }
        if !settings.frame && !settings.overlay && settings.map == MapFormat::None {
            return Err(wrong(
                "nothing is to be written; set frame, overlay or map".to_owned(),
            ));
        }
        let failed = |what: &str, error: io::Error| {
            SinkError::opening(&name, format!("cannot {what} the folder: {error}"), &error)
        };
        create_folder(&settings.folder).map_err(|error| failed("make", error))?;
        tempfile::tempfile_in(&settings.folder).map_err(|error| failed("write into", error))?;
        let mut pictures = Self {
            settings: settings.clone(),
            name,
            kept: BTreeMap::new(),
            bytes: 0,
            failing: false,
            lost: 0,
        };
        pictures.find();
        // A smaller budget than the last run's.
        pictures.make_room(0, 0);
        Ok(pictures)
    }

    fn find(&mut self) {
        let folder = &self.settings.folder;
        let days = WalkDir::new(folder)
            .min_depth(2)
            .max_depth(2)
            .follow_links(false);
        for entry in days.into_iter().flatten() {
            let name = entry.file_name().to_string_lossy();
            let day = entry.path().parent().and_then(Path::file_name);
            if !entry.file_type().is_file() || !day.is_some_and(is_day) {
                continue;
            }
            if is_partial(&name) {
                if is_left(entry.path()) {
                    let _ = fs::remove_file(entry.path());
                }
            } else if ENDINGS.iter().any(|ending| name.ends_with(ending))
                && let (Ok(metadata), Ok(below)) =
                    (entry.metadata(), entry.path().strip_prefix(folder))
            {
                self.bytes += metadata.len();
                self.kept.insert(below.to_owned(), metadata.len());
            }
        }
    }

    /// Removes the oldest until so many bytes and files more have room.
    fn make_room(&mut self, bytes: u64, files: usize) {
        while self.bytes.saturating_add(bytes) > self.settings.max_bytes
            || self.kept.len() + files > self.settings.max_files
        {
            let Some((oldest, size)) = self.kept.pop_first() else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(size);
            let path = self.settings.folder.join(&oldest);
            // One that somebody else removed is gone all the same; a folder that is not empty
            // stays.
            let _ = fs::remove_file(&path);
            if let Some(day) = path.parent() {
                let _ = fs::remove_dir(day);
            }
        }
    }

    fn write(&mut self, below: &Path, ending: &str, bytes: &[u8]) -> Result<(), SinkError> {
        let mut name = below.as_os_str().to_owned();
        name.push(ending);
        let below = PathBuf::from(name);
        let size = bytes.len() as u64;
        if let Some(before) = self.kept.remove(&below) {
            self.bytes = self.bytes.saturating_sub(before);
        }
        if size > self.settings.max_bytes {
            return Err(self.unavailable(&below, "the picture alone is more than max-bytes"));
        }
        self.make_room(size, 1);
        replace_file(&self.settings.folder.join(&below), bytes)
            .map_err(|error| self.unavailable(&below, &format!("cannot write: {error}")))?;
        self.bytes += size;
        self.kept.insert(below, size);
        Ok(())
    }

    fn unavailable(&self, below: &Path, problem: &str) -> SinkError {
        SinkError::unavailable(&self.name, format!("{}: {problem}", below.display()))
    }

    fn event(&mut self, record: &EventRecord, scored: &ScoredFrame) -> Result<(), SinkError> {
        let when = match record.phase {
            EventPhase::Open => "open",
            EventPhase::Closed => "worst",
        };
        let below = stem(record, scored, when);
        let labelled = |bytes: Result<Vec<u8>, String>| {
            bytes.map_err(|problem| self.unavailable(&below, &problem))
        };
        let mut files = Vec::new();
        if self.settings.frame {
            files.push((".frame.png", labelled(frame_png(scored))?));
        }
        if self.settings.overlay {
            let picture = judged_overlay(
                &scored.frame,
                &scored.detection,
                scored.map.as_ref().map(|map| map.view()),
                scored.map_range,
                scored.record.threshold,
                &scored.record.model_id,
            );
            files.push((
                ".overlay.png",
                labelled(png(picture).map_err(|e| e.to_string()))?,
            ));
        }
        match (&scored.map, self.settings.map) {
            (Some(map), MapFormat::Png) => {
                let bytes = MapPicture::of(map.view()).png();
                files.push((".map.png", labelled(bytes.map_err(|e| e.to_string()))?));
            }
            (Some(map), MapFormat::Npy) => {
                let mut npy = Vec::new();
                let written = ndarray_npy::WriteNpyExt::write_npy(map, &mut npy);
                files.push((
                    ".map.npy",
                    labelled(written.map(|()| npy).map_err(|e| e.to_string()))?,
                ));
            }
            (None, _) | (_, MapFormat::None) => {}
        }
        // One that can't be written does not keep the others from it.
        let mut result = Ok(());
        for (ending, bytes) in files {
            let written = self.write(&below, ending, &bytes);
            result = result.and(written);
        }
        result
    }
}

/// The frame's own samples: 8 or 16 bits, grey or colour.
fn frame_png(scored: &ScoredFrame) -> Result<Vec<u8>, String> {
    use crate::frame::{PixelFormat, Samples};
    use image::{DynamicImage, ImageBuffer};

    let frame = &scored.frame;
    let (width, height) = (frame.width(), frame.height());
    let picture: Option<DynamicImage> = match (frame.format(), frame.samples().clone()) {
        (PixelFormat::Gray8, Samples::U8(s)) => {
            ImageBuffer::from_raw(width, height, s).map(DynamicImage::ImageLuma8)
        }
        (PixelFormat::Rgb8, Samples::U8(s)) => {
            ImageBuffer::from_raw(width, height, s).map(DynamicImage::ImageRgb8)
        }
        (PixelFormat::Gray16, Samples::U16(s)) => {
            ImageBuffer::from_raw(width, height, s).map(DynamicImage::ImageLuma16)
        }
        (PixelFormat::Rgb16, Samples::U16(s)) => {
            ImageBuffer::from_raw(width, height, s).map(DynamicImage::ImageRgb16)
        }
        _ => None,
    };
    let picture = picture.ok_or("the frame's samples are not of its format")?;
    png(picture).map_err(|error| error.to_string())
}

/// Day, time, source, event and phase, without an ending.
fn stem(record: &EventRecord, scored: &ScoredFrame, when: &str) -> PathBuf {
    let (day, time) = scored
        .record
        .timestamp
        .split_once('T')
        .unwrap_or(("0000-00-00", ""));
    let day = if is_day(OsStr::new(day)) {
        day
    } else {
        "0000-00-00"
    };
    let time = time.trim_end_matches('Z').replace(':', "-");
    let plain = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-.".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .take(60)
            .collect()
    };
    Path::new(day).join(format!(
        "{}_{}_{}_{when}",
        plain(&time),
        plain(&record.source),
        plain(&record.event_id)
    ))
}

/// `2026-03-04`
fn is_day(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.len() == 10
        && name.iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

impl Sink for Pictures {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants {
            maps: self.settings.overlay || self.settings.map != MapFormat::None,
            events: self.settings.events,
            ..Wants::default()
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        let Message::Event {
            record,
            frame: Some(scored),
        } = message
        else {
            return Ok(());
        };
        match (record.phase, self.settings.save) {
            (EventPhase::Open, SavePolicy::Worst) | (EventPhase::Closed, SavePolicy::Open) => {
                Ok(())
            }
            _ => {
                let written = self.event(record, scored);
                self.failing = written.is_err();
                self.lost += u64::from(self.failing);
                written
            }
        }
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(SinkStatus {
            failing: self.failing,
            lost: self.lost,
            ..SinkStatus::default()
        })
    }
}

#[cfg(test)]
mod tests;
