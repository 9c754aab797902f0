//! Whether a run-length encoded BMP has data for all of its rows: decoders leave the rest black.

/// Compression of 8 and of 4 bits a pixel.
const RLE8: u8 = 1;
const RLE4: u8 = 2;

/// Checks that the end of the bitmap comes in the last row.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let [Some(start), Some(header), Some(height)] = [10, 14, 22].map(|at| i32_at(bytes, at)) else {
        return Ok(());
    };
    let compression = bytes.get(30).copied().unwrap_or(0);
    if header < 40 || !matches!(compression, RLE8 | RLE4) {
        return Ok(());
    }
    let height = height.unsigned_abs() as usize;
    let rows = rows(bytes.get(start as usize..).unwrap_or_default(), compression);
    if rows < height {
        return Err(format!("it has data for {rows} of its {height} rows only"));
    }
    Ok(())
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Rows that have data.
fn rows(data: &[u8], compression: u8) -> usize {
    let (mut at, mut row, mut begun) = (0, 0, false);
    while let Some(&[count, value]) = data.get(at..at + 2) {
        at += 2;
        match (count, value) {
            (0, 0) => {
                row += 1;
                begun = false;
            }
            (0, 1) => break,
            (0, 2) => {
                row += usize::from(data.get(at + 1).copied().unwrap_or(0));
                at += 2;
            }
            // Literal pixels, padded to whole words.
            (0, pixels) => {
                let pixels = usize::from(pixels);
                let bytes = if compression == RLE8 {
                    pixels
                } else {
                    pixels.div_ceil(2)
                };
                at += bytes.next_multiple_of(2);
                begun = true;
            }
            _ => begun = true,
        }
    }
    row + usize::from(begun)
}
