//! Where the program keeps what has to outlast it.

use std::{env, path::PathBuf};

/// The first of `$STATE_DIRECTORY` (set by systemd), `$XDG_STATE_HOME/edge-vae` and
/// `~/.local/state/edge-vae`; `None` where none of the variables is set.
pub(crate) fn state_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folders) = set("STATE_DIRECTORY") {
        // systemd lists several with colons.
        env::split_paths(&folders).next()
    } else if let Some(folder) = set("XDG_STATE_HOME") {
        Some(PathBuf::from(folder).join("edge-vae"))
    } else {
        set("HOME").map(|home| PathBuf::from(home).join(".local/state/edge-vae"))
    }
}
