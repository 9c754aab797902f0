//! Which frames belong together, by their paths.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, bail, ensure};
use regex::Regex;

use super::text_of;

/// What makes two frames one group.
#[derive(Debug)]
pub(super) enum Grouping {
    /// They lie in one folder.
    Parent,
    /// The expression captures the same text in their paths.
    Captured(Regex),
}

impl Grouping {
    /// `parent`, or a regular expression with one capture.
    pub(super) fn parse(pattern: &str) -> anyhow::Result<Self> {
        if pattern == "parent" {
            return Ok(Self::Parent);
        }
        let expression = Regex::new(pattern).with_context(|| format!("--group-by {pattern:?}"))?;
        // The whole match is a capture too.
        let captures = expression.captures_len() - 1;
        ensure!(
            captures == 1,
            "--group-by {pattern:?}: has {captures} captures (...), needs exactly one, for what frames of a group have in common: `parent`, or as in 'part-([0-9]+)_' (write (?:...) for parts that are not captured)"
        );
        Ok(Self::Captured(expression))
    }

    /// The number of the group of each path, from 0 in the order of appearance.
    pub(super) fn groups(&self, paths: &[&Path]) -> anyhow::Result<Vec<usize>> {
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

    fn key(&self, path: &Path) -> anyhow::Result<String> {
        let expression = match self {
            Self::Parent => {
                // `a/1.png` and `./a/2.png` lie in one folder.
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                return Ok(absolute.parent().map(text_of).unwrap_or_default());
            }
            Self::Captured(expression) => expression,
        };
        let text = text_of(path);
        match expression.captures(&text).and_then(|found| found.get(1)) {
            Some(captured) => Ok(captured.as_str().to_owned()),
            None => bail!(
                "{text}: --group-by {:?} finds no group in this path",
                expression.as_str()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, paths: &[&str]) -> anyhow::Result<Vec<usize>> {
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
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
        let error = groups("part-([0-9]+)", &["part-1.png", "other.png"]).unwrap_err();
        assert!(error.to_string().starts_with("other.png: "), "{error}");
        // An optional capture that took no part.
        assert!(groups("x(a)?", &["x.png"]).is_err());
    }
}
