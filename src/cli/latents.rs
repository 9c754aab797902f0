//! Latents in NPY and NPZ files.

use std::{fs, io::Read, path::Path};

use anyhow::{Context, anyhow, bail, ensure};
use edge_vae::npy::{Npy, NpyError, Npz};

/// Largest file read, in bytes.
const MAX_BYTES: u64 = 1 << 30;
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
    let mut archive = Npz::open(bytes)?;
    let name = ARRAYS
        .into_iter()
        .find(|name| archive.has(name))
        .ok_or_else(|| anyhow!("holds no array named {}", ARRAYS.join(", ")))?;
    let array = archive.bytes(name)?;
    read_npy(&array, shape).with_context(|| format!("array `{name}`"))
}

fn read_npy(bytes: &[u8], shape: &[usize]) -> anyhow::Result<(usize, Vec<f32>)> {
    let npy = match Npy::open(bytes) {
        Err(NpyError::NotNpy) => bail!("is neither NPY nor NPZ"),
        npy => npy?,
    };
    let count = match npy.shape().strip_suffix(shape) {
        Some([]) => 1,
        Some(&[count]) if count > 0 => count,
        _ => bail!(
            "has shape {:?}, this model's latents are N×{}",
            npy.shape(),
            shape
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join("×")
        ),
    };
    Ok((count, npy.f32_or_f64()?))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

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
        assert!(error.contains("not an NPZ file"), "{error}");
    }
}
