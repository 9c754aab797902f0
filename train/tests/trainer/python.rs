//! An exported bundle in the hands of stock Python: ONNX's own checker, stock ONNX Runtime, and
//! the formula of `docs/reference/bundle.md`, whose very text is run here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Scratch, fit, stderr};

/// A Python with onnx, onnxruntime, numpy, scipy and pillow.
fn python() -> Option<String> {
    let python = std::env::var("EDGE_VAE_PYTHON").ok();
    if python.is_none() {
        eprintln!(
            "SKIPPED: EDGE_VAE_PYTHON names no Python with onnx, onnxruntime, numpy, scipy, pillow"
        );
    }
    python
}

fn run(python: &str, script: &str, arguments: &[&Path]) -> String {
    let output = Command::new(python)
        .arg("-c")
        .arg(script)
        .args(arguments)
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn python_checks_the_graphs_and_computes_the_same_score() {
    let Some(python) = python() else { return };
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/bundle.md");
    let document = fs::read_to_string(document).expect("docs/reference/bundle.md");
    let program = document
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a Python program in docs/reference/bundle.md");

    let scratch = Scratch::new();
    let variants: [(&str, &[&str]); 5] = [
        ("learned", &[]),
        (
            "bernoulli",
            &["--likelihood", "bernoulli", "--golden", "glyph"],
        ),
        ("prototypes", &["--score", "features", "--colour", "rgb"]),
        ("without", &["--score", "features", "--vae", "off"]),
        (
            "map",
            &[
                "--latent",
                "map:6",
                "--likelihood",
                "gaussian:0.5",
                "--colour",
                "rgb",
            ],
        ),
    ];
    for (name, flags) in variants {
        let trained = scratch.train(&fit(name, flags));
        assert!(trained.status.success(), "{}", stderr(&trained));
        let bundle = scratch.path(name);
        let check = "import onnx, sys\n\
            for path in sys.argv[1:]:\n    \
                model = onnx.load(path)\n    \
                onnx.checker.check_model(model, full_check=True)\n    \
                assert model.opset_import[0].version == 17\n    \
                keys = {p.key for p in model.metadata_props}\n    \
                assert keys >= {'edge_vae.model', 'edge_vae.graph'}\n    \
                print(model.graph.name)";
        let graphs = ["encoder", "decoder", "features"];
        let written: Vec<(&str, PathBuf)> = graphs
            .into_iter()
            .map(|graph| (graph, bundle.join(format!("{graph}.onnx"))))
            .filter(|(_, file)| file.exists())
            .collect();
        assert!(name != "prototypes" || written.len() == 3);
        let files: Vec<&Path> = written.iter().map(|(_, file)| file.as_path()).collect();
        let names = written.iter().map(|(graph, _)| format!("{graph}\n"));
        assert_eq!(run(&python, check, &files), names.collect::<String>());
        same_score(&python, program, &bundle);
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    for model in fs::read_dir(models).expect("the shipped models") {
        let model = model.expect("a shipped model").path();
        if model.is_dir() {
            same_score(&python, program, &model);
        }
    }
}

/// Runs the documented program, which prints its own score and the stored one.
fn same_score(python: &str, program: &str, bundle: &Path) {
    let printed = run(python, program, &[bundle]);
    let line = printed.lines().next().unwrap_or_default();
    let numbers: Vec<f64> = line
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    let [computed, stored] = numbers[..] else {
        panic!("two scores expected in {line:?}");
    };
    let difference = (computed - stored).abs() / stored.abs().max(1.0);
    assert!(difference < 1e-3, "{}: {line}", bundle.display());
}
