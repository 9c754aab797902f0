use edge_vae::scoring::Aggregation;

use super::{
    ImageRow, Label, SelectionParams,
    image::{Separation, preferred, separation},
};

fn both(auroc: f64) -> Separation {
    Separation {
        auroc,
        partial: auroc,
    }
}

/// Image scores by AUROC of defects and of shapes, in the order of preference.
fn rows(parts: &[(f64, f64)]) -> Vec<ImageRow> {
    let row = |(candidate, &(defects, shapes)): (usize, &(f64, f64))| ImageRow {
        name: String::new(),
        candidate,
        smoothing: 0.0,
        standardised: false,
        aggregation: Aggregation::Maximum,
        all: both(0.5 * (defects + shapes)),
        defects: both(defects),
        shapes: Some(both(shapes)),
        penalty: 0.0,
        selected: false,
    };
    parts.iter().enumerate().map(row).collect()
}

fn selected(rows: &[ImageRow]) -> Option<usize> {
    preferred(rows, &SelectionParams::default())
}

#[test]
fn shapes_come_before_flaws_where_there_are_shapes() {
    // Digits: the first separates shapes, the second flaws.
    let mut digits = rows(&[(0.55, 0.95), (0.77, 0.91), (0.6, 0.7)]);
    assert_eq!(selected(&digits), Some(0));
    digits.iter_mut().for_each(|row| row.shapes = None);
    assert_eq!(selected(&digits), Some(1));
    // Registered parts: all separate shapes, so that flaws decide.
    let parts = rows(&[(0.55, 0.995), (0.9, 0.999), (0.95, 0.93)]);
    assert_eq!(selected(&parts), Some(1));
    // Of two alike the first is preferred.
    assert_eq!(selected(&rows(&[(0.895, 0.9), (0.9, 0.9)])), Some(0));
    assert_eq!(selected(&rows(&[(0.88, 0.9), (0.9, 0.9)])), Some(1));
    assert_eq!(selected(&[]), None);
}

/// What is found at few false alarms counts as much as the rest.
#[test]
fn detection_at_few_false_alarms_counts() {
    let mut found = rows(&[(0.9, 0.5), (0.92, 0.5)]);
    assert_eq!(selected(&found), Some(1));
    found[0].defects.partial = 0.94;
    assert_eq!(selected(&found), Some(0));
}

/// As of a network that has seen such defects in training.
#[test]
fn synthetic_training_is_penalised() {
    let mut found = rows(&[(0.86, 0.5), (0.9, 0.5)]);
    assert_eq!(selected(&found), Some(1));
    found[1].penalty = SelectionParams::default().synthetic_training_penalty;
    assert_eq!(selected(&found), Some(0));
    found[1].defects = both(0.94);
    assert_eq!(selected(&found), Some(1));
}

#[test]
fn only_wanted_anomalies_are_set_against_normal_samples() {
    let labels = [
        Label::Normal,
        Label::Normal,
        Label::Defect(Vec::new()),
        Label::Shape,
    ];
    let params = SelectionParams::default();
    let of = |wanted| separation(&[1.0, 2.0, 1.5, 3.0], labels.iter(), wanted, &params).auroc;
    assert_eq!(of(Label::is_defect), 0.5);
    assert_eq!(of(Label::is_shape), 1.0);
    assert_eq!(of(Label::is_anomalous), 0.75);
}
