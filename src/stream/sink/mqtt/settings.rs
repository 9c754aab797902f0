//! Settings of the sink `mqtt`, and what they resolve to.

use std::{path::PathBuf, time::Duration};

use rumqttc::Transport;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    super::{
        super::{
            address::{check_login, percent_decoded, without_password},
            control::Verb,
            tls,
        },
        EventFilter, OutboxSettings, Sink, SinkError, SinkNeeds, SinkSettings, quantity, secret,
    },
    Mqtt,
    wire::{ConnectOptions, Protocol},
};

/// Settings of the sink `mqtt`.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MqttSettings {
    /// `mqtt://user:password@host:1883/topic-prefix`, or `mqtts://` for TLS (port 8883). User and
    /// password may be left out, and characters that have a meaning in addresses are written as
    /// `%40`. The prefix is `edge-vae` where none is given.
    pub url: String,
    /// `"3.1.1"` (the default) or `"5"`.
    #[serde(default)]
    pub protocol: Protocol,
    /// What the broker calls us; must not be used twice at one broker. By default `edge-vae-` and a
    /// number made of the machine's id and the outbox's folder.
    #[serde(default)]
    pub client_id: Option<String>,
    /// A file with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// An environment variable with the password.
    #[serde(default)]
    pub password_env: Option<String>,
    /// PEM file with the CA certificates to trust; by default those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file with our own certificate and its chain, where the broker asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of `certificate`.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Quality of service of events, drift and lost sources: 1 (the default) or 2.
    #[serde(default = "default_qos")]
    pub qos: u8,
    /// Whether judged frames are published too, with quality of service 0: those of a time without
    /// the broker are lost.
    #[serde(default)]
    pub frames: bool,
    /// `"all"` events (the default), or only those of class `"defect"` or `"review"`.
    #[serde(default)]
    pub events: EventFilter,
    /// Commands that are taken from the network, by their names; none by default.
    #[serde(default)]
    pub commands: Vec<Verb>,
    /// How long the connection may be silent before it is probed; at least 1 s, 15 s by default.
    #[serde(
        default = "default_keep_alive",
        deserialize_with = "quantity::duration"
    )]
    pub keep_alive: Duration,
    /// Whether Home Assistant is told of the sensors "problem", "score" and "connection" of each
    /// source.
    #[serde(default)]
    pub home_assistant: bool,
    /// Home Assistant's prefix for discovery; `homeassistant` by default.
    #[serde(default = "default_home_assistant_prefix")]
    pub home_assistant_prefix: String,
    /// What waits while the broker is away.
    #[serde(default)]
    pub outbox: OutboxSettings,
}

/// Without the password.
impl std::fmt::Debug for MqttSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = Url::parse(&self.url).map(|mut url| {
            let _ = url.set_password(None);
            url.to_string()
        });
        f.debug_struct("MqttSettings")
            .field("url", &url)
            .field("protocol", &self.protocol)
            .field("client_id", &self.client_id)
            .field("qos", &self.qos)
            .field("frames", &self.frames)
            .field("commands", &self.commands)
            .field("home_assistant", &self.home_assistant)
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}

impl SinkSettings for MqttSettings {
    fn describe(&self) -> String {
        format!("mqtt {}", without_password(&self.url))
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let files = [
            &mut self.password_file,
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
        let resolved = resolve(self).ok();
        SinkNeeds {
            folders: resolved.iter().map(|found| found.folder.clone()).collect(),
            peer: resolved.map(|found| (found.options.host, found.options.port)),
            ..SinkNeeds::default()
        }
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(Mqtt::open(self)?))
    }
}

fn default_qos() -> u8 {
    1
}

fn default_keep_alive() -> Duration {
    Duration::from_secs(15)
}

fn default_home_assistant_prefix() -> String {
    "homeassistant".to_owned()
}

impl MqttSettings {
    /// Host and port, as far as the address names them.
    pub(in crate::stream) fn broker(&self) -> Option<(String, Option<u16>)> {
        let url = Url::parse(&self.url).ok()?;
        Some((url.host_str()?.to_ascii_lowercase(), url.port()))
    }

    /// The defaults, for a broker.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            protocol: Protocol::default(),
            client_id: None,
            password_file: None,
            password_env: None,
            ca: None,
            certificate: None,
            key: None,
            qos: default_qos(),
            frames: false,
            events: EventFilter::default(),
            commands: Vec::new(),
            keep_alive: default_keep_alive(),
            home_assistant: false,
            home_assistant_prefix: default_home_assistant_prefix(),
            outbox: OutboxSettings::default(),
        }
    }
}

/// What the settings resolve to.
pub(super) struct Resolved {
    /// `mqtt mqtt://host:1883`
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) folder: PathBuf,
    pub(super) options: ConnectOptions,
}

pub(super) fn resolve(settings: &MqttSettings) -> Result<Resolved, SinkError> {
    // Never with the password.
    let mut sink = "mqtt".to_owned();
    let decoded =
        |text: &str| percent_decoded(text).map_err(|problem| format!("the url {problem}"));
    check_login(&settings.url)
        .map_err(|problem| SinkError::setting(&sink, format!("the url {problem}")))?;
    let url = Url::parse(&settings.url).map_err(|error| {
        SinkError::setting(&sink, format!("the url is none ({error}); {EXAMPLE}"))
    })?;
    let (secure, default_port) = match url.scheme() {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        other => {
            return Err(SinkError::setting(
                &sink,
                format!("{other}:// is not spoken; {EXAMPLE}"),
            ));
        }
    };
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| SinkError::setting(&sink, format!("the url names no host; {EXAMPLE}")))?
        .to_owned();
    let port = url.port().unwrap_or(default_port);
    let address = format!("{}://{host}:{port}", url.scheme());
    sink = format!("mqtt {address}");
    let wrong = |text: String| SinkError::setting(&sink, text);
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(format!(
            "the url has more than a prefix after the host (write # and ? as %23 and %3F); \
             {EXAMPLE}"
        )));
    }
    if secure && host.starts_with('[') {
        return Err(wrong("TLS needs a host name or an IPv4 address".to_owned()));
    }
    let prefix = decoded(url.path().trim_matches('/')).map_err(wrong)?;
    let prefix = if prefix.is_empty() {
        "edge-vae".to_owned()
    } else {
        prefix
    };
    for (key, topic) in [
        ("prefix", &prefix),
        ("home-assistant-prefix", &settings.home_assistant_prefix),
    ] {
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(wrong(format!(
                "{key} {topic:?}: no topic can begin so; leave out + and #"
            )));
        }
    }
    if !(1..=2).contains(&settings.qos) {
        return Err(wrong(format!("qos is {}: choose 1 or 2", settings.qos)));
    }
    if settings.keep_alive < Duration::from_secs(1)
        || settings.keep_alive > Duration::from_secs(65_535)
    {
        return Err(wrong("keep-alive: choose 1 s to 18 h".to_owned()));
    }
    let in_url = match url.password() {
        Some(password) => Some(decoded(password).map_err(wrong)?),
        None => None,
    };
    let secret = secret::read(
        "password",
        settings.password_file.as_deref(),
        settings.password_env.as_deref(),
    )
    .map_err(wrong)?;
    if in_url.is_some() && secret.is_some() {
        return Err(wrong(
            "the password is in the url and elsewhere; choose one".to_owned(),
        ));
    }
    let user = decoded(url.username()).map_err(wrong)?;
    let password = secret.or(in_url).unwrap_or_default();
    if user.is_empty() && !password.is_empty() {
        return Err(wrong(
            "there is a password but no user; write mqtt://user@host".to_owned(),
        ));
    }
    let identity =
        tls::identity(settings.certificate.as_deref(), settings.key.as_deref()).map_err(wrong)?;
    let transport = if secure {
        let config = tls::client(settings.ca.as_deref(), identity).map_err(wrong)?;
        Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(config))
    } else if settings.ca.is_some() || identity.is_some() {
        return Err(wrong("certificates are only used by mqtts://".to_owned()));
    } else {
        Transport::tcp()
    };
    let folder = settings
        .outbox
        .folder("mqtt", &format!("{address}/{prefix}"))?;
    let client_id = match &settings.client_id {
        Some(id) if id.is_empty() => {
            return Err(wrong("client-id is empty; leave it out".to_owned()));
        }
        Some(id) => id.clone(),
        None => own_id(&folder),
    };
    Ok(Resolved {
        options: ConnectOptions {
            protocol: settings.protocol,
            client_id,
            host,
            port,
            transport,
            login: (!user.is_empty()).then_some((user, password)),
            keep_alive: settings.keep_alive,
            keep_session: settings.qos == 2,
            status_topic: format!("{prefix}/status"),
        },
        name: sink,
        prefix,
        folder,
    })
}

const EXAMPLE: &str = "write mqtt://user@host:1883/topic-prefix, or mqtts:// for TLS";

/// The same over restarts, and another one on another machine or with another outbox.
fn own_id(folder: &std::path::Path) -> String {
    let machine = std::fs::read("/etc/machine-id")
        .or_else(|_| std::fs::read("/proc/sys/kernel/hostname"))
        .unwrap_or_default();
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut hash = Sha256::new();
    hash.update(&machine);
    hash.update(folder.as_os_str().as_encoded_bytes());
    let digest = hash.finalize();
    // 23 letters, which every broker takes.
    let number: String = digest[..7]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("edge-vae-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(url: &str) -> Result<Resolved, String> {
        let mut settings = MqttSettings::new(url);
        settings.outbox.folder = Some("outbox".into());
        resolve(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_taken_apart() {
        let found = resolved("mqtt://anna:p%40ss%2Fword@broker.example/hall/line%203/").unwrap();
        assert_eq!(found.name, "mqtt mqtt://broker.example:1883");
        assert_eq!(found.prefix, "hall/line 3");
        assert_eq!(
            found.options.login,
            Some(("anna".to_owned(), "p@ss/word".to_owned()))
        );
        assert_eq!(found.options.status_topic, "hall/line 3/status");
        assert!(!found.options.keep_session);
        let found = resolved("mqtt://[::1]:2000").unwrap();
        assert_eq!(
            (found.options.host.as_str(), found.options.port),
            ("[::1]", 2000)
        );
        assert_eq!(
            (found.prefix.as_str(), found.options.login),
            ("edge-vae", None)
        );
        assert!(found.options.client_id.len() == 23);
    }

    #[test]
    fn wrong_settings_are_named_and_never_with_the_password() {
        for (url, part) in [
            ("broker", "the url is none"),
            ("http://broker", "is not spoken"),
            ("mqtt:///x", "names no host"),
            ("mqtt://a:secret@b/x?y", "more than a prefix"),
            ("mqtt://a:12/secret@b/x", "%2F"),
            ("mqtt://a:sec#secret@b/x", "%23"),
            ("mqtt://a:secret%4@b/x", "two digits"),
            ("mqtt://a:secret@b/x%2", "two digits"),
            ("mqtt://a:secret@b/%23", "no topic"),
            ("mqtt://:secret@b", "no user"),
        ] {
            let problem = resolved(url).err().unwrap();
            assert!(problem.contains(part), "{url}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
        let settings = MqttSettings::new("mqtt://a:secret@b");
        assert!(!format!("{settings:?}").contains("secret"));
        for (text, part) in [
            ("qos = 3", "qos is 3"),
            ("keep-alive = 0", "keep-alive"),
            ("key = 'k.pem'", "belong together"),
            ("ca = 'ca.pem'", "only used by mqtts"),
        ] {
            let settings: MqttSettings =
                toml::from_str(&format!("url = 'mqtt://b'\noutbox.folder = 'o'\n{text}")).unwrap();
            let problem = resolve(&settings).err().unwrap().to_string();
            assert!(problem.contains(part), "{problem}");
        }
        let settings: MqttSettings = toml::from_str("url = 'mqtt://b'\nprotocol = '5'").unwrap();
        assert_eq!(settings.protocol, Protocol::V5);
        assert!(toml::from_str::<MqttSettings>("url = 'x'\nqoss = 1").is_err());
    }
}
