//! A bundle small enough to work out by hand.
//!
//! The encoder averages squares of 4×4 pixels, the decoder paints each square in its average, so
//! the residual of a pixel is its distance from the average of its square.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::{collections::BTreeMap, io::Cursor};

use edge_vae::{
    Frame,
    backend::onnx::{
        AttributeProto, Dim, GraphProto, Message, NodeProto, TensorProto, ValueInfoProto,
        attribute_proto::AttributeType,
    },
    bundle::{BundleWriter, DECODER, ENCODER, Golden, ModelCard, write_npy},
    calibration::{Calibration, SyntheticDefects},
    frame::PixelFormat,
    model::GraphSettings,
    preprocess::{Colour, PreprocessSettings, Tiles},
    runtime::GoldenValues,
    scoring::{Aggregation, ScoreSource, Scoring},
    vae::{Latent, Likelihood, VaeSpec},
};

/// Width and height of the tensor.
pub(crate) const SIDE: usize = 8;

/// Width and height of a square.
pub(crate) const SQUARE: usize = 4;

/// The decoder's standard deviation, the same everywhere.
pub(crate) const SIGMA: f32 = 0.1;

/// The posterior's log-variance, the same everywhere.
pub(crate) const LOG_VARIANCE: f32 = -2.0;

/// Mean and deviation of the normal residual, the same everywhere.
pub(crate) const STATISTICS: (f32, f32) = (0.5, 2.0);

/// A bundle that can judge, with golden values from plain loops, not from an engine.
pub(crate) fn writer() -> BundleWriter {
    let golden_frame = frame(1, None);
    let values = expected(&golden_frame);
    let spec = VaeSpec {
        channels: 1,
        height: SIDE,
        width: SIDE,
        latent: Latent::Map {
            channels: 1,
            height: SIDE / SQUARE,
            width: SIDE / SQUARE,
        },
        likelihood: Likelihood::GaussianLearned,
    };
    let mut statistics = vec![STATISTICS.0; SIDE * SIDE];
    statistics.extend([STATISTICS.1; SIDE * SIDE]);
    let files = [
        (ENCODER, encoder(SIDE)),
        (DECODER, decoder(SIGMA)),
        ("golden.png", png(&golden_frame)),
        ("golden.npz", values.to_npz().unwrap()),
        (
            "statistics.npy",
            write_npy(&[2, SIDE, SIDE], &statistics).unwrap(),
        ),
    ];
    BundleWriter {
        name: "tiny".into(),
        preprocess: PreprocessSettings::new(SIDE, SIDE, Colour::Grey),
        vae: Some(spec),
        feature_extractor: None,
        graphs: Vec::new(),
        scoring: Some(Scoring::of_one(
            "residual",
            ScoreSource::Residual,
            0.0,
            Some("statistics.npy".into()),
            Aggregation::Maximum,
        )),
        // Nine, which grow in size, contrast and score.
        synthetic_defects: Some(SyntheticDefects {
            scores: (1..=9).map(|i| 0.9 + 0.02 * f64::from(i)).collect(),
            sizes: (1..=9).map(|i| 0.01 * f64::from(i)).collect(),
            contrasts: (1..=9).map(|i| 0.05 * f64::from(i)).collect(),
        }),
        // A hundred frames as dull as the golden one.
        calibration: Some(
            Calibration::fit(
                (1..=100).map(|i| f64::from(i) * 0.01).collect(),
                (1..=100).map(|i| f64::from(i) * 0.01).collect(),
                0.05,
            )
            .unwrap(),
        ),
        golden: Golden {
            frame: "golden.png".into(),
            expected: "golden.npz".into(),
            score: values.score,
            tolerance: 1e-5,
            map_tolerance: 1e-4,
        },
        card: ModelCard {
            dataset: "by hand".into(),
            ..ModelCard::default()
        },
        files: files
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// Width of the canvas of [`tiled`]; its height is [`SIDE`], so that it has tiles at x = 0 and 2.
pub(crate) const CANVAS: usize = 10;

/// Left edges of these tiles.
const TILES: [usize; 2] = [0, CANVAS - SIDE];

/// Mean of the normal residual where the mask of [`masked`] is black: it would make any frame
/// anomalous if it counted.
const MEAN_OUTSIDE: f32 = -100.0;

/// [`writer`] with a mask that is white where [`is_inside`] says.
pub(crate) fn masked() -> BundleWriter {
    let mut writer = writer();
    let picture = image::GrayImage::from_fn(SIDE as u32, SIDE as u32, |x, _| {
        image::Luma([255 * u8::from(is_inside(x as usize))])
    });
    let mut mask = Cursor::new(Vec::new());
    picture
        .write_to(&mut mask, image::ImageFormat::Png)
        .unwrap();
    let mut statistics: Vec<f32> = (0..SIDE * SIDE)
        .map(|index| match is_inside(index % SIDE) {
            true => STATISTICS.0,
            false => MEAN_OUTSIDE,
        })
        .collect();
    statistics.extend([STATISTICS.1; SIDE * SIDE]);
    let values = expected_masked(&frame(1, None));
    writer.preprocess.mask = Some("mask.png".into());
    writer.golden.score = values.score;
    writer.files.extend([
        ("mask.png".to_owned(), mask.into_inner()),
        (
            "statistics.npy".to_owned(),
            write_npy(&[2, SIDE, SIDE], &statistics).unwrap(),
        ),
        ("golden.npz".to_owned(), values.to_npz().unwrap()),
    ]);
    writer
}

/// Whether column `x` is looked at by [`masked`]: its left half.
pub(crate) fn is_inside(x: usize) -> bool {
    x < SIDE / 2
}

/// What [`masked`] computes for a frame of `SIDE×SIDE`.
pub(crate) fn expected_masked(frame: &Frame) -> GoldenValues {
    let mut input = grey(frame);
    let inside = |index: &usize| is_inside(index % SIDE);
    let count = (SIDE * SIDE / 2) as f64;
    let mean = (0..SIDE * SIDE)
        .filter(inside)
        .map(|i| input[i])
        .sum::<f64>()
        / count;
    for index in (0..SIDE * SIDE).filter(|index| !inside(index)) {
        input[index] = mean;
    }
    let mut values = expected_of(&input);
    let looked_at = || (0..SIDE * SIDE).filter(inside);
    let mut map = values.values("anomaly_map").to_vec();
    let least = looked_at().map(|i| map[i]).fold(f32::MAX, f32::min);
    let most = looked_at().map(|i| map[i]).fold(f32::MIN, f32::max);
    for index in (0..SIDE * SIDE).filter(|index| !inside(index)) {
        map[index] = least;
    }
    values.insert("anomaly_map", &[SIDE, SIDE], &map);
    values.score = Some(f64::from(most));
    values
}

/// [`writer`] with a canvas of `CANVAS×SIDE` pixels in two tiles.
pub(crate) fn tiled() -> BundleWriter {
    let mut writer = writer();
    let golden_frame = canvas_frame(1, None);
    let values = expected_tiled(&golden_frame);
    let positions = CANVAS * SIDE;
    let mut statistics = vec![STATISTICS.0; positions];
    statistics.extend(vec![STATISTICS.1; positions]);
    writer.preprocess.tiles = Some(Tiles {
        width: CANVAS,
        height: SIDE,
        overlap: 0.5,
    });
    writer.golden.score = values.score;
    writer.files.extend([
        ("golden.png".to_owned(), png(&golden_frame)),
        (
            "statistics.npy".to_owned(),
            write_npy(&[2, SIDE, CANVAS], &statistics).unwrap(),
        ),
        ("golden.npz".to_owned(), values.to_npz().unwrap()),
    ]);
    writer
}

/// What [`tiled`] computes for a frame of `CANVAS×SIDE`: the graphs' outputs for the first tile,
/// map and score of the canvas.
pub(crate) fn expected_tiled(frame: &Frame) -> GoldenValues {
    let ([mut first, second], _) = expected_tiles(frame);
    let map = blended([&first, &second].map(|tile| tile.values("anomaly_map")));
    first.score = Some(f64::from(map.iter().copied().fold(f32::MIN, f32::max)));
    first.insert("anomaly_map", &[SIDE, CANVAS], &map);
    first
}

/// Both tiles of a frame of `CANVAS×SIDE` as [`expected`], and their reconstructions as one of the
/// canvas.
pub(crate) fn expected_tiles(frame: &Frame) -> ([GoldenValues; 2], Vec<f32>) {
    let canvas = grey(frame);
    let tiles = TILES.map(|left| expected_of(&tile_of(&canvas, left)));
    let reconstruction = blended([&tiles[0], &tiles[1]].map(|tile| tile.values("reconstruction")));
    (tiles, reconstruction)
}

/// The tile of a canvas that begins at this column.
fn tile_of(canvas: &[f64], left: usize) -> Vec<f64> {
    (0..SIDE * SIDE)
        .map(|index| canvas[index / SIDE * CANVAS + left + index % SIDE])
        .collect()
}

/// Maps of both tiles as one of the canvas.
fn blended(maps: [&[f32]; 2]) -> Vec<f32> {
    // The tiles overlap from x = 2 to 8.
    let overlap = (SIDE - TILES[1]) as f64;
    (0..CANVAS * SIDE)
        .map(|index| {
            let (x, y) = (index % CANVAS, index / CANVAS);
            let phase = ((x as f64 + 0.5 - TILES[1] as f64) / overlap).clamp(0.0, 1.0);
            let share = (std::f64::consts::FRAC_PI_2 * phase).sin().powi(2);
            let of = |tile: usize| {
                let column = x.checked_sub(TILES[tile]).filter(|&column| column < SIDE);
                column.map_or(0.0, |x| f64::from(maps[tile][y * SIDE + x]))
            };
            ((1.0 - share) * of(0) + share * of(1)) as f32
        })
        .collect()
}

/// The grey from which [`without_vae`] measures distances.
const GREY: f32 = 0.4;

/// [`writer`] or [`tiled`], but map and score are the distance of each pixel from a grey: they need
/// neither encoder nor decoder, and the residual only explains.
pub(crate) fn without_vae(several_tiles: bool) -> BundleWriter {
    let (mut writer, frame, columns) = match several_tiles {
        true => (tiled(), canvas_frame(1, None), CANVAS),
        false => (writer(), frame(1, None), SIDE),
    };
    let mut values = match several_tiles {
        true => expected_tiled(&frame),
        false => expected(&frame),
    };
    let distance = |values: &[f64]| -> Vec<f32> {
        let far = values.iter().map(|value| (value - f64::from(GREY)).abs());
        far.map(|far| far as f32).collect()
    };
    let input = values.values("input").iter().copied().map(f64::from);
    let input: Vec<f64> = input.collect();
    values.insert("distance", &[1, SIDE, SIDE], &distance(&input));
    let map = distance(&grey(&frame));
    let most = map.iter().copied().fold(f32::MIN, f32::max);
    values.insert("anomaly_map", &[SIDE, columns], &map);
    values.score = Some(f64::from(most));
    writer.golden.score = values.score;
    writer.files.extend([
        ("golden.npz".to_owned(), values.to_npz().unwrap()),
        ("distance.onnx".to_owned(), distance_from_grey("distance")),
    ]);
    let direct = Scoring::of_one(
        "grey",
        ScoreSource::tensor("distance"),
        0.0,
        None,
        Aggregation::Maximum,
    );
    let explaining = writer.scoring.take().unwrap().sources;
    writer.graphs = vec![GraphSettings::of_distances("distance.onnx")];
    writer.scoring = Some(Scoring {
        sources: [direct.sources, explaining].concat(),
        ..direct
    });
    let scores: Vec<f64> = (1..=100).map(|i| f64::from(i) * 0.001).collect();
    writer.calibration = Some(Calibration::fit(scores.clone(), scores, 0.05).unwrap());
    writer
}

/// [`without_vae`] of one tile, but there is none: neither encoder nor decoder, and no residual.
pub(crate) fn features_alone() -> BundleWriter {
    let mut writer = without_vae(false);
    let mut values = GoldenValues::default();
    let of_frame = expected(&frame(1, None));
    let input = of_frame.values("input");
    let distance: Vec<f32> = input.iter().map(|value| (value - GREY).abs()).collect();
    values.insert("input", &[1, SIDE, SIDE], input);
    values.insert("distance", &[1, SIDE, SIDE], &distance);
    values.insert("anomaly_map", &[SIDE, SIDE], &distance);
    writer.vae = None;
    writer.scoring.as_mut().unwrap().sources.truncate(1);
    let gone = [ENCODER, DECODER, "statistics.npy"];
    writer
        .files
        .retain(|name, _| !gone.contains(&name.as_str()));
    let golden = ("golden.npz".to_owned(), values.to_npz().unwrap());
    writer.files.extend([golden]);
    writer
}

/// A graph whose tensor `output` is the distance of each pixel from a grey.
pub(crate) fn distance_from_grey(output: &str) -> Vec<u8> {
    let side = SIDE as i64;
    model(
        vec![
            node("Sub", &["input", "grey"], "difference", &[]),
            node("Abs", &["difference"], output, &[]),
        ],
        vec![TensorProto::floats("grey", &[1, 1, 1, 1], &[GREY])],
        &[("input", [1, side, side])],
        &[(output, [1, side, side])],
    )
}

/// A frame of `CANVAS·scale × SIDE·scale` pixels, as [`frame`].
pub(crate) fn canvas_frame(scale: usize, spot: Option<(usize, usize)>) -> Frame {
    chequered([CANVAS, SIDE], scale, spot)
}

/// A frame of `SIDE·scale` pixels a side, in which each tensor pixel is a square of `scale`
/// pixels: a faint chequer pattern, with a bright spot on one tensor pixel (x, y).
pub(crate) fn frame(scale: usize, spot: Option<(usize, usize)>) -> Frame {
    chequered([SIDE; 2], scale, spot)
}

fn chequered([columns, rows]: [usize; 2], scale: usize, spot: Option<(usize, usize)>) -> Frame {
    let [width, height] = [columns * scale, rows * scale];
    let samples = (0..width * height)
        .map(|index| {
            let (x, y) = (index % width / scale, index / width / scale);
            match spot {
                Some(spot) if spot == (x, y) => 250,
                _ => 100 + 10 * ((x + y) % 2) as u8,
            }
        })
        .collect();
    let [width, height] = [width as u32, height as u32];
    Frame::from_u8(width, height, PixelFormat::Gray8, samples, "tiny").unwrap()
}

/// What the model computes for a frame of `SIDE×SIDE`, by plain loops in f64.
pub(crate) fn expected(frame: &Frame) -> GoldenValues {
    expected_of(&grey(frame))
}

fn grey(frame: &Frame) -> Vec<f64> {
    let pixels = frame.to_rgb8();
    pixels
        .pixels()
        .map(|pixel| f64::from(pixel.0[0]) / 255.0)
        .collect()
}

/// The same for a tensor.
fn expected_of(input: &[f64]) -> GoldenValues {
    assert_eq!(input.len(), SIDE * SIDE);
    let squares = SIDE / SQUARE;
    let mut mean = vec![0.0; squares * squares];
    let square_of = |index: usize| index / SIDE / SQUARE * squares + index % SIDE / SQUARE;
    for (index, value) in input.iter().enumerate() {
        mean[square_of(index)] += value / (SQUARE * SQUARE) as f64;
    }
    let reconstruction: Vec<f64> = (0..SIDE * SIDE)
        .map(|index| mean[square_of(index)])
        .collect();
    let map: Vec<f64> = input
        .iter()
        .zip(&reconstruction)
        .map(|(x, r)| {
            ((x - r).abs() / f64::from(SIGMA) - f64::from(STATISTICS.0)) / f64::from(STATISTICS.1)
        })
        .collect();
    let single = |values: &[f64]| -> Vec<f32> { values.iter().map(|&v| v as f32).collect() };
    let (pixels, latent) = ([1, SIDE, SIDE], [1, squares, squares]);
    let mut values = GoldenValues::default();
    values.score = Some(map.iter().copied().fold(f64::MIN, f64::max));
    values.insert("input", &pixels, &single(input));
    values.insert("mean", &latent, &single(&mean));
    values.insert(
        "log_variance",
        &latent,
        &[LOG_VARIANCE].repeat(squares * squares),
    );
    values.insert("reconstruction", &pixels, &single(&reconstruction));
    let log_variance = [2.0 * SIGMA.ln()].repeat(SIDE * SIDE);
    values.insert("reconstruction_log_variance", &pixels, &log_variance);
    values.insert("anomaly_map", &pixels[1..], &single(&map));
    values
}

/// The frame as PNG.
pub(crate) fn png(frame: &Frame) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    frame
        .to_rgb8()
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// `input` N×1×side×side → `mean`, `log_variance` N×1×side/4×side/4.
pub(crate) fn encoder(side: usize) -> Vec<u8> {
    let latent = (side / SQUARE) as i64;
    let square = SQUARE as i64;
    model(
        vec![
            node(
                "AveragePool",
                &["input"],
                "mean",
                &[("kernel_shape", [square; 2]), ("strides", [square; 2])],
            ),
            node("Conv", &["mean", "zero", "constant"], "log_variance", &[]),
        ],
        vec![
            TensorProto::floats("zero", &[1, 1, 1, 1], &[0.0]),
            TensorProto::floats("constant", &[1], &[LOG_VARIANCE]),
        ],
        &[("input", [1, side as i64, side as i64])],
        &[
            ("mean", [1, latent, latent]),
            ("log_variance", [1, latent, latent]),
        ],
    )
}

/// `latent` N×1×2×2 → `reconstruction`, `log_variance` N×1×8×8.
pub(crate) fn decoder(sigma: f32) -> Vec<u8> {
    let (side, squares, square) = (SIDE as i64, (SIDE / SQUARE) as i64, SQUARE as i64);
    model(
        vec![
            node(
                "ConvTranspose",
                &["latent", "ones"],
                "reconstruction",
                &[("kernel_shape", [square; 2]), ("strides", [square; 2])],
            ),
            node(
                "Conv",
                &["reconstruction", "zero", "constant"],
                "log_variance",
                &[],
            ),
        ],
        vec![
            TensorProto::floats("ones", &[1, 1, square, square], &[1.0; SQUARE * SQUARE]),
            TensorProto::floats("zero", &[1, 1, 1, 1], &[0.0]),
            TensorProto::floats("constant", &[1], &[2.0 * sigma.ln()]),
        ],
        &[("latent", [1, squares, squares])],
        &[
            ("reconstruction", [1, side, side]),
            ("log_variance", [1, side, side]),
        ],
    )
}

fn model(
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    inputs: &[(&str, [i64; 3])],
    outputs: &[(&str, [i64; 3])],
) -> Vec<u8> {
    let values = |infos: &[(&str, [i64; 3])]| {
        infos
            .iter()
            .map(|(name, shape)| value(name, shape))
            .collect()
    };
    let graph = GraphProto {
        name: "tiny".into(),
        node: nodes,
        initializer: weights,
        input: values(inputs),
        output: values(outputs),
        ..GraphProto::default()
    };
    graph.into_model(Vec::new()).encode_to_vec()
}

fn node(op: &str, inputs: &[&str], output: &str, ints: &[(&str, [i64; 2])]) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute: ints
            .iter()
            .map(|(name, values)| AttributeProto {
                name: (*name).into(),
                r#type: AttributeType::Ints as i32,
                ints: values.to_vec(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// A value of a symbolic batch of `C×H×W`.
fn value(name: &str, shape: &[i64; 3]) -> ValueInfoProto {
    let sides = shape.iter().map(|&side| Dim::DimValue(side));
    ValueInfoProto::float_tensor(name, [Dim::DimParam("N".into())].into_iter().chain(sides))
}
