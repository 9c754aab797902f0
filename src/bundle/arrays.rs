//! NPY and NPZ in memory, f32 only, of a shape known beforehand.
//!
//! `ndarray-npy` allocates what a header claims, and parses headers recursively; both are bounded
//! here before it sees them, because a bundle may come from anywhere.

use std::io::{Cursor, Read};

use ndarray::ArrayViewD;
use ndarray_npy::{NpzWriter, ReadableElement, WriteNpyExt, npy::header::Header};
use zip::ZipArchive;

use super::BundleError;

/// Longest header read, in bytes; NumPy writes 118 for up to four dimensions.
const MAX_HEADER: usize = 512;

/// Magic string, version, and the length of the header.
const PREAMBLE: usize = 10;

/// Most arrays of an archive.
const MAX_ARRAYS: usize = 64;

/// Reads an NPY file of little- or big-endian f32 in C order.
///
/// # Errors
/// Another shape, type or order, a cut or malformed file, or a value that is not finite.
pub(crate) fn read_npy(bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, String> {
    if bytes.len() < PREAMBLE || !bytes.starts_with(b"\x93NUMPY") {
        return Err("is not an NPY file".into());
    }
    // Version 1 is what every writer takes for a header below 64 KiB.
    if bytes[6..8] != [1, 0] {
        return Err(format!(
            "is NPY of version {}.{}, only 1.0 is read",
            bytes[6], bytes[7]
        ));
    }
    let header_length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    if header_length > MAX_HEADER {
        return Err(format!(
            "has a header of {header_length} bytes, at most {MAX_HEADER} are read"
        ));
    }
    let mut rest = bytes;
    // The parser's own words draw the header over several lines.
    let header =
        Header::from_reader(&mut rest).map_err(|_| "has a malformed NPY header".to_owned())?;
    if header.shape != shape {
        return Err(format!("has shape {:?}, expected {shape:?}", header.shape));
    }
    if header.layout.is_fortran() {
        return Err("is in Fortran order, expected C order (numpy.ascontiguousarray)".into());
    }
    let length: usize = shape.iter().product();
    if rest.len() != length * size_of::<f32>() {
        return Err(format!(
            "has {} bytes of data, {} are needed for {shape:?} of f32",
            rest.len(),
            length * size_of::<f32>()
        ));
    }
    let values = f32::read_to_end_exact_vec(rest, &header.type_descriptor, length)
        .map_err(|error| format!("must be f32: {error}"))?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(format!("holds {} at element {index}", values[index])),
        None => Ok(values),
    }
}

/// Writes f32 values as NPY in C order: how a bundle's statistics are stored.
///
/// # Errors
/// A shape that does not fit the number of values.
pub fn write_npy(shape: &[usize], values: &[f32]) -> Result<Vec<u8>, BundleError> {
    let failed = |problem: String| BundleError::Array {
        path: "NPY file".into(),
        problem,
    };
    let mut bytes = Vec::new();
    view(shape, values)
        .map_err(failed)?
        .write_npy(&mut bytes)
        .map_err(|error| failed(error.to_string()))?;
    Ok(bytes)
}

/// Writes named f32 arrays as an NPZ without compression.
///
/// # Errors
/// A shape that does not fit the number of values.
pub(crate) fn write_npz(arrays: &[(&str, Vec<usize>, &[f32])]) -> Result<Vec<u8>, String> {
    let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
    for (name, shape, values) in arrays {
        writer
            .add_array(*name, &view(shape, values)?)
            .map_err(|error| error.to_string())?;
    }
    let cursor = writer.finish().map_err(|error| error.to_string())?;
    Ok(cursor.into_inner())
}

fn view<'a>(shape: &[usize], values: &'a [f32]) -> Result<ArrayViewD<'a, f32>, String> {
    ArrayViewD::from_shape(shape, values)
        .map_err(|error| format!("{} values of shape {shape:?}: {error}", values.len()))
}

/// An NPZ file in memory.
pub(crate) struct Npz<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    size: u64,
}

impl<'a> Npz<'a> {
    /// Opens an archive.
    ///
    /// # Errors
    /// Not a ZIP archive, or too many entries.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let archive = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| format!("is not an NPZ file: {error}"))?;
        if archive.len() > MAX_ARRAYS {
            return Err(format!(
                "holds {} arrays, at most {MAX_ARRAYS} are read",
                archive.len()
            ));
        }
        Ok(Self {
            archive,
            size: bytes.len() as u64,
        })
    }

    /// Reads one array.
    ///
    /// # Errors
    /// A missing array, a compressed one, and those of [`read_npy`]; each names the array.
    pub(crate) fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let entry = self
            .archive
            .by_name(&format!("{name}.npy"))
            .map_err(|error| format!("array `{name}`: {error}"))?;
        // Entries are stored, so none is longer than the archive, whatever its record claims.
        let mut bytes = Vec::new();
        entry
            .take(self.size)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("array `{name}`: {error}"))?;
        read_npy(&bytes, shape).map_err(|problem| format!("array `{name}` {problem}"))
    }
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

    #[test]
    fn little_and_big_endian_are_read() {
        let little = npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }",
            &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0],
        );
        assert_eq!(read_npy(&little, &[1, 2]), Ok(vec![1.0, -2.5]));
        let big = npy(
            "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
            &[0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0],
        );
        assert_eq!(read_npy(&big, &[2]), Ok(vec![1.0, -2.5]));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let cases = [
            (npy(shape, &[0; 7]), "has 7 bytes of data"),
            (npy(shape, &[0; 9]), "has 9 bytes of data"),
            (npy(shape, &[0, 0, 0xc0, 0x7f, 0, 0, 0, 0]), "holds NaN"),
            (
                npy(&shape.replace("(2,)", "(3,)"), &[0; 12]),
                "has shape [3]",
            ),
            (
                npy(&shape.replace("(2,)", "(9999999999999999,)"), &[]),
                "has shape",
            ),
            (npy(&shape.replace("False", "True"), &[0; 8]), "Fortran"),
            (npy(&shape.replace("<f4", "<i4"), &[0; 8]), "must be f32"),
            (npy(&"[".repeat(4000), &[]), "header of"),
            (npy(&"(".repeat(300), &[]), "malformed"),
            (b"\x93NUMPY\x02\x00\x10\x00".to_vec(), "version 2.0"),
            (b"\x93NUMPY\x01\x00\x40\x00{".to_vec(), "malformed"),
            (b"PK".to_vec(), "is not an NPY file"),
            (Vec::new(), "is not an NPY file"),
        ];
        for (bytes, part) in cases {
            let problem = read_npy(&bytes, &[2]).expect_err(part);
            assert!(problem.contains(part), "{problem:?} lacks {part:?}");
            assert!(!problem.contains('\n'), "{problem:?}");
        }
    }

    #[test]
    fn arrays_come_back_from_an_archive() {
        let bytes = write_npz(&[
            ("a", vec![2, 1], &[1.5, -3.0]),
            ("b", vec![1], &[f32::MIN_POSITIVE]),
        ])
        .unwrap();
        let mut npz = Npz::open(&bytes).unwrap();
        assert_eq!(npz.read("b", &[1]), Ok(vec![f32::MIN_POSITIVE]));
        assert_eq!(npz.read("a", &[2, 1]), Ok(vec![1.5, -3.0]));
        assert!(npz.read("c", &[1]).unwrap_err().contains("array `c`"));
        assert!(npz.read("a", &[1, 2]).unwrap_err().contains("shape"));
        assert!(Npz::open(&bytes[..bytes.len() / 2]).is_err());
        assert!(write_npy(&[3], &[1.0]).is_err());
    }
}
