//! Signed bundles under attack. No graph is run here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    bundle::{Bundle, BundleWriter, Golden, ModelCard},
    calibration::Calibration,
    preprocess::{Colour, PreprocessSettings},
    scoring::{Aggregation, ScoreSource, Scoring},
    vae::{Latent, Likelihood, VaeSpec},
};

/// A model whose graphs are arbitrary bytes: opening does not parse them.
fn bundle(encoder: &[u8]) -> Bundle {
    let scores = vec![1.0, 2.0, 3.0];
    BundleWriter {
        name: "tiny".into(),
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
        scoring: Some(Scoring::of_one(
            "residual",
            ScoreSource::Residual,
            0.0,
            None,
            Aggregation::Maximum,
        )),
        calibration: Some(Calibration::fit(scores.clone(), scores, 0.3).unwrap()),
        synthetic_defects: None,
        golden: Golden {
            frame: "golden.png".into(),
            expected: "golden.npz".into(),
            score: Some(1.0),
            tolerance: 1e-4,
            map_tolerance: 1e-2,
        },
        card: ModelCard::default(),
        files: [
            ("encoder.onnx", encoder),
            ("decoder.onnx", b"decoder"),
            ("golden.png", b"png"),
            ("golden.npz", b"npz"),
        ]
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
        .collect::<BTreeMap<_, _>>(),
    }
    .finish()
    .unwrap()
}

/// A signed bundle in a folder, and the policy that believes its key.
fn signed() -> (tempfile::TempDir, PathBuf, TrustPolicy) {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("tiny");
    let key = SigningKey::generate();
    let mut bundle = bundle(b"encoder");
    sign_model(&mut bundle, &key, Annotations::default()).unwrap();
    sign_calibration(&mut bundle, &key, Annotations::default()).unwrap();
    bundle.save(&folder).unwrap();
    let policy = TrustPolicy::of_keys(&[key.public()], &[], &TrustSettings::default());
    (room, folder, policy)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

#[test]
fn every_single_bit_that_is_flipped_is_refused() {
    let (_room, folder, policy) = signed();
    open(&folder, &policy).unwrap();
    let copies: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let tried: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = copies
            .iter()
            .enumerate()
            .map(|(share, copy)| {
                let (folder, policy, shares) = (&folder, &policy, copies.len());
                scope.spawn(move || flip_all(folder, copy.path(), policy, share, shares))
            })
            .collect();
        let tried = threads.into_iter().map(|thread| thread.join().unwrap());
        tried.collect()
    });
    // Manifest, five files, calibration and two signatures.
    assert!(tried.iter().sum::<usize>() > 20_000, "{tried:?}");
}

/// Flips the bits of one of `shares` parts of every file, one at a time; gives their number.
fn flip_all(
    folder: &Path,
    copy: &Path,
    policy: &TrustPolicy,
    share: usize,
    shares: usize,
) -> usize {
    fs::create_dir(copy.join("calibration")).unwrap();
    let names = files(folder);
    for name in &names {
        fs::copy(name, copy.join(name.strip_prefix(folder).unwrap())).unwrap();
    }
    let mut tried = 0;
    for name in &names {
        let name = name.strip_prefix(folder).unwrap();
        let mut bytes = fs::read(copy.join(name)).unwrap();
        for bit in (share..bytes.len() * 8).step_by(shares) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(copy.join(name), &bytes).unwrap();
            assert!(
                open(copy, policy).is_err(),
                "bit {bit} of {} may be flipped",
                name.display()
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
            tried += 1;
        }
        fs::write(copy.join(name), &bytes).unwrap();
    }
    open(copy, policy).unwrap();
    tried
}

#[test]
fn sampled_bits_of_a_large_bundle_are_refused() {
    let (_room, folder, policy) = signed();
    let mut large = bundle(&vec![7; 40_000]);
    let key = SigningKey::generate();
    sign_model(&mut large, &key, Annotations::default()).unwrap();
    sign_calibration(&mut large, &key, Annotations::default()).unwrap();
    large.save(&folder).unwrap();
    assert!(open(&folder, &policy).is_err(), "another key");
    let policy = TrustPolicy::of_keys(&[key.public()], &[], &TrustSettings::default());
    open(&folder, &policy).unwrap();
    let path = folder.join("encoder.onnx");
    let mut bytes = fs::read(&path).unwrap();
    for sample in 0..10_000_usize {
        // A prime apart, so that no byte comes twice before all have come.
        let bit = sample * 7919 % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        assert!(open(&folder, &policy).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

/// The shipped model of 9 MB: each flip is followed by reading and hashing all of it.
#[test]
#[ignore = "takes minutes: cargo test --release -- --ignored sampled_bits_of_the_shipped_model"]
fn sampled_bits_of_the_shipped_model_are_refused() {
    let key = SigningKey::generate();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/surface");
    let mut model = Bundle::open(&shipped).unwrap();
    sign_model(&mut model, &key, Annotations::default()).unwrap();
    sign_calibration(&mut model, &key, Annotations::default()).unwrap();
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("surface");
    model.save(&folder).unwrap();
    let policy = TrustPolicy::of_keys(&[key.public()], &[], &TrustSettings::default());
    open(&folder, &policy).unwrap();
    let sizes: Vec<(PathBuf, usize)> = files(&folder)
        .into_iter()
        .map(|file| {
            let size = fs::metadata(&file).unwrap().len() as usize;
            (file, size)
        })
        .collect();
    let all: usize = sizes.iter().map(|(_, size)| size).sum();
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for sample in 0..10_000_usize {
        // Spread over all bytes of all files.
        let mut byte = (sample * 982_451_653) % all;
        let (file, _) = sizes
            .iter()
            .find(|(_, size)| {
                let here = byte < *size;
                byte -= if here { 0 } else { *size };
                here
            })
            .unwrap();
        let good = fs::read(file).unwrap();
        let mut bytes = good.clone();
        bytes[byte] ^= 1 << (sample % 8);
        fs::write(file, &bytes).unwrap();
        let error = open(&folder, &policy)
            .expect_err("a flipped bit")
            .to_string();
        let word = error.split_once(": ").map_or(&*error, |(_, word)| word);
        let word = word.split([',', '`']).next().unwrap_or_default();
        let word = word.trim_end_matches(|c: char| c.is_ascii_hexdigit());
        *words.entry(word.to_owned()).or_default() += 1;
        fs::write(file, good).unwrap();
    }
    open(&folder, &policy).unwrap();
    eprintln!("{words:#?}");
    assert_eq!(words.values().sum::<usize>(), 10_000);
}

#[test]
fn signatures_survive_what_does_not_change_what_they_are_of() {
    let (room, folder, policy) = signed();
    // Another folder, byte by byte the same.
    let copy = room.path().join("copy");
    Bundle::open(&folder).unwrap().save(&copy).unwrap();
    open(&copy, &policy).unwrap();
    // A calibration of the box: the model's signature stays, that of the calibration goes.
    let mut recalibrated = Bundle::open(&folder).unwrap();
    let scores = vec![4.0, 5.0, 6.0];
    let calibration = Calibration::fit(scores.clone(), scores, 0.3).unwrap();
    recalibrated.save_calibration(calibration).unwrap();
    let refused = open(&folder, &policy).unwrap_err();
    assert!(
        matches!(refused, TrustError::CalibrationNotSigned { .. }),
        "{refused}"
    );
    let line = SigningKey::generate();
    sign_calibration(&mut recalibrated, &line, Annotations::default()).unwrap();
    write_signatures(&recalibrated).unwrap();
    let refused = open(&folder, &policy).unwrap_err();
    assert!(matches!(refused, TrustError::OtherKey { .. }), "{refused}");
    let both = TrustPolicy::of_keys(
        &policy.model_keys,
        &[line.public()],
        &TrustSettings::default(),
    );
    let opened = open(&folder, &both).unwrap();
    assert_eq!(opened.calibration.unwrap().key, line.public());
    // A key for calibrations signs no model.
    let swapped = TrustPolicy::of_keys(
        &[line.public()],
        &policy.model_keys,
        &TrustSettings::default(),
    );
    let refused = open(&folder, &swapped).unwrap_err();
    assert!(
        matches!(refused, TrustError::OtherKey { what: "models", .. }),
        "{refused}"
    );
}

#[test]
fn a_signed_calibration_is_for_one_model() {
    let (_room, folder, policy) = signed();
    // The same weights, and another manifest: the id is the same.
    let mut other = bundle(b"encoder");
    other.manifest_mut().card.seed = 9;
    let key = SigningKey::generate();
    sign_model(&mut other, &key, Annotations::default()).unwrap();
    sign_calibration(&mut other, &key, Annotations::default()).unwrap();
    let theirs = tempfile::tempdir().unwrap();
    other.save(theirs.path()).unwrap();
    let settings = TrustSettings::default();
    let both = [policy.model_keys.as_slice(), &[key.public()]].concat();
    let policy = TrustPolicy::of_keys(&both, &[], &settings);
    open(&folder, &policy).unwrap();
    open(theirs.path(), &policy).unwrap();
    for from in files(&theirs.path().join("calibration")) {
        fs::copy(
            &from,
            folder.join("calibration").join(from.file_name().unwrap()),
        )
        .unwrap();
    }
    let refused = open(&folder, &policy).unwrap_err();
    assert!(
        matches!(refused, TrustError::OtherModel { .. }),
        "{refused}"
    );
}

/// Vectors of the specification, where `EDGE_VAE_OMS_VECTORS` names a clone of
/// `ossf/model-signing-spec`: the key is that of `sigstore/model-transparency`.
#[test]
fn the_vectors_of_the_specification() {
    let (Some(vectors), Some(key)) = (
        std::env::var_os("EDGE_VAE_OMS_VECTORS"),
        std::env::var_os("EDGE_VAE_OMS_KEY"),
    ) else {
        eprintln!("skipped: EDGE_VAE_OMS_VECTORS and EDGE_VAE_OMS_KEY name no vectors");
        return;
    };
    let keys = [PublicKey::read(Path::new(&key)).unwrap()];
    let vectors = Path::new(&vectors);
    let verify = |name: &str| {
        let path = vectors.join(name);
        let (payload, _) = envelope::verify(&fs::read(&path).unwrap(), &keys, "models", &path)?;
        SignedContent::from_json(&payload, &path)
    };
    let content = verify("valid/key.bundle.json").unwrap();
    assert!(content.files.contains_key("signme-1"));
    for folder in ["invalid", "invalid-payload"] {
        for path in files(&vectors.join(folder)) {
            let name = path
                .strip_prefix(vectors)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let refused = verify(&name).unwrap_err();
            println!("{name}: {refused}");
        }
    }
}
