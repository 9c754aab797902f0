//! Pages of a TIFF file (TIFF 6.0, section 2).

use std::borrow::Cow;

use crate::frame::jpeg;

/// Bits of the tag `NewSubfileType` that tell of a reduced version or a transparency mask of
/// another page, which is no picture of its own.
const NO_PICTURE: u32 = 0b101;

const NEW_SUBFILE_TYPE: u32 = 254;
const COMPRESSION: u32 = 259;
const STRIPS: [u32; 2] = [273, 279];
const TILES: [u32; 2] = [324, 325];
const JPEG_TABLES: u32 = 347;

/// JPEG as in Adobe's technical note 2 on TIFF: each strip or tile is a picture, whose tables may
/// stand in a tag for all of them.
const JPEG: usize = 7;

/// The most pages that are counted: a chain may lead in a circle.
const MOST_PAGES: usize = 1 << 16;

/// Integers in the byte order of a file.
struct Fields<'a> {
    bytes: &'a [u8],
    little_endian: bool,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            little_endian: bytes.starts_with(b"II"),
        }
    }

    fn u16(&self, at: usize) -> Option<u32> {
        let field = *self.bytes.get(at..)?.first_chunk()?;
        Some(u32::from(if self.little_endian {
            u16::from_le_bytes(field)
        } else {
            u16::from_be_bytes(field)
        }))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let field = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little_endian {
            u32::from_le_bytes(field)
        } else {
            u32::from_be_bytes(field)
        })
    }

    /// The values of a tag in the directory at `at`, of the types SHORT and LONG, or the bytes of
    /// the type UNDEFINED.
    fn values(&self, at: usize, tag: u32) -> Option<Vec<usize>> {
        let entries = self.u16(at)? as usize;
        let mut entries = (0..entries).map(|index| at + 2 + 12 * index);
        let entry = entries.find(|&entry| self.u16(entry) == Some(tag))?;
        let count = self.u32(entry + 4)? as usize;
        let size = match self.u16(entry + 2)? {
            1 | 7 => 1,
            3 => 2,
            4 => 4,
            _ => return None,
        };
        let start = if count.checked_mul(size)? <= 4 {
            entry + 8
        } else {
            self.u32(entry + 8)? as usize
        };
        self.bytes.get(start..)?.get(..count * size)?;
        (0..count)
            .map(|index| match size {
                1 => Some(usize::from(self.bytes[start + index])),
                2 => self.u16(start + 2 * index).map(|value| value as usize),
                _ => self.u32(start + 4 * index).map(|value| value as usize),
            })
            .collect()
    }

    /// The next directory behind the one at `at`, and whether that one is of a picture.
    fn directory(&self, at: usize) -> Option<(usize, bool)> {
        let entries = self.u16(at)? as usize;
        let entry = |index: usize| at + 2 + 12 * index;
        let kind = (0..entries)
            .find(|&index| self.u16(entry(index)) == Some(NEW_SUBFILE_TYPE))
            .and_then(|index| self.u32(entry(index) + 8))
            .unwrap_or(0);
        Some((self.u32(entry(entries))? as usize, kind & NO_PICTURE == 0))
    }
}

/// Positions of the directories of a file that are of a picture.
pub(super) fn pages(bytes: &[u8]) -> Vec<usize> {
    let fields = Fields::new(bytes);
    let mut pages = Vec::new();
    let mut at = fields.u32(4).unwrap_or(0) as usize;
    for _ in 0..MOST_PAGES {
        let Some((next, picture)) = fields.directory(at).filter(|_| at > 0) else {
            break;
        };
        if pages.contains(&at) {
            break;
        }
        if picture {
            pages.push(at);
        }
        at = next;
    }
    pages
}

/// The same file with the directory at `start` as its first.
pub(super) fn led_by(bytes: &[u8], start: usize) -> Cow<'_, [u8]> {
    let fields = Fields::new(bytes);
    if fields.u32(4) == Some(start as u32) || bytes.len() < 8 {
        return bytes.into();
    }
    let mut bytes = bytes.to_vec();
    let field = if fields.little_endian {
        (start as u32).to_le_bytes()
    } else {
        (start as u32).to_be_bytes()
    };
    bytes[4..8].copy_from_slice(&field);
    bytes.into()
}

/// Checks that no strip or tile of JPEG ends early in the first directory. Other kinds of
/// compression have decoders that say so.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let fields = Fields::new(bytes);
    let Some(at) = fields.u32(4).map(|at| at as usize) else {
        return Ok(());
    };
    if fields.values(at, COMPRESSION).as_deref() != Some(&[JPEG]) {
        return Ok(());
    }
    let tables: Vec<u8> = fields
        .values(at, JPEG_TABLES)
        .unwrap_or_default()
        .into_iter()
        .map(|byte| byte as u8)
        .collect();
    // Without the marker at its end.
    let tables = tables
        .get(..tables.len().saturating_sub(2))
        .unwrap_or_default();
    for [starts, lengths] in [STRIPS, TILES] {
        let parts = fields.values(at, starts).zip(fields.values(at, lengths));
        let (starts, lengths) = parts.unwrap_or_default();
        for (index, (start, length)) in starts.into_iter().zip(lengths).enumerate() {
            let part = bytes
                .get(start..)
                .and_then(|rest| rest.get(..length))
                .unwrap_or_default();
            let part = match tables {
                [] => Cow::Borrowed(part),
                _ => [tables, part.get(2..).unwrap_or_default()].concat().into(),
            };
            jpeg::check(&part).map_err(|problem| format!("part {index} of it: {problem}"))?;
        }
    }
    Ok(())
}
