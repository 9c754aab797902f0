//! Where ONNX Runtime's shared library is looked for.

use std::env;
use std::path::{Path, PathBuf};

use super::BackendError;

/// The variable that names the library, as other programs on ONNX Runtime use it.
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Folders of distributions, of JetPack and of `pip install` for all users.
const FOLDERS: &[&str] = &[
    "/usr/lib",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/opt/onnxruntime/lib",
];

/// Folders that hold `python3*/<packages>/onnxruntime/capi`, and their name for `<packages>`.
const PYTHONS: &[(&str, &str)] = &[
    ("/usr/lib", "dist-packages"),
    ("/usr/lib", "site-packages"),
    ("/usr/local/lib", "dist-packages"),
    ("/usr/local/lib", "site-packages"),
];

/// ONNX Runtime's library, if there is one: `ORT_DYLIB_PATH`, beside the executable, an active
/// Python environment, the usual folders of distributions and of JetPack, Python packages. It is
/// not opened, so it may be too old.
pub fn find_ort_library() -> Option<PathBuf> {
    locate(None).ok()
}

/// Whether `ORT_DYLIB_PATH` names a library.
pub(super) fn is_named_by_variable() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
}

/// The library that `explicit`, else `ORT_DYLIB_PATH` names, else the first in the usual places.
///
/// # Errors
/// [`BackendError::LibraryMissing`], also when a named file does not exist: it is then not looked
/// for elsewhere.
pub(super) fn locate(explicit: Option<&Path>) -> Result<PathBuf, BackendError> {
    let named = match explicit {
        Some(path) => Some((path.to_owned(), "")),
        None => env::var_os(VARIABLE)
            .filter(|value| !value.is_empty())
            .map(|value| (PathBuf::from(value), " (from ORT_DYLIB_PATH)")),
    };
    if let Some((path, source)) = named {
        let looked = || BackendError::LibraryMissing {
            looked: format!("there is no file {}{source}", path.display()),
        };
        // The real path, because ONNX Runtime looks for its providers beside its own file.
        let real = path.canonicalize().map_err(|_| looked())?;
        let file = if real.is_dir() {
            library_in(&real)
        } else {
            Some(real)
        };
        return file.ok_or_else(looked);
    }
    usual_folders()
        .iter()
        .find_map(|folder| library_in(folder))
        .and_then(|path| path.canonicalize().ok())
        .ok_or_else(|| BackendError::LibraryMissing {
            looked: "no libonnxruntime.so beside the program, in /usr/lib, /usr/local/lib, \
                     /opt/onnxruntime/lib or in a Python package"
                .into(),
        })
}

fn usual_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(folder) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        folders.push(folder.to_owned());
        folders.push(folder.join("lib"));
    }
    for environment in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(folder) = env::var_os(environment).filter(|folder| !folder.is_empty()) {
            let lib = PathBuf::from(folder).join("lib");
            folders.extend(python_packages(&lib, "site-packages"));
            // Where Conda puts the library without Python.
            folders.push(lib);
        }
    }
    folders.extend(FOLDERS.iter().map(PathBuf::from));
    if let Some(home) = env::var_os("HOME") {
        // `pip install --user`, the usual way on a Jetson.
        let lib = PathBuf::from(home).join(".local/lib");
        folders.extend(python_packages(&lib, "site-packages"));
    }
    for (lib, packages) in PYTHONS {
        folders.extend(python_packages(Path::new(lib), packages));
    }
    folders
}

/// `<lib>/python3*/<packages>/onnxruntime/capi`, the newest Python first.
fn python_packages(lib: &Path, packages: &str) -> Vec<PathBuf> {
    let mut pythons: Vec<(u32, PathBuf)> = entries(lib)
        .filter_map(|(name, path)| {
            let minor = name.strip_prefix("python3")?.trim_start_matches('.');
            Some((
                if minor.is_empty() {
                    0
                } else {
                    minor.parse().ok()?
                },
                path,
            ))
        })
        .collect();
    pythons.sort_by(|a, b| b.cmp(a));
    pythons
        .into_iter()
        .map(|(_, path)| path.join(packages).join("onnxruntime/capi"))
        .collect()
}

/// `libonnxruntime.so` in `folder`, else the newest `libonnxruntime.so.1*`.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join("libonnxruntime.so");
    if plain.is_file() {
        return Some(plain);
    }
    entries(folder)
        .filter_map(|(name, path)| Some((version(&name)?, path)))
        .filter(|(version, path)| version.first() == Some(&1) && path.is_file())
        .max()
        .map(|(_, path)| path)
}

/// The numbers at the end of `libonnxruntime.so.1.31.1`.
fn version(file_name: &str) -> Option<Vec<u32>> {
    let numbers = file_name.strip_prefix("libonnxruntime.so.")?;
    numbers
        .split('.')
        .map(|number| number.parse().ok())
        .collect()
}

/// The version of the library at `path`, of which `minor` is known: the file name of wheels and
/// distributions tells the rest.
pub(super) fn version_text(path: &Path, minor: u32) -> String {
    path.file_name()
        .and_then(|name| version(name.to_str()?))
        .filter(|version| version.len() == 3 && version[..2] == [1, minor])
        .map_or_else(
            || format!("1.{minor}"),
            |version| format!("1.{minor}.{}", version[2]),
        )
}

/// Whether the shared library of a provider lies beside ONNX Runtime's.
pub(super) fn has_provider_file(library: &Path, provider: &str) -> bool {
    library
        .with_file_name(format!("libonnxruntime_providers_{provider}.so"))
        .is_file()
}

fn entries(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    folder
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }

    #[test]
    fn the_plain_name_comes_first_then_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(library_in(folder.path()), None);
        for name in [
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.31.1",
            "libonnxruntime.so.2",
            "libonnxruntime.so.x",
        ] {
            touch(&folder.path().join(name));
        }
        assert_eq!(
            library_in(folder.path()),
            Some(folder.path().join("libonnxruntime.so.1.31.1"))
        );
        touch(&folder.path().join("libonnxruntime.so"));
        assert_eq!(
            library_in(folder.path()),
            Some(folder.path().join("libonnxruntime.so"))
        );
    }

    #[test]
    fn python_packages_are_found_newest_first() {
        let lib = tempfile::tempdir().unwrap();
        for python in ["python3.9", "python3.12", "python2.7", "python3"] {
            fs::create_dir(lib.path().join(python)).unwrap();
        }
        let found = python_packages(lib.path(), "site-packages");
        let expected = ["python3.12", "python3.9", "python3"]
            .map(|p| lib.path().join(p).join("site-packages/onnxruntime/capi"));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_named_file_is_not_looked_for_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("libonnxruntime.so");
        let error = locate(Some(&absent)).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "ONNX Runtime not found: there is no file {};",
                absent.display()
            )),
            "{error}"
        );
        for advice in [
            "pip install onnxruntime",
            "--ort-library PATH",
            "ORT_DYLIB_PATH",
        ] {
            assert!(error.contains(advice), "{error}");
        }
        touch(&absent);
        assert_eq!(
            locate(Some(&absent)).unwrap(),
            absent.canonicalize().unwrap()
        );
        assert_eq!(
            locate(Some(folder.path())).unwrap(),
            absent.canonicalize().unwrap()
        );
    }

    #[test]
    fn versions_are_read_from_names() {
        assert_eq!(
            version_text(Path::new("/a/libonnxruntime.so.1.31.1"), 31),
            "1.31.1"
        );
        assert_eq!(
            version_text(Path::new("/a/libonnxruntime.so.1.31.1"), 30),
            "1.30"
        );
        assert_eq!(
            version_text(Path::new("/a/libonnxruntime.so.1"), 23),
            "1.23"
        );
        assert_eq!(version_text(Path::new("/a/libonnxruntime.so"), 23), "1.23");
    }

    #[test]
    fn providers_lie_beside_the_library() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libonnxruntime.so.1.31.1");
        touch(&library);
        assert!(!has_provider_file(&library, "cuda"));
        touch(&folder.path().join("libonnxruntime_providers_cuda.so"));
        assert!(has_provider_file(&library, "cuda"));
    }
}
