//! Events to a web server that refuses, redirects, asks for time, and comes back.

use std::{
    fs::OpenOptions,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tiny_http::{Header, Response, Server};

use crate::{
    free_port,
    test_dir::{Ran, TestDir},
};

/// A request: when it came, its key and who sent it.
struct Received {
    when: Instant,
    key: String,
    authorization: String,
}

/// Answers with status and headers, by the number of the request.
struct Peer {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

type Reply = fn(usize) -> (u16, &'static [(&'static str, &'static str)]);

impl Peer {
    fn that_answers(reply: Reply) -> Self {
        let server = Server::http(("127.0.0.1", 0)).unwrap();
        let port = server.server_addr().to_ip().unwrap().port();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let notes = Arc::clone(&received);
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for request in server.incoming_requests() {
                let header = |name: &'static str| {
                    let mut all = request.headers().iter();
                    let found = all.find(|header| header.field.equiv(name));
                    found.map_or(String::new(), |header| header.value.to_string())
                };
                let mut notes = notes.lock().unwrap();
                let (status, headers) = reply(notes.len());
                notes.push(Received {
                    when: Instant::now(),
                    key: header("Idempotency-Key"),
                    authorization: header("Authorization"),
                });
                drop(notes);
                let mut response = Response::empty(status);
                for (name, value) in headers {
                    response.add_header(Header::from_bytes(*name, *value).unwrap());
                }
                let _ = request.respond(response);
            }
        });
        Self { port, received }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    fn requests(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

/// A run over a folder with two defects: two messages of the source, and two of each event.
const MESSAGES: usize = 6;

fn run(dir: &TestDir, url: &str) -> Ran {
    dir.pictures("line", 12, &[3, 7]);
    Ran::of(&mut dir.watch(&["line?watch=false", "--json", "--webhook", url]))
}

fn summary(ran: &Ran) -> &str {
    let mut lines = ran.messages.lines();
    let found = lines.find(|line| line.contains("webhook") && line.contains("delivered"));
    found.unwrap_or_else(|| panic!("{}", ran.messages))
}

#[test]
fn a_login_in_the_address_arrives_decoded() {
    let dir = TestDir::new();
    let peer = Peer::that_answers(|_| (200, &[]));
    let url = format!("HTTP://anna:p%40ss%2Fw%3Ard@127.0.0.1:{}/hook", peer.port);
    let ran = run(&dir, &url);
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    let received = peer.received.lock().unwrap();
    assert_eq!(received.len(), MESSAGES);
    // base64 of anna:p@ss/w:rd
    let expected = "Basic YW5uYTpwQHNzL3c6cmQ=";
    assert!(
        received
            .iter()
            .all(|received| received.authorization == expected)
    );
    assert!(!ran.messages.contains("anna"), "{}", ran.messages);
    assert!(summary(&ran).contains(&format!("{MESSAGES} delivered, 0 refused")));
}

#[test]
fn every_refusal_is_counted_once_and_nothing_works_again() {
    for reply in [(|_| (401, &[] as &[_])) as Reply, |_| (404, &[])] {
        let dir = TestDir::new();
        let peer = Peer::that_answers(reply);
        let ran = run(&dir, &peer.url());
        assert_eq!(ran.code, Some(2), "{}", ran.messages);
        assert_eq!(peer.requests(), MESSAGES);
        let expected = format!(
            "{MESSAGES} messages, 0 failed, 0 frames dropped; 0 delivered, \
             {MESSAGES} refused"
        );
        assert!(summary(&ran).contains(&expected), "{}", ran.messages);
        assert!(!ran.messages.contains("works again"), "{}", ran.messages);
        assert!(
            ran.messages.contains("the server refuses it with 40"),
            "{}",
            ran.messages
        );
    }
}

#[test]
fn a_server_that_asks_for_time_gets_it_and_works_again_afterwards() {
    for reply in [
        (|number| match number {
            0 => (503, &[("Retry-After", "2")] as &[_]),
            _ => (200, &[]),
        }) as Reply,
        |number| match number {
            0 => (429, &[("Retry-After", "2")]),
            _ => (204, &[]),
        },
    ] {
        let dir = TestDir::new();
        dir.pictures("line", 12, &[3, 7]);
        let peer = Peer::that_answers(reply);
        let url = peer.url();
        // Long enough for the answer to be waited for.
        let mut child = dir.watch(&["line", "--json", "--webhook", &url, "--duration", "5s"]);
        let ran = Ran::of(&mut child);
        assert_eq!(ran.code, Some(0), "{}", ran.messages);
        let received = peer.received.lock().unwrap();
        assert_eq!(received[0].key, received[1].key);
        let waited = received[1].when - received[0].when;
        assert!(waited >= Duration::from_millis(1900), "{waited:?}");
        assert!(waited < Duration::from_secs(4), "{waited:?}");
        assert_eq!(
            ran.messages.matches("works again").count(),
            1,
            "{}",
            ran.messages
        );
        assert!(summary(&ran).contains("0 refused"), "{}", ran.messages);
    }
}

#[test]
fn a_redirect_is_told_with_its_goal_and_the_messages_wait() {
    let dir = TestDir::new();
    let peer = Peer::that_answers(|_| (308, &[("Location", "https://new.example/hook?key=s3")]));
    let ran = run(&dir, &peer.url());
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    let expected = "it is elsewhere, at https://new.example/hook; set url";
    assert!(ran.messages.contains(expected), "{}", ran.messages);
    let waiting = format!("0 delivered, 0 refused, {MESSAGES} wait for the next run");
    assert!(summary(&ran).contains(&waiting), "{}", ran.messages);
    assert!(!ran.messages.contains("works again"), "{}", ran.messages);
}

#[test]
fn what_waits_is_told_and_the_next_run_delivers_it() {
    let dir = TestDir::new();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/hook");
    let ran = run(&dir, &url);
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    let waiting = format!("{MESSAGES} wait for the next run");
    assert!(summary(&ran).contains(&waiting), "{}", ran.messages);
    assert!(
        ran.messages.contains("no server listens there"),
        "{}",
        ran.messages
    );
}

#[test]
fn output_that_is_lost_is_no_success() {
    let dir = TestDir::new();
    dir.pictures("line", 5, &[3]);
    for arguments in [&["line?watch=false", "--json"][..], &["line?watch=false"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = Ran::of(dir.watch(arguments).stdout(full));
        assert_eq!(ran.code, Some(2), "{}", ran.messages);
        assert!(
            ran.messages.contains("terminal: cannot write"),
            "{}",
            ran.messages
        );
        assert!(
            ran.messages.contains("were not delivered"),
            "{}",
            ran.messages
        );
        assert!(!ran.messages.contains("works again"), "{}", ran.messages);
    }
}
