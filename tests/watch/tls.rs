//! Brokers and web servers with TLS and client certificates: who is let in, what is said of the
//! others, and that frames are judged meanwhile.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use predicates::Predicate as _;
use serde_json::Value;

use crate::{
    authority::{Authority, Issued, quoted},
    broker::{Broker, Subscriber},
    free_port, program,
    test_dir::TestDir,
    until,
};

/// Lines of a stream, as they come.
type Lines = Arc<Mutex<Vec<String>>>;

fn lines_of(stream: impl std::io::Read + Send + 'static) -> Lines {
    let lines: Lines = Arc::default();
    let noted = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            noted.lock().unwrap().push(line);
        }
    });
    lines
}

/// A watch of a camera with one sink, until it is dropped.
struct Watch {
    _dir: TestDir,
    child: Child,
    objects: Lines,
    messages: Lines,
}

impl Watch {
    fn with(sink: &str) -> Self {
        let dir = TestDir::new();
        let camera = dir.camera();
        let configuration = format!(
            "[health]\nfrozen-after = 0\n[[source]]\nuri = '{camera}'\nname = 'cam'\n{sink}"
        );
        fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
        let mut child = dir.watch(&["--json"]).spawn().unwrap();
        Self {
            _dir: dir,
            objects: lines_of(child.stdout.take().unwrap()),
            messages: lines_of(child.stderr.take().unwrap()),
            child,
        }
    }

    fn frames(&self) -> usize {
        let objects = self.objects.lock().unwrap();
        let is = |line: &&String| line.contains("\"type\":\"frame\"");
        objects.iter().filter(is).count()
    }

    /// What is said once of the sink, while frames go on being judged.
    #[track_caller]
    fn trouble(&self, sink: &str) -> String {
        let about = |line: &&String| line.contains(sink) && line.contains(": ");
        let said = || -> Vec<String> {
            let messages = self.messages.lock().unwrap();
            messages.iter().filter(about).cloned().collect()
        };
        until("a word of the sink", || !said().is_empty());
        let before = self.frames();
        until("frames meanwhile", || self.frames() > before + 20);
        assert_eq!(said().len(), 1, "{:?}", said());
        said().remove(0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Certificates of both sides, and those of an authority that nobody trusts.
struct Parties {
    ours: Authority,
    server: Issued,
    expired: Issued,
    client: Issued,
    stranger: Issued,
    strangers: Authority,
}

impl Parties {
    fn new() -> Option<Self> {
        let (ours, strangers) = (Authority::new()?, Authority::new()?);
        Some(Self {
            server: ours.issue("server"),
            expired: ours.issue_until("expired", "20240302010203Z"),
            client: ours.issue("client"),
            stranger: strangers.issue("stranger"),
            ours,
            strangers,
        })
    }

    /// Whom to trust and who we are, as keys of a sink.
    fn keys(&self, ca: &Authority, client: Option<&Issued>) -> String {
        let ca = format!("ca = {}\n", quoted(&ca.certificate()));
        client.map_or(ca.clone(), |client| {
            let (certificate, key) = (quoted(&client.certificate), quoted(&client.key));
            format!("{ca}certificate = {certificate}\nkey = {key}\n")
        })
    }

    /// Host, whether its certificate has expired, keys, and what is said.
    fn refusals(&self, peer: &str) -> Vec<(&'static str, bool, String, String)> {
        let right = self.keys(&self.ours, Some(&self.client));
        vec![
            (
                "localhost",
                false,
                self.keys(&self.ours, None),
                // An alert that is lost behind the closed connection is guessed at.
                "wants? a certificate of ours.*: set certificate and key".to_owned(),
            ),
            (
                "localhost",
                false,
                self.keys(&self.ours, Some(&self.stranger)),
                "(refuses our|it may want a) certificate.*: set certificate and key".to_owned(),
            ),
            (
                "localhost",
                false,
                self.keys(&self.strangers, Some(&self.client)),
                format!("the {peer}'s certificate is of a CA that is not trusted; set ca to"),
            ),
            (
                "127.0.0.1",
                false,
                right.clone(),
                format!(
                    "the {peer}'s certificate is for another host name: for localhost, not for \
                     127.0.0.1; set url"
                ),
            ),
            (
                "localhost",
                true,
                right,
                format!(
                    "the {peer}'s certificate has expired on 2024-03-02T01:02:03Z, and the clock \
                     here is at 2"
                ),
            ),
        ]
    }
}

#[track_caller]
fn check(said: &str, expected: &str) {
    let found = predicates::str::is_match(expected).unwrap().eval(said);
    assert!(found, "{said}\nlacks: {expected}");
}

#[test]
fn a_broker_with_certificates_lets_in_whom_it_trusts_and_is_believed_by_its_own() {
    let Some(parties) = Parties::new() else {
        return;
    };
    let (right, expired) = (free_port(), free_port());
    let listener = |port: u16, server: &Issued| {
        format!(
            "listener {port} 127.0.0.1\nrequire_certificate true\ncafile {}\ncertfile {}\n\
             keyfile {}\n",
            parties.ours.certificate().display(),
            server.certificate.display(),
            server.key.display()
        )
    };
    let broker = Broker::start(|_| {
        let listeners = [
            listener(right, &parties.server),
            listener(expired, &parties.expired),
        ];
        format!("allow_anonymous true\n{}", listeners.concat())
    });
    let Some(broker) = broker else {
        return;
    };
    let subscriber = Subscriber::of(&broker, "hall/#");
    for protocol in ["3.1.1", "5"] {
        let sink = |host: &str, port: u16, keys: &str| {
            format!(
                "[[mqtt]]\nurl = 'mqtts://{host}:{port}/hall/{protocol}'\n\
                 protocol = '{protocol}'\n{keys}"
            )
        };
        let keys = parties.keys(&parties.ours, Some(&parties.client));
        let watch = Watch::with(&sink("localhost", right, &keys));
        let topic = format!("hall/{protocol}/cam/event");
        until("events", || subscriber.last(&topic).is_some());
        drop(watch);
        for (host, is_expired, keys, expected) in parties.refusals("broker") {
            let port = if is_expired { expired } else { right };
            let watch = Watch::with(&sink(host, port, &keys));
            let said = watch.trouble(&format!("mqtts://{host}:{port}"));
            check(&said, &expected);
        }
    }
}

/// `https.py`, until it is dropped.
struct Server {
    child: Child,
    notes: Lines,
    port: u16,
}

impl Server {
    fn start(python: &Path, server: &Issued, clients: &Authority) -> Self {
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/watch/https.py"))
            .args([&server.certificate, &server.key, &clients.certificate()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let notes = lines_of(child.stdout.take().unwrap());
        until("the server listens", || !notes.lock().unwrap().is_empty());
        let first: Value = serde_json::from_str(&notes.lock().unwrap()[0]).unwrap();
        Self {
            child,
            notes,
            port: first["port"].as_u64().unwrap() as u16,
        }
    }

    fn last(&self) -> Option<Value> {
        let notes = self.notes.lock().unwrap();
        notes[1..]
            .last()
            .map(|note| serde_json::from_str(note).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_web_server_with_certificates_lets_in_whom_it_trusts_and_is_believed_by_its_own() {
    let (Some(parties), Some(python)) = (Parties::new(), program("python3")) else {
        return;
    };
    let right = Server::start(&python, &parties.server, &parties.ours);
    let expired = Server::start(&python, &parties.expired, &parties.ours);
    let sink = |host: &str, port: u16, keys: &str| {
        format!("[[webhook]]\nurl = 'https://{host}:{port}/hook'\n{keys}")
    };
    let keys = parties.keys(&parties.ours, Some(&parties.client));
    let watch = Watch::with(&sink("localhost", right.port, &keys));
    until("events", || {
        right
            .last()
            .is_some_and(|note| note["body"]["type"] == "event")
    });
    drop(watch);
    for (host, is_expired, keys, expected) in parties.refusals("server") {
        let port = if is_expired { expired.port } else { right.port };
        let watch = Watch::with(&sink(host, port, &keys));
        let said = watch.trouble(&format!("https://{host}:{port}"));
        check(&said, &expected);
    }
    assert!(expired.last().is_none());
}

#[test]
fn certificates_that_can_not_be_used_are_refused_before_anything_runs() {
    let Some(parties) = Parties::new() else {
        return;
    };
    let dir = TestDir::new();
    let none = dir.path("none.pem");
    fs::write(&none, "no certificate").unwrap();
    let endless = Path::new("/dev/zero");
    let (client, other) = (&parties.client, &parties.server);
    for (certificate, key, expected) in [
        (&client.certificate, &other.key, "do not belong together"),
        (
            &client.certificate,
            &client.certificate,
            "has no private key in PEM format",
        ),
        (&client.key, &client.key, "has no certificate in PEM format"),
        (&none, &client.key, "has no certificate in PEM format"),
        (&dir.path("absent"), &client.key, "absent: cannot read"),
        (
            &endless.to_owned(),
            &client.key,
            "/dev/zero: cannot read: it goes on and on, at most 1048576 are read",
        ),
    ] {
        for sink in [
            "[[mqtt]]\nurl = 'mqtts://h/p'",
            "[[webhook]]\nurl = 'https://h/p'",
        ] {
            let (certificate, key) = (quoted(certificate), quoted(key));
            let configuration = format!(
                "[[source]]\nuri = 'folder/'\n{sink}\ncertificate = {certificate}\nkey = {key}\n\
                 ca = {}\n",
                quoted(&parties.ours.certificate())
            );
            fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
            let output = dir.watch(&["--check"]).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{text}");
            assert!(text.contains(expected), "{text}\nlacks: {expected}");
        }
    }
}
