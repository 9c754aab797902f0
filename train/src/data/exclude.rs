//! Frames that a user leaves out by a list.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use anyhow::{Context, Result, bail};
use edge_vae::{dataset::Dataset, read_bounded};

/// Longest list that is read, in bytes: a million paths.
const MOST_BYTES: u64 = 256 << 20;

/// The training frames that the file `list` names, by their names: paths below the data set's
/// folder, one a line. Empty lines and those that begin with `#` say nothing, and neither does a
/// byte-order mark.
///
/// # Errors
/// A file that can't be read, and a line that names no frame.
pub fn read_exclude(dataset: &Dataset, list: &Path) -> Result<HashSet<String>> {
    let name = list.display().to_string();
    let bytes =
        read_bounded(list, MOST_BYTES).with_context(|| format!("--exclude {name}: cannot read"))?;
    let text = String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("--exclude {name}: is no text in UTF-8"))?;
    let known: HashSet<&str> = dataset.train.iter().map(|sample| sample.name()).collect();
    let entries = entries(&text);
    let unknown = entries
        .iter()
        .filter(|(entry, _)| !known.contains(entry.as_str()));
    let mut unknown: Vec<(usize, &String)> = unknown.map(|(entry, line)| (*line, entry)).collect();
    unknown.sort_unstable();
    if let (Some((line, entry)), Some(sample)) = (unknown.first(), dataset.train.first()) {
        let more = match unknown.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more are none"),
        };
        bail!(
            "--exclude {name}:{line}: {entry} is no training frame of {}{more}: give paths below \
             its folder, such as {}",
            dataset.name,
            sample.name()
        );
    }
    Ok(entries.into_keys().collect())
}

/// Leaves out the training frames that the file `list` names: how many.
///
/// # Errors
/// Those of [`read_exclude`], and a list of all frames.
pub(super) fn exclude(dataset: &mut Dataset, list: &Path) -> Result<usize> {
    let excluded = read_exclude(dataset, list)?;
    if excluded.len() == dataset.train.len() {
        bail!(
            "--exclude {}: leaves no frame of {} to train on",
            list.display(),
            dataset.name
        );
    }
    dataset
        .train
        .retain(|sample| !excluded.contains(sample.name()));
    Ok(excluded.len())
}

/// What the lines name, with their numbers from 1.
fn entries(text: &str) -> HashMap<String, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim).zip(1..);
    let named = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let mut entries = HashMap::new();
    for (line, number) in named {
        let entry = match cfg!(windows) {
            true => line.replace('\\', "/"),
            false => line.to_owned(),
        };
        let entry = entry.strip_prefix("./").unwrap_or(&entry).to_owned();
        entries.entry(entry).or_insert(number);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_comments_marks_and_ends_of_every_kind() {
        let text =
            "\u{feff}# looked at on Monday\r\n\r\n./a b.png\r\n  c/d.png  \nc/d.png\n./#e.png";
        let mut found: Vec<(String, usize)> = entries(text).into_iter().collect();
        found.sort();
        let expected = [("#e.png", 6), ("a b.png", 3), ("c/d.png", 4)];
        assert_eq!(
            found,
            expected.map(|(entry, line)| (entry.to_owned(), line))
        );
    }
}
