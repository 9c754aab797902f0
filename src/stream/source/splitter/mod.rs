//! Where one picture of a stream ends and the next begins.

mod jpeg;
mod png;
mod pnm;
mod y4m;

use crate::frame::raw::RawLayout;

/// Most bytes of one compressed picture; without an end until then, it is none.
const MOST_BYTES: usize = 64 << 20;

/// How much is read at once where it is not known how much there will be.
pub(super) const CHUNK: usize = 64 << 10;

/// What a stream holds at its present place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Too little to tell: read until there are at most so many bytes, more than there are.
    More(usize),
    /// So many bytes that are no part of a picture.
    Skip(usize),
    /// A picture.
    Picture {
        /// Its bytes, what stands before the samples included.
        length: usize,
        /// What they are.
        content: Content,
    },
    /// Bytes that should have been a picture; behind them there may be one again.
    Broken {
        /// So many.
        length: usize,
        /// What is wrong with them.
        problem: String,
    },
    /// What follows can't be told apart any more.
    Lost(String),
}

/// What the bytes of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Samples, after so many bytes.
    Raw(RawLayout, usize),
    /// A picture file.
    File,
}

/// Finds the pictures of a stream. It is asked again and again with the bytes from the end of what
/// it last called a picture, skipped or broken.
#[derive(Debug)]
pub(crate) enum Splitter {
    /// By the first bytes.
    Unknown,
    /// Raw pictures of one layout.
    Raw(RawLayout),
    /// JPEG after JPEG, whatever lies between.
    Jpeg(jpeg::Walk),
    /// PNG after PNG.
    Png(png::Walk),
    /// Portable maps: P4, P5, P6, P7.
    Pnm,
    /// YUV4MPEG2; the layout once the header was read.
    Y4m(Option<RawLayout>),
}

impl Splitter {
    /// Expects JPEGs.
    pub(crate) fn jpeg() -> Self {
        Self::Jpeg(jpeg::Walk::default())
    }

    /// Looks at the bytes that are there. `ended`: there will be no more. What says its size may
    /// have at most so many pixels.
    pub(crate) fn step(&mut self, bytes: &[u8], ended: bool, max_pixels: u64) -> Step {
        if let Self::Unknown = self {
            match recognise(bytes, ended) {
                Ok(Some(splitter)) => *self = splitter,
                Ok(None) => return Step::More(CHUNK),
                Err(problem) => return Step::Lost(problem),
            }
        }
        match self {
            Self::Unknown => Step::More(CHUNK),
            Self::Raw(layout) => {
                let length = layout.frame_bytes();
                if bytes.len() < length {
                    Step::More(length)
                } else {
                    Step::Picture {
                        length,
                        content: Content::Raw(*layout, 0),
                    }
                }
            }
            Self::Jpeg(walk) => walk.step(bytes, ended),
            Self::Png(walk) => walk.step(bytes, ended),
            Self::Pnm => pnm::step(bytes, max_pixels),
            Self::Y4m(layout) => y4m::step(layout, bytes, max_pixels),
        }
    }
}

/// What a stream is by its first bytes; `None` if they are too few to tell.
fn recognise(bytes: &[u8], ended: bool) -> Result<Option<Splitter>, String> {
    type Known = (&'static [u8], fn() -> Splitter);
    let known: [Known; 6] = [
        (b"\xff\xd8\xff", Splitter::jpeg),
        (png::SIGNATURE, || Splitter::Png(png::Walk::default())),
        (y4m::SIGNATURE, || Splitter::Y4m(None)),
        // The parts of HTTP's multipart/x-mixed-replace, the JPEGs of many network cameras.
        (b"--", Splitter::jpeg),
        (b"\r\n--", Splitter::jpeg),
        (b"P", || Splitter::Pnm),
    ];
    for (signature, make) in known {
        if bytes.starts_with(signature) {
            return Ok(Some(make()));
        }
        if signature.starts_with(bytes) && !ended {
            return Ok(None);
        }
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    Err(format!(
        "the stream starts with {}, which is none of JPEG, PNG, PNM, PAM and Y4M; raw frames need \
         the settings format, width and height",
        first_bytes(bytes)
    ))
}

/// The first bytes for a message.
fn first_bytes(bytes: &[u8]) -> String {
    let hex: Vec<_> = bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("the bytes {}", hex.join(" "))
}

/// Where `needle` is first found.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

/// How many bytes before the next `signature` there are, which may have begun at the end of
/// `bytes`.
fn before_signature(bytes: &[u8], signature: &[u8], ended: bool) -> usize {
    find(bytes, signature).unwrap_or_else(|| {
        if ended {
            return bytes.len();
        }
        let begun = (1..signature.len())
            .rev()
            .find(|&length| bytes.ends_with(&signature[..length]));
        bytes.len() - begun.unwrap_or(0)
    })
}

#[cfg(test)]
mod tests;
