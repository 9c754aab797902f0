//! The procedural camera: a machined surface, with defects at a chosen rate.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::{Arrival, PATIENCE, Source, SourceError, SourceSettings};
use crate::{
    Frame,
    frame::{PixelFormat, Samples},
    synth::{DefectKind, Defects, SurfaceSettings, surface_frame},
};

/// Frames in a row that show a defect: at 30 frames a second, a part passes in a tenth of a second.
const DWELL: u64 = 3;

/// Tells the draw of what a frame shows from those of [`surface_frame`].
const STREAM: u64 = 0x6465_6665_6374;

/// What each frame of the procedural camera shows: the truth to compare verdicts with.
///
/// The frames are taken `dwell` at a time: frames 0–2, 3–5, and so on. Each such run shows a defect
/// with the probability `defects`, of one kind drawn by lot, in every one of its frames; so the
/// share of defective frames is `defects`, and a defect is seen for `dwell` frames, or for a
/// multiple where two runs follow one another. Each frame is a piece of metal of its own, and its
/// defect lies elsewhere: two frames are never the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntheticTruth {
    seed: u64,
    rate: f64,
    dwell: u64,
    distinct: Option<u64>,
}

impl SyntheticTruth {
    /// Of `synth://surface` with these settings.
    pub fn new(settings: &SourceSettings) -> Self {
        Self {
            seed: settings.seed.unwrap_or(1),
            rate: settings.defects.unwrap_or(0.0),
            dwell: settings.dwell.map_or(DWELL, u64::from).max(1),
            distinct: settings.distinct.map(u64::from).filter(|&count| count > 0),
        }
    }

    /// The kind of defect of frame `index`, counted from 0; `None` for a normal frame.
    pub fn defect(&self, index: u64) -> Option<DefectKind> {
        let run = self.drawn(index) / self.dwell;
        let first = Pcg64::seed_from_u64(self.seed ^ STREAM).next_u64();
        let mut random = Pcg64::seed_from_u64(first.wrapping_add(run));
        let defective = random.random_bool(self.rate.clamp(0.0, 1.0));
        let kind = DefectKind::ALL[random.random_range(0..DefectKind::ALL.len())];
        defective.then_some(kind)
    }

    /// The name of what frame `index` shows: the kind of defect, or `good`.
    pub fn kind(&self, index: u64) -> &'static str {
        self.defect(index).map_or("good", DefectKind::name)
    }

    /// Which of the drawn frames is shown as frame `index`.
    fn drawn(&self, index: u64) -> u64 {
        self.distinct.map_or(index, |distinct| index % distinct)
    }
}

/// `synth://surface`.
pub(super) struct Surface {
    name: String,
    truth: SyntheticTruth,
    settings: SurfaceSettings,
    /// Time from frame to frame; absent for as fast as they are taken.
    interval: Option<Duration>,
    count: Option<u64>,
    /// The frames that are shown again and again.
    drawn: Vec<image::GrayImage>,
    begin: Instant,
    index: u64,
}

impl Surface {
    pub(super) fn open(name: &str, settings: &SourceSettings) -> Result<Self, SourceError> {
        let default = SurfaceSettings::default();
        let surface = SurfaceSettings {
            width: settings.width.unwrap_or(default.width),
            height: settings.height.unwrap_or(default.height),
            part: settings.part.unwrap_or(default.part),
            defects: Defects::Never,
        };
        let mut source = Self {
            name: name.to_owned(),
            truth: SyntheticTruth::new(settings),
            settings: surface,
            interval: settings
                .fps
                .filter(|&fps| fps > 0.0)
                .map(|fps| Duration::from_secs_f64((1.0 / fps).min(86_400.0))),
            count: settings.count,
            drawn: Vec::new(),
            begin: Instant::now(),
            index: 0,
        };
        source.check()?;
        for index in 0..source.truth.distinct.unwrap_or(0) {
            let picture = source.draw(index)?;
            source.drawn.push(picture);
        }
        source.begin = Instant::now();
        Ok(source)
    }

    fn check(&self) -> Result<(), SourceError> {
        self.settings
            .check()
            .map_err(|error| self.impossible(error))
    }

    fn impossible(&self, error: impl std::fmt::Display) -> SourceError {
        SourceError::Impossible {
            source_name: self.name.clone(),
            problem: error.to_string(),
        }
    }

    fn draw(&self, index: u64) -> Result<image::GrayImage, SourceError> {
        let settings = SurfaceSettings {
            defects: self
                .truth
                .defect(index)
                .map_or(Defects::Never, Defects::Always),
            ..self.settings
        };
        surface_frame(self.truth.seed, index, &settings)
            .map(|frame| frame.picture)
            .map_err(|error| self.impossible(error))
    }

    /// Waits for the next frame's time; `false` if it is further off than the caller's patience.
    /// A frame that is late is there at once, so that none is lost.
    fn is_due(&self) -> bool {
        let Some(interval) = self.interval else {
            return true;
        };
        let due = interval.as_secs_f64() * self.index as f64;
        let left = Duration::try_from_secs_f64(due)
            .unwrap_or(Duration::MAX)
            .saturating_sub(self.begin.elapsed());
        thread::sleep(left.min(PATIENCE));
        left <= PATIENCE
    }
}

impl Source for Surface {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        if self.count.is_some_and(|count| self.index >= count) {
            return Ok(Arrival::End);
        }
        if !self.is_due() {
            return Ok(Arrival::Nothing);
        }
        let captured = SystemTime::now();
        let index = self.truth.drawn(self.index);
        let fresh;
        let picture = match self.drawn.get(index as usize) {
            Some(picture) => picture,
            None => {
                fresh = self.draw(index)?;
                &fresh
            }
        };
        let (width, height) = picture.dimensions();
        frame.refill(width, height, PixelFormat::Gray8, captured, |samples| {
            if let Samples::U8(samples) = samples {
                samples.copy_from_slice(picture.as_raw());
            }
            Ok(())
        })?;
        let kind = self.truth.kind(self.index);
        frame.rename(format_args!("synth://surface#{}:{kind}", self.index));
        self.index += 1;
        Ok(Arrival::Frame)
    }

    /// It waits for whoever has no time, and each frame shows another piece of metal, as those of a
    /// camera that is triggered once for each part do: so it is judged as a folder is.
    fn is_live(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(query: &str) -> SourceSettings {
        let uri: super::super::SourceUri = format!("synth://surface?{query}").parse().unwrap();
        uri.settings().clone()
    }

    fn frames(query: &str) -> Vec<Frame> {
        let mut source = Surface::open("synth", &settings(query)).unwrap();
        let mut frame = Frame::blank("synth");
        let mut frames = Vec::new();
        loop {
            match source.read(&mut frame).unwrap() {
                Arrival::Frame => frames.push(frame.clone()),
                Arrival::Nothing => {}
                Arrival::End => return frames,
            }
        }
    }

    #[test]
    fn frames_are_those_of_the_drawing_and_named_by_the_truth() {
        let query = "width=32&height=24&count=12&defects=0.5&dwell=2&seed=4&part=2";
        let found = frames(query);
        assert_eq!(found.len(), 12);
        let truth = SyntheticTruth::new(&settings(query));
        for (index, frame) in (0..).zip(&found) {
            let kind = truth.kind(index);
            assert_eq!(frame.source(), format!("synth://surface#{index}:{kind}"));
            let expected = SurfaceSettings {
                width: 32,
                height: 24,
                part: 2,
                defects: truth.defect(index).map_or(Defects::Never, Defects::Always),
            };
            let expected = surface_frame(4, index, &expected).unwrap();
            assert_eq!(expected.kind, kind);
            assert_eq!(frame.samples(), &Samples::U8(expected.picture.into_raw()));
        }
        let again = frames(query);
        assert!(
            found
                .iter()
                .zip(&again)
                .all(|(a, b)| a.samples() == b.samples())
        );
    }

    #[test]
    fn defects_come_in_runs_at_the_rate() {
        let truth = SyntheticTruth::new(&settings("defects=0.02"));
        let defective = (0..300_000).filter(|&index| truth.defect(index).is_some());
        // 100,000 runs: four standard deviations are 0.0018.
        let share = defective.count() as f64 / 3e5;
        assert!((share - 0.02).abs() < 0.0018, "{share}");
        for index in 0..3000 {
            assert_eq!(truth.defect(index), truth.defect(index / 3 * 3));
        }
        let other = SyntheticTruth::new(&settings("defects=0.02&seed=2"));
        assert!((0..3000).any(|index| truth.defect(index) != other.defect(index)));
        let kinds: std::collections::HashSet<_> = (0..60_000).map(|i| truth.kind(i)).collect();
        assert_eq!(kinds.len(), 8);
        let all = SyntheticTruth::new(&settings("defects=1"));
        assert!((0..100).all(|index| all.defect(index).is_some()));
        // A change here changes what demonstrations and tests show.
        let first = (0..).find(|&index| truth.defect(index).is_some()).unwrap();
        assert_eq!((first, truth.kind(first)), (459, "scratch"));
    }

    #[test]
    fn distinct_frames_are_shown_again() {
        let found = frames("width=32&height=32&count=7&distinct=3&defects=0.5&dwell=1");
        for index in 3..7 {
            assert_eq!(found[index].samples(), found[index - 3].samples());
            let kind = |frame: &Frame| frame.source().split(':').next_back().unwrap().to_owned();
            assert_eq!(kind(&found[index]), kind(&found[index - 3]));
        }
        assert_ne!(found[0].samples(), found[1].samples());
    }

    #[test]
    fn frames_come_at_their_rate() {
        let begin = Instant::now();
        assert_eq!(frames("width=16&height=16&count=6&fps=50").len(), 6);
        assert!(begin.elapsed() >= Duration::from_millis(100));
        let slow = settings("width=16&height=16&fps=0.001");
        let mut source = Surface::open("synth", &slow).unwrap();
        assert!(!source.is_live());
        let mut frame = Frame::blank("synth");
        assert_eq!(source.read(&mut frame).unwrap(), Arrival::Frame);
        assert_eq!(source.read(&mut frame).unwrap(), Arrival::Nothing);
        let small = Surface::open("synth", &settings("width=15")).err().unwrap();
        assert!(small.is_permanent() && small.to_string().contains("choose 16 to 16384"));
    }
}
