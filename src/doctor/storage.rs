//! Memory, disks, and how fast what is written is safe.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Finding, Machine};

const MIB: f64 = 1024.0 * 1024.0;

/// Below it something is said.
struct StorageParams {
    /// A model of the default route and its frames take about 200 MB.
    free_memory_mib: f64,
    /// Outboxes hold 64 MB and pictures 1 GB by default.
    free_disk_mib: f64,
    /// Pictures of an event are some MB.
    write_mib_per_second: f64,
    /// An event is announced when it is on the disk; worn cards take seconds.
    flush: Duration,
}

const ENOUGH: StorageParams = StorageParams {
    free_memory_mib: 400.0,
    free_disk_mib: 2048.0,
    write_mib_per_second: 5.0,
    flush: Duration::from_millis(250),
};

/// Memory of the machine, or what a container leaves of it.
pub(super) fn memory(machine: &dyn Machine) -> Finding {
    let text = machine.text("/proc/meminfo").unwrap_or_default();
    let mib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1024.0)
    };
    let (Some(total), Some(free)) = (mib("MemTotal:"), mib("MemAvailable:")) else {
        return Finding::ok("memory", "/proc/meminfo is not visible here");
    };
    let limit = machine.number("/sys/fs/cgroup/memory.max");
    let used = machine.number("/sys/fs/cgroup/memory.current");
    let left = match (limit, used) {
        (Some(limit), Some(used)) => free.min((limit - used).max(0) as f64 / MIB),
        _ => free,
    };
    let limited = limit.map_or(String::new(), |limit| {
        format!(", limited to {:.1} GiB here", limit as f64 / MIB / 1024.0)
    });
    let text = format!(
        "{:.1} GiB free of {:.1} GiB{limited}",
        left / 1024.0,
        total / 1024.0
    );
    let finding = if left < ENOUGH.free_memory_mib {
        let remedy = "end what is not needed, such as a desktop";
        Finding::warning("memory", text, remedy)
    } else {
        Finding::ok("memory", text)
    };
    finding
        .with("total_mib", total.round())
        .with("free_mib", left.round())
}

/// Where messages wait by default, as `watch` has it.
pub(super) fn state_folder(machine: &dyn Machine) -> Option<PathBuf> {
    if let Some(folders) = machine.variable("STATE_DIRECTORY") {
        return folders.split(':').next().map(PathBuf::from);
    }
    if let Some(folder) = machine.variable("XDG_STATE_HOME") {
        return Some(Path::new(&folder).join("edge-vae"));
    }
    let home = machine.variable("HOME")?;
    Some(Path::new(&home).join(".local/state/edge-vae"))
}

/// A line for each file system on which one of the folders lies or would be made.
/// That one can't be written is an error where a configuration names it.
pub(super) fn disks(machine: &dyn Machine, folders: &[PathBuf], configured: bool) -> Vec<Finding> {
    let mounts = machine.text("/proc/mounts").unwrap_or_default();
    let mut seen: Vec<Mount> = Vec::new();
    let mut findings = Vec::new();
    for folder in folders {
        let wanted = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
        let there = wanted.ancestors().find(|folder| machine.exists(folder));
        let there = there.unwrap_or(Path::new("/"));
        let mount = Mount::of(&mounts, there);
        // A folder that can't be written is told even where its neighbour can.
        match machine.write_speed(there) {
            Err(problem) => {
                let text = format!("{}: cannot write: {problem}", there.display());
                let remedy = "name another folder, or give this user the right to write there";
                let finding = if configured {
                    Finding::error("disk", text, remedy)
                } else {
                    Finding::warning("disk", text, remedy)
                };
                findings.push(finding.with("folder", there.display().to_string()));
            }
            Ok(speed) if !seen.contains(&mount) => {
                findings.push(disk(machine, there, &mount, speed));
                seen.push(mount);
            }
            Ok(_) => {}
        }
    }
    findings
}

fn disk(machine: &dyn Machine, folder: &Path, mount: &Mount, speed: super::WriteSpeed) -> Finding {
    let rate = speed.bytes_per_second / MIB;
    let flush_ms = speed.flush.as_secs_f64() * 1e3;
    let free = machine.free_bytes(folder).map(|bytes| bytes as f64 / MIB);
    let free_text = free.map_or(String::new(), |mib| {
        format!("{:.1} GiB free, ", mib / 1024.0)
    });
    let text = format!(
        "{} ({}): {free_text}{rate:.0} MiB/s, a record is safe after {flush_ms:.1} ms",
        folder.display(),
        mount.kind
    );
    let finding = if free.is_some_and(|free| free < ENOUGH.free_disk_mib) {
        Finding::warning(
            "disk",
            text,
            "make room, or lower `max-bytes` of pictures and outboxes",
        )
    } else if mount.is_memory() {
        Finding::warning(
            "disk",
            format!("{text}; in memory: what waits there is lost with the power"),
            "name a folder on a disk in `outbox.folder`",
        )
    } else if rate < ENOUGH.write_mib_per_second || speed.flush > ENOUGH.flush {
        Finding::warning(
            "disk",
            text,
            "events are announced late: use an SSD or an industrial card, or a disk that is not \
             worn",
        )
    } else {
        Finding::ok("disk", text)
    };
    finding
        .with("folder", folder.display().to_string())
        .with("file_system", mount.kind.clone())
        .with("free_mib", free.map(f64::round))
        .with("mib_per_second", rate.round())
        .with("flush_ms", (flush_ms * 100.0).round() / 100.0)
}

/// A line of `/proc/mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    place: String,
    kind: String,
}

impl Mount {
    /// Of a folder: the longest place above it, of equal ones the last mounted.
    fn of(mounts: &str, folder: &Path) -> Self {
        let all = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some(Self {
                place: words.next()?.replace("\\040", " "),
                kind: words.next()?.to_owned(),
            })
        });
        all.filter(|mount| folder.starts_with(&mount.place))
            .max_by_key(|mount| mount.place.len())
            .unwrap_or_else(|| Self {
                place: "/".to_owned(),
                kind: "unknown".to_owned(),
            })
    }

    fn is_memory(&self) -> bool {
        ["tmpfs", "ramfs"].contains(&self.kind.as_str())
    }
}
