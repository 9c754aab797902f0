//! The folder of what is kept between runs.

use std::{env, path::PathBuf};

use super::{BackendError, EngineOptions};

/// The variable that names the folder, for instance where a service has no home.
const VARIABLE: &str = "EDGE_VAE_CACHE";

impl EngineOptions {
    /// [`EngineOptions::cache`], else the user's; it may not exist yet.
    ///
    /// # Errors
    /// [`BackendError::Cache`] where no variable tells it.
    pub fn cache_folder(&self) -> Result<PathBuf, BackendError> {
        self.cache
            .clone()
            .or_else(|| from_variables(|name| env::var_os(name).map(PathBuf::from)))
            .ok_or_else(|| BackendError::Cache {
                path: "~/.cache/edge-vae".into(),
                message: format!(
                    "none of {VARIABLE}, XDG_CACHE_HOME and HOME names a folder; set {VARIABLE}"
                ),
            })
    }
}

fn from_variables(value: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // What is relative would be another folder wherever the program is started.
    let absolute = |name| value(name).filter(|path| path.is_absolute());
    absolute(VARIABLE)
        .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("edge-vae")))
        .or_else(|| Some(absolute("HOME")?.join(".cache/edge-vae")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_variable_with_an_absolute_path_names_the_folder() {
        let found = |set: &[(&str, &str)]| {
            from_variables(|name| {
                let value = set.iter().find(|(known, _)| *known == name)?.1;
                Some(PathBuf::from(value))
            })
        };
        let home = ("HOME", "/h");
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[home]), Some("/h/.cache/edge-vae".into()));
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(found(&[home, xdg]), Some("/x/edge-vae".into()));
        assert_eq!(found(&[home, xdg, (VARIABLE, "/own")]), Some("/own".into()));
        let relative = [home, (VARIABLE, ""), ("XDG_CACHE_HOME", "x")];
        assert_eq!(found(&relative), Some("/h/.cache/edge-vae".into()));
    }

    #[test]
    fn a_folder_that_is_named_is_the_one() {
        let named = EngineOptions {
            cache: Some("/somewhere".into()),
            ..EngineOptions::default()
        };
        assert_eq!(named.cache_folder().unwrap(), PathBuf::from("/somewhere"));
    }
}
