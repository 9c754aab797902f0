//! Commands on a Unix socket: a JSON object a line, and one a line back.

use std::{
    fs,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{ALL_VERBS, ControlHandle, MOST_REQUEST_BYTES};

/// Clients at once: people and a program or two.
const CLIENTS: usize = 16;

/// How long a client may be silent, and how long an answer may take to be read.
const SILENCE: Duration = Duration::from_secs(60);

/// How often a thread looks whether the end was asked for.
const TICK: Duration = Duration::from_millis(100);

/// Most bytes of the path of a Unix socket, on Linux; the BSDs have four less.
pub const MOST_PATH_BYTES: usize = 107;

/// Who may command, beside root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ControlMode {
    /// The user that the program runs as.
    #[default]
    #[serde(rename = "0600")]
    User,
    /// Its group, too.
    #[serde(rename = "0660")]
    Group,
}

impl ControlMode {
    fn bits(self) -> u32 {
        match self {
            Self::User => 0o600,
            Self::Group => 0o660,
        }
    }
}

/// The table `[control]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControlSettings {
    /// The socket.
    pub path: PathBuf,
    /// Who may command: `"0600"` (the default) or `"0660"`.
    #[serde(default)]
    pub mode: ControlMode,
}

impl ControlSettings {
    /// A socket for the user that the program runs as.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: ControlMode::default(),
        }
    }

    /// Checks what can be checked without opening it.
    ///
    /// # Errors
    /// A path that no socket can have.
    pub fn check(&self) -> Result<(), ControlError> {
        let length = self.path.as_os_str().len();
        if length == 0 || length > MOST_PATH_BYTES {
            return Err(self.error(format!(
                "the path of a Unix socket has 1 to {MOST_PATH_BYTES} bytes, and this one \
                 {length}; choose a shorter one"
            )));
        }
        Ok(())
    }

    fn error(&self, problem: String) -> ControlError {
        ControlError {
            path: self.path.clone(),
            problem,
        }
    }
}

impl std::fmt::Display for ControlSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (mode {:04o})", self.path.display(), self.mode.bits())
    }
}

/// Why no commands can be taken.
#[derive(Debug, thiserror::Error)]
#[error("control {path}: {problem}", path = path.display())]
pub struct ControlError {
    /// The socket.
    pub path: PathBuf,
    /// What was found, and what to do.
    pub problem: String,
}

/// Takes commands on a Unix socket until it is dropped, which removes the socket.
#[derive(Debug)]
pub(in crate::stream) struct ControlSocket {
    pub(in crate::stream) settings: ControlSettings,
    /// Device and number of the socket's file, which another program may have replaced.
    file: Option<(u64, u64)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ControlSocket {
    /// Listens. A socket that a process left behind is replaced.
    pub(in crate::stream) fn open(
        settings: &ControlSettings,
        handle: ControlHandle,
    ) -> Result<Self, ControlError> {
        settings.check()?;
        let path = &settings.path;
        make_room(path).map_err(|problem| settings.error(problem))?;
        let listener = listen(path, settings.mode)
            .map_err(|error| settings.error(cannot_listen(path, &error)))?;
        let stop = Arc::<AtomicBool>::default();
        let file = fs::symlink_metadata(path).ok();
        let mut socket = Self {
            settings: settings.clone(),
            file: file.map(|metadata| (metadata.dev(), metadata.ino())),
            stop: Arc::clone(&stop),
            thread: None,
        };
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&listener, &handle, &stop))
            .map_err(|error| settings.error(format!("cannot start a thread: {error}")))?;
        socket.thread = Some(thread);
        Ok(socket)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let path = &self.settings.path;
        let ours = |metadata: fs::Metadata| self.file == Some((metadata.dev(), metadata.ino()));
        if fs::symlink_metadata(path).is_ok_and(ours) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes a socket on which nobody listens.
fn make_room(path: &Path) -> Result<(), String> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot look at it: {error}")),
    };
    if !metadata.file_type().is_socket() {
        return Err("there is something that is no socket; choose another path".to_owned());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(
            "another process listens there; is the watch running already? choose another path"
                .to_owned(),
        ),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| format!("cannot remove the socket of a dead process: {error}")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!(
            "there is a socket that can't be asked whether it is in use: {error}"
        )),
    }
}

fn cannot_listen(path: &Path, error: &io::Error) -> String {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match error.kind() {
        ErrorKind::NotFound => format!("there is no folder {}; create it", folder.display()),
        ErrorKind::PermissionDenied => format!(
            "no permission to create a file in {}; choose another folder",
            folder.display()
        ),
        _ => format!("cannot listen: {error}"),
    }
}

/// Nobody can connect before the file has its mode: it is set between `bind` and `listen`.
fn listen(path: &Path, mode: ControlMode) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode.bits()))?;
    socket.listen(CLIENTS as i32)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

fn accept(listener: &UnixListener, handle: &ControlHandle, stop: &Arc<AtomicBool>) {
    let clients = Arc::<AtomicUsize>::default();
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            // Nobody is there, or there are too many open files.
            thread::sleep(TICK / 2);
            continue;
        };
        if clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS {
            clients.fetch_sub(1, Ordering::Relaxed);
            let _ = stream.set_nonblocking(true);
            let _ = stream.write_all(b"{\"ok\":false,\"error\":\"too many clients\"}\n");
            continue;
        }
        let (handle, stop, count) = (handle.clone(), Arc::clone(stop), Arc::clone(&clients));
        let serving = thread::Builder::new()
            .name("control client".into())
            .spawn(move || {
                // A client that goes, or hangs, is not missed.
                let _ = serve(stream, &handle, &stop);
                count.fetch_sub(1, Ordering::Relaxed);
            });
        if serving.is_err() {
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(stream: UnixStream, handle: &ControlHandle, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let ending = || stop.load(Ordering::Relaxed);
    loop {
        let Some(line) = read_line(&mut reader, &ending)? else {
            return Ok(());
        };
        let mut answer = handle.answer(&line, &ALL_VERBS, None, &ending);
        answer.push(b'\n');
        writer.write_all(&answer)?;
        if line.len() > MOST_REQUEST_BYTES {
            // What follows is its rest, and no request.
            return Ok(());
        }
    }
}

/// The next line, without its end; one that is too long is cut. `None` at the end.
fn read_line(
    reader: &mut BufReader<UnixStream>,
    ending: &dyn Fn() -> bool,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let until = Instant::now() + SILENCE;
    loop {
        let room = (MOST_REQUEST_BYTES + 1 - line.len()) as u64;
        match reader.by_ref().take(room).read_until(b'\n', &mut line) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                if ending() || Instant::now() > until {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
}
