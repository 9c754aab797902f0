//! Passwords and tokens that do not stand in the configuration.

use std::path::Path;

use crate::read_text_bounded;

/// Longest secret that is read.
const MOST: u64 = 64 * 1024;

/// The content of a file without the line break at its end, or the value of an environment
/// variable; `what` names the secret and its keys.
pub(super) fn read(
    what: &str,
    file: Option<&Path>,
    variable: Option<&str>,
) -> Result<Option<String>, String> {
    let secret = match (file, variable) {
        (Some(_), Some(_)) => {
            return Err(format!(
                "{what}-file and {what}-env are both set; choose one"
            ));
        }
        (Some(path), None) => {
            let shown = path.display();
            read_text_bounded(path, MOST)
                .map_err(|error| format!("{what}-file {shown}: cannot read: {error}"))?
        }
        (None, Some(name)) => std::env::var(name)
            .map_err(|_| format!("{what}-env: the environment has no variable {name}"))?,
        (None, None) => return Ok(None),
    };
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains(['\r', '\n', '\0']) {
        return Err(format!("the {what} must be one line that is not empty"));
    }
    Ok(Some(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_the_one_line_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "open sesame\n").unwrap();
        let found = read("password", Some(&path), None);
        assert_eq!(found, Ok(Some("open sesame".to_owned())));
        for text in ["", "\n", "a\nb\n"] {
            fs::write(&path, text).unwrap();
            assert!(read("password", Some(&path), None).is_err(), "{text:?}");
        }
        let problem = read("token", None, Some("EDGE_VAE_NO_SUCH_VARIABLE")).unwrap_err();
        assert!(problem.contains("token-env"), "{problem}");
        assert!(read("token", Some(&path), Some("X")).is_err());
        assert_eq!(read("token", None, None), Ok(None));
    }
}
