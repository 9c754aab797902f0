//! The checkpoint in a run's folder that a resumed run continues from.

use std::{fs, io, path::Path};

use anyhow::{Context, Result, bail};
use edge_vae::{
    bundle::{MANIFEST, MAX_MANIFEST_BYTES, Manifest},
    flush_folder, read_text_bounded,
};

use crate::vae::{Checkpoint, FILE};

/// The checkpoint to continue from. One that would be overwritten unfinished is an error.
///
/// # Errors
/// Nothing to resume, a damaged checkpoint, and a run whose work would be lost.
pub(super) fn find_checkpoint(
    folder: &Path,
    resume: bool,
    out: &Path,
) -> Result<Option<Checkpoint>> {
    let exists = folder.join(FILE).exists();
    let name = folder.display();
    match (resume, exists) {
        (false, false) => Ok(None),
        (true, false) => bail!("{name}: no checkpoint to resume: leave --resume away to start"),
        (true, true) => Checkpoint::load(folder).map(Some),
        (false, true) => {
            let found = Checkpoint::load(folder).context("remove its folder to start anew")?;
            let state = &found.state;
            if !state.finished {
                bail!(
                    "{name}: holds an unfinished run at step {} of {}: give --resume to continue \
                     it, or remove the folder to start anew",
                    state.step,
                    state.total
                );
            }
            if !holds_what_was_trained(out) {
                bail!(
                    "{name}: holds a finished run whose bundle was never written: give --resume \
                     to export it, or remove the folder to start anew"
                );
            }
            Ok(None)
        }
    }
}

/// Removes the checkpoint of a finished run that a new one replaces: beside the model that is
/// written before training it would pass for a run whose bundle was never written.
///
/// # Errors
/// A file that can't be removed.
pub(super) fn forget(folder: &Path) -> Result<()> {
    let file = folder.join(FILE);
    let removed = fs::remove_file(&file).and_then(|()| flush_folder(folder));
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot remove", file.display()))
        }
        _ => Ok(()),
    }
}

/// Whether there is a bundle that is more than what is written before training: a VAE is in it. One
/// that can't be read was written by another version.
fn holds_what_was_trained(out: &Path) -> bool {
    let path = out.join(MANIFEST);
    read_text_bounded(&path, MAX_MANIFEST_BYTES).is_ok_and(|text| {
        let manifest = Manifest::parse(&text, &path);
        manifest.map_or(true, |manifest| manifest.vae.is_some())
    })
}
