//! Events to a web server that is absent, fails, refuses, hangs, and comes back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use edge_vae::stream::sink::{Sink, Webhook, WebhookSettings};
use tiny_http::{Response, Server};

use crate::{
    events::{event, id_of, ids, trouble},
    free_port, until,
};

#[derive(Clone, Copy, PartialEq)]
enum Reply {
    Status(u16),
    /// No answer before the client has lost patience.
    Hang,
}

#[derive(Clone, Debug, PartialEq)]
struct ReceivedRequest {
    id: String,
    key: String,
    authorization: String,
    taken: bool,
}

/// Answers as told, then with 200.
struct Peer {
    seen: Arc<Mutex<Vec<ReceivedRequest>>>,
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn listen(port: u16, replies: &[Reply]) -> Self {
        let server = Arc::new(Server::http(("127.0.0.1", port)).unwrap());
        let seen: Arc<Mutex<Vec<ReceivedRequest>>> = Arc::default();
        let mut replies: VecDeque<Reply> = replies.iter().copied().collect();
        let (theirs, notes) = (Arc::clone(&server), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            while let Ok(mut request) = theirs.recv() {
                let mut body = Vec::new();
                request.as_reader().read_to_end(&mut body).unwrap();
                let header = |name: &'static str| {
                    let found = request
                        .headers()
                        .iter()
                        .find(|header| header.field.equiv(name));
                    found.map_or(String::new(), |header| header.value.to_string())
                };
                assert_eq!(header("X-Edge-Vae-Type"), "event");
                assert_eq!(header("Content-Type"), "application/json");
                let reply = replies.pop_front().unwrap_or(Reply::Status(200));
                notes.lock().unwrap().push(ReceivedRequest {
                    id: id_of(&body),
                    key: header("Idempotency-Key"),
                    authorization: header("Authorization"),
                    taken: reply == Reply::Status(200),
                });
                match reply {
                    Reply::Status(status) => {
                        let _ = request.respond(Response::empty(status));
                    }
                    Reply::Hang => {
                        std::thread::sleep(Duration::from_millis(700));
                        drop(request);
                    }
                }
            }
        });
        Self {
            seen,
            server,
            thread: Some(thread),
        }
    }

    fn taken(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.taken)
            .map(|seen| seen.id.clone())
            .collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn every_event_arrives_in_order_once_whatever_the_server_does() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let token = dir.path().join("token");
    std::fs::write(&token, "abc\n").unwrap();
    let mut settings = WebhookSettings::new(format!("http://127.0.0.1:{port}/hook?key=secret"));
    settings.outbox.folder = Some(dir.path().join("outbox"));
    settings.token_file = Some(token);
    settings.timeout = Duration::from_millis(300);
    let mut webhook = Webhook::open(&settings).unwrap();
    for number in 0..10 {
        webhook.take(&event(number)).unwrap();
    }
    let logged = trouble(&mut webhook);
    assert!(
        logged.contains("connection refused: no server listens there"),
        "{logged}"
    );
    assert!(!logged.contains("secret"), "{logged}");
    let peer = Peer::listen(
        port,
        &[
            Reply::Status(503),
            Reply::Status(200),
            Reply::Hang,
            Reply::Status(429),
            Reply::Status(200),
            Reply::Status(422),
        ],
    );
    until("all events", || peer.taken().len() >= 9);
    // The one that was refused for good is aside; nothing follows it twice.
    let mut expected = ids(0..10);
    expected.remove(2);
    assert_eq!(peer.taken(), expected);
    let seen = peer.seen.lock().unwrap().clone();
    assert_eq!(seen[0].key, "event-0000-open");
    assert_eq!(seen[0].key, seen[1].key, "the same when it is sent again");
    assert!(seen.iter().all(|seen| seen.authorization == "Bearer abc"));
    until("nothing waits", || {
        !dir.path().join("outbox/00000000000000000010.msg").exists()
    });
    assert!(
        dir.path()
            .join("outbox/aside/00000000000000000003.msg")
            .exists()
    );
    let mut logged = Vec::new();
    for _ in 0..5 {
        logged.extend(webhook.idle().err().map(|error| error.to_string()));
    }
    assert!(
        logged
            .iter()
            .any(|logged| logged.contains("refuses it with 422")),
        "{logged:?}"
    );
    webhook.finish().unwrap();
}

#[test]
fn events_that_were_not_taken_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut settings = WebhookSettings::new(format!("http://127.0.0.1:{port}/"));
    settings.outbox.folder = Some(dir.path().to_owned());
    let mut webhook = Webhook::open(&settings).unwrap();
    webhook.take(&event(0)).unwrap();
    trouble(&mut webhook);
    drop(webhook);
    let peer = Peer::listen(port, &[]);
    let mut webhook = Webhook::open(&settings).unwrap();
    webhook.take(&event(1)).unwrap();
    until("both", || peer.taken().len() >= 2);
    assert_eq!(peer.taken(), ids(0..2));
    webhook.finish().unwrap();
}
