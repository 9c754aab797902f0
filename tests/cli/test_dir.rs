//! A scratch folder with a model, and runs of the binary in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use edge_vae::bundle::BundleWriter;
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::tiny;

/// A scratch folder, in which the binary runs.
pub struct TestDir(TempDir);

/// What a run left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl TestDir {
    /// With the tiny model in `model`, and the frames `good.png`, which is normal, and `bad.png`,
    /// which is not.
    pub fn new() -> Self {
        Self::with_model(tiny::writer())
    }

    pub fn with_model(writer: BundleWriter) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        writer.finish().unwrap().save(&dir.at("model")).unwrap();
        dir.frame("good.png", None);
        dir.frame("bad.png", Some((5, 2)));
        dir
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A frame of 32×32 pixels, with a bright spot of 4×4 at four times (x, y).
    pub fn frame(&self, name: &str, spot: Option<(usize, usize)>) {
        self.write(name, tiny::png(&tiny::frame(4, spot)));
    }

    /// The binary, ready to run here without the surroundings of the tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("edge-vae"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("EDGE_VAE_MODEL")
            .env_remove("ORT_DYLIB_PATH")
            .env_remove("VIRTUAL_ENV")
            .env_remove("CONDA_PREFIX")
            .env("EDGE_VAE_CACHE", self.at("cache"))
            .env("HOME", self.0.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// `edge-vae VERB --model model --quiet …`
    pub fn verb(&self, verb: &str, arguments: &[&str]) -> Ran {
        self.run(&[&[verb, "--model", "model", "--quiet"], arguments].concat())
    }

    /// All files below a folder, sorted, by their path below it.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let folder = self.at(folder);
        let mut files: Vec<String> = WalkDir::new(&folder)
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| !entry.file_type().is_dir())
            .map(|entry| {
                let path = entry.path().strip_prefix(&folder).unwrap();
                path.to_str().unwrap().replace('\\', "/")
            })
            .collect();
        files.sort();
        files
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let ran = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        ran
    }

    /// Ran without a word on standard error.
    #[track_caller]
    pub fn is_fine(&self) -> &Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self
    }

    /// Failed with exactly one line, which has all these words.
    #[track_caller]
    pub fn fails(&self, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("edge-vae: "), "{}", self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not in {}",
                self.stderr
            );
        }
        self
    }

    /// [`Ran::fails`], before anything was printed.
    #[track_caller]
    pub fn fails_at_once(&self, words: &[&str]) {
        self.fails(words);
        assert_eq!(self.stdout, "");
    }

    pub fn json(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    }
}

/// A file of the library's own test pictures.
pub fn picture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/frame/testdata");
    fs::read(folder.join(name)).unwrap()
}
