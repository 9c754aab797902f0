//! Arrays of a bundle: f32 only, of a shape known beforehand.

use std::io::Cursor;

use ndarray::ArrayViewD;
use ndarray_npy::{NpzWriter, WriteNpyExt};

use super::BundleError;
use crate::npy::{Npy, Npz};

/// Reads an NPY file of f32 in C order.
///
/// # Errors
/// Another shape, and those of [`Npy`]; none names the file.
pub(crate) fn read_npy(bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, String> {
    let npy = Npy::open(bytes).map_err(|error| error.to_string())?;
    if npy.shape() != shape {
        return Err(format!("has shape {:?}, expected {shape:?}", npy.shape()));
    }
    npy.f32().map_err(|error| error.to_string())
}

/// Reads one array of an archive.
///
/// # Errors
/// A missing array, a compressed one, and those of [`read_npy`]; each names the array.
pub(crate) fn read_npz(npz: &mut Npz, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let bytes = npz.bytes(name).map_err(|error| error.to_string())?;
    read_npy(&bytes, shape).map_err(|problem| format!("array `{name}` {problem}"))
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
pub(crate) fn write_npz(arrays: &[(&str, Vec<usize>, Vec<f32>)]) -> Result<Vec<u8>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_from_an_archive() {
        let bytes = write_npz(&[
            ("a", vec![2, 1], vec![1.5, -3.0]),
            ("b", vec![1], vec![f32::MIN_POSITIVE]),
        ])
        .unwrap();
        let mut npz = Npz::open(&bytes).unwrap();
        let mut read = |name, shape: &[usize]| read_npz(&mut npz, name, shape);
        assert_eq!(read("b", &[1]), Ok(vec![f32::MIN_POSITIVE]));
        assert_eq!(read("a", &[2, 1]), Ok(vec![1.5, -3.0]));
        assert!(read("c", &[1]).unwrap_err().contains("array `c`"));
        assert_eq!(
            read("a", &[1, 2]).unwrap_err(),
            "array `a` has shape [2, 1], expected [1, 2]"
        );
        assert!(write_npy(&[3], &[1.0]).is_err());
    }

    #[test]
    fn other_types_and_other_files_are_refused() {
        let mut double = Vec::new();
        ndarray::array![1.0_f64, 2.0]
            .write_npy(&mut double)
            .unwrap();
        assert_eq!(
            read_npy(&double, &[2]).unwrap_err(),
            "must be f32, not '<f8'"
        );
        assert_eq!(read_npy(b"PK", &[2]).unwrap_err(), "is not an NPY file");
    }
}
