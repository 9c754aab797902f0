//! Which frames belong together, by their paths.

use std::{collections::HashMap, path::Path};

use regex::Regex;

use super::DatasetError;

/// What makes two frames one group: frames of one part, one tray, one shift, which resemble each
/// other more than those of others.
#[derive(Clone, Debug)]
pub struct Grouping(Key);

#[derive(Clone, Debug)]
enum Key {
    /// They lie in one folder.
    Parent,
    /// The expression captures the same text in their paths.
    Captured(Regex),
}

impl Grouping {
    /// `parent` for frames that lie in one folder, or a regular expression with one capture, the
    /// same text of which makes frames a group: `part-([0-9]+)_`.
    ///
    /// # Errors
    /// [`DatasetError::Grouping`] for anything else.
    pub fn parse(pattern: &str) -> Result<Self, DatasetError> {
        if pattern == "parent" {
            return Ok(Self(Key::Parent));
        }
        let refused = |reason: String| DatasetError::Grouping {
            pattern: pattern.to_owned(),
            reason,
        };
        let expression = Regex::new(pattern).map_err(|error| {
            // Above it, the pattern is drawn once more.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            refused(last.trim_start_matches("error: ").to_owned())
        })?;
        // The whole match is a capture too.
        let captures = expression.captures_len() - 1;
        if captures != 1 {
            return Err(refused(format!(
                "has {captures} captures (...), needs exactly one, for what frames of a group \
                 have in common: `parent`, or as in 'part-([0-9]+)_' (write (?:...) \
                 for parts that are not captured)"
            )));
        }
        Ok(Self(Key::Captured(expression)))
    }

    /// The number of the group of each path, from 0 in the order of appearance.
    ///
    /// # Errors
    /// [`DatasetError::NoGroup`] for a path without the text that the expression captures.
    pub fn groups(&self, paths: &[&Path]) -> Result<Vec<usize>, DatasetError> {
        let mut numbers = HashMap::new();
        paths
            .iter()
            .map(|path| {
                let key = self.key(path)?;
                let next = numbers.len();
                Ok(*numbers.entry(key).or_insert(next))
            })
            .collect()
    }

    fn key(&self, path: &Path) -> Result<String, DatasetError> {
        let expression = match &self.0 {
            Key::Parent => {
                // `a/1.png` and `./a/2.png` lie in one folder.
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                return Ok(absolute.parent().map(text_of).unwrap_or_default());
            }
            Key::Captured(expression) => expression,
        };
        let text = text_of(path);
        match expression.captures(&text).and_then(|found| found.get(1)) {
            Some(captured) => Ok(captured.as_str().to_owned()),
            None => Err(DatasetError::NoGroup {
                path: text,
                pattern: expression.as_str().to_owned(),
            }),
        }
    }
}

/// The text of a path, with `/` on every system.
fn text_of(path: &Path) -> String {
    let text = path.to_string_lossy();
    if cfg!(windows) {
        text.replace('\\', "/")
    } else {
        text.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, paths: &[&str]) -> Result<Vec<usize>, DatasetError> {
        let paths: Vec<&Path> = paths.iter().map(Path::new).collect();
        Grouping::parse(pattern)?.groups(&paths)
    }

    #[test]
    fn folders_and_captures_make_groups() {
        assert_eq!(
            groups(
                "parent",
                &["a/1.png", "b/1.png", "./a/2.png", "a/b/1.png", "1.png"]
            )
            .unwrap(),
            [0, 1, 0, 2, 3]
        );
        assert_eq!(
            groups(
                "part-([0-9]+)_",
                &["x/part-7_1.png", "part-8_1.png", "y/part-7_2.png"]
            )
            .unwrap(),
            [0, 1, 0]
        );
        // The first of several folders, whatever is below.
        assert_eq!(
            groups("^([^/]+)/", &["mon/a/1.png", "tue/1.png", "mon/b/1.png"]).unwrap(),
            [0, 1, 0]
        );
    }

    #[test]
    fn patterns_that_cannot_group_are_refused() {
        for (pattern, part) in [
            ("part", "0 captures"),
            ("(a)(b)", "2 captures"),
            ("(", "unclosed group"),
            ("", "0 captures"),
        ] {
            let error = Grouping::parse(pattern).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        let error = groups("part-([0-9]+)", &["part-1.png", "other.png"]).unwrap_err();
        assert!(error.to_string().starts_with("other.png: "), "{error}");
        // An optional capture that took no part.
        assert!(groups("x(a)?", &["x.png"]).is_err());
    }
}
