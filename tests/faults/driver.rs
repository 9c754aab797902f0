//! Runs the programs with the library of this folder, once for every fault of every call.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// How much is tried.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Not many more faults than this.
    pub(crate) most: usize,
    /// What the program does not wait for is not lost.
    pub(crate) may_lose: bool,
    /// Runs at the same time.
    pub(crate) at_once: usize,
}

impl Limits {
    pub(crate) fn most(most: usize) -> Self {
        Self {
            most,
            may_lose: false,
            at_once: 2,
        }
    }
}

/// A fault at a call: its kind, as the library calls it, and the call's number from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) at: usize,
}

/// A call that changed something below the folder: its name, and the path.
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) path: String,
}

/// Where a program is run: a folder, and things beside it.
pub(crate) struct Room {
    room: tempfile::TempDir,
}

/// What was tried.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: usize,
    pub(crate) points: usize,
    /// What was not whole afterwards.
    pub(crate) lost: Vec<String>,
}

/// The preloaded library.
pub(crate) fn library() -> PathBuf {
    let test = env::current_exe().unwrap();
    let path = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/libfaults.so");
    assert!(
        path.exists(),
        "{}: is missing; `cargo build --workspace --examples` makes it, and so does `cargo test` \
         of everything",
        path.display()
    );
    path
}

impl Room {
    /// With a copy of a folder.
    pub(crate) fn of(template: &Path) -> Self {
        let room = Self {
            room: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(room.room.path().join("stash")).unwrap();
        copy(template, &room.folder());
        room
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.room.path().join("folder")
    }

    fn log(&self) -> PathBuf {
        self.room.path().join("log")
    }

    /// Makes a program meet a fault, or without one be recorded.
    pub(crate) fn arm(&self, command: &mut Command, fault: Option<Fault>) {
        command
            .current_dir(self.folder())
            .env("LD_PRELOAD", library())
            .env("FAULTS_FOLDER", self.folder())
            .env("FAULTS_LOG", self.log())
            .env("FAULTS_STASH", self.room.path().join("stash"))
            .env("FAULTS_AT", fault.map_or(0, |fault| fault.at).to_string())
            .env("FAULTS_KIND", fault.map_or("record", |fault| fault.kind));
    }

    /// The calls of the last run.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let text = fs::read_to_string(self.log()).unwrap();
        let call = |line: &str| {
            let (name, path) = line.split_once(' ').unwrap();
            let below = path.strip_prefix(self.folder().to_str().unwrap());
            Call {
                name: name.to_owned(),
                path: below.unwrap_or(path).to_owned(),
            }
        };
        text.lines().map(call).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Every fault that can happen at these calls, and the power cut after the last one; of more than
/// `most`, evenly spread ones.
pub(crate) fn faults(calls: &[Call], most: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let kinds: &[&'static str] = match call.name.as_str() {
            "write" | "pwrite" | "writev" => &[
                "short",
                "torn",
                "enospc",
                "eio",
                "before",
                "after",
                "lost-data",
                "lost-names",
            ],
            "unlink" | "rmdir" => &["eio", "before", "after", "lost-data", "lost-names"],
            _ => &[
                "enospc",
                "eio",
                "before",
                "after",
                "lost-data",
                "lost-names",
            ],
        };
        faults.extend(kinds.iter().map(|&kind| Fault {
            kind,
            at: place + 1,
        }));
    }
    for kind in ["lost-data", "lost-names"] {
        let at = calls.len() + 1;
        faults.push(Fault { kind, at });
    }
    let count = faults.len();
    let step = count.div_ceil(most).max(1);
    // A step that shares a factor with the number of kinds would always take the same one.
    let mut chosen: Vec<Fault> = (0..count)
        .step_by(step)
        .map(|place| faults[(place + place / step % step.min(count)).min(count - 1)])
        .collect();
    chosen.extend(&faults[count - 2..]);
    chosen.dedup();
    chosen
}

/// Whether a program was killed, as by a power cut.
pub(crate) fn is_cut(output: &Output) -> bool {
    output.status.signal() == Some(9)
}

/// Tries a program with faults in copies of a folder. `command` makes it ready, `judge` says what
/// is wrong afterwards.
pub(crate) fn explore(
    template: &Path,
    limits: Limits,
    command: &(dyn Fn(&Room) -> Command + Sync),
    judge: &(dyn Fn(&Room, Fault, &Output) -> Result<(), String> + Sync),
) -> Tally {
    let run = |fault| {
        let room = Room::of(template);
        let mut command = command(&room);
        room.arm(&mut command, fault);
        let output = command.output().unwrap();
        (room, output)
    };
    let (room, output) = run(None);
    assert!(output.status.success(), "{output:?}");
    let calls = room.calls();
    let mut faults = faults(&calls, limits.most);
    faults.retain(|fault| !limits.may_lose || !fault.kind.starts_with("lost"));
    let next = AtomicUsize::new(0);
    let lost = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..limits.at_once {
            scope.spawn(|| {
                while let Some(&fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (room, output) = run(Some(fault));
                    if let Err(problem) = judge(&room, fault, &output) {
                        let call = calls.get(fault.at - 1);
                        let call = call.map_or("the end".to_owned(), |call| {
                            format!("{} {}", call.name, call.path)
                        });
                        let said = String::from_utf8_lossy(&output.stderr);
                        let text = format!(
                            "{} at {} ({call}): {problem}; it said {said:?}",
                            fault.kind, fault.at
                        );
                        lost.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    Tally {
        calls: calls.len(),
        points: faults.len(),
        lost: lost.into_inner().unwrap(),
    }
}
