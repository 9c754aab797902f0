//! What a folder gave, over all its openings.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// Pictures whose names are kept once no others wait: a few megabytes.
const KEPT: usize = 1 << 16;

/// What tells one content of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    change: Change,
}

/// When a file last changed in any way, its name included, in seconds and nanoseconds of its file
/// system's clock. Unlike the time of modification nobody sets it back, as copying does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change(i64, i64);

impl Stamp {
    /// `None` for what is no file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        metadata.is_file().then(|| Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            change: Change(metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether it is, as far as can be told, the same content.
    fn is_like(&self, other: &Self) -> bool {
        (self.modified, self.bytes) == (other.modified, other.bytes)
    }
}

/// What was given, shared by the openings of a folder, which follow one another.
#[derive(Clone, Debug, Default)]
pub(in crate::stream::source) struct SeenFiles(Arc<Mutex<SeenIndex>>);

impl SeenFiles {
    pub(super) fn locked(&self) -> MutexGuard<'_, SeenIndex> {
        // A panic leaves at most one picture out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pictures that were given, by name, size and time of modification.
///
/// Of a folder that gets new files for months the latest are remembered one by one, and of all
/// older ones how recent the last of them was.
#[derive(Debug, Default)]
pub(super) struct SeenIndex {
    by_name: HashMap<OsString, Stamp>,
    /// What did not change later, and is not remembered, was given.
    forgotten: Option<Change>,
    begun: bool,
}

impl SeenIndex {
    /// Whether this is the first opening. It is asked once by each.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// Whether exactly this is remembered.
    pub(super) fn hold(&self, file: &OsStr, stamp: &Stamp) -> bool {
        self.by_name
            .get(file)
            .is_some_and(|given| given.is_like(stamp))
    }

    /// Whether it was given, as far as can be told of what only lies there.
    pub(super) fn cover(&self, file: &OsStr, stamp: &Stamp) -> bool {
        self.hold(file, stamp)
            || (!self.by_name.contains_key(file) && self.forgotten >= Some(stamp.change))
    }

    pub(super) fn insert(&mut self, file: OsString, stamp: Stamp) {
        self.by_name.insert(file, stamp);
    }

    /// Forgets the oldest beyond [`KEPT`]. All that the folder holds must have been given, for what
    /// is as old as they are counts as given from now on.
    pub(super) fn forget(&mut self) {
        self.forget_beyond(KEPT);
    }

    fn forget_beyond(&mut self, kept: usize) {
        let Some(excess) = self.by_name.len().checked_sub(kept + 1) else {
            return;
        };
        let mut changes: Vec<Change> = self.by_name.values().map(|stamp| stamp.change).collect();
        let (_, &mut last, _) = changes.select_nth_unstable(excess);
        self.by_name.retain(|_, stamp| stamp.change > last);
        self.by_name.shrink_to(2 * kept);
        self.forgotten = self.forgotten.max(Some(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: i64, bytes: u64) -> Stamp {
        Stamp {
            modified: None,
            bytes,
            change: Change(seconds, 0),
        }
    }

    #[test]
    fn memory_is_bounded_and_forgets_nothing_that_was_given() {
        let mut seen = SeenIndex::default();
        let name = |i: i64| OsString::from(format!("{i}.png"));
        for i in 0..1000 {
            seen.insert(name(i), stamp(i, 7));
            if i % 50 == 49 {
                seen.forget_beyond(100);
                assert!(seen.by_name.len() <= 100, "{i}");
            }
        }
        assert_eq!(seen.by_name.len(), 100);
        assert!(seen.by_name.capacity() < 1000);
        for i in 0..1000 {
            assert!(seen.cover(&name(i), &stamp(i, 7)), "{i}");
            assert_eq!(seen.hold(&name(i), &stamp(i, 7)), i >= 900, "{i}");
        }
        // New ones, and those with new content, whether they are remembered or not.
        assert!(!seen.cover(&name(1000), &stamp(1000, 7)));
        assert!(!seen.cover(&name(950), &stamp(1000, 8)));
        assert!(!seen.cover(&name(20), &stamp(1000, 8)));
    }

    #[test]
    fn a_change_that_leaves_the_content_is_none() {
        let mut seen = SeenIndex::default();
        seen.insert("a.png".into(), stamp(1, 7));
        // As by another owner, or another name and back.
        assert!(seen.cover(OsStr::new("a.png"), &stamp(2, 7)));
    }
}
