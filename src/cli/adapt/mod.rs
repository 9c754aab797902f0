//! `edge-vae adapt`.

mod report;
mod roll_back;

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use edge_vae::{
    Frame,
    bundle::Bundle,
    calibration::{Calibration, ReferenceStatistics},
    dataset::Grouping,
    frame::DecodeOptions,
    runtime::{AdaptationParams, AdaptationScore, Adapter},
};

use self::report::Report;
use super::{
    Outcome,
    calibrate::distinct,
    flags::{ModelFlags, ModelOptions},
    frames::{self, PictureFlags, with_frame},
    interrupt,
    output::{check_writable, prepare_folder},
    reporter::{Reported, Reporter, count, one_line},
    trust::{Changed, SignFlags, sign},
};

/// Teach a model accepted frames, on the device: its Gaussians and its threshold follow.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae adapt --model models/part accepted/
  edge-vae adapt --model models/part accepted/ --out models/part-b
  edge-vae adapt --model models/part accepted/ --weight 4 --false-alarm-rate 0.02
  edge-vae adapt --model models/part --rollback

The frames must be normal, and a random sample of what the line shows now. False alarms alone are
none: a threshold from these would let defects pass. Each frame counts as one of training; --weight
makes it count more, where the camera or the light has changed for good.

What is adapted are the Gaussians of the feature route: their means and covariances. Features, and
what frames share, stay. The threshold comes from the same frames, each scored by a model that was
adapted to the others, in five folds. A rate r takes at least 1/r - 1 frames: 99 for 1 %. With
fewer, --pool calibrates on them and on the model's own calibration together; the scores of the
latter stay those before the adaptation, so the rate is then no more than about right.

Models that score by the VAE, its head, a mixture or a VAE over features are refused: only training
can change them.

The model is replaced whole, and gets another id. The old one stays beside it in the folder
MODEL.previous, until --rollback puts it back or the next adaptation takes its place.")]
pub(crate) struct AdaptFlags {
    /// Accepted frames: pictures, folders of pictures (with all folders in them), globs in quotes,
    /// or `-` for a list of paths on standard input, one on each line.
    #[arg(
        value_name = "ACCEPTED",
        required_unless_present = "rollback",
        conflicts_with = "rollback"
    )]
    accepted: Vec<PathBuf>,

    /// Put the model back that was there before the last adaptation.
    #[arg(long, conflicts_with_all = ["out", "pool", "weight", "false_alarm_rate", "group_by"])]
    rollback: bool,

    /// Write the adapted model into this folder, and leave the given one alone.
    #[arg(long, value_name = "BUNDLE")]
    out: Option<PathBuf>,

    /// How often each accepted frame counts, against one of training.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0)]
    weight: f64,

    /// Target false-alarm rate [default: that of the model's calibration].
    #[arg(long, value_name = "RATE")]
    false_alarm_rate: Option<f64>,

    /// Calibrate on the accepted frames and the model's own calibration together.
    #[arg(long, conflicts_with = "group_by")]
    pool: bool,

    /// Which frames belong together: `parent`, or a regular expression with one (...) that is
    /// searched in the path.
    #[arg(long, value_name = "PATTERN")]
    group_by: Option<String>,

    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pictures: PictureFlags,

    #[command(flatten)]
    sign: SignFlags,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`AdaptFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct AdaptOptions {
    accepted: Vec<PathBuf>,
    rollback: bool,
    out: Option<PathBuf>,
    weight: f64,
    rate: Option<f64>,
    pool: bool,
    grouping: Option<Grouping>,
    json: bool,
    pictures: PictureFlags,
    sign: SignFlags,
    model: ModelOptions,
}

impl AdaptFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<AdaptOptions> {
        if let Some(rate) = self.false_alarm_rate {
            Calibration::needed(rate)?;
        }
        ensure!(
            self.weight > 0.0 && self.weight <= 1e6,
            "--weight: found {}, expected a number above 0 and at most a million",
            self.weight
        );
        let grouping = self.group_by.as_deref().map(Grouping::parse).transpose();
        Ok(AdaptOptions {
            accepted: self.accepted,
            rollback: self.rollback,
            out: self.out,
            weight: self.weight,
            rate: self.false_alarm_rate,
            pool: self.pool,
            grouping: grouping.context("--group-by")?,
            json: self.json,
            pictures: self.pictures,
            sign: self.sign,
            model: self.model.resolve()?,
        })
    }
}

/// An accepted frame.
struct AcceptedFrame {
    path: PathBuf,
    /// By the model as it was.
    before: AdaptationScore,
    /// By a model that was adapted to frames of other folds.
    after: Option<AdaptationScore>,
    fold: usize,
}

/// Frames that were left out.
#[derive(Clone, Copy, Debug, Default)]
struct LeftOut {
    /// Black, saturated or empty.
    invalid: usize,
    /// Each was reported.
    unreadable: usize,
}

pub(crate) fn run(options: &AdaptOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    if options.rollback {
        return roll_back::run(&options.model, options.json, reporter);
    }
    let key = options.sign.key(&options.model.trust, Changed::Model)?;
    let target = Bundle::check_target(options.out.as_ref().unwrap_or(&options.model.bundle))?;
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => prepare_folder(parent)?,
        _ => check_writable(Path::new("."))?,
    }
    let previous = match &options.out {
        Some(_) => None,
        None => Some(roll_back::previous(&target)?),
    };
    if let Some(previous) = &previous {
        Bundle::check_target(previous)?;
    }
    let list = frames::find(&options.accepted, &[], reporter)?;
    // What was meant and is missing would be missed in silence.
    if list.failed > 0 {
        return Err(Reported.into());
    }
    let paths = distinct(list.paths, reporter);
    let (bundle, engine) = options.model.open(reporter)?;
    bundle.check_unsealed(&target)?;
    let earlier = bundle.calibration().cloned();
    let earlier = earlier.with_context(|| {
        let path = bundle.path().display();
        format!("{path}: has no calibration, so there is nothing to adapt")
    })?;
    let rate = options.rate.unwrap_or(earlier.false_alarm_rate);
    let units = units(&paths, options.grouping.as_ref())?;
    check_enough(options, &earlier, &units, rate)?;
    let params = AdaptationParams {
        weight: options.weight,
        folds: AdaptationParams::default().folds.min(count_of(&units)),
    };
    let mut adapter = Adapter::new(&bundle, &engine, params)?;
    for source in adapter.unchanged() {
        reporter.note(&format_args!(
            "the part of the anomaly map that comes from `{source}` stays: only training can \
             change it"
        ));
    }
    let decode = options.pictures.over(&bundle.manifest().preprocess);
    let bits = bundle.manifest().preprocess.bits;
    let reading = Reading {
        decode: &decode,
        bits,
        reporter,
    };
    interrupt::watch();
    let (mut accepted, left_out) = reading.learn(&mut adapter, &paths, &units, params.folds)?;
    ensure!(
        left_out.unreadable * 10 <= paths.len(),
        "{} of {} could not be read, more than a tenth: nothing was adapted",
        left_out.unreadable,
        count(paths.len(), "frame")
    );
    let kept: Vec<usize> = accepted.iter().map(|(unit, _)| *unit).collect();
    check_enough(options, &earlier, &kept, rate)?;
    reading.score(&adapter, accepted.iter_mut().map(|(_, f)| f), params.folds)?;
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let frames: Vec<&AcceptedFrame> = accepted.iter().map(|(_, frame)| frame).collect();
    let calibration = calibration(
        options,
        &earlier,
        &frames,
        &kept,
        (rate, params.folds.min(count_of(&kept))),
        &date,
    )?;
    let knew = adapter.known();
    let unchanged = adapter.unchanged().to_vec();
    let mut adapted = adapter.finish(calibration, date)?;
    sign(&mut adapted, key.as_ref(), Changed::Model)?;
    if let Some(previous) = &previous {
        bundle.clone().save(previous)?;
    }
    adapted.save(&target)?;
    Report {
        bundle: &adapted,
        from: &bundle,
        previous: previous.as_deref(),
        frames: &frames,
        left_out,
        knew,
        weight: options.weight,
        pooled: options.pool,
        unchanged: &unchanged,
        earlier: &earlier,
    }
    .print(options.json)?;
    Ok(Outcome::Done)
}

/// The number of each frame's group, from 0; without a grouping each has its own.
fn units(paths: &[PathBuf], grouping: Option<&Grouping>) -> anyhow::Result<Vec<usize>> {
    let Some(grouping) = grouping else {
        return Ok((0..paths.len()).collect());
    };
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    Ok(grouping.groups(&paths)?)
}

/// How many groups there are.
fn count_of(units: &[usize]) -> usize {
    let mut distinct = units.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len()
}

/// Refuses frames or groups that can't promise the rate.
fn check_enough(
    options: &AdaptOptions,
    earlier: &Calibration,
    units: &[usize],
    rate: f64,
) -> anyhow::Result<()> {
    let (found, needed) = (count_of(units), Calibration::needed(rate)?);
    let unit = match options.grouping {
        None => "accepted frame",
        Some(_) => "group of accepted frames",
    };
    ensure!(
        found >= 2,
        "{}: frames that are learned from can't calibrate the same model, so at least 2 are needed",
        count(found, unit)
    );
    if options.pool {
        ensure!(
            earlier.group_sizes.is_none(),
            "--pool: the model was calibrated on groups of frames, to which single frames can't be \
             added"
        );
        let found = found + earlier.scores.len();
        ensure!(
            found >= needed,
            "{found} frames of both calibrations cannot promise a false-alarm rate of {rate}: {} \
             more are needed",
            needed - found
        );
        return Ok(());
    }
    ensure!(
        found >= needed,
        "{} cannot promise a false-alarm rate of {rate}: {} more are needed; give more, or a \
         higher --false-alarm-rate, or --pool to calibrate on these and on the model's own {}",
        count(found, unit),
        needed - found,
        count(earlier.scores.len(), "frame")
    );
    Ok(())
}

/// The calibration of the adapted model.
fn calibration(
    options: &AdaptOptions,
    earlier: &Calibration,
    frames: &[&AcceptedFrame],
    units: &[usize],
    (rate, folds): (f64, usize),
    date: &str,
) -> anyhow::Result<Calibration> {
    let after: Vec<AdaptationScore> = frames.iter().filter_map(|frame| frame.after).collect();
    let own: Vec<f64> = after.iter().map(|scored| scored.score).collect();
    let maxima: Vec<f64> = after.iter().map(|scored| scored.map_maximum).collect();
    let folds = u32::try_from(folds)?;
    let mut calibration = if options.pool {
        let scores = [own, earlier.scores.clone()].concat();
        let (mut pooled, _) = Calibration::fit_folds(scores, maxima, None, folds, rate)?;
        // Of the frames before there are no maxima.
        pooled.map_threshold = pooled.map_threshold.max(earlier.map_threshold);
        pooled.reference = earlier.reference.clone();
        pooled
    } else {
        let groups = Some([units, units]);
        let (mut own, _) = Calibration::fit_folds(own, maxima, groups, folds, rate)?;
        let looks: Vec<_> = after.iter().map(|scored| scored.reference).collect();
        own.reference = ReferenceStatistics::of(&looks, Some(units));
        own
    };
    let band = earlier
        .review
        .map(|band| band.rate)
        .filter(|&band| band > rate);
    calibration.set_review_rate(band)?;
    calibration.date = Some(date.to_owned());
    Ok(calibration)
}

/// How frames are read.
struct Reading<'a> {
    decode: &'a DecodeOptions,
    /// Bits of 16 that they use.
    bits: Option<u32>,
    reporter: Reporter,
}

impl Reading<'_> {
    /// What is wrong with a frame, else the frame as it is judged.
    fn judged(&self, mut frame: Frame) -> Result<Frame, String> {
        if let Some(bits) = self.bits
            && frame.format().bits() == 16
            && frame.bits().is_none()
        {
            frame.set_bits(bits).map_err(|error| error.to_string())?;
        }
        match frame.problem() {
            Some(problem) => Err(problem),
            None => Ok(frame),
        }
    }

    /// Shows each frame to the adapter; gives those that were taken, each with its unit.
    fn learn(
        &self,
        adapter: &mut Adapter,
        paths: &[PathBuf],
        units: &[usize],
        folds: usize,
    ) -> anyhow::Result<(Vec<(usize, AcceptedFrame)>, LeftOut)> {
        let mut left_out = LeftOut::default();
        let mut accepted = Vec::with_capacity(paths.len());
        let mut progress = self.reporter.progress(paths.len(), "frames learned");
        for (path, &unit) in paths.iter().zip(units) {
            check_interrupted()?;
            let fold = unit % folds;
            let learned = with_frame(path, self.decode, |frame| match self.judged(frame) {
                Ok(frame) => Ok(Ok(adapter.learn(&frame, fold)?)),
                Err(problem) => Ok(Err(problem)),
            });
            match learned {
                Ok(Ok(before)) => accepted.push((
                    unit,
                    AcceptedFrame {
                        path: path.clone(),
                        before,
                        after: None,
                        fold,
                    },
                )),
                Ok(Err(problem)) => {
                    left_out.invalid += 1;
                    progress.note(&format_args!("{}: {problem}; left out", path.display()));
                }
                Err(error) => {
                    left_out.unreadable += 1;
                    progress.error(&one_line(&error));
                }
            }
            progress.advance(1);
        }
        progress.finish();
        Ok((accepted, left_out))
    }

    /// Scores each frame by a model that was adapted to those of other folds.
    fn score<'f>(
        &self,
        adapter: &Adapter,
        frames: impl Iterator<Item = &'f mut AcceptedFrame>,
        folds: usize,
    ) -> anyhow::Result<()> {
        let mut frames: Vec<&mut AcceptedFrame> = frames.collect();
        let mut progress = self
            .reporter
            .progress(frames.len(), "frames scored out of fold");
        for fold in 0..folds {
            let mut model = adapter.model(fold)?;
            for frame in frames.iter_mut().filter(|frame| frame.fold == fold) {
                check_interrupted()?;
                let path = frame.path.clone();
                let scored = with_frame(&path, self.decode, |read| match self.judged(read) {
                    Ok(read) => Ok(Ok(model.score(&read)?)),
                    Err(problem) => Ok(Err(problem)),
                })?;
                // It could be read a moment ago, and is among what was learned.
                let changed = |problem| anyhow!("{}: has changed: {problem}", path.display());
                frame.after = Some(scored.map_err(changed)?);
                progress.advance(1);
            }
        }
        progress.finish();
        Ok(())
    }
}

fn check_interrupted() -> anyhow::Result<()> {
    ensure!(
        !interrupt::requested(),
        "interrupted; the model was not changed"
    );
    Ok(())
}
