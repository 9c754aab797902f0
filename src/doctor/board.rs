//! Board, processor, system, JetPack.

use super::{Finding, Machine};
use crate::counted;

/// JetPack by NVIDIA's release of Linux for Tegra, the newest first: prefix and name.
/// Source: release notes, <https://developer.nvidia.com/embedded/jetpack-archive>.
const JETPACKS: [(&str, &str); 11] = [
    ("38.4", "7.1"),
    ("38.2", "7.0"),
    ("36.5", "6.2.2"),
    ("36.4.7", "6.2.1"),
    ("36.4.4", "6.2.1"),
    ("36.4.3", "6.2"),
    ("36.4", "6.1"),
    ("36.3", "6.0"),
    ("36.2", "6.0 developer preview"),
    ("35", "5"),
    ("32", "4"),
];

/// The oldest release of Linux for Tegra whose ONNX Runtime is new enough: JetPack 6.
const OLDEST_L4T: u32 = 36;

/// Cores of ARM by the number that `/proc/cpuinfo` calls their part.
const ARM_CORES: [(&str, &str); 6] = [
    ("0xd03", "Cortex-A53"),
    ("0xd08", "Cortex-A72"),
    ("0xd0b", "Cortex-A76"),
    ("0xd0c", "Neoverse-N1"),
    ("0xd42", "Cortex-A78AE"),
    ("0xd83", "Neoverse-V3AE"),
];

pub(super) fn examine(machine: &dyn Machine) -> Vec<Finding> {
    let mut findings = vec![board(machine), processor(machine), system(machine)];
    findings.extend(jetpack(machine));
    findings
}

/// What the device tree or the firmware calls the board.
fn model(machine: &dyn Machine) -> Option<String> {
    let firmware = |name: &str| {
        let text = machine.text(&format!("/sys/class/dmi/id/{name}"))?;
        (!text.is_empty() && !text.starts_with("To be filled")).then_some(text)
    };
    machine.text("/proc/device-tree/model").or_else(|| {
        let name = firmware("product_name").or_else(|| firmware("board_name"))?;
        Some(match firmware("sys_vendor") {
            Some(vendor) if !name.starts_with(&vendor) => format!("{vendor} {name}"),
            _ => name,
        })
    })
}

fn board(machine: &dyn Machine) -> Finding {
    match model(machine) {
        Some(model) => Finding::ok("board", &model).with("model", model),
        None => Finding::ok(
            "board",
            "no name: a virtual machine or a container that hides it",
        ),
    }
}

fn processor(machine: &dyn Machine) -> Finding {
    let text = machine.text("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processors = text.lines().filter(|line| line.starts_with("processor"));
    let cores = processors.count();
    let architecture = machine.architecture();
    let core = value("CPU part").and_then(|part| {
        let known = ARM_CORES.iter().find(|(number, _)| *number == part)?;
        Some(known.1.to_owned())
    });
    let name = core
        .or_else(|| value("model name"))
        .unwrap_or_else(|| "a processor without a name".to_owned());
    let flags = value("flags").unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let shown = format!("{name}, {} ({architecture})", counted(cores, "core"));
    let finding = if architecture == "x86_64" && !flags.is_empty() && !(has("avx2") && has("fma")) {
        Finding::warning(
            "processor",
            format!("{shown} without AVX2 and FMA: frames take several times as long"),
            "use a processor of 2013 or later; in a virtual machine, pass its features through",
        )
    } else {
        Finding::ok("processor", shown)
    };
    finding
        .with("name", name)
        .with("cores", cores)
        .with("architecture", architecture)
}

fn system(machine: &dyn Machine) -> Finding {
    let release = machine.text("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("Linux", |name| name.trim_matches('"'))
        .to_owned();
    let kernel = machine
        .text("/proc/sys/kernel/osrelease")
        .unwrap_or_else(|| "unknown".to_owned());
    let inside = ["/.dockerenv", "/run/.containerenv"]
        .into_iter()
        .any(|mark| machine.exists(mark.as_ref()));
    let container = if inside { ", in a container" } else { "" };
    Finding::ok("system", format!("{name}, kernel {kernel}{container}"))
        .with("name", name)
        .with("kernel", kernel)
        .with("container", inside)
}

/// Whether the board is a Jetson.
pub(super) fn is_jetson(machine: &dyn Machine) -> bool {
    machine.exists("/etc/nv_tegra_release".as_ref())
        || machine
            .text("/proc/device-tree/compatible")
            .is_some_and(|names| names.contains("nvidia,tegra"))
}

/// JetPack of a Jetson, by `# R36 (release), REVISION: 4.3, …`.
fn jetpack(machine: &dyn Machine) -> Option<Finding> {
    if !is_jetson(machine) {
        return None;
    }
    let Some(text) = machine.text("/etc/nv_tegra_release") else {
        return Some(Finding::note(
            "jetpack",
            "a Jetson whose /etc/nv_tegra_release is not visible here, as in most containers",
        ));
    };
    let word = |before: &str| {
        let (_, rest) = text.split_once(before)?;
        let numbers = rest.trim_start();
        let end = numbers.find(|c: char| !c.is_ascii_digit() && c != '.');
        Some(numbers[..end.unwrap_or(numbers.len())].to_owned())
    };
    let (Some(major), Some(revision)) = (word("# R"), word("REVISION:")) else {
        return Some(Finding::note(
            "jetpack",
            "/etc/nv_tegra_release has another form than is known",
        ));
    };
    let l4t = format!("{major}.{revision}");
    let named = JETPACKS.iter().find(|(start, _)| {
        let rest = l4t.strip_prefix(start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    let shown = match named {
        Some((_, name)) => format!("JetPack {name} (Linux for Tegra {l4t})"),
        None => format!("Linux for Tegra {l4t}, a JetPack that is not known here"),
    };
    let too_old = major.parse::<u32>().is_ok_and(|major| major < OLDEST_L4T);
    let finding = if too_old {
        Finding::warning(
            "jetpack",
            format!("{shown}: no ONNX Runtime for its CUDA is new enough"),
            "install JetPack 6 or 7; until then frames are judged on the processor",
        )
    } else {
        Finding::ok("jetpack", shown)
    };
    let finding = finding.with("l4t", l4t.clone());
    Some(match named {
        Some((_, name)) => finding.with("jetpack", *name),
        None => finding,
    })
}
