//! Events to an MQTT broker.
//!
//! ```text
//! <prefix>/status            retained   online | offline (the last will)
//! <prefix>/<source>/state    retained   label, score and open event of the source
//! <prefix>/<source>/event    QoS 1      an event that opened or closed, as in the log
//! <prefix>/<source>/drift    QoS 1      the source drifted from calibration, or no longer
//! <prefix>/<source>/source   QoS 1      the source was lost, or came back
//! <prefix>/<source>/frame    QoS 0      a judged frame, where frames are asked for
//! <prefix>/<source>/command  QoS 0      commands to us, where some are allowed
//! <prefix>/<source>/answer   QoS 0      our answers to them
//! ```
//!
//! Events, drift and lost sources go through the [`Outbox`] and leave it when the broker
//! acknowledged them. One is on its way at a time, so they arrive in order, whatever happens.
//!
//! A message arrives twice only where the connection was lost, or this process or its machine
//! stopped, between the broker's taking it and our learning so: with QoS 1 the message that was on
//! its way in that moment, one at most. With QoS 2 and a broker that keeps its sessions, not even
//! that one, unless this process was killed. Receivers can tell by `event_id` and `phase`.

mod publisher;
mod settings;
mod topics;
mod wire;

use std::{
    sync::{Arc, Mutex, OnceLock, atomic::AtomicUsize},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::Serialize;

use self::{
    publisher::Publisher,
    settings::resolve,
    topics::{State, discovery, level},
    wire::OFFLINE,
};
use super::{
    EventFilter, Message, Outbox, OutboxMessage, Sink, SinkError, SinkStatus, Wants,
    delivery::Delivery,
};
use crate::stream::{
    control::ControlHandle,
    record::{EventClass, EventPhase},
};

pub use settings::MqttSettings;
pub use wire::Protocol;

/// Time between two states of a source of which only the score differs.
const SCORE_EVERY: Duration = Duration::from_secs(1);
/// How long the end waits for the broker to take what waits.
const FAREWELL: Duration = Duration::from_secs(3);

/// Publishes events to a broker; see the settings for what else.
pub struct Mqtt {
    name: String,
    frames: bool,
    events: EventFilter,
    home_assistant: Option<String>,
    client_id: String,
    publisher: Arc<Publisher>,
    sources: Vec<PublishedSource>,
    worker: Option<JoinHandle<()>>,
}

/// A source, and what was published of it.
struct PublishedSource {
    state: State,
    last: Option<State>,
    when: Instant,
}

impl Mqtt {
    /// Opens the outbox, and begins to connect. The broker need not be there.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for settings that can't work, certificates that can't be read, an
    /// outbox that can't be used.
    pub fn open(settings: &MqttSettings) -> Result<Self, SinkError> {
        let resolved = resolve(settings)?;
        let outbox = Outbox::open(&resolved.name, &resolved.folder, &settings.outbox)?;
        let publisher = Arc::new(Publisher {
            delivery: Delivery::new(&resolved.name, outbox),
            prefix: resolved.prefix,
            qos: settings.qos,
            link: Mutex::default(),
            commands: settings.commands.clone(),
            control: OnceLock::new(),
            asking: AtomicUsize::new(0),
        });
        let (theirs, options) = (Arc::clone(&publisher), resolved.options.clone());
        let worker = std::thread::Builder::new()
            .name("mqtt".to_owned())
            .spawn(move || theirs.work(&options))
            .map_err(|error| {
                SinkError::unavailable(&resolved.name, format!("cannot start a thread: {error}"))
            })?;
        Ok(Self {
            name: resolved.name,
            frames: settings.frames,
            events: settings.events,
            home_assistant: settings
                .home_assistant
                .then(|| settings.home_assistant_prefix.clone()),
            client_id: resolved.options.client_id,
            publisher,
            sources: Vec::new(),
            worker: Some(worker),
        })
    }

    fn send<T: Serialize>(&self, source: &str, kind: &str, record: &T) -> Result<(), SinkError> {
        let pushed = self.publisher.delivery.push(OutboxMessage {
            address: format!("{}/{kind}", level(source)),
            body: json(record),
        });
        self.publisher.send_next(&mut self.publisher.link());
        pushed
    }

    /// Changes the state of a source, and publishes it where that is due.
    fn change(&mut self, source: &str, change: impl FnOnce(&mut State)) {
        let known = |published: &PublishedSource| published.state.source == source;
        let place = self.sources.iter().position(known).unwrap_or_else(|| {
            self.sources.push(PublishedSource {
                state: State::new(source),
                last: None,
                when: Instant::now(),
            });
            let mut link = self.publisher.link();
            link.sources.insert(level(source), source.to_owned());
            drop(link);
            if let Some(discovery_prefix) = &self.home_assistant {
                for (topic, config) in discovery(
                    discovery_prefix,
                    &self.publisher.prefix,
                    &self.client_id,
                    source,
                    &self.publisher.commands,
                ) {
                    self.publisher.retain(topic, json(&config));
                }
            }
            self.sources.len() - 1
        });
        let published = &mut self.sources[place];
        change(&mut published.state);
        let PublishedSource { state, last, when } = published;
        let due = last.as_ref().is_none_or(|last| {
            state.differs(last) || (state != last && when.elapsed() >= SCORE_EVERY)
        });
        if due {
            let topic = format!("{}/{}/state", self.publisher.prefix, level(source));
            self.publisher.retain(topic, json(state));
            *last = Some(state.clone());
            *when = Instant::now();
        }
    }
}

/// Records are made of strings, numbers and lists only, which all have a place in JSON.
fn json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

impl Sink for Mqtt {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants {
            // For the retained state, if not to be published.
            frames: true,
            events: self.events,
            ..Wants::default()
        }
    }

    fn control(&mut self, handle: &ControlHandle) {
        // Called once.
        let _ = self.publisher.control.set(handle.clone());
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        match message {
            Message::Frame(scored) => {
                let record = &scored.record;
                self.change(&record.source, |state| {
                    state.up = true;
                    state.label = Some(record.pred_label);
                    state.review = record.review;
                    state.score = record.pred_score;
                    state.threshold = Some(record.threshold);
                });
                if self.frames
                    && let Some(client) = &self.publisher.link().client
                {
                    let topic =
                        format!("{}/{}/frame", self.publisher.prefix, level(&record.source));
                    client.publish(&topic, 0, false, json(record));
                }
                Ok(())
            }
            // What is for review is no problem of the source's state.
            Message::Event { record, .. } if record.class == EventClass::Review => {
                self.send(&record.source, "event", &**record)
            }
            Message::Event { record, .. } => {
                self.change(&record.source, |state| {
                    let open = record.phase == EventPhase::Open;
                    state.event_id = open.then(|| record.event_id.clone());
                    state.threshold = Some(record.threshold);
                });
                self.send(&record.source, "event", &**record)
            }
            Message::Drift(record) => {
                self.change(&record.source, |state| state.drifted = record.drifted);
                self.send(&record.source, "drift", &**record)
            }
            Message::Source(record) => {
                self.change(&record.source, |state| {
                    state.up = record.up;
                    if !record.up {
                        (state.label, state.score, state.review) = (None, None, false);
                    }
                });
                self.send(&record.source, "source", &**record)
            }
            Message::Pause(record) => {
                self.change(&record.source, |state| state.pause(record.paused));
                Ok(())
            }
            Message::Threshold(record) => {
                let names = self
                    .sources
                    .iter()
                    .map(|source| source.state.source.clone());
                for name in names.collect::<Vec<_>>() {
                    self.change(&name, |state| state.threshold = Some(record.threshold));
                }
                Ok(())
            }
            Message::Tally(tally) => {
                for source in &tally.sources {
                    self.change(&source.name, |state| {
                        (state.up, state.drifted) = (source.up, source.drifted);
                        state.pause(source.paused);
                    });
                }
                // Also where frames leave no time for [`Sink::idle`].
                self.publisher.delivery.report()
            }
        }
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(self.publisher.delivery.status())
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        // A message for which there was no room.
        self.publisher.send_next(&mut self.publisher.link());
        self.publisher.delivery.report()
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let connected = self.publisher.link().client.is_some();
        if connected {
            self.publisher.delivery.wait_until_empty(FAREWELL);
        }
        let reported = self.publisher.delivery.report();
        self.end().and(reported)
    }
}

impl Mqtt {
    fn end(&mut self) -> Result<(), SinkError> {
        let saved = self.publisher.delivery.close();
        let client = self.publisher.link().client.take();
        if let Some(client) = client {
            // A last will is only for those who leave without a word.
            let topic = format!("{}/status", self.publisher.prefix);
            client.publish(&topic, 0, true, OFFLINE.into());
            client.disconnect();
        }
        if let Some(worker) = self.worker.take() {
            // In the middle of looking a name up it can be kept for long: it is then left behind.
            let end = Instant::now() + FAREWELL;
            while !worker.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            if worker.is_finished() {
                let _ = worker.join();
            }
        }
        saved
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::test_messages as messages, *};

    #[test]
    fn without_a_broker_events_wait_on_disk_and_the_trouble_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut settings = MqttSettings::new(format!("mqtt://127.0.0.1:{port}/hall"));
        settings.outbox.folder = Some(dir.path().to_owned());
        settings.home_assistant = true;
        let mut mqtt = Mqtt::open(&settings).unwrap();
        mqtt.take(&messages::frame("cam", 1, 2.0)).unwrap();
        mqtt.take(&messages::opened("e1", "cam")).unwrap();
        mqtt.take(&messages::closed("e1", "cam")).unwrap();
        let begun = Instant::now();
        let error = loop {
            assert!(begun.elapsed() < Duration::from_secs(30));
            match mqtt.idle() {
                Ok(()) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(
            error,
            format!("mqtt mqtt://127.0.0.1:{port}: connection refused: no broker listens there")
        );
        assert_eq!(
            mqtt.publisher.link().retained.len(),
            4,
            "three sensors and a state"
        );
        mqtt.finish().unwrap();
        let mut outbox = Outbox::open("test", dir.path(), &settings.outbox).unwrap();
        assert_eq!(outbox.len(), 2);
        let (_, message) = outbox.front().unwrap();
        assert_eq!(message.address, "cam/event");
        let event: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(
            (&event["event_id"], &event["phase"]),
            (&"e1".into(), &"open".into())
        );
    }
}
