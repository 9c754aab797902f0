//! Cameras, permissions, power, heat, memory, disks, time.

use super::*;

#[test]
fn cameras_are_told_apart_from_other_nodes() {
    says(
        &RecordedMachine::orin(),
        "camera",
        Ok,
        &["/dev/video0", "C920", "mjpeg 1920×1080"],
    );
    says(&RecordedMachine::x86(), "camera", Ok, &["no /dev/video*"]);
    says(
        &RecordedMachine::orin_nano(),
        "camera",
        Note,
        &["vi-output", "csi://0"],
    );
    let pi = lines(&RecordedMachine::pi5(), "camera");
    assert_eq!(pi.len(), 4, "{pi:?}");
    told(&pi[0], Warning, &["/dev/video0", "no permission"]);
    told(&pi[2], Note, &["rp1-cfe", "rpicam-vid"]);
    let mut strange = RecordedMachine::orin();
    strange.cameras.insert("/dev/video0".into(), Vec::new());
    says(
        &strange,
        "camera",
        Warning,
        &["no format that is read", "pipe:COMMAND"],
    );
}

#[test]
fn decoders_are_told() {
    says(
        &RecordedMachine::orin(),
        "decoder",
        Ok,
        &["ffmpeg, gst-launch-1.0"],
    );
    says(
        &RecordedMachine::orin_nano(),
        "decoder",
        Note,
        &["csi://", "gstreamer1.0-tools"],
    );
    let none = RecordedMachine::x86().without("/usr/bin/ffmpeg");
    says(
        &none,
        "decoder",
        Note,
        &["streams and videos", "apt install ffmpeg"],
    );
}

#[test]
fn permissions_name_the_group_that_is_missing() {
    says(
        &RecordedMachine::orin(),
        "permission",
        Ok,
        &["cameras", "output lines", "the GPU"],
    );
    let pi = lines(&RecordedMachine::pi5(), "permission");
    assert_eq!(pi.len(), 2, "{pi:?}");
    told(&pi[0], Warning, &["/dev/video0", "usermod -aG video"]);
    // In the group, and still not allowed.
    told(&pi[1], Warning, &["/dev/gpiochip0", "udev rule"]);
    let mut nano = RecordedMachine::orin_nano();
    nano.denied.push("/dev/gpiochip0".into());
    says(&nano, "permission", Warning, &["no group gpio", ".deb"]);
    let none = RecordedMachine::x86();
    says(&none, "permission", Ok, &["no device here"]);
}

#[test]
fn power_modes_are_told_with_the_fastest() {
    says(
        &RecordedMachine::orin(),
        "power",
        Ok,
        &["mode MAXN (0)", "MODE_30W (2)"],
    );
    says(
        &RecordedMachine::orin_nano(),
        "power",
        Note,
        &["mode 7W (3)", "nvpmodel -m 2"],
    );
    assert!(lines(&RecordedMachine::pi5(), "power").is_empty());
}

#[test]
fn clocks_are_told_with_what_limits_them() {
    let orin = lines(&RecordedMachine::orin(), "clocks");
    told(&orin[0], Ok, &["2201 of 2201 MHz"]);
    told(&orin[1], Ok, &["1300 MHz", "fixed"]);
    let nano = lines(&RecordedMachine::orin_nano(), "clocks");
    assert_eq!(nano.len(), 3);
    told(&nano[0], Note, &["cores 0-3 of 0-5"]);
    told(&nano[1], Note, &["limited to 960 MHz"]);
    told(&nano[2], Note, &["306", "jetson_clocks"]);
    // The driver decides by itself.
    says(&RecordedMachine::x86(), "clocks", Ok, &["powersave"]);
    let file = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    let slow = RecordedMachine::pi5().with(file, "powersave\n");
    says(&slow, "clocks", Warning, &["lowest clock", "schedutil"]);
}

#[test]
fn heat_is_told_with_the_limit_that_is_closest() {
    says(
        &RecordedMachine::orin(),
        "temperature",
        Ok,
        &["51.2 °C", "from 99 °C"],
    );
    says(
        &RecordedMachine::orin_nano(),
        "temperature",
        Warning,
        &["99.5 °C", "cool it"],
    );
    says(
        &RecordedMachine::x86_gpu(),
        "temperature",
        Ok,
        &["no sensor"],
    );
    let hot = RecordedMachine::pi5().with("/sys/class/thermal/thermal_zone0/temp", "84000");
    says(&hot, "temperature", Warning, &["84.0 °C"]);
}

#[test]
fn throttling_is_told_with_its_cause() {
    let pi = RecordedMachine::pi5();
    says(
        &pi,
        "throttling",
        Warning,
        &["voltage was too low", "slowed down", "27 W"],
    );
    let file = "/sys/devices/platform/soc/soc:firmware/get_throttled";
    says(&pi.clone().with(file, "0\n"), "throttling", Ok, &["none"]);
    says(
        &pi.with(file, "8\n"),
        "throttling",
        Warning,
        &["soft limit", "cool it"],
    );
    says(&RecordedMachine::orin(), "throttling", Ok, &["none"]);
    let nano = RecordedMachine::orin_nano();
    says(
        &nano,
        "throttling",
        Warning,
        &["0 times for low voltage", "37 for instantaneous"],
    );
    says(&RecordedMachine::x86(), "throttling", Ok, &["none"]);
    let file = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count";
    let dusty = RecordedMachine::x86().with(file, "12\n");
    says(&dusty, "throttling", Warning, &["12 times", "dust"]);
    let mut card = RecordedMachine::x86_gpu();
    says(&card, "throttling", Ok, &["41 °C"]);
    for said in card
        .commands
        .values_mut()
        .filter(|said| said.starts_with("41"))
    {
        *said = "87, 0x0000000000000060\n".to_owned();
    }
    says(&card, "throttling", Warning, &["87 °C", "its temperature"]);
}

#[test]
fn memory_is_what_is_left_here() {
    says(
        &RecordedMachine::x86(),
        "memory",
        Ok,
        &["11.4 GiB free of 15.5 GiB"],
    );
    says(
        &RecordedMachine::orin_nano(),
        "memory",
        Warning,
        &["0.3 GiB free", "desktop"],
    );
    let limited = RecordedMachine::x86()
        .with("/sys/fs/cgroup/memory.max", "536870912\n")
        .with("/sys/fs/cgroup/memory.current", "300000000\n");
    says(&limited, "memory", Warning, &["limited to 0.5 GiB"]);
    let unlimited = RecordedMachine::x86().with("/sys/fs/cgroup/memory.max", "max\n");
    says(&unlimited, "memory", Ok, &["11.4 GiB"]);
}

#[test]
fn disks_are_measured_where_messages_wait() {
    says(
        &RecordedMachine::x86(),
        "disk",
        Ok,
        &["/home/line (ext4)", "429 MiB/s", "2.0 ms"],
    );
    says(
        &RecordedMachine::pi5(),
        "disk",
        Warning,
        &["0.8 GiB free", "make room"],
    );
    let mut slow = RecordedMachine::orin_nano();
    slow.flush_ms = 900;
    says(&slow, "disk", Warning, &["900.0 ms", "industrial card"]);
    let mut denied = RecordedMachine::x86();
    denied.denied.push("/home/line".into());
    says(
        &denied,
        "disk",
        Warning,
        &["Permission denied", "another folder"],
    );
    let mut memory = RecordedMachine::x86().with("/run/edge-vae/lock", "");
    memory
        .variables
        .insert("STATE_DIRECTORY".into(), "/run/edge-vae".into());
    says(&memory, "disk", Warning, &["tmpfs", "lost with the power"]);
}

#[test]
fn a_clock_that_nobody_sets_is_told() {
    says(&RecordedMachine::orin(), "time", Ok, &["synchronised"]);
    says(
        &RecordedMachine::pi5(),
        "time",
        Warning,
        &["not synchronised", "set-ntp"],
    );
    let bare = RecordedMachine::pi5().without("/sys/class/rtc");
    says(&bare, "time", Warning, &["no hardware clock"]);
}
