//! One line of the examination.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

/// How much a finding matters, from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Good to know; nothing is wrong.
    Note,
    /// It runs, and something will go wrong or is slower than it could be.
    Warning,
    /// It can't run here.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What was found of one thing, and what to do where it is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is of: `gpu`, `camera`, …
    pub topic: &'static str,
    /// What was found, on one line.
    pub text: String,
    /// What to do; `None` where nothing has to be done.
    pub remedy: Option<String>,
    /// The same as values, for programs; empty where the text says all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<&'static str, Value>,
}

impl Finding {
    fn new(severity: Severity, topic: &'static str, text: String, remedy: Option<String>) -> Self {
        Self {
            severity,
            topic,
            text: one_line(&text),
            remedy,
            details: BTreeMap::new(),
        }
    }

    /// Something that is as it should be.
    pub fn ok(topic: &'static str, text: impl Into<String>) -> Self {
        Self::new(Severity::Ok, topic, text.into(), None)
    }

    /// Something that is good to know.
    pub fn note(topic: &'static str, text: impl Into<String>) -> Self {
        Self::new(Severity::Note, topic, text.into(), None)
    }

    /// Something that will go wrong, or could be better.
    pub fn warning(
        topic: &'static str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, topic, text.into(), Some(remedy.into()))
    }

    /// Something for which it can't run.
    pub fn error(topic: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, topic, text.into(), Some(remedy.into()))
    }

    /// The same with what could be done, where it need not be.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same with a value for programs.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(key, value.into());
        self
    }
}

/// `warning  camera        text → remedy`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<13} {}", self.severity, self.topic, self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, " → {remedy}"),
            None => Ok(()),
        }
    }
}

/// Names of devices and messages of programs come from outside.
fn one_line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(printable).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_remedy() {
        let finding =
            Finding::warning("camera", "a\u{0}\n  b", "plug it in").with("path", "/dev/a");
        assert_eq!(
            finding.to_string(),
            "warning  camera        a b → plug it in"
        );
        let json = serde_json::to_value(&finding).unwrap();
        assert_eq!(json["severity"], "warning");
        assert_eq!(json["details"]["path"], "/dev/a");
        assert!(Severity::Error > Severity::Warning);
    }
}
