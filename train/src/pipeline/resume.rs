//! The folder of a run, and the checkpoint in it that a resumed run continues from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_vae::bundle::MANIFEST;

use super::Job;
use crate::vae::{Checkpoint, FILE};

/// The class that the run beside `out` takes for normal; none where there is no run.
///
/// # Errors
/// Its checkpoint is not usable.
pub fn resumed_class(out: &Path) -> Result<Option<u8>> {
    let folder = run_folder(out)?;
    if !folder.join(FILE).exists() {
        return Ok(None);
    }
    Ok(Checkpoint::load(&folder)?.state.options.class)
}

/// `OUT.training`, where checkpoint, metrics and loss curve of the bundle `OUT` lie.
pub(super) fn run_folder(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        bail!("{}: not a name for a bundle", out.display());
    };
    let mut name = name.to_owned();
    name.push(".training");
    Ok(out.with_file_name(name))
}

/// Makes two settings one: the wanted where it was given, else the kept.
fn settle<T: Copy>(given: bool, wanted: &mut T, kept: &mut T) {
    match given {
        true => *kept = *wanted,
        false => *wanted = *kept,
    }
}

/// The checkpoint to continue from. One that would be overwritten unfinished is an error.
pub(super) fn find_checkpoint(folder: &Path, job: &Job) -> Result<Option<Checkpoint>> {
    let exists = folder.join(FILE).exists();
    match (job.resume, exists) {
        (false, false) => Ok(None),
        (true, false) => bail!(
            "{}: no checkpoint to resume: leave --resume away to start",
            folder.display()
        ),
        (resume, true) => {
            let found = Checkpoint::load(folder);
            if resume {
                let mut found = found?;
                // Training may end otherwise, and something else may judge: anything more would be
                // another run.
                let mut wanted = job.options.clone();
                let kept = &mut found.state.options;
                // Without a size one was chosen.
                wanted.size = wanted.size.or(kept.size);
                settle(job.budget_given, &mut wanted.budget, &mut kept.budget);
                settle(job.score_given, &mut wanted.score, &mut kept.score);
                let given = job.calibration_given;
                settle(given, &mut wanted.calibration, &mut kept.calibration);
                if !job.untouched && wanted != found.state.options {
                    bail!(
                        "{}: the checkpoint was made with other flags: resume with the same or \
                         with none, only budget, score and calibration may change (found {:?})",
                        folder.display(),
                        found.state.options
                    );
                }
                return Ok(Some(found));
            }
            let found = found.context("remove its folder to start anew")?;
            if !found.state.finished {
                bail!(
                    "{}: holds an unfinished run at step {} of {}: give --resume to continue it, \
                     or remove the folder to start anew",
                    folder.display(),
                    found.state.step,
                    found.state.total
                );
            }
            if !job.out.join(MANIFEST).exists() {
                bail!(
                    "{}: holds a finished run whose bundle was never written: give --resume to \
                     export it, or remove the folder to start anew",
                    folder.display()
                );
            }
            Ok(None)
        }
    }
}
