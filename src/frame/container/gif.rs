//! Blocks of a GIF file (GIF89a), and whether its picture is whole.

/// Left, top, width and height of an image of the file.
type Place = [usize; 4];

/// The images of a file, and whether the trailer ends it.
fn walk(bytes: &[u8]) -> (Vec<Place>, bool) {
    let mut images = Vec::new();
    let mut walk = || {
        let mut at = 13 + colour_table(*bytes.get(10)?);
        loop {
            match bytes.get(at)? {
                0x21 => at = behind_blocks(bytes, at + 2)?,
                0x2c => {
                    let [left, top, width, height] =
                        [1, 3, 5, 7].map(|field| u16_at(bytes, at + field));
                    images.push([left?, top?, width?, height?]);
                    // A descriptor of 10 bytes, a colour table, one byte of code size, data.
                    let table = colour_table(*bytes.get(at + 9)?);
                    at = behind_blocks(bytes, at + 11 + table)?;
                }
                0x3b => return Some(()),
                _ => return None,
            }
        }
    };
    let complete = walk().is_some();
    (images, complete)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(usize::from(u16::from_le_bytes(*field)))
}

/// Bytes of the colour table that a packed field announces.
fn colour_table(packed: u8) -> usize {
    if packed & 0x80 == 0 {
        0
    } else {
        3 << ((packed & 7) + 1)
    }
}

/// Position behind a row of blocks, each led by its length, the last of length 0.
fn behind_blocks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

/// Images that a file holds.
pub(super) fn frames(bytes: &[u8]) -> usize {
    walk(bytes).0.len()
}

/// Checks that the trailer is there, and that the only image covers the picture: decoders leave the
/// rest black.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let (images, complete) = walk(bytes);
    if !complete {
        return Err("the file stops before the picture's end".to_owned());
    }
    let [wide, high] = [6, 8].map(|field| u16_at(bytes, field).unwrap_or(0));
    for [left, top, width, height] in images {
        if left > 0 || top > 0 || width < wide || height < high {
            return Err(format!(
                "it has data for {width}×{height} of its {wide}×{high} pixels only"
            ));
        }
    }
    Ok(())
}
