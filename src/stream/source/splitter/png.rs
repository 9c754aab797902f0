//! PNGs of a stream, by their chunks.

use super::{CHUNK, Content, MOST_BYTES, Step, before_signature};

/// The first bytes of a PNG.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// How far into a picture the bytes were understood.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Bytes that were understood; 0 before the picture's start.
    at: usize,
}

impl Walk {
    pub(super) fn step(&mut self, bytes: &[u8], ended: bool) -> Step {
        if self.at == 0 {
            match before_signature(bytes, SIGNATURE, ended) {
                0 if bytes.len() >= SIGNATURE.len() => self.at = SIGNATURE.len(),
                0 => return Step::More(CHUNK),
                junk => return Step::Skip(junk),
            }
        }
        let step = self.walk(bytes);
        if !matches!(step, Step::More(_)) {
            self.at = 0;
        }
        step
    }

    fn walk(&mut self, bytes: &[u8]) -> Step {
        let broken = |length, problem: &str| Step::Broken {
            length,
            problem: format!("a PNG of the stream {problem}"),
        };
        loop {
            let head = bytes.get(self.at..self.at + 8);
            let Some(&[a, b, c, d, ref kind @ ..]) = head else {
                return Step::More(bytes.len() + CHUNK);
            };
            if !kind.iter().all(u8::is_ascii_alphabetic) {
                return broken(self.at, "has something else in place of a chunk");
            }
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            // Length, kind and checksum.
            let end = self.at.saturating_add(length).saturating_add(12);
            if end > MOST_BYTES {
                return broken(self.at, &format!("has no end within {MOST_BYTES} bytes"));
            }
            if kind == b"IEND" {
                return if bytes.len() < end {
                    Step::More(end)
                } else {
                    Step::Picture {
                        length: end,
                        content: Content::File,
                    }
                };
            }
            self.at = end;
        }
    }
}
