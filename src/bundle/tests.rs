//! Bundles on disk: whole, damaged and hostile. No graph is run here.

mod replacement;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    preprocess::{Colour, PreprocessSettings},
    vae::{Latent, Likelihood, VaeSpec},
};

/// A reconstruct-only model whose graphs are arbitrary bytes: opening does not parse them.
fn writer() -> BundleWriter {
    BundleWriter {
        name: "tiny-model".into(),
        preprocess: PreprocessSettings::new(4, 2, Colour::Grey),
        vae: Some(VaeSpec {
            channels: 1,
            height: 2,
            width: 4,
            latent: Latent::Vector { length: 3 },
            likelihood: Likelihood::Gaussian { sigma: 0.1 },
        }),
        feature_extractor: None,
        graphs: Vec::new(),
        scoring: None,
        calibration: None,
        synthetic_defects: None,
        golden: Golden {
            frame: "golden.png".into(),
            expected: "golden.npz".into(),
            score: None,
            tolerance: 1e-4,
            map_tolerance: 1e-2,
        },
        card: ModelCard {
            dataset: "drawn \"by hand\"".into(),
            seed: 7,
            seconds: 1.5,
            figures: BTreeMap::from([("elbo".to_owned(), -86.8)]),
            ..ModelCard::default()
        },
        files: [
            ("encoder.onnx", &b"abc"[..]),
            ("decoder.onnx", b"decoder"),
            ("golden.png", b"png"),
            ("golden.npz", b"npz"),
        ]
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
        .collect(),
    }
}

fn saved() -> (tempfile::TempDir, PathBuf) {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("models").join("tiny");
    writer().finish().unwrap().save(&folder).unwrap();
    (room, folder)
}

fn refusal(folder: &Path) -> String {
    let message = Bundle::open(folder)
        .expect_err("the bundle opens")
        .to_string();
    assert!(!message.contains('\n'), "not one line: {message:?}");
    message
}

/// The refusal of a bundle whose manifest has `from` replaced by `to`.
fn refusal_with(from: &str, to: &str) -> String {
    let (_room, folder) = saved();
    let path = folder.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    refusal(&folder)
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_read() {
    let (room, folder) = saved();
    let bundle = Bundle::open(&folder).unwrap();
    assert_eq!(bundle.path(), folder);
    assert_eq!(bundle.file("encoder.onnx"), Some(&b"abc"[..]));
    assert_eq!(bundle.file("nothing"), None);
    assert_eq!(bundle.manifest().card, writer().card);
    assert_eq!(bundle.manifest().vae, writer().vae);
    assert_eq!(bundle.manifest().preprocess, writer().preprocess);
    assert_eq!(bundle.manifest().golden, writer().golden);
    // FIPS 180-2, the digest of "abc".
    assert_eq!(
        bundle.manifest().files["encoder.onnx"].sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    // printf abcdecoder | sha256sum
    assert_eq!(bundle.model_id(), "tiny-model-0c83683a");
    assert_eq!(bundle.manifest().model_name(), "tiny-model");
    assert_eq!(entries(&room.path().join("models")), ["tiny"]);
}

#[test]
fn the_manifest_is_plain_toml() {
    let (_room, folder) = saved();
    let text = fs::read_to_string(folder.join(MANIFEST)).unwrap();
    for line in [
        "schema_version = 3",
        "[preprocess]",
        "colour = \"grey\"",
        "[vae]",
        "latent = { kind = \"vector\", length = 3 }",
        "map-tolerance = 0.01",
        "figures = { elbo = -86.8 }",
        "[files]",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line:?} in\n{text}"
        );
    }
}

#[test]
fn damaged_files_are_named() {
    let (_room, folder) = saved();
    let file = folder.join("decoder.onnx");
    for (bytes, part) in [
        (&b"decodeR"[..], "SHA-256 is"),
        (b"decode", "has 6 bytes, the manifest says 7"),
        (
            b"decoder, and more of it",
            "has 23 bytes, the manifest says 7",
        ),
        (b"", "has 0 bytes"),
    ] {
        fs::write(&file, bytes).unwrap();
        let message = refusal(&folder);
        assert!(message.contains(part), "{message}");
        assert!(message.contains("decoder.onnx: "), "{message}");
    }
    fs::remove_file(&file).unwrap();
    assert!(refusal(&folder).contains("decoder.onnx: missing"));
    fs::create_dir(&file).unwrap();
    assert!(refusal(&folder).contains("is a folder, not a plain file"));
}

#[test]
fn no_bundle_is_said() {
    let (room, folder) = saved();
    assert!(refusal(&room.path().join("nowhere")).contains("no such folder"));
    assert!(refusal(&folder.join("encoder.onnx")).contains("is not a folder"));
    assert!(refusal(&folder.join(MANIFEST)).contains("give the folder"));
    assert!(refusal(room.path()).contains("holds no manifest.toml"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_inside_the_bundle() {
    use std::os::unix::fs::symlink;
    let (_room, folder) = saved();
    let golden = folder.join("golden.png");
    // As Kubernetes mounts files: a link over a folder that is itself a link.
    fs::create_dir(folder.join("..v1")).unwrap();
    fs::rename(&golden, folder.join("..v1/golden.png")).unwrap();
    symlink("..v1", folder.join("..data")).unwrap();
    symlink("..data/golden.png", &golden).unwrap();
    Bundle::open(&folder).unwrap();
    // What a link leads to is checked as any file.
    fs::write(folder.join("..v1/golden.png"), b"other").unwrap();
    assert!(refusal(&folder).contains("golden.png: has 5 bytes"));
    for (target, words) in [
        (
            "nowhere",
            "golden.png: is a symbolic link that leads nowhere",
        ),
        ("..v1", "golden.png: is a folder"),
        ("../outside", "outside the bundle"),
    ] {
        fs::write(folder.with_file_name("outside"), b"").unwrap();
        fs::remove_file(&golden).unwrap();
        symlink(target, &golden).unwrap();
        let said = refusal(&folder);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn the_schema_is_looked_at_first() {
    // A key that only schema 7 has must not be what is complained about.
    let message = refusal_with("schema_version = 3", "schema_version = 7\nnew = 1");
    assert!(
        message.ends_with("schema 7 is newer than this program reads (3): update edge-vae"),
        "{message}"
    );
    assert!(refusal_with("schema_version = 3", "schema_version = 0").contains("no schema 0"));
    let message = refusal_with("schema_version = 3", "schema_version = 1");
    assert!(message.contains("schema 1 is older"), "{message}");
    assert!(message.contains("train the model again"), "{message}");
    assert!(refusal_with("schema_version = 3\n", "").contains("schema_version"));
    assert!(refusal_with("schema_version = 3", "schema_version = \"1\"").contains(":1: "));
}

#[test]
fn hostile_manifests_are_refused() {
    for (from, to, part) in [
        (
            "width = 4",
            "width = 4294967296",
            "preprocess.width: is 4294967296",
        ),
        ("width = 4", "width = -1", "invalid value"),
        ("width = 4", "width = 99999999999999999999", ":"),
        ("width = 4", "width = 4.5", "invalid type"),
        ("width = 4", "width = 5", "its input is [1, 2, 4]"),
        ("length = 3", "length = 0", "vae.latent: is [0]"),
        ("length = 3", "length = 9000000000000000000", "vae.latent"),
        ("sigma = 0.1", "sigma = nan", "vae.likelihood.sigma: is NaN"),
        ("sigma = 0.1", "sigma = -0.1", "vae.likelihood.sigma"),
        ("sigma = 0.1", "sigma = inf", "vae.likelihood.sigma"),
        (
            "\ntolerance = 0.0001",
            "\ntolerance = 1e9",
            "golden.tolerance",
        ),
        (
            "\ntolerance = 0.0001",
            "\ntolerance = nan",
            "golden.tolerance",
        ),
        (
            "map-tolerance = 0.01",
            "map-tolerance = 0.0",
            "golden.map-tolerance",
        ),
        (
            "elbo = -86.8",
            "elbo = nan",
            "card.figures.\"elbo\": is NaN",
        ),
        ("seconds = 1.5", "seconds = -1.0", "card.seconds"),
        ("seed = 7", "sead = 7", "unknown field `sead`"),
        ("seed = 7\n", "", "missing field `seed`"),
        ("mean = [0.0]", "mean = [0.0, 0.0]", "preprocess"),
        ("std = [1.0]", "std = [0.0]", "preprocess"),
        (
            "frame = \"golden.png\"",
            "frame = \"other.png\"",
            "golden.frame: `other.png` is not listed",
        ),
        (
            "\n\"encoder.onnx\" =",
            "\n\"other.onnx\" =",
            "`encoder.onnx` is not listed",
        ),
        (
            "\n\"golden.png\" =",
            "\n\"../golden.png\" =",
            "not a plain file name",
        ),
        (
            "\n\"golden.png\" =",
            "\n\"/etc/passwd\" =",
            "not a plain file name",
        ),
        (
            "\n\"golden.png\" =",
            "\n\"a\\\\b\" =",
            "not a plain file name",
        ),
        ("\n\"golden.png\" =", "\n\"..\" =", "not a plain file name"),
        ("\n\"golden.png\" =", "\n\"\" =", "not a plain file name"),
        (
            "\n\"golden.png\" =",
            "\n\"a\\u0000\\nb\" =",
            "not a plain file name",
        ),
        (
            "\n\"golden.png\" =",
            "\n\"Manifest.TOML\" =",
            "can't list itself",
        ),
        ("bytes = 3", "bytes = 9223372036854775807", "files: have"),
        ("sha256 = \"ba78", "sha256 = \"BA78", "64 lower-case"),
        (
            "model_id = \"tiny-model-",
            "model_id = \"tiny\\nmodel-",
            "model_id: is `tiny?model-",
        ),
        ("[golden]", "[golden", "manifest.toml:"),
        (
            "[golden]",
            "[golden]\nscore = 1.0",
            "golden.score: is given",
        ),
    ] {
        let message = refusal_with(from, to);
        assert!(message.contains(part), "{to:?} gave {message:?}");
        assert!(message.contains("manifest.toml:"), "{message:?}");
    }
    let nested = format!("x = {}", "[".repeat(100_000));
    assert!(refusal_with("schema_version = 3", &nested).contains("manifest.toml:1:"));
}

#[test]
fn syntax_errors_have_their_line() {
    let message = refusal_with("[preprocess]\n", "[preprocess]\n= 1\n");
    // schema_version, model_id, an empty line, [preprocess], then the error.
    assert!(message.contains("manifest.toml:5: "), "{message}");
}

#[test]
fn the_id_names_the_weights() {
    let message = refusal_with(
        "model_id = \"tiny-model-",
        "model_id = \"tiny-model-0123abcd\" #",
    );
    assert!(
        message.contains("SHA-256 of its weights begins with"),
        "{message}"
    );
    let mut other = writer();
    other
        .files
        .insert("decoder.onnx".into(), b"Decoder".to_vec());
    let id = |writer: BundleWriter| writer.finish().unwrap().model_id().to_owned();
    assert_ne!(id(other), id(writer()));
    let mut golden = writer();
    golden.files.insert("golden.png".into(), b"PNG".to_vec());
    assert_eq!(id(golden), id(writer()));
}

#[test]
fn a_manifest_that_is_no_text_is_refused() {
    let (_room, folder) = saved();
    fs::write(folder.join(MANIFEST), [0xff, 0xfe, 0]).unwrap();
    assert!(refusal(&folder).contains("is not text"));
}

#[test]
fn writer_refuses_what_opening_would() {
    let refused = |change: fn(&mut BundleWriter)| {
        let mut writer = writer();
        change(&mut writer);
        writer.finish().unwrap_err().to_string()
    };
    assert!(refused(|w| w.name = "a/b".into()).contains("model_id"));
    assert!(refused(|w| w.name = String::new()).contains("model_id"));
    assert!(refused(|w| w.card.seconds = f64::NAN).contains("card.seconds"));
    assert!(refused(|w| drop(w.files.remove("golden.npz"))).contains("golden.npz"));
    assert!(refused(|w| drop(w.files.insert("../x".into(), vec![]))).contains("plain"));
}

#[test]
fn the_largest_seed_survives() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("tiny");
    let mut writer = writer();
    writer.card.seed = u64::MAX;
    writer.finish().unwrap().save(&folder).unwrap();
    assert_eq!(
        Bundle::open(&folder).unwrap().manifest().card.seed,
        u64::MAX
    );
}

#[test]
fn a_mask_belongs_to_the_bundle() {
    let mut writer = writer();
    writer.preprocess.mask = Some("mask.png".into());
    let message = writer.clone().finish().unwrap_err().to_string();
    assert!(
        message.ends_with("preprocess.mask: `mask.png` is not listed under [files]"),
        "{message}"
    );
    let mut id = |mask: &[u8]| {
        writer.files.insert("mask.png".into(), mask.to_vec());
        let bundle = writer.clone().finish().unwrap();
        let problem = crate::runtime::load_preprocessor(&bundle).map(|_| ());
        (bundle.model_id().to_owned(), problem)
    };
    let (first, problem) = id(b"no picture");
    let problem = problem.unwrap_err().to_string();
    assert!(problem.starts_with("mask.png: is no PNG"), "{problem}");
    let mut png = std::io::Cursor::new(Vec::new());
    let white = image::GrayImage::from_pixel(2, 2, image::Luma([255]));
    white.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let (second, problem) = id(png.get_ref());
    problem.unwrap();
    // Another mask gives other scores, so it is another model.
    assert_ne!(first, second);
}
