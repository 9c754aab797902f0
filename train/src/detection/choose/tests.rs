use super::*;

/// Candidates by AUROC of defects and of shapes.
fn bests(parts: &[(f64, f64)]) -> Vec<Best> {
    let best = |(field, &(of_defects, of_shapes)): (usize, &(f64, f64))| Best {
        field,
        smoothing: 0,
        standardised: false,
        aggregation: Aggregation::Maximum,
        auroc: 0.5 * (of_defects + of_shapes),
        of_defects,
        of_shapes: Some(of_shapes),
        practised: false,
        source: ScoreSource::Residual,
        gaussians: None,
    };
    parts.iter().enumerate().map(best).collect()
}

#[test]
fn shapes_come_before_flaws_where_there_are_shapes() {
    // Digits: the first tells shapes, the second flaws.
    let digits = bests(&[(0.55, 0.95), (0.77, 0.91), (0.6, 0.7)]);
    assert_eq!(preferred(&digits, true), Some(0));
    assert_eq!(preferred(&digits, false), Some(1));
    // Registered parts: all tell shapes, so that flaws decide.
    let parts = bests(&[(0.55, 0.995), (0.9, 0.999), (0.95, 0.93)]);
    assert_eq!(preferred(&parts, true), Some(1));
    // Surfaces have no shape.
    let surfaces = bests(&[(0.7, 0.6), (0.9, 0.52)]);
    assert_eq!(preferred(&surfaces, true), Some(1));
    // Of two alike the first is preferred.
    let alike = bests(&[(0.895, 0.9), (0.9, 0.9)]);
    assert_eq!(preferred(&alike, true), Some(0));
    // How much alike they have to be depends on what the best lacks.
    assert_eq!(
        preferred(&bests(&[(0.915, 0.5), (0.93, 0.5)]), false),
        Some(0)
    );
    assert_eq!(
        preferred(&bests(&[(0.976, 0.5), (0.992, 0.5)]), false),
        Some(1)
    );
    assert_eq!(preferred(&[], true), None);
}

/// As of a network that has seen such defects in training.
#[test]
fn practice_does_not_count() {
    let mut found = bests(&[(0.86, 0.5), (0.9, 0.5)]);
    assert_eq!(preferred(&found, false), Some(1));
    found[1].practised = true;
    assert_eq!(preferred(&found, false), Some(0));
    found[1].of_defects = 0.94;
    assert_eq!(preferred(&found, false), Some(1));
}

/// Candidates as of a second network: features and details, in place and anywhere.
#[test]
fn features_and_details_say_together_where_things_lie() {
    let of = |parts: [f64; 4]| {
        let mut found = bests(&parts.map(|of_defects| (of_defects, 0.5)));
        let kinds = [
            (ScoreSource::Features, Kind::PerPosition),
            (ScoreSource::Features, Kind::PositionFree),
            (ScoreSource::Details, Kind::PerPosition),
            (ScoreSource::Details, Kind::PositionFree),
        ];
        for (best, (source, kind)) in found.iter_mut().zip(kinds) {
            (best.source, best.gaussians) = (source, Some(kind));
        }
        found
    };
    // Parts in a fixture: features find as much anywhere, details do not.
    let fixture = of([0.90, 0.931, 0.915, 0.86]);
    assert_eq!(preferred(&fixture, false), Some(0));
    // Parts that lie as they fall.
    let loose = of([0.913, 0.942, 0.866, 0.901]);
    assert_eq!(preferred(&loose, false), Some(1));
    // Alike: in place.
    let alike = of([0.90, 0.908, 0.85, 0.858]);
    assert_eq!(preferred(&alike, false), Some(0));
    // Features alone say nothing of it.
    assert_eq!(preferred(&fixture[..2], false), Some(1));
}

#[test]
fn only_wanted_anomalies_are_set_against_normal_frames() {
    let trial = |truth| Trial {
        maps: Vec::new(),
        truth,
    };
    let trials = [
        trial(Truth::Normal),
        trial(Truth::Normal),
        trial(Truth::Defect(Vec::new())),
        trial(Truth::Shape),
    ];
    let scores = [1.0, 2.0, 1.5, 3.0];
    assert_eq!(separation(&scores, &trials, Truth::is_defect), 0.5);
    assert_eq!(separation(&scores, &trials, Truth::is_shape), 1.0);
    assert_eq!(separation(&scores, &trials, Truth::is_anomalous), 0.75);
    assert!(shapes_are_seen(&trials) && !shapes_are_seen(&trials[..3]));
}
