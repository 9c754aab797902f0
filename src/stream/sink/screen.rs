//! The display beside a line: a Linux framebuffer, or a picture that is drawn anew every second.
//!
//! On a framebuffer the console's cursor keeps blinking through the picture unless it is turned
//! off: `setterm --cursor off > /dev/tty1`, or `vt.global_cursor_default=0` for the kernel.

#[cfg(target_os = "linux")]
mod framebuffer;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use embedded_graphics::pixelcolor::Rgb888;
use image::RgbImage;
use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
use self::framebuffer::FramebufferDevice;
use super::{
    EventFilter, Message, ScoredFrame, Sink, SinkError, SinkNeeds, SinkSettings, SinkStatus, Wants,
};
use crate::{
    render::{Canvas, HudTile, HudView, LabelView, MapScale, Past, RegionView, draw_hud, png},
    replace_file_unflushed,
    runtime::Label,
    stream::record::{EventPhase, SourceTally, Tally},
};

/// Scores that are remembered of a source.
const REMEMBERED: usize = 200;
/// Time between two pictures in a file.
const FILE_EVERY: Duration = Duration::from_secs(1);

/// Settings of the sink `screen`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ScreenSettings {
    /// A framebuffer, such as `/dev/fb0`, or a file ending in `.png`, which is replaced once a
    /// second.
    pub target: PathBuf,
    /// Width of the picture in a file, 160–7680 pixels, 1280 by default; a framebuffer has its own.
    #[serde(default = "default_width")]
    pub width: u32,
    /// Height of the picture in a file, 120–4320 pixels, 720 by default.
    #[serde(default = "default_height")]
    pub height: u32,
    /// Most drawings a second on a framebuffer; 10 by default.
    #[serde(default = "default_max_fps")]
    pub max_fps: u32,
}

fn default_width() -> u32 {
    1280
}

fn default_height() -> u32 {
    720
}

fn default_max_fps() -> u32 {
    10
}

impl ScreenSettings {
    /// The defaults, for a target.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            width: default_width(),
            height: default_height(),
            max_fps: default_max_fps(),
        }
    }
}

impl SinkSettings for ScreenSettings {
    fn describe(&self) -> String {
        format!("screen {}", self.target.display())
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.target]
    }

    fn needs(&self) -> SinkNeeds {
        let is_file = self.target.extension().is_some_and(|end| end == "png");
        let parent = self.target.parent().map(Path::to_owned);
        SinkNeeds {
            devices: if is_file {
                vec![]
            } else {
                vec![self.target.clone()]
            },
            folders: parent.filter(|_| is_file).into_iter().collect(),
            ..SinkNeeds::default()
        }
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(Screen::open(self)?))
    }
}

enum Target {
    #[cfg(target_os = "linux")]
    Framebuffer(FramebufferDevice),
    File(PathBuf),
}

/// What is remembered of a source.
struct SourceView {
    latest: Option<Arc<ScoredFrame>>,
    picture: Option<RgbImage>,
    past: VecDeque<Past>,
    regions: Vec<RegionView>,
    tally: SourceTally,
    event_open: bool,
    lost: Option<String>,
    drift: Option<String>,
}

impl SourceView {
    fn new(name: &str) -> Self {
        Self {
            latest: None,
            picture: None,
            past: VecDeque::with_capacity(REMEMBERED),
            regions: Vec::new(),
            tally: SourceTally {
                name: name.to_owned(),
                up: true,
                ..SourceTally::default()
            },
            event_open: false,
            lost: None,
            drift: None,
        }
    }

    fn frame(&mut self, scored: &Arc<ScoredFrame>) {
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(Past {
            score: scored.record.pred_score,
            label: LabelView::of(scored.record.pred_label, scored.record.review),
        });
        self.latest = Some(Arc::clone(scored));
        self.picture = None;
        self.lost = None;
    }

    /// Turns the latest frame into what is drawn, where that was not done yet.
    fn prepare(&mut self) {
        if let (Some(scored), None) = (&self.latest, &self.picture) {
            self.picture = Some(scored.frame.to_rgb8());
            self.regions.clear();
            let regions = scored.detection.verdict.regions.iter();
            self.regions.extend(regions.map(RegionView::from));
            self.past.make_contiguous();
        }
    }

    fn tile(&self) -> HudTile<'_> {
        let latest = self.latest.as_deref();
        let lost = self.lost.is_some() || !self.tally.up;
        let of = |scored: &ScoredFrame| MapScale::of(&scored.detection, scored.map_range);
        let hot = latest.filter(|scored| scored.detection.region_threshold.is_some());
        let reason = latest
            .filter(|scored| scored.record.pred_label == Label::Invalid)
            .and_then(|scored| scored.record.reasons.first());
        let notice = if lost {
            Some(self.lost.as_deref().unwrap_or("lost"))
        } else {
            reason.or(self.drift.as_ref()).map(String::as_str)
        };
        HudTile {
            source: &self.tally.name,
            frame: self.picture.as_ref(),
            map: hot
                .and_then(|scored| scored.map.as_ref())
                .map(|map| map.view()),
            scale: latest.map_or(MapScale::around(1.0, 0.0), of),
            // What was said of a frame is no longer so when there are none.
            label: latest
                .filter(|_| !lost)
                .map(|scored| LabelView::of(scored.record.pred_label, scored.record.review)),
            score: latest
                .filter(|_| !lost)
                .and_then(|scored| scored.record.pred_score),
            threshold: latest.map(|scored| scored.record.threshold),
            p_value: latest
                .filter(|_| !lost)
                .and_then(|scored| scored.record.p_value),
            regions: &self.regions,
            past: self.past.as_slices().0,
            fps: self.tally.fps,
            judged: self.tally.judged,
            dropped: self.tally.dropped,
            events: self.tally.events,
            event_open: self.event_open,
            lost,
            notice,
        }
    }
}

/// Shows live sources.
pub struct Screen {
    name: String,
    target: Target,
    every: Duration,
    drawn: Option<Instant>,
    stale: bool,
    failing: bool,
    canvas: Canvas,
    sources: Vec<SourceView>,
    tally: Option<Arc<Tally>>,
    model: String,
}

impl Screen {
    /// Opens the framebuffer, or tries whether the file can be written.
    ///
    /// # Errors
    /// [`SinkError::Setting`] where that can't be drawn on.
    pub fn open(settings: &ScreenSettings) -> Result<Self, SinkError> {
        let name = settings.describe();
        let wrong = |problem: String| SinkError::setting(&name, problem);
        let is_file = settings
            .target
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        let (target, every, [width, height]) = if is_file {
            if !(160..=7680).contains(&settings.width) || !(120..=4320).contains(&settings.height) {
                return Err(wrong(
                    "width and height: choose 160×120 to 7680×4320 pixels".to_owned(),
                ));
            }
            let size = [settings.width, settings.height];
            (Target::File(settings.target.clone()), FILE_EVERY, size)
        } else {
            if !(1..=120).contains(&settings.max_fps) {
                return Err(wrong(format!(
                    "max-fps is {}: choose 1 to 120",
                    settings.max_fps
                )));
            }
            #[cfg(not(target_os = "linux"))]
            return Err(wrong(
                "framebuffers are drawn on Linux alone; end the name of a file in .png".to_owned(),
            ));
            #[cfg(target_os = "linux")]
            {
                let device = FramebufferDevice::open(&settings.target).map_err(wrong)?;
                let every = Duration::from_secs(1) / settings.max_fps;
                let size = device.size();
                (Target::Framebuffer(device), every, size)
            }
        };
        let mut screen = Self {
            name: name.clone(),
            target,
            every,
            drawn: None,
            stale: true,
            failing: false,
            canvas: Canvas::new(width, height, Rgb888::new(0, 0, 0)),
            sources: Vec::new(),
            tally: None,
            model: String::new(),
        };
        screen.draw().map_err(wrong)?;
        Ok(screen)
    }

    fn source(&mut self, name: &str) -> &mut SourceView {
        let place = self
            .sources
            .iter()
            .position(|source| source.tally.name == name);
        let place = place.unwrap_or_else(|| {
            self.sources.push(SourceView::new(name));
            self.sources.len() - 1
        });
        &mut self.sources[place]
    }

    fn take_in(&mut self, message: &Message) {
        match message {
            Message::Frame(scored) => {
                if self.model != scored.record.model_id {
                    self.model.clone_from(&scored.record.model_id);
                }
                self.source(&scored.record.source).frame(scored);
            }
            Message::Event { record, .. } => {
                let open = record.phase == EventPhase::Open;
                self.source(&record.source).event_open = open;
            }
            Message::Drift(record) => {
                let drift = format!("drifted: {}", record.explanation);
                self.source(&record.source).drift = record.drifted.then_some(drift);
            }
            Message::Source(record) => {
                let lost = format!("lost: {}", record.reason);
                self.source(&record.source).lost = (!record.up).then_some(lost);
            }
            Message::Pause(record) => {
                self.source(&record.source).tally.paused = record.paused;
            }
            Message::Threshold(_) => {}
            Message::Tally(tally) => {
                for counted in &tally.sources {
                    self.source(&counted.name).tally = counted.clone();
                }
                self.tally = Some(Arc::clone(tally));
            }
        }
        self.stale = true;
    }

    fn draw_if_due(&mut self) -> Result<(), SinkError> {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= self.every);
        if !self.stale || !due {
            return Ok(());
        }
        self.draw()
            .map_err(|problem| SinkError::unavailable(&self.name, problem))
    }

    fn draw(&mut self) -> Result<(), String> {
        let drawn = self.draw_once();
        self.failing = drawn.is_err();
        drawn
    }

    fn draw_once(&mut self) -> Result<(), String> {
        self.drawn = Some(Instant::now());
        self.stale = false;
        for source in &mut self.sources {
            source.prepare();
        }
        let clock = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let clock = clock.replace('T', " ").replace('Z', " UTC");
        let tally = self.tally.as_deref();
        let view = HudView {
            model: &self.model,
            clock: &clock,
            temperature: tally.and_then(|tally| tally.temperature),
            late: tally.map_or(0, |tally| tally.late),
            tiles: self.sources.iter().map(SourceView::tile).collect(),
        };
        let Ok(()) = draw_hud(&mut self.canvas, &view);
        match &mut self.target {
            #[cfg(target_os = "linux")]
            Target::Framebuffer(device) => {
                device.draw(self.canvas.picture());
                Ok(())
            }
            Target::File(path) => {
                let bytes =
                    png(self.canvas.picture().clone()).map_err(|error| error.to_string())?;
                replace_file_unflushed(path, &bytes)
                    .map_err(|error| format!("cannot write: {error}"))
            }
        }
    }
}

impl Sink for Screen {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants {
            events: EventFilter::Defect,
            frames: true,
            maps: true,
            every_frame: false,
            durable: false,
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        self.take_in(message);
        self.draw_if_due()
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(SinkStatus {
            failing: self.failing,
            ..SinkStatus::default()
        })
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        self.draw_if_due()
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.draw()
            .map_err(|problem| SinkError::unavailable(&self.name, problem))
    }
}

#[cfg(test)]
mod tests;
