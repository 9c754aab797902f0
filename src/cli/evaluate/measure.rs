//! Every frame of the test part through the detector, one by one.

use edge_vae::{
    Detection, Detector,
    bundle::TrainingFrames,
    dataset::{GOOD, Sample},
    metrics::{Components, PixelScores, RegionScores},
    runtime::Label,
};
use ndarray::{Array2, CowArray, Ix2};

use super::{
    Pixels,
    mask::{self, Doubt},
};
use crate::cli::{
    interrupt,
    reporter::{Reporter, count, one_line},
};

/// A frame that was scored.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScoredFrame {
    /// Its index among the samples.
    pub(super) sample: usize,
    /// Its index among the kinds.
    pub(super) stratum: usize,
    pub(super) score: f64,
    pub(super) p_value: f64,
    pub(super) anomalous: bool,
    /// Whether the model was made of it, as far as its bundle says.
    pub(super) seen: bool,
}

/// A frame, or a mask, that something is wrong with.
#[derive(Debug)]
pub(super) struct Problem {
    /// The frame's name in the data set.
    pub(super) name: String,
    pub(super) stratum: usize,
    /// One line.
    pub(super) reason: String,
}

/// What was measured.
pub(super) struct Measurement {
    /// The kinds: [`GOOD`] first, whether or not there is a frame of it, then the others by name.
    pub(super) kinds: Vec<String>,
    /// Frames that were to be scored, by kind.
    pub(super) frames_of_kind: Vec<usize>,
    /// Frames that were scored, as they came.
    pub(super) frames: Vec<ScoredFrame>,
    /// Frames without a picture.
    pub(super) invalid: Vec<Problem>,
    /// Frames that could not be read or scored.
    pub(super) unreadable: Vec<Problem>,
    /// Frames with a defect that have no mask although others have.
    pub(super) unmasked: Vec<Problem>,
    /// Masks that could not be used.
    pub(super) bad_masks: Vec<Problem>,
    /// Masks without a pixel.
    pub(super) empty_masks: Vec<Problem>,
    /// Masks that may mean something else.
    pub(super) doubted_masks: Vec<(Doubt, Problem)>,
    /// Pixels of maps and masks, where the data set has masks.
    pub(super) pixels: Option<PixelScores>,
    /// Regions of verdicts and of masks, as far as masks are known.
    pub(super) regions: RegionScores,
    /// Mean of the anomaly maps of normal frames, where heat begins.
    pub(super) cold: f64,
    pub(super) seconds: f64,
}

impl Measurement {
    pub(super) fn of(
        detector: &mut Detector,
        samples: &[&Sample],
        trained_on: Option<&TrainingFrames>,
        pixels: Pixels,
        reporter: Reporter,
    ) -> anyhow::Result<Self> {
        let mut names: Vec<&str> = samples.iter().map(|sample| sample.kind.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let kinds: Vec<String> = [GOOD]
            .into_iter()
            .chain(names.into_iter().filter(|kind| *kind != GOOD))
            .map(str::to_owned)
            .collect();
        let has_masks = samples.iter().any(|sample| !sample.masks.is_empty());
        let mut run = Run {
            measured: Self {
                frames_of_kind: vec![0; kinds.len()],
                pixels: has_masks.then(|| PixelScores::new(kinds.len())),
                regions: RegionScores::new(kinds.len()),
                kinds,
                frames: Vec::with_capacity(samples.len()),
                invalid: Vec::new(),
                unreadable: Vec::new(),
                unmasked: Vec::new(),
                bad_masks: Vec::new(),
                empty_masks: Vec::new(),
                doubted_masks: Vec::new(),
                cold: 0.0,
                seconds: 0.0,
            },
            detector,
            trained_on,
            size: pixels,
            map_sum: 0.0,
            maps: 0,
        };
        let mut progress = reporter.progress(samples.len(), "frames");
        for (index, sample) in samples.iter().enumerate() {
            if interrupt::requested() {
                progress.finish();
                anyhow::bail!("interrupted after {index} of {} frames", samples.len());
            }
            let stratum = run.stratum(&sample.kind);
            run.measured.frames_of_kind[stratum] += 1;
            if let Err(error) = run.frame(index, sample, stratum) {
                let reason = one_line(&error);
                progress.error(&reason);
                run.measured.unreadable.push(Problem {
                    name: sample.name().to_owned(),
                    stratum,
                    reason,
                });
            }
            progress.advance(1);
        }
        let mut measured = run.measured;
        if run.maps > 0 {
            measured.cold = run.map_sum / run.maps as f64;
        }
        measured.seconds = progress.finish();
        measured.report_problems(reporter);
        Ok(measured)
    }

    /// Whether something could not be read.
    pub(super) fn failed(&self) -> bool {
        !self.unreadable.is_empty() || !self.bad_masks.is_empty()
    }

    /// Scores by kind.
    pub(super) fn scores(&self) -> Vec<Vec<f64>> {
        let mut scores = vec![Vec::new(); self.kinds.len()];
        for frame in &self.frames {
            scores[frame.stratum].push(frame.score);
        }
        scores
    }

    /// Reports what is wrong with frames and masks; unreadable frames were reported already.
    fn report_problems(&self, reporter: Reporter) {
        for problem in &self.bad_masks {
            reporter.error(&format_args!(
                "{}; left out of the pixel metrics",
                problem.reason
            ));
        }
        for problem in &self.empty_masks {
            reporter.note(&format_args!("{}: {}", problem.name, problem.reason));
        }
        for problem in &self.invalid {
            reporter.note(&format_args!("{}: {}", problem.name, problem.reason));
        }
        for doubt in [Doubt::Photograph, Doubt::Inverted] {
            let mut of_it = self.doubted_masks.iter().filter(|(of, _)| *of == doubt);
            if let Some((_, first)) = of_it.next() {
                reporter.note(&format_args!(
                    "{}{}: {}",
                    first.name,
                    and_more(of_it.count()),
                    first.reason
                ));
            }
        }
        // A whole kind without masks is one thing to say, not a hundred.
        for (stratum, kind) in self.kinds.iter().enumerate() {
            let mut without = self.unmasked.iter().filter(|p| p.stratum == stratum);
            if let Some(first) = without.next() {
                reporter.note(&format_args!(
                    "{}{}: no mask in ground_truth/{kind}; left out of the pixel metrics",
                    first.name,
                    and_more(without.count())
                ));
            }
        }
        reporter.note(&format_args!(
            "{} scored in {:.1} s",
            count(self.frames.len(), "frame"),
            self.seconds
        ));
    }
}

/// Of the others that are not named.
pub(super) fn and_more(others: usize) -> String {
    match others {
        0 => String::new(),
        _ => format!(" and {others} more"),
    }
}

struct Run<'a> {
    measured: Measurement,
    detector: &'a mut Detector,
    trained_on: Option<&'a TrainingFrames>,
    size: Pixels,
    /// Sum and number of the means of normal frames' maps.
    map_sum: f64,
    maps: usize,
}

impl Run<'_> {
    fn stratum(&self, kind: &str) -> usize {
        // Every kind is listed.
        let found = self.measured.kinds.iter().position(|known| known == kind);
        found.unwrap_or_default()
    }

    fn frame(&mut self, index: usize, sample: &Sample, stratum: usize) -> anyhow::Result<()> {
        let frame = sample.frame()?;
        let detection = self
            .detector
            .score(&frame)
            .map_err(|error| anyhow::Error::from(error).context(sample.name().to_owned()))?;
        let verdict = &detection.verdict;
        let (Some(score), Some(p_value), Label::Normal | Label::Anomalous) =
            (verdict.score, verdict.p_value, verdict.label)
        else {
            self.measured.invalid.push(Problem {
                name: sample.name().to_owned(),
                stratum,
                reason: verdict.reasons.join("; "),
            });
            return Ok(());
        };
        self.measured.frames.push(ScoredFrame {
            sample: index,
            stratum,
            score,
            p_value,
            anomalous: verdict.label == Label::Anomalous,
            seen: self.trained_on.is_some_and(|seen| seen.contains(&frame)),
        });
        if stratum == 0
            && let Some(mean) = self.detector.anomaly_map().and_then(|map| map.mean())
        {
            self.map_sum += f64::from(mean);
            self.maps += 1;
        }
        self.pixels(sample, stratum, &frame, &detection);
        Ok(())
    }

    fn pixels(
        &mut self,
        sample: &Sample,
        stratum: usize,
        frame: &edge_vae::Frame,
        detection: &Detection,
    ) {
        let Some(pixels) = &mut self.measured.pixels else {
            return;
        };
        let problem = |reason: String| Problem {
            name: sample.name().to_owned(),
            stratum,
            reason,
        };
        // A normal frame is background as a whole.
        let read = match (sample.masks.as_slice(), stratum) {
            (_, 0) => None,
            ([], _) => {
                let problem = problem("no mask".to_owned());
                self.measured.unmasked.push(problem);
                return;
            }
            (paths, _) => match mask::read(paths, frame) {
                Ok(mask) => {
                    if let Some(doubt) = mask.doubt {
                        let reason = doubt.problem().to_owned();
                        let name = paths[0].display().to_string();
                        let doubted = Problem {
                            name,
                            ..problem(reason)
                        };
                        self.measured.doubted_masks.push((doubt, doubted));
                    }
                    Some(mask.set)
                }
                Err(error) => {
                    self.measured.bad_masks.push(problem(one_line(&error)));
                    return;
                }
            },
        };
        let (Some(frame_map), Some(tensor_map), Some(geometry)) = (
            self.detector.frame_map(detection),
            self.detector.anomaly_map(),
            detection.geometry,
        ) else {
            return;
        };
        let mask = self.detector.canvas_layout().mask();
        let looked_at = mask.map(|mask| mask.in_frame(&geometry));
        let actual = actual_regions(read.as_ref(), looked_at.as_ref(), frame_map.dim());
        let labels = self.detector.region_labels(detection);
        let labels = labels.unwrap_or_else(|| Array2::zeros(frame_map.dim()));
        let predicted = Components::from_labels(labels);
        let map: CowArray<'_, f32, Ix2> = match self.size {
            Pixels::Frame => frame_map.into(),
            Pixels::Tensor => tensor_map.into(),
        };
        let (read, looked_at) = match self.size {
            Pixels::Frame => (read, looked_at),
            Pixels::Tensor => (
                read.map(|read| mask::in_tensor(&read, &geometry, map.dim())),
                mask.map(|mask| mask.in_map(map.dim())),
            ),
        };
        if read
            .as_ref()
            .is_some_and(|mask| !mask.iter().any(|set| *set))
        {
            let reason = "its mask is empty; all its pixels count as background";
            self.measured.empty_masks.push(problem(reason.to_owned()));
        }
        let [read, looked_at] =
            [&read, &looked_at].map(|mask| mask.as_ref().map(|mask| mask.view()));
        let added = pixels
            .add_within(stratum, map.view(), read, looked_at)
            .and_then(|()| self.measured.regions.add(stratum, &predicted, &actual));
        if let Err(error) = added {
            let reason = format!("{}: {error}", sample.name());
            self.measured.bad_masks.push(problem(reason));
        }
    }
}

/// The regions of the mask, `H×W`, of the pixels that are looked at.
fn actual_regions(
    mask: Option<&Array2<bool>>,
    looked_at: Option<&Array2<bool>>,
    size: (usize, usize),
) -> Components {
    let mask = mask.cloned();
    let mut set = mask.unwrap_or_else(|| Array2::from_elem(size, false));
    if let Some(looked_at) = looked_at {
        set.zip_mut_with(looked_at, |set, looked_at| *set &= looked_at);
    }
    Components::of(set.view())
}
