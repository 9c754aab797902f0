//! Events to a web server.
//!
//! Every event, and every change of drift and of a source, is one POST of the JSON object that the
//! log would have, with its kind in the header `X-Edge-Vae-Type`. Messages wait in an [`Outbox`],
//! one is on its way at a time, and they arrive in order. One whose answer was lost arrives twice;
//! receivers can tell by the header `Idempotency-Key`, which is the same both times.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use ureq::{
    Agent, Body,
    http::{
        HeaderName, HeaderValue, Response,
        header::{AUTHORIZATION, LOCATION, RETRY_AFTER},
    },
};
use url::Url;

use super::{
    super::{
        address::{check_login, without_password},
        tls,
        web::{self, Login},
    },
    EventFilter, Message, Outbox, OutboxMessage, OutboxSettings, Sink, SinkError, SinkNeeds,
    SinkSettings, SinkStatus, Wants,
    delivery::{Delivery, LONGEST_WAIT, attempts},
    quantity, secret,
};
use crate::stream::record::EventPhase;

/// How long the end waits for the server to take what waits.
const FAREWELL: Duration = Duration::from_secs(3);

/// Settings of the sink `webhook`.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WebhookSettings {
    /// `http://host/path` or `https://host/path`; `http://user:password@host/path` for basic
    /// authentication, with characters that have a meaning in addresses written as `%40`.
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
    /// PEM file with our own certificate and its chain, where the server asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of `certificate`.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// How long one attempt may take; 10 s by default.
    #[serde(default = "default_timeout", deserialize_with = "quantity::duration")]
    pub timeout: Duration,
    /// `"all"` events (the default), or only those of class `"defect"` or `"review"`.
    #[serde(default)]
    pub events: EventFilter,
    /// What waits while the server is away.
    #[serde(default)]
    pub outbox: OutboxSettings,
}

/// Without the headers' values and what the address may hold of user and query.
impl std::fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("url", &self.describe())
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}

impl SinkSettings for WebhookSettings {
    fn describe(&self) -> String {
        match Url::parse(&self.url) {
            Ok(url) if check_login(&self.url).is_ok() => format!("webhook {}", shown(&url)),
            _ => format!("webhook {}", without_password(&self.url)),
        }
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let files = [
            &mut self.token_file,
            &mut self.ca,
            &mut self.certificate,
            &mut self.key,
            &mut self.outbox.folder,
        ];
        files.into_iter().flatten().collect()
    }

    fn check(&self) -> Result<(), SinkError> {
        resolve(self).map(drop)
    }

    fn needs(&self) -> SinkNeeds {
        let folder = resolve(self).ok().map(|found| found.folder);
        let peer = Url::parse(&self.url).ok().and_then(|url| {
            let host = url.host_str()?.to_owned();
            Some((host, url.port_or_known_default()?))
        });
        SinkNeeds {
            folders: folder.into_iter().collect(),
            peer,
            ..SinkNeeds::default()
        }
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
            certificate: None,
            key: None,
            timeout: default_timeout(),
            events: EventFilter::default(),
            outbox: OutboxSettings::default(),
        }
    }
}

/// The longest part of a path that is shown whole: tokens of chat services are longer.
const LONGEST_SHOWN: usize = 20;

/// An address without what may be secret in it: user, query, and tokens in its path.
fn shown(url: &Url) -> String {
    let part = |part: &str| match part.len() > LONGEST_SHOWN {
        true => "***".to_owned(),
        false => part.to_owned(),
    };
    let path: Vec<String> = url.path().split('/').map(part).collect();
    format!("{}{}", origin(url), path.join("/"))
}

/// `https://host:port`
fn origin(url: &Url) -> String {
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

/// Posts events to a server.
pub struct Webhook {
    name: String,
    events: EventFilter,
    delivery: Arc<Delivery>,
    worker: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Opens the outbox and begins to deliver. The server need not be there.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for settings that can't work, and an outbox that can't be used.
    pub fn open(settings: &WebhookSettings) -> Result<Self, SinkError> {
        let Resolved {
            name,
            url,
            headers,
            agent,
            folder,
        } = resolve(settings)?;
        let outbox = Outbox::open(&name, &folder, &settings.outbox)?;
        let delivery = Arc::new(Delivery::new(&name, outbox));
        let poster = Poster {
            delivery: Arc::clone(&delivery),
            agent,
            url,
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
            events: settings.events,
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

/// What the settings resolve to.
struct Resolved {
    name: String,
    /// Without a login.
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    agent: Agent,
    folder: PathBuf,
}

fn resolve(settings: &WebhookSettings) -> Result<Resolved, SinkError> {
    check_login(&settings.url)
        .map_err(|problem| SinkError::setting("webhook", format!("the url {problem}")))?;
    let mut url = Url::parse(&settings.url).map_err(|error| {
        let problem = format!("the url is none ({error}); write https://host/path");
        SinkError::setting("webhook", problem)
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
    let login = Login::take(&mut url)
        .and_then(|login| login.map(|login| login.basic()).transpose())
        .map_err(|problem| wrong(format!("the url {problem}")))?;
    let mut headers = Vec::new();
    for (key, value) in &settings.headers {
        headers.push(header(key, value).map_err(wrong)?);
    }
    let bearer = token.map(|token| format!("Bearer {token}"));
    for value in [bearer, login].into_iter().flatten() {
        headers.push(header("authorization", &value).map_err(wrong)?);
    }
    if headers
        .iter()
        .filter(|(name, _)| name == AUTHORIZATION)
        .count()
        > 1
    {
        return Err(wrong(
            "url, headers and token say who we are more than once; choose one".to_owned(),
        ));
    }
    // A POST that is sent elsewhere may become a GET, and carry our token to somebody else.
    let identity =
        tls::identity(settings.certificate.as_deref(), settings.key.as_deref()).map_err(wrong)?;
    let agent =
        web::agent(&url, settings.ca.as_deref(), identity, settings.timeout, 0).map_err(wrong)?;
    // Without the query, which may hold a token.
    let identity = format!("{}{}", origin(&url), url.path());
    let folder = settings.outbox.folder("webhook", &identity)?;
    url.set_fragment(None);
    Ok(Resolved {
        url: url.into(),
        name,
        headers,
        agent,
        folder,
    })
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
    Failed {
        problem: String,
        /// As the server asks.
        retry_after: Option<Duration>,
    },
}

impl Poster {
    fn work(&self) {
        let mut back_off = attempts();
        while let Some((number, message)) = self.delivery.wait_for_front() {
            match self.attempt(&message) {
                Attempt::Taken => {
                    self.delivery.delivered(number);
                    back_off.succeeded();
                }
                Attempt::Refused(reason) => self.delivery.refused(number, &reason),
                Attempt::Failed {
                    problem,
                    retry_after,
                } => {
                    self.delivery.failed(problem);
                    let wait = back_off.failed().max(retry_after.unwrap_or_default());
                    if !self.delivery.rest(wait.min(LONGEST_WAIT)) {
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
            Ok(response) => outcome(&response),
            Err(error) => Attempt::Failed {
                problem: web::explain(&error, self.url.starts_with("https")),
                retry_after: None,
            },
        }
    }
}

/// 2xx is taken; 4xx will never be, but for "timeout" and "too many".
fn outcome(response: &Response<Body>) -> Attempt {
    let status = response.status().as_u16();
    let text = |name| response.headers().get(name)?.to_str().ok();
    let problem = match status {
        200..=299 => return Attempt::Taken,
        400..=407 | 409..=428 | 430..=499 => {
            return Attempt::Refused(format!("the server refuses it with {status}"));
        }
        300..=399 => format!(
            "the server answers {status}: it is elsewhere{}; set url to where it is",
            text(LOCATION).map_or(String::new(), |place| {
                let place = place.split(['?', '#']).next().unwrap_or_default();
                format!(", at {}", without_password(place))
            })
        ),
        408 | 429 => format!("the server answers {status}: later"),
        _ => format!("the server answers {status}"),
    };
    Attempt::Failed {
        problem,
        retry_after: text(RETRY_AFTER).and_then(|text| retry_after(text, SystemTime::now())),
    }
}

/// `Retry-After`: seconds, or a date of HTTP (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants {
            events: self.events,
            ..Wants::default()
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        // Keys have to be the same when the message is sent again, by another process too.
        match message {
            Message::Event { record, .. } => {
                let phase = match record.phase {
                    EventPhase::Open => "open",
                    EventPhase::Closed => "closed",
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
            Message::Pause(record) => {
                let key = key(&["pause", &record.source, &record.timestamp]);
                self.send("pause", &key, &**record)
            }
            Message::Threshold(record) => {
                let key = key(&["threshold", &record.timestamp]);
                self.send("threshold", &key, &**record)
            }
            Message::Frame(_) => Ok(()),
            Message::Tally(_) => self.delivery.report(),
        }
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(self.delivery.status())
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        self.delivery.report()
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.delivery.wait_until_empty(FAREWELL);
        let reported = self.delivery.report();
        self.end().and(reported)
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
