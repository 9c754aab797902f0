//! Runs of the program, from its arguments to what it prints.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command},
    thread,
};

use edge_vae::{Frame, frame::PixelFormat};
use serde_json::Value;

use crate::{
    test_dir::{Ran, TestDir, lines},
    tiny,
};

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

fn next(out: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
}

#[test]
fn every_frame_of_a_folder_is_an_object_and_each_defect_one_event() {
    let dir = TestDir::new();
    dir.pictures("line", 30, &[4, 5, 6, 20, 21]);
    let ran = Ran::of(&mut dir.watch(&["line?watch=false", "--json", "--log", "events.jsonl"]));
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    let frames = ran.of_type("frame");
    assert_eq!(frames.len(), 30);
    for (number, frame) in frames.iter().enumerate() {
        assert_eq!(frame["frame_number"], number);
        assert_eq!(frame["schema_version"], 1);
        assert!(
            frame["path"]
                .as_str()
                .unwrap()
                .ends_with(&format!("{number:03}.png"))
        );
        let strange = [4, 5, 6, 20, 21].contains(&number);
        assert_eq!(
            frame["pred_label"],
            if strange { "anomalous" } else { "normal" }
        );
        assert_eq!(frame["regions"].as_array().unwrap().is_empty(), !strange);
        for key in [
            "pred_score",
            "map_max",
            "backend",
            "device",
            "frame_id",
            "threshold",
            "p_value",
            "model_id",
            "timestamp",
            "source",
        ] {
            assert!(!frame[key].is_null(), "{key} in {frame}");
        }
        assert!(frame["latency_ms"]["total"].as_f64().unwrap() > 0.0);
    }
    let of = |objects: &[&Value], phase: &str| -> Vec<(u64, u64)> {
        let number = |object: &Value, key: &str| object[key]["frame_number"].as_u64().unwrap();
        objects
            .iter()
            .filter(|object| object["phase"] == phase)
            .map(|object| (number(object, "first"), number(object, "last")))
            .collect()
    };
    let events = ran.of_type("event");
    assert_eq!(of(&events, "closed"), [(4, 6), (20, 21)]);
    let kept = lines(&dir.path("events.jsonl"));
    let kept: Vec<&Value> = kept.iter().filter(|o| o["type"] == "event").collect();
    assert_eq!(kept, events);
    assert!(
        ran.messages.contains("30 captured, 0 dropped"),
        "{}",
        ran.messages
    );
    assert!(ran.messages.contains("p99"), "{}", ran.messages);
}

#[test]
fn frames_for_review_are_events_of_their_own_class() {
    let dir = TestDir::new();
    let folder = dir.pictures("line", 8, &[6]);
    // Scores 0.897: below the threshold of 0.96, above that of 0.81 for a rate of 0.2.
    let side = tiny::SIDE;
    let near = (0..side * side).map(|i| 100 + 117 * ((i % side + i / side) % 2) as u8);
    let side = side as u32;
    let near = Frame::from_u8(side, side, PixelFormat::Gray8, near.collect(), "near").unwrap();
    for number in [2, 3, 5] {
        fs::write(folder.join(format!("{number:03}.png")), tiny::png(&near)).unwrap();
    }
    fs::write(
        dir.path("edge-vae.toml"),
        "review-rate = 0.2\n[[log]]\npath = \"defects.jsonl\"\nevents = \"defect\"\n\
         [[log]]\npath = \"review.jsonl\"\nevents = \"review\"\n",
    )
    .unwrap();
    let ran = Ran::of(&mut dir.watch(&["line?watch=false", "--json"]));
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    let reviewed: Vec<bool> = ran
        .of_type("frame")
        .iter()
        .map(|f| f["review"] == true)
        .collect();
    let expected = [2, 3, 5];
    assert_eq!(
        reviewed,
        (0..8).map(|i| expected.contains(&i)).collect::<Vec<_>>()
    );
    let closed = |objects: &[&Value]| -> Vec<(String, u64, u64)> {
        let number = |object: &Value, key: &str| object[key]["frame_number"].as_u64().unwrap();
        let closed = objects.iter().filter(|object| object["phase"] == "closed");
        closed
            .map(|o| {
                (
                    o["class"].as_str().unwrap().to_owned(),
                    number(o, "first"),
                    number(o, "last"),
                )
            })
            .collect()
    };
    let review = |first, last| ("review".to_owned(), first, last);
    let defect = ("defect".to_owned(), 6, 6);
    let events = ran.of_type("event");
    assert_eq!(
        closed(&events),
        [review(2, 3), review(5, 5), defect.clone()]
    );
    let kept = |file: &str| {
        let kept = lines(&dir.path(file));
        let kept: Vec<&Value> = kept.iter().filter(|o| o["type"] == "event").collect();
        closed(&kept)
    };
    assert_eq!(kept("defects.jsonl"), [defect]);
    assert_eq!(kept("review.jsonl"), [review(2, 3), review(5, 5)]);
    assert!(
        ran.messages.contains("2 for review of 3 normal frames"),
        "{}",
        ran.messages
    );
    let refused = Ran::of(&mut dir.watch(&["line?watch=false", "--review-rate", "0.05"]));
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.messages.contains("review rate"),
        "{}",
        refused.messages
    );
}

#[test]
fn a_picture_that_arrives_is_judged_and_a_signal_ends_it_well() {
    let dir = TestDir::new();
    let folder = dir.pictures("line", 2, &[]);
    let mut child = dir.watch(&["line", "--json"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(next(&mut out)["frame_number"], 0);
    assert_eq!(next(&mut out)["frame_number"], 1);
    // Written beside and renamed, and written in place.
    let picture = tiny::png(&tiny::frame(1, Some((5, 2))));
    fs::write(folder.join(".new.partial"), &picture).unwrap();
    fs::rename(folder.join(".new.partial"), folder.join("a.png")).unwrap();
    let event = next(&mut out);
    assert_eq!(
        (&event["type"], &event["phase"]),
        (&"event".into(), &"open".into())
    );
    let arrived = next(&mut out);
    assert_eq!(arrived["event_id"], event["event_id"]);
    assert_eq!(arrived["pred_label"], "anomalous");
    assert!(arrived["path"].as_str().unwrap().ends_with("a.png"));
    signal(&child, "TERM");
    let rest: Vec<String> = out.lines().map(Result::unwrap).collect();
    let ran = Ran::until_end(child);
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    assert!(ran.messages.contains("3 captured"), "{}", ran.messages);
    for line in rest {
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["type"], "event", "{object}");
    }
}

#[test]
fn a_hangup_exchanges_the_model_and_a_bad_one_is_refused() {
    let dir = TestDir::new();
    let line = dir.line(9);
    let configuration = format!("model = 'model'\n[[source]]\nuri = '{line}'\nname = 'cam'\n");
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    let mut child = dir.watch(&["--json"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let errors = BufReader::new(child.stderr.take().unwrap());
    let (say, said) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for line in errors.lines() {
            let _ = say.send(line.unwrap());
        }
    });
    let wait_for = |text: &str| -> String {
        loop {
            let line = said
                .recv_timeout(std::time::Duration::from_secs(60))
                .expect(text);
            if line.contains(text) {
                return line;
            }
        }
    };
    let old = next(&mut out)["model_id"].clone();
    // Somebody has to read, or the program waits.
    let reader = thread::spawn(move || {
        let mut models = Vec::new();
        let mut numbers = Vec::new();
        for line in out.lines() {
            let Ok(object) = serde_json::from_str::<Value>(&line.unwrap()) else {
                continue;
            };
            if object["type"] == "frame" {
                numbers.push(object["frame_number"].as_u64().unwrap());
                let id = object["model_id"].clone();
                if models.last() != Some(&id) {
                    models.push(id);
                }
            }
        }
        (models, numbers)
    });

    // A model that can't prove itself.
    let encoder = dir.path("model/encoder.onnx");
    let good = fs::read(&encoder).unwrap();
    fs::write(&encoder, b"garbage").unwrap();
    signal(&child, "HUP");
    let refusal = wait_for("the old configuration goes on");
    assert!(refusal.contains("encoder.onnx"), "{refusal}");

    // Another one.
    fs::write(&encoder, good).unwrap();
    let mut writer = tiny::writer();
    writer.name = "other".to_owned();
    fs::remove_dir_all(dir.path("model")).unwrap();
    writer.finish().unwrap().save(&dir.path("model")).unwrap();
    signal(&child, "HUP");
    wait_for("the configuration was read again");
    thread::sleep(std::time::Duration::from_millis(300));
    signal(&child, "INT");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let (models, numbers) = reader.join().unwrap();
    assert_eq!(models.len(), 2, "{models:?}");
    assert_eq!(models[0], old);
    assert!(
        models[1].as_str().unwrap().starts_with("other-"),
        "{models:?}"
    );
    let gaps = numbers
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .count();
    assert_eq!(gaps, 0, "no frame is lost when the model changes");
}

#[test]
fn mistakes_are_one_line_and_exit_code_2() {
    let dir = TestDir::new();
    dir.pictures("line", 1, &[]);
    dir.pictures("empty", 0, &[]);
    fs::write(dir.path("typo.toml"), "model = \"model\"\nfraems = 3\n").unwrap();
    fs::write(
        dir.path("value.toml"),
        "queue = 0\n[[source]]\nuri = \"line\"\n",
    )
    .unwrap();
    fs::write(
        dir.path("name.toml"),
        "[[source]]\nuri = \"line\"\nname = \"a/b\"\n",
    )
    .unwrap();
    for (arguments, expected) in [
        (vec![], "source: there is none"),
        (vec!["--config", "none.toml"], "none.toml"),
        (
            vec!["--config", "typo.toml"],
            "typo.toml, line 2: unknown field `fraems`",
        ),
        (vec!["--config", "value.toml"], "queue: choose 1 to 1000"),
        (vec!["--config", "name.toml"], "a/b"),
        (vec!["warp://9"], "warp"),
        (vec!["nothing-there", "--retries", "0"], "nothing-there"),
        (vec!["pipe:echo garbage", "--retries", "0"], "pipe"),
        (vec!["empty?watch=false"], "without a frame"),
        (vec!["line", "--model", "none"], "none"),
        (vec!["line", "--log", "line/000.png/x.jsonl"], "x.jsonl"),
    ] {
        let ran = Ran::of(&mut dir.watch(&arguments));
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.messages);
        let last = ran.messages.lines().last().unwrap();
        assert!(last.starts_with("edge-vae: "), "{last}");
        assert!(
            ran.messages.contains(expected),
            "{arguments:?}: {}",
            ran.messages
        );
        assert!(!ran.messages.contains("panicked"), "{}", ran.messages);
    }
}

#[test]
fn the_plan_is_printed_and_nothing_is_opened() {
    let dir = TestDir::new();
    let mut command = dir.watch(&["v4l2:///dev/video77", "--check", "--log", "events.jsonl"]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for expected in [
        "/dev/video77",
        "model        tiny-",
        "2 of the last 3 frames",
        "the oldest is lost",
        "log events.jsonl",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(!dir.path("events.jsonl").exists());
}

#[test]
fn the_procedural_camera_gives_each_frame_once() {
    let dir = TestDir::new();
    let uri = "synth://surface?width=32&height=32&defects=0.05&seed=3&fps=1000";
    let ran = Ran::of(&mut dir.watch(&[uri, "--frames", "120", "--json"]));
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    let numbers: Vec<u64> = ran
        .of_type("frame")
        .iter()
        .map(|frame| frame["frame_number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..120).collect::<Vec<u64>>());
}
