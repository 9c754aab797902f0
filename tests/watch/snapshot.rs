//! A camera's snapshot address.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tiny_http::{Header, Response, Server};

use crate::{
    test_dir::{Ran, TestDir},
    tiny, until,
};

/// Gives a new picture every second request, and says in between that it has not changed.
struct Camera {
    port: u16,
    /// Authorization and condition of each request.
    received: Arc<Mutex<Vec<(String, String)>>>,
    away: Arc<AtomicBool>,
}

const CHALLENGE: &str = "Digest realm=\"camera\", nonce=\"0123abcd\", qop=\"auth\"";

impl Camera {
    fn start(wants_digest: bool) -> Self {
        let server = Server::http(("127.0.0.1", 0)).unwrap();
        let camera = Self {
            port: server.server_addr().to_ip().unwrap().port(),
            received: Arc::default(),
            away: Arc::default(),
        };
        let (received, away) = (Arc::clone(&camera.received), Arc::clone(&camera.away));
        let header = |name: &str, value: &str| Header::from_bytes(name, value).unwrap();
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            let mut number = 0_usize;
            for request in server.incoming_requests() {
                let value = |name: &'static str| {
                    let mut all = request.headers().iter();
                    let found = all.find(|header| header.field.equiv(name));
                    found.map_or(String::new(), |header| header.value.to_string())
                };
                let login = value("Authorization");
                let condition = value("If-None-Match");
                received
                    .lock()
                    .unwrap()
                    .push((login.clone(), condition.clone()));
                if away.load(Ordering::SeqCst) {
                    let _ = request.respond(Response::empty(503));
                    continue;
                }
                if wants_digest && !login.starts_with("Digest ") {
                    let challenge = header("WWW-Authenticate", CHALLENGE);
                    let _ = request.respond(Response::empty(401).with_header(challenge));
                    continue;
                }
                let etag = format!("\"{}\"", number / 2);
                number += 1;
                if condition == etag {
                    let _ = request.respond(Response::empty(304));
                    continue;
                }
                let spot = (number % 4 < 2).then_some((5, 2));
                let response = Response::from_data(tiny::png(&tiny::frame(1, spot)))
                    .with_header(header("Content-Type", "image/png"))
                    .with_header(header("ETag", &etag));
                let _ = request.respond(response);
            }
        });
        camera
    }
}

#[test]
fn a_snapshot_address_is_fetched_again_and_again() {
    for (digest, login, scheme) in [
        (false, "", ""),
        (false, "anna:p%40ss@", "Basic YW5uYTpwQHNz"),
        (true, "anna:p%40ss@", "Digest username=\"anna\""),
    ] {
        let dir = TestDir::new();
        let camera = Camera::start(digest);
        // The camera says that it is a picture; only how often it is fetched is set.
        let address = format!("http://{login}127.0.0.1:{}/snap#every=50ms", camera.port);
        let ran = Ran::of(&mut dir.watch(&[&address, "--frames", "4", "--json"]));
        assert_eq!(ran.code, Some(0), "{}", ran.messages);
        assert_eq!(ran.of_type("frame").len(), 4);
        assert!(!ran.messages.contains("ss@"), "{}", ran.messages);
        let received = camera.received.lock().unwrap();
        let (last, condition) = received.last().unwrap();
        assert!(last.starts_with(scheme), "{last}");
        assert!(condition.starts_with('"'), "requests are conditional");
        // Each picture was judged once, though it was there at two requests.
        assert!(received.len() >= 7, "{}", received.len());
    }
}

#[test]
fn what_a_server_gives_tells_whether_it_is_a_snapshot() {
    let dir = TestDir::new();
    let camera = Camera::start(false);
    let address = format!("http://127.0.0.1:{}/cgi-bin/picture", camera.port);
    let ran = Ran::of(&mut dir.watch(&[&address, "--frames", "2", "--json"]));
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    assert_eq!(ran.of_type("frame").len(), 2);
}

#[test]
fn a_camera_that_fails_is_tried_again() {
    let dir = TestDir::new();
    let camera = Camera::start(false);
    let address = format!("http://127.0.0.1:{}/snap#every=50ms", camera.port);
    let child = dir
        .watch(&[&address, "--frames", "6", "--json"])
        .spawn()
        .unwrap();
    let requests = || camera.received.lock().unwrap().len();
    until("pictures", || requests() >= 4);
    camera.away.store(true, Ordering::SeqCst);
    let before = requests();
    until("an attempt in vain", || requests() > before);
    std::thread::sleep(Duration::from_millis(100));
    camera.away.store(false, Ordering::SeqCst);
    let ran = Ran::until_end(child);
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    assert!(
        ran.messages
            .contains("the camera answers 503; trying again"),
        "{}",
        ran.messages
    );
    assert!(ran.messages.contains("back after"), "{}", ran.messages);
    let none = Ran::of(&mut dir.watch(&["http://127.0.0.1:1/snap#every=1s", "--retries", "0"]));
    assert_eq!(none.code, Some(2));
    assert!(
        none.messages.contains("no server listens there"),
        "{}",
        none.messages
    );
    let wrong = Ran::of(&mut dir.watch(&["rtsp://cam/s#every=1s", "--check"]));
    assert!(
        wrong.messages.contains("\"every\" is not known here"),
        "{}",
        wrong.messages
    );
}

/// A server that begins an answer with `head` and never ends it. Its threads end with the test.
fn endless(head: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(head.as_bytes());
                while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            });
        }
    });
    port
}

#[test]
fn an_answer_without_end_is_given_up() {
    let dir = TestDir::new();
    let body = endless("HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n");
    let head = endless("HTTP/1.1 200 OK\r\nX-Long: ");
    let camera = format!("http://127.0.0.1:{body}/endless.jpg#every=1");
    let hook = format!("http://127.0.0.1:{head}/hook");
    let line = dir.line(9);
    let configuration = format!(
        "[health]\nfrozen-after = 0\n[[source]]\nuri = '{camera}'\n\
         [[source]]\nuri = '{line}'\nname = 'line'\n[[webhook]]\nurl = '{hook}'\n"
    );
    std::fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    let said = dir.path("said.txt");
    let mut watch = dir.watch(&["--json"]);
    watch.stdout(Stdio::null());
    let mut child = watch.stderr(File::create(&said).unwrap()).spawn().unwrap();
    let has = |part: &str| std::fs::read_to_string(&said).unwrap().contains(part);
    until("the camera is given up", || {
        has("more than 67108864 bytes") || has("no answer in time")
    });
    until("the web server is given up", || {
        let text = std::fs::read_to_string(&said).unwrap();
        text.lines().any(|line| line.contains("webhook http"))
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(peak < 400 << 10, "{peak} KiB");
    child.kill().unwrap();
    child.wait().unwrap();
}
