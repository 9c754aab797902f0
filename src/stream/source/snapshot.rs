//! A camera's snapshot address: one picture a request, fetched again and again.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    thread,
    time::{Duration, Instant, SystemTime},
};

use digest_auth::{AuthContext, HttpMethod, WwwAuthenticateHeader};
use ureq::{
    Agent, Body,
    http::{
        Response,
        header::{
            AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
            WWW_AUTHENTICATE,
        },
    },
};
use url::Url;

use super::{
    super::web::{self, Login},
    Arrival, PATIENCE, Source, SourceError, SourceSettings,
    picture_stream::decode,
};
use crate::{Frame, frame::DecodeOptions};

/// Time from picture to picture unless the setting `every` says otherwise: what a snapshot is
/// asked for by people.
const EVERY: Duration = Duration::from_secs(1);

/// The longest that one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Silence, in pictures, after which the camera is given up, but not before [`LEAST_TIMEOUT`].
const MISSED: u32 = 5;
const LEAST_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest picture that is taken, bytes.
const MOST_BYTES: u64 = 64 << 20;

/// The largest number of other addresses that a camera may send a request on to.
const REDIRECTS: u32 = 3;

/// Pictures of a snapshot address.
pub(super) struct Snapshot {
    name: String,
    options: DecodeOptions,
    fetched: Receiver<Result<Fetched, String>>,
    /// Dropped with the source: the poller then ends.
    _alive: Sender<()>,
    timeout: Duration,
    /// When the last picture came, or the source began.
    last: Instant,
}

enum Fetched {
    Picture(Vec<u8>, SystemTime),
    /// The camera says that it is the one before.
    Unchanged,
}

/// Whether what is at a web address is a single picture. Where that can't be told, it is taken for
/// a stream, whose program tells what is wrong.
pub(super) fn is_snapshot(url: &str) -> bool {
    let Ok(mut client) = Client::new(url) else {
        return false;
    };
    client.request().is_ok_and(|response| {
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        response.status().is_success() && kind.to_ascii_lowercase().starts_with("image/")
    })
}

impl Snapshot {
    pub(super) fn open(
        name: &str,
        url: &str,
        settings: &SourceSettings,
    ) -> Result<Self, SourceError> {
        let mut client = Client::new(url).map_err(|problem| SourceError::Impossible {
            source_name: name.to_owned(),
            problem,
        })?;
        let every = settings.every.map_or(EVERY, |every| every.0);
        let (sender, fetched) = sync_channel(1);
        let (_alive, ended) = channel();
        thread::Builder::new()
            .name("snapshot".into())
            .spawn(move || client.poll(every, &sender, &ended))
            .map_err(|error| SourceError::Lost {
                source_name: name.to_owned(),
                problem: format!("cannot start a thread: {error}"),
            })?;
        let usual = LEAST_TIMEOUT.max(every.saturating_mul(MISSED));
        Ok(Self {
            name: name.to_owned(),
            options: settings.decode_options(),
            fetched,
            _alive,
            timeout: settings.timeout.map_or(usual, |timeout| timeout.0),
            last: Instant::now(),
        })
    }

    fn lost(&self, problem: String) -> SourceError {
        SourceError::Lost {
            source_name: self.name.clone(),
            problem,
        }
    }
}

impl Source for Snapshot {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        match self.fetched.recv_timeout(PATIENCE) {
            Ok(Ok(Fetched::Picture(bytes, captured))) => {
                self.last = Instant::now();
                decode(&bytes, &self.options, captured, frame)?;
                Ok(Arrival::Frame)
            }
            Ok(Err(problem)) => Err(self.lost(problem)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(self.lost("the thread that fetches pictures ended".to_owned()))
            }
            // A picture that stays the same is as silent as none.
            Ok(Ok(Fetched::Unchanged)) | Err(RecvTimeoutError::Timeout) => {
                if self.last.elapsed() > self.timeout {
                    let timeout = humantime::format_duration(self.timeout);
                    return Err(self.lost(format!("no new picture for {timeout}")));
                }
                Ok(Arrival::Nothing)
            }
        }
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// Fetches one address.
struct Client {
    agent: Agent,
    url: Url,
    login: Option<Login>,
    /// The camera's last challenge, where it wants digest authentication (RFC 7616).
    challenge: Option<WwwAuthenticateHeader>,
    /// What the camera calls the picture before.
    etag: Option<String>,
    modified: Option<String>,
}

impl Client {
    fn new(url: &str) -> Result<Self, String> {
        let mut url = Url::parse(url).map_err(|error| format!("is no web address: {error}"))?;
        let login = Login::take(&mut url)?;
        Ok(Self {
            agent: web::agent(&url, None, None, REQUEST, REDIRECTS)?,
            url,
            login,
            challenge: None,
            etag: None,
            modified: None,
        })
    }

    /// Until the source is dropped, or a picture can't be fetched.
    fn poll(
        &mut self,
        every: Duration,
        sender: &SyncSender<Result<Fetched, String>>,
        ended: &Receiver<()>,
    ) {
        let mut next = Instant::now();
        loop {
            let fetched = self.fetch();
            let failed = fetched.is_err();
            if sender.send(fetched).is_err() || failed {
                return;
            }
            // One that took longer than its time is followed at once by the next.
            next = (next + every).max(Instant::now());
            let left = next.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn fetch(&mut self) -> Result<Fetched, String> {
        let mut response = self.request()?;
        let status = response.status().as_u16();
        match status {
            200..=299 => {}
            304 => return Ok(Fetched::Unchanged),
            401 => return Err("the camera refuses user or password (401)".to_owned()),
            _ => return Err(format!("the camera answers {status}")),
        }
        let text = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        (self.etag, self.modified) = (text(ETAG), text(LAST_MODIFIED));
        let captured = SystemTime::now();
        let body = response.body_mut().with_config().limit(MOST_BYTES);
        let secure = self.url.scheme() == "https";
        let bytes = body
            .read_to_vec()
            .map_err(|error| web::explain(&error, secure))?;
        Ok(Fetched::Picture(bytes, captured))
    }

    /// One request, and another where the camera asks who we are.
    fn request(&mut self) -> Result<Response<Body>, String> {
        let response = self.attempt()?;
        if response.status() != 401 || self.login.is_none() {
            return Ok(response);
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        let digest = challenges
            .filter(|text| text.to_ascii_lowercase().starts_with("digest "))
            .find_map(|text| digest_auth::parse(text).ok());
        match digest {
            Some(challenge) => {
                self.challenge = Some(challenge);
                self.attempt()
            }
            None => Ok(response),
        }
    }

    fn attempt(&mut self) -> Result<Response<Body>, String> {
        let mut request = self.agent.get(self.url.as_str());
        if let Some(login) = &self.login {
            let authorization = match &mut self.challenge {
                Some(challenge) => {
                    let path = &self.url[url::Position::BeforePath..];
                    let context = AuthContext::new_with_method(
                        &login.user,
                        &login.password,
                        path,
                        Option::<&[u8]>::None,
                        HttpMethod::GET,
                    );
                    let answer = challenge.respond(&context);
                    answer.map_err(|error| error.to_string())?.to_string()
                }
                None => login.basic()?,
            };
            request = request.header(AUTHORIZATION, authorization);
        }
        for (name, value) in [
            (IF_NONE_MATCH, &self.etag),
            (IF_MODIFIED_SINCE, &self.modified),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let secure = self.url.scheme() == "https";
        request.call().map_err(|error| web::explain(&error, secure))
    }
}
