//! Synthetic defects on disk: a file of three lists.

use super::{
    BundleError,
    arrays::{read_list, write_npz},
};
use crate::{calibration::SyntheticDefects, npy::Npz};

/// The file, where the trainer writes one.
pub(super) const FILE: &str = "synthetic-defects.npz";

/// The lists, in the order of the fields.
const LISTS: [&str; 3] = ["scores", "sizes", "contrasts"];

/// The bytes of the file.
pub(super) fn to_npz(defects: &SyntheticDefects) -> Result<Vec<u8>, BundleError> {
    let lists = [&defects.scores, &defects.sizes, &defects.contrasts];
    let lengths = lists.map(|list| [list.len()]);
    let arrays: Vec<(&str, &[usize], &[f64])> = LISTS
        .into_iter()
        .zip(&lengths)
        .zip(lists)
        .map(|((name, length), list)| (name, &length[..], &list[..]))
        .collect();
    write_npz(&arrays)
}

/// Of the bytes of the file.
///
/// # Errors
/// Lists that are missing or of other values, and what [`SyntheticDefects::validate`] refuses.
pub(super) fn read(bytes: &[u8]) -> Result<SyntheticDefects, String> {
    let mut npz = Npz::open(bytes).map_err(|error| error.to_string())?;
    let mut list =
        |name: &str| read_list(&mut npz, name)?.ok_or_else(|| format!("has no array `{name}`"));
    let [scores, sizes, contrasts] = LISTS.map(&mut list);
    let defects = SyntheticDefects {
        scores: scores?,
        sizes: sizes?,
        contrasts: contrasts?,
    };
    defects.validate().map_err(|error| error.to_string())?;
    Ok(defects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defects_survive_their_file() {
        let defects = SyntheticDefects {
            scores: vec![1.0, -2.5],
            sizes: vec![0.25, 1e-4],
            contrasts: vec![0.0, 0.125],
        };
        let bytes = to_npz(&defects).unwrap();
        assert_eq!(read(&bytes).unwrap(), defects);
        assert!(read(b"PK").unwrap_err().contains("is not an NPZ file"));
        let one: &[f64] = &[1.0];
        let lacking = write_npz(&[("scores", &[1], one), ("sizes", &[1], one)]).unwrap();
        assert_eq!(read(&lacking).unwrap_err(), "has no array `contrasts`");
        let odd = SyntheticDefects {
            sizes: vec![0.25, 2.0],
            ..defects
        };
        let problem = read(&to_npz(&odd).unwrap()).unwrap_err();
        assert!(problem.contains("size of a defect"), "{problem}");
    }
}
