//! Names of events that are never given twice.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use crate::stream::record::{EventClass, timestamp};

/// Longest part of an id that is taken from a source's name, in bytes.
const LONGEST_NAME: usize = 48;

/// One run of the program, as event ids begin: when it started, to the second, and six random
/// hexadecimal digits, since a small computer may start with the same time twice.
/// `20260131T120000Z-3f9a1c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// Of a run that starts now.
    pub fn now() -> Self {
        // A new `RandomState` has keys from the system's source of random numbers.
        Self::new(
            SystemTime::now(),
            RandomState::new().build_hasher().finish(),
        )
    }

    /// Of a run that started then; of `entropy` the lowest 24 bits are used.
    pub fn new(started: SystemTime, entropy: u64) -> Self {
        let text = timestamp(started);
        let digits = text.split('.').next().unwrap_or_default();
        let digits: String = digits.chars().filter(|c| !"-:".contains(*c)).collect();
        Self(format!("{digits}Z-{:06x}", entropy & 0xff_ffff))
    }
}

/// Gives the ids of one source's events: run, source, and a counter from 1. They sort by time, and
/// serve as names of files and as parts of MQTT topics.
#[derive(Clone, Debug)]
pub(super) struct EventIds {
    prefix: String,
    given: u64,
}

impl EventIds {
    pub(super) fn new(class: EventClass, run: &RunId, source: &str) -> Self {
        let class = match class {
            EventClass::Defect => "",
            EventClass::Review => "-review",
        };
        Self {
            prefix: format!("{}-{}{class}", run.0, plain(source)),
            given: 0,
        }
    }

    pub(super) fn next(&mut self) -> String {
        self.given += 1;
        format!("{}-{:06}", self.prefix, self.given)
    }
}

/// The name of a source in letters, digits, `.`, `_` and `-`. A name that had to be changed gets
/// eight digits of its SHA-256, so that no two sources share one.
fn plain(source: &str) -> String {
    let name: String = source
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(LONGEST_NAME)
        .collect();
    if name == source && !name.is_empty() {
        return name;
    }
    let digest = Sha256::digest(source.as_bytes());
    let digits: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{name}-{digits}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn ids_are_readable_sortable_and_plain() {
        // 2026-01-31 12:00:00 UTC.
        let started = UNIX_EPOCH + Duration::from_millis(1_769_860_800_250);
        let run = RunId::new(started, 0xab12_3f9a1c);
        let mut ids = EventIds::new(EventClass::Defect, &run, "line-1");
        assert_eq!(ids.next(), "20260131T120000Z-3f9a1c-line-1-000001");
        assert_eq!(ids.next(), "20260131T120000Z-3f9a1c-line-1-000002");
        // sha256sum of the name begins with these digits.
        let mut ids = EventIds::new(EventClass::Review, &run, "rtsp://host/1");
        assert_eq!(
            ids.next(),
            "20260131T120000Z-3f9a1c-rtsp---host-1-96d604d2-review-000001"
        );
        assert_ne!(plain("a/b"), plain("a:b"));
        assert_ne!(plain("a/b"), plain("a-b"));
        assert!(plain(&"x".repeat(500)).len() < 60);
        assert_ne!(plain(&"x".repeat(500)), plain(&"x".repeat(501)));
        assert!(!plain("").is_empty());
        assert_ne!(RunId::now(), RunId::now());
    }
}
