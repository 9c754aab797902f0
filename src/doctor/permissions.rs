//! Groups of the user that open devices.

use std::path::Path;

use super::{Finding, Machine};

/// A kind of device: folder, how its names begin, the group that may use it, and what for.
const KINDS: [(&str, &str, &str, &str); 5] = [
    ("/dev", "video", "video", "cameras"),
    ("/dev", "fb", "video", "the display"),
    ("/dev", "nvhost", "video", "the Jetson's GPU"),
    ("/dev", "gpiochip", "gpio", "output lines"),
    ("/dev/dri", "renderD", "render", "the GPU"),
];

pub(super) fn examine(machine: &dyn Machine) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut allowed = Vec::new();
    for (folder, start, group, purpose) in KINDS {
        let devices: Vec<String> = machine
            .names(folder)
            .into_iter()
            .filter(|name| name.starts_with(start))
            .map(|name| format!("{folder}/{name}"))
            .collect();
        let denied: Vec<String> = devices
            .iter()
            .filter(|device| !machine.may_use(Path::new(device)))
            .cloned()
            .collect();
        match denied.first() {
            Some(device) => {
                let text = format!("{device}: this user may not use {purpose}");
                findings.push(
                    Finding::warning("permission", text, remedy(machine, group))
                        .with("group", group)
                        .with("devices", denied.clone()),
                );
            }
            None if !devices.is_empty() => allowed.push(purpose),
            None => {}
        }
    }
    if findings.is_empty() {
        let text = if allowed.is_empty() {
            "no device here that needs any".to_owned()
        } else {
            format!("this user may use {}", allowed.join(", "))
        };
        findings.push(Finding::ok("permission", text));
    }
    findings
}

fn remedy(machine: &dyn Machine, group: &str) -> String {
    let groups = machine.text("/etc/group").unwrap_or_default();
    let entry = groups
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{group}:")));
    let Some(entry) = entry else {
        return format!(
            "there is no group {group}: the .deb makes it with its udev rule; in a container \
             pass the device by --device"
        );
    };
    let number = entry.split(':').nth(1).unwrap_or_default();
    let status = machine.text("/proc/self/status").unwrap_or_default();
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .unwrap_or_default();
    if own.split_whitespace().any(|own| own == number) {
        return format!(
            "the user is in the group {group}, which may not use it: a udev rule is needed, such \
             as the .deb's"
        );
    }
    format!(
        "`sudo usermod -aG {group} $USER` and log in again; in a unit of systemd \
         `SupplementaryGroups={group}`"
    )
}
