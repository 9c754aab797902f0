//! Portable maps of a stream, by their headers: <https://netpbm.sourceforge.net/doc/>.

use super::{CHUNK, Content, Step, find, first_bytes};
use crate::frame::raw::{RawFormat, RawLayout};

/// Most bytes of a header.
const MOST_HEADER: usize = 4096;

/// What a header says.
struct Header {
    kind: u8,
    width: u32,
    height: u32,
    /// Samples a pixel.
    depth: u32,
    /// The sample that stands for white.
    white: u32,
    /// Bytes of the header.
    length: usize,
}

pub(super) fn step(bytes: &[u8], max_pixels: u64) -> Step {
    let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace());
    match blank.count() {
        0 => {}
        blanks => return Step::Skip(blanks),
    }
    let header = match header(bytes) {
        Ok(Some(header)) => header,
        Ok(None) if bytes.len() > MOST_HEADER => {
            return Step::Lost(format!(
                "a PNM header has no end within {MOST_HEADER} bytes"
            ));
        }
        Ok(None) => return Step::More(bytes.len() + CHUNK),
        Err(problem) => return Step::Lost(problem),
    };
    match picture(&header, max_pixels) {
        Ok((length, content)) if bytes.len() >= length => Step::Picture { length, content },
        Ok((length, _)) => Step::More(length),
        Err(problem) => Step::Lost(problem),
    }
}

/// The whole picture's bytes, and what they are.
fn picture(header: &Header, max_pixels: u64) -> Result<(usize, Content), String> {
    let format = match (header.depth, header.white) {
        _ if header.kind == b'4' => None,
        (1, 255) => Some(RawFormat::Gray),
        (1, 65535) => Some(RawFormat::Gray16be),
        (3, 255) => Some(RawFormat::Rgb24),
        (3, 65535) => Some(RawFormat::Rgb48be),
        (4, 255) => Some(RawFormat::Rgba),
        _ => None,
    };
    // Whatever it holds, its size has to be one of a picture.
    let layout = RawLayout::within(
        max_pixels,
        format.unwrap_or(RawFormat::Gray),
        header.width,
        header.height,
    )
    .map_err(|error| error.to_string())?;
    if format.is_some() {
        let content = Content::Raw(layout, header.length);
        return Ok((header.length + layout.frame_bytes(), content));
    }
    let row = match header.kind {
        b'4' => header.width.div_ceil(8) as usize,
        _ => header.width as usize * header.depth as usize * if header.white > 255 { 2 } else { 1 },
    };
    Ok((header.length + row * header.height as usize, Content::File))
}

/// `None` if the header goes on.
fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let (Some(&first), Some(&kind)) = (bytes.first(), bytes.get(1)) else {
        return Ok(None);
    };
    match (first, kind) {
        (b'P', b'4'..=b'6') => map_header(bytes, kind),
        (b'P', b'7') => arbitrary_header(bytes),
        (b'P', b'1'..=b'3') => Err(
            "plain PNM (P1, P2, P3) can't be told apart in a stream; write the binary kind"
                .to_owned(),
        ),
        _ => Err(format!(
            "{} in place of a PNM picture: what came before it was of another size than its \
             header said",
            first_bytes(bytes)
        )),
    }
}

/// `P5 WIDTH HEIGHT WHITE`, with comments, and one blank before the samples.
fn map_header(bytes: &[u8], kind: u8) -> Result<Option<Header>, String> {
    let mut numbers = [0; 3];
    let count = if kind == b'4' { 2 } else { 3 };
    let mut at = 2;
    for number in &mut numbers[..count] {
        loop {
            match bytes.get(at) {
                None => return Ok(None),
                Some(byte) if byte.is_ascii_whitespace() => at += 1,
                Some(b'#') => match bytes[at..].iter().position(|&byte| byte == b'\n') {
                    Some(end) => at += end,
                    None => return Ok(None),
                },
                Some(_) => break,
            }
        }
        let digits = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if at + digits == bytes.len() {
            return Ok(None);
        }
        *number = number_of(&bytes[at..at + digits])?;
        at += digits;
    }
    if !bytes[at].is_ascii_whitespace() {
        return Err("a PNM header has no blank at its end".to_owned());
    }
    let white = if kind == b'4' { 1 } else { numbers[2] };
    checked(Header {
        kind,
        width: numbers[0],
        height: numbers[1],
        depth: if kind == b'6' { 3 } else { 1 },
        white,
        length: at + 1,
    })
}

/// The lines of a PAM header.
fn arbitrary_header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let Some(end) = find(&bytes[..bytes.len().min(MOST_HEADER)], b"\nENDHDR\n") else {
        return Ok(None);
    };
    let mut header = Header {
        kind: b'7',
        width: 0,
        height: 0,
        depth: 0,
        white: 0,
        length: end + b"\nENDHDR\n".len(),
    };
    for line in bytes[..end].split(|&byte| byte == b'\n') {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let field = match words.next() {
            Some(b"WIDTH") => &mut header.width,
            Some(b"HEIGHT") => &mut header.height,
            Some(b"DEPTH") => &mut header.depth,
            Some(b"MAXVAL") => &mut header.white,
            _ => continue,
        };
        *field = number_of(words.next().unwrap_or_default())?;
    }
    if !(1..=4).contains(&header.depth) {
        return Err(format!(
            "a PAM picture has {} samples a pixel",
            header.depth
        ));
    }
    checked(header)
}

fn checked(header: Header) -> Result<Option<Header>, String> {
    if !(1..=65535).contains(&header.white) {
        return Err(format!("a PNM header says that white is {}", header.white));
    }
    Ok(Some(header))
}

fn number_of(digits: &[u8]) -> Result<u32, String> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| "a PNM header lacks a number".to_owned())
}
