//! What a configuration lacks on a machine.

use super::*;

const LINE: &str = r#"
[[source]]
uri = "/dev/video0"
[[source]]
uri = "rtsp://me:secret@camera.plant/stream"
name = "gate"
[[log]]
path = "/var/log/line/events.jsonl"
[[mqtt]]
url = "mqtt://broker.plant/line"
outbox = { folder = "/var/lib/line" }
[[gpio]]
line = "/dev/gpiochip0:17"
[[prometheus]]
address = "127.0.0.1:9184"
[control]
path = "/run/line/control.sock"
"#;

fn of_configuration(machine: &RecordedMachine, text: &str, topic: &str) -> Vec<String> {
    let found = findings(machine, Some(text)).into_iter();
    let found = found.filter(|finding| finding.topic == topic);
    found.map(|finding| finding.to_string()).collect()
}

#[test]
fn a_configuration_that_can_run_has_no_error() {
    let orin = RecordedMachine::orin().with("/run/line/x", "");
    let found = findings(&orin, Some(LINE));
    assert!(!has_errors(&found), "{found:#?}");
    let sources = of_configuration(&orin, LINE, "source");
    assert_eq!(sources.len(), 2);
    told(&sources[0], Ok, &["video0"]);
    told(
        &sources[1],
        Ok,
        &["gate", "rtsp://me:***@camera.plant/stream", "answers"],
    );
    assert_eq!(of_configuration(&orin, LINE, "sink").len(), 4);
    told(
        &of_configuration(&orin, LINE, "control")[0],
        Ok,
        &["/run/line/control.sock"],
    );
    // Log and outbox are on one file system.
    assert_eq!(of_configuration(&orin, LINE, "disk").len(), 1);
}

#[test]
fn what_a_configuration_lacks_here_is_told() {
    let mut orin = RecordedMachine::orin().without("/dev");
    orin.answering.clear();
    orin.taken.push("127.0.0.1:9184".into());
    let sources = of_configuration(&orin, LINE, "source");
    told(&sources[0], Error, &["video0", "see `camera`"]);
    told(
        &sources[1],
        Warning,
        &["does not answer: Connection refused", "firewall"],
    );
    assert!(!sources[1].contains("secret"));
    let sinks = of_configuration(&orin, LINE, "sink");
    told(&sinks[0], Ok, &["log"]);
    told(
        &sinks[1],
        Warning,
        &["broker.plant:1883", "wait in the outbox"],
    );
    told(&sinks[2], Error, &["there is no /dev/gpiochip0"]);
    told(&sinks[3], Error, &["127.0.0.1:9184", "another port"]);
    told(
        &of_configuration(&orin, LINE, "control")[0],
        Error,
        &["/run/line", "RuntimeDirectory"],
    );
    assert!(has_errors(&findings(&orin, Some(LINE))));

    // A running `watch` has its own port.
    orin.answering.push("/run/line/control.sock".into());
    told(
        &of_configuration(&orin, LINE, "sink")[3],
        Note,
        &["the running `watch` has it"],
    );
    told(
        &of_configuration(&orin, LINE, "control")[0],
        Note,
        &["running and answers"],
    );

    let mut denied = RecordedMachine::orin();
    denied.denied.push("/dev/gpiochip0".into());
    told(
        &of_configuration(&denied, LINE, "sink")[2],
        Error,
        &["no permission"],
    );
}

#[test]
fn a_folder_that_can_t_be_written_is_an_error_where_it_is_named() {
    let mut orin = RecordedMachine::orin().with("/var/log/line/x", "");
    orin.denied.push("/var/log/line".into());
    let disks = of_configuration(&orin, LINE, "disk");
    told(
        &disks[0],
        Error,
        &["/var/log/line: cannot write", "another folder"],
    );
    told(&disks[1], Ok, &["(ext4)"]);
}

#[test]
fn a_jetson_s_camera_is_read_on_a_jetson_alone() {
    let csi = "[[source]]\nuri = 'csi://0'";
    let pi = RecordedMachine::pi5().with("/usr/bin/gst-launch-1.0", "");
    told(
        &of_configuration(&pi, csi, "source")[0],
        Error,
        &["no Jetson", "pipe:COMMAND"],
    );
}

#[test]
fn a_program_that_a_source_needs_is_told() {
    let orin = RecordedMachine::orin();
    let csi = "[[source]]\nuri = 'csi://0'";
    told(&of_configuration(&orin, csi, "source")[0], Ok, &["csi://0"]);
    // Built in, GStreamer is always there.
    if cfg!(feature = "gstreamer") {
        return;
    }
    let without = orin.without("/usr/bin/gst-launch-1.0");
    let found = of_configuration(&without, csi, "source");
    told(
        &found[0],
        Error,
        &["gst-launch-1.0 is not installed", "see `decoder`"],
    );
    let found = of_configuration(&without.without("/usr/bin"), LINE, "source");
    told(&found[1], Error, &["neither ffmpeg nor"]);
}

#[test]
fn wrong_keys_of_a_configuration_are_told() {
    let orin = RecordedMachine::orin();
    let none = of_configuration(&orin, "queue = 0", "configuration");
    told(&none[0], Error, &["queue", "1 to 1000"]);
    told(
        &of_configuration(&orin, "", "source")[0],
        Error,
        &["there is none"],
    );
    let wide = "[[source]]\nuri = '/dev/video0?width=4096'";
    told(
        &of_configuration(&orin, wide, "source")[0],
        Error,
        &["not this size"],
    );
    let gone = "[[source]]\nuri = 'file:///nowhere/a.mp4'\n[[source]]\nuri = 'folder:///nowhere'";
    let sources = of_configuration(&orin, gone, "source");
    told(&sources[0], Error, &["no such file"]);
    told(&sources[1], Warning, &["no such folder yet"]);
    let broker = "[[source]]\nuri = '-'\n[[mqtt]]\nurl = 'http://broker'";
    told(
        &of_configuration(&orin, broker, "sink")[0],
        Error,
        &["mqtt", "http"],
    );
}
