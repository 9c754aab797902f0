//! Counts for Prometheus, at `/metrics`; `/healthz` for a supervisor.

use std::{
    fmt::{self, Write},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tiny_http::{Header, Method, Request, Response, Server};

use super::{Message, Sink, SinkError, SinkNeeds, SinkSettings, Wants, quantity};
use crate::stream::record::{SinkTally, SourceTally, Tally};

/// Where a server listens: `127.0.0.1:9184`, `[::1]:9184`, `localhost:9184`, or `:9184` for every
/// address of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress {
    /// Empty for every address.
    host: String,
    port: u16,
}

impl ListenAddress {
    /// # Errors
    /// A name that nobody knows; a port that is not free.
    pub(crate) fn bind(&self) -> io::Result<TcpListener> {
        if self.host.is_empty() {
            // On most systems it takes IPv4 too.
            return TcpListener::bind((Ipv6Addr::UNSPECIFIED, self.port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)));
        }
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses: Vec<SocketAddr> = (host, self.port).to_socket_addrs()?.collect();
        // A name like localhost has several; most clients begin with IPv4.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        TcpListener::bind(&addresses[..])
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sound = |host: &str| match host.strip_prefix('[') {
            Some(host) => host
                .strip_suffix(']')
                .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok()),
            None => host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
        };
        text.rsplit_once(':')
            .filter(|(host, _)| sound(host))
            .and_then(|(host, port)| {
                let (host, port) = (host.to_owned(), port.parse().ok()?);
                Some(Self { host, port })
            })
            .ok_or_else(|| {
                format!(
                    "{text:?} is no address to listen on; write 127.0.0.1:9184, localhost:9184, \
                     or :9184 for every address of this machine"
                )
            })
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Settings of the sink `prometheus`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PrometheusSettings {
    /// Address and port; `127.0.0.1:9184` by default, which only this machine reaches. Metrics
    /// are served without password: `:9184` shows them to everybody who reaches this machine.
    pub address: ListenAddress,
    /// `/healthz` answers 503 when nothing was counted for so long; 10 s by default.
    #[serde(deserialize_with = "quantity::duration")]
    pub timeout: Duration,
}

impl Default for PrometheusSettings {
    fn default() -> Self {
        Self {
            address: ListenAddress {
                host: "127.0.0.1".to_owned(),
                port: 9184,
            },
            timeout: Duration::from_secs(10),
        }
    }
}

impl SinkSettings for PrometheusSettings {
    fn describe(&self) -> String {
        format!("prometheus http://{}", self.address)
    }

    fn needs(&self) -> SinkNeeds {
        SinkNeeds {
            listens: Some(self.address.clone()),
            ..SinkNeeds::default()
        }
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(Prometheus::open(self)?))
    }
}

/// Serves the latest counts.
pub struct Prometheus {
    name: String,
    address: SocketAddr,
    latest: Arc<Mutex<Latest>>,
    server: Arc<Server>,
    worker: Option<JoinHandle<()>>,
}

struct Latest {
    tally: Option<Arc<Tally>>,
    when: Instant,
}

impl Prometheus {
    /// Listens.
    ///
    /// # Errors
    /// [`SinkError::Setting`] where the port is in use, reserved or the address not ours.
    pub fn open(settings: &PrometheusSettings) -> Result<Self, SinkError> {
        let name = settings.describe();
        let wrong = |problem: String| SinkError::setting(&name, problem);
        let listener = settings.address.bind().map_err(|error| {
            wrong(match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "the port is in use by another program; choose another one in address"
                        .to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    "the port is reserved for the system; choose one above 1023 in address"
                        .to_owned()
                }
                io::ErrorKind::AddrNotAvailable => {
                    "this machine does not have the address; use 127.0.0.1 or 0.0.0.0".to_owned()
                }
                _ => format!("cannot listen: {error}"),
            })
        })?;
        let address = listener
            .local_addr()
            .map_err(|error| wrong(format!("cannot listen: {error}")))?;
        let server = Server::from_listener(listener, None)
            .map_err(|error| wrong(format!("cannot listen: {error}")))?;
        let server = Arc::new(server);
        let latest = Arc::new(Mutex::new(Latest {
            tally: None,
            when: Instant::now(),
        }));
        let (theirs, counts, timeout) =
            (Arc::clone(&server), Arc::clone(&latest), settings.timeout);
        let worker = std::thread::Builder::new()
            .name("prometheus".to_owned())
            .spawn(move || {
                // Ends by [`Server::unblock`].
                while let Ok(request) = theirs.recv() {
                    answer(request, &counts, timeout);
                }
            })
            .map_err(|error| wrong(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            name,
            address,
            latest,
            server,
            worker: Some(worker),
        })
    }

    /// Where it listens; the port is the system's choice where the settings' is 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn answer(request: Request, latest: &Mutex<Latest>, timeout: Duration) {
    let (tally, age) = {
        let latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
        (latest.tally.clone(), latest.when.elapsed())
    };
    let path = request.url().split('?').next().unwrap_or_default();
    let readable = matches!(request.method(), Method::Get | Method::Head);
    let (status, body) = match path {
        _ if !readable => (405, "only GET\n".to_owned()),
        "/metrics" => (200, tally.as_deref().map_or(String::new(), written)),
        "/healthz" if age <= timeout => (200, "ok\n".to_owned()),
        "/healthz" => (
            503,
            format!("nothing was counted for {} s\n", age.as_secs()),
        ),
        _ => (404, "there are /metrics and /healthz\n".to_owned()),
    };
    let mut response = Response::from_string(body).with_status_code(status);
    let kind = "Content-Type: text/plain; version=0.0.4; charset=utf-8";
    if let Ok(header) = kind.parse::<Header>() {
        response.add_header(header);
    }
    // A client that has gone needs no answer.
    let _ = request.respond(response);
}

/// A label's value, escaped.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The text format, version 0.0.4.
fn written(tally: &Tally) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        if samples.is_empty() {
            return;
        }
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP edge_vae_{name} {help}\n# TYPE edge_vae_{name} {kind}"
        );
        for (labels, value) in samples {
            let _ = writeln!(text, "edge_vae_{name}{labels} {value}");
        }
    };
    let of_sources = |value: fn(&SourceTally) -> f64| -> Vec<(String, f64)> {
        let one = |source: &SourceTally| {
            (
                format!("{{source=\"{}\"}}", escaped(&source.name)),
                value(source),
            )
        };
        tally.sources.iter().map(one).collect()
    };
    family(
        "uptime_seconds",
        "gauge",
        "Seconds since the start.",
        &[(String::new(), tally.seconds)],
    );
    let judged: Vec<(String, f64)> = tally
        .sources
        .iter()
        .flat_map(|source| {
            let name = escaped(&source.name);
            [
                ("normal", source.normal),
                ("anomalous", source.anomalous),
                ("invalid", source.invalid),
            ]
            .map(|(label, count)| {
                (
                    format!("{{source=\"{name}\",label=\"{label}\"}}"),
                    count as f64,
                )
            })
        })
        .collect();
    family(
        "frames_total",
        "counter",
        "Judged frames, by verdict.",
        &judged,
    );
    type Of = fn(&SourceTally) -> f64;
    let counters: [(&str, &str, Of); 9] = [
        ("frames_captured_total", "Frames that arrived.", |s| {
            s.captured as f64
        }),
        (
            "frames_dropped_total",
            "Frames that nobody had time for.",
            |s| s.dropped as f64,
        ),
        (
            "frames_unreadable_total",
            "Frames that could not be read.",
            |s| s.unreadable as f64,
        ),
        (
            "frames_skipped_total",
            "Frames that came while the source was paused.",
            |s| s.skipped as f64,
        ),
        (
            "frames_failed_total",
            "Frames on which the engine failed.",
            |s| s.failed as f64,
        ),
        (
            "frames_for_review_total",
            "Normal frames in the review band.",
            |s| s.review as f64,
        ),
        ("events_total", "Events that began.", |s| s.events as f64),
        (
            "review_events_total",
            "Events of frames for review that began.",
            |s| s.review_events as f64,
        ),
        (
            "reconnects_total",
            "How often the source was opened again.",
            |s| s.reconnects as f64,
        ),
    ];
    for (name, help, value) in counters {
        family(name, "counter", help, &of_sources(value));
    }
    let gauges: [(&str, &str, Of); 4] = [
        ("source_up", "Whether the source gives frames.", |s| {
            f64::from(u8::from(s.up))
        }),
        (
            "source_paused",
            "Whether the source's frames are not judged, by command.",
            |s| f64::from(u8::from(s.paused)),
        ),
        (
            "source_drifted",
            "Whether the source drifted from calibration.",
            |s| f64::from(u8::from(s.drifted)),
        ),
        (
            "frames_per_second",
            "Judged frames a second, over the last seconds.",
            |s| s.fps,
        ),
    ];
    for (name, help, value) in gauges {
        family(name, "gauge", help, &of_sources(value));
    }
    family(
        "frames_late_total",
        "counter",
        "Frames that took longer than their deadline.",
        &[(String::new(), tally.late as f64)],
    );
    let stages: Vec<(String, f64)> = tally
        .stages
        .iter()
        .flat_map(|stage| {
            [
                ("0.5", stage.p50),
                ("0.95", stage.p95),
                ("0.99", stage.p99),
                ("1", stage.max),
            ]
            .map(|(quantile, milliseconds)| {
                let stage = escaped(stage.stage);
                (
                    format!("{{stage=\"{stage}\",quantile=\"{quantile}\"}}"),
                    milliseconds / 1e3,
                )
            })
        })
        .collect();
    family(
        "stage_seconds",
        "gauge",
        "Time of a stage of a frame, by quantile.",
        &stages,
    );
    type OfSink = fn(&SinkTally) -> u64;
    let of_sinks: [(&str, &str, &str, OfSink); 7] = [
        (
            "messages_total",
            "counter",
            "Messages that the sink took.",
            |s| s.taken,
        ),
        (
            "failures_total",
            "counter",
            "Messages that the sink failed to take when they came.",
            |s| s.failed,
        ),
        (
            "frames_dropped_total",
            "counter",
            "Frames that the sink had no time for.",
            |s| s.dropped,
        ),
        (
            "messages_waiting",
            "gauge",
            "Messages that wait for the disk or the peer.",
            |s| s.waiting,
        ),
        (
            "messages_lost_total",
            "counter",
            "Messages that are lost.",
            |s| s.lost,
        ),
        (
            "messages_delivered_total",
            "counter",
            "Messages that the sink's peer took.",
            |s| s.peer.unwrap_or_default().delivered,
        ),
        (
            "messages_refused_total",
            "counter",
            "Messages that the sink's peer will never take.",
            |s| s.peer.unwrap_or_default().refused,
        ),
    ];
    for (name, kind, help, value) in of_sinks {
        let of_a_peer = name.contains("delivered") || name.contains("refused");
        let samples: Vec<(String, f64)> = tally
            .sinks
            .iter()
            .filter(|sink| sink.peer.is_some() || !of_a_peer)
            .map(|sink| {
                let label = format!("{{sink=\"{}\"}}", escaped(&sink.name));
                (label, value(sink) as f64)
            })
            .collect();
        family(&format!("sink_{name}"), kind, help, &samples);
    }
    if let Some(temperature) = tally.temperature {
        family(
            "temperature_celsius",
            "gauge",
            "The hottest of the machine's sensors.",
            &[(String::new(), temperature)],
        );
    }
    text
}

impl Sink for Prometheus {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants::default()
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        if let Message::Tally(tally) = message {
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            latest.tally = Some(Arc::clone(tally));
            latest.when = Instant::now();
        }
        Ok(())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests;
