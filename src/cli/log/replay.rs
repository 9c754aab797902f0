//! `edge-vae log replay`.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{bail, ensure};
use clap::Args;
use edge_vae::{
    Detector,
    evidence::{self, Entry, EvidenceCheck, EvidenceSettings, EvidenceVerdict},
};

use crate::cli::{
    Outcome,
    flags::ModelFlags,
    frames::{self, PictureFlags, with_frame},
    interrupt,
    output::StandardOutput,
    reporter::{Reporter, count, one_line},
};

/// Compute the scores of a log of verdicts again, from its frames, and compare them bit by bit.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae score frames/ --model models/part --evidence day.evidence
  edge-vae log replay day.evidence frames/ --model models/part

Frames are found by the digests of their pictures, whatever their files are called now. Model and
engine must be those of the log: another engine rounds otherwise. The log is verified first.

Exit codes: 0 every score of a frame that was found is the same; 2 one is not, no frame was found,
or something failed.")]
pub(super) struct ReplayFlags {
    /// The log.
    #[arg(value_name = "LOG")]
    log: PathBuf,

    /// The frames: pictures, folders of pictures (with all folders in them), globs in quotes, or
    /// `-` for a list of paths on standard input, one on each line.
    #[arg(value_name = "FRAMES", required = true)]
    frames: Vec<PathBuf>,

    #[command(flatten)]
    pictures: PictureFlags,

    #[command(flatten)]
    model: ModelFlags,
}

/// A verdict of the log, and how it was made.
struct Logged {
    line: u64,
    settings: EvidenceSettings,
    verdict: EvidenceVerdict,
}

pub(super) fn run(flags: ReplayFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let logged = read(&flags.log)?;
    let options = flags.model.resolve()?;
    let list = frames::find(&flags.frames, &[], reporter)?;
    let (bundle, engine) = options.open(reporter)?;
    let mut detector = Detector::new(&bundle, &engine)?;
    let of_model = logged
        .iter()
        .filter(|logged| logged.settings.model_sha256 == **detector.model_sha256());
    let mut wanted: HashMap<&str, Vec<&Logged>> = HashMap::new();
    for logged in of_model {
        let engine = [&*logged.settings.backend, &*logged.settings.device];
        let found = [detector.backend().name(), detector.device().name()];
        ensure!(
            engine == found,
            "{}: line {} was scored by {} on {}, and this is {} on {}: name the engine with \
             --backend and --device",
            flags.log.display(),
            logged.line,
            engine[0],
            engine[1],
            found[0],
            found[1]
        );
        if let (Some(digest), Some(_)) = (&logged.verdict.frame_sha256, logged.verdict.pred_score) {
            wanted.entry(digest).or_default().push(logged);
        }
    }
    if wanted.is_empty() {
        bail!(
            "{}: has no score of the model {} (manifest {})",
            flags.log.display(),
            detector.model_id(),
            detector.model_sha256()
        );
    }
    let decode = flags.pictures.over(&bundle.manifest().preprocess);
    let mut out = StandardOutput::new();
    let (mut same, mut other, mut failed) = (0, 0, list.failed);
    interrupt::watch();
    for (done, path) in list.paths.iter().enumerate() {
        if interrupt::requested() {
            interrupt::check_after(done, list.paths.len())?;
        }
        let scored = with_frame(path, &decode, |frame| {
            let Some(logged) = wanted.remove(&*frame.sha256()) else {
                return Ok(None);
            };
            let score = detector.score(&frame)?.verdict.score;
            Ok(Some((logged, score)))
        });
        let (logged, score) = match scored {
            Ok(Some(scored)) => scored,
            Ok(None) => continue,
            Err(error) => {
                failed += 1;
                reporter.error(&one_line(&error));
                continue;
            }
        };
        for logged in logged {
            let is_same = score.map(f64::to_bits) == logged.verdict.pred_score.map(f64::to_bits);
            same += usize::from(is_same);
            other += usize::from(!is_same);
            print(&mut out, logged, score, is_same, path)?;
        }
    }
    out.finish()?;
    let missing: usize = wanted.values().map(Vec::len).sum();
    reporter.note(&format_args!(
        "{} the same bit by bit, {other} not, {missing} of frames that were not found",
        count(same, "score")
    ));
    ensure!(same + other > 0, "none of the log's frames was found");
    Ok(Outcome::after_failures(other + failed))
}

/// The verdicts of a log that is whole.
fn read(path: &Path) -> anyhow::Result<Vec<Logged>> {
    let mut settings: Option<EvidenceSettings> = None;
    let mut logged = Vec::new();
    let running = EvidenceCheck {
        running: true,
        ..EvidenceCheck::default()
    };
    let report = evidence::verify(path, running, |line| match &line.entry {
        Entry::Settings(new) => settings = Some(new.clone()),
        Entry::Verdict(verdict) => {
            logged.extend(settings.clone().map(|settings| Logged {
                line: line.sequence + 1,
                settings,
                verdict: verdict.clone(),
            }));
        }
        _ => {}
    })?;
    match report.faults.first() {
        Some(fault) => bail!("{}: {fault}; see `edge-vae log verify`", path.display()),
        None => Ok(logged),
    }
}

fn print(
    out: &mut StandardOutput,
    logged: &Logged,
    score: Option<f64>,
    is_same: bool,
    path: &Path,
) -> anyhow::Result<()> {
    let shown = |score: Option<f64>| match score {
        Some(score) => format!("{score:?}"),
        None => "none".to_owned(),
    };
    let (line, path) = (logged.line, path.display());
    let before = shown(logged.verdict.pred_score);
    match is_same {
        true => out.line(format_args!(
            "same    line {line:>6}  score {before}  {path}"
        )),
        false => out.line(format_args!(
            "DIFFERS line {line:>6}  score {before}, now {}  {path}",
            shown(score)
        )),
    }
}
