//! Shared libraries by their file names.

use std::path::Path;

use super::Machine;

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SharedLibrary {
    /// Numbers of its name; empty of a bare `libx.so`.
    pub(super) version: Vec<u32>,
    pub(super) path: String,
}

impl SharedLibrary {
    /// `9.3.0`, or `of unknown version`.
    pub(super) fn shown(&self) -> String {
        if self.version.is_empty() {
            return "of unknown version".to_owned();
        }
        numbers(&self.version)
    }
}

/// Where NVIDIA's libraries lie: those of the system, of CUDA, of `LD_LIBRARY_PATH`, and below the
/// folders of Python packages.
pub(super) fn nvidia_folders(
    machine: &dyn Machine,
    packages: impl Iterator<Item = String>,
) -> Vec<String> {
    let architecture = machine.architecture();
    let listed = machine.variable("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders: Vec<String> = listed
        .split(':')
        .filter(|folder| !folder.is_empty())
        .map(str::to_owned)
        .collect();
    folders.extend([
        format!("/usr/lib/{architecture}-linux-gnu"),
        format!("/usr/lib/{architecture}-linux-gnu/nvidia"),
        format!("/usr/lib/{architecture}-linux-gnu/tegra"),
        "/usr/lib64".to_owned(),
        "/usr/local/cuda/lib64".to_owned(),
        format!("/usr/local/cuda/targets/{architecture}-linux/lib"),
    ]);
    for packages in packages {
        for name in ["cuda_runtime", "cudnn", "cublas", "cu13"] {
            folders.push(format!("{packages}/nvidia/{name}/lib"));
        }
        folders.push(format!("{packages}/tensorrt_libs"));
    }
    folders
}

/// The newest of a library, by the numbers behind `stem`, such as `libcudnn.so`.
pub(super) fn newest(
    machine: &dyn Machine,
    folders: &[String],
    stem: &str,
) -> Option<SharedLibrary> {
    let found = folders.iter().flat_map(|folder| {
        machine.names(folder).into_iter().filter_map(move |name| {
            Some(SharedLibrary {
                version: version(name.strip_prefix(stem)?)?,
                path: Path::new(folder).join(name).display().to_string(),
            })
        })
    });
    // Of equal versions the one that comes first.
    found.reduce(|best, other| {
        if other.version > best.version {
            other
        } else {
            best
        }
    })
}

/// The numbers of `.9.3.0`; none of nothing.
pub(super) fn version(rest: &str) -> Option<Vec<u32>> {
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let numbers = rest.strip_prefix('.')?.split('.');
    numbers.map(|number| number.parse().ok()).collect()
}

/// `9.3.0`
pub(super) fn numbers(version: &[u32]) -> String {
    let numbers: Vec<String> = version.iter().map(u32::to_string).collect();
    numbers.join(".")
}
