//! What a broker hears of a camera that is silent, and of two clients with one name.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::{
    broker::{Broker, Subscriber},
    test_dir::TestDir,
    tiny, until,
};

const OPEN: &str = "allow_anonymous true";

fn end(mut child: Child) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn home_assistant_does_not_take_silence_for_health() {
    let Some(broker) = Broker::start(|_| OPEN.to_owned()) else {
        return;
    };
    let subscriber = Subscriber::of(&broker, "#");
    let dir = TestDir::new();
    dir.line(4);
    let side = tiny::SIDE;
    // Four frames, then none while the file `silent` is there.
    let camera = format!(
        "pipe:?live=true&timeout=500ms&format=gray&width={side}&height={side} \
         while :; do test -e silent || cat line.raw; sleep 0.1; done"
    );
    let configuration = format!(
        "[health]\nfrozen-after = 0\n[[source]]\nuri = '{camera}'\nname = 'cam'\n\
         [[mqtt]]\nurl = 'mqtt://127.0.0.1:{}/hall'\nhome-assistant = true\nclient-id = 'box'\n",
        broker.port
    );
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    fs::write(dir.path("silent"), "").unwrap();
    let child = dir.watch(&[]).spawn().unwrap();
    let last =
        |topic: &str| -> Option<Value> { serde_json::from_slice(&subscriber.last(topic)?).ok() };
    let is_up = || last("hall/cam/state").map(|state| state["up"] == true);
    until("the state of a camera that never gave a frame", || {
        is_up() == Some(false)
    });
    fs::remove_file(dir.path("silent")).unwrap();
    until("the state with frames", || is_up() == Some(true));
    fs::write(dir.path("silent"), "").unwrap();
    until("the state in silence", || is_up() == Some(false));

    let config = |kind: &str, object: &str| {
        last(&format!("homeassistant/{kind}/box_cam/{object}/config")).unwrap()
    };
    for (kind, object) in [("binary_sensor", "problem"), ("sensor", "score")] {
        let config = config(kind, object);
        assert_eq!(config["availability_mode"], "all");
        let topics: Vec<&Value> = config["availability"]
            .as_array()
            .unwrap()
            .iter()
            .map(|availability| &availability["topic"])
            .collect();
        assert_eq!(topics, ["hall/status", "hall/cam/state"]);
        let template = config["availability"][1]["value_template"]
            .as_str()
            .unwrap();
        assert!(template.contains("value_json.up"), "{template}");
    }
    let problem = config("binary_sensor", "problem")["value_template"].to_string();
    assert!(problem.contains("value_json.label in"), "{problem}");
    let connection = config("binary_sensor", "connection");
    assert_eq!(connection["device_class"], "connectivity");
    assert_eq!(connection["availability"].as_array().unwrap().len(), 1);
    end(child);
    until("goodbye", || {
        subscriber.last("hall/status").unwrap() == b"offline"
    });
}

#[test]
fn a_client_id_that_is_used_twice_is_named() {
    for protocol in ["3.1.1", "5"] {
        let Some(broker) = Broker::start(|_| OPEN.to_owned()) else {
            return;
        };
        let dir = TestDir::new();
        let line = dir.line(9);
        let messages: Arc<Mutex<Vec<String>>> = Arc::default();
        let children: Vec<Child> = [1, 2]
            .iter()
            .map(|number| {
                let configuration = format!(
                    "[[source]]\nuri = '{line}'\n[[mqtt]]\nurl = 'mqtt://127.0.0.1:{}/hall'\n\
                     client-id = 'twin'\nprotocol = '{protocol}'\n\
                     outbox.folder = 'outbox-{number}'\n",
                    broker.port
                );
                let file = format!("{number}.toml");
                fs::write(dir.path(&file), configuration).unwrap();
                let mut child = dir.watch(&["--config", &file]).spawn().unwrap();
                let errors = BufReader::new(child.stderr.take().unwrap());
                let messages = Arc::clone(&messages);
                thread::spawn(move || {
                    for line in errors.lines() {
                        messages.lock().unwrap().push(line.unwrap());
                    }
                });
                child
            })
            .collect();
        until("the client id is named", || {
            let messages = messages.lock().unwrap();
            let mut lines = messages.iter();
            lines.any(|line| line.contains("twin seems to be used twice"))
        });
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let dir = TestDir::new();
    let configuration = "[[source]]\nuri = 'folder/'\n\
        [[mqtt]]\nurl = 'mqtt://broker/a'\nclient-id = 'twin'\noutbox.folder = '1'\n\
        [[mqtt]]\nurl = 'mqtt://Broker/b'\nclient-id = 'twin'\noutbox.folder = '2'\n";
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    let output = dir.watch(&["--check"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("mqtt.client-id: is used twice"), "{text}");
}
