//! Bits of entropy-coded data, and Huffman codes in them.

use super::marker;

/// Bits that one look into a table decodes; longer codes are rare.
const LOOK: u32 = 9;

/// Why data could not be walked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There are no more bits before the next marker.
    Ended,
    /// No code, or a coefficient beyond the last.
    Invalid,
}

/// The bits of entropy-coded data up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Of the next byte to read.
    at: usize,
    /// The next bits, from the highest down; below them zeros.
    buffer: u64,
    /// How many there are.
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            buffer: 0,
            count: 0,
        }
    }

    /// Position of what follows the bits that were read in.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Reads bytes until there are more than 56 bits, or no more before a marker.
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else {
                return;
            };
            if byte == 0xff {
                if self.bytes.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn drop_bits(&mut self, count: u32) -> Result<(), Trouble> {
        if self.count < count {
            return Err(Trouble::Ended);
        }
        self.buffer <<= count;
        self.count -= count;
        Ok(())
    }

    /// Passes over bits, at most 16.
    pub(super) fn skip(&mut self, count: u32) -> Result<(), Trouble> {
        if self.count < count {
            self.fill();
        }
        self.drop_bits(count)
    }

    /// Reads bits, at most 16.
    pub(super) fn read(&mut self, count: u32) -> Result<u32, Trouble> {
        if count == 0 {
            return Ok(0);
        }
        if self.count < count {
            self.fill();
        }
        let value = (self.buffer >> (64 - count)) as u32;
        self.drop_bits(count)?;
        Ok(value)
    }

    /// Reads one symbol.
    pub(super) fn symbol(&mut self, table: &Huffman) -> Result<u8, Trouble> {
        if self.count < 16 {
            self.fill();
        }
        let (length, symbol) = table.find((self.buffer >> 48) as u16).ok_or(
            // What looks like no code may be one that was cut off.
            if self.count < 16 {
                Trouble::Ended
            } else {
                Trouble::Invalid
            },
        )?;
        self.drop_bits(length)?;
        Ok(symbol)
    }

    /// Passes over what is left before the next marker, and says how many bytes it was, beside the
    /// byte that was begun; none where they are all alike, which is padding.
    pub(super) fn finish(&mut self) -> usize {
        let mut left = (self.count / 8) as usize;
        let mut padding = true;
        let first = self.bytes.get(self.at).copied();
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte == 0xff && self.bytes.get(self.at + 1) != Some(&0) {
                break;
            }
            self.at += 1 + usize::from(byte == 0xff);
            left += 1;
            padding &= Some(byte) == first;
        }
        self.count = 0;
        self.buffer = 0;
        if padding && left > 8 { 0 } else { left }
    }

    /// Goes on behind a restart marker, if one is next.
    pub(super) fn restart(&mut self) -> bool {
        let mut at = self.at;
        while self.bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        let found = at > self.at
            && self
                .bytes
                .get(at)
                .is_some_and(|code| marker::RESTARTS.contains(code));
        if found {
            self.at = at + 1;
        }
        found
    }
}

/// A Huffman table (T.81, annex C and F.2.2.3).
#[derive(Clone)]
pub(super) struct Huffman {
    /// Length and symbol by the next bits; length 0 for longer codes.
    short: Vec<(u8, u8)>,
    /// By length: the first code beyond those of that length, in 16 bits, and what to add to a code
    /// of that length for its place among the symbols.
    long: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// From the number of codes of 1–16 bits, and their symbols; `None` for what is no code.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let symbols = symbols.get(..total)?.to_vec();
        let mut table = Self {
            short: vec![(0, 0); 1 << LOOK],
            long: [(0, 0); 17],
            symbols,
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(counts) {
            let first = code;
            for _ in 0..count {
                if code >> length != 0 {
                    return None;
                }
                if length <= LOOK {
                    let from = (code << (LOOK - length)) as usize;
                    let entry = (length as u8, table.symbols[place]);
                    table.short[from..from + (1 << (LOOK - length))].fill(entry);
                }
                code += 1;
                place += 1;
            }
            table.long[length as usize] = (
                code << (16 - length),
                place as i32 - i32::from(count) - first as i32,
            );
            code <<= 1;
        }
        Some(table)
    }

    /// Length and symbol of the code at the start of 16 bits.
    fn find(&self, bits: u16) -> Option<(u32, u8)> {
        let (length, symbol) = self.short[usize::from(bits >> (16 - LOOK))];
        if length > 0 {
            return Some((length.into(), symbol));
        }
        let bits = u32::from(bits);
        (LOOK + 1..=16).find_map(|length| {
            let (beyond, offset) = self.long[length as usize];
            (bits < beyond).then(|| {
                let place = (bits >> (16 - length)) as i32 + offset;
                (length, self.symbols[place as usize])
            })
        })
    }
}
