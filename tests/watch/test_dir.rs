//! A folder with a small model, and the program in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use edge_vae::{bundle::BundleWriter, frame::Samples};
use serde_json::Value;

use crate::tiny;

/// A folder of its own for each test.
pub(crate) struct TestDir {
    folder: tempfile::TempDir,
}

impl TestDir {
    pub(crate) fn new() -> Self {
        Self::with_model(tiny::writer())
    }

    pub(crate) fn with_model(writer: BundleWriter) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bundle = writer.finish().unwrap();
        bundle.save(&folder.path().join("model")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `edge-vae watch` with the small model, in this folder.
    pub(crate) fn watch(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-vae"));
        command
            .arg("watch")
            .args(arguments)
            .current_dir(self.folder.path())
            .env("EDGE_VAE_MODEL", self.path("model"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("EDGE_VAE_CACHE", self.path("cache"))
            .env_remove("ORT_DYLIB_PATH")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `edge-vae ctl --json` in this folder.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-vae"));
        command
            .args(["ctl", "--json"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("EDGE_VAE_CONTROL");
        command.output().unwrap()
    }

    /// The address of an endless camera of two frames in some 20 ms, of which none may be held up:
    /// one normal, one with a spot.
    pub(crate) fn camera(&self) -> String {
        let samples = |spot| match tiny::frame(1, spot).samples() {
            Samples::U8(samples) => samples.clone(),
            Samples::U16(_) => panic!("a frame of 8 bits"),
        };
        let raw = [samples(None), samples(Some((5, 2)))].concat();
        fs::write(self.path("line.raw"), raw).unwrap();
        let side = tiny::SIDE;
        format!(
            "pipe:?live=true&format=gray&width={side}&height={side} \
             while cat line.raw; do sleep 0.02; done"
        )
    }

    /// Writes pictures of which those in `defective` have a spot: `000.png` and so on.
    pub(crate) fn pictures(&self, folder: &str, count: usize, defective: &[usize]) -> PathBuf {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let spot = defective.contains(&number).then_some((5, 2));
            let picture = tiny::png(&tiny::frame(1, spot));
            fs::write(folder.join(format!("{number:03}.png")), picture).unwrap();
        }
        folder
    }
}

impl TestDir {
    /// The address of an endless camera: of every `period` raw frames the last two have a spot.
    pub(crate) fn line(&self, period: usize) -> String {
        let raw: Vec<u8> = (0..period)
            .flat_map(|number| {
                let spot = (number + 2 >= period).then_some((5, 2));
                let frame = tiny::frame(1, spot);
                let Samples::U8(samples) = frame.samples() else {
                    panic!("a frame of 8 bits");
                };
                samples.clone()
            })
            .collect();
        fs::write(self.path("line.raw"), raw).unwrap();
        let side = tiny::SIDE;
        format!("pipe:?format=gray&width={side}&height={side} while cat line.raw; do :; done")
    }
}

/// What a run printed: exit code, objects of standard output, standard error.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) objects: Vec<Value>,
    pub(crate) messages: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::until_end(command.spawn().unwrap())
    }

    pub(crate) fn until_end(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        Self {
            code: output.status.code(),
            objects: out
                .lines()
                .map(|l| serde_json::from_str(l).unwrap())
                .collect(),
            messages: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn of_type(&self, kind: &str) -> Vec<&Value> {
        let is = |object: &&Value| object["type"] == kind;
        self.objects.iter().filter(is).collect()
    }
}

/// The objects of a file of JSON lines.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}
