//! Times that are kept for the next start.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::EngineTrial;
use crate::{
    backend::{Device, EngineOptions, Machine},
    bundle::Bundle,
    read_text_bounded, replace_file_unflushed,
    runtime::tensor_rt::EngineStore,
};

/// Folder of the records below the cache folder.
const FOLDER: &str = "choices";

/// Longest record that is read, in bytes: a hundred times one of all engines.
const MAX_RECORD_BYTES: u64 = 1 << 18;

/// Where the times of a question are kept: which of these engines is the fastest for this bundle?
pub(super) struct Record {
    path: Result<PathBuf, String>,
    /// All that the times depend on. What is kept for another is stale.
    key: BTreeMap<String, String>,
}

/// Times of engines that were measured for a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredEngines {
    /// All that the times depend on: bundle, machine, libraries.
    pub key: BTreeMap<String, String>,
    /// The engines.
    pub trial: Vec<EngineTrial>,
}

impl MeasuredEngines {
    /// All that are kept in a cache folder, by model.
    pub fn list(cache: &Path) -> Vec<Self> {
        let kept = files(cache).into_iter();
        kept.filter_map(|path| read(&path)).collect()
    }

    /// Removes those of a model, or all, and returns how many there were.
    ///
    /// # Errors
    /// What the system says.
    pub fn clear(cache: &Path, model_id: Option<&str>) -> io::Result<usize> {
        let mut count = 0;
        for path in files(cache) {
            let kept = read(&path);
            let model = kept.as_ref().and_then(|kept| kept.key.get("model"));
            if model_id.is_none() || model.map(String::as_str) == model_id {
                fs::remove_file(path)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

fn files(cache: &Path) -> Vec<PathBuf> {
    let found = cache
        .join(FOLDER)
        .read_dir()
        .into_iter()
        .flatten()
        .flatten();
    let mut paths: Vec<PathBuf> = found.map(|file| file.path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Option<MeasuredEngines> {
    toml::from_str(&read_text_bounded(path, MAX_RECORD_BYTES).ok()?).ok()
}

impl Record {
    pub(super) fn of(bundle: &Bundle, candidates: &[EngineOptions]) -> Self {
        let (id, digest) = (bundle.model_id(), bundle.digest());
        let mut record = Self::new(id, digest, candidates, Machine::here());
        if let Some(tensor_rt) = candidates.iter().find(|c| c.device == Device::TensorRt)
            && let Ok(store) = EngineStore::of(tensor_rt)
        {
            // One that was built since then may be faster.
            let built = store.list().into_iter();
            let built = built.filter(|built| built.model_id == id);
            let built: Vec<String> = built
                .map(|built| format!("{} {}", built.settings(), built.date))
                .collect();
            record.key.insert("built".to_owned(), built.join("; "));
        }
        record
    }

    pub(super) fn new(
        model_id: &str,
        bundle: String,
        candidates: &[EngineOptions],
        machine: Machine,
    ) -> Self {
        let engines: Vec<String> = candidates.iter().map(engine).collect();
        let threads = candidates.first().map_or(1, |options| options.threads);
        let question = format!("{bundle} {threads} {engines:?}");
        let key = [
            ("model", model_id.to_owned()),
            ("bundle", bundle),
            ("program", env!("CARGO_PKG_VERSION").to_owned()),
            ("cpu", machine.cpu),
            ("board", machine.board),
            ("gpu", machine.gpu),
            ("driver", machine.driver),
            ("threads", threads.to_string()),
            ("engines", engines.join("; ")),
        ];
        let folder = candidates.first().map(EngineOptions::cache_folder);
        let name = format!("{model_id}.{}.toml", &digest(&question)[..8]);
        Self {
            path: match folder {
                Some(Ok(folder)) => Ok(folder.join(FOLDER).join(name)),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("there is no engine".to_owned()),
            },
            key: key.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    /// What was measured for the same question, one trial for each candidate; a file of another
    /// machine, or one that can't be read, is nothing.
    pub(super) fn read(&self) -> Option<Vec<EngineTrial>> {
        let kept = read(self.path.as_ref().ok()?)?;
        let engines = self.key.get("engines")?.split("; ").count();
        (kept.key == self.key && kept.trial.len() == engines).then_some(kept.trial)
    }

    /// Keeps trials.
    pub(super) fn write(&self, trials: &[EngineTrial]) -> Result<(), String> {
        let path = self.path.clone()?;
        let kept = MeasuredEngines {
            key: self.key.clone(),
            trial: trials.to_vec(),
        };
        let text = toml::to_string(&kept).map_err(|error| error.to_string())?;
        replace_file_unflushed(&path, text.as_bytes())
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// What is known of an engine without opening it: its library may be another file next time.
fn engine(options: &EngineOptions) -> String {
    let backend = options.backend.map_or("any", |backend| backend.name());
    let library = options
        .ort_library
        .as_deref()
        .filter(|_| backend != "tract");
    let library = library.map_or(String::new(), |path| format!(" of {}", file(path)));
    format!("{backend} on {}{library}", options.device)
}

/// Path, size and time of a file.
fn file(path: &Path) -> String {
    let Ok(metadata) = path.metadata() else {
        return path.display().to_string();
    };
    let modified = metadata.modified().ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!(
        "{} ({} bytes, {})",
        path.display(),
        metadata.len(),
        since.unwrap_or_default().as_secs()
    )
}

/// Lower-case hexadecimal SHA-256.
fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
