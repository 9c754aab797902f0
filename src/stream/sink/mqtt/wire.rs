//! The two versions of MQTT behind one face.

use std::{io, time::Duration};

use rumqttc::{
    ConnectReturnCode as Code3, ConnectionError as Error3, Event as Event3, LastWill as Will3,
    MqttOptions as Options3, Outgoing, Packet as Packet3, QoS as Qos3, Request as Request3,
    StateError as State3, SubscribeReasonCode as Sub3, TlsError, Transport,
    v5::{
        ConnectionError as Error5, Event as Event5, MqttOptions as Options5, Request as Request5,
        StateError as State5,
        mqttbytes::{
            Error as Wrong5, QoS as Qos5,
            v5::{
                ConnectReturnCode as Code5, DisconnectReasonCode as Left5, LastWill as Will5,
                Packet as Packet5, PubAckReason as Ack5, PubRecReason as Rec5,
                SubscribeReasonCode as Sub5,
            },
        },
    },
};
use serde::{Deserialize, Serialize};

use crate::stream::tls;

/// Version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Protocol {
    /// MQTT 3.1.1.
    #[default]
    #[serde(rename = "3.1.1")]
    V3,
    /// MQTT 5.
    #[serde(rename = "5")]
    V5,
}

/// Requests that wait in memory for the connection, all of them at the moment of connecting.
const REQUESTS: usize = 1024;
/// Messages on their way at once: one, and some packet numbers to tell it from the one before.
const IN_FLIGHT: u16 = 16;
/// Longest packet that is written.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How long the broker remembers what was on its way when the connection was lost.
const SESSION: Duration = Duration::from_secs(24 * 3600);

pub(super) const ONLINE: &str = "online";
pub(super) const OFFLINE: &str = "offline";

/// How to reach the broker.
#[derive(Clone)]
pub(super) struct ConnectOptions {
    pub(super) protocol: Protocol,
    pub(super) client_id: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) transport: Transport,
    pub(super) login: Option<(String, String)>,
    pub(super) keep_alive: Duration,
    /// Whether the broker is to remember what was on its way, as quality of service 2 needs.
    pub(super) keep_session: bool,
    /// Where the last will goes.
    pub(super) status_topic: String,
}

/// Publishes without waiting.
#[derive(Clone)]
pub(super) enum Client {
    V3(rumqttc::Client),
    V5(rumqttc::v5::Client),
}

impl Client {
    /// Whether it is on its way.
    pub(super) fn publish(&self, topic: &str, qos: u8, retain: bool, body: Vec<u8>) -> bool {
        match self {
            Self::V3(client) => {
                let qos = match qos {
                    0 => Qos3::AtMostOnce,
                    1 => Qos3::AtLeastOnce,
                    _ => Qos3::ExactlyOnce,
                };
                client.try_publish(topic, qos, retain, body).is_ok()
            }
            Self::V5(client) => {
                let qos = match qos {
                    0 => Qos5::AtMostOnce,
                    1 => Qos5::AtLeastOnce,
                    _ => Qos5::ExactlyOnce,
                };
                client.try_publish(topic, qos, retain, body).is_ok()
            }
        }
    }

    /// Asks for what is published on a topic from now on, at most once each: what was said while we
    /// were away is not wanted.
    pub(super) fn subscribe(&self, topic: &str) -> bool {
        match self {
            Self::V3(client) => client.try_subscribe(topic, Qos3::AtMostOnce).is_ok(),
            Self::V5(client) => client.try_subscribe(topic, Qos5::AtMostOnce).is_ok(),
        }
    }

    pub(super) fn disconnect(&self) {
        // Where there is no room for it, the connection is dropped without.
        let _ = match self {
            Self::V3(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        };
    }
}

/// What the connection did.
pub(super) enum LinkEvent {
    /// The broker took us; it remembers what was on its way and goes on with that.
    Connected { resumed: bool },
    /// The message on its way has arrived.
    Delivered,
    /// The broker will never take the message on its way; this connection is of no more use.
    Refused(String),
    /// Something was published on a topic that we asked for.
    Received {
        topic: String,
        body: Vec<u8>,
        /// Whether the broker kept it from an earlier time.
        retained: bool,
    },
    /// The broker will not tell what is published on the topic that we asked for.
    NotSubscribed,
    /// We said goodbye.
    Ended,
    /// Nothing that matters.
    Nothing,
}

/// What was on its way when a connection was lost.
#[derive(Default)]
pub(super) enum Unfinished {
    #[default]
    Nothing,
    V3(Vec<Request3>),
    V5(Vec<Request5>),
}

impl Unfinished {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::V3(requests) => requests.is_empty(),
            Self::V5(requests) => requests.is_empty(),
        }
    }
}

/// One connection, from the attempt to its loss. Another attempt needs another one, so that
/// nothing of the old is left that could be sent twice.
pub(super) enum Connection {
    V3(Box<rumqttc::Connection>),
    V5(Box<rumqttc::v5::Connection>),
}

/// Prepares a connection; the first [`Connection::next`] makes it.
pub(super) fn connect(options: &ConnectOptions, unfinished: Unfinished) -> (Client, Connection) {
    let goes_on = !unfinished.is_empty();
    match options.protocol {
        Protocol::V3 => {
            let (client, mut connection) = rumqttc::Client::new(options3(options), REQUESTS);
            if let (true, Unfinished::V3(requests)) = (goes_on, unfinished) {
                connection.eventloop.pending = requests.into();
            }
            (Client::V3(client), Connection::V3(Box::new(connection)))
        }
        Protocol::V5 => {
            let (client, mut connection) = rumqttc::v5::Client::new(options5(options), REQUESTS);
            if let (true, Unfinished::V5(requests)) = (goes_on, unfinished) {
                connection.eventloop.pending = requests.into();
            }
            (Client::V5(client), Connection::V5(Box::new(connection)))
        }
    }
}

fn options3(options: &ConnectOptions) -> Options3 {
    let mut found = Options3::new(&options.client_id, &options.host, options.port);
    found
        .set_transport(options.transport.clone())
        .set_keep_alive(options.keep_alive)
        .set_clean_session(!options.keep_session)
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(MOST_BYTES, MOST_BYTES)
        .set_last_will(Will3::new(
            &options.status_topic,
            OFFLINE,
            Qos3::AtLeastOnce,
            true,
        ));
    if let Some((user, password)) = &options.login {
        found.set_credentials(user, password);
    }
    found
}

fn options5(options: &ConnectOptions) -> Options5 {
    let mut found = Options5::new(&options.client_id, &options.host, options.port);
    let will = Will5::new(
        &options.status_topic,
        OFFLINE,
        Qos5::AtLeastOnce,
        true,
        None,
    );
    found
        .set_transport(options.transport.clone())
        .set_keep_alive(options.keep_alive)
        .set_clean_start(!options.keep_session)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_last_will(will);
    if options.keep_session {
        found.set_session_expiry_interval(Some(SESSION.as_secs() as u32));
    }
    if let Some((user, password)) = &options.login {
        found.set_credentials(user, password);
    }
    found
}

impl Connection {
    /// Waits until something happens; an error, in words, is the end of this connection.
    pub(super) fn next(&mut self, client_id: &str) -> Result<LinkEvent, String> {
        match self {
            Self::V3(connection) => match connection.recv() {
                Ok(Ok(event)) => Ok(event3(event)),
                Ok(Err(error)) => Err(explain3(&error)),
                Err(_) => Ok(LinkEvent::Ended),
            },
            Self::V5(connection) => match connection.recv() {
                Ok(Ok(event)) => Ok(event5(event)),
                // The connection is lost by it, and would be again.
                Ok(Err(Error5::MqttState(State5::OutgoingPacketTooLarge { pkt_size, max }))) => {
                    Ok(LinkEvent::Refused(format!(
                        "its {pkt_size} bytes are more than the broker takes, which is {max}"
                    )))
                }
                Ok(Err(error)) => Err(explain5(&error, client_id)),
                Err(_) => Ok(LinkEvent::Ended),
            },
        }
    }

    /// After the loss: what has to go on where it stopped. Everything else is sent anew.
    pub(super) fn unfinished(self) -> Unfinished {
        match self {
            Self::V3(connection) => {
                let pending = connection.eventloop.pending.into_iter();
                let going = pending.filter_map(|request| match request {
                    Request3::Publish(mut publish) if publish.pkid != 0 => {
                        publish.dup = true;
                        Some(Request3::Publish(publish))
                    }
                    Request3::PubRel(_) => Some(request),
                    _ => None,
                });
                Unfinished::V3(going.collect())
            }
            Self::V5(connection) => {
                let pending = connection.eventloop.pending.into_iter();
                let going = pending.filter_map(|request| match request {
                    Request5::Publish(mut publish) if publish.pkid != 0 => {
                        publish.dup = true;
                        Some(Request5::Publish(publish))
                    }
                    Request5::PubRel(_) => Some(request),
                    _ => None,
                });
                Unfinished::V5(going.collect())
            }
        }
    }
}

fn event3(event: Event3) -> LinkEvent {
    match event {
        Event3::Incoming(Packet3::ConnAck(answer)) => LinkEvent::Connected {
            resumed: answer.session_present,
        },
        Event3::Incoming(Packet3::PubAck(_) | Packet3::PubComp(_)) => LinkEvent::Delivered,
        Event3::Incoming(Packet3::Publish(publish)) => LinkEvent::Received {
            topic: publish.topic,
            body: publish.payload.to_vec(),
            retained: publish.retain,
        },
        Event3::Incoming(Packet3::SubAck(ack)) if ack.return_codes.contains(&Sub3::Failure) => {
            LinkEvent::NotSubscribed
        }
        Event3::Outgoing(Outgoing::Disconnect) => LinkEvent::Ended,
        _ => LinkEvent::Nothing,
    }
}

fn event5(event: Event5) -> LinkEvent {
    match event {
        Event5::Incoming(Packet5::ConnAck(answer)) => LinkEvent::Connected {
            resumed: answer.session_present,
        },
        Event5::Incoming(Packet5::PubAck(ack)) => match ack.reason {
            Ack5::Success | Ack5::NoMatchingSubscribers => LinkEvent::Delivered,
            reason => LinkEvent::Refused(format!("the broker refused it: {reason:?}")),
        },
        Event5::Incoming(Packet5::PubRec(ack)) => match ack.reason {
            Rec5::Success | Rec5::NoMatchingSubscribers => LinkEvent::Nothing,
            reason => LinkEvent::Refused(format!("the broker refused it: {reason:?}")),
        },
        Event5::Incoming(Packet5::PubComp(_)) => LinkEvent::Delivered,
        Event5::Incoming(Packet5::Publish(publish)) => LinkEvent::Received {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            body: publish.payload.to_vec(),
            retained: publish.retain,
        },
        Event5::Incoming(Packet5::SubAck(ack))
            if !ack
                .return_codes
                .iter()
                .all(|code| matches!(code, Sub5::Success(_))) =>
        {
            LinkEvent::NotSubscribed
        }
        Event5::Outgoing(Outgoing::Disconnect) => LinkEvent::Ended,
        _ => LinkEvent::Nothing,
    }
}

const WRONG_LOGIN: &str = "the broker refuses user name or password";
const NOT_ALLOWED: &str =
    "the broker refuses us: not authorised; user name and password may be missing or wrong";
const TIMEOUT: &str = "no answer within 5 s; is there a broker at this address?";
pub(super) const CLOSED: &str = "the broker closed the connection";

/// Of two clients with one id the broker keeps the one that came last.
pub(super) fn used_twice(client_id: &str) -> String {
    format!(
        "the broker closes each connection soon after it took it: the client id {client_id} seems \
         to be used twice (machines made from one image have the same); set client-id"
    )
}

fn explain3(error: &Error3) -> String {
    match error {
        Error3::ConnectionRefused(Code3::BadUserNamePassword) => WRONG_LOGIN.to_owned(),
        Error3::ConnectionRefused(Code3::NotAuthorized) => NOT_ALLOWED.to_owned(),
        Error3::ConnectionRefused(Code3::RefusedProtocolVersion) => {
            "the broker does not speak MQTT 3.1.1; set protocol = \"5\"".to_owned()
        }
        Error3::ConnectionRefused(code) => format!("the broker refuses us: {code:?}"),
        Error3::NetworkTimeout | Error3::FlushTimeout => TIMEOUT.to_owned(),
        Error3::Tls(error) => explain_tls(error),
        Error3::Io(error) => explain_io(error),
        Error3::MqttState(
            State3::Io(error) | State3::Deserialization(rumqttc::mqttbytes::Error::Io(error)),
        ) => explain_io(error),
        Error3::MqttState(State3::ConnectionAborted) => CLOSED.to_owned(),
        Error3::MqttState(State3::AwaitPingResp) => {
            "the broker does not answer any more".to_owned()
        }
        other => other.to_string(),
    }
}

fn explain5(error: &Error5, client_id: &str) -> String {
    match error {
        Error5::MqttState(State5::ServerDisconnect {
            reason_code: Left5::SessionTakenOver,
            ..
        }) => used_twice(client_id),
        Error5::ConnectionRefused(Code5::BadUserNamePassword) => WRONG_LOGIN.to_owned(),
        Error5::ConnectionRefused(Code5::NotAuthorized) => NOT_ALLOWED.to_owned(),
        Error5::ConnectionRefused(
            Code5::UnsupportedProtocolVersion | Code5::RefusedProtocolVersion,
        ) => "the broker does not speak MQTT 5; set protocol = \"3.1.1\"".to_owned(),
        Error5::ConnectionRefused(code) => format!("the broker refuses us: {code:?}"),
        Error5::Timeout(_) => TIMEOUT.to_owned(),
        Error5::Tls(error) => explain_tls(error),
        Error5::Io(error) => explain_io(error),
        Error5::MqttState(State5::Io(error) | State5::Deserialization(Wrong5::Io(error))) => {
            explain_io(error)
        }
        Error5::MqttState(State5::ConnectionAborted) => CLOSED.to_owned(),
        Error5::MqttState(State5::AwaitPingResp) => {
            "the broker does not answer any more".to_owned()
        }
        other => other.to_string(),
    }
}

fn explain_tls(error: &TlsError) -> String {
    match error {
        TlsError::Io(error) => explain_io(error),
        TlsError::TLS(error) => tls::explain(error, "broker"),
        other => format!("TLS: {other}"),
    }
}

fn explain_io(error: &io::Error) -> String {
    if let Some(error) = tls::failure(error) {
        return tls::explain(error, "broker");
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "connection refused: no broker listens there".to_owned()
        }
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe => CLOSED.to_owned(),
        _ if error.to_string().starts_with("failed to lookup") => {
            format!("unknown host: {error}")
        }
        _ => error.to_string(),
    }
}
