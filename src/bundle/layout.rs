//! The text of a manifest: a section for each part of the bundle, a line for each setting, so that
//! it fits on a screen.

use std::fmt::Write;

use serde::Serialize;
use toml::{Table, Value};

/// The parts, in the order of a frame's way through them.
const PARTS: [&str; 12] = [
    "schema_version",
    "model_id",
    "synthetic-defects",
    "graphs",
    "preprocess",
    "vae",
    "feature-extractor",
    "scoring",
    "golden",
    "card",
    "adaptation",
    "files",
];

/// Longest table that is written on one line, in characters.
const LONGEST_LINE: usize = 110;

/// The manifest as TOML.
pub(super) fn to_toml(manifest: &impl Serialize) -> Result<String, toml::ser::Error> {
    // Read back, since an f32 is written with fewer digits than the f64 of the same value.
    let text = toml::to_string(manifest)?;
    // A seed beyond an i64 is no TOML value to this parser, but to the one that reads manifests.
    let Ok(parts) = toml::from_str::<Table>(&text) else {
        return Ok(text);
    };
    let mut out = String::new();
    for (name, part) in PARTS
        .iter()
        .filter_map(|name| Some((name, parts.get(*name)?)))
    {
        match part {
            Value::Table(table) => section(&mut out, name, table),
            part => setting(&mut out, name, part),
        }
    }
    Ok(out)
}

fn section(out: &mut String, name: &str, table: &Table) {
    let is_long = |value: &Value| value.is_table() && value.to_string().len() > LONGEST_LINE;
    let (long, short): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| is_long(value));
    // Writing into a text does not fail.
    let _ = writeln!(out, "\n[{name}]");
    for (key, value) in short {
        setting(out, key, value);
    }
    for (key, value) in long {
        let inner = value.as_table();
        section(
            out,
            &format!("{name}.{}", quoted(key)),
            inner.unwrap_or(&Table::new()),
        );
    }
}

fn setting(out: &mut String, key: &str, value: &Value) {
    let key = quoted(key);
    let _ = match value {
        Value::Array(rows) if rows.iter().any(Value::is_table) => {
            let rows: String = rows.iter().map(|row| format!("    {row},\n")).collect();
            writeln!(out, "{key} = [\n{rows}]")
        }
        value => writeln!(out, "{key} = {value}"),
    };
}

fn quoted(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if key.chars().all(is_plain) && !key.is_empty() {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}
