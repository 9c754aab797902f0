//! Leaving out the training frames that look least normal, where some may be defective: a trimmed
//! likelihood (Neykov & Müller: Breakdown point and computation of trimmed likelihood estimators in
//! generalized linear models, 2003) of one step, and a threshold that these frames do not raise.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use edge_vae::{create_folder, replace_file};

use super::{Job, bundle::NOT_RANKED, with_frames};
use crate::{data, options::FitOverrides, run_folder::run_folder};

/// File of a run's folder with the frames that are left out; a list for `--exclude`.
const LIST: &str = "trimmed.txt";

/// Begins the part of the list that was not excluded by the user.
const TRIMMED: &str = "# least normal of all, left out by --trim:";

/// What a run without the `share` of its training frames that look least normal is asked for. They
/// are ranked by a first fit, each scored by a density of the others; a run that is continued keeps
/// to the list that it began with.
///
/// # Errors
/// Those of a fit; what selects no density over frozen features; a share that leaves no frame out.
pub(super) fn overrides(job: &Job, share: f64) -> Result<FitOverrides> {
    let folder = run_folder(&job.out)?;
    let list = folder.join(LIST);
    let with_list = |overrides: &FitOverrides| FitOverrides {
        exclude: Some(list.clone()),
        ..overrides.clone()
    };
    if job.resume && list.exists() {
        return Ok(with_list(&job.overrides));
    }
    job.reporter
        .line("--trim: ranking the training frames by a first fit");
    let room = tempfile::tempdir().context("cannot make a temporary folder")?;
    let first = Job {
        resume: false,
        vae: false,
        ..job.with(room.path().join("ranking"), job.overrides.clone())
    };
    let (mut scores, size, tiles) = with_frames(&first, Instant::now(), |run, _| {
        ensure!(run.judges_without_vae(), NOT_RANKED);
        let data = run.data(0);
        let samples = data.samples;
        let scored = run.finished(&data, None).out_of_fold_scores()?;
        let scores = scored
            .iter()
            .map(|frame| (frame.score, samples[frame.place].name().to_owned()));
        let options = &run.plan.options;
        Ok((scores.collect::<Vec<_>>(), options.size, options.tiles))
    })?;
    scores.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let count = (share * scores.len() as f64) as usize;
    if count == 0 {
        bail!(
            "--trim {share}: of {} frames that is none; the least is {:.4}",
            scores.len(),
            1.0 / scores.len() as f64
        );
    }
    let mut text = String::new();
    if let Some(excluded) = &job.overrides.exclude {
        let dataset = data::open(
            &job.dataset,
            &FitOverrides {
                exclude: None,
                ..job.overrides.clone()
            },
            None,
            job.reporter,
        )?;
        let names: BTreeSet<String> = data::read_exclude(&dataset, excluded)?
            .into_iter()
            .collect();
        names.iter().for_each(|name| {
            text.push_str(name);
            text.push('\n');
        });
    }
    text.push_str(TRIMMED);
    text.push('\n');
    for (_, name) in &scores[..count] {
        text.push_str(name);
        text.push('\n');
    }
    create_folder(&folder)
        .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    replace_file(&list, text.as_bytes())?;
    job.reporter.line(format_args!(
        "--trim: {count} of {} frames are left out, those that look least normal: {}",
        scores.len(),
        list.display()
    ));
    Ok(FitOverrides {
        size: Some(size),
        tiles: Some(tiles),
        ..with_list(&job.overrides)
    })
}

/// How many frames of the list `exclude` were left out as the least normal: none where it is not
/// the list of the run in `folder`.
///
/// # Errors
/// A list that can't be read.
pub(super) fn trimmed(exclude: Option<&Path>, folder: &Path) -> Result<u32> {
    let list = folder.join(LIST);
    if exclude != Some(&list) {
        return Ok(0);
    }
    let text =
        fs::read_to_string(&list).with_context(|| format!("{}: cannot read", list.display()))?;
    let lines = text.lines().skip_while(|line| *line != TRIMMED).skip(1);
    Ok(u32::try_from(lines.count())?)
}
