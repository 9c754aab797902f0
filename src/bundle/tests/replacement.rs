//! Bundles and calibrations in the place of others.

use super::*;
use crate::{
    calibration::Calibration,
    scoring::{Aggregation, ScoreSource, Scoring},
};

#[test]
fn a_bundle_is_replaced_whole() {
    let (room, folder) = saved();
    let mut next = writer();
    next.files.insert("notes.txt".into(), b"kept".to_vec());
    let mut next = next.finish().unwrap();
    next.save(&folder).unwrap();
    assert_eq!(
        Bundle::open(&folder).unwrap().file("notes.txt"),
        Some(&b"kept"[..])
    );
    // Without the file again: it belonged to the bundle, so it goes.
    writer().finish().unwrap().save(&folder).unwrap();
    assert_eq!(
        entries(&folder),
        [
            "decoder.onnx",
            "encoder.onnx",
            "golden.npz",
            "golden.png",
            MANIFEST
        ]
    );
    assert_eq!(entries(&room.path().join("models")), ["tiny"]);
}

#[test]
fn an_unreadable_bundle_is_replaced_and_an_empty_folder_filled() {
    let (_room, folder) = saved();
    let path = folder.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("schema_version = 3", "schema_version = 99"),
    )
    .unwrap();
    writer().finish().unwrap().save(&folder).unwrap();
    Bundle::open(&folder).unwrap();

    let empty = tempfile::tempdir().unwrap();
    writer().finish().unwrap().save(empty.path()).unwrap();
    Bundle::open(empty.path()).unwrap();
}

#[test]
fn foreign_files_are_never_removed() {
    let (room, folder) = saved();
    let refused = |folder: &Path| {
        let message = writer()
            .finish()
            .unwrap()
            .save(folder)
            .unwrap_err()
            .to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    };
    let before = entries(&folder);
    let foreign = folder.join("thesis.odt");
    fs::write(&foreign, "years").unwrap();
    assert!(refused(&folder).contains("holds `thesis.odt`"));
    fs::remove_file(&foreign).unwrap();
    // A folder in the place of one of the bundle's files is as foreign.
    fs::remove_file(folder.join("golden.png")).unwrap();
    fs::create_dir(folder.join("golden.png")).unwrap();
    assert!(refused(&folder).contains("holds `golden.png`"));
    assert_eq!(entries(&folder), before);
    assert!(refused(room.path()).contains("holds `models`"));
    assert!(refused(&folder.join(MANIFEST)).contains("is not a folder"));
    assert_eq!(entries(&room.path().join("models")), ["tiny"]);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_bundle_stays_a_link_and_permissions_are_ordinary() {
    use std::os::unix::fs::PermissionsExt;
    let (room, folder) = saved();
    let link = room.path().join("current");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    writer().finish().unwrap().save(&link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let ordinary = room.path().join("ordinary");
    fs::create_dir(&ordinary).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&folder), mode(&ordinary));
}

/// A bundle with a scoring that is saved and open.
fn calibrated(scores: &[f64]) -> (tempfile::TempDir, PathBuf, Bundle) {
    let (room, folder) = saved();
    let mut writer = writer();
    writer.scoring = Some(Scoring::of_one(
        "residual",
        ScoreSource::Residual,
        0.0,
        None,
        Aggregation::Maximum,
    ));
    writer.golden.score = Some(1.0);
    writer.calibration = Some(calibration(scores));
    writer.finish().unwrap().save(&folder).unwrap();
    let bundle = Bundle::open(&folder).unwrap();
    (room, folder, bundle)
}

fn calibration(scores: &[f64]) -> Calibration {
    Calibration::fit(scores.to_vec(), scores.to_vec(), 0.3).unwrap()
}

#[test]
fn a_calibration_is_replaced_in_place() {
    let (_room, folder, mut bundle) = calibrated(&[1.0, 2.0, 3.0]);
    assert_eq!(bundle.calibration(), Some(&calibration(&[1.0, 2.0, 3.0])));
    let inner = folder.join("calibration");
    let (before, id) = (entries(&inner), bundle.model_id().to_owned());
    let manifest = fs::read(folder.join(MANIFEST)).unwrap();
    bundle
        .save_calibration(calibration(&[4.0, 5.0, 6.0]))
        .unwrap();
    let read = Bundle::open(&folder).unwrap();
    assert_eq!(read.calibration(), Some(&calibration(&[4.0, 5.0, 6.0])));
    assert_eq!(read.manifest(), bundle.manifest());
    assert_eq!(read.model_id(), id);
    assert_eq!(fs::read(folder.join(MANIFEST)).unwrap(), manifest);
    assert_eq!(entries(&inner).len(), before.len());
    // The same once more changes nothing.
    bundle
        .save_calibration(calibration(&[4.0, 5.0, 6.0]))
        .unwrap();
    assert_eq!(Bundle::open(&folder).unwrap().manifest(), bundle.manifest());

    let mut broken = calibration(&[1.0, 2.0, 3.0]);
    broken.threshold = 7.0;
    bundle.save_calibration(broken).unwrap_err();
    assert_eq!(bundle.calibration(), read.calibration());
    assert_eq!(bundle.file("encoder.onnx"), Some(&b"abc"[..]));
    // What an interrupted replacement leaves beside is the bundle's own, and goes with the next.
    fs::write(folder.join("calibration/calibration-0123abcd.npz"), "old").unwrap();
    Bundle::open(&folder).unwrap().save(&folder).unwrap();
    assert_eq!(entries(&inner).len(), before.len());
}

#[test]
fn a_damaged_calibration_is_refused() {
    let (_room, folder, bundle) = calibrated(&[1.0, 2.0, 3.0]);
    let path = folder.join("calibration/calibration.toml");
    let text = fs::read_to_string(&path).unwrap();
    let threshold = format!("threshold = {:?}", bundle.calibration().unwrap().threshold);
    assert!(text.contains(&format!("\n{threshold}")), "{text}");
    fs::write(
        &path,
        text.replace(&format!("\n{threshold}"), "\nthreshold = 0.5"),
    )
    .unwrap();
    let message = refusal(&folder);
    assert!(message.contains(".npz: "), "{message}");
    assert!(message.contains("the threshold is 0.5"), "{message}");
}

#[test]
fn a_calibration_of_another_model_is_refused() {
    let (_room, folder, bundle) = calibrated(&[1.0, 2.0, 3.0]);
    let path = folder.join("calibration/calibration.toml");
    let text = fs::read_to_string(&path).unwrap();
    let other = text.replace(bundle.model_id(), "tiny-model-00000000");
    assert_ne!(other, text);
    fs::write(&path, other).unwrap();
    let message = refusal(&folder);
    assert!(
        message.contains("calibration of `tiny-model-00000000`"),
        "{message}"
    );
    // A file elsewhere is none of the bundle's.
    let elsewhere = text.replace("file = \"", "file = \"../");
    fs::write(&path, elsewhere).unwrap();
    assert!(refusal(&folder).contains("file: is \"../calibration-"));
}

#[test]
fn another_model_in_its_place_is_not_given_this_calibration() {
    let (_room, folder, mut bundle) = calibrated(&[1.0, 2.0, 3.0]);
    let mut other = writer();
    other.files.insert("decoder.onnx".into(), b"other".to_vec());
    other.finish().unwrap().save(&folder).unwrap();
    let refused = bundle.save_calibration(calibration(&[4.0, 5.0, 6.0]));
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("another program"), "{error}");
    Bundle::open(&folder).unwrap();
}
