//! What the machine is, as far as the speed of engines depends on it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};

/// Processor, board and NVIDIA GPU of a machine, as Linux names them; empty where it does not.
///
/// It is read from files that open nothing and need no rights, in well below a millisecond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `AMD EPYC 9B14`, `Cortex-A76` (as part numbers).
    pub cpu: String,
    /// Of boards with a device tree: `NVIDIA Jetson AGX Orin Developer Kit`.
    pub board: String,
    /// Names of NVIDIA GPUs, those of cards; that of a Jetson is its board's.
    pub gpu: String,
    /// NVIDIA's driver, on a Jetson the release of its Linux.
    pub driver: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        Self::below(Path::new("/"))
    }

    /// The machine whose `/proc` and `/etc` are below `root`.
    pub fn below(root: &Path) -> Self {
        let text = |name: &str| {
            let bytes = fs::read(root.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes)
                .trim_matches(|c: char| c == '\0' || c.is_whitespace())
                .to_owned()
        };
        let first_line = |name| text(name).lines().next().unwrap_or_default().to_owned();
        let driver = first_line("proc/driver/nvidia/version");
        Self {
            cpu: cpu(&root.join("proc/cpuinfo")).unwrap_or_default(),
            board: text("proc/device-tree/model"),
            gpu: gpus(&root.join("proc/driver/nvidia/gpus")).join(", "),
            driver: if driver.is_empty() {
                first_line("etc/nv_tegra_release")
            } else {
                driver
            },
        }
    }

    /// Whether there is an NVIDIA GPU.
    pub fn has_gpu(&self) -> bool {
        !self.driver.is_empty()
    }
}

/// The first processor's name, or its numbers where it has none.
fn cpu(path: &Path) -> Option<String> {
    let mut numbers = Vec::new();
    // The kernel makes the file line by line: those of a hundred further cores are left alone.
    for line in BufReader::new(File::open(path).ok()?).lines() {
        let line = line.ok()?;
        let Some((key, value)) = line.split_once(':') else {
            break;
        };
        match key.trim() {
            "model name" => return Some(value.trim().to_owned()),
            "CPU implementer" | "CPU variant" | "CPU part" => numbers.push(value.trim().to_owned()),
            _ => {}
        }
    }
    Some(numbers.join(" "))
}

/// The `Model` of each card, sorted.
fn gpus(folder: &Path) -> Vec<String> {
    let cards = folder.read_dir().into_iter().flatten().flatten();
    let mut names: Vec<String> = cards
        .filter_map(|card| {
            let text = fs::read_to_string(card.path().join("information")).ok()?;
            let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
            Some(model.trim().to_owned())
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_machine_without_anything_to_read_is_no_error() {
        let root = tree(&[]);
        let machine = Machine::below(root.path());
        assert_eq!(machine, Machine::default());
        assert!(!machine.has_gpu());
    }

    #[test]
    fn cards_and_drivers_are_named() {
        let root = tree(&[
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: AMD EPYC 9B14\n\nmodel name\t: other\n",
            ),
            (
                "proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06\nGCC version: 12\n",
            ),
            (
                "proc/driver/nvidia/gpus/0000:01:00.0/information",
                "Model: \t\t NVIDIA L4\nIRQ: 1\n",
            ),
        ]);
        let machine = Machine::below(root.path());
        assert_eq!(machine.cpu, "AMD EPYC 9B14");
        assert_eq!(machine.gpu, "NVIDIA L4");
        assert!(machine.driver.ends_with("580.65.06"), "{machine:?}");
        assert!(machine.has_gpu());
    }

    #[test]
    fn boards_have_numbers_and_releases() {
        let root = tree(&[
            (
                "proc/cpuinfo",
                "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n",
            ),
            (
                "proc/device-tree/model",
                "NVIDIA Jetson Orin Nano Developer Kit\0",
            ),
            ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3\n"),
        ]);
        let machine = Machine::below(root.path());
        assert_eq!(machine.cpu, "0x41 0xd42");
        assert_eq!(machine.board, "NVIDIA Jetson Orin Nano Developer Kit");
        assert_eq!(machine.driver, "# R36 (release), REVISION: 4.3");
        assert!(machine.has_gpu() && machine.gpu.is_empty());
    }
}
