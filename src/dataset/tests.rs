use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;

fn write_picture(path: PathBuf) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_fn(4, 3, |x, y| image::Luma([(x * 20 + y) as u8]))
        .save(path)
        .unwrap();
}

fn names(samples: &[Sample]) -> Vec<&str> {
    samples.iter().map(Sample::name).collect()
}

fn open(root: &Path) -> Result<Dataset, DatasetError> {
    Dataset::open(root, &DatasetOptions::default())
}

fn open_class(root: &Path, class: u8) -> Result<Dataset, DatasetError> {
    let options = DatasetOptions {
        class: Some(class),
        ..DatasetOptions::default()
    };
    Dataset::open(root, &options)
}

fn message<T>(result: Result<T, DatasetError>) -> String {
    let message = result.err().unwrap().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn mvtec_layout() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("screws");
    for name in [
        "train/good/b.png",
        "train/good/a.png",
        "train/good/.hidden.png",
        "test/good/c.png",
        "test/scratch/1.png",
        "test/scratch/2.png",
        "test/scratch/3.png",
        "test/dent/x.y.png",
        "ground_truth/scratch/1_mask.png",
        "ground_truth/scratch/2.png",
        "ground_truth/dent/x.y_mask.png",
    ] {
        write_picture(root.join(name));
    }
    fs::write(root.join("train/good/notes.txt"), "x").unwrap();
    let dataset = open(&root).unwrap();
    assert_eq!(dataset.name, "screws");
    assert_eq!(dataset.layout, Layout::MvtecAd);
    assert_eq!(
        names(&dataset.train),
        ["train/good/a.png", "train/good/b.png"]
    );
    let test: Vec<_> = dataset
        .test
        .iter()
        .map(|sample| {
            let mask = sample
                .masks
                .first()
                .map(|mask| mask.strip_prefix(&root).unwrap().display().to_string());
            (
                sample.name(),
                sample.kind.as_str(),
                mask.unwrap_or_default(),
            )
        })
        .collect();
    let expected = [
        (
            "test/dent/x.y.png",
            "dent",
            "ground_truth/dent/x.y_mask.png",
        ),
        ("test/good/c.png", "good", ""),
        (
            "test/scratch/1.png",
            "scratch",
            "ground_truth/scratch/1_mask.png",
        ),
        (
            "test/scratch/2.png",
            "scratch",
            "ground_truth/scratch/2.png",
        ),
        ("test/scratch/3.png", "scratch", ""),
    ];
    assert_eq!(
        test,
        expected.map(|(name, kind, mask)| (name, kind, mask.to_owned()))
    );
    assert!(!dataset.test[0].is_good() && dataset.test[1].is_good());
    let frame = dataset.train[0].frame().unwrap();
    assert_eq!((frame.width(), frame.height()), (4, 3));

    assert!(message(open_class(&root, 1)).contains("class 1"));
    fs::remove_dir_all(root.join("train")).unwrap();
    assert!(message(open(&root)).contains("no train/good/"));
}

#[test]
fn plain_folders() {
    let root = tempfile::tempdir().unwrap();
    assert!(message(open(root.path())).contains("no pictures found"));
    for name in ["b.png", "a/z.PNG", ".git/c.png", "c.jpg"] {
        write_picture(root.path().join(name));
    }
    fs::write(root.path().join("readme.md"), "x").unwrap();
    let dataset = open(root.path()).unwrap();
    assert_eq!(dataset.layout, Layout::Folder);
    assert_eq!(names(&dataset.train), ["a/z.PNG", "b.png", "c.jpg"]);
    assert!(dataset.test.is_empty());
    assert!(message(open(&root.path().join("b.png"))).contains("is not a folder"));
    assert!(message(open(&root.path().join("missing"))).contains("cannot read"));
}

fn idx(magic: [u8; 4], sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut file = magic.to_vec();
    sizes
        .iter()
        .for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(values);
    file
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const IMAGES: [u8; 4] = [0, 0, 8, 3];
const LABELS: [u8; 4] = [0, 0, 8, 1];

fn idx_folder() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let values: Vec<u8> = (0..24).collect();
    let write = |name: &str, bytes: &[u8]| fs::write(root.path().join(name), bytes).unwrap();
    // gzipped without saying so by its name
    write(
        "train-images-idx3-ubyte",
        &zipped(&idx(IMAGES, &[4, 2, 3], &values)),
    );
    write(
        "train-labels-idx1-ubyte.gz",
        &zipped(&idx(LABELS, &[4], &[7, 3, 7, 0])),
    );
    write(
        "t10k-images-idx3-ubyte",
        &idx(IMAGES, &[3, 2, 3], &values[..18]),
    );
    write("t10k-labels-idx1-ubyte", &idx(LABELS, &[3], &[7, 3, 7]));
    root
}

#[test]
fn idx_files() {
    let root = idx_folder();
    let dataset = open(root.path()).unwrap();
    assert_eq!(dataset.layout, Layout::Idx);
    assert_eq!((dataset.train.len(), dataset.test.len()), (4, 3));
    assert!(dataset.test.iter().all(Sample::is_good));
    let frame = dataset.train[1].frame().unwrap();
    assert_eq!((frame.width(), frame.height()), (3, 2));
    let expected: Vec<u8> = (6..12).collect();
    assert_eq!(frame.samples(), &crate::frame::Samples::U8(expected));
    assert_eq!(frame.source(), "train-images-idx3-ubyte[1]");

    let dataset = open_class(root.path(), 7).unwrap();
    let train = ["train-images-idx3-ubyte[0]", "train-images-idx3-ubyte[2]"];
    assert_eq!(names(&dataset.train), train);
    let kinds: Vec<_> = dataset
        .test
        .iter()
        .map(|s| (s.kind.as_str(), s.label))
        .collect();
    assert_eq!(
        kinds,
        [("class-3", Some(3)), ("good", Some(7)), ("good", Some(7))]
    );

    let message = message(open_class(root.path(), 9));
    assert!(
        message.contains("no training sample has label 9; labels are 0, 3, 7"),
        "{message}"
    );
    fs::remove_file(root.path().join("t10k-labels-idx1-ubyte")).unwrap();
    assert!(open(root.path()).is_ok());
    assert!(open_class(root.path(), 7).is_err());
}

#[test]
fn hostile_idx_files() {
    let values = [0; 24];
    let whole = idx(IMAGES, &[4, 2, 3], &values);
    for (bytes, expected) in [
        (vec![], "header cannot be read"),
        (whole[..9].to_vec(), "header cannot be read"),
        (whole[..30].to_vec(), "announces 24 values"),
        (idx(IMAGES, &[4, 2, 3], &[0; 25]), "it has more"),
        (idx([0, 0, 8, 1], &[4, 2, 3], &values), "it starts with"),
        (idx([0, 0, 0x0d, 3], &[4, 2, 3], &values), "it starts with"),
        (idx(IMAGES, &[u32::MAX; 3], &values), "more than 2147483648"),
        (idx(IMAGES, &[2, 32768, 32768], &values), "it has 24"),
        (
            zipped(&idx(IMAGES, &[2, 32768, 32768], &values)),
            "it has 24",
        ),
        (idx(IMAGES, &[4, 0, 3], &[]), "3×0 pixels"),
        (idx(IMAGES, &[0, 2, 3], &[]), "no pictures found"),
        (zipped(&whole)[..30].to_vec(), "cannot be read"),
    ] {
        let root = idx_folder();
        fs::remove_file(root.path().join("train-labels-idx1-ubyte.gz")).unwrap();
        fs::write(root.path().join("train-images-idx3-ubyte"), bytes).unwrap();
        let message = message(open(root.path()));
        assert!(message.contains(expected), "{message}");
    }
    let root = idx_folder();
    let labels = idx(LABELS, &[3], &[0; 3]);
    fs::write(root.path().join("train-labels-idx1-ubyte.gz"), labels).unwrap();
    assert!(message(open(root.path())).contains("3 labels for 4 pictures"));
}

#[test]
fn unreadable_samples_are_skipped_up_to_a_tenth() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..18 {
        write_picture(root.path().join(format!("{i:02}.png")));
    }
    fs::write(root.path().join("bad-1.png"), "text").unwrap();
    fs::write(root.path().join("bad-2.png"), "").unwrap();
    let read = || {
        let dataset = open(root.path()).unwrap();
        let (mut positions, mut skipped) = (Vec::new(), Vec::new());
        let result = read_frames(
            &dataset.train,
            |position, _, frame| {
                assert_eq!(frame.width(), 4);
                positions.push(position);
                Ok::<_, DatasetError>(())
            },
            |sample, _| skipped.push(sample.name().to_owned()),
        );
        (result, positions, skipped)
    };
    let (result, positions, skipped) = read();
    let expected = ReadSummary {
        read: 18,
        skipped: 2,
    };
    assert_eq!(result.unwrap(), expected);
    assert_eq!(positions, (0..18).collect::<Vec<_>>());
    assert_eq!(skipped, ["bad-1.png", "bad-2.png"]);

    fs::write(root.path().join("bad-3.png"), "").unwrap();
    let message = message(read().0);
    assert!(
        message.starts_with("3 of 21 pictures are unreadable"),
        "{message}"
    );
    assert!(message.contains("bad-1.png: found text"), "{message}");
}

/// The project's shared data, which is never part of the repository.
fn shared_data(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("EDGE_VAE_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: {} is not here (set EDGE_VAE_DATA)",
        folder.display()
    );
    None
}

#[test]
fn magnetic_tiles() {
    let Some(root) = shared_data("mtd") else {
        return;
    };
    let dataset = open(&root).unwrap();
    assert_eq!(dataset.layout, Layout::MvtecAd);
    assert_eq!(dataset.train.len(), 762);
    let count = |kind: &str| dataset.test.iter().filter(|s| s.kind == kind).count();
    let kinds = ["good", "blowhole", "break", "crack", "fray", "uneven"];
    assert_eq!(kinds.map(count), [108, 58, 41, 20, 21, 45]);
    for sample in &dataset.test {
        assert_eq!(
            !sample.masks.is_empty(),
            !sample.is_good(),
            "{}",
            sample.name()
        );
    }
    let frame = dataset.test[0].frame().unwrap();
    let mask = Frame::open(&dataset.test[0].masks[0]).unwrap();
    assert_eq!(
        (frame.width(), frame.height()),
        (mask.width(), mask.height())
    );
    assert_eq!(frame.defect(), None);
}

#[test]
fn handwritten_digits() {
    let Some(root) = shared_data("mnist") else {
        return;
    };
    let dataset = open_class(&root, 3).unwrap();
    assert_eq!(dataset.layout, Layout::Idx);
    // Counts by LeCun's page: 6,131 threes to train on, 1,010 to test on.
    assert_eq!((dataset.train.len(), dataset.test.len()), (6131, 10_000));
    assert_eq!(dataset.test.iter().filter(|s| s.is_good()).count(), 1010);
    let frame = dataset.train[0].frame().unwrap();
    assert_eq!((frame.width(), frame.height()), (28, 28));
    assert_eq!(frame.defect(), None);
}
