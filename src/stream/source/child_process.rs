//! Pictures that a child process writes on its standard output.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{self, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{
    super::address::without_passwords, Arrival, Source, SourceError, SourceSettings,
    command_line::CommandLine, picture_stream::PictureStream, splitter::Splitter,
};
use crate::Frame;

/// Lines of the child's complaints that are kept for a message.
const LINES: usize = 4;

/// Most bytes of a line that is kept.
const LINE_BYTES: u64 = 300;

/// How long a child may take to end once it was asked to, or its output ended: a camera's service
/// wants to be told before its client is gone.
const GRACE: Duration = Duration::from_secs(1);

/// How a source of a child's pictures behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChildOptions {
    /// [`Source::is_live`].
    pub(super) live: bool,
    /// Whether a child that ends without complaint has given everything. A camera has not.
    pub(super) ends: bool,
    /// Whether trying again is useless when it fails before its first frame: a file that can't be
    /// decoded stays what it is.
    pub(super) fails_for_good: bool,
    /// Silence after which the source is lost.
    pub(super) timeout: Option<Duration>,
}

/// Pictures of a child process. It is in a process group of its own, which is ended with the
/// source.
pub(super) struct ChildSource {
    name: String,
    pictures: PictureStream,
    child: Child,
    options: ChildOptions,
    /// When the last frame came, or the child began.
    last: Instant,
    frames: u64,
}

impl ChildSource {
    pub(super) fn open(
        name: &str,
        command: &CommandLine,
        splitter: Splitter,
        settings: &SourceSettings,
        options: ChildOptions,
    ) -> Result<Self, SourceError> {
        let (child, output) = Child::spawn(command).map_err(|error| {
            let problem = format!("cannot start {}: {error}", command.program);
            let source_name = name.to_owned();
            // Too many processes, too little memory: that may pass.
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::PermissionDenied => SourceError::Impossible {
                    source_name,
                    problem,
                },
                _ => SourceError::Lost {
                    source_name,
                    problem,
                },
            }
        })?;
        Ok(Self {
            name: name.to_owned(),
            pictures: PictureStream::new(name, output, splitter, settings),
            child,
            options,
            last: Instant::now(),
            frames: 0,
        })
    }

    fn end(&mut self) -> Result<Arrival, SourceError> {
        let (status, complaints) = self.child.finish();
        let complaints = without_passwords(&complaints);
        if self.options.ends && status.is_some_and(|status| status.success()) {
            return Ok(Arrival::End);
        }
        let how = match status {
            Some(status) if status.success() => "ended".to_owned(),
            Some(status) => format!("ended with {status}"),
            None => "closed its output without ending".to_owned(),
        };
        let problem = match complaints.is_empty() {
            true => format!("{} {how}", self.child.program),
            false => format!("{} {how}: {complaints}", self.child.program),
        };
        let source_name = self.name.clone();
        Err(if self.options.fails_for_good && self.frames == 0 {
            SourceError::Impossible {
                source_name,
                problem,
            }
        } else {
            SourceError::Lost {
                source_name,
                problem,
            }
        })
    }
}

impl Source for ChildSource {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        match self.pictures.read(frame)? {
            Arrival::Frame => {
                self.last = Instant::now();
                self.frames += 1;
                Ok(Arrival::Frame)
            }
            Arrival::End => self.end(),
            Arrival::Nothing => match self.options.timeout {
                Some(timeout) if self.last.elapsed() > timeout => Err(SourceError::Lost {
                    source_name: self.name.clone(),
                    problem: format!("no frame for {}", humantime::format_duration(timeout)),
                }),
                _ => Ok(Arrival::Nothing),
            },
        }
    }

    fn is_live(&self) -> bool {
        self.options.live
    }
}

/// A running child, ended on drop.
struct Child {
    program: &'static str,
    process: process::Child,
    stderr: Arc<StderrTail>,
    finished: bool,
}

impl Child {
    fn spawn(command: &CommandLine) -> io::Result<(Self, File)> {
        let mut process = Command::new(command.program)
            .args(&command.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is for us: what is in flight is finished first.
            .process_group(0)
            .spawn()?;
        let stderr = Arc::new(StderrTail::default());
        let streams = process.stdout.take().zip(process.stderr.take());
        let child = Self {
            program: command.program,
            process,
            stderr: stderr.clone(),
            finished: false,
        };
        let (output, errors) = streams.ok_or_else(|| io::Error::other("no pipe to the child"))?;
        thread::Builder::new()
            .name(format!("{} stderr", command.program))
            .spawn(move || stderr.collect(errors))?;
        Ok((child, File::from(OwnedFd::from(output))))
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Whether the process ended, which leaves it to be waited for, so that its number stays its
    /// own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.id()), options), Ok(None))
    }

    fn wait_until_ended(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.has_ended() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// After the end of its output: how it ended, `None` if it had to be killed, and what it
    /// complained of, in one line.
    fn finish(&mut self) -> (Option<ExitStatus>, String) {
        let ended = self.wait_until_ended(GRACE);
        let complaints = self.stderr.wait_for_all(GRACE);
        let status = self.kill();
        (status.filter(|_| ended), complaints)
    }

    /// Kills what is left of the process group, and reaps the child. Until then its number is
    /// nobody else's.
    fn kill(&mut self) -> Option<ExitStatus> {
        if !self.finished {
            let _ = kill_process_group(self.id(), Signal::KILL);
            self.finished = true;
        }
        self.process.wait().ok()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // gst-launch ends in order at an interrupt, the others at either.
        let _ = kill_process_group(self.id(), Signal::INT);
        self.wait_until_ended(GRACE);
        self.kill();
    }
}

/// The last lines that a child wrote on standard error.
#[derive(Default)]
struct StderrTail {
    lines: Mutex<(VecDeque<String>, bool)>,
    closed: Condvar,
}

impl StderrTail {
    /// Reads all there is, so that the child is never held up by it.
    fn collect(&self, errors: ChildStderr) {
        let mut errors = BufReader::new(errors);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line may be of any length; its rest counts as another one.
            match errors
                .by_ref()
                .take(LINE_BYTES)
                .read_until(b'\n', &mut line)
            {
                Ok(0) => break,
                Ok(_) => self.keep(String::from_utf8_lossy(&line).trim()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.locked().1 = true;
        self.closed.notify_all();
    }

    fn keep(&self, line: &str) {
        let lines = &mut self.locked().0;
        if line.is_empty() || lines.back().is_some_and(|last| last == line) {
            return;
        }
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line.replace(char::is_control, " "));
    }

    /// The lines once the child has closed its end, which the last one follows.
    fn wait_for_all(&self, patience: Duration) -> String {
        let waited = self
            .closed
            .wait_timeout_while(self.locked(), patience, |(_, closed)| !*closed);
        let (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        lines.0.iter().cloned().collect::<Vec<_>>().join("; ")
    }

    fn locked(&self) -> MutexGuard<'_, (VecDeque<String>, bool)> {
        // Lines are whole in whatever state a panic leaves them.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
