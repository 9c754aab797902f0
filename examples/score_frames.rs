//! Judges picture files: `cargo run --release --example score_frames -- MODEL FRAMES…`

use std::path::Path;

use edge_vae::{Detector, DetectorOptions, Error, Frame};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "models/surface".into());
    let mut detector = Detector::open(Path::new(&model), &DetectorOptions::default())?;
    eprintln!("{} on {}", detector.model_id(), detector.description());
    for path in arguments {
        let detection = detector.score(&Frame::open(Path::new(&path))?)?;
        let verdict = &detection.verdict;
        println!(
            "{path}: {:?}, score {:?}, {} regions, {:.1?}",
            verdict.label,
            verdict.score,
            verdict.regions.len(),
            detection.latency.total
        );
    }
    Ok(())
}
