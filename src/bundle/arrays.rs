//! Arrays of a bundle: NPY and NPZ.

use std::io::Cursor;

use ndarray::ArrayViewD;
use ndarray_npy::{NpzWriter, WritableElement, WriteNpyExt};

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

/// Name, shape and values of an array of an archive.
pub(crate) type NamedArray = (String, Vec<usize>, Vec<f32>);

/// Reads all f32 arrays of an archive, in its order.
///
/// # Errors
/// A compressed array, one of another type, and values that are not finite; each names the array.
pub(crate) fn read_npz(bytes: &[u8]) -> Result<Vec<NamedArray>, String> {
    let mut npz = Npz::open(bytes).map_err(|error| error.to_string())?;
    let names = npz.names();
    let read = |name: String| {
        let bytes = npz.bytes(&name).map_err(|error| error.to_string())?;
        let values = Npy::open(&bytes).and_then(|npy| Ok((npy.shape().to_vec(), npy.f32()?)));
        let (shape, values) = values.map_err(|problem| format!("array `{name}` {problem}"))?;
        Ok((name, shape, values))
    };
    names.into_iter().map(read).collect()
}

/// Reads a list of f64 of an archive; `None` where there is no array of this name.
///
/// # Errors
/// An array of another type or rank, or a compressed one; each names the array.
pub(super) fn read_list(npz: &mut Npz, name: &str) -> Result<Option<Vec<f64>>, String> {
    if !npz.has(name) {
        return Ok(None);
    }
    let bytes = npz.bytes(name).map_err(|error| error.to_string())?;
    let npy = Npy::open(&bytes).map_err(|problem| format!("array `{name}` {problem}"))?;
    if npy.shape().len() != 1 {
        let shape = npy.shape();
        return Err(format!(
            "array `{name}` has shape {shape:?}, expected a list"
        ));
    }
    let values = npy.f64();
    values
        .map(Some)
        .map_err(|problem| format!("array `{name}` {problem}"))
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

/// Writes named arrays as an NPZ without compression.
///
/// # Errors
/// A shape that does not fit the number of values.
pub(crate) fn write_npz<T: WritableElement>(
    arrays: &[(&str, &[usize], &[T])],
) -> Result<Vec<u8>, BundleError> {
    let failed = |problem: String| BundleError::Array {
        path: "NPZ file".into(),
        problem,
    };
    let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
    for (name, shape, values) in arrays {
        writer
            .add_array(*name, &view(shape, values).map_err(failed)?)
            .map_err(|error| failed(error.to_string()))?;
    }
    let cursor = writer.finish().map_err(|error| failed(error.to_string()))?;
    Ok(cursor.into_inner())
}

fn view<'a, T>(shape: &[usize], values: &'a [T]) -> Result<ArrayViewD<'a, T>, String> {
    ArrayViewD::from_shape(shape, values)
        .map_err(|error| format!("{} values of shape {shape:?}: {error}", values.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_from_an_archive() {
        let bytes = write_npz(&[
            ("a", &[2, 1], &[1.5, -3.0]),
            ("b", &[1], &[f32::MIN_POSITIVE]),
        ])
        .unwrap();
        assert_eq!(
            read_npz(&bytes).unwrap(),
            [
                ("a".to_owned(), vec![2, 1], vec![1.5, -3.0]),
                ("b".to_owned(), vec![1], vec![f32::MIN_POSITIVE]),
            ]
        );
        let mut npz = Npz::open(&bytes).unwrap();
        assert_eq!(read_list(&mut npz, "c"), Ok(None));
        assert_eq!(
            read_list(&mut npz, "a").unwrap_err(),
            "array `a` has shape [2, 1], expected a list"
        );
        assert_eq!(
            read_list(&mut npz, "b").unwrap_err(),
            "array `b` must be f64, not '<f4'"
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
