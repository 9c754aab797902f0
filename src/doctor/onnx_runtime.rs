//! Every ONNX Runtime that can be found, and which of them can be used.

use std::path::{Path, PathBuf};

use super::{Finding, Machine, libraries};
use crate::backend::library_folders::{self, OLDEST_MINOR, VARIABLE, library_among};

/// Folders of Python environments: in the present folder, at home and one folder deeper.
const ENVIRONMENTS: [&str; 3] = [".venv", "venv", "env"];
/// Folders at home that hold environments, by name.
const COLLECTIONS: [&str; 6] = [
    ".virtualenvs",
    "miniconda3/envs",
    "miniforge3/envs",
    "anaconda3/envs",
    ".local/pipx/venvs",
    ".local/share/pipx/venvs",
];

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrtLibrary {
    path: String,
    /// Where it is looked for without being named.
    usual: bool,
    /// `1.23.0`, as far as its name or what is in it tells.
    version: Option<String>,
    /// Why it can't be used.
    problem: Option<String>,
    cuda: bool,
    tensor_rt: bool,
}

impl OrtLibrary {
    /// The folder of Python packages that it is part of.
    pub(super) fn python_packages(&self) -> Option<String> {
        let (packages, _) = self.path.rsplit_once("/onnxruntime/capi/")?;
        Some(packages.to_owned())
    }
}

/// All libraries: the named one, those of the usual places in the order in which they are looked
/// for, and those of Python environments that are not active.
pub(super) fn find(machine: &dyn Machine) -> Vec<OrtLibrary> {
    let mut found: Vec<OrtLibrary> = Vec::new();
    let mut add = |path: String, usual: bool| {
        if !found.iter().any(|known| known.path == path) {
            found.push(look_at(machine, path, usual));
        }
    };
    let library_in = |folder: &Path| {
        let name = library_among(machine.names(&folder.display().to_string()))?;
        Some(folder.join(name).display().to_string())
    };
    if let Some(named) = machine.variable(VARIABLE) {
        add(library_in(Path::new(&named)).unwrap_or(named), true);
    }
    let program = std::env::current_exe().ok();
    let variable = |name: &str| machine.variable(name).map(Into::into);
    let names = |folder: &Path| machine.names(&folder.display().to_string());
    for folder in library_folders::usual_folders(program.as_deref(), &variable, &names) {
        if let Some(path) = library_in(&folder) {
            add(path, true);
        }
    }
    for environment in environments(machine) {
        let lib = environment.join("lib");
        for folder in library_folders::python_packages(&lib, "site-packages", &names) {
            if let Some(path) = library_in(&folder) {
                add(path, false);
            }
        }
    }
    found
}

/// Python environments that are not active, as far as they lie where they usually do.
fn environments(machine: &dyn Machine) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let homes = [machine.variable("PWD"), machine.variable("HOME")];
    for home in homes.into_iter().flatten() {
        let home = Path::new(&home);
        found.extend(ENVIRONMENTS.map(|name| home.join(name)));
        for folder in machine.names(&home.display().to_string()) {
            let folder = home.join(folder);
            found.extend(ENVIRONMENTS.map(|name| folder.join(name)));
        }
        for collection in COLLECTIONS {
            let collection = home.join(collection);
            let names = machine.names(&collection.display().to_string());
            found.extend(names.iter().map(|name| collection.join(name)));
        }
    }
    for name in machine.names("/opt") {
        found.push(Path::new("/opt").join(name));
    }
    found
}

fn look_at(machine: &dyn Machine, path: String, usual: bool) -> OrtLibrary {
    let file = Path::new(&path);
    let beside = |name: &str| machine.exists(&file.with_file_name(name));
    let cuda = beside("libonnxruntime_providers_cuda.so");
    let tensor_rt = beside("libonnxruntime_providers_tensorrt.so");
    let named = file
        .file_name()
        .and_then(|name| libraries::version(name.to_str()?.strip_prefix("libonnxruntime.so")?))
        .filter(|version| version.len() == 3)
        .map(|version| libraries::numbers(&version));
    let bytes = machine.bytes(&path);
    let version = named.or_else(|| version_inside(bytes.as_deref()?));
    let minor = version
        .as_deref()
        .and_then(|version| version.split('.').nth(1)?.parse::<u32>().ok());
    let of_architecture = bytes.as_deref().and_then(architecture);
    let problem = if bytes.is_none() {
        Some("it can't be read".to_owned())
    } else if of_architecture.is_some_and(|found| found != machine.architecture()) {
        let found = of_architecture.unwrap_or_default();
        Some(format!("it is for {found}"))
    } else if minor.is_some_and(|minor| minor < OLDEST_MINOR) {
        Some(format!("1.{OLDEST_MINOR} or newer is needed"))
    } else {
        None
    };
    OrtLibrary {
        path,
        usual,
        version,
        problem,
        cuda,
        tensor_rt,
    }
}

/// The version by which its symbols are called, `VERS_1.23.0`: a library is not run to be looked
/// at.
fn version_inside(bytes: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"VERS_1.";
    let at = bytes.windows(MARK.len()).position(|piece| piece == MARK)?;
    let rest = &bytes[at + b"VERS_".len()..];
    let end = rest
        .iter()
        .position(|byte| !byte.is_ascii_digit() && *byte != b'.')
        .unwrap_or(rest.len());
    String::from_utf8(rest[..end].to_vec()).ok()
}

/// The processor that an ELF file is for, as Rust calls it; `None` of other files and processors.
fn architecture(bytes: &[u8]) -> Option<&'static str> {
    // e_machine of the ELF header, in the order of bytes of both processors.
    match (bytes.get(..4)?, bytes.get(18..20)?) {
        (b"\x7fELF", [62, 0]) => Some("x86_64"),
        (b"\x7fELF", [183, 0]) => Some("aarch64"),
        _ => None,
    }
}

pub(super) fn examine(machine: &dyn Machine, gpu: bool, found: &[OrtLibrary]) -> Vec<Finding> {
    if found.is_empty() {
        let text = "none found; the built-in engine (tract) needs none";
        let none = Finding::note("onnxruntime", text);
        return vec![if gpu {
            none.with_remedy(how_to_install(machine, "to use the GPU: "))
        } else {
            none.with_remedy("`pip install onnxruntime` is often faster on a processor")
        }];
    }
    let mut findings = Vec::new();
    for library in found {
        let version = library.version.as_deref().unwrap_or("of unknown version");
        let providers = match (library.cuda, library.tensor_rt) {
            (true, true) => "CPU, CUDA, TensorRT",
            (true, false) => "CPU, CUDA",
            _ => "CPU",
        };
        let text = format!("{} {version} for {providers}", library.path);
        let finding = match &library.problem {
            Some(problem) => Finding::warning(
                "onnxruntime",
                format!("{text}: {problem}"),
                "`pip install --upgrade onnxruntime` there, or name another by \
                 `--ort-library PATH`",
            ),
            None if !library.usual => {
                let text = format!("{text}, in an environment that is not active");
                Finding::note("onnxruntime", text)
                    .with_remedy(format!("to use it: `--ort-library {}`", library.path))
            }
            None => Finding::ok("onnxruntime", text),
        };
        findings.push(
            finding
                .with("path", library.path.clone())
                .with("version", library.version.clone())
                .with("usable", library.problem.is_none())
                .with("usual", library.usual)
                .with("cuda", library.cuda)
                .with("tensorrt", library.tensor_rt),
        );
    }
    let usable = |library: &&OrtLibrary| library.problem.is_none();
    if gpu && !found.iter().filter(usable).any(|library| library.cuda) {
        findings.push(Finding::warning(
            "onnxruntime",
            "none that can be used has the CUDA provider, so the GPU idles",
            how_to_install(machine, ""),
        ));
    }
    findings
}

fn how_to_install(machine: &dyn Machine, purpose: &str) -> String {
    let how = if super::board::is_jetson(machine) {
        "install onnxruntime-gpu for your JetPack, see docs/guide/install.md"
    } else {
        "`pip install 'onnxruntime-gpu[cuda,cudnn]'`"
    };
    format!("{purpose}{how}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_say_what_they_are_without_being_run() {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend([0; 14]);
        bytes.extend([183, 0]);
        assert_eq!(architecture(&bytes), Some("aarch64"));
        bytes[18] = 62;
        assert_eq!(architecture(&bytes), Some("x86_64"));
        assert_eq!(architecture(b"text"), None);
        assert_eq!(architecture(b""), None);
        bytes.extend(b"\0VERS_1.18.1\0GLIBC");
        assert_eq!(version_inside(&bytes).as_deref(), Some("1.18.1"));
        assert_eq!(version_inside(b"VERS_2.0"), None);
    }
}
