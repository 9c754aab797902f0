//! Events to a broker that is killed, cut off, or does not want us.

use std::{fs, path::Path, process::Command, sync::atomic::Ordering};

use edge_vae::stream::sink::{Mqtt, MqttSettings, Protocol, Sink, SinkError};

use crate::{
    broker::{Broker, Subscriber},
    events::{event, id_of, ids, trouble},
    gate::Gate,
    program, until,
};

const OPEN: &str = "allow_anonymous true";
const EVENTS: &str = "hall/line 3/event";

fn settings(port: u16, dir: &Path) -> MqttSettings {
    let mut settings = MqttSettings::new(format!("mqtt://127.0.0.1:{port}/hall"));
    settings.outbox.folder = Some(dir.to_owned());
    settings
}

fn received(subscriber: &Subscriber) -> Vec<String> {
    let bodies = subscriber.bodies(EVENTS);
    bodies.iter().map(|body| id_of(body)).collect()
}

#[test]
fn a_broker_that_is_killed_and_restarted_gets_every_event_in_order_once() {
    for (protocol, qos) in [
        (Protocol::V3, 1),
        (Protocol::V3, 2),
        (Protocol::V5, 1),
        (Protocol::V5, 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let Some(mut broker) = Broker::start(|_| OPEN.to_owned()) else {
            return;
        };
        let subscriber = Subscriber::of(&broker, "hall/#");
        let gate = Gate::to(broker.port);
        let mut settings = settings(gate.port, dir.path());
        (settings.protocol, settings.qos, settings.home_assistant) = (protocol, qos, true);
        let mut mqtt = Mqtt::open(&settings).unwrap();
        for number in 0..20 {
            mqtt.take(&event(number)).unwrap();
        }
        until("the first events", || received(&subscriber).len() >= 20);
        // A broker that is killed before it confirmed an event does not know that it has it.
        until("their confirmations", || {
            mqtt.status().is_some_and(|status| status.waiting == 0)
        });
        broker.kill();
        gate.shut();
        for number in 20..40 {
            mqtt.take(&event(number)).unwrap();
        }
        let logged = trouble(&mut mqtt);
        assert!(logged.contains("mqtt://127.0.0.1"), "{logged}");
        broker.again();
        // A broker that was killed has forgotten its subscribers, and what comes before they are
        // back reaches nobody.
        subscriber.wait_for(2);
        gate.open();
        for number in 40..60 {
            mqtt.take(&event(number)).unwrap();
        }
        until("the last events", || received(&subscriber).len() >= 60);
        assert_eq!(subscriber.last("hall/status").unwrap(), b"online");
        mqtt.finish().unwrap();
        drop(mqtt);
        until("goodbye", || {
            subscriber.last("hall/status").unwrap() == b"offline"
        });
        assert_eq!(received(&subscriber), ids(0..60), "{protocol:?} {qos}");
        let state: serde_json::Value =
            serde_json::from_slice(&subscriber.last("hall/line 3/state").unwrap()).unwrap();
        assert_eq!(state["event_id"], "event-0059");
    }
}

/// The connection is cut in the middle of what the broker says, at every byte of it: its answers
/// are lost, or not.
#[test]
fn a_connection_that_is_cut_loses_nothing_and_with_quality_2_doubles_nothing() {
    for (protocol, qos) in [
        (Protocol::V3, 1),
        (Protocol::V3, 2),
        (Protocol::V5, 1),
        (Protocol::V5, 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let Some(broker) = Broker::start(|_| OPEN.to_owned()) else {
            return;
        };
        let subscriber = Subscriber::of(&broker, "hall/#");
        let gate = Gate::to(broker.port);
        let mut settings = settings(gate.port, dir.path());
        (settings.protocol, settings.qos) = (protocol, qos);
        let mut mqtt = Mqtt::open(&settings).unwrap();
        let mut number = 0;
        // PUBACK has 4 bytes, PUBREC and PUBCOMP together 8.
        let cuts = 4 * usize::from(qos);
        for bytes in 0..cuts {
            until("the connection", || {
                subscriber.bodies(EVENTS).len() >= number
            });
            let before = gate.connections.load(Ordering::SeqCst);
            gate.cut_after(bytes);
            for _ in 0..3 {
                mqtt.take(&event(number)).unwrap();
                number += 1;
            }
            until("the next connection", || {
                gate.connections.load(Ordering::SeqCst) > before
            });
        }
        mqtt.take(&event(number)).unwrap();
        until("the last event", || {
            received(&subscriber).last() == Some(&crate::events::id(number))
        });
        let mut found = received(&subscriber);
        let all = found.len();
        found.dedup();
        assert_eq!(found, ids(0..number + 1), "{protocol:?} {qos}");
        let doubled = all - found.len();
        if qos == 2 {
            assert_eq!(doubled, 0, "{protocol:?}");
        } else {
            assert!(doubled <= cuts, "at most one a cut: {doubled}");
        }
    }
}

#[test]
fn events_of_a_process_that_ended_are_sent_by_the_next_and_a_will_says_that_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(|_| OPEN.to_owned()) else {
        return;
    };
    let subscriber = Subscriber::of(&broker, "hall/#");
    let gate = Gate::to(broker.port);
    gate.shut();
    let settings = settings(gate.port, dir.path());
    let mut mqtt = Mqtt::open(&settings).unwrap();
    for number in 0..5 {
        mqtt.take(&event(number)).unwrap();
    }
    // Whether the closed gate was noticed is a matter of time; the events are kept either way.
    assert!(matches!(
        mqtt.finish(),
        Ok(()) | Err(SinkError::Unavailable { .. })
    ));
    drop(mqtt);
    gate.open();
    let mut mqtt = Mqtt::open(&settings).unwrap();
    mqtt.take(&event(5)).unwrap();
    until("all events", || received(&subscriber).len() >= 6);
    assert_eq!(received(&subscriber), ids(0..6));
    until("online", || {
        subscriber.last("hall/status").unwrap() == b"online"
    });
    gate.shut();
    until("the last will", || {
        subscriber.last("hall/status").unwrap() == b"offline"
    });
}

#[test]
fn a_wrong_password_and_an_unknown_host_are_said_once_in_clear_words() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mosquitto_passwd) = program("mosquitto_passwd") else {
        return;
    };
    let broker = Broker::start(|dir| {
        let file = dir.join("passwords");
        let output = Command::new(mosquitto_passwd)
            .args(["-b", "-c"])
            .arg(&file)
            .args(["anna", "right"])
            .output()
            .unwrap();
        assert!(output.status.success());
        format!("allow_anonymous false\npassword_file {}", file.display())
    });
    let Some(broker) = broker else {
        return;
    };
    for protocol in [Protocol::V3, Protocol::V5] {
        let mut settings = settings(broker.port, dir.path());
        settings.protocol = protocol;
        settings.url = format!("mqtt://anna:wrong@127.0.0.1:{}/hall", broker.port);
        let mut mqtt = Mqtt::open(&settings).unwrap();
        let logged = trouble(&mut mqtt);
        assert!(
            logged.contains("the broker refuses us") || logged.contains("password"),
            "{logged}"
        );
        assert!(!logged.contains("wrong@"), "{logged}");
        mqtt.take(&event(0)).unwrap();
        mqtt.idle().unwrap();
        drop(mqtt);

        let password = dir.path().join("password");
        fs::write(&password, "right\n").unwrap();
        settings.url = format!("mqtt://anna@127.0.0.1:{}/hall", broker.port);
        settings.password_file = Some(password);
        let mut mqtt = Mqtt::open(&settings).unwrap();
        until("delivery", || {
            mqtt.idle().unwrap();
            fs::read_dir(dir.path()).unwrap().all(|entry| {
                entry
                    .unwrap()
                    .path()
                    .extension()
                    .is_none_or(|extension| extension != "msg")
            })
        });
        mqtt.finish().unwrap();
    }
    let mut settings = settings(1883, dir.path());
    settings.url = "mqtt://no-such-host.invalid/hall".to_owned();
    let mut mqtt = Mqtt::open(&settings).unwrap();
    let logged = trouble(&mut mqtt);
    assert!(logged.contains("unknown host"), "{logged}");
}
