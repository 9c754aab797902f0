//! A Mosquitto broker, and a client that notes all that it publishes.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use crate::{free_port, program, until};

pub(crate) struct Broker {
    pub(crate) port: u16,
    child: Option<Child>,
    configuration: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Broker {
    /// Starts a broker with further lines of configuration; `None` where there is none to start.
    pub(crate) fn start(more: impl FnOnce(&Path) -> String) -> Option<Self> {
        program("mosquitto")?;
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let configuration = dir.path().join("mosquitto.conf");
        let more = more(dir.path());
        // Only root may ask to stay who it is.
        let user = if rustix::process::geteuid().is_root() {
            "user root\n"
        } else {
            ""
        };
        let text = format!("{user}listener {port} 127.0.0.1\n{more}\n");
        fs::write(&configuration, text).unwrap();
        let mut broker = Self {
            port,
            child: None,
            configuration,
            _dir: dir,
        };
        broker.again();
        Some(broker)
    }

    pub(crate) fn again(&mut self) {
        let child = Command::new(program("mosquitto").unwrap())
            .arg("-c")
            .arg(&self.configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("the broker listens", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// `kill -9`
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Topic and body of a message.
type Note = (String, Vec<u8>);

/// Notes what is published, in order, and connects again by itself.
pub(crate) struct Subscriber {
    noted: Arc<Mutex<Vec<Note>>>,
    /// How often it has subscribed.
    subscribed: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
}

impl Subscriber {
    pub(crate) fn of(broker: &Broker, filter: &'static str) -> Self {
        let mut options = MqttOptions::new("subscriber", "127.0.0.1", broker.port);
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 10);
        let subscriber = Self {
            noted: Arc::default(),
            subscribed: Arc::default(),
            ending: Arc::default(),
        };
        let noted = Arc::clone(&subscriber.noted);
        let subscribed = Arc::clone(&subscriber.subscribed);
        let ending = Arc::clone(&subscriber.ending);
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        client.try_subscribe(filter, QoS::ExactlyOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        subscribed.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let note = (publish.topic, publish.payload.to_vec());
                        noted.lock().unwrap().push(note);
                    }
                    Ok(_) => {}
                    Err(_) if ending.load(Ordering::SeqCst) => return,
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        subscriber.wait_for(1);
        subscriber
    }

    /// Waits until it has subscribed so often.
    pub(crate) fn wait_for(&self, times: usize) {
        until("the subscription", || {
            self.subscribed.load(Ordering::SeqCst) >= times
        });
    }

    pub(crate) fn bodies(&self, topic: &str) -> Vec<Vec<u8>> {
        let noted = self.noted.lock().unwrap();
        noted
            .iter()
            .filter(|(of, _)| of == topic)
            .map(|(_, body)| body.clone())
            .collect()
    }

    pub(crate) fn last(&self, topic: &str) -> Option<Vec<u8>> {
        self.bodies(topic).pop()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
    }
}
