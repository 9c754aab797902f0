//! Cameras of the kernel and their formats; what reads the others.

use std::path::Path;

use super::{Finding, Machine, board};

/// Names of the drivers of image pipelines: their nodes give raw Bayer data or parts of a picture,
/// and a program of the board's maker makes pictures of it.
const PIPELINES: [(&str, &str); 4] = [
    ("rp1-cfe", PI),
    ("pispbe", PI),
    ("bcm2835-isp", PI),
    ("vi-output", JETSON),
];
const PI: &str = "read such a camera by pipe:rpicam-vid, see docs/guide/cameras.md";
const JETSON: &str = "read such a camera as csi://0";

pub(super) fn examine(machine: &dyn Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut pipelines: Vec<(&str, &str)> = Vec::new();
    let mut others = 0;
    for node in nodes(machine) {
        let path = format!("/dev/{node}");
        let name = machine
            .text(&format!("/sys/class/video4linux/{node}/name"))
            .unwrap_or_else(|| "a camera".to_owned());
        let known = PIPELINES.iter().find(|(start, _)| name.starts_with(start));
        if let Some(&(start, remedy)) = known {
            if !pipelines.contains(&(start, remedy)) {
                pipelines.push((start, remedy));
            }
            continue;
        }
        if !machine.may_use(Path::new(&path)) {
            let text = format!("{path} ({name}): no permission to use it");
            let remedy = "see `permission` below";
            findings.push(Finding::warning("camera", text, remedy).with("path", path));
            continue;
        }
        // Metadata, decoders, scalers: they have nodes too.
        let Ok(formats) = machine.camera_formats(Path::new(&path)) else {
            others += 1;
            continue;
        };
        let finding = if formats.is_empty() {
            Finding::warning(
                "camera",
                format!("{path} ({name}): it offers no format that is read"),
                "have another program read it, by pipe:COMMAND",
            )
        } else {
            Finding::ok("camera", format!("{path} ({name}): {}", formats.join(", ")))
        };
        findings.push(
            finding
                .with("path", path)
                .with("name", name)
                .with("formats", formats),
        );
    }
    for (name, remedy) in pipelines {
        let text = format!("video nodes of {name}, a pipeline that gives no pictures by itself");
        findings.push(Finding::note("camera", text).with_remedy(remedy));
    }
    if findings.is_empty() {
        let text = match others {
            0 => "no /dev/video*; streams, folders and pipes need none".to_owned(),
            _ => format!("none among {others} video nodes; streams, folders and pipes need none"),
        };
        findings.push(Finding::ok("camera", text));
    }
    findings.push(decoders(machine));
    findings
}

/// `video0`, `video1`, … by number.
fn nodes(machine: &dyn Machine) -> Vec<String> {
    let number = |name: &String| name.strip_prefix("video")?.parse::<u32>().ok();
    let mut nodes = machine.names("/dev");
    nodes.retain(|name| number(name).is_some());
    nodes.sort_by_key(number);
    nodes
}

/// Programs that read streams, videos and CSI cameras.
fn decoders(machine: &dyn Machine) -> Finding {
    let found: Vec<&str> = ["ffmpeg", "gst-launch-1.0", "rpicam-vid"]
        .into_iter()
        .filter(|program| machine.has_program(program))
        .collect();
    let finding = if found.is_empty() {
        let needs = "neither ffmpeg nor gst-launch-1.0: streams and videos can't be read";
        Finding::note("decoder", needs).with_remedy("`sudo apt install ffmpeg`")
    } else if board::is_jetson(machine) && !found.contains(&"gst-launch-1.0") {
        let text = format!(
            "{}, without gst-launch-1.0: csi:// can't be read",
            found.join(", ")
        );
        Finding::note("decoder", text).with_remedy("`sudo apt install gstreamer1.0-tools`")
    } else {
        Finding::ok("decoder", found.join(", "))
    };
    finding.with("programs", found)
}
