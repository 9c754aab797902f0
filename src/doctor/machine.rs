//! What a machine is asked: files first, programs where no file tells.

use std::{path::Path, time::Duration};

use crate::stream::{sink::ListenAddress, source::SourceSettings};

/// A machine that is examined. This one is [`ThisMachine`](super::ThisMachine); tests have recorded
/// ones. Paths of the system are absolute.
pub trait Machine {
    /// The processor's, as Rust calls it: `x86_64`, `aarch64`.
    fn architecture(&self) -> &str;

    /// What is in a file; `None` where it can't be read.
    fn bytes(&self, path: &str) -> Option<Vec<u8>>;

    /// Names in a folder, sorted; none where it can't be read.
    fn names(&self, folder: &str) -> Vec<String>;

    /// Whether there is a file, folder or device of this name.
    fn exists(&self, path: &Path) -> bool;

    /// An environment variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<String>;

    /// Standard output of a program that ended with 0 within 5 seconds.
    fn output(&self, program: &str, arguments: &[&str]) -> Option<String>;

    /// Whether this user may read and write it.
    fn may_use(&self, path: &Path) -> bool;

    /// What a camera of the kernel offers, each of its formats with the largest size.
    ///
    /// # Errors
    /// Why it can't be asked, or is no camera.
    fn camera_formats(&self, path: &Path) -> Result<Vec<String>, String>;

    /// Whether a camera can do what is asked for; it is not started.
    ///
    /// # Errors
    /// What `watch` would say.
    fn check_camera(&self, path: &Path, settings: &SourceSettings) -> Result<(), String>;

    /// Bytes that this user may still write below a folder.
    fn free_bytes(&self, folder: &Path) -> Option<u64>;

    /// Writes and flushes some files in a folder, and removes them.
    ///
    /// # Errors
    /// Why it can't be written.
    fn write_speed(&self, folder: &Path) -> Result<WriteSpeed, String>;

    /// Connects by TCP and hangs up.
    ///
    /// # Errors
    /// What the network says within 2 seconds.
    fn connect(&self, host: &str, port: u16) -> Result<(), String>;

    /// Listens for a moment.
    ///
    /// # Errors
    /// Why the port can't be had.
    fn listen(&self, address: &ListenAddress) -> Result<(), String>;

    /// Whether a process answers on a Unix socket.
    fn answers(&self, socket: &Path) -> bool;

    /// Text of a file without the white space and zeros at its ends.
    fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        let text = String::from_utf8_lossy(&bytes);
        Some(
            text.trim_matches(|c: char| c.is_whitespace() || c == '\0')
                .to_owned(),
        )
    }

    /// A number that a file holds.
    fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// Whether a program is found in `PATH`.
    fn has_program(&self, name: &str) -> bool {
        let path = self.variable("PATH").unwrap_or_default();
        path.split(':')
            .any(|folder| self.exists(&Path::new(folder).join(name)))
    }
}

/// How fast a disk takes what is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WriteSpeed {
    /// Of a long file that is flushed at its end.
    pub bytes_per_second: f64,
    /// Until a short file is flushed, as each event is.
    pub flush: Duration,
}
