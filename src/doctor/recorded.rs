//! A machine as a file tells it, for tests.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Deserialize;

use super::{Machine, WriteSpeed};
use crate::stream::{sink::ListenAddress, source::SourceSettings};

/// The content of a file of `testdata/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RecordedMachine {
    pub(super) architecture: String,
    /// Files with what is in them; devices and libraries are empty.
    pub(super) files: BTreeMap<String, String>,
    /// Standard output of commands, by the whole command.
    #[serde(default)]
    pub(super) commands: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, String>,
    /// What this user may not use.
    #[serde(default)]
    pub(super) denied: Vec<String>,
    /// Formats of cameras; video nodes that are not named are no cameras.
    #[serde(default)]
    pub(super) cameras: BTreeMap<String, Vec<String>>,
    pub(super) free_bytes: u64,
    pub(super) bytes_per_second: f64,
    pub(super) flush_ms: u64,
    /// `host:port` of peers that answer, and sockets.
    #[serde(default)]
    pub(super) answering: Vec<String>,
    /// Ports of this machine that are taken.
    #[serde(default)]
    pub(super) taken: Vec<String>,
}

macro_rules! recorded {
    ($($name:ident = $file:literal,)+) => {
        impl RecordedMachine {
            $(pub(super) fn $name() -> Self {
                toml::from_str(include_str!(concat!("testdata/", $file))).expect($file)
            })+
        }
    };
}

recorded! {
    orin = "orin.toml",
    orin_nano = "orin-nano.toml",
    pi5 = "pi5.toml",
    x86 = "x86.toml",
    x86_gpu = "x86-gpu.toml",
}

impl RecordedMachine {
    /// All of them, by name.
    pub(super) fn all() -> [(&'static str, Self); 5] {
        [
            ("orin", Self::orin()),
            ("orin-nano", Self::orin_nano()),
            ("pi5", Self::pi5()),
            ("x86", Self::x86()),
            ("x86-gpu", Self::x86_gpu()),
        ]
    }

    /// The same with another file.
    pub(super) fn with(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// The same without a file, or without all files of a folder.
    pub(super) fn without(mut self, path: &str) -> Self {
        self.files
            .retain(|name, _| !Path::new(name).starts_with(path));
        self
    }
}

impl Machine for RecordedMachine {
    fn architecture(&self) -> &str {
        &self.architecture
    }

    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        Some(self.files.get(path)?.clone().into_bytes())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let start = format!("{}/", folder.trim_end_matches('/'));
        let mut names: Vec<String> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&start)?.split('/').next())
            .map(str::to_owned)
            .collect();
        names.dedup();
        names
    }

    fn exists(&self, path: &Path) -> bool {
        self.files
            .keys()
            .any(|known| Path::new(known).starts_with(path))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let command = [&[program], arguments].concat().join(" ");
        self.commands.get(&command).cloned()
    }

    fn may_use(&self, path: &Path) -> bool {
        self.exists(path) && !self.denied.iter().any(|denied| Path::new(denied) == path)
    }

    fn camera_formats(&self, path: &Path) -> Result<Vec<String>, String> {
        let shown = path.display().to_string();
        let formats = self.cameras.get(&shown).filter(|_| self.exists(path));
        formats
            .cloned()
            .ok_or_else(|| format!("{shown}: it gives no pictures here"))
    }

    fn check_camera(&self, path: &Path, settings: &SourceSettings) -> Result<(), String> {
        let formats = self.camera_formats(path)?;
        match settings.width {
            Some(width)
                if !formats
                    .iter()
                    .any(|has| has.contains(&format!(" {width}×"))) =>
            {
                Err(format!("{}: it has not this size", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        Some(self.free_bytes)
    }

    fn write_speed(&self, folder: &Path) -> Result<WriteSpeed, String> {
        if self.denied.iter().any(|denied| folder.starts_with(denied)) {
            return Err("Permission denied".to_owned());
        }
        Ok(WriteSpeed {
            bytes_per_second: self.bytes_per_second,
            flush: Duration::from_millis(self.flush_ms),
        })
    }

    fn connect(&self, host: &str, port: u16) -> Result<(), String> {
        let peer = format!("{host}:{port}");
        let answers = self.answering.contains(&peer);
        answers.then_some(()).ok_or("Connection refused".to_owned())
    }

    fn listen(&self, address: &ListenAddress) -> Result<(), String> {
        let taken = self.taken.contains(&address.to_string());
        (!taken)
            .then_some(())
            .ok_or("Address already in use".to_owned())
    }

    fn answers(&self, socket: &Path) -> bool {
        self.answering.contains(&socket.display().to_string())
    }
}
