//! Times of nodes from the profile that ONNX Runtime writes of a session.

use std::time::Duration;

use ::ort::session::Session;
use serde::Deserialize;
use tempfile::TempDir;

use crate::backend::NodeTimes;

/// One entry of the profile; an entry of a node's computing has an operator.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    /// Microseconds.
    #[serde(default)]
    dur: u64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    op_name: String,
}

/// Where a session writes its profile, and who wants to know.
pub(super) struct Profile {
    folder: TempDir,
    times: NodeTimes,
}

impl Profile {
    pub(super) fn new(times: &NodeTimes) -> std::io::Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            times: times.clone(),
        })
    }

    /// What the session's file is called, without the time and the ending that it adds.
    pub(super) fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("profile")
    }

    /// Ends the session's profile and notes its times. A profile that can't be read has none.
    pub(super) fn finish(&self, session: &mut Session, graph: &str) {
        let Ok(file) = session.end_profiling() else {
            return;
        };
        let Ok(bytes) = std::fs::read(file) else {
            return;
        };
        self.read(&bytes, graph);
    }

    fn read(&self, profile: &[u8], graph: &str) {
        let events: Vec<Event> = serde_json::from_slice(profile).unwrap_or_default();
        for event in events {
            let Some(node) = event.name.strip_suffix("_kernel_time") else {
                continue;
            };
            if event.cat == "Node" {
                let time = Duration::from_micros(event.dur);
                self.times.note(graph, node, &event.args.op_name, time);
            }
        }
    }
}
