//! Temperatures, and whether the machine slowed itself down.

use super::{Finding, Machine};

/// Where a sensor tells no limit of its own: most processors slow down at 85 to 100 °C.
const WARM: f64 = 80.0;

pub(super) fn examine(machine: &dyn Machine) -> Vec<Finding> {
    let mut findings = vec![temperature(machine)];
    let throttled: Vec<Finding> = [
        raspberry_pi(machine),
        jetson(machine),
        x86(machine),
        nvidia_smi(machine),
    ]
    .into_iter()
    .flatten()
    .collect();
    findings.extend(throttled);
    findings
}

/// A sensor of the kernel.
struct Zone {
    name: String,
    celsius: f64,
    /// Above it the kernel slows the machine down.
    limit: Option<f64>,
}

fn zones(machine: &dyn Machine) -> Vec<Zone> {
    let folder = "/sys/class/thermal";
    let zone = |zone: String| {
        let zone = format!("{folder}/{zone}");
        let celsius = |file: &str| Some(machine.number(&format!("{zone}/{file}"))? as f64 / 1e3);
        let trips = machine.names(&zone).into_iter().filter_map(|file| {
            let number = file.strip_prefix("trip_point_")?.strip_suffix("_type")?;
            let kind = machine.text(&format!("{zone}/{file}"))?;
            (kind == "passive").then(|| celsius(&format!("trip_point_{number}_temp")))?
        });
        Some(Zone {
            limit: trips.filter(|&limit| limit > 0.0).reduce(f64::min),
            // −256 °C and the like stand for a sensor that is off.
            celsius: celsius("temp").filter(|found| (-40.0..200.0).contains(found))?,
            name: machine.text(&format!("{zone}/type"))?,
        })
    };
    let names = machine.names(folder).into_iter();
    let names = names.filter(|name| name.starts_with("thermal_zone"));
    names.filter_map(zone).collect()
}

fn temperature(machine: &dyn Machine) -> Finding {
    let zones = zones(machine);
    let room = |zone: &Zone| zone.limit.unwrap_or(WARM) - zone.celsius;
    let closest = zones.iter().min_by(|a, b| room(a).total_cmp(&room(b)));
    let Some(zone) = closest else {
        return Finding::ok("temperature", "no sensor is visible here");
    };
    let limit = zone.limit.map_or(String::new(), |limit| {
        format!(", slowed down from {limit:.0} °C")
    });
    let text = format!("{} {:.1} °C{limit}", zone.name, zone.celsius);
    let finding = if room(zone) <= 0.0 {
        Finding::warning(
            "temperature",
            text,
            "cool it: fan, heat sink, a lower power mode",
        )
    } else {
        Finding::ok("temperature", text)
    };
    finding
        .with("sensor", zone.name.clone())
        .with("celsius", zone.celsius)
        .with("limit_celsius", zone.limit)
}

/// The firmware's flags since the start
/// (<https://www.raspberrypi.com/documentation/computers/os.html#get_throttled>).
fn raspberry_pi(machine: &dyn Machine) -> Option<Finding> {
    const FLAGS: [(u32, &str); 8] = [
        (0, "the supply's voltage is too low"),
        (1, "the clock is capped"),
        (2, "it is slowed down"),
        (3, "it is at its soft limit of temperature"),
        (16, "the voltage was too low since the start"),
        (17, "the clock was capped since the start"),
        (18, "it was slowed down since the start"),
        (
            19,
            "it was at its soft limit of temperature since the start",
        ),
    ];
    let model = machine.text("/proc/device-tree/model")?;
    if !model.starts_with("Raspberry Pi") {
        return None;
    }
    let file = "/sys/devices/platform/soc/soc:firmware/get_throttled";
    let text = machine
        .text(file)
        .or_else(|| machine.output("vcgencmd", &["get_throttled"]))?;
    let digits = text.trim().trim_start_matches("throttled=");
    let bits = u32::from_str_radix(digits.trim_start_matches("0x"), 16).ok()?;
    let set: Vec<&str> = FLAGS
        .iter()
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, text)| *text)
        .collect();
    let low_voltage = bits & 0x1_0001 != 0;
    Some(if set.is_empty() {
        Finding::ok("throttling", "none since the start").with("flags", bits)
    } else {
        let remedy = if low_voltage {
            "use the 27 W supply of the Pi 5 and a short cable"
        } else {
            "cool it: the active cooler, a vented case"
        };
        Finding::warning("throttling", set.join("; "), remedy).with("flags", bits)
    })
}

/// Events of over-current and low voltage of a Jetson Orin.
fn jetson(machine: &dyn Machine) -> Option<Finding> {
    let folder = "/sys/class/hwmon";
    let monitor = machine.names(folder).into_iter().find(|name| {
        let name = machine.text(&format!("{folder}/{name}/name"));
        name.as_deref() == Some("soctherm_oc")
    })?;
    let count = |number: u32| {
        machine
            .number(&format!("{folder}/{monitor}/oc{number}_event_cnt"))
            .unwrap_or(0)
    };
    let counts = [count(1), count(2), count(3)];
    let total: i64 = counts.iter().sum();
    let finding = if total == 0 {
        Finding::ok("throttling", "none for current or voltage since the start")
    } else {
        let [voltage, average, instant] = counts;
        Finding::warning(
            "throttling",
            format!(
                "slowed down since the start: {voltage} times for low voltage, {average} for \
                 average and {instant} for instantaneous current"
            ),
            "a stronger supply, or a lower mode by `sudo nvpmodel -m N`",
        )
    };
    Some(finding.with("events", total))
}

/// How often an x86 processor was too hot.
fn x86(machine: &dyn Machine) -> Option<Finding> {
    let count =
        machine.number("/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count")?;
    let finding = if count == 0 {
        Finding::ok("throttling", "none since the start")
    } else {
        Finding::warning(
            "throttling",
            format!("the processor was too hot {count} times since the start"),
            "cool it: fan, dust, heat sink, the air around it",
        )
    };
    Some(finding.with("events", count))
}

/// Why an NVIDIA card slows itself down, as its tool says.
fn nvidia_smi(machine: &dyn Machine) -> Option<Finding> {
    /// SW power cap, HW slowdown, SW and HW thermal slowdown, HW power brake: NVML's
    /// `nvmlClocksThrottleReason…`. Idle and settings of applications are not among them.
    const REASONS: [(u64, &str); 5] = [
        (0x4, "its limit of power"),
        (0x8, "a slowdown by the hardware"),
        (0x20, "its temperature"),
        (0x40, "its temperature (hardware)"),
        (0x80, "the supply's power brake"),
    ];
    if !machine.exists("/proc/driver/nvidia/gpus".as_ref()) {
        return None;
    }
    let asked = machine.output(
        "nvidia-smi",
        &[
            "--query-gpu=temperature.gpu,clocks_throttle_reasons.active",
            "--format=csv,noheader,nounits",
        ],
    )?;
    let (celsius, reasons) = asked.lines().next()?.split_once(',')?;
    let celsius: f64 = celsius.trim().parse().ok()?;
    let bits = u64::from_str_radix(reasons.trim().trim_start_matches("0x"), 16).ok()?;
    let set: Vec<&str> = REASONS
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, text)| *text)
        .collect();
    let finding = if set.is_empty() {
        Finding::ok(
            "throttling",
            format!("GPU at {celsius:.0} °C, not slowed down"),
        )
    } else {
        Finding::warning(
            "throttling",
            format!("GPU at {celsius:.0} °C, slowed down for {}", set.join(", ")),
            "cool it, or raise its limit of power where the supply allows it",
        )
    };
    Some(finding.with("gpu_celsius", celsius))
}
