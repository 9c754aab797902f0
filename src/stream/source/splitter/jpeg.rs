//! JPEGs of a stream, by their segments: a thumbnail in one of them is no picture of the stream.

use super::{CHUNK, Content, MOST_BYTES, Step, before_signature};

/// Start of image, and the start of the marker that has to follow.
const SIGNATURE: &[u8] = b"\xff\xd8\xff";

/// How far into a picture the bytes were understood.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Bytes that were understood; 0 before the picture's start.
    at: usize,
    /// Whether they end within entropy-coded data.
    in_data: bool,
}

impl Walk {
    pub(super) fn step(&mut self, bytes: &[u8], ended: bool) -> Step {
        if self.at == 0 {
            match before_signature(bytes, SIGNATURE, ended) {
                0 if bytes.len() >= SIGNATURE.len() => self.at = 2,
                0 => return Step::More(CHUNK),
                junk => return Step::Skip(junk),
            }
        }
        let step = self.walk(bytes);
        if !matches!(step, Step::More(_)) {
            *self = Self::default();
        }
        step
    }

    fn walk(&mut self, bytes: &[u8]) -> Step {
        loop {
            if self.at > MOST_BYTES {
                // A segment may say that it goes on beyond what has arrived.
                let length = self.at.min(bytes.len());
                return broken(length, format!("has no end within {MOST_BYTES} bytes"));
            }
            if self.in_data {
                let rest = bytes.get(self.at..).unwrap_or_default();
                let Some(marker) = rest.iter().position(|&byte| byte == 0xff) else {
                    // The header of the scan may go on beyond what has arrived.
                    self.at = self.at.max(bytes.len());
                    return Step::More(bytes.len() + CHUNK);
                };
                self.at += marker;
                match bytes.get(self.at + 1) {
                    None => return Step::More(bytes.len() + CHUNK),
                    // A stuffed byte, a restart: still data.
                    Some(0x00 | 0xd0..=0xd7) => self.at += 2,
                    Some(0xff) => self.at += 1,
                    Some(_) => self.in_data = false,
                }
                continue;
            }
            let (Some(&mark), Some(&code)) = (bytes.get(self.at), bytes.get(self.at + 1)) else {
                return Step::More(bytes.len() + CHUNK);
            };
            match (mark, code) {
                (0xff, 0xff) => self.at += 1,
                (0xff, 0x01 | 0xd0..=0xd7) => self.at += 2,
                (0xff, 0xd8) => return broken(self.at, "is cut off by the next one".to_owned()),
                (0xff, 0xd9) => {
                    return Step::Picture {
                        length: self.at + 2,
                        content: Content::File,
                    };
                }
                (0xff, 0x02..) => {
                    let Some(&[high, low]) = bytes.get(self.at + 2..self.at + 4) else {
                        return Step::More(bytes.len() + CHUNK);
                    };
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    if length < 2 {
                        return broken(self.at, format!("has a segment of {length} bytes"));
                    }
                    self.in_data = code == 0xda;
                    self.at += 2 + length;
                }
                _ => {
                    return broken(
                        self.at,
                        format!(
                            "has the byte {mark:02x} in place of a marker at byte {}",
                            self.at
                        ),
                    );
                }
            }
        }
    }
}

fn broken(length: usize, problem: String) -> Step {
    Step::Broken {
        length,
        problem: format!("a JPEG of the stream {problem}"),
    }
}
