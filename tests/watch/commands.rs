//! Commands from an MQTT broker: none but those that the configuration names.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

use crate::{
    broker::{Broker, Subscriber},
    test_dir::{Ran, TestDir},
    until,
};

/// Publishes one message, and waits until the broker has it.
fn publish(broker: &Broker, topic: &str, body: &str, retain: bool) {
    let mut options = MqttOptions::new("operator", "127.0.0.1", broker.port);
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut connection) = Client::new(options, 10);
    client
        .try_publish(topic, QoS::AtLeastOnce, retain, body.as_bytes().to_vec())
        .unwrap();
    for event in connection.iter() {
        if let Event::Incoming(Packet::PubAck(_)) = event.unwrap() {
            return;
        }
    }
}

/// What it said until its end, which is a good one.
fn messages(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{messages}");
    messages
}

#[test]
fn commands_come_from_the_network_only_where_they_are_allowed() {
    for protocol in ["3.1.1", "5"] {
        let Some(broker) = Broker::start(|_| "allow_anonymous true".to_owned()) else {
            return;
        };
        let subscriber = Subscriber::of(&broker, "#");
        let dir = TestDir::new();
        let configuration = format!(
            "[health]\nfrozen-after = 0\n[[source]]\nuri = '{}'\nname = 'cam'\n\
             [[mqtt]]\nurl = 'mqtt://127.0.0.1:{}/hall'\nprotocol = '{protocol}'\n\
             client-id = 'box'\nhome-assistant = true\n\
             commands = ['status', 'pause', 'resume', 'snapshot']\n",
            dir.camera(),
            broker.port
        );
        fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
        // Kept from before: it must not be done.
        publish(
            &broker,
            "hall/cam/command",
            r#"{"command":"pause","id":"old"}"#,
            true,
        );
        let child = dir.watch(&[]).spawn().unwrap();
        let last = |topic: &str| -> Option<Value> {
            serde_json::from_slice(&subscriber.last(topic)?).ok()
        };
        let answers = || subscriber.bodies("hall/cam/answer").len();
        let ask = |request: &str| -> Value {
            let before = answers();
            publish(&broker, "hall/cam/command", request, false);
            until("an answer", || answers() > before);
            last("hall/cam/answer").unwrap()
        };
        until("frames", || {
            last("hall/cam/state").is_some_and(|state| !state["label"].is_null())
        });
        assert_eq!(answers(), 0);
        let status = ask(r#"{"command":"status","id":1}"#);
        assert_eq!(
            (&status["ok"], &status["id"]),
            (&true.into(), &1.into()),
            "{status}"
        );
        assert_eq!(status["sources"][0]["state"], "up");

        assert_eq!(ask(r#"{"command":"pause"}"#)["paused"][0], "cam");
        until("the state paused", || {
            last("hall/cam/state").unwrap()["paused"] == true
        });
        let state = last("hall/cam/state").unwrap();
        assert!(
            state["label"].is_null() && state["event_id"].is_null(),
            "{state}"
        );
        let switch = last("homeassistant/switch/box_cam/paused/config").unwrap();
        assert_eq!(switch["command_topic"], "hall/cam/command");
        // As Home Assistant would.
        let resumed = ask(switch["payload_off"].as_str().unwrap());
        assert_eq!(resumed["paused"], serde_json::json!([]));
        until("a label", || {
            !last("hall/cam/state").unwrap()["label"].is_null()
        });

        let shot = ask(r#"{"command":"snapshot","overlay":true}"#);
        assert!(shot["png"].as_str().unwrap().starts_with("iVBOR"), "{shot}");
        for (request, part) in [
            (
                r#"{"command":"threshold","value":1e9}"#,
                "threshold is not allowed here",
            ),
            (r#"{"command":"reload"}"#, "reload is not allowed here"),
            (
                r#"{"command":"snapshot","out":"/tmp/x.png"}"#,
                "unknown field `out`",
            ),
            ("pause", "one JSON object"),
        ] {
            let answer = ask(request);
            assert_eq!(answer["ok"], false);
            assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
        }
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let messages = messages(child);
        assert!(messages.contains("cam: paused"), "{messages}");
        assert!(messages.contains("cam: resumed"), "{messages}");
    }
}

#[test]
fn without_a_word_in_the_configuration_nothing_is_taken() {
    let Some(broker) = Broker::start(|_| "allow_anonymous true".to_owned()) else {
        return;
    };
    let subscriber = Subscriber::of(&broker, "#");
    let dir = TestDir::new();
    let configuration = format!(
        "[health]\nfrozen-after = 0\n[[source]]\nuri = '{}'\nname = 'cam'\n\
         [[mqtt]]\nurl = 'mqtt://127.0.0.1:{}/hall'\nhome-assistant = true\n",
        dir.camera(),
        broker.port
    );
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    let child = dir.watch(&["--duration", "3s"]).spawn().unwrap();
    until("the state", || subscriber.last("hall/cam/state").is_some());
    publish(&broker, "hall/cam/command", r#"{"command":"pause"}"#, false);
    let messages = messages(child);
    assert!(!messages.contains("paused"), "{messages}");
    assert!(subscriber.last("hall/cam/answer").is_none());
    let wrong = "[[source]]\nuri = 'x'\n[[mqtt]]\nurl = 'mqtt://b'\ncommands = ['all']\n";
    fs::write(dir.path("edge-vae.toml"), wrong).unwrap();
    let ran = Ran::of(&mut dir.watch(&["--check"]));
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.messages.contains("unknown variant `all`"),
        "{}",
        ran.messages
    );
}
