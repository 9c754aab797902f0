use ndarray::array;

use super::*;
use crate::{
    model::Tensor,
    preprocess::{Colour, PreprocessSettings, Preprocessor, Tiles},
    scoring::{ImageScore, MapScore, ScoreSource, SourceSettings},
    vae::{Latent, Likelihood},
    value::ValueError,
};

fn spec() -> VaeSpec {
    VaeSpec {
        channels: 1,
        height: 2,
        width: 2,
        latent: Latent::Vector { length: 1 },
        likelihood: Likelihood::Gaussian { sigma: 0.5 },
    }
}

fn residual_z(smoothing: f32) -> Scoring {
    Scoring::of_one(
        "residual",
        ScoreSource::Residual,
        smoothing,
        Some("statistics.npy".into()),
        Aggregation::Maximum,
    )
}

fn scorer(scoring: &Scoring, array: Array3<f32>) -> Result<Scorer, ScoringError> {
    let statistics = BTreeMap::from([("residual".to_owned(), array)]);
    Scorer::new(
        scoring,
        Some(&spec()),
        &CanvasLayout::whole(2, 2),
        &shapes(),
        &statistics,
    )
}

fn statistics() -> Array3<f32> {
    array![[[1.0, 1.0], [0.0, 2.0]], [[0.5, 1.0], [2.0, 0.25]]]
}

const INPUT_VALUES: &[f32] = &[1.0, 0.0, 3.0, 0.5];

/// A tensor of so many rows and columns.
fn tensor<'a>(name: &'a str, shape: &'a [usize], values: &'a [f32]) -> (&'a str, Tensor<'a>) {
    (name, Tensor { shape, values })
}

/// Tensors whose residuals over σ are 2, 0, 4, 1, and those of graphs.
fn tensors<'a>(input: &'a [f32], residual_features: &'a [f32]) -> Vec<(&'a str, Tensor<'a>)> {
    vec![
        tensor("input", &[1, 2, 2], input),
        tensor("reconstruction", &[1, 2, 2], &[0.0, 0.0, 1.0, 0.0]),
        tensor("mean", &[0], &[]),
        tensor("log_variance", &[0], &[]),
        tensor("head_logits", &[1, 1, 1], &[-3.0]),
        tensor("distance", &[1, 1, 2], &[10.0, 20.0]),
        tensor("residual_distance", &[1, 2, 1], residual_features),
    ]
}

fn usual() -> Vec<(&'static str, Tensor<'static>)> {
    tensors(INPUT_VALUES, &[5.0, 7.0])
}

fn shapes() -> TensorShapes {
    let mut shapes = TensorShapes::default();
    for (name, tensor) in usual() {
        shapes.insert(name, tensor.shape);
    }
    shapes
}

/// A source without smoothing and statistics that reads the tensor `reads`.
fn plain(name: &str, reads: &'static str) -> SourceSettings {
    SourceSettings {
        name: name.into(),
        reads: String::from(reads).into(),
        smoothing: 0.0,
        statistics: None,
    }
}

#[test]
fn the_whole_way_by_hand() {
    let mut scorer = scorer(&residual_z(0.0), statistics()).unwrap();
    let mut map = [0.0; 4];
    let score = scorer.score(&ModelOutputs::of(&usual()), &mut map).unwrap();
    assert_eq!(map, [2.0, -1.0, 2.0, -4.0]);
    assert_eq!(score, 2.0);
    let bad = tensors(&[f32::NAN; 4], &[5.0, 7.0]);
    assert!(matches!(
        scorer.score(&ModelOutputs::of(&bad), &mut map),
        Err(ScoringError::Value(ValueError::NotFinite { index: 0, .. }))
    ));
}

#[test]
fn each_tile_is_wanted_once() {
    let settings = PreprocessSettings {
        tiles: Some(Tiles {
            width: 3,
            height: 2,
            overlap: 0.5,
        }),
        ..PreprocessSettings::new(2, 2, Colour::Grey)
    };
    let preprocessor = Preprocessor::new(settings).unwrap();
    let layout = preprocessor.canvas_layout();
    assert_eq!(layout.tiles().count(), 2);
    let mut scoring = residual_z(0.0);
    scoring.image.standardised = false;
    scoring.map.standardised = false;
    scoring.sources[0].statistics = None;
    let none = BTreeMap::new();
    let mut scorer = Scorer::new(&scoring, Some(&spec()), layout, &shapes(), &none).unwrap();
    let mut map = [0.0; 6];
    assert!(scorer.score(&ModelOutputs::of(&usual()), &mut map).is_err());
    assert!(scorer.add_tile(1, &ModelOutputs::of(&usual())).is_err());
    scorer.add_tile(0, &ModelOutputs::of(&usual())).unwrap();
    assert!(scorer.finish(&mut map).is_err());
    scorer.add_tile(0, &ModelOutputs::of(&usual())).unwrap();
    scorer.add_tile(1, &ModelOutputs::of(&usual())).unwrap();
    assert!(scorer.add_tile(2, &ModelOutputs::of(&usual())).is_err());
    // Both tiles show 2, 0 over 4, 1; they share the column in the middle.
    assert_eq!(scorer.finish(&mut map).unwrap(), 4.0);
    assert_eq!(map, [2.0, 1.0, 0.0, 4.0, 2.5, 1.0]);
}

#[test]
fn smoothing_comes_before_standardisation() {
    let flat = array![[[1.0, 1.0], [1.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]];
    let mut scorer = scorer(&residual_z(50.0), flat).unwrap();
    let mut map = [0.0; 4];
    scorer.score(&ModelOutputs::of(&usual()), &mut map).unwrap();
    // The mean residual is 1.75.
    assert!(map.iter().all(|z| (z - 1.5).abs() < 1e-2), "{map:?}");
}

#[test]
fn score_and_map_may_come_from_different_sources() {
    let scoring = Scoring {
        image: ImageScore {
            sources: vec!["features".into()],
            standardised: false,
            aggregation: Aggregation::Total,
        },
        map: MapScore {
            sources: vec!["residual".into(), "head".into()],
            standardised: false,
            mean: Mean::Arithmetic,
            smoothing: 0.0,
        },
        sources: vec![
            plain("residual", "residual"),
            plain("head", "head_logits"),
            plain("features", "distance"),
        ],
    };
    let mut scorer = scorer(&scoring, statistics()).unwrap();
    let mut map = [0.0; 4];
    assert_eq!(
        scorer.score(&ModelOutputs::of(&usual()), &mut map).unwrap(),
        30.0
    );
    // The mean of 2, 0, 4, 1 and of −3 everywhere.
    assert_eq!(map, [-0.5, -1.5, 0.5, -1.0]);
}

#[test]
fn several_sources_make_one_score_in_the_tensors_size() {
    let mut scoring = residual_z(0.0);
    scoring.sources.push(plain("features", "distance"));
    scoring.image.standardised = false;
    scoring.image.sources.push("features".into());
    let mut scorer = scorer(&scoring, statistics()).unwrap();
    let mut map = [0.0; 4];
    // (2 + 10)/2, (0 + 20)/2, (4 + 10)/2, (1 + 20)/2.
    assert_eq!(
        scorer.score(&ModelOutputs::of(&usual()), &mut map).unwrap(),
        10.5
    );
}

#[test]
fn distances_make_a_geometric_mean() {
    let mut scoring = residual_z(0.0);
    scoring.sources = vec![
        plain("features", "distance"),
        plain("residual-features", "residual_distance"),
    ];
    scoring.image.standardised = false;
    scoring.image.sources = vec!["features".into()];
    scoring.map = MapScore {
        sources: vec!["features".into(), "residual-features".into()],
        standardised: false,
        mean: Mean::Geometric,
        smoothing: 0.0,
    };
    let mut scorer = scorer(&scoring, statistics()).unwrap();
    let mut map = [0.0; 4];
    assert_eq!(
        scorer.score(&ModelOutputs::of(&usual()), &mut map).unwrap(),
        20.0
    );
    let expected = [50.0_f32, 100.0, 70.0, 140.0].map(f32::sqrt);
    for (found, expected) in map.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "{map:?}");
    }
    // What can't be divided by anything counts as little; what is no number is no map.
    let odd = tensors(INPUT_VALUES, &[0.0, -1.0]);
    scorer.score(&ModelOutputs::of(&odd), &mut map).unwrap();
    assert!((map[0] - 1e-5_f32.sqrt()).abs() < 1e-5, "{map:?}");
    assert!(map.iter().all(|value| *value > 0.0), "{map:?}");
    let odd = tensors(INPUT_VALUES, &[f32::NAN, 1.0]);
    scorer.score(&ModelOutputs::of(&odd), &mut map).unwrap();
    assert!(map[0].is_nan());

    scoring.map.standardised = true;
    let refused = scoring
        .validate([spec().height, spec().width], Some(&spec()))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("geometric"), "{refused}");
}

#[test]
fn shares_name_what_speaks_against_a_part() {
    let mut scoring = residual_z(0.0);
    scoring.sources.push(SourceSettings {
        statistics: Some("features.npy".into()),
        ..plain("features", "distance")
    });
    let maps = BTreeMap::from([
        ("residual".to_owned(), statistics()),
        ("features".to_owned(), array![[[4.0, 5.0]], [[1.0, 5.0]]]),
    ]);
    let layout = CanvasLayout::whole(2, 2);
    let mut scorer = Scorer::new(&scoring, Some(&spec()), &layout, &shapes(), &maps).unwrap();
    scorer
        .score(&ModelOutputs::of(&usual()), &mut [0.0; 4])
        .unwrap();
    let source_shares = scorer.source_shares([0, 0, 1, 1]);
    assert_eq!(
        source_shares[0],
        SourceShare {
            source: "features".into(),
            z: 6.0,
            share: 0.75
        }
    );
    assert_eq!(
        source_shares[1],
        SourceShare {
            source: "residual".into(),
            z: 2.0,
            share: 0.25
        }
    );
    // Lower right: z = −4 and 3.
    let source_shares = scorer.source_shares([1, 1, 1, 1]);
    assert_eq!((source_shares[0].z, source_shares[0].share), (3.0, 1.0));
    assert_eq!((source_shares[1].z, source_shares[1].share), (-4.0, 0.0));
}

#[test]
fn settings_of_a_hostile_manifest_are_refused() {
    let ones = || Array3::ones((2, 2, 2));
    for smoothing in [-1.0, f32::NAN, 1e9] {
        assert!(scorer(&residual_z(smoothing), ones()).is_err());
        assert!(
            residual_z(smoothing)
                .validate([spec().height, spec().width], Some(&spec()))
                .is_err()
        );
    }
    assert!(
        residual_z(1.0)
            .validate([spec().height, spec().width], Some(&spec()))
            .is_ok()
    );
    for shape in [(2, 4, 1), (2, 1, 4), (1, 2, 2), (3, 2, 2)] {
        assert!(scorer(&residual_z(0.0), Array3::ones(shape)).is_err());
    }
    let broken = |change: fn(&mut Scoring)| {
        let mut scoring = residual_z(0.0);
        change(&mut scoring);
        scoring
            .validate([spec().height, spec().width], Some(&spec()))
            .unwrap_err()
            .to_string()
    };
    assert!(broken(|s| s.image.sources.clear()).contains("image names no source"));
    assert!(broken(|s| s.map.sources = vec!["head".into()]).contains("not among the sources"));
    assert!(broken(|s| s.sources[0].statistics = None).contains("has no statistics"));
    assert!(broken(|s| s.map.sources.push("residual".into())).contains("twice"));
    assert!(broken(|s| s.sources.push(s.sources[0].clone())).contains("listed twice"));
    assert!(broken(|s| s.map.smoothing = -1.0).contains("smoothing"));
}
