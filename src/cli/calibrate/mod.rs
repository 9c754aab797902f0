//! `edge-vae calibrate`.

mod measure;
mod moved;
mod records;
mod report;
mod score_line;
mod warnings;

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, ensure};
use clap::Args;
use edge_vae::{
    Detector,
    bundle::Bundle,
    calibration::{Calibration, CalibrationError, ReferenceFrame, ReferenceStatistics},
    dataset::Grouping,
    frame::DecodeOptions,
    read_bounded,
    runtime::replace_mask,
};

use self::report::Report;
use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions, ReviewRate},
    frames::{self, PictureFlags},
    output::{check_writable, prepare_folder},
    reporter::{Reported, Reporter, count},
    trust::{Changed, SignFlags, sign},
};

/// The target rate where neither the command line nor the model names one.
const DEFAULT_RATE: f64 = 0.01;

/// Set a model's threshold from held-out normal frames, for a target rate of false alarms.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae calibrate --model models/part frames/held-out --false-alarm-rate 0.01
  edge-vae calibrate --model models/part shifts/ --group-by parent
  edge-vae calibrate --model models/part frames/ --group-by 'part-([0-9]+)_' --out models/part-b
  edge-vae calibrate --model models/part --from last-week.jsonl
  edge-vae calibrate --model models/part frames/ --mask roi.png --out models/part-roi
  edge-vae calibrate --model models/part --false-alarm-rate 0.02 --review-rate 0.1

The frames must be normal, must not have been used in training, and must be taken like those that
will be scored. A rate r takes at least 1/r - 1 frames: 99 for 1 %. Only the threshold changes: the
networks and, without --mask, the model's id stay.

The result ends with the operating table: for several rates the threshold, what is guaranteed, and
which share of drawn (synthetic) defects is found. Without frames, --false-alarm-rate and
--review-rate move along it: the frames that calibrated last stay, only the thresholds change.
Regions of the anomaly map then keep their threshold.

--review-rate: frames that score above the threshold for this larger rate, and are not anomalous,
are normal with `review`: true, for a person to look at.

--group-by: frames with the same (...) in their path belong together: a part, a tray, a shift.
`parent` stands for the folder of the frame. The guarantee is then for frames of new groups, and the
rate takes at least 1/r - 1 groups.

--from reads what `edge-vae score --json` printed, all lines of a period, and scores nothing again.
Frames called normal count. A person must have looked at each frame that was called anomalous: add
\"accepted\": true to the lines of normal frames and \"accepted\": false to those of defects. Give
--all-normal where the whole period is known to be good. Lines of other models are left out.

--mask gives a model a region of interest, or a smaller one: a PNG laid over the whole frame, white
where to look, black what to ignore. The scores change, and so does the model's id. The mask may be
white only where the mask of the training is.

The model also keeps what the frames look like (brightness, contrast, focus, size). By that, `watch`
tells blurred frames, and a camera or a light that changed. Lines of --from do not have it.

Black, saturated and empty frames are left out, as are frames and lines that can't be read. When
these are more than a tenth, nothing is written.")]
pub(crate) struct CalibrateFlags {
    /// Held-out normal frames: pictures, folders of pictures (with all folders in them), globs in
    /// quotes, or `-` for a list of paths on standard input, one on each line.
    #[arg(
        value_name = "NORMALS",
        required_unless_present_any = ["from", "false_alarm_rate", "review_rate"],
        conflicts_with = "from"
    )]
    normals: Vec<PathBuf>,

    /// Read scores from JSON lines that `edge-vae score --json` wrote; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,

    /// Every frame of the --from files was normal, those called anomalous too.
    #[arg(long)]
    all_normal: bool,

    /// Target false-alarm rate: at most this share of new normal frames is called anomalous, on
    /// average [default: that of the model's calibration, else 0.01].
    #[arg(long, value_name = "RATE")]
    false_alarm_rate: Option<f64>,

    /// A second, larger rate: normal frames above its threshold are for review; `off` for none
    /// [default: that of the model's calibration].
    #[arg(long, value_name = "RATE")]
    review_rate: Option<ReviewRate>,

    /// Which frames belong together: `parent`, or a regular expression with one (...) that is
    /// searched in the path.
    #[arg(long, value_name = "PATTERN")]
    group_by: Option<String>,

    /// Look only where this PNG is white, and calibrate on that.
    #[arg(long, value_name = "PNG", conflicts_with = "from")]
    mask: Option<PathBuf>,

    /// Write the calibrated model into this folder, and leave the given one alone.
    #[arg(long, value_name = "BUNDLE")]
    out: Option<PathBuf>,

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

/// What [`CalibrateFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct CalibrateOptions {
    source: Source,
    pictures: PictureFlags,
    rate: Option<f64>,
    review: Option<ReviewRate>,
    grouping: Option<Grouping>,
    mask: Option<PathBuf>,
    out: Option<PathBuf>,
    json: bool,
    sign: SignFlags,
    model: ModelOptions,
}

/// Where scores come from.
#[derive(Debug)]
enum Source {
    /// From those of the calibration that the model has.
    Stored,
    /// From these frames.
    Frames(Vec<PathBuf>),
    /// From these files of JSON lines.
    Records {
        files: Vec<PathBuf>,
        all_normal: bool,
    },
}

impl CalibrateFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<CalibrateOptions> {
        if let Some(rate) = self.false_alarm_rate {
            Calibration::needed(rate)?;
        }
        // clap's `requires` gives way to the conflict of NORMALS with --from.
        ensure!(
            !self.all_normal || !self.from.is_empty(),
            "--all-normal is about the lines of --from; NORMALS are taken to be normal anyway"
        );
        ensure!(
            !(self.normals.is_empty() && self.from.is_empty())
                || (self.mask.is_none() && self.group_by.is_none()),
            "--mask and --group-by are about normal frames, and none are given"
        );
        Ok(CalibrateOptions {
            source: if self.normals.is_empty() && self.from.is_empty() {
                Source::Stored
            } else if self.from.is_empty() {
                Source::Frames(self.normals)
            } else {
                Source::Records {
                    files: self.from,
                    all_normal: self.all_normal,
                }
            },
            rate: self.false_alarm_rate,
            review: self.review_rate,
            grouping: self
                .group_by
                .as_deref()
                .map(Grouping::parse)
                .transpose()
                .context("--group-by")?,
            pictures: self.pictures,
            mask: self.mask,
            out: self.out,
            json: self.json,
            sign: self.sign,
            model: self.model.resolve()?,
        })
    }
}

impl CalibrateOptions {
    /// The rate that was asked for, else that of the `earlier` calibration.
    fn review_rate(&self, earlier: Option<&Calibration>) -> Option<f64> {
        match self.review {
            Some(review) => review.rate(),
            None => Some(earlier?.review?.rate),
        }
    }
}

/// A normal frame that was scored.
#[derive(Debug)]
struct NormalFrame {
    path: PathBuf,
    score: f64,
    /// The maximum of its anomaly map.
    map_maximum: f64,
    /// What it looked like, where there is a frame and not only a line of it.
    reference: Option<ReferenceFrame>,
}

/// The normal frames, and how many were left out.
#[derive(Debug, Default)]
struct NormalFrames {
    frames: Vec<NormalFrame>,
    /// Frames that are black, saturated or empty.
    invalid: usize,
    /// Frames or lines that could not be read or scored; each was reported.
    unreadable: usize,
    /// Lines of frames that a person called defective.
    rejected: usize,
    /// Lines of other models.
    other_models: usize,
    /// Frames that the model was made of; `None` where the bundle does not say, and for lines.
    seen: Option<usize>,
}

impl NormalFrames {
    /// Refuses frames or lines (`what`) of which more than a tenth could not be read.
    fn check_readable(&self, what: &str) -> anyhow::Result<()> {
        let all = self.frames.len() + self.invalid + self.unreadable;
        ensure!(
            self.unreadable * 10 <= all,
            "{} of {} could not be read, more than a tenth: nothing is calibrated on what is left",
            self.unreadable,
            count(all, what)
        );
        Ok(())
    }

    fn paths(&self) -> Vec<&Path> {
        self.frames
            .iter()
            .map(|frame| frame.path.as_path())
            .collect()
    }

    fn calibration(&self, grouping: Option<&Grouping>, rate: f64) -> anyhow::Result<Calibration> {
        let scores = self.frames.iter().map(|frame| frame.score).collect();
        let maxima = self.frames.iter().map(|frame| frame.map_maximum).collect();
        let groups = grouping
            .map(|grouping| grouping.groups(&self.paths()))
            .transpose()?;
        let mut calibration = match &groups {
            None => Calibration::fit(scores, maxima, rate)?,
            Some(groups) => Calibration::fit_grouped(scores, maxima, groups, rate)?,
        };
        let reference: Option<Vec<ReferenceFrame>> =
            self.frames.iter().map(|frame| frame.reference).collect();
        calibration.reference =
            reference.and_then(|frames| ReferenceStatistics::of(&frames, groups.as_deref()));
        calibration.date = Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string());
        Ok(calibration)
    }
}

pub(crate) fn run(options: &CalibrateOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    if matches!(options.source, Source::Stored) {
        return moved::run(options, reporter);
    }
    let changed = match &options.mask {
        Some(_) => Changed::Model,
        None => Changed::Calibration,
    };
    let key = options.sign.key(&options.model.trust, changed)?;
    // Another mask makes other files; else only the calibration is written.
    let new_bundle = match (&options.out, &options.mask) {
        (Some(out), _) => Some(out),
        (None, Some(_)) => Some(&options.model.bundle),
        (None, None) => None,
    };
    if let Some(folder) = new_bundle {
        Bundle::check_target(folder)?;
    }
    let paths = match &options.source {
        Source::Frames(arguments) => {
            let list = frames::find(arguments, &[], reporter)?;
            // What was meant and is missing would be missed in silence.
            if list.failed > 0 {
                return Err(Reported.into());
            }
            distinct(list.paths, reporter)
        }
        Source::Records { .. } | Source::Stored => Vec::new(),
    };
    let (mut bundle, engine) = options.model.open(reporter)?;
    if let Some(folder) = new_bundle {
        bundle.check_unsealed(folder)?;
    }
    match new_bundle.map(|folder| folder.parent()) {
        Some(Some(parent)) if !parent.as_os_str().is_empty() => prepare_folder(parent)?,
        Some(_) => check_writable(Path::new("."))?,
        None => check_writable(bundle.path())?,
    }
    let mut earlier = bundle.calibration().cloned();
    let rate = options
        .rate
        .or(earlier.as_ref().map(|earlier| earlier.false_alarm_rate))
        .unwrap_or(DEFAULT_RATE);
    let review_rate = options.review_rate(earlier.as_ref());
    if let Some(mask) = &options.mask {
        let name = mask.display().to_string();
        let png = read_bounded(mask, DecodeOptions::default().max_file_bytes)
            .with_context(|| format!("{name}: cannot read"))?;
        replace_mask(&mut bundle, &png, &name, &engine)?;
        // Scores of another mask can't be compared.
        earlier = None;
    }
    if earlier.is_none() {
        // A detector has a threshold; here only its scores are wanted.
        bundle.set_calibration(Calibration::fit(vec![f64::MAX], vec![f64::MAX], 0.5)?)?;
    }
    let mut detector = Detector::new(&bundle, &engine)?;
    let trained_on = bundle.training_frames()?;
    let decode = options.pictures.over(&bundle.manifest().preprocess);

    let grouping = options.grouping.as_ref();
    let normal = match &options.source {
        Source::Frames(_) | Source::Stored => {
            let found: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
            // Before they are scored, which may take long.
            check_enough(&found, grouping, rate)?;
            let normal = measure::score(
                &mut detector,
                &paths,
                &decode,
                trained_on.as_ref(),
                reporter,
            )?;
            normal.check_readable("frame")?;
            normal
        }
        Source::Records { files, all_normal } => {
            let normal = records::read(files, bundle.model_id(), *all_normal, reporter)?;
            normal.check_readable("line")?;
            normal
        }
    };
    check_enough(&normal.paths(), grouping, rate)?;
    let mut calibration = normal.calibration(grouping, rate)?;
    calibration.set_review_rate(review_rate)?;
    let from_records = matches!(options.source, Source::Records { .. });
    let warnings = [
        warnings::of_groups(grouping, &calibration),
        warnings::of_copies(&normal.frames),
        warnings::of_seen(&normal),
        earlier
            .as_ref()
            .and_then(|earlier| warnings::of_shift(earlier, &calibration)),
        earlier
            .as_ref()
            .filter(|_| from_records)
            .and_then(|earlier| warnings::of_missing_alarms(earlier, &calibration)),
    ];
    let warnings: Vec<String> = warnings.into_iter().flatten().collect();
    if calibration.reference.is_none() {
        reporter.note(
            &"lines do not say what their frames look like, so blurred frames and a changed camera \
              or light can't be told; calibrate on frames to turn that on",
        );
    }
    for warning in &warnings {
        reporter.note(&format_args!("warning: {warning}"));
    }

    bundle.set_calibration(calibration.clone())?;
    sign(&mut bundle, key.as_ref(), changed)?;
    match new_bundle {
        Some(folder) => bundle.save(folder)?,
        None => bundle.write_calibration()?,
    }
    Report {
        model_id: bundle.model_id(),
        folder: new_bundle.unwrap_or(&options.model.bundle),
        normal: &normal,
        calibration: &calibration,
        synthetic_defects: bundle.synthetic_defects(),
        earlier: earlier.as_ref(),
        warnings: &warnings,
    }
    .print(options.json)?;
    Ok(Outcome::Done)
}

/// Each file once: a frame that counts twice would make the guarantee stronger than it is.
pub(crate) fn distinct(paths: Vec<PathBuf>, reporter: Reporter) -> Vec<PathBuf> {
    let all = paths.len();
    let mut seen = HashSet::new();
    let paths: Vec<PathBuf> = paths
        .into_iter()
        // What can't be found is reported when it is read.
        .filter(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())))
        .collect();
    if paths.len() < all {
        reporter.note(&format_args!(
            "{} named twice count once",
            count(all - paths.len(), "frame")
        ));
    }
    paths
}

/// Refuses too few frames or groups for a rate.
fn check_enough(paths: &[&Path], grouping: Option<&Grouping>, rate: f64) -> anyhow::Result<()> {
    let needed = Calibration::needed(rate)?;
    let Some(grouping) = grouping else {
        let found = paths.len();
        return match found < needed {
            true => Err(CalibrationError::TooFewFrames {
                found,
                needed,
                rate,
            }
            .into()),
            false => Ok(()),
        };
    };
    let groups: BTreeSet<_> = grouping.groups(paths)?.into_iter().collect();
    match groups.len() {
        found if found < needed => Err(CalibrationError::TooFewGroups {
            found,
            needed,
            rate,
        }
        .into()),
        _ => Ok(()),
    }
}
