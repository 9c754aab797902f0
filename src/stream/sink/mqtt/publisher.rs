//! The thread that keeps the connection, and what it shares with the other one.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rumqttc::Transport;

use super::{
    super::{
        super::{
            backoff::Backoff,
            control::{ControlHandle, Verb},
            tls,
        },
        delivery::{Delivery, attempts},
    },
    wire::{CLOSED, Client, ConnectOptions, LinkEvent, ONLINE, Unfinished, connect, used_twice},
};

/// A connection that held for so long was a good one.
const GOOD: Duration = Duration::from_secs(5);

/// Connections in a row that the broker took and then closed, after which two clients are taken to
/// push each other out. One may be a broker that ends.
const CLOSED_IN_A_ROW: u32 = 3;

/// A connection that held for so long was not pushed out by a client that tries again at most
/// every half minute, as we do.
const NOT_PUSHED_OUT: Duration = Duration::from_secs(60);

/// What the two threads share.
pub(super) struct Publisher {
    pub(super) delivery: Delivery,
    pub(super) prefix: String,
    pub(super) qos: u8,
    pub(super) link: Mutex<Link>,
    /// Commands that are taken from the network.
    pub(super) commands: Vec<Verb>,
    /// Where they go, once the pipeline said so.
    pub(super) control: OnceLock<ControlHandle>,
    /// Commands whose answers are awaited.
    pub(super) asking: AtomicUsize,
}

/// Commands at once: who sends more is told so.
const ASKING: usize = 4;

/// The connection, as far as both threads need it.
#[derive(Default)]
pub(super) struct Link {
    /// While connected.
    pub(super) client: Option<Client>,
    /// Number of the message that is on its way.
    on_its_way: Option<u64>,
    /// What every retained topic holds, to be told to a broker that has forgotten.
    pub(super) retained: BTreeMap<String, Vec<u8>>,
    /// Names of the sources, by their levels in topics.
    pub(super) sources: BTreeMap<String, String>,
}

impl Publisher {
    pub(super) fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection, until the sink ends.
    pub(super) fn work(self: &Arc<Self>, options: &ConnectOptions) {
        let mut back_off = attempts();
        let mut unfinished = Unfinished::Nothing;
        let mut closed = 0;
        while !self.delivery.is_ending() {
            // The client's constructor panics where the system has no more file descriptors.
            let ran = catch_unwind(AssertUnwindSafe(|| {
                self.run(options, std::mem::take(&mut unfinished), &mut back_off)
            }));
            let ended = ran.unwrap_or_else(|_| LinkEnd::Lost {
                problem: "cannot start a client; are there too many open files?".to_owned(),
                unfinished: Unfinished::Nothing,
                held: None,
            });
            self.link().client = None;
            match ended {
                LinkEnd::Asked => return,
                LinkEnd::Again => {}
                LinkEnd::Lost {
                    mut problem,
                    unfinished: going,
                    held,
                } => {
                    unfinished = going;
                    // MQTT 3.1.1 has no word for it: the broker closes the connection.
                    closed = match held {
                        Some(held) if problem == CLOSED && held < NOT_PUSHED_OUT => closed + 1,
                        _ => 0,
                    };
                    let is_secure = matches!(options.transport, Transport::Tls(_));
                    if is_secure && held.is_none() && problem == CLOSED {
                        problem = format!("{CLOSED} at once; {}", tls::MAY_WANT_CERTIFICATE);
                    }
                    if closed >= CLOSED_IN_A_ROW {
                        problem = used_twice(&options.client_id);
                    }
                    self.delivery.failed(problem);
                    if !self.delivery.rest(back_off.failed()) {
                        return;
                    }
                }
            }
        }
    }

    /// One connection.
    fn run(
        self: &Arc<Self>,
        options: &ConnectOptions,
        unfinished: Unfinished,
        back_off: &mut Backoff,
    ) -> LinkEnd {
        let (client, mut connection) = connect(options, unfinished);
        let mut since: Option<Instant> = None;
        loop {
            let event = connection.next(&options.client_id);
            let held = since.map(|since| since.elapsed());
            if event.is_ok() && held.is_some_and(|held| held >= GOOD) {
                self.delivery.recovered();
                back_off.succeeded();
            }
            match event {
                Ok(LinkEvent::Connected { resumed }) => {
                    since = Some(Instant::now());
                    self.connected(&client, resumed && options.keep_session, options);
                    // Who asked for the end before could not say goodbye with this client.
                    if self.delivery.is_ending() {
                        return LinkEnd::Asked;
                    }
                }
                Ok(LinkEvent::Delivered) => {
                    let mut link = self.link();
                    if let Some(number) = link.on_its_way.take() {
                        self.delivery.delivered(number);
                        back_off.succeeded();
                    }
                    self.send_next(&mut link);
                }
                Ok(LinkEvent::Refused(reason)) => {
                    if let Some(number) = self.link().on_its_way.take() {
                        self.delivery.refused(number, &reason);
                    }
                    return LinkEnd::Again;
                }
                // A command that is kept would be done again at each connection.
                Ok(LinkEvent::Received {
                    topic,
                    body,
                    retained: false,
                }) => self.command(&client, &topic, body),
                Ok(LinkEvent::Received { .. }) => {}
                Ok(LinkEvent::NotSubscribed) => self.delivery.failed(format!(
                    "the broker does not let us subscribe to {}: no commands are taken",
                    self.command_topic("+")
                )),
                Ok(LinkEvent::Ended) => return LinkEnd::Asked,
                Ok(LinkEvent::Nothing) => {}
                Err(problem) => {
                    if held.is_some_and(|held| held >= GOOD) {
                        back_off.succeeded();
                    }
                    // What was sent without the connection's knowing is sent anew.
                    let unfinished = connection.unfinished();
                    if unfinished.is_empty() {
                        self.link().on_its_way = None;
                    }
                    return LinkEnd::Lost {
                        problem,
                        unfinished,
                        held,
                    };
                }
            }
        }
    }

    fn connected(&self, client: &Client, resumed: bool, options: &ConnectOptions) {
        let mut link = self.link();
        client.publish(&options.status_topic, 0, true, ONLINE.into());
        for (topic, body) in &link.retained {
            client.publish(topic, 0, true, body.clone());
        }
        if !self.commands.is_empty() {
            client.subscribe(&self.command_topic("+"));
        }
        link.client = Some(client.clone());
        if !resumed {
            link.on_its_way = None;
        }
        self.send_next(&mut link);
    }

    fn command_topic(&self, source: &str) -> String {
        format!("{}/{source}/command", self.prefix)
    }

    /// Has a command done in a thread of its own: the connection may not wait for it.
    fn command(self: &Arc<Self>, client: &Client, topic: &str, body: Vec<u8>) {
        let level = topic
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix('/')?.strip_suffix("/command"));
        let (Some(level), Some(control)) = (level, self.control.get().cloned()) else {
            return;
        };
        // Of a session that the broker kept, there may be one from before.
        if self.commands.is_empty() {
            return;
        }
        let source = self.link().sources.get(level).cloned();
        let source = source.unwrap_or_else(|| level.to_owned());
        let address = format!("{}/{level}/answer", self.prefix);
        let client = client.clone();
        if self.asking.fetch_add(1, Ordering::Relaxed) >= ASKING {
            self.asking.fetch_sub(1, Ordering::Relaxed);
            let busy = br#"{"type":"answer","ok":false,"error":"too many commands wait"}"#;
            client.publish(&address, 0, false, busy.to_vec());
            return;
        }
        let publisher = Arc::clone(self);
        let thread = thread::Builder::new().name("mqtt command".to_owned());
        let asked = thread.spawn(move || {
            let ending = || publisher.delivery.is_ending();
            let answer = control.answer(&body, &publisher.commands, Some(&source), &ending);
            client.publish(&address, 0, false, answer);
            publisher.asking.fetch_sub(1, Ordering::Relaxed);
        });
        if asked.is_err() {
            self.asking.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sends the next message, if there is a connection and none is on its way.
    pub(super) fn send_next(&self, link: &mut Link) {
        let (Some(client), None) = (&link.client, link.on_its_way) else {
            return;
        };
        if let Some((number, message)) = self.delivery.front() {
            let topic = format!("{}/{}", self.prefix, message.address);
            if client.publish(&topic, self.qos, false, message.body) {
                link.on_its_way = Some(number);
            }
        }
    }

    pub(super) fn retain(&self, topic: String, body: Vec<u8>) {
        let mut link = self.link();
        if let Some(client) = &link.client {
            client.publish(&topic, 0, true, body.clone());
        }
        link.retained.insert(topic, body);
    }
}

/// Why a connection ended.
enum LinkEnd {
    /// The sink ends.
    Asked,
    /// Another one is wanted at once.
    Again,
    /// It was lost.
    Lost {
        problem: String,
        unfinished: Unfinished,
        /// How long, where the broker took us.
        held: Option<Duration>,
    },
}
