//! What the guides quote is what the program says and takes.

use std::{fs, path::Path};

use walkdir::WalkDir;

use crate::test_dir::TestDir;

fn guide(name: &str) -> String {
    let guides = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    fs::read_to_string(guides.join(name)).unwrap()
}

/// All source text, with literals that go on in the next line joined.
fn sources() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = String::new();
    for entry in WalkDir::new(folder) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|end| end == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    let mut joined = String::new();
    for piece in text.split("\\\n") {
        joined += piece.trim_start();
    }
    joined
}

#[test]
fn messages_in_troubleshooting_are_those_of_the_program() {
    let guide = guide("troubleshooting.md");
    let headings = guide.lines().filter_map(|line| line.strip_prefix("### `"));
    let quoted: Vec<&str> = headings
        .map(|rest| rest.split('`').next().unwrap())
        .collect();
    assert!(quoted.len() > 25, "{quoted:?}");
    let sources = sources();
    // Put together from two words.
    let said = |text: &str| text == "the frame is black" || sources.contains(text);
    let gone: Vec<&&str> = quoted.iter().filter(|text| !said(text)).collect();
    assert!(gone.is_empty(), "the program does not say {gone:?}");
}

#[cfg(all(feature = "watch", unix))]
#[test]
fn recipes_for_cameras_are_configurations_that_are_accepted() {
    let guide = guide("cameras.md");
    let dir = TestDir::new();
    // Where recipes name programs that the machine of the tests may lack, the check does not
    // look for them.
    let recipes = guide.split("```toml\n").skip(1);
    let mut count = 0;
    for recipe in recipes.map(|rest| rest.split("```").next().unwrap()) {
        dir.write("edge-vae.toml", recipe);
        let ran = dir.verb("watch", &["--check"]);
        ran.is_fine();
        assert!(
            ran.stdout.contains("source       gate: "),
            "{recipe}\n{ran:?}"
        );
        count += 1;
    }
    assert!(count >= 10, "{count}");
}
