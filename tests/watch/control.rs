//! Commands on a Unix socket: `edge-vae ctl`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    test_dir::{Ran, TestDir},
    tiny, until,
};

/// A running watch, and what it printed so far.
struct Watch {
    child: Child,
    objects: Arc<Mutex<Vec<Value>>>,
}

impl Watch {
    fn start(dir: &TestDir, arguments: &[&str]) -> Self {
        let arguments = [arguments, &["--json", "--control", "ctl.sock"]].concat();
        let mut child = dir.watch(&arguments).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let objects: Arc<Mutex<Vec<Value>>> = Arc::default();
        let noted = Arc::clone(&objects);
        thread::spawn(move || {
            for line in out.lines() {
                let object = serde_json::from_str(&line.unwrap()).unwrap();
                noted.lock().unwrap().push(object);
            }
        });
        let watch = Self { child, objects };
        until("the first frame", || watch.count("frame") > 0);
        watch
    }

    fn of_type(&self, kind: &str) -> Vec<Value> {
        let objects = self.objects.lock().unwrap();
        let is = |object: &&Value| object["type"] == kind;
        objects.iter().filter(is).cloned().collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.of_type(kind).len()
    }

    fn end(self) -> Ran {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.unwrap().success());
        Ran::until_end(self.child)
    }
}

const SETTINGS: &str = "[health]\nfrozen-after = 0\n";

#[track_caller]
fn done(dir: &TestDir, arguments: &[&str]) -> Value {
    let output = dir.ctl(&[&["--socket", "ctl.sock"], arguments].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["ok"], &answer["schema_version"]),
        (&true.into(), &1.into())
    );
    answer
}

/// What it says of a command that is not done.
#[track_caller]
fn refused(dir: &TestDir, arguments: &[&str]) -> String {
    let output = dir.ctl(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert!(
        errors.starts_with("edge-vae: ") && errors.lines().count() == 1,
        "{errors}"
    );
    errors
}

fn exchange(stream: &UnixStream, request: &str) -> Value {
    let mut writer = stream;
    writer.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_running_watch_is_asked_paused_and_ended() {
    let dir = TestDir::new();
    fs::write(dir.path("edge-vae.toml"), SETTINGS).unwrap();
    let watch = Watch::start(&dir, &[&dir.camera(), "--log", "events.jsonl"]);
    let mode = fs::metadata(dir.path("ctl.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    until("an event", || watch.count("event") > 0);
    let status = done(&dir, &["status"]);
    assert!(status["model_id"].as_str().unwrap().starts_with("tiny-"));
    assert_eq!(status["threshold"]["origin"], "calibration");
    assert_eq!(status["paused"], false);
    let source = &status["sources"][0];
    assert_eq!(
        (&source["name"], &source["state"]),
        (&"pipe".into(), &"up".into())
    );
    assert!(source["last"]["pred_label"].is_string(), "{status}");
    assert!(source["normal"].as_u64().unwrap() > 0 && source["anomalous"].as_u64().unwrap() > 0);
    assert!(source["event_id"].is_string(), "{status}");
    let sinks = status["sinks"].as_array().unwrap();
    assert!(
        sinks.iter().any(|sink| sink["name"] == "log events.jsonl"),
        "{status}"
    );

    assert_eq!(
        done(&dir, &["pause"])["paused"],
        serde_json::json!(["pipe"])
    );
    // What was printed before the pause is read before its object.
    until("the pause", || watch.count("pause") == 1);
    let frames = watch.count("frame");
    let closed = watch.of_type("event").pop().unwrap();
    assert_eq!(closed["ended_by"], "the source was paused", "{closed}");
    let skipped = || {
        let status = done(&dir, &["status"]);
        assert_eq!(
            (&status["paused"], &status["sources"][0]["state"]),
            (&true.into(), &"paused".into())
        );
        status["sources"][0]["skipped"].as_u64().unwrap()
    };
    until("frames that are skipped", || skipped() > 5);
    assert_eq!(watch.count("frame"), frames);
    let unjudged = done(&dir, &["snapshot"]);
    assert!(unjudged["frame"].is_null(), "{unjudged}");
    assert!(fs::read(dir.path("snapshot.png")).is_ok());
    done(&dir, &["resume", "--source", "pipe"]);
    until("frames again", || watch.count("frame") > frames);
    let pauses = watch.of_type("pause");
    assert_eq!(
        (&pauses[0]["paused"], &pauses[1]["paused"]),
        (&true.into(), &false.into())
    );
    assert!(
        refused(&dir, &["--socket", "ctl.sock", "pause", "--source", "x"])
            .contains("no source is called \"x\"; there are pipe")
    );

    let ran = watch.end();
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    assert!(
        ran.messages.contains("skipped while it was paused"),
        "{}",
        ran.messages
    );
    assert!(!dir.path("ctl.sock").exists());
    let kept = fs::read_to_string(dir.path("events.jsonl")).unwrap();
    assert!(kept.contains(r#"{"type":"pause""#), "{kept}");
}

#[test]
fn another_threshold_judges_until_the_next_reload() {
    let dir = TestDir::new();
    let line = dir.camera();
    let configuration = format!("{SETTINGS}[[source]]\nuri = '{line}'\nname = 'cam'\n");
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    let manifest = fs::read(dir.path("model/manifest.toml")).unwrap();
    let watch = Watch::start(&dir, &[]);
    let own = watch.of_type("frame")[0]["threshold"].clone();
    let judged_by = |threshold: &Value| {
        until("frames of the threshold", || {
            watch.of_type("frame").pop().unwrap()["threshold"] == *threshold
        });
    };
    let set = |arguments: &[&str]| done(&dir, &[&["threshold"], arguments].concat());

    let answer = set(&["1e6"]);
    assert_eq!(answer["threshold"]["origin"], "value");
    judged_by(&1e6.into());
    let last = watch.count("frame");
    until("twenty frames", || watch.count("frame") > last + 20);
    assert!(
        watch.of_type("frame")[last..]
            .iter()
            .all(|f| f["pred_label"] == "normal")
    );
    let told = watch.of_type("threshold").pop().unwrap();
    assert_eq!(
        (&told["threshold"], &told["calibrated"]),
        (&1e6.into(), &own)
    );

    // Of a hundred frames the second highest.
    let answer = set(&["--false-alarm-rate", "0.02"]);
    let threshold = &answer["threshold"];
    assert_eq!(
        (&threshold["origin"], &threshold["false_alarm_rate"]),
        (&"rate".into(), &0.02.into())
    );
    judged_by(&threshold["threshold"]);
    assert_eq!(
        done(&dir, &["status"])["threshold"]["threshold"],
        threshold["threshold"]
    );
    for (arguments, part) in [
        (
            &["--false-alarm-rate", "0.001"][..],
            "smallest rate that this calibration can guarantee",
        ),
        (&["--false-alarm-rate", "1.5"], "above 0 and below 1"),
        (&["nan"], "finite number"),
        (&["inf"], "finite number"),
        (&[], "required"),
        (&["1", "--false-alarm-rate", "0.1"], "cannot be used with"),
    ] {
        let all = [&["--socket", "ctl.sock", "threshold"], arguments].concat();
        let problem = refused(&dir, &all);
        assert!(problem.contains(part), "{problem}");
    }
    set(&["default"]);
    judged_by(&own);
    set(&["-5"]);
    judged_by(&(-5.0).into());

    let encoder = dir.path("model/encoder.onnx");
    let good = fs::read(&encoder).unwrap();
    fs::write(&encoder, b"garbage").unwrap();
    let problem = refused(&dir, &["--socket", "ctl.sock", "reload"]);
    assert!(problem.contains("encoder.onnx"), "{problem}");
    assert!(
        problem.contains("the old configuration goes on"),
        "{problem}"
    );
    judged_by(&(-5.0).into());
    fs::write(&encoder, good).unwrap();
    let answer = done(&dir, &["reload"]);
    assert!(answer["model_id"].as_str().unwrap().starts_with("tiny-"));
    assert_eq!(answer["problems"], serde_json::json!([]));
    judged_by(&own);
    let told = watch.of_type("threshold").pop().unwrap();
    assert_eq!(told["origin"], "calibration");
    assert_eq!(watch.end().code, Some(0));
    assert_eq!(fs::read(dir.path("model/manifest.toml")).unwrap(), manifest);
}

#[test]
fn a_snapshot_is_the_latest_frame_with_its_verdict() {
    let dir = TestDir::new();
    dir.pictures("line", 2, &[1]);
    let watch = Watch::start(&dir, &["line"]);
    until("both frames", || watch.count("frame") == 2);
    let answer = done(&dir, &["snapshot", "--out", "shots/now.png"]);
    assert_eq!(answer["frame"]["pred_label"], "anomalous");
    assert!(answer["png"].is_null() && answer["path"] == "shots/now.png");
    let shot = image::open(dir.path("shots/now.png")).unwrap();
    assert_eq!(shot.to_rgb8(), tiny::frame(1, Some((5, 2))).to_rgb8());
    done(&dir, &["snapshot", "--out", "drawn.png", "--overlay"]);
    let drawn = image::open(dir.path("drawn.png")).unwrap();
    assert!(drawn.height() > shot.height(), "there is a panel below");
    assert!(
        refused(
            &dir,
            &["--socket", "ctl.sock", "snapshot", "--out", "x.jpg"]
        )
        .contains("only .png")
    );

    // Those of a folder wait: none is passed over.
    done(&dir, &["pause"]);
    let picture = tiny::png(&tiny::frame(1, None));
    fs::write(dir.path("line/9.png"), picture).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(watch.count("frame"), 2);
    done(&dir, &["resume"]);
    until("the frame that waited", || watch.count("frame") == 3);
    let ran = watch.end();
    assert!(ran.messages.contains("3 judged"), "{}", ran.messages);
}

#[test]
fn a_socket_of_the_dead_is_replaced_and_one_of_the_living_is_not() {
    let dir = TestDir::new();
    dir.pictures("line", 1, &[]);
    drop(UnixListener::bind(dir.path("ctl.sock")).unwrap());
    let configuration = "[control]\npath = 'ctl.sock'\nmode = '0660'\n";
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    assert!(refused(&dir, &["status"]).contains("has ended"));
    let watch = Watch::start(&dir, &["line"]);
    let mode = fs::metadata(dir.path("ctl.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    // The configuration names the socket.
    assert_eq!(dir.ctl(&["status"]).status.code(), Some(0));
    let second = Ran::of(&mut dir.watch(&["line", "--control", "ctl.sock"]));
    assert_eq!(second.code, Some(2));
    assert!(
        second.messages.contains("another process listens there"),
        "{}",
        second.messages
    );
    assert_eq!(dir.ctl(&["status"]).status.code(), Some(0));
    watch.end();

    fs::write(dir.path("file"), "x").unwrap();
    let long = "x".repeat(120);
    for (path, part) in [
        ("file", "is no socket"),
        ("none/ctl.sock", "there is no folder none"),
        (long.as_str(), "1 to 107 bytes, and this one 120"),
    ] {
        let ran = Ran::of(&mut dir.watch(&["line", "--control", path]));
        assert_eq!(ran.code, Some(2), "{path}");
        assert!(ran.messages.contains(part), "{}", ran.messages);
    }
    assert_eq!(fs::read_to_string(dir.path("file")).unwrap(), "x");
    let check = dir.watch(&["line", "--check"]).output().unwrap();
    let plan = String::from_utf8(check.stdout).unwrap();
    assert!(plan.contains("control      ctl.sock (mode 0660)"), "{plan}");
    for mode in ["0666", "660", "rw"] {
        fs::write(
            dir.path("bad.toml"),
            format!("control.path = 'x'\ncontrol.mode = '{mode}'"),
        )
        .unwrap();
        let ran = Ran::of(&mut dir.watch(&["line", "--config", "bad.toml", "--check"]));
        assert!(
            ran.messages.contains("`0600` or `0660`"),
            "{}",
            ran.messages
        );
    }

    fs::write(dir.path("edge-vae.toml"), "").unwrap();
    for (arguments, part) in [
        (
            &["status"][..],
            "name that of `watch --control PATH` with --socket PATH",
        ),
        (
            &["--socket", "none.sock", "status"],
            "there is no such socket",
        ),
        (&["--socket", "file", "status"], "nobody listens there"),
        (&["--socket", long.as_str(), "status"], "at most 107 bytes"),
        (
            &["--socket", "none.sock", "stop"],
            "unrecognized subcommand",
        ),
    ] {
        let problem = refused(&dir, arguments);
        assert!(problem.contains(part), "{problem}");
    }
}

#[test]
fn a_client_that_talks_nonsense_or_hangs_holds_nothing_up() {
    let dir = TestDir::new();
    fs::write(dir.path("edge-vae.toml"), SETTINGS).unwrap();
    let watch = Watch::start(&dir, &[&dir.camera()]);
    let connect = || UnixStream::connect(dir.path("ctl.sock")).unwrap();
    let stream = connect();
    for (request, part) in [
        ("hello", "a request is one JSON object"),
        (r#"{"command":"stop"}"#, "unknown variant `stop`"),
        (
            r#"{"command":"status","out":"/etc/passwd"}"#,
            "unknown field `out`",
        ),
    ] {
        let answer = exchange(&stream, request);
        assert_eq!(answer["ok"], false);
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
    }
    let answer = exchange(&stream, r#"{"command":"status","id":"a-7"}"#);
    assert_eq!(
        (&answer["ok"], &answer["id"]),
        (&true.into(), &"a-7".into())
    );
    let answer = exchange(&stream, &"x".repeat(40_000));
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("at most 16384 bytes")
    );
    let mut rest = Vec::new();
    let mut closed = &stream;
    // A reset, where bytes of the request were left.
    assert!(closed.read_to_end(&mut rest).is_err() || rest.is_empty());

    // Fifteen that begin a request and do not end it, one that never reads its answers.
    let hanging: Vec<UnixStream> = (0..15)
        .map(|_| {
            let mut stream = connect();
            stream.write_all(b"{\"command\":").unwrap();
            stream
        })
        .collect();
    let mut deaf = connect();
    deaf.set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let snapshots = b"{\"command\":\"snapshot\"}\n".repeat(20_000);
    let _ = deaf.write_all(&snapshots);
    let before = watch.count("frame");
    until("frames all the same", || watch.count("frame") > before + 10);
    let mut line = String::new();
    let _ = BufReader::new(connect()).read_line(&mut line);
    assert!(line.contains("too many clients"), "{line}");
    drop((hanging, deaf));
    until("room for another", || {
        dir.ctl(&["--socket", "ctl.sock", "status"])
            .status
            .success()
    });
    let ran = watch.end();
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    assert!(!Path::new(&dir.path("ctl.sock")).exists());
}
