//! The usual places of ONNX Runtime's shared library, on any machine that can be asked for names.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The oldest ONNX Runtime that works: 1 and this.
pub(crate) const OLDEST_MINOR: u32 = 23;

#[cfg(feature = "ort")]
const _: () = assert!(OLDEST_MINOR == ::ort::MINOR_VERSION);

/// The variable that names the library, as other programs on ONNX Runtime use it.
pub(crate) const VARIABLE: &str = "ORT_DYLIB_PATH";

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

/// The names in a folder; none where it can't be read.
pub(crate) type Names<'a> = &'a dyn Fn(&Path) -> Vec<String>;

/// Folders in which the library is looked for, in this order: beside the program, the program's own
/// Python environment, an active one, distributions and JetPack, Python packages.
pub(crate) fn usual_folders(
    program: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    names: Names,
) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(folder) = program.and_then(Path::parent) {
        folders.push(folder.to_owned());
        folders.push(folder.join("lib"));
        // The environment that `pip install` put the program into, active or not.
        if let Some(prefix) = folder.parent() {
            folders.extend(python_packages(&prefix.join("lib"), "site-packages", names));
        }
    }
    for environment in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(folder) = variable(environment).filter(|folder| !folder.is_empty()) {
            let lib = PathBuf::from(folder).join("lib");
            folders.extend(python_packages(&lib, "site-packages", names));
            // Where Conda puts the library without Python.
            folders.push(lib);
        }
    }
    folders.extend(FOLDERS.iter().map(PathBuf::from));
    if let Some(home) = variable("HOME") {
        // `pip install --user`, the usual way on a Jetson.
        let lib = PathBuf::from(home).join(".local/lib");
        folders.extend(python_packages(&lib, "site-packages", names));
    }
    for (lib, packages) in PYTHONS {
        folders.extend(python_packages(Path::new(lib), packages, names));
    }
    folders
}

/// `<lib>/python3*/<packages>/onnxruntime/capi`, the newest Python first.
pub(crate) fn python_packages(lib: &Path, packages: &str, names: Names) -> Vec<PathBuf> {
    let mut pythons: Vec<(u32, String)> = names(lib)
        .into_iter()
        .filter_map(|name| {
            let minor = name.strip_prefix("python3")?.trim_start_matches('.');
            let minor = if minor.is_empty() {
                0
            } else {
                minor.parse().ok()?
            };
            Some((minor, name))
        })
        .collect();
    pythons.sort_by(|a, b| b.cmp(a));
    pythons
        .into_iter()
        .map(|(_, name)| lib.join(name).join(packages).join("onnxruntime/capi"))
        .collect()
}

/// Of the names in a folder `libonnxruntime.so`, else the newest `libonnxruntime.so.1*`.
pub(crate) fn library_among(names: impl IntoIterator<Item = String>) -> Option<String> {
    let rank = |name: &str| {
        if name == "libonnxruntime.so" {
            return Some(Vec::from([u32::MAX]));
        }
        version(name).filter(|version| version.first() == Some(&1))
    };
    let ranked = names
        .into_iter()
        .filter_map(|name| Some((rank(&name)?, name)));
    ranked.max().map(|(_, name)| name)
}

/// The numbers at the end of `libonnxruntime.so.1.31.1`.
pub(crate) fn version(file_name: &str) -> Option<Vec<u32>> {
    let numbers = file_name.strip_prefix("libonnxruntime.so.")?;
    numbers
        .split('.')
        .map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_name_comes_first_then_the_newest() {
        let among = |names: &[&str]| library_among(names.iter().map(|&name| name.to_owned()));
        assert_eq!(among(&["libonnxruntime.so.2", "libonnxruntime.so.x"]), None);
        let names = [
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.31.1",
            "libm.so",
        ];
        assert_eq!(among(&names).as_deref(), Some("libonnxruntime.so.1.31.1"));
        let plain = among(&["libonnxruntime.so.1.31.1", "libonnxruntime.so"]);
        assert_eq!(plain.as_deref(), Some("libonnxruntime.so"));
    }

    #[test]
    fn the_environment_of_the_program_comes_before_the_active_one() {
        let names = |folder: &Path| match folder.ends_with("lib") {
            true => vec!["python3.12".to_owned()],
            false => Vec::new(),
        };
        let variable = |name: &str| (name == "VIRTUAL_ENV").then(|| OsString::from("/active"));
        let program = Path::new("/own/bin/edge-vae");
        let found = usual_folders(Some(program), &variable, &names);
        let place = |environment: &str| {
            let capi = "lib/python3.12/site-packages/onnxruntime/capi";
            let wanted = Path::new(environment).join(capi);
            found.iter().position(|folder| *folder == wanted).unwrap()
        };
        assert!(place("/own") < place("/active"));
    }

    #[test]
    fn python_packages_are_found_newest_first() {
        let names = |_: &Path| {
            ["python3.9", "python3.12", "python2.7", "python3"]
                .map(str::to_owned)
                .to_vec()
        };
        let found = python_packages(Path::new("/lib"), "site-packages", &names);
        let expected = ["python3.12", "python3.9", "python3"].map(|p| {
            Path::new("/lib")
                .join(p)
                .join("site-packages/onnxruntime/capi")
        });
        assert_eq!(found, expected);
    }
}
