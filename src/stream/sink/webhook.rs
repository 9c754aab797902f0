//! Events to a web server.
//!
//! Every event, and every change of drift and of a source, is one POST of the JSON object that the
//! log would have, with its kind in the header `X-Edge-Vae-Type`. Messages wait in an [`Outbox`],
//! one is on its way at a time, and they arrive in order. One whose answer was lost arrives twice;
//! receivers can tell by the header `Idempotency-Key`, which is the same both times.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use serde::{Deserialize, Serialize};
use ureq::{
    Agent,
    http::{HeaderName, HeaderValue},
    tls::{Certificate, RootCerts, TlsConfig},
};
use url::Url;

use super::{
    super::redact::without_password,
    Message, Outbox, OutboxMessage, OutboxSettings, Sink, SinkError, SinkSettings, Wants,
    delivery::{Delivery, attempts},
    quantity, secret, tls,
};

/// How long the end waits for the server to take what waits.
const FAREWELL: Duration = Duration::from_secs(3);

/// Settings of the sink `webhook`.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WebhookSettings {
    /// `http://host/path` or `https://host/path`.
    pub url: String,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A file with the token of `Authorization: Bearer`.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// An environment variable with the token.
    #[serde(default)]
    pub token_env: Option<String>,
    /// PEM file with the CA certificates to trust; by default those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How long one attempt may take; 10 s by default.
    #[serde(default = "default_timeout", deserialize_with = "quantity::duration")]
    pub timeout: Duration,
    /// What waits while the server is away.
    #[serde(default)]
    pub outbox: OutboxSettings,
}

/// Without the headers' values and what the address may hold of user and query.
impl std::fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = Url::parse(&self.url).map(|url| shown(&url));
        f.debug_struct("WebhookSettings")
            .field("url", &url)
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}

impl SinkSettings for WebhookSettings {
    fn describe(&self) -> String {
        format!("webhook {}", without_password(&self.url))
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let files = [&mut self.token_file, &mut self.ca, &mut self.outbox.folder];
        files.into_iter().flatten().collect()
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(Webhook::open(self)?))
    }
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

impl WebhookSettings {
    /// The defaults, for a server.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: BTreeMap::new(),
            token_file: None,
            token_env: None,
            ca: None,
            timeout: default_timeout(),
            outbox: OutboxSettings::default(),
        }
    }
}

/// An address without what may be secret in it.
fn shown(url: &Url) -> String {
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// Posts events to a server.
pub struct Webhook {
    name: String,
    delivery: Arc<Delivery>,
    worker: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Opens the outbox and begins to deliver. The server need not be there.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for settings that can't work, and an outbox that can't be used.
    pub fn open(settings: &WebhookSettings) -> Result<Self, SinkError> {
        let url = Url::parse(&settings.url).map_err(|error| {
            SinkError::setting(
                "webhook",
                format!("the url is none ({error}); write https://host/path"),
            )
        })?;
        let name = format!("webhook {}", shown(&url));
        let wrong = |problem: String| SinkError::setting(&name, problem);
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("only http:// and https:// are spoken".to_owned()));
        }
        if settings.timeout.is_zero() {
            return Err(wrong(
                "timeout is 0: no server is that fast; choose \"10s\"".to_owned(),
            ));
        }
        let token = secret::read(
            "token",
            settings.token_file.as_deref(),
            settings.token_env.as_deref(),
        )
        .map_err(wrong)?;
        let mut headers = Vec::new();
        for (key, value) in &settings.headers {
            headers.push(header(key, value).map_err(wrong)?);
        }
        if let Some(token) = token {
            headers.push(header("authorization", &format!("Bearer {token}")).map_err(wrong)?);
        }
        let agent = agent(settings, url.scheme() == "https").map_err(wrong)?;
        // Without the query, which may hold a token.
        let folder = settings.outbox.folder("webhook", &shown(&url))?;
        let outbox = Outbox::open(&name, &folder, &settings.outbox)?;
        let delivery = Arc::new(Delivery::new(&name, outbox));
        let poster = Poster {
            delivery: Arc::clone(&delivery),
            agent,
            url: settings.url.clone(),
            headers,
        };
        let worker = std::thread::Builder::new()
            .name("webhook".to_owned())
            .spawn(move || poster.work())
            .map_err(|error| {
                SinkError::unavailable(&name, format!("cannot start a thread: {error}"))
            })?;
        Ok(Self {
            name,
            delivery,
            worker: Some(worker),
        })
    }

    fn send<T: Serialize>(&self, kind: &str, key: &str, record: &T) -> Result<(), SinkError> {
        let body = serde_json::to_vec(record)
            .map_err(|error| SinkError::unavailable(&self.name, format!("JSON: {error}")))?;
        self.delivery.push(OutboxMessage {
            address: format!("{kind} {key}"),
            body,
        })
    }

    fn end(&mut self) -> Result<(), SinkError> {
        let saved = self.delivery.close();
        // One that is in the middle of an attempt ends with it, by itself.
        if let Some(worker) = self.worker.take_if(|worker| worker.is_finished()) {
            let _ = worker.join();
        }
        saved
    }
}

fn header(key: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::try_from(key)
        .map_err(|_| format!("headers: {key:?} is no name of a header"))?;
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        format!("headers: the value of {key} has characters that headers can't have")
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn agent(settings: &WebhookSettings, secure: bool) -> Result<Agent, String> {
    let mut config = Agent::config_builder()
        .timeout_global(Some(settings.timeout))
        .http_status_as_error(false)
        // A POST that is sent elsewhere becomes a GET, and the event is lost.
        .max_redirects(0)
        .user_agent(concat!("edge-vae/", env!("CARGO_PKG_VERSION")));
    if secure {
        let roots: Vec<Certificate<'static>> = tls::roots(settings.ca.as_deref())?
            .iter()
            .map(|root| Certificate::from_der(root).to_owned())
            .collect();
        let roots = RootCerts::Specific(Arc::new(roots));
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    } else if settings.ca.is_some() {
        return Err("ca is only used by https://".to_owned());
    }
    Ok(config.build().new_agent())
}

/// The other thread.
struct Poster {
    delivery: Arc<Delivery>,
    agent: Agent,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What became of an attempt.
#[derive(Debug, PartialEq)]
enum Attempt {
    Taken,
    /// It will never be taken.
    Refused(String),
    /// It may be taken later.
    Failed(String),
}

impl Poster {
    fn work(&self) {
        let mut back_off = attempts();
        while let Some((number, message)) = self.delivery.wait_for_front() {
            match self.attempt(&message) {
                Attempt::Taken => {
                    self.delivery.delivered(number);
                    self.delivery.well();
                    back_off.succeeded();
                }
                Attempt::Refused(reason) => self.delivery.refused(number, &reason),
                Attempt::Failed(problem) => {
                    self.delivery.trouble(problem);
                    if !self.delivery.rest(back_off.failed()) {
                        return;
                    }
                }
            }
        }
    }

    fn attempt(&self, message: &OutboxMessage) -> Attempt {
        let (kind, key) = message
            .address
            .split_once(' ')
            .unwrap_or((&message.address, ""));
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("x-edge-vae-type", kind)
            .header("idempotency-key", key);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match request.send(&message.body[..]) {
            Ok(response) => judge(response.status().as_u16()),
            Err(error) => Attempt::Failed(explain(&error)),
        }
    }
}

/// 2xx is taken; 4xx will never be, but for "timeout" and "too many".
fn judge(status: u16) -> Attempt {
    match status {
        200..=299 => Attempt::Taken,
        408 | 429 => Attempt::Failed(format!("the server answers {status}: later")),
        400..=499 => Attempt::Refused(format!("the server refuses it with {status}")),
        300..=399 => Attempt::Failed(format!(
            "the server answers {status}: it is elsewhere; set url to where it is"
        )),
        _ => Attempt::Failed(format!("the server answers {status}")),
    }
}

fn explain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "unknown host".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                "connection refused: no server listens there".to_owned()
            }
            _ => error.to_string(),
        },
        other => other.to_string(),
    }
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants::default()
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        // Keys have to be the same when the message is sent again, by another process too.
        match message {
            Message::Event { record, .. } => {
                let phase = match record.phase {
                    crate::stream::record::EventPhase::Open => "open",
                    crate::stream::record::EventPhase::Closed => "closed",
                };
                let key = key(&[&record.event_id, phase]);
                self.send("event", &key, &**record)
            }
            Message::Drift(record) => {
                let key = key(&["drift", &record.source, &record.timestamp]);
                self.send("drift", &key, &**record)
            }
            Message::Source(record) => {
                let key = key(&["source", &record.source, &record.timestamp]);
                self.send("source", &key, &**record)
            }
            Message::Frame(_) => Ok(()),
            Message::Tally(_) => self.delivery.report(),
        }
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        self.delivery.report()
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.delivery.wait_until_empty(FAREWELL);
        self.end()
    }
}

/// The parts of a key in the letters that a header can have.
fn key(parts: &[&str]) -> String {
    parts
        .join("-")
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .collect()
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests;
