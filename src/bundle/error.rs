//! Why a bundle could not be opened, checked or written.

use std::{io, path::PathBuf};

/// Why a bundle could not be opened, checked or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Nothing is there.
    #[error(
        "{path}: no such folder; a bundle is a folder with a manifest.toml, as `edge-vae-train \
         fit` writes it",
        path = path.display()
    )]
    Missing {
        /// The path given.
        path: PathBuf,
    },
    /// A file was given where the folder was meant.
    #[error(
        "{path}: is not a folder; a bundle is a folder with a manifest.toml: give the folder",
        path = path.display()
    )]
    NotAFolder {
        /// The path given.
        path: PathBuf,
    },
    /// A folder that is no bundle.
    #[error(
        "{path}: holds no manifest.toml, so it is not a bundle; `edge-vae-train fit DATASET --out \
         BUNDLE` makes one, `edge-vae model info BUNDLE` shows one",
        path = path.display()
    )]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder or device in place of a file.
    #[error(
        "{path}: is {found}, not a plain file; copy the file itself into the bundle",
        path = path.display()
    )]
    NotPlain {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A symbolic link that leads out of the bundle.
    #[error(
        "{path}: is a symbolic link to {target}, outside the bundle; links may lead to files in \
         the bundle's folder, or from snapshots/NAME to blobs/ beside it: copy the file itself \
         (cp -L)",
        path = path.display(),
        target = target.display()
    )]
    LinkOut {
        /// The link.
        path: PathBuf,
        /// Where it ends.
        target: PathBuf,
    },
    /// A symbolic link to nothing.
    #[error(
        "{path}: is a symbolic link that leads nowhere; copy the bundle again, with its files \
         (cp -L)",
        path = path.display()
    )]
    BrokenLink {
        /// The link.
        path: PathBuf,
    },
    /// Not TOML, or not of the manifest's form.
    #[error("{path}:{line}: {message}", path = path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Written by a newer program.
    #[error(
        "{path}: schema {found} is newer than this program reads ({supported}): update edge-vae",
        path = path.display()
    )]
    NewerSchema {
        /// The manifest.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
        supported: u32,
    },
    /// Written by an older program.
    #[error(
        "{path}: schema {found} is older than this program reads ({supported}): train the model \
         again with `edge-vae-train fit`",
        path = path.display()
    )]
    OldSchema {
        /// The manifest.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
        supported: u32,
    },
    /// A schema that never was.
    #[error(
        "{path}: there is no schema {found}; this program reads {supported}",
        path = path.display()
    )]
    UnknownSchema {
        /// The manifest.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
        supported: u32,
    },
    /// A value of the manifest is impossible, or contradicts another.
    #[error("{path}: {key}: {problem}", path = path.display())]
    Setting {
        /// The manifest.
        path: PathBuf,
        /// The key, dotted.
        key: String,
        /// What was found and what is possible.
        problem: String,
    },
    /// A file that the manifest lists is not there.
    #[error(
        "{path}: missing, but the manifest lists it; copy the whole bundle again",
        path = path.display()
    )]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// A file has another size than the manifest says.
    #[error(
        "{path}: has {found} bytes, the manifest says {expected}; the file was cut short or \
         changed: copy the bundle again",
        path = path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The manifest's size in bytes.
        expected: u64,
    },
    /// A file has another content than the manifest says.
    #[error(
        "{path}: SHA-256 is {found}, the manifest says {expected}; the file was damaged or \
         changed: copy the bundle again",
        path = path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The manifest's digest.
        expected: String,
    },
    /// An NPY or NPZ file of the bundle is not what it should be.
    #[error("{path}: {problem}", path = path.display())]
    Array {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
    /// The bundle lacks what was asked for.
    #[error("{path}: {problem}", path = path.display())]
    Lacks {
        /// The bundle.
        path: PathBuf,
        /// What it lacks and what to do.
        problem: String,
    },
    /// An engine computes something else for the golden frame than the trainer did.
    #[error(
        "{path}: {engine} disagrees on the golden frame: `{array}` differs by {largest:.3e}, \
         allowed is {tolerance:.1e}; use another --backend or --device, and report it",
        path = path.display()
    )]
    Disagrees {
        /// The bundle.
        path: PathBuf,
        /// The engine.
        engine: String,
        /// The first array that differs too much.
        array: String,
        /// Its largest difference; NaN where a value was not a number.
        largest: f64,
        /// The largest difference allowed.
        tolerance: f64,
    },
    /// A calibration of another model.
    #[error(
        "{path}: is the calibration of `{found}`, and this model is `{expected}`: its thresholds \
         say nothing here; calibrate this model, or remove the folder `calibration`",
        path = path.display()
    )]
    OtherModel {
        /// The text of the calibration.
        path: PathBuf,
        /// The model that it is of.
        found: String,
        /// The model that is there.
        expected: String,
    },
    /// The model's files are encrypted.
    #[error(
        "{path}: is sealed: its weights are encrypted; name a key with --identity, or open it \
         where they may be written in the clear with `edge-vae model unseal`",
        path = path.display()
    )]
    Sealed {
        /// The bundle.
        path: PathBuf,
    },
    /// An engine that keeps the weights of a sealed bundle on disk.
    #[error(
        "{path}: is sealed, and TensorRT keeps its engines on disk with the weights in the clear; \
         use --device cuda or cpu",
        path = path.display()
    )]
    SealedCache {
        /// The bundle.
        path: PathBuf,
    },
    /// The weights of a sealed bundle would have been written in the clear.
    #[error(
        "{path}: is not written: the model is sealed, and its weights would lie there in the \
         clear; `edge-vae model unseal` says so on purpose, `edge-vae model seal` seals the result",
        path = path.display()
    )]
    WouldUnseal {
        /// The folder.
        path: PathBuf,
    },
    /// A bundle could not be written.
    #[error("{path}: cannot write: {source}", path = path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder that holds something else would have been replaced.
    #[error(
        "{path}: holds `{entry}`, which is no part of a bundle, so the folder is not replaced; \
         remove it or choose another folder",
        path = path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One of the entries.
        entry: String,
    },
}
