//! Power mode and clocks; only read.

use super::{Finding, Machine};

pub(super) fn examine(machine: &dyn Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(power_mode(machine));
    findings.extend(cores(machine));
    findings.extend(processor_clock(machine));
    findings.extend(gpu_clock(machine));
    findings
}

/// NVPMODEL's mode of a Jetson, by its status and its configuration.
fn power_mode(machine: &dyn Machine) -> Option<Finding> {
    let modes = modes(&machine.text("/etc/nvpmodel.conf")?);
    let status = machine.text("/var/lib/nvpmodel/status")?;
    let id: u32 = status.strip_prefix("pmode:")?.parse().ok()?;
    let (_, name) = modes.iter().find(|(known, _)| *known == id)?;
    let shown = |(id, name): &(u32, String)| format!("{name} ({id})");
    let all: Vec<String> = modes.iter().map(shown).collect();
    let text = format!("mode {name} ({id}) of {}", all.join(", "));
    // The one without limits; names of the others have the watts.
    let fastest = modes
        .iter()
        .filter(|(_, name)| name.starts_with("MAXN"))
        .max_by_key(|(_, name)| name.len());
    let finding = match fastest {
        Some((most, _)) if *most != id => Finding::note("power", text).with_remedy(format!(
            "`sudo nvpmodel -m {most}` is the fastest, where supply and cooling allow it"
        )),
        _ => Finding::ok("power", text),
    };
    Some(finding.with("mode", name.clone()).with("mode_id", id))
}

/// Numbers and names of `< POWER_MODEL ID=0 NAME=MAXN >`.
fn modes(configuration: &str) -> Vec<(u32, String)> {
    let mode = |line: &str| {
        let words = line.strip_prefix("< POWER_MODEL")?.trim_end_matches('>');
        let value = |key: &str| {
            words
                .split_whitespace()
                .find_map(|word| word.strip_prefix(key))
        };
        Some((value("ID=")?.parse().ok()?, value("NAME=")?.to_owned()))
    };
    configuration.lines().filter_map(mode).collect()
}

/// Cores that are off.
fn cores(machine: &dyn Machine) -> Option<Finding> {
    let online = machine.text("/sys/devices/system/cpu/online")?;
    let present = machine.text("/sys/devices/system/cpu/present")?;
    (online != present).then(|| {
        Finding::note(
            "clocks",
            format!("cores {online} of {present} are on, as the power mode or the kernel says"),
        )
    })
}

fn processor_clock(machine: &dyn Machine) -> Option<Finding> {
    let folder = "/sys/devices/system/cpu/cpu0/cpufreq";
    let mhz = |name: &str| Some(machine.number(&format!("{folder}/{name}"))? / 1000);
    let (now, allowed, most) = (
        mhz("scaling_cur_freq")?,
        mhz("scaling_max_freq")?,
        mhz("cpuinfo_max_freq")?,
    );
    let governor = machine.text(&format!("{folder}/scaling_governor"))?;
    let driver = machine.text(&format!("{folder}/scaling_driver"));
    let driver = driver.unwrap_or_default();
    let text = format!("processor at {now} of {most} MHz, governor {governor}");
    // With these drivers `powersave` means that the processor itself chooses.
    let chooses_itself = driver.starts_with("intel_pstate") || driver.starts_with("amd-pstate");
    let finding = if allowed < most {
        Finding::note("clocks", format!("{text}, limited to {allowed} MHz"))
            .with_remedy("a higher power mode, or `scaling_max_freq`, lifts the limit")
    } else if governor == "powersave" && !chooses_itself {
        Finding::warning(
            "clocks",
            format!("{text}: it stays at the lowest clock"),
            "`echo schedutil | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor`",
        )
    } else {
        Finding::ok("clocks", text)
    };
    Some(
        finding
            .with("governor", governor)
            .with("processor_mhz", now)
            .with("processor_max_mhz", most),
    )
}

/// The clock of a Jetson's GPU.
fn gpu_clock(machine: &dyn Machine) -> Option<Finding> {
    let folder = "/sys/class/devfreq";
    let gpus = [".gpu", ".ga10b", ".gv11b"];
    let device = machine
        .names(folder)
        .into_iter()
        .find(|name| gpus.iter().any(|end| name.ends_with(end)))?;
    let mhz = |name: &str| Some(machine.number(&format!("{folder}/{device}/{name}"))? / 1_000_000);
    let (now, least, most) = (mhz("cur_freq")?, mhz("min_freq")?, mhz("max_freq")?);
    let text = format!("GPU at {now} MHz, from {least} to {most}");
    let finding = if least == most {
        Finding::ok("clocks", format!("{text}: fixed"))
    } else {
        Finding::note("clocks", text).with_remedy(
            "`sudo jetson_clocks` fixes it at the top: steady times of frames, more heat",
        )
    };
    Some(finding.with("gpu_mhz", now).with("gpu_max_mhz", most))
}
