//! Latents in NPY and NPZ files.

use std::{
    fs,
    io::{Cursor, Read},
    path::Path,
};

use anyhow::{Context, anyhow, bail, ensure};
use ndarray_npy::{ReadableElement, npy::header::Header};
use zip::ZipArchive;

/// Largest file and largest array read, in bytes.
const MAX_BYTES: u64 = 1 << 30;
/// Longest header read, in bytes: `ndarray-npy` parses it recursively, and NumPy writes 118 for
/// up to four dimensions.
const MAX_HEADER: usize = 512;
/// Magic string, version, and the length of the header.
const PREAMBLE: usize = 10;
/// Arrays of an NPZ file that are taken for latents, the first that is there.
const ARRAYS: [&str; 3] = ["latent", "z", "mean"];

/// Reads latents N×L or N×L×h×w, `shape` being that of one, f32 or f64, and returns N and all
/// values. A single latent may lack the first dimension.
pub(crate) fn read(path: &Path, shape: &[usize]) -> anyhow::Result<(usize, Vec<f32>)> {
    let shown = path.display().to_string();
    let bytes = read_bounded(path).with_context(|| format!("{shown}: cannot read"))?;
    ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "{shown}: has more than {MAX_BYTES} bytes, which is the most that is read"
    );
    let values = if bytes.starts_with(b"PK") {
        read_npz(&bytes, shape)
    } else {
        read_npy(&bytes, shape)
    };
    values.context(shown)
}

/// At most one byte more than [`MAX_BYTES`], of a regular file: a device may never end, a pipe may
/// never begin.
fn read_bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    ensure!(metadata.is_file(), "is not a regular file");
    let mut bytes = Vec::new();
    if metadata.len() <= MAX_BYTES {
        bytes.reserve(metadata.len() as usize);
    }
    fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_npz(bytes: &[u8], shape: &[usize]) -> anyhow::Result<(usize, Vec<f32>)> {
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|error| anyhow!("is no NPZ file: {error}"))?;
    let name = ARRAYS
        .into_iter()
        .find(|name| archive.index_for_name(&format!("{name}.npy")).is_some())
        .ok_or_else(|| anyhow!("holds no array named {}", ARRAYS.join(", ")))?;
    let entry = archive
        .by_name(&format!("{name}.npy"))
        .map_err(|error| anyhow!("array `{name}`: {error}; write it with numpy.savez"))?;
    let mut array = Vec::new();
    entry
        .take(MAX_BYTES)
        .read_to_end(&mut array)
        .with_context(|| format!("array `{name}`"))?;
    read_npy(&array, shape).with_context(|| format!("array `{name}`"))
}

fn read_npy(bytes: &[u8], shape: &[usize]) -> anyhow::Result<(usize, Vec<f32>)> {
    ensure!(
        bytes.len() >= PREAMBLE && bytes.starts_with(b"\x93NUMPY"),
        "is neither NPY nor NPZ"
    );
    ensure!(
        bytes[6..8] == [1, 0],
        "is NPY of version {}.{}, only 1.0 is read",
        bytes[6],
        bytes[7]
    );
    let header_length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    ensure!(
        header_length <= MAX_HEADER,
        "has a header of {header_length} bytes, at most {MAX_HEADER} are read"
    );
    let mut rest = bytes;
    // The parser's own words draw the header over several lines.
    let header =
        Header::from_reader(&mut rest).map_err(|_| anyhow!("has a malformed NPY header"))?;
    let count = match header.shape.strip_suffix(shape) {
        Some([]) => 1,
        Some(&[count]) if count > 0 => count,
        _ => bail!(
            "has shape {:?}, this model's latents are N×{}",
            header.shape,
            shape
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join("×")
        ),
    };
    ensure!(
        !header.layout.is_fortran() || header.shape.len() == 1,
        "is in Fortran order, expected C order (numpy.ascontiguousarray)"
    );
    // Compared with the bytes that are there before anything of that size is made.
    let length = count
        .checked_mul(shape.iter().product())
        .filter(|&length| length <= rest.len())
        .ok_or_else(|| anyhow!("has fewer values than its shape {:?}", header.shape))?;
    let values = f32::read_to_end_exact_vec(rest, &header.type_descriptor, length).or_else(|_| {
        f64::read_to_end_exact_vec(rest, &header.type_descriptor, length)
            .map(|values| values.into_iter().map(|value| value as f32).collect())
    });
    let values = values.map_err(|_| {
        anyhow!(
            "has {} bytes of data; expected {length} values of f32 or f64",
            rest.len()
        )
    })?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        bail!("holds {} at element {index}", values[index]);
    }
    Ok((count, values))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ArrayD, IxDyn, array};
    use ndarray_npy::{NpzWriter, WriteNpyExt};

    use super::*;

    fn npy(array: &impl WriteNpyExt) -> Vec<u8> {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn rows_and_single_latents_of_both_precisions_are_read() {
        let rows = npy(&array![[1.0_f64, -2.0], [0.5, 4.0]]);
        assert_eq!(
            read_npy(&rows, &[2]).unwrap(),
            (2, vec![1.0, -2.0, 0.5, 4.0])
        );
        assert_eq!(
            read_npy(&npy(&array![1.0_f32, 3.0]), &[2]).unwrap(),
            (1, vec![1.0, 3.0])
        );
        let map = ArrayD::<f32>::zeros(IxDyn(&[3, 1, 2, 2]));
        assert_eq!(read_npy(&npy(&map), &[1, 2, 2]).unwrap().0, 3);
    }

    #[test]
    fn what_is_no_latent_is_said() {
        for (bytes, part) in [
            (Vec::new(), "neither"),
            (npy(&array![[1.0_f32]]), "N×2"),
            (npy(&Array2::<f32>::zeros((0, 2))), "N×2"),
            (npy(&array![[1_i32, 2]]), "f32 or f64"),
            (npy(&array![[f32::NAN, 2.0]]), "holds NaN"),
            (
                npy(&array![[1.0_f32, 2.0]])[..130].to_vec(),
                "2 bytes of data",
            ),
        ] {
            let error = format!("{:#}", read_npy(&bytes, &[2]).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_archive_is_searched_for_latents() {
        let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
        writer.add_array("variance", &array![[9.0_f32]]).unwrap();
        writer.add_array("mean", &array![[2.0_f32]]).unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        assert_eq!(read_npz(&bytes, &[1]).unwrap(), (1, vec![2.0]));
        let error = read_npz(&bytes[..20], &[1]).unwrap_err().to_string();
        assert!(error.contains("no NPZ"), "{error}");
    }
}
