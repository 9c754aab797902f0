//! IDX files (LeCun, Cortes, Burges: «The MNIST database», file formats): big-endian header of
//! type, number of dimensions and sizes, then the values.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::bufread::MultiGzDecoder;

use super::{DatasetError, GOOD, Picture, Sample};

/// Most bytes of values that a file may announce: the largest set of this kind (EMNIST, 814,255
/// pictures) has a third of it, and gzip can make that much of nearly nothing.
const MAX_BYTES: u64 = 2 << 30;

/// Names of the files, before `.gz`. The second is that of some unpackers.
const TRAIN_IMAGES: [&str; 2] = ["train-images-idx3-ubyte", "train-images.idx3-ubyte"];
const TRAIN_LABELS: [&str; 2] = ["train-labels-idx1-ubyte", "train-labels.idx1-ubyte"];
const TEST_IMAGES: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"];
const TEST_LABELS: [&str; 2] = ["t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"];

/// The pictures of an IDX file, 8-bit grey.
#[derive(Debug)]
pub(super) struct IdxImages {
    pub(super) width: u32,
    pub(super) height: u32,
    count: usize,
    samples: Vec<u8>,
}

impl IdxImages {
    /// `height × width` samples of the picture of this number.
    pub(super) fn samples(&self, index: usize) -> &[u8] {
        let size = self.samples.len() / self.count;
        &self.samples[index * size..][..size]
    }
}

pub(super) fn is_present(root: &Path) -> bool {
    find(root, TRAIN_IMAGES).is_some()
}

fn find(root: &Path, names: [&str; 2]) -> Option<PathBuf> {
    names
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("{name}.gz")])
        .map(|name| root.join(name))
        .find(|path| path.is_file())
}

/// Training and test samples; with a class, the training samples of that label only.
pub(super) fn open(
    root: &Path,
    class: Option<u8>,
) -> Result<(Vec<Sample>, Vec<Sample>), DatasetError> {
    let mut train = samples(root, TRAIN_IMAGES, TRAIN_LABELS)?;
    let mut test = samples(root, TEST_IMAGES, TEST_LABELS)?;
    if let Some(class) = class {
        let labels: BTreeSet<u8> = train.iter().filter_map(|sample| sample.label).collect();
        for set in [&train, &test] {
            if set.iter().any(|sample| sample.label.is_none()) {
                return Err(DatasetError::ClassWithoutLabels {
                    path: root.to_owned(),
                    class,
                });
            }
        }
        if !labels.contains(&class) {
            let labels: Vec<String> = labels.iter().map(u8::to_string).collect();
            return Err(DatasetError::NoSuchClass {
                path: root.to_owned(),
                class,
                labels: labels.join(", "),
            });
        }
        train.retain(|sample| sample.label == Some(class));
        for sample in &mut test {
            if let Some(label) = sample.label.filter(|label| *label != class) {
                sample.kind = format!("class-{label}");
            }
        }
        // stable: within a kind, samples stay in the order of the file
        test.sort_by(|a, b| a.kind.cmp(&b.kind));
    }
    Ok((train, test))
}

fn samples(root: &Path, images: [&str; 2], labels: [&str; 2]) -> Result<Vec<Sample>, DatasetError> {
    let Some(path) = find(root, images) else {
        return Ok(Vec::new());
    };
    let images = Arc::new(read_images(&path)?);
    let labels = match find(root, labels) {
        None => None,
        Some(labels_path) => {
            let labels = read_values::<1>(&labels_path)?.1;
            if labels.len() != images.count {
                return Err(DatasetError::Idx {
                    path: labels_path,
                    reason: format!(
                        "it has {} labels for {} pictures of {}",
                        labels.len(),
                        images.count,
                        path.display()
                    ),
                });
            }
            Some(labels)
        }
    };
    let file = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok((0..images.count)
        .map(|index| Sample {
            kind: GOOD.to_owned(),
            masks: Vec::new(),
            label: labels.as_ref().map(|labels| labels[index]),
            name: format!("{file}[{index}]"),
            picture: Picture::Idx {
                images: Arc::clone(&images),
                index,
            },
        })
        .collect())
}

fn read_images(path: &Path) -> Result<IdxImages, DatasetError> {
    let ([count, height, width], samples) = read_values::<3>(path)?;
    if width == 0 || height == 0 {
        return Err(DatasetError::Idx {
            path: path.to_owned(),
            reason: format!("its pictures have {width}×{height} pixels"),
        });
    }
    Ok(IdxImages {
        width,
        height,
        count: count as usize,
        samples,
    })
}

/// Sizes and values of a file of unsigned bytes with `D` dimensions, unpacked if it is gzipped.
fn read_values<const D: usize>(path: &Path) -> Result<([u32; D], Vec<u8>), DatasetError> {
    let read = |source| DatasetError::Read {
        path: path.to_owned(),
        source,
    };
    let bad = |reason: String| DatasetError::Idx {
        path: path.to_owned(),
        reason,
    };
    let on_disk = fs::metadata(path).map_err(read)?.len();
    let mut file = BufReader::new(File::open(path).map_err(read)?);
    let zipped = file.fill_buf().map_err(read)?.starts_with(&[0x1f, 0x8b]);
    let mut stream: Box<dyn Read> = if zipped {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut fill = |buffer: &mut [u8]| {
        stream
            .read_exact(buffer)
            .map_err(|error| bad(format!("the header cannot be read: {error}")))
    };

    let mut magic = [0; 4];
    fill(&mut magic)?;
    if magic != [0, 0, 8, D as u8] {
        return Err(bad(format!(
            "it starts with {magic:02x?}; unsigned bytes in {D} dimensions start with {:02x?}",
            [0, 0, 8, D as u8]
        )));
    }
    let mut sizes = [0; D];
    for size in &mut sizes {
        let mut field = [0; 4];
        fill(&mut field)?;
        *size = u32::from_be_bytes(field);
    }
    let expected = sizes
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(u64::from(size)))
        .filter(|&bytes| bytes <= MAX_BYTES)
        .ok_or_else(|| {
            bad(format!(
                "its header announces {sizes:?} values, more than {MAX_BYTES}"
            ))
        })?;

    // Memory grows with what is really there, whatever the header announces.
    let likely = if zipped { 0 } else { expected.min(on_disk) };
    let mut values = Vec::with_capacity(likely as usize);
    stream
        .take(expected + 1)
        .read_to_end(&mut values)
        .map_err(|error| bad(format!("its values cannot be read: {error}")))?;
    if values.len() as u64 != expected {
        let found = if values.len() as u64 > expected {
            "more".to_owned()
        } else {
            values.len().to_string()
        };
        return Err(bad(format!(
            "its header announces {expected} values ({sizes:?}), and it has {found}"
        )));
    }
    Ok((sizes, values))
}
