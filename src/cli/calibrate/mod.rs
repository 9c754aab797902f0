//! `edge-vae calibrate`.

mod measure;
mod records;
mod report;

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use edge_vae::{
    Detector,
    bundle::Bundle,
    calibration::{Calibration, CalibrationError, ReferenceFrame, ReferenceStatistics},
    dataset::Grouping,
    runtime::replace_mask,
};

use self::report::Report;
use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions},
    frames,
    messages::Voice,
    output::{prepare_folder, prove_writable},
    score::{count, no_frames},
};

/// The rate that is promised where neither the command line nor the model names one.
const DEFAULT_RATE: f64 = 0.01;

/// Below this p-value frames are said to look unlike those of the earlier calibration.
const UNLIKELY: f64 = 0.01;

/// Set a model's threshold by held-out normal frames.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae calibrate --model models/part frames/held-out --false-alarm-rate 0.01
  edge-vae calibrate --model models/part shifts/ --group-by parent
  edge-vae calibrate --model models/part frames/ --group-by 'part-([0-9]+)_' --out models/part-b
  edge-vae calibrate --model models/part --from last-week.jsonl
  edge-vae calibrate --model models/part frames/ --mask roi.png --out models/part-roi

The frames must be normal, must not have trained the model, and must be taken as those that will be
judged. Weights, graphs and the golden frame stay as they are; so does the model's id, without --mask. A rate r takes
at least 1/r - 1 frames: 99 for 1 %.

--group-by: frames with the same (...) in their path belong together, a part, a tray, a shift;
`parent` stands for the folder that a frame lies in. The promise is then for frames of new groups,
and the rate takes at least 1/r - 1 groups.

--from takes what `edge-vae score --json` printed, all lines of a period, and scores nothing again.
Frames called normal count. Those called anomalous must each have been looked at: add
\"accepted\": true to the lines of normal frames and \"accepted\": false to those of defects, or give
--all-normal where the whole period is known to be good. Lines of other models are left out.

--mask gives a model a region of interest, or a smaller one: a PNG laid over the whole frame, white
where to look, black what to ignore. The scores are then others, so the model gets another id and
golden values of the new mask; it may be white only where a mask that it was trained with is.

From frames it is also kept what they look like (brightness, contrast, focus, size), by which live
frames that are blurred, and a camera or a light that changed, are told; lines do not have that.

Black, saturated and empty frames are left out, and so are frames and lines that can't be read;
when these are more than a tenth, nothing is written.
docs/guide/calibrate.md says what is promised.")]
pub(crate) struct CalibrateFlags {
    /// Held-out normal frames: pictures, folders of pictures (searched to any depth), globs in
    /// quotes, or `-` for a list of paths on standard input, one a line.
    #[arg(
        value_name = "NORMALS",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    normals: Vec<PathBuf>,

    /// Take the scores of these files of JSON lines, written by `edge-vae score --json`; `-` is
    /// standard input.
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,

    /// Every frame of the --from files was normal, those called anomalous too.
    #[arg(long)]
    all_normal: bool,

    /// The promised share of normal frames that are called anomalous, on average [default: that of
    /// the model's calibration, else 0.01].
    #[arg(long, value_name = "RATE")]
    false_alarm_rate: Option<f64>,

    /// Which frames belong together: `parent`, or a regular expression with one (...), which is
    /// looked for in the path.
    #[arg(long, value_name = "PATTERN")]
    group_by: Option<String>,

    /// Look only where this PNG is white, and calibrate on that.
    #[arg(long, value_name = "PNG", conflicts_with = "from")]
    mask: Option<PathBuf>,

    /// Write the calibrated model into this folder, and leave the other as it is.
    #[arg(long, value_name = "BUNDLE")]
    out: Option<PathBuf>,

    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`CalibrateFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct CalibrateOptions {
    source: ScoreSource,
    rate: Option<f64>,
    grouping: Option<Grouping>,
    mask: Option<PathBuf>,
    out: Option<PathBuf>,
    json: bool,
    model: ModelOptions,
}

/// Where scores come from.
#[derive(Debug)]
enum ScoreSource {
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
        Ok(CalibrateOptions {
            source: if self.from.is_empty() {
                ScoreSource::Frames(self.normals)
            } else {
                ScoreSource::Records {
                    files: self.from,
                    all_normal: self.all_normal,
                }
            },
            rate: self.false_alarm_rate,
            grouping: self
                .group_by
                .as_deref()
                .map(Grouping::parse)
                .transpose()
                .context("--group-by")?,
            mask: self.mask,
            out: self.out,
            json: self.json,
            model: self.model.resolve()?,
        })
    }
}

/// A normal frame that was scored.
#[derive(Debug)]
struct Sample {
    path: PathBuf,
    score: f64,
    /// The maximum of its anomaly map.
    peak: f64,
    /// What it looked like, where there is a frame and not only a line of it.
    reference: Option<ReferenceFrame>,
}

/// The normal frames, and what was left out.
#[derive(Debug, Default)]
struct Material {
    samples: Vec<Sample>,
    /// Frames that are black, saturated or empty.
    invalid: usize,
    /// Frames or lines that could not be read or scored; each was reported.
    unreadable: usize,
    /// Lines of frames that a person said are not normal.
    rejected: usize,
    /// Lines of other models.
    foreign: usize,
}

impl Material {
    /// Refuses material of which more than a tenth could not be read.
    fn check(&self, what: &str) -> anyhow::Result<()> {
        let all = self.samples.len() + self.invalid + self.unreadable;
        if self.unreadable * 10 > all {
            bail!(
                "{} of {} could not be read, more than a tenth: nothing is calibrated on what is left",
                self.unreadable,
                count(all, what)
            );
        }
        Ok(())
    }
}

pub(crate) fn run(options: &CalibrateOptions, voice: Voice) -> anyhow::Result<Outcome> {
    // Another mask makes other files; else only the manifest is written.
    let whole = match (&options.out, &options.mask) {
        (Some(out), _) => Some(out),
        (None, Some(_)) => Some(&options.model.bundle),
        (None, None) => None,
    };
    if let Some(place) = whole {
        Bundle::check_target(place)?;
    }
    let paths = match &options.source {
        ScoreSource::Frames(arguments) => {
            let list = frames::find(arguments, &[], voice)?;
            // What was meant and is missing would be missed in silence.
            if list.failed > 0 || list.paths.is_empty() {
                return no_frames(list.failed);
            }
            distinct(list.paths, voice)
        }
        ScoreSource::Records { .. } => Vec::new(),
    };
    let (mut bundle, engine) = options.model.open(voice)?;
    match whole.map(|place| place.parent()) {
        Some(Some(folder)) if !folder.as_os_str().is_empty() => prepare_folder(folder)?,
        Some(_) => prove_writable(Path::new("."))?,
        None => prove_writable(bundle.path())?,
    }
    let mut earlier = bundle.manifest().calibration.clone();
    let rate = options
        .rate
        .or(earlier.as_ref().map(|earlier| earlier.false_alarm_rate))
        .unwrap_or(DEFAULT_RATE);
    if let Some(mask) = &options.mask {
        let name = mask.display().to_string();
        let png = std::fs::read(mask).with_context(|| format!("{name}: cannot read"))?;
        replace_mask(&mut bundle, &png, &name, &engine)?;
        // Scores of another mask can't be compared.
        earlier = None;
    }
    if earlier.is_none() {
        // A detector has a threshold; here only its scores are wanted.
        bundle.set_calibration(Calibration::fit(vec![f64::MAX], vec![f64::MAX], 0.5)?)?;
    }
    let mut detector = Detector::new(&bundle, &engine)?;

    let material = match &options.source {
        ScoreSource::Frames(_) => {
            let found: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
            // Before they are scored, which may take long.
            check_enough(&found, options.grouping.as_ref(), rate)?;
            let material = measure::score(&mut detector, &paths, voice)?;
            material.check("frame")?;
            material
        }
        ScoreSource::Records { files, all_normal } => {
            let material = records::read(files, bundle.model_id(), *all_normal, voice)?;
            material.check("line")?;
            material
        }
    };
    let found: Vec<&Path> = material.samples.iter().map(|s| s.path.as_path()).collect();
    check_enough(&found, options.grouping.as_ref(), rate)?;
    let scores: Vec<f64> = material.samples.iter().map(|s| s.score).collect();
    let peaks: Vec<f64> = material.samples.iter().map(|s| s.peak).collect();
    let mut warnings = Vec::new();
    let frames: Option<Vec<ReferenceFrame>> =
        material.samples.iter().map(|s| s.reference).collect();
    let mut calibration = match &options.grouping {
        None => {
            let mut calibration = Calibration::fit(scores, peaks, rate)?;
            calibration.reference =
                frames.and_then(|frames| ReferenceStatistics::of(&frames, None));
            calibration
        }
        Some(grouping) => {
            let groups = grouping.groups(&found)?;
            let mut calibration = Calibration::fit_grouped(scores, peaks, &groups, rate)?;
            if calibration.groups().is_none() {
                warnings.push("no two frames are of one group, so each stands for itself".into());
            }
            calibration.reference =
                frames.and_then(|frames| ReferenceStatistics::of(&frames, Some(&groups)));
            calibration
        }
    };
    calibration.date = Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string());
    warn_of_copies(&material.samples, &mut warnings);
    if let Some(earlier) = &earlier {
        warn_of_change(
            earlier,
            &calibration,
            matches!(options.source, ScoreSource::Records { .. }),
            &mut warnings,
        );
    }
    if calibration.reference.is_none() {
        voice.note(&"lines do not say what their frames looked like: blurred frames and a changed camera or light can't be told; calibrate on frames to turn that on");
    }
    for warning in &warnings {
        voice.note(&format_args!("warning: {warning}"));
    }

    let place = match whole {
        Some(place) => {
            bundle.set_calibration(calibration.clone())?;
            bundle.save(place)?;
            place
        }
        None => {
            let mut manifest = bundle.manifest().clone();
            manifest.calibration = Some(calibration.clone());
            bundle.rewrite_manifest(manifest)?;
            &options.model.bundle
        }
    };
    Report {
        model_id: bundle.model_id(),
        place,
        material: &material,
        calibration: &calibration,
        earlier: earlier.as_ref(),
        warnings: &warnings,
    }
    .print(options.json)?;
    Ok(Outcome::Done)
}

/// Each file once: a frame that counts twice would promise more than it can.
fn distinct(paths: Vec<PathBuf>, voice: Voice) -> Vec<PathBuf> {
    let all = paths.len();
    let mut seen = HashSet::new();
    let paths: Vec<PathBuf> = paths
        .into_iter()
        // What can't be found is reported when it is read.
        .filter(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())))
        .collect();
    if paths.len() < all {
        voice.note(&format_args!(
            "{} named twice count once",
            count(all - paths.len(), "frame")
        ));
    }
    paths
}

/// Refuses too few frames or groups for a rate.
fn check_enough(paths: &[&Path], grouping: Option<&Grouping>, rate: f64) -> anyhow::Result<()> {
    let needed = Calibration::needed(rate)?;
    let groups = grouping
        .map(|grouping| grouping.groups(paths))
        .transpose()?;
    match groups {
        None if paths.len() < needed => Err(CalibrationError::TooFewFrames {
            found: paths.len(),
            needed,
            rate,
        }
        .into()),
        None => Ok(()),
        Some(groups) => {
            let found = groups.into_iter().collect::<BTreeSet<_>>().len();
            if found < needed {
                return Err(CalibrationError::TooFewGroups {
                    found,
                    needed,
                    rate,
                }
                .into());
            }
            Ok(())
        }
    }
}

/// Two frames of a camera never have exactly one score and one peak.
fn warn_of_copies(samples: &[Sample], warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    let copies = samples
        .iter()
        .filter(|sample| !seen.insert((sample.score.to_bits(), sample.peak.to_bits())))
        .count();
    if copies > 0 {
        warnings.push(format!(
            "{copies} of {} have exactly the score and the map's maximum of another: copies of one picture promise more than they can keep",
            count(samples.len(), "frame")
        ));
    }
}

fn warn_of_change(
    earlier: &Calibration,
    calibration: &Calibration,
    were_judged: bool,
    warnings: &mut Vec<String>,
) {
    if calibration.groups().is_some() {
        return;
    }
    if let Some(distribution_shift) = earlier.distribution_shift(&calibration.scores)
        && distribution_shift.p_value < UNLIKELY
    {
        warnings.push(format!(
            "these frames look unlike those of the earlier calibration (Kolmogorov-Smirnov distance {:.3}, p-value {:.1e}): light, camera or parts have changed, or the frames are not all normal and new to the model; look at them before you rely on it",
            distribution_shift.distance, distribution_shift.p_value
        ));
    }
    let alarms = calibration.scores.iter().any(|&s| earlier.is_anomalous(s));
    if were_judged
        && !alarms
        && let Some(probability) = earlier.probability_of_no_alarm(calibration.scores.len())
        && probability < UNLIKELY
    {
        warnings.push(format!(
            "none of {} is above the earlier threshold, which has a probability of {probability:.1e}: if the lines of false alarms were removed, there will be more false alarms than promised",
            count(calibration.scores.len(), "frame")
        ));
    }
}
