//! JPEG files below the pixels: their segments, and whether their entropy-coded data covers the
//! whole picture (ITU-T T.81). Decoders fill in what is missing with grey or with coarse blocks and
//! say nothing, so that a picture that was cut off would pass for a whole one.

mod entropy;
mod scan;
mod tables;

use entropy::{Bits, Huffman, Trouble};
use scan::{Component, Scan};

/// How lenient a check of a JPEG's data is.
#[derive(Clone, Copy, Debug)]
struct JpegParams {
    /// Most bytes between the last block and the next marker that are not all alike. Webcams leave
    /// up to four there, and encoders that write whole words up to 15; data that lost its place
    /// because something within it is missing or damaged leaves hundreds.
    most_left_over: usize,
}

const PARAMS: JpegParams = JpegParams { most_left_over: 64 };

/// Markers (T.81, table B.1).
mod marker {
    pub(super) const SOF_BASELINE: u8 = 0xc0;
    pub(super) const SOF_PROGRESSIVE: u8 = 0xc2;
    pub(super) const DHT: u8 = 0xc4;
    pub(super) const SOI: u8 = 0xd8;
    pub(super) const EOI: u8 = 0xd9;
    pub(super) const SOS: u8 = 0xda;
    pub(super) const DRI: u8 = 0xdd;
    pub(super) const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;
}

/// A marker, and the segment that it leads.
struct Segment<'a> {
    marker: u8,
    /// Without the length; empty for a marker that stands alone.
    content: &'a [u8],
    /// Position behind it.
    end: usize,
}

/// The next segment at or behind `at`, past anything that is no marker.
fn next_segment(bytes: &[u8], mut at: usize) -> Option<Segment<'_>> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        at += bytes.get(at..)?.iter().position(|&byte| byte != 0xff)?;
        let marker = bytes[at];
        at += 1;
        match marker {
            // A stuffed byte within data, or TEM.
            0x00 | 0x01 => continue,
            marker::SOI | marker::EOI => {}
            _ if marker::RESTARTS.contains(&marker) => {}
            _ => {
                let &[high, low] = bytes.get(at..at + 2)? else {
                    return None;
                };
                let end = at + usize::from(u16::from_be_bytes([high, low])).max(2);
                let content = bytes.get(at + 2..end)?;
                return Some(Segment {
                    marker,
                    content,
                    end,
                });
            }
        }
        return Some(Segment {
            marker,
            content: &[],
            end: at,
        });
    }
}

/// Position behind the marker that ends the picture at the start of `bytes`; `None` where there is
/// none. Segments are walked over, since the thumbnail within one of them has such a marker, too.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        let segment = next_segment(bytes, at)?;
        at = segment.end;
        if segment.marker == marker::EOI {
            return Some(at);
        }
    }
}

/// Where the pictures of a file begin. Behind the end of the first, others of the same size count:
/// a multi-picture file (CIPA DC-007), or files one behind the other. Smaller ones are previews,
/// and gain or depth maps.
pub(super) fn pictures(bytes: &[u8]) -> Vec<usize> {
    let mut found = vec![0];
    let Some((size, mut at)) = size(bytes).zip(end(bytes)) else {
        return found;
    };
    while let Some(start) = find(&bytes[at..], b"\xff\xd8\xff") {
        let start = at + start;
        match end(&bytes[start..]) {
            Some(length) if self::size(&bytes[start..]).is_some() => {
                if self::size(&bytes[start..]) == Some(size) {
                    found.push(start);
                }
                at = start + length;
            }
            _ => at = start + 2,
        }
    }
    found
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Height and width as the frame header gives them.
fn size(bytes: &[u8]) -> Option<[u8; 4]> {
    let mut at = 2;
    loop {
        let segment = next_segment(bytes, at)?;
        at = segment.end;
        match segment.marker {
            marker::SOS | marker::EOI => return None,
            marker if is_frame(marker) => return segment.content.get(1..5)?.try_into().ok(),
            _ => {}
        }
    }
}

/// Whether a marker starts a frame, of whatever kind of coding.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

/// Whether the first scan comes without any Huffman table before it, as in the Motion JPEG of many
/// cameras: those of T.81, annex K.3, are meant.
pub(super) fn lacks_tables(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(segment) = next_segment(bytes, at) {
        match segment.marker {
            marker::DHT | marker::EOI => return false,
            marker::SOS => return true,
            _ => at = segment.end,
        }
    }
    false
}

/// The same picture with the segment of AVI's Motion JPEG, behind which the decoder takes the
/// standard's tables for granted.
pub(super) fn with_standard_tables(bytes: &[u8]) -> Vec<u8> {
    let (start, rest) = bytes.split_at(bytes.len().min(2));
    [start, b"\xff\xe0\x00\x07AVI1\0", rest].concat()
}

/// What the segments before a scan have set.
struct Walk {
    tables: tables::Tables,
    restart_interval: usize,
    frame: Option<Layout>,
}

/// What a frame header says.
struct Layout {
    progressive: bool,
    /// Units of all components interleaved.
    units: usize,
    components: Vec<Component>,
}

/// Checks that the data of a picture that a decoder took covers all of it. `bytes` begin with the
/// picture. Kinds of coding that no decoder here takes are not checked.
///
/// # Errors
/// What is wrong: the data of a scan ends early or goes on for too long, or scans are missing.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let senseless = || "a header makes no sense".to_owned();
    let mut walk = Walk {
        tables: tables::Tables::standard(),
        restart_interval: 0,
        frame: None,
    };
    let mut at = 2;
    loop {
        let segment = next_segment(bytes, at)
            .ok_or_else(|| "the file stops before the picture's end".to_owned())?;
        at = segment.end;
        match segment.marker {
            marker::DHT => walk.tables.define(segment.content).ok_or_else(senseless)?,
            marker::DRI => {
                let interval = segment.content.first_chunk().ok_or_else(senseless)?;
                walk.restart_interval = usize::from(u16::from_be_bytes(*interval));
            }
            marker::SOS => {
                let layout = walk.frame.as_ref().ok_or_else(senseless)?;
                let scan = Scan::parse(segment.content, layout.progressive, &layout.components)
                    .ok_or_else(senseless)?;
                at = walk.scan(&scan, bytes, at)?;
            }
            marker::EOI => return walk.check_whole(),
            marker if (marker::SOF_BASELINE..=marker::SOF_PROGRESSIVE).contains(&marker) => {
                let layout = Layout::parse(marker, segment.content).ok_or_else(senseless)?;
                walk.frame = Some(layout);
            }
            marker if is_frame(marker) => return Ok(()),
            _ => {}
        }
    }
}

impl Walk {
    /// Walks through a scan, and gives the position behind its data.
    fn scan(&mut self, scan: &Scan, bytes: &[u8], at: usize) -> Result<usize, String> {
        let Some(layout) = &mut self.frame else {
            return Ok(at);
        };
        let units = match scan.parts.as_slice() {
            [part] => layout.components[part.component].blocks,
            _ => layout.units,
        };
        let ended =
            |done: usize| format!("the data ends at block {done} of {units}: the rest is missing");
        let mut bits = Bits::new(bytes, at);
        let mut done = 0;
        while done < units {
            let interval = match self.restart_interval {
                0 => units,
                interval => interval.min(units - done),
            };
            scan.walk(
                done..done + interval,
                &mut bits,
                &self.tables,
                &mut layout.components,
            )
            .map_err(|failure| match failure.trouble {
                Trouble::Ended => ended(failure.unit),
                Trouble::Invalid => {
                    format!("the data is damaged at block {} of {units}", failure.unit)
                }
            })?;
            done += interval;
            let left_over = bits.finish();
            if left_over > PARAMS.most_left_over {
                return Err(format!(
                    "{left_over} bytes are left over behind block {done} of {units}: something in \
                     between is damaged or missing"
                ));
            }
            if done < units && !bits.restart() {
                return Err(ended(done));
            }
        }
        scan.refine(&mut layout.components);
        Ok(bits.position())
    }

    /// Whether the scans have brought everything.
    fn check_whole(&self) -> Result<(), String> {
        let whole = |layout: &Layout| layout.components.iter().all(Component::is_whole);
        if self.frame.as_ref().is_some_and(whole) {
            return Ok(());
        }
        Err("scans are missing: only a coarse version of the picture is there".to_owned())
    }
}

impl Layout {
    fn parse(marker: u8, header: &[u8]) -> Option<Self> {
        let &[_, y1, y0, x1, x0, count, ref rest @ ..] = header else {
            return None;
        };
        let height = usize::from(u16::from_be_bytes([y1, y0]));
        let width = usize::from(u16::from_be_bytes([x1, x0]));
        let (fields, _) = rest.as_chunks::<3>();
        let fields = fields.get(..usize::from(count))?;
        let factors = |packed: u8| [usize::from(packed >> 4), usize::from(packed & 15)];
        let most = |axis: usize| fields.iter().map(|f| factors(f[1])[axis]).max();
        let (wide, high) = (most(0)?, most(1)?);
        if width == 0 || height == 0 || wide == 0 || high == 0 {
            return None;
        }
        let progressive = marker == marker::SOF_PROGRESSIVE;
        let components = fields
            .iter()
            .map(|&[id, packed, _]| {
                let [across, down] = factors(packed);
                let columns = (width * across).div_ceil(wide).div_ceil(8);
                let rows = (height * down).div_ceil(high).div_ceil(8);
                Component::new(id, across * down, columns * rows, progressive)
            })
            .collect();
        Some(Self {
            progressive,
            units: width.div_ceil(8 * wide) * height.div_ceil(8 * high),
            components,
        })
    }
}

#[cfg(test)]
mod tests;
