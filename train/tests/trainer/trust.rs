//! Models that are signed or sealed, where the trainer opens them.

use std::fs;

use edge_vae::{
    bundle::Bundle,
    trust::{
        Annotations, SealFor, SigningKey, generate_identity, seal, sign_calibration, sign_model,
        write_signatures,
    },
};

use super::{Scratch, assert_fails, stderr};

#[test]
fn preview_and_review_open_only_what_the_machine_believes() {
    let scratch = Scratch::new();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/digits28");
    let model = scratch.path("model");
    Bundle::open(shipped.as_ref())
        .unwrap()
        .save(&model)
        .unwrap();
    let key = SigningKey::generate();
    key.write(&scratch.path("trust.d/trainer")).unwrap_err();
    fs::create_dir(scratch.path("trust.d")).unwrap();
    key.write(&scratch.path("trainer")).unwrap();
    let verbs = [
        &[
            "preview", "frames", "--out", "seen", "--count", "1", "--model",
        ][..],
        &[
            "review",
            "frames",
            "--out",
            "page.html",
            "--count",
            "1",
            "--model",
        ],
    ];
    let run = |verb: &[&str], more: &[&str]| {
        let mut command = scratch.command(&[verb, more].concat());
        command
            .env("EDGE_VAE_TRUST_D", scratch.path("trust.d"))
            .env("XDG_STATE_HOME", scratch.path("state"));
        command.output().unwrap()
    };
    let required = ["model", "--require-signature", "trainer.pub"];
    for verb in verbs {
        assert_fails(&run(verb, &required), &["model.sig: is not signed"]);
    }
    let mut bundle = Bundle::open(&model).unwrap();
    sign_model(&mut bundle, &key, Annotations::default()).unwrap();
    sign_calibration(&mut bundle, &key, Annotations::default()).unwrap();
    write_signatures(&bundle).unwrap();
    // By the machine's keys, without a flag.
    fs::copy(
        scratch.path("trainer.pub"),
        scratch.path("trust.d/trainer.pub"),
    )
    .unwrap();
    for verb in verbs {
        for arguments in [&required[..], &["model"]] {
            let ran = run(verb, arguments);
            assert!(ran.status.success(), "{}", stderr(&ran));
        }
        let other = ["model", "--allow-model", "screw"];
        assert_fails(&run(verb, &other), &["allowed here: screw"]);
    }
    let sealed = scratch.path("sealed");
    let device = generate_identity(&scratch.path("box")).unwrap();
    let recipient = device.public.parse().unwrap();
    seal(&bundle, &SealFor::Recipients(vec![recipient]), &sealed).unwrap();
    let encoder = model.join("encoder.onnx");
    let mut bytes = fs::read(&encoder).unwrap();
    bytes[40] ^= 1;
    fs::write(&encoder, bytes).unwrap();
    for verb in verbs {
        assert_fails(&run(verb, &["model"]), &["encoder.onnx: SHA-256 is"]);
        assert_fails(&run(verb, &["sealed"]), &["is sealed, and there is no key"]);
        let ran = run(verb, &["sealed", "--identity", "box.identity"]);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
}
