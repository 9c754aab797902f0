//! Portable maps one behind the other in a file, as their formats allow.

/// Reads a file token by token: words between white space, without comments.
struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Passes over white space and comments.
    fn skip_space(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte == b'#' {
                let rest = &self.bytes[self.at..];
                self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            } else if byte.is_ascii_whitespace() {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        let rest = self.bytes.get(self.at..)?;
        let length = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(rest.len());
        self.at += length;
        (length > 0).then(|| &rest[..length])
    }

    fn number(&mut self) -> Option<usize> {
        std::str::from_utf8(self.next()?).ok()?.parse().ok()
    }
}

/// A header.
pub(in super::super) struct Header {
    /// The digit behind the P.
    kind: u8,
    width: usize,
    height: usize,
    depth: usize,
    /// The value of white.
    white: usize,
    /// Position of the samples.
    samples: usize,
}

impl Header {
    pub(in super::super) fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let mut tokens = Tokens { bytes, at };
        let &[b'P', kind @ b'1'..=b'7'] = tokens.next()? else {
            return None;
        };
        let mut header = Self {
            kind,
            width: 0,
            height: 0,
            depth: if matches!(kind, b'3' | b'6') { 3 } else { 1 },
            white: 1,
            samples: 0,
        };
        if kind == b'7' {
            loop {
                match tokens.next()? {
                    b"ENDHDR" => break,
                    b"WIDTH" => header.width = tokens.number()?,
                    b"HEIGHT" => header.height = tokens.number()?,
                    b"DEPTH" => header.depth = tokens.number()?,
                    b"MAXVAL" => header.white = tokens.number()?,
                    _ => {}
                }
            }
        } else {
            header.width = tokens.number()?;
            header.height = tokens.number()?;
            if !matches!(kind, b'1' | b'4') {
                header.white = tokens.number()?;
            }
        }
        // One character of white space ends the header.
        header.samples = tokens.at + 1;
        Some(header)
    }

    /// Whether decoders bring the samples to all of their bits, for the header tells their white.
    pub(in super::super) fn is_scaled(&self) -> bool {
        self.white != 255 && self.white != 65535
    }

    /// Position behind the samples.
    fn end(&self, bytes: &[u8]) -> Option<usize> {
        if matches!(self.kind, b'1'..=b'3') {
            let mut tokens = Tokens {
                bytes,
                at: self.samples,
            };
            loop {
                tokens.skip_space();
                if tokens.bytes.get(tokens.at) == Some(&b'P') {
                    return Some(tokens.at);
                }
                tokens.next()?;
            }
        }
        let row = match self.kind {
            b'4' => self.width.div_ceil(8),
            _ => {
                let bytes = if self.white > 255 { 2 } else { 1 };
                self.width.checked_mul(self.depth)?.checked_mul(bytes)?
            }
        };
        self.samples.checked_add(row.checked_mul(self.height)?)
    }
}

/// Positions of the maps of a file.
pub(super) fn pictures(bytes: &[u8]) -> Vec<usize> {
    let mut found = vec![0];
    let mut at = 0;
    while let Some(end) = Header::parse(bytes, at).and_then(|header| header.end(bytes)) {
        let mut tokens = Tokens { bytes, at: end };
        tokens.skip_space();
        at = tokens.at;
        if Header::parse(bytes, at).is_none() {
            break;
        }
        found.push(at);
    }
    found
}
