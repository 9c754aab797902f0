//! What a model learns from accepted frames, what it forgets again, and what it refuses.

use std::fs;

use edge_vae::{
    backend::{
        Engine, EngineOptions,
        onnx::{
            AttributeProto, Dim, GraphProto, Message, ModelProto, NodeProto,
            StringStringEntryProto, TensorProto, ValueInfoProto, attribute_proto::AttributeType,
            tensor_proto::DataType,
        },
    },
    bundle::Bundle,
    calibration::Calibration,
    model::GraphSettings,
    runtime::renew_golden,
    scoring::{Aggregation, ScoreSource, Scoring},
};

use crate::{
    calibrate::{chequers, files},
    test_dir::TestDir,
    tiny,
};

/// What the density knows: so many frames, whose mean grey is μ ± σ at each of four places.
const KNOWN: f64 = 100.0;
const MEAN: f32 = 0.4;
const DEVIATION: f32 = 0.05;
const FLOOR: f64 = 1e-4;

fn node(op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute: attributes,
        ..NodeProto::default()
    }
}

fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

fn raw(name: &str, dims: &[i64], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    }
}

fn value(name: &str, shape: [i64; 3]) -> ValueInfoProto {
    let sides = shape.into_iter().map(Dim::DimValue);
    ValueInfoProto::float_tensor(name, [Dim::DimParam("N".into())].into_iter().chain(sides))
}

/// A per-location Gaussian as the trainer writes it, of one component at 2×2 places.
fn density() -> Vec<u8> {
    let side = tiny::SIDE as i64;
    let half = [side / 2, side / 2];
    let white = "whitening0";
    let names = ["square", "square.packed", "unscaled", "scale"];
    let [square, packed, unscaled, scale] = names.map(|name| format!("{white}.{name}"));
    let nodes = vec![
        node(
            "AveragePool",
            &["input"],
            "projected",
            vec![integers("kernel_shape", &half), integers("strides", &half)],
        ),
        node(
            "Reshape",
            &["projected", "columns.shape"],
            "columns",
            vec![],
        ),
        node(
            "Transpose",
            &["columns"],
            "by_cell",
            vec![integers("perm", &[0, 2, 1, 3])],
        ),
        node("Sub", &["by_cell", "cell_mean"], "difference", vec![]),
        node(
            "Gather",
            &[&packed, "triangle1"],
            &square,
            vec![integer("axis", 1)],
        ),
        node(
            "Cast",
            &[&square],
            &unscaled,
            vec![integer("to", DataType::Float as i64)],
        ),
        node("Mul", &[&unscaled, &scale], white, vec![]),
        node("MatMul", &[white, "difference"], "white", vec![]),
        node("Abs", &["white"], "far", vec![]),
        node("Reshape", &["far", "map.shape"], "map", vec![]),
        node("Identity", &["map"], "distance", vec![]),
    ];
    let places = [0_i32; 1].iter().flat_map(|v| v.to_le_bytes()).collect();
    let graph = GraphProto {
        name: "features".into(),
        node: nodes,
        initializer: vec![
            TensorProto::integers("columns.shape", &[0, 1, 4, 1]),
            TensorProto::integers("map.shape", &[0, 1, 2, 2]),
            TensorProto::floats("cell_mean", &[4, 1, 1], &[MEAN; 4]),
            raw(&packed, &[4, 2], DataType::Int8, [127, 0].repeat(4)),
            TensorProto::floats(&scale, &[4, 1, 1], &[1.0 / DEVIATION / 127.0; 4]),
            raw("triangle1", &[1, 1], DataType::Int32, places),
        ],
        input: vec![value("input", [1, side, side])],
        output: vec![value("distance", [1, 2, 2])],
        ..GraphProto::default()
    };
    let metadata = [
        ("edge_vae.features", "per-location Gaussian".to_owned()),
        ("edge_vae.weight", KNOWN.to_string()),
        ("edge_vae.floors", FLOOR.to_string()),
    ];
    let metadata = metadata.map(|(key, value)| StringStringEntryProto {
        key: key.into(),
        value,
    });
    graph.into_model(metadata.to_vec()).encode_to_vec()
}

/// A folder with a model that scores by [`density`]; its threshold is 4.8 for 5 %.
pub fn dir() -> TestDir {
    let mut writer = tiny::writer();
    writer.scoring = Some(Scoring::of_one(
        "features",
        ScoreSource::tensor("distance"),
        0.0,
        None,
        Aggregation::Maximum,
    ));
    writer.graphs = vec![GraphSettings::of_distances("density.onnx")];
    writer.files.insert("density.onnx".into(), density());
    let scores: Vec<f64> = (1..=100).map(|i| f64::from(i) * 0.05).collect();
    writer.calibration = Some(Calibration::fit(scores.clone(), scores, 0.05).unwrap());
    let dir = TestDir::new();
    fs::remove_dir_all(dir.at("model")).unwrap();
    let mut bundle = writer.finish().unwrap();
    let engine = Engine::open(&EngineOptions::default()).unwrap();
    renew_golden(&mut bundle, &engine).unwrap();
    bundle.save(&dir.at("model")).unwrap();
    dir
}

/// Frames of rising mean: each of its squares has (100 + contrast/2)/255.
pub fn accepted(dir: &TestDir, count: u8) -> Vec<f64> {
    let grey = |index: u8| {
        dir.write(&format!("accepted/{index:03}.png"), chequers(10 + index));
        (100.0 + f64::from(10 + index) / 2.0) / 255.0
    };
    (0..count).map(grey).collect()
}

/// Mean and deviation that the density of a bundle has at its first place.
fn gaussian(dir: &TestDir, bundle: &str) -> (f64, f64) {
    let bundle = Bundle::open(&dir.at(bundle)).unwrap();
    let model = ModelProto::decode(bundle.file("density.onnx").unwrap()).unwrap();
    let graph = model.graph.unwrap();
    let first = |name: &str| {
        let tensor = graph.initializer.iter().find(|tensor| tensor.name == name);
        let bytes = tensor.unwrap().raw_data[..4].try_into().unwrap();
        f64::from(f32::from_le_bytes(bytes))
    };
    (
        first("cell_mean"),
        1.0 / (127.0 * first("whitening0.scale")),
    )
}

#[test]
fn accepted_frames_move_the_gaussians_and_the_threshold_and_can_be_forgotten() {
    let dir = dir();
    let before = files(&dir, "model");
    let greys = accepted(&dir, 120);
    let ran = dir.verb("adapt", &["accepted", "--json"]);
    let record = &ran.is_fine().json()[0];
    assert_eq!(record["frames"], 120);
    assert_eq!(record["known_before"], KNOWN);
    assert_eq!(record["false_alarm_rate"], 0.05);
    let statement = record["statement"].as_str().unwrap();
    assert!(
        statement.contains("scored out of fold (5 folds)"),
        "{statement}"
    );
    // Mean and variance of the frames that it knew and of the new ones.
    let (known, count) = (KNOWN, greys.len() as f64);
    let far = greys.iter().map(|grey| grey - f64::from(MEAN));
    let mean = far.clone().sum::<f64>() / count;
    let scatter: f64 = far.map(|far| (far - mean).powi(2)).sum();
    let all = known + count;
    let (found_mean, found_deviation) = gaussian(&dir, "model");
    assert!((found_mean - f64::from(MEAN) - mean * count / all).abs() < 1e-4);
    let variance = (known - 1.0) * f64::from(DEVIATION).powi(2)
        + scatter
        + known * count / all * mean * mean
        + count * FLOOR;
    let deviation = (variance / (all - 1.0)).sqrt();
    assert!(
        (found_deviation / deviation - 1.0).abs() < 1e-3,
        "{found_deviation} {deviation}"
    );

    // Above the 115th of 120 scores; before, three were above 4.8 deviations of 0.05.
    let called = &record["called_anomalous"];
    assert_eq!(called, &serde_json::json!({"before": 3, "after": 5}));
    let bundle = Bundle::open(&dir.at("model")).unwrap();
    let calibration = bundle.calibration().unwrap();
    assert_eq!(record["threshold"], calibration.threshold);
    assert_eq!(
        (calibration.scores.len(), calibration.folds),
        (120, Some(5))
    );
    assert_eq!(calibration.reference.as_ref().unwrap().frames(), 120);
    assert_ne!(record["model_id"], record["from"]);
    let adaptation = bundle.manifest().adaptation.clone().unwrap();
    assert_eq!(
        (adaptation.frames, adaptation.from.as_str()),
        (120, record["from"].as_str().unwrap())
    );
    assert!(bundle.synthetic_defects().is_none());
    dir.run(&["model", "verify", "model", "--quiet"]).is_fine();
    let info = dir.run(&["model", "info", "model"]);
    assert!(
        info.is_fine().stdout.contains("to 120 accepted frames"),
        "{info:?}"
    );
    // A score is one of the Gaussian that is there now.
    let judged = dir.verb("score", &["accepted/000.png", "--json"]);
    let score = judged.is_fine().json()[0]["pred_score"].as_f64().unwrap();
    let expected = (greys[0] - found_mean).abs() / found_deviation;
    assert!((score - expected).abs() < 1e-3, "{score} {expected}");

    assert_eq!(files(&dir, "model.previous"), before);
    let ran = dir.verb("adapt", &["--rollback"]);
    assert!(
        ran.is_fine().stdout.contains("again, in place of"),
        "{ran:?}"
    );
    assert_eq!(files(&dir, "model"), before);
    assert!(!dir.at("model.previous").exists());
    dir.verb("adapt", &["--rollback"])
        .fails_at_once(&["no earlier model is kept"]);
}

#[test]
fn frames_that_count_more_move_it_further_and_the_model_stays_where_another_is_written() {
    let dir = dir();
    let before = files(&dir, "model");
    let greys = accepted(&dir, 20);
    let written = ["--weight", "5", "--out", "other/model"];
    let ran = dir.verb("adapt", &[&["accepted"][..], &written].concat());
    for part in [
        "which count 100 beside 100",
        "about 5.0 % or fewer",
        "5 % *",
    ] {
        assert!(ran.is_fine().stdout.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(files(&dir, "model"), before);
    assert!(!dir.at("model.previous").exists() && !dir.at("other/model.previous").exists());
    let mean = greys.iter().sum::<f64>() / 20.0;
    let (found, _) = gaussian(&dir, "other/model");
    assert!(
        (found - 0.5 * (mean + f64::from(MEAN))).abs() < 1e-4,
        "{found}"
    );
}

#[test]
fn too_few_frames_are_refused_or_pooled() {
    let dir = dir();
    let before = files(&dir, "model");
    accepted(&dir, 30);
    dir.verb("adapt", &["accepted", "--false-alarm-rate", "0.01"])
        .fails_at_once(&["30 accepted frames", "0.01", "69 more", "--pool"]);
    dir.verb("adapt", &["accepted/000.png", "--pool"])
        .fails_at_once(&["1 accepted frame", "at least 2"]);
    dir.verb("adapt", &["accepted", "--weight", "0"])
        .fails_at_once(&["--weight"]);
    assert_eq!(files(&dir, "model"), before);
    let pooled = ["accepted", "--false-alarm-rate", "0.01", "--pool", "--json"];
    let record = &dir.verb("adapt", &pooled).is_fine().json()[0];
    assert_eq!(record["pooled"], true);
    let bundle = Bundle::open(&dir.at("model")).unwrap();
    let calibration = bundle.calibration().unwrap();
    assert_eq!(calibration.scores.len(), 130);
    // The maxima of the earlier maps are not known: their threshold is not undercut.
    assert!(calibration.map_threshold >= 4.8, "{calibration:?}");
}

#[test]
fn what_only_training_can_change_is_refused() {
    let dir = TestDir::new();
    let before = files(&dir, "model");
    accepted(&dir, 20);
    dir.verb("adapt", &["accepted"])
        .fails_at_once(&["scores by `residual`", "only training can change it"]);
    assert_eq!(files(&dir, "model"), before);
    let mut model = ModelProto::decode(&density()[..]).unwrap();
    model
        .metadata_props
        .retain(|entry| entry.key != "edge_vae.weight");
    let older = self::dir();
    let folder = older.at("model");
    let mut bundle = Bundle::open(&folder).unwrap();
    assert_eq!(bundle.manifest().adaptation, None);
    let mut writer = tiny::writer();
    writer.scoring = bundle.manifest().scoring.clone();
    writer.graphs = bundle.manifest().graphs.clone();
    writer
        .files
        .insert("density.onnx".into(), model.encode_to_vec());
    let engine = Engine::open(&EngineOptions::default()).unwrap();
    bundle = writer.finish().unwrap();
    renew_golden(&mut bundle, &engine).unwrap();
    bundle.save(&folder).unwrap();
    accepted(&older, 20);
    older.verb("adapt", &["accepted"]).fails_at_once(&[
        "density.onnx",
        "does not say how many frames it knows",
        "fit it again",
    ]);
    assert!(!older.at("model.previous").exists());
}
