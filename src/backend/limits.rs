//! What a graph may ask for.

use super::BackendError;

/// Largest ONNX file that is read, in bytes: as large as all files of a bundle together.
pub const MAX_MODEL_BYTES: u64 = 1 << 30;

/// The variable that gives graphs more memory, or less.
pub const MEMORY_VARIABLE: &str = "EDGE_VAE_MODEL_MEMORY_MIB";

/// What a graph may ask for before it is refused. All of it is checked before an engine sees the
/// graph, and before anything of that size is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphLimits {
    /// Bytes of the file. [`MAX_MODEL_BYTES`].
    pub file_bytes: u64,
    /// Fields of the file, weights apart, at all depths. An empty message has two bytes in a file
    /// and hundreds in memory, so that this bounds what decoding takes. A million: fifty times
    /// those of a network of a thousand layers.
    pub fields: usize,
    /// Messages within messages. A field of a node's tensor is five deep; 16 leave room for what
    /// other exporters add.
    pub depth: usize,
    /// Nodes. Engines plan in more than linear time; 20,000 are some twenty times the largest
    /// published backbones.
    pub nodes: usize,
    /// Elements of one tensor, 2^28: 1 GiB of `f32`. Larger ones are mistakes or attacks, and a
    /// failed allocation would end the process.
    pub elements: usize,
    /// Bytes that running it takes, as far as its shapes tell: weights twice (the file's and the
    /// engine's), and the tensors that live at one time. 4 GiB: half of what the larger boxes have,
    /// and twenty times what shipped and default models take.
    pub memory_bytes: u64,
}

impl Default for GraphLimits {
    fn default() -> Self {
        Self {
            file_bytes: MAX_MODEL_BYTES,
            fields: 1_000_000,
            depth: 16,
            nodes: 20_000,
            elements: 1 << 28,
            memory_bytes: 4 << 30,
        }
    }
}

impl GraphLimits {
    /// The defaults, with the memory that [`MEMORY_VARIABLE`] gives.
    ///
    /// # Errors
    /// A variable that is no number of MiB.
    pub fn from_environment() -> Result<Self, BackendError> {
        match std::env::var(MEMORY_VARIABLE) {
            Ok(text) if !text.is_empty() => Self::default().with_memory(&text),
            _ => Ok(Self::default()),
        }
    }

    fn with_memory(self, mib: &str) -> Result<Self, BackendError> {
        let bytes = mib.parse().ok().filter(|&mib| mib > 0);
        match bytes.and_then(|mib: u64| mib.checked_mul(1 << 20)) {
            Some(memory_bytes) => Ok(Self {
                memory_bytes,
                ..self
            }),
            None => Err(BackendError::MemoryVariable {
                found: mib.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_in_mib() {
        let limits = GraphLimits::default().with_memory("8192").unwrap();
        assert_eq!(limits.memory_bytes, 8 << 30);
        for wrong in ["0", "-1", "8 GiB", "99999999999999999999", "17592186044416"] {
            let error = GraphLimits::default().with_memory(wrong).unwrap_err();
            let expected = format!("EDGE_VAE_MODEL_MEMORY_MIB is `{wrong}`");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
}
