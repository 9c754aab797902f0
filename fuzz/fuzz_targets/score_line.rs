#![no_main]

// It belongs to the program, not to the library.
#[path = "../../src/cli/calibrate/score_line.rs"]
mod score_line;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(line) = score_line::ScoreLine::parse(bytes, 1) {
        let numbers = [line.pred_score, line.map_max];
        assert!(numbers.into_iter().flatten().all(f64::is_finite));
        assert!(line.pred_label == edge_vae::runtime::Label::Invalid || !numbers.contains(&None));
        let _ = (line.model_id, line.path, line.accepted);
    }
});
