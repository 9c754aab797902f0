//! NPY files and NPZ archives in memory: the one reader of both.
//!
//! `ndarray-npy` allocates what a header claims, and parses headers recursively; both are bounded
//! here before it sees them, because a file may come from anywhere.

use std::io::{Cursor, Read, empty};

use ndarray_npy::{ReadableElement, npy::header::Header};
use zip::ZipArchive;

/// Longest header read, in bytes; NumPy writes 118 for up to four dimensions.
const MAX_HEADER: usize = 512;

/// Magic string, version, and the length of the header.
const PREAMBLE: usize = 10;

/// Most arrays of an archive.
const MAX_ARRAYS: usize = 64;

/// Why an array can't be read; the words follow the name of the file or array.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// Other bytes than those an NPY file begins with.
    #[error("is not an NPY file")]
    NotNpy,
    /// Another version than 1.0, which is what every writer takes for a header below 64 KiB.
    #[error("is NPY of version {major}.{minor}, only 1.0 is read")]
    Version {
        /// First number.
        major: u8,
        /// Second number.
        minor: u8,
    },
    /// A header that is longer than any of an array of numbers.
    #[error("has a header of {found} bytes, at most {MAX_HEADER} are read")]
    LongHeader {
        /// Its length.
        found: usize,
    },
    /// A header that says no shape, type and order.
    #[error("has a malformed NPY header")]
    Header,
    /// Columns before rows.
    #[error("is in Fortran order, expected C order (numpy.ascontiguousarray)")]
    FortranOrder,
    /// Values of another type.
    #[error("must be {expected}, not {found}")]
    Type {
        /// The file's type as NumPy writes it.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// More or fewer bytes than the shape takes.
    #[error("has {found} bytes of data, {expected} are needed for {shape:?} of {kind}")]
    Length {
        /// Bytes after the header.
        found: usize,
        /// Bytes that the shape takes, or the largest number if that is larger.
        expected: usize,
        /// The shape.
        shape: Vec<usize>,
        /// Type of a value.
        kind: &'static str,
    },
    /// NaN or an infinity.
    #[error("holds {value} at element {index}")]
    NotFinite {
        /// The value.
        value: f32,
        /// Its place, from 0, in C order.
        index: usize,
    },
    /// Not a ZIP archive.
    #[error("is not an NPZ file: {reason}")]
    NotNpz {
        /// What the reader says.
        reason: String,
    },
    /// An archive of too many arrays.
    #[error("holds {found} arrays, at most {MAX_ARRAYS} are read")]
    TooManyArrays {
        /// Their number.
        found: usize,
    },
    /// An array of an archive that is not there or compressed.
    #[error(
        "array `{name}`: {reason}; an NPZ is to hold it uncompressed, as numpy.savez writes it"
    )]
    Entry {
        /// Name of the array.
        name: String,
        /// What the reader says.
        reason: String,
    },
}

/// An NPY file whose header has been read, and whose values have not.
#[derive(Debug)]
pub struct Npy<'a> {
    header: Header,
    data: &'a [u8],
}

impl<'a> Npy<'a> {
    /// Reads the header of a file in C order.
    ///
    /// # Errors
    /// Bytes of another format, another version, a header that is too long or malformed, and
    /// Fortran order of an array where that is another.
    pub fn open(bytes: &'a [u8]) -> Result<Self, NpyError> {
        if bytes.len() < PREAMBLE || !bytes.starts_with(b"\x93NUMPY") {
            return Err(NpyError::NotNpy);
        }
        let [major, minor] = [bytes[6], bytes[7]];
        if [major, minor] != [1, 0] {
            return Err(NpyError::Version { major, minor });
        }
        let found = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        if found > MAX_HEADER {
            return Err(NpyError::LongHeader { found });
        }
        let mut data = bytes;
        // The parser's own words draw the header over several lines.
        let header = Header::from_reader(&mut data).map_err(|_| NpyError::Header)?;
        if header.layout.is_fortran() && header.shape.len() > 1 {
            return Err(NpyError::FortranOrder);
        }
        Ok(Self { header, data })
    }

    /// Length of each dimension, as the header has it.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The values of an array of f32, little- or big-endian, in C order.
    ///
    /// # Errors
    /// Another type, more or fewer bytes than the shape takes, a value that is not finite.
    pub fn f32(&self) -> Result<Vec<f32>, NpyError> {
        if !self.is::<f32>() {
            return Err(self.another_type("f32"));
        }
        finite(self.values("f32")?)
    }

    /// The values of an array of f32 or f64, little- or big-endian, in C order, as f32.
    ///
    /// # Errors
    /// Those of [`f32`](Self::f32); a value that is too large for an f32 is not finite.
    pub fn f32_or_f64(&self) -> Result<Vec<f32>, NpyError> {
        if self.is::<f64>() {
            let values: Vec<f64> = self.values("f64")?;
            return finite(values.into_iter().map(|value| value as f32).collect());
        }
        if !self.is::<f32>() {
            return Err(self.another_type("f32 or f64"));
        }
        finite(self.values("f32")?)
    }

    /// The values of an array of f64, little- or big-endian, in C order; they may be infinite or
    /// NaN.
    ///
    /// # Errors
    /// Another type, more or fewer bytes than the shape takes.
    pub fn f64(&self) -> Result<Vec<f64>, NpyError> {
        if !self.is::<f64>() {
            return Err(self.another_type("f64"));
        }
        self.values("f64")
    }

    /// Whether this is the type of the values, which is found out by reading none of them.
    fn is<T: ReadableElement>(&self) -> bool {
        T::read_to_end_exact_vec(empty(), &self.header.type_descriptor, 0).is_ok()
    }

    fn another_type(&self, expected: &'static str) -> NpyError {
        NpyError::Type {
            found: self.header.type_descriptor.to_string(),
            expected,
        }
    }

    /// The length is compared with the bytes that are there before anything of that size is made.
    fn values<T: ReadableElement>(&self, kind: &'static str) -> Result<Vec<T>, NpyError> {
        let sides = self.shape().iter().copied();
        let length = sides.fold(1, usize::saturating_mul);
        let failed = || NpyError::Length {
            found: self.data.len(),
            expected: length.saturating_mul(size_of::<T>()),
            shape: self.shape().to_vec(),
            kind,
        };
        if length.checked_mul(size_of::<T>()) != Some(self.data.len()) {
            return Err(failed());
        }
        T::read_to_end_exact_vec(self.data, &self.header.type_descriptor, length)
            .map_err(|_| failed())
    }
}

fn finite(values: Vec<f32>) -> Result<Vec<f32>, NpyError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(NpyError::NotFinite {
            value: values[index],
            index,
        }),
        None => Ok(values),
    }
}

/// An NPZ archive.
#[derive(Debug)]
pub struct Npz<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    size: u64,
}

impl<'a> Npz<'a> {
    /// Opens an archive.
    ///
    /// # Errors
    /// Not a ZIP archive, or too many entries.
    pub fn open(bytes: &'a [u8]) -> Result<Self, NpyError> {
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| NpyError::NotNpz {
            reason: error.to_string(),
        })?;
        if archive.len() > MAX_ARRAYS {
            return Err(NpyError::TooManyArrays {
                found: archive.len(),
            });
        }
        Ok(Self {
            archive,
            size: bytes.len() as u64,
        })
    }

    /// Names of the arrays, in the archive's order.
    pub fn names(&self) -> Vec<String> {
        let entries =
            (0..self.archive.len()).filter_map(|index| self.archive.name_for_index(index));
        let arrays = entries.filter_map(|entry| entry.strip_suffix(".npy"));
        arrays.map(str::to_owned).collect()
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&entry_name(name)).is_some()
    }

    /// The bytes of an array, to be opened as [`Npy`].
    ///
    /// # Errors
    /// A missing array, and a compressed one.
    pub fn bytes(&mut self, name: &str) -> Result<Vec<u8>, NpyError> {
        let failed = |reason: String| NpyError::Entry {
            name: name.to_owned(),
            reason,
        };
        let entry = self
            .archive
            .by_name(&entry_name(name))
            .map_err(|error| failed(error.to_string()))?;
        // Entries are stored, so none is longer than the archive, whatever its record claims.
        let mut bytes = Vec::new();
        entry
            .take(self.size)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(error.to_string()))?;
        Ok(bytes)
    }
}

fn entry_name(array: &str) -> String {
    format!("{array}.npy")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NPY by hand, so that reading is not tested by our own writing.
    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let padded = (PREAMBLE + header.len() + 1).next_multiple_of(64) - PREAMBLE;
        bytes.extend((padded as u16).to_le_bytes());
        bytes.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
        bytes.extend(data);
        bytes
    }

    const PAIR: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";

    #[test]
    fn both_precisions_and_both_orders_of_bytes_are_read() {
        let little = npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }",
            &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0],
        );
        let opened = Npy::open(&little).unwrap();
        assert_eq!(opened.shape(), [1, 2]);
        assert_eq!(opened.f32(), Ok(vec![1.0, -2.5]));
        assert_eq!(opened.f32_or_f64(), Ok(vec![1.0, -2.5]));
        let big = npy(
            &PAIR.replace('<', ">"),
            &[0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0],
        );
        assert_eq!(Npy::open(&big).unwrap().f32(), Ok(vec![1.0, -2.5]));
        let data = [1.0_f64, -2.5].map(f64::to_le_bytes);
        let double = npy(&PAIR.replace("f4", "f8"), data.as_flattened());
        let double = Npy::open(&double).unwrap();
        assert_eq!(double.f32_or_f64(), Ok(vec![1.0, -2.5]));
        let refused = double.f32().unwrap_err().to_string();
        assert_eq!(refused, "must be f32, not '<f8'");
        // The order of a single dimension is both.
        let single = npy(&PAIR.replace("False", "True"), &[0; 8]);
        assert_eq!(Npy::open(&single).unwrap().f32(), Ok(vec![0.0; 2]));
    }

    #[test]
    fn what_can_not_be_read_is_said() {
        let large = 1e39_f64.to_le_bytes();
        let single = |kind: &str| PAIR.replace("(2,)", "()").replace("<f4", kind);
        let cases = [
            (npy(PAIR, &[0; 7]), "has 7 bytes of data, 8 are"),
            (npy(PAIR, &[0; 9]), "has 9 bytes of data, 8 are"),
            (
                npy(PAIR, &[0, 0, 0xc0, 0x7f, 0, 0, 0, 0]),
                "holds NaN at element 0",
            ),
            (npy(&single("<f8"), &large), "holds inf"),
            (
                npy(&single("<f8"), &[0; 4]),
                "4 bytes of data, 8 are needed for [] of f64",
            ),
            (
                npy(&PAIR.replace("(2,)", "(9999999999999999, 9999)"), &[]),
                "has 0 bytes of data",
            ),
            (
                npy(
                    &PAIR.replace("False", "True").replace("(2,)", "(2, 1)"),
                    &[0; 8],
                ),
                "Fortran",
            ),
            (
                npy(&PAIR.replace("<f4", "<i4"), &[0; 8]),
                "must be f32 or f64, not '<i4'",
            ),
            (npy(&PAIR.replace("<f4", "|O"), &[0; 8]), "must be f32"),
            (npy(&"[".repeat(4000), &[]), "header of"),
            (npy(&"(".repeat(300), &[]), "malformed"),
            (b"\x93NUMPY\x02\x00\x10\x00".to_vec(), "version 2.0"),
            (b"\x93NUMPY\x01\x00\x40\x00{".to_vec(), "malformed"),
            (b"PK".to_vec(), "is not an NPY file"),
            (Vec::new(), "is not an NPY file"),
        ];
        for (bytes, part) in cases {
            let found = Npy::open(&bytes).and_then(|npy| npy.f32_or_f64());
            let problem = found.expect_err(part).to_string();
            assert!(problem.contains(part), "{problem:?} lacks {part:?}");
            assert!(!problem.contains('\n'), "{problem:?}");
        }
    }

    #[test]
    fn archives_say_what_they_have() {
        let mut writer = ndarray_npy::NpzWriter::new(Cursor::new(Vec::new()));
        writer
            .add_array("a", &ndarray::array![[1.5_f32], [-3.0]])
            .unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        let mut npz = Npz::open(&bytes).unwrap();
        assert!(npz.has("a") && !npz.has("b"));
        let array = npz.bytes("a").unwrap();
        assert_eq!(Npy::open(&array).unwrap().shape(), [2, 1]);
        let missing = npz.bytes("b").unwrap_err().to_string();
        assert!(missing.starts_with("array `b`: ") && missing.contains("numpy.savez"));
        for bytes in [&bytes[..bytes.len() / 2], b"PK? no", b""] {
            let error = Npz::open(bytes).unwrap_err().to_string();
            assert!(error.starts_with("is not an NPZ file"), "{error}");
        }
        let mut many = ndarray_npy::NpzWriter::new(Cursor::new(Vec::new()));
        for number in 0..=MAX_ARRAYS {
            many.add_array(number.to_string(), &ndarray::array![0.0_f32])
                .unwrap();
        }
        let many = many.finish().unwrap().into_inner();
        let error = Npz::open(&many).unwrap_err();
        assert_eq!(error, NpyError::TooManyArrays { found: 65 });
    }
}
