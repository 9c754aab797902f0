//! The folder of a run, beside its bundle.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// `OUT.training`, where checkpoint, metrics, loss curve and ranking of the bundle `OUT` lie.
///
/// # Errors
/// A path without a name.
pub fn run_folder(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        bail!("{}: not a name for a bundle", out.display());
    };
    let mut name = name.to_owned();
    name.push(".training");
    Ok(out.with_file_name(name))
}
