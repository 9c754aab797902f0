//! Errors of the engines.

use std::path::PathBuf;

use super::{BackendKind, Device};

/// Why an engine could not be opened, or a graph not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The engine said so.
    #[error("{engine}: cannot load {graph}: {message}")]
    Load {
        /// Engine.
        engine: &'static str,
        /// Path or name of the graph.
        graph: String,
        /// What the engine said.
        message: String,
    },

    /// The file is no ONNX graph that this program runs, whichever the engine.
    #[error("cannot use {graph}: {message}")]
    Model {
        /// Path or name of the graph.
        graph: String,
        /// What is wrong with it.
        message: String,
    },

    /// The engine failed while it ran the graph.
    #[error("{engine}: cannot run {graph}: {message}")]
    Run {
        /// Engine.
        engine: &'static str,
        /// Path or name of the graph.
        graph: String,
        /// What the engine said.
        message: String,
    },

    /// More or fewer buffers than the graph has inputs or outputs.
    #[error("{graph}: found {found} buffers for {expected} {direction}")]
    BufferCount {
        /// Path or name of the graph.
        graph: String,
        /// `inputs` or `outputs`.
        direction: &'static str,
        /// Number of buffers.
        found: usize,
        /// Number of inputs or outputs.
        expected: usize,
    },

    /// A buffer of another length than its input or output.
    #[error(
        "{graph}: the buffer for {direction} `{name}` holds {found} values, its shape is \
         {expected:?}"
    )]
    BufferLength {
        /// Path or name of the graph.
        graph: String,
        /// `input` or `output`.
        direction: &'static str,
        /// Name of the input or output.
        name: String,
        /// Length of the buffer.
        found: usize,
        /// Shape of the input or output.
        expected: Vec<usize>,
    },

    /// The variable that gives graphs memory has no number.
    #[error(
        "EDGE_VAE_MODEL_MEMORY_MIB is `{found}`: give the MiB that a graph may take, such as 8192"
    )]
    MemoryVariable {
        /// Its value.
        found: String,
    },

    /// A name that is neither of the known ones.
    #[error("unknown {what} `{found}`; known: {known}")]
    UnknownName {
        /// What was to be named.
        what: &'static str,
        /// The name.
        found: String,
        /// The known names.
        known: &'static str,
    },

    /// A number of threads that can't be.
    #[error("cannot run a graph on {found} threads: give 1 to 1024")]
    Threads {
        /// The number.
        found: usize,
    },

    /// The back end is no part of this build.
    #[error(
        "this program was built without back end `{backend}`: build it with the feature `{backend}`"
    )]
    NotBuilt {
        /// The back end.
        backend: BackendKind,
    },

    /// The back end can't run on the device.
    #[error(
        "back end `{backend}` does not run on device `{device}`: use back end `ort`, or device \
         `cpu`"
    )]
    DeviceUnsupported {
        /// The back end.
        backend: BackendKind,
        /// The device.
        device: Device,
    },

    /// A DLA computes in smaller numbers only.
    #[error("a DLA has no fp32: use precision fp16 or int8, or the GPU")]
    DlaPrecision,

    /// ONNX Runtime is not where it was said to be, or nowhere.
    #[error(
        "ONNX Runtime not found: {looked}; install it with `pip install onnxruntime` \
         (`onnxruntime-gpu` for CUDA and TensorRT), or name libonnxruntime.so by \
         `--ort-library PATH` or `ORT_DYLIB_PATH`"
    )]
    LibraryMissing {
        /// Where it was looked for.
        looked: String,
    },

    /// The file can't be opened as ONNX Runtime.
    #[error("cannot open ONNX Runtime at {}: {message}", path.display())]
    Library {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },

    /// ONNX Runtime is older than the oldest that works.
    #[error(
        "ONNX Runtime at {} is version {found}, {needed} or newer is needed: \
         `pip install --upgrade onnxruntime`, or name another by `--ort-library PATH`",
        path.display()
    )]
    LibraryTooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The oldest version that works.
        needed: String,
    },

    /// A process opens one ONNX Runtime only.
    #[error(
        "ONNX Runtime at {} is already open, a process cannot open {} beside it: \
         use one library for all engines",
        opened.display(),
        requested.display()
    )]
    LibraryConflict {
        /// The open one.
        opened: PathBuf,
        /// The other.
        requested: PathBuf,
    },

    /// This build of ONNX Runtime does not know the device.
    #[error(
        "device `{device}` cannot run: {} (version {version}) was built without the \
         {provider} provider; install `onnxruntime-gpu`, or on a Jetson NVIDIA's own build, \
         or use device `cpu`",
        path.display()
    )]
    ProviderMissing {
        /// The device.
        device: Device,
        /// The provider's name.
        provider: &'static str,
        /// The library.
        path: PathBuf,
        /// Its version.
        version: String,
    },

    /// The device's provider is there and can't work.
    #[error("device `{device}` cannot run: {message}; it needs {needs}, or use device `cpu`")]
    ProviderFailed {
        /// The device.
        device: Device,
        /// What ONNX Runtime said.
        message: String,
        /// What the provider needs.
        needs: &'static str,
    },

    /// TensorRT would have to build an engine, and that was not asked for.
    #[error("{message}")]
    EngineNotBuilt {
        /// What is missing, and what to do.
        message: String,
    },

    /// The folder of what is kept between runs can't be used.
    #[error("cannot keep engines in {}: {message}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// What an engine said, as one line of bounded length without control characters: engines put whole
/// call stacks and tensors into their messages, and names out of hostile files.
pub(super) fn one_line(message: &str) -> String {
    const LONGEST: usize = 400;
    let mut line = String::new();
    for word in message.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(
            word.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c }),
        );
        if line.len() > LONGEST {
            let end = line.floor_char_boundary(LONGEST);
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn messages_become_one_bounded_line() {
        assert_eq!(one_line(" a\n\tb  c\n"), "a b c");
        assert_eq!(one_line("\u{1b}[31mred"), "\u{fffd}[31mred");
        let long = one_line(&"é".repeat(1000));
        assert_eq!(long, format!("{}…", "é".repeat(200)));
    }
}
