//! Where ONNX Runtime's shared library is looked for.

use std::env;
use std::path::{Path, PathBuf};

use super::{
    BackendError,
    library_folders::{self, VARIABLE, library_among, version},
};

/// ONNX Runtime's library, if there is one: `ORT_DYLIB_PATH`, beside the executable, its own Python
/// environment and an active one, the usual folders of distributions and of JetPack, Python
/// packages. It is not opened, so it may be too old.
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
    let program = env::current_exe().ok();
    library_folders::usual_folders(program.as_deref(), &|name| env::var_os(name), &names)
}

/// The library in `folder`, if there is one.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let files = names(folder);
    let files = files.into_iter().filter(|name| folder.join(name).is_file());
    library_among(files).map(|name| folder.join(name))
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

fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
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
    fn a_folder_of_the_name_is_no_library() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("libonnxruntime.so")).unwrap();
        assert_eq!(library_in(folder.path()), None);
        let library = folder.path().join("libonnxruntime.so.1.31.1");
        touch(&library);
        assert_eq!(library_in(folder.path()), Some(library));
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
