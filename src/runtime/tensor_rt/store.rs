//! Where built engines are found again.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Agreement;
use crate::{
    backend::{
        BackendError, EngineOptions, Precision, TENSOR_RT_FOLDER, TensorRtSettings, graph_folder,
    },
    bundle::Bundle,
    read_text_bounded,
    replace::{flush_all_in, replace_file},
};

/// What is known of an engine that was built for a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BuiltEngine {
    /// Id of the model.
    pub model_id: String,
    /// [`Bundle::digest`].
    pub bundle: String,
    /// The numbers in which it computes.
    pub precision: Precision,
    /// The accelerator that it was built for; absent: the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dla: Option<u32>,
    /// When it was built, RFC 3339 in UTC.
    pub date: String,
    /// How long that took.
    pub seconds: f64,
    /// Nodes of its graphs, by which the time of other builds is estimated.
    pub nodes: usize,
    /// Milliseconds for the graphs of a frame that a verdict needs.
    pub milliseconds: f64,
    /// Board, GPU, driver and versions; it runs where all are the same.
    pub machine: BTreeMap<String, String>,
    /// How its scores compare.
    pub agreement: Agreement,
}

impl BuiltEngine {
    /// What it was built as.
    pub fn settings(&self) -> TensorRtSettings {
        TensorRtSettings {
            precision: self.precision,
            dla: self.dla,
        }
    }
}

/// What there is of an engine.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineState {
    /// Nothing.
    Absent,
    /// It was built for something else: what is another now.
    Stale(String),
    /// It was built, and its scores do not agree: why.
    Refused(String),
    /// It can run.
    Ready(Box<BuiltEngine>),
}

/// The records of built engines, a file each, beside what TensorRT keeps itself.
#[derive(Clone, Debug)]
pub struct EngineStore {
    folder: PathBuf,
}

impl EngineStore {
    /// The store in [`EngineOptions::cache_folder`]; it may not exist yet.
    ///
    /// # Errors
    /// Those of [`EngineOptions::cache_folder`].
    pub fn of(options: &EngineOptions) -> Result<Self, BackendError> {
        Ok(Self::in_folder(&options.cache_folder()?))
    }

    /// The store below a cache folder.
    pub fn in_folder(cache: &Path) -> Self {
        Self {
            folder: cache.join(TENSOR_RT_FOLDER),
        }
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder, and checks that files can be made in it.
    ///
    /// # Errors
    /// [`BackendError::Cache`].
    pub fn check_writable(&self) -> Result<(), BackendError> {
        let made = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            tempfile::tempfile_in(&self.folder)?;
            Ok(())
        };
        made().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> BackendError {
        BackendError::Cache {
            path: self.folder.clone(),
            message: format!("{error}; EDGE_VAE_CACHE names another folder"),
        }
    }

    /// What there is for a bundle on a machine.
    pub fn state(
        &self,
        bundle: &Bundle,
        settings: TensorRtSettings,
        machine: &BTreeMap<String, String>,
    ) -> EngineState {
        let Some(built) = read(&self.path(bundle.model_id(), settings)) else {
            return EngineState::Absent;
        };
        if built.bundle != bundle.digest() {
            return EngineState::Stale("the bundle is another".to_owned());
        }
        if let Some(change) = difference(&built.machine, machine) {
            return EngineState::Stale(change);
        }
        match built.agreement.refused {
            Some(why) => EngineState::Refused(why),
            None => EngineState::Ready(Box::new(built)),
        }
    }

    /// The fastest that can run for a bundle on a machine.
    pub fn fastest(
        &self,
        bundle: &Bundle,
        machine: &BTreeMap<String, String>,
    ) -> Option<BuiltEngine> {
        let built = self.list().into_iter().filter(|built| {
            let state = || self.state(bundle, built.settings(), machine);
            built.model_id == bundle.model_id() && matches!(state(), EngineState::Ready(_))
        });
        built.min_by(|a, b| a.milliseconds.total_cmp(&b.milliseconds))
    }

    /// Whether one was built for a bundle, wherever: it costs a look into a folder.
    pub fn knows(&self, bundle: &Bundle) -> bool {
        let mut built = self.list().into_iter();
        built.any(|built| built.model_id == bundle.model_id() && built.agreement.refused.is_none())
    }

    /// Keeps the record of a bundle's engine: once the engine itself is on the disk, which TensorRT
    /// does not wait for.
    ///
    /// # Errors
    /// [`BackendError::Cache`].
    pub fn keep(&self, bundle: &Bundle, built: &BuiltEngine) -> Result<(), BackendError> {
        for (_, onnx) in bundle.graphs() {
            let folder = graph_folder(&self.folder, onnx);
            if folder.exists() {
                flush_all_in(&folder).map_err(|error| self.failed(&error))?;
            }
        }
        let text = toml::to_string(built).map_err(|error| self.failed(&error))?;
        let path = self.path(&built.model_id, built.settings());
        replace_file(&path, text.as_bytes()).map_err(|error| self.failed(&error))
    }

    /// All records that can be read, by model and precision.
    pub fn list(&self) -> Vec<BuiltEngine> {
        let files = self.folder.read_dir().into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| read(path)).collect()
    }

    /// Removes the records of a model and of all graphs of a bundle that were built; without a
    /// bundle everything. Returns the number of engines.
    ///
    /// # Errors
    /// [`BackendError::Cache`].
    pub fn clear(&self, bundle: Option<&Bundle>) -> Result<usize, BackendError> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(&error)),
            _ => Ok(()),
        };
        let Some(bundle) = bundle else {
            let count = self.list().len();
            gone(fs::remove_dir_all(&self.folder))?;
            return Ok(count);
        };
        let mut count = 0;
        for built in self.list() {
            if built.model_id == bundle.model_id() {
                gone(fs::remove_file(
                    self.path(&built.model_id, built.settings()),
                ))?;
                count += 1;
            }
        }
        for (_, onnx) in bundle.graphs() {
            gone(fs::remove_dir_all(graph_folder(&self.folder, onnx)))?;
        }
        Ok(count)
    }

    fn path(&self, model_id: &str, settings: TensorRtSettings) -> PathBuf {
        let dla = settings
            .dla
            .map_or(String::new(), |core| format!(".dla{core}"));
        let name = format!("{model_id}.{}{dla}.toml", settings.precision);
        self.folder.join(name)
    }
}

/// Longest record that is read, in bytes: a hundred times one of this program.
const MAX_RECORD_BYTES: u64 = 1 << 18;

fn read(path: &Path) -> Option<BuiltEngine> {
    toml::from_str(&read_text_bounded(path, MAX_RECORD_BYTES).ok()?).ok()
}

/// The first thing that is another: `driver 570.86 is now 580.65`.
fn difference(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let names = then.keys().chain(now.keys());
    let value = |of: &BTreeMap<String, String>, name: &str| match of.get(name) {
        Some(value) if !value.is_empty() => value.clone(),
        _ => "none".to_owned(),
    };
    let pairs = names.map(|name| (name, value(then, name), value(now, name)));
    let mut others = pairs.filter(|(_, then, now)| then != now);
    let (name, then, now) = others.next()?;
    Some(format!("{name} {then} is now {now}"))
}
