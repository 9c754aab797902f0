//! Programs to test against, and waiting for them.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// The path of a program; where it is absent, `None` and a word why, or a failure where
/// `EDGE_VAE_PEERS` says that all peers have to be there.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        let required = std::env::var_os("EDGE_VAE_PEERS").is_some_and(|value| value == "1");
        assert!(!required, "EDGE_VAE_PEERS=1, but there is no {name}");
        eprintln!("skipped: there is no {name}");
    }
    found
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "not in 60 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
