//! The machine that the program runs on.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{Access, access, statvfs};

use super::{Machine, WriteSpeed};
use crate::stream::{
    sink::ListenAddress,
    source::{self, SourceSettings},
};

/// The longest that a program may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that a connection may take.
const CONNECTION: Duration = Duration::from_secs(2);
/// Most bytes that are read of a file: libraries are longer than anything else that is looked at.
const MOST_BYTES: u64 = 64 << 20;

/// Sizes of the files by which a disk is measured.
#[derive(Clone, Copy, Debug)]
struct DiskParams {
    /// Long enough to be more than a cache of a card, short enough for 10 MB/s.
    long: usize,
    /// About a record of an event.
    short: usize,
    /// How many of the latter; the median is told.
    flushes: usize,
    /// After this time no more is begun.
    budget: Duration,
}

const DISK: DiskParams = DiskParams {
    long: 16 << 20,
    short: 4 << 10,
    flushes: 9,
    budget: Duration::from_secs(2),
};

/// The machine that the program runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn architecture(&self) -> &str {
        env::consts::ARCH
    }

    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        // To open a named pipe would wait for its writer.
        if !fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        let file = File::open(path).ok()?;
        file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // What these programs say fits into a pipe, so waiting before reading can't deadlock.
        let began = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return None;
                }
            }
        };
        let mut text = String::new();
        child.stdout.take()?.read_to_string(&mut text).ok()?;
        status.success().then_some(text)
    }

    fn may_use(&self, path: &Path) -> bool {
        access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
    }

    fn camera_formats(&self, path: &Path) -> Result<Vec<String>, String> {
        source::camera_formats(path).map_err(|error| error.to_string())
    }

    fn check_camera(&self, path: &Path, settings: &SourceSettings) -> Result<(), String> {
        source::check_camera(path, settings).map_err(|error| error.to_string())
    }

    fn free_bytes(&self, folder: &Path) -> Option<u64> {
        let found = statvfs(folder).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn write_speed(&self, folder: &Path) -> Result<WriteSpeed, String> {
        measure_disk(folder).map_err(|error| {
            // Behind it stands the name of a file that is of no interest.
            let said = error.to_string();
            said.split(" at path ")
                .next()
                .unwrap_or_default()
                .to_owned()
        })
    }

    fn connect(&self, host: &str, port: u16) -> Result<(), String> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = (host, port).to_socket_addrs();
        let mut problem = "the name has no address".to_owned();
        for address in addresses.map_err(|error| error.to_string())? {
            match TcpStream::connect_timeout(&address, CONNECTION) {
                Ok(_) => return Ok(()),
                Err(error) => problem = error.to_string(),
            }
        }
        Err(problem)
    }

    fn listen(&self, address: &ListenAddress) -> Result<(), String> {
        address.bind().map(drop).map_err(|error| error.to_string())
    }

    fn answers(&self, socket: &Path) -> bool {
        UnixStream::connect(socket).is_ok()
    }
}

fn measure_disk(folder: &Path) -> io::Result<WriteSpeed> {
    let began = Instant::now();
    let mut flushes = Vec::new();
    let short = vec![0x5a; DISK.short];
    while flushes.len() < DISK.flushes && began.elapsed() < DISK.budget {
        let once = Instant::now();
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&short)?;
        file.as_file().sync_all()?;
        flushes.push(once.elapsed());
    }
    flushes.sort();
    let mut file = tempfile::tempfile_in(folder)?;
    let piece = vec![0xa5; 1 << 20];
    let once = Instant::now();
    let mut written = 0;
    while written < DISK.long && began.elapsed() < DISK.budget {
        file.write_all(&piece)?;
        file.sync_data()?;
        written += piece.len();
    }
    Ok(WriteSpeed {
        bytes_per_second: written as f64 / once.elapsed().as_secs_f64().max(1e-9),
        flush: flushes[flushes.len() / 2],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let speed = ThisMachine.write_speed(dir.path()).unwrap();
        assert!(speed.bytes_per_second > 0.0 && speed.flush > Duration::ZERO);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(ThisMachine.write_speed(&dir.path().join("gone")).is_err());
        assert!(
            ThisMachine
                .free_bytes(dir.path())
                .is_some_and(|free| free > 0)
        );
    }

    #[test]
    fn programs_that_fail_or_are_missing_say_nothing() {
        assert_eq!(ThisMachine.output("echo", &["x"]).as_deref(), Some("x\n"));
        assert_eq!(ThisMachine.output("false", &[]), None);
        assert_eq!(ThisMachine.output("no-such-program", &[]), None);
    }

    #[test]
    fn ports_that_are_taken_or_silent_are_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(ThisMachine.connect("127.0.0.1", address.port()), Ok(()));
        let listens: ListenAddress = address.to_string().parse().unwrap();
        assert!(ThisMachine.listen(&listens).is_err());
        drop(listener);
        assert!(ThisMachine.connect("127.0.0.1", address.port()).is_err());
    }
}
