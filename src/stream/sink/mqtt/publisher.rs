//! The thread that keeps the connection, and what it shares with the other one.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    super::{
        super::backoff::Backoff,
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
}

/// The connection, as far as both threads need it.
#[derive(Default)]
pub(super) struct Link {
    /// While connected.
    pub(super) client: Option<Client>,
    /// Number of the message that is on its way.
    on_its_way: Option<u64>,
    /// What every retained topic holds, to be told to a broker that has forgotten.
    pub(super) retained: BTreeMap<String, Vec<u8>>,
}

impl Publisher {
    pub(super) fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection, until the sink ends.
    pub(super) fn work(&self, options: &ConnectOptions) {
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
        &self,
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
        link.client = Some(client.clone());
        if !resumed {
            link.on_its_way = None;
        }
        self.send_next(&mut link);
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
