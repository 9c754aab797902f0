use std::sync::Arc;

use edge_vae::backend::{BackendError, BackendKind, Engine, EngineOptions};
use half::f16;
use nalgebra::{DMatrix, DVector};
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::{
    context::Context, directions::Projection, grid::Grid, mixture::Mixture, model::Density,
    position::CellGaussians, *,
};

/// Frames held in memory: maps of these names and shapes.
struct Frames {
    shapes: Vec<(&'static str, [usize; 3])>,
    values: Vec<Vec<Vec<f32>>>,
}

impl Frames {
    fn maps(&self, frame: usize) -> Vec<FeatureMap<'_>> {
        self.shapes
            .iter()
            .zip(&self.values[frame])
            .map(|(&(name, shape), values)| FeatureMap {
                name,
                shape,
                values,
            })
            .collect()
    }

    /// Frames whose values differ between channels, places and frames: noise, stronger in some
    /// places than in others, and noise that all channels share.
    fn random(shapes: &[(&'static str, [usize; 3])], count: usize, seed: u64) -> Self {
        let mut random = Pcg64::seed_from_u64(seed);
        let mut normal = move || -> f32 { StandardNormal.sample(&mut random) };
        let values = (0..count)
            .map(|_| {
                let gain = normal();
                shapes
                    .iter()
                    .map(|&(_, [c, h, w])| {
                        let shared: Vec<f32> = (0..h * w).map(|_| normal()).collect();
                        (0..c * h * w)
                            .map(|i| {
                                let (channel, place) = (i / (h * w), i % (h * w));
                                let size = 1.0 + channel as f32;
                                let noise = 0.1 + (place as f32 * 1.3).sin().abs();
                                let level = (place as f32 * 0.7 + channel as f32).sin();
                                size * (level + noise * normal() + 0.4 * shared[place] + 0.2 * gain)
                            })
                            .collect()
                    })
                    .collect()
            })
            .collect();
        Self {
            shapes: shapes.to_vec(),
            values,
        }
    }
}

impl FeatureSource for Frames {
    fn frames(&self) -> usize {
        self.values.len()
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        frames
            .iter()
            .try_for_each(|&frame| visit(&self.maps(frame)))
    }
}

const SHAPES: [(&str, [usize; 3]); 3] = [
    ("features_4", [3, 8, 8]),
    ("features_8", [4, 4, 4]),
    ("features_16", [2, 2, 2]),
];

fn fitted(train: usize, kinds: &[Kind], options: &Options) -> (Frames, Frames, Vec<Model>) {
    let mut frames = Frames::random(&SHAPES, train, 1);
    let mut held_out = Frames::random(&SHAPES, 5, 2);
    let options = Options {
        grid: Some([4, 4]),
        ..options.clone()
    };
    let models = fit(&mut frames, &mut held_out, kinds, &options).unwrap();
    (frames, held_out, models)
}

/// Every frame twice, each time as half a one.
struct Halves(Frames);

impl FeatureSource for Halves {
    fn frames(&self) -> usize {
        2 * self.0.frames()
    }

    fn originals(&self) -> usize {
        self.0.frames()
    }

    fn weight(&self, _: usize) -> f64 {
        0.5
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        let frames: Vec<usize> = frames.iter().map(|frame| frame / 2).collect();
        self.0.visit(&frames, visit)
    }
}

#[test]
fn two_halves_are_one_frame() {
    let kinds = [Kind::PerPosition, Kind::ShiftTolerant];
    let (frames, mut held_out, whole) = fitted(40, &kinds, &Options::default());
    let options = Options {
        grid: Some([4, 4]),
        ..Options::default()
    };
    let mut halves = Halves(Frames::random(&SHAPES, 40, 1));
    let halves = fit(&mut halves, &mut held_out, &kinds, &options).unwrap();
    for (whole, halves) in whole.iter().zip(&halves) {
        let maps = frames.maps(3);
        for (a, b) in distances(whole, &maps).iter().zip(distances(halves, &maps)) {
            assert!((a - b).abs() < 1e-2 * a, "{a} {b}");
        }
    }
}

fn distances(model: &Model, maps: &[FeatureMap<'_>]) -> Vec<f32> {
    let [h, w] = model.grid();
    let mut distance = vec![0.0; h * w];
    model.distance(maps, &mut distance).unwrap();
    distance
}

/// The feature vectors at a 4×4 grid by the definition: nine channels, f64.
fn vectors_of(maps: &[FeatureMap<'_>]) -> Vec<DVector<f64>> {
    (0..16)
        .map(|cell| {
            let (row, column) = (cell / 4, cell % 4);
            let mut vector = Vec::new();
            for c in 0..3 {
                let at = |y: usize, x: usize| maps[0].values[c * 64 + y * 8 + x];
                let (y, x) = (2 * row, 2 * column);
                let largest = at(y, x)
                    .max(at(y, x + 1))
                    .max(at(y + 1, x))
                    .max(at(y + 1, x + 1));
                vector.push(f64::from(largest));
            }
            vector.extend((0..4).map(|c| f64::from(maps[1].values[c * 16 + cell])));
            vector.extend(
                (0..2).map(|c| f64::from(maps[2].values[c * 4 + row / 2 * 2 + column / 2])),
            );
            DVector::from_vec(vector)
        })
        .collect()
}

/// Deviations of the channels over cells and frames: √(pooled variance within the cells, divisor
/// n − 1, + variance of the cells' means).
fn deviations(vectors: &[Vec<DVector<f64>>]) -> DVector<f64> {
    let means = cell_means(vectors);
    let (frames, cells) = (vectors.len() as f64, means.len() as f64);
    let mean = means.iter().sum::<DVector<f64>>() / cells;
    let mut variance = DVector::zeros(mean.len());
    for (cell, m) in means.iter().enumerate() {
        for frame in vectors {
            variance += (&frame[cell] - m).map(|d| d * d) / ((frames - 1.0) * cells);
        }
        variance += (m - &mean).map(|d| d * d) / cells;
    }
    variance.map(f64::sqrt)
}

fn cell_means(vectors: &[Vec<DVector<f64>>]) -> Vec<DVector<f64>> {
    (0..vectors[0].len())
        .map(|cell| vectors.iter().map(|f| &f[cell]).sum::<DVector<f64>>() / vectors.len() as f64)
        .collect()
}

/// Mean and covariance.
type Moments = (DVector<f64>, DMatrix<f64>);

/// Means and inverse covariances of the cells in scaled channels; as all directions have full
/// covariances, the rotation into principal directions does not matter.
fn brute_force(frames: &Frames) -> (DVector<f64>, Vec<Moments>) {
    let vectors: Vec<_> = (0..frames.values.len())
        .map(|i| vectors_of(&frames.maps(i)))
        .collect();
    let scale = deviations(&vectors).map(|d| 1.0 / d);
    let scaled: Vec<Vec<DVector<f64>>> = vectors
        .iter()
        .map(|frame| frame.iter().map(|v| v.component_mul(&scale)).collect())
        .collect();
    let means = cell_means(&scaled);
    let own: Vec<DMatrix<f64>> = means
        .iter()
        .enumerate()
        .map(|(cell, m)| {
            let sum: DMatrix<f64> = scaled
                .iter()
                .map(|f| (&f[cell] - m) * (&f[cell] - m).transpose())
                .sum();
            sum / (scaled.len() as f64 - 1.0)
        })
        .collect();
    let gaussians = means
        .into_iter()
        .zip(own)
        .map(|(mean, own)| {
            let identity = DMatrix::identity(mean.len(), mean.len());
            let covariance = own + identity * position::FLOOR;
            (mean, covariance.try_inverse().unwrap())
        })
        .collect();
    (scale, gaussians)
}

fn mahalanobis(v: &DVector<f64>, (mean, inverse): &(DVector<f64>, DMatrix<f64>)) -> f64 {
    let d = v - mean;
    d.dot(&(inverse * &d)).sqrt()
}

/// Whitenings are stored as f16.
fn assert_close(found: &[f32], expected: &[f64]) {
    assert_near(found, expected, 2e-3);
}

fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs() / expected;
        assert!(
            error < tolerance,
            "cell {i}: {found}, by brute force {expected}"
        );
    }
}

#[test]
fn distances_by_brute_force() {
    let kinds = [Kind::PerPosition, Kind::ShiftTolerant];
    let options = Options {
        context: Some(0),
        ..Options::default()
    };
    let (frames, _, models) = fitted(40, &kinds, &options);
    assert_eq!(models[0].grid(), [4, 4]);
    let summary = models[0].summary();
    assert_eq!((summary.directions, summary.channels), (9, 9));
    let (scale, gaussians) = brute_force(&frames);
    let other = Frames::random(&SHAPES, 1, 9);
    let maps = other.maps(0);
    let vectors: Vec<_> = vectors_of(&maps)
        .iter()
        .map(|v| v.component_mul(&scale))
        .collect();

    let expected: Vec<f64> = (0..16)
        .map(|p| mahalanobis(&vectors[p], &gaussians[p]))
        .collect();
    assert_close(&distances(&models[0], &maps), &expected);

    assert_eq!(models[1].kind(), Kind::ShiftTolerant);
    let expected: Vec<f64> = (0..16_i32)
        .map(|p| {
            let near =
                (0..16_i32).filter(|q| (p / 4 - q / 4).abs() <= 1 && (p % 4 - q % 4).abs() <= 1);
            near.map(|q| mahalanobis(&vectors[p as usize], &gaussians[q as usize]))
                .fold(f64::INFINITY, f64::min)
        })
        .collect();
    assert_close(&distances(&models[1], &maps), &expected);
}

#[test]
fn fewer_directions_than_channels() {
    let options = Options {
        directions: Some(3),
        context: Some(0),
        ..Options::default()
    };
    let (frames, _, models) = fitted(30, &[Kind::PerPosition], &options);
    let summary = models[0].summary();
    assert_eq!(summary.directions, 3);
    let project = |maps: &[FeatureMap<'_>]| {
        let pooled = models[0].grid.pool(maps).unwrap();
        models[0].projection.apply(pooled).map(f64::from)
    };
    let projected: Vec<DMatrix<f64>> = (0..30).map(|i| project(&frames.maps(i))).collect();
    let covariances: Vec<(DVector<f64>, DMatrix<f64>)> = (0..16)
        .map(|cell| {
            let columns = || projected.iter().map(|frame| frame.column(cell));
            let mean = columns().map(|c| c.clone_owned()).sum::<DVector<f64>>() / 30.0;
            let scatter = columns().map(|c| (c - &mean) * (c - &mean).transpose());
            (mean.clone(), scatter.sum::<DMatrix<f64>>() / 29.0)
        })
        .collect();
    let other = Frames::random(&SHAPES, 1, 9);
    let found = distances(&models[0], &other.maps(0));
    let vectors = project(&other.maps(0));
    let expected: Vec<f64> = covariances
        .iter()
        .enumerate()
        .map(|(cell, (mean, own))| {
            let covariance = own + DMatrix::identity(3, 3) * position::FLOOR;
            let vector = vectors.column(cell).clone_owned();
            mahalanobis(&vector, &(mean.clone(), covariance.try_inverse().unwrap()))
        })
        .collect();
    assert_close(&found, &expected);
}

/// The regression of each cell on the contexts, and the distance of a frame by it, from the definition.
#[test]
fn contexts_by_brute_force() {
    const FRAMES: usize = 40;
    let options = Options {
        context: Some(3),
        ..Options::default()
    };
    let kinds = [Kind::PerPosition, Kind::ShiftTolerant];
    let (frames, _, models) = fitted(FRAMES, &kinds, &options);
    assert_eq!(models[0].summary().context, 3);
    let Density::Cells { stored, .. } = &models[0].density else {
        panic!("{}", models[0].kind());
    };
    let seen = |maps: &[FeatureMap<'_>]| {
        let pooled = models[0].grid.pool(maps).unwrap();
        let context = stored.context.of(&pooled).map(f64::from);
        (models[0].projection.apply(pooled).map(f64::from), context)
    };
    let trained: Vec<_> = (0..FRAMES).map(|i| seen(&frames.maps(i))).collect();
    let n = FRAMES as f64;
    let level = trained.iter().map(|(_, a)| a).sum::<DVector<f64>>() / n;
    let products: DMatrix<f64> = trained
        .iter()
        .map(|(_, a)| (a - &level) * (a - &level).transpose())
        .sum();
    let ridge = DMatrix::identity(3, 3) * position::RIDGE;
    let inverse = (&products + ridge).try_inverse().unwrap();
    let freedom = (&inverse * &products).trace();
    assert!(freedom > 2.0 && freedom < 3.0, "{freedom}");

    let other = Frames::random(&SHAPES, 1, 9);
    let (vectors, context) = seen(&other.maps(0));
    let distance = |place: usize, cell: usize| {
        let column = |y: &DMatrix<f64>, place: usize| y.column(place).clone_owned();
        let mean = trained
            .iter()
            .map(|(y, _)| column(y, cell))
            .sum::<DVector<f64>>()
            / n;
        let cross: DMatrix<f64> = trained
            .iter()
            .map(|(y, a)| (column(y, cell) - &mean) * (a - &level).transpose())
            .sum();
        let slope = cross * &inverse;
        let expected = |a: &DVector<f64>| &mean + &slope * (a - &level);
        let left: DMatrix<f64> = trained
            .iter()
            .map(|(y, a)| column(y, cell) - expected(a))
            .map(|e| &e * e.transpose())
            .sum();
        let covariance =
            left / ((n - 1.0) * (1.0 - freedom / n)) + DMatrix::identity(9, 9) * position::FLOOR;
        let gaussian = (expected(&context), covariance.try_inverse().unwrap());
        mahalanobis(&column(&vectors, place), &gaussian)
    };
    let found = distances(&models[0], &other.maps(0));
    let expected: Vec<f64> = (0..16).map(|p| distance(p, p)).collect();
    assert_near(&found, &expected, 0.01);
    let near = |p: usize, q: usize| p.abs_diff(q) <= 1;
    let expected: Vec<f64> = (0..16)
        .map(|p| {
            (0..16)
                .filter(|q| near(p / 4, q / 4) && near(p % 4, q % 4))
                .map(|q| distance(p, q))
                .fold(f64::INFINITY, f64::min)
        })
        .collect();
    assert_near(&distances(&models[1], &other.maps(0)), &expected, 0.01);
}

/// What frames have in common as a whole is explained by it, and hides nothing that is at one place.
#[test]
fn what_a_whole_frame_explains_is_normal() {
    let mut random = Pcg64::seed_from_u64(7);
    let mut frame = |gain: f32, spot: f32| {
        let mut values: Vec<f32> = (0..64)
            .map(|place| {
                let noise: f32 = StandardNormal.sample(&mut random);
                gain * (1.0 + (place as f32).sin()) + 0.1 * noise
            })
            .collect();
        values[27] += spot;
        vec![values]
    };
    let frames = |values| Frames {
        shapes: vec![("m", [1, 8, 8])],
        values,
    };
    let train = (0..60)
        .map(|i| frame((i as f32 * 2.4).sin(), 0.0))
        .collect();
    let (mut train, mut held_out) = (frames(train), frames(vec![frame(0.0, 0.0)]));
    let tested = frames(vec![frame(0.6, 0.0), frame(0.6, 1.0)]);
    let ratio = |context: usize, train: &mut Frames, held_out: &mut Frames| {
        let options = Options {
            grid: Some([8, 8]),
            context: Some(context),
            ..Options::default()
        };
        let models = fit(train, held_out, &[Kind::PerPosition], &options).unwrap();
        let [normal, spotted] = [0, 1].map(|i| distances(&models[0], &tested.maps(i)));
        let most = normal.iter().copied().fold(0.0, f32::max);
        spotted[27] / most
    };
    let without = ratio(0, &mut train, &mut held_out);
    let with = ratio(4, &mut train, &mut held_out);
    assert!(with > 1.5 * without, "{with} {without}");
}

#[test]
fn kept_vectors_give_the_same_models() {
    let kinds = Kind::GAUSSIANS;
    let (mut train, mut held_out, models) = fitted(60, &kinds, &Options::default());
    for model in &models {
        let kept = Kept::read(&mut train, model).unwrap();
        let options = model.options(60, &Options::default());
        let mut all = kept.part((0..60).collect(), 60);
        let kind = [model.kind()];
        // What held-out frames chose for a mixture is not chosen again.
        let again = fit(&mut all.clone(), &mut all, &kind, &options).unwrap();
        assert_eq!(again[0].summary(), model.summary());
        for frame in [0, 17] {
            let direct = distances(model, &train.maps(frame));
            assert_eq!(kept.distance(frame, &again[0]).unwrap(), direct);
        }
        assert!(again[0].to_onnx("m", "distance").is_ok());
        let of_maps = again[0].of_maps_of(model).unwrap();
        assert_eq!(
            of_maps.to_onnx("m", "distance").unwrap(),
            model.to_onnx("m", "distance").unwrap()
        );

        // Without some of the frames it is as if they had never been.
        let without: Vec<usize> = (0..60).filter(|frame| frame % 4 != 1).collect();
        let mut part = kept.part(without.clone(), 45);
        let options = model.options(45, &options);
        let of_part = fit(&mut part.clone(), &mut part, &kind, &options).unwrap();
        let mut others = Frames {
            shapes: train.shapes.clone(),
            values: without.iter().map(|&f| train.values[f].clone()).collect(),
        };
        let of_others = fit(&mut others, &mut held_out, &kind, &options).unwrap();
        for frame in [1, 2] {
            let direct = distances(&of_others[0], &train.maps(frame));
            assert_eq!(kept.distance(frame, &of_part[0]).unwrap(), direct);
        }
    }
    let mut other = Frames::random(&SHAPES[..2], 60, 1);
    let options = Options::default();
    let other = fit(
        &mut other,
        &mut Frames::random(&SHAPES[..2], 5, 2),
        &kinds[..1],
        &options,
    )
    .unwrap();
    assert!(models[0].of_maps_of(&other[0]).is_err());
}

#[test]
fn mixtures_by_brute_force() {
    // Four clusters, far apart, of vectors whose membership the first two channels tell.
    let mut random = Pcg64::seed_from_u64(5);
    let mut frames = |count: usize| Frames {
        shapes: vec![("m", [3, 8, 8])],
        values: (0..count)
            .map(|_| {
                let mut values = vec![0.0_f32; 192];
                for place in 0..64 {
                    let cluster = random.random_range(0..4_u32) as f32;
                    let noise: [f32; 3] =
                        std::array::from_fn(|_| StandardNormal.sample(&mut random));
                    values[place] = 100.0 * (cluster % 2.0) + noise[0];
                    values[64 + place] =
                        100.0 * (cluster / 2.0).floor() + (1.0 + cluster) * noise[1];
                    values[128 + place] = noise[2] - 0.5 * cluster * noise[0];
                }
                vec![values]
            })
            .collect(),
    };
    let (mut train, mut held_out) = (frames(30), frames(10));
    let options = Options {
        components: vec![1, 4],
        ..Options::default()
    };
    let models = fit(&mut train, &mut held_out, &[Kind::PositionFree], &options).unwrap();
    let summary = models[0].summary();
    assert_eq!((summary.kind, summary.components), ("position-free", 4));

    let vectors = |maps: &[FeatureMap<'_>]| -> Vec<DVector<f64>> {
        let values = maps[0].values;
        (0..64)
            .map(|p| DVector::from_fn(3, |c, _| f64::from(values[c * 64 + p])))
            .collect()
    };
    let all: Vec<Vec<DVector<f64>>> = (0..30).map(|i| vectors(&train.maps(i))).collect();
    let scale = deviations(&all).map(|d| 1.0 / d);
    let mut clusters = vec![Vec::new(); 4];
    for vector in all.iter().flatten() {
        let cluster = ((vector[0] / 100.0).round() + 2.0 * (vector[1] / 100.0).round()) as usize;
        clusters[cluster].push(vector.component_mul(&scale));
    }
    let count = 30.0 * 64.0;
    let moments: Vec<(f64, DVector<f64>, DMatrix<f64>)> = clusters
        .iter()
        .map(|members| {
            let n = members.len() as f64;
            let mean = members.iter().sum::<DVector<f64>>() / n;
            let scatter: DMatrix<f64> = members
                .iter()
                .map(|v| (v - &mean) * (v - &mean).transpose())
                .sum();
            (n / count, mean, scatter / n)
        })
        .collect();
    let pooled: DMatrix<f64> = moments.iter().map(|(share, _, own)| own * *share).sum();
    let gaussians: Vec<(f64, DVector<f64>, DMatrix<f64>)> = moments
        .into_iter()
        .map(|(share, mean, own)| {
            let covariance = own * (1.0 - summary.share)
                + &pooled * summary.share
                + DMatrix::identity(3, 3) * summary.floor;
            let penalty = covariance.determinant().ln() - 2.0 * share.ln();
            (penalty, mean, covariance.try_inverse().unwrap())
        })
        .collect();
    let least = gaussians.iter().map(|g| g.0).fold(f64::INFINITY, f64::min);
    let mut other = frames(1);
    other.values[0][0].iter_mut().for_each(|v| *v *= 1.5);
    let expected: Vec<f64> = vectors(&other.maps(0))
        .iter()
        .map(|vector| {
            let v = vector.component_mul(&scale);
            gaussians
                .iter()
                .map(|(penalty, mean, inverse)| {
                    let d = mahalanobis(&v, &(mean.clone(), inverse.clone()));
                    (d * d + penalty - least).sqrt()
                })
                .fold(f64::INFINITY, f64::min)
        })
        .collect();
    let found = distances(&models[0], &other.maps(0));
    for (&found, expected) in found.iter().zip(expected) {
        let error = (f64::from(found) - expected).abs() / expected.max(1.0);
        assert!(error < 1e-2, "{found}, by brute force {expected}");
    }
}

fn engine(kind: BackendKind) -> Option<Engine> {
    let options = EngineOptions {
        backend: Some(kind),
        device: edge_vae::backend::Device::Cpu,
        ..EngineOptions::default()
    };
    match Engine::open(&options) {
        Ok(engine) => Some(engine),
        Err(BackendError::LibraryMissing { .. }) => {
            eprintln!("skipped: no ONNX Runtime; name it by ORT_DYLIB_PATH");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Largest relative difference between a model and its graph on two frames in one batch.
fn disagreement(model: &Model, engine: &Engine, frames: &Frames) -> f64 {
    let onnx = model.to_onnx("test", "distance").unwrap();
    let mut graph = engine.load(&onnx, "features.onnx", 2).unwrap();
    assert_eq!(graph.metadata("edge_vae.graph").unwrap(), "features");
    let inputs: Vec<Vec<f32>> = graph
        .inputs()
        .iter()
        .map(|input| {
            let map = frames
                .shapes
                .iter()
                .position(|(name, _)| *name == input.name)
                .unwrap();
            [&frames.values[0][map][..], &frames.values[1][map]].concat()
        })
        .collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let [h, w] = model.grid();
    assert_eq!(graph.outputs()[0].shape, [2, 1, h, w]);
    assert_eq!(graph.outputs()[0].name, "distance");
    let mut found = vec![0.0_f32; 2 * h * w];
    graph.run(&inputs, &mut [&mut found]).unwrap();
    let expected = [0, 1].map(|i| distances(model, &frames.maps(i))).concat();
    found
        .iter()
        .zip(&expected)
        .map(|(&a, &b)| f64::from((a - b).abs() / b.abs().max(1.0)))
        .fold(0.0, f64::max)
}

fn agrees(kind: BackendKind) {
    let Some(engine) = engine(kind) else { return };
    for (directions, context) in [(5, 4), (9, 4), (9, 0)] {
        let options = Options {
            directions: Some(directions),
            context: Some(context),
            ..Options::default()
        };
        let kinds = [&Kind::GAUSSIANS[..], &[Kind::Vae]].concat();
        let (_, held_out, models) = fitted(20, &kinds, &options);
        // Maps of 4×4 are too small for a VAE.
        assert_eq!(models.len(), 3);
        for model in &models {
            let worst = disagreement(model, &engine, &held_out);
            assert!(
                worst < 1e-4,
                "{} in {directions} directions: {worst:.1e}",
                model.kind()
            );
        }
    }
}

#[test]
fn tract_computes_the_same() {
    agrees(BackendKind::Tract);
}

#[test]
fn onnx_runtime_computes_the_same() {
    agrees(BackendKind::Ort);
}

/// Waves whose phase the frame decides, and a kink in one of them: Gaussians of cells see nothing.
#[test]
fn a_vae_sees_what_neighbours_tell() {
    let mut random = Pcg64::seed_from_u64(11);
    let mut frame = |kinked: bool| {
        let phase = random.random_range(0.0..std::f32::consts::TAU);
        let mut value = |place: usize| {
            let column = (place % 8) as f32;
            let noise: f32 = StandardNormal.sample(&mut random);
            [0.0, 1.6].map(|quarter| (0.8 * column + phase + quarter).sin() + 0.05 * noise)
        };
        let cells: Vec<[f32; 2]> = (0..64).map(&mut value).collect();
        let mut maps: Vec<f32> = [0, 1]
            .iter()
            .flat_map(|&c| cells.iter().map(move |cell| cell[c]))
            .collect();
        if kinked {
            maps[27] = -maps[27];
            maps[64 + 27] = -maps[64 + 27];
        }
        vec![maps]
    };
    let mut frames = |count: usize, kinked: bool| Frames {
        shapes: vec![("m", [2, 8, 8])],
        values: (0..count).map(|_| frame(kinked)).collect(),
    };
    let (mut train, mut held_out) = (frames(200, false), frames(20, false));
    let kinked = frames(20, true);
    let options = Options {
        grid: Some([8, 8]),
        context: Some(0),
        steps: 400,
        ..Options::default()
    };
    let kinds = [Kind::PerPosition, Kind::Vae];
    let models = fit(&mut train, &mut held_out, &kinds, &options).unwrap();
    let found = |model: &Model| {
        let of = |frames: &Frames, i| distances(model, &frames.maps(i))[27];
        let threshold = (0..20).map(|i| of(&held_out, i)).fold(f32::MIN, f32::max);
        (0..20).filter(|&i| of(&kinked, i) > threshold).count()
    };
    let [gaussian, vae] = [&models[0], &models[1]].map(found);
    assert!(gaussian < 5 && vae > 15, "{gaussian} {vae} of 20");

    for kind in BackendKind::ALL {
        let Some(engine) = engine(kind) else { continue };
        let worst = disagreement(&models[1], &engine, &kinked);
        assert!(worst < 1e-4, "{kind}: {worst:.1e}");
    }
}

#[test]
fn large_whitenings_come_in_parts() {
    // 11×13 cells of 88 directions are more than 2^20 elements.
    for context in [0, 96] {
        let model = made_up([11, 13], [88, context], 100, &mut Pcg64::seed_from_u64(3));
        let frames = Frames::random(&[("features", [100, 11, 13])], 2, 4);
        for kind in BackendKind::ALL {
            let Some(engine) = engine(kind) else { continue };
            let worst = disagreement(&model, &engine, &frames);
            assert!(worst < 1e-4, "{kind}: {worst:.1e}");
        }
    }
}

#[test]
fn large_mixtures_come_in_parts() {
    // 64 components of 160 directions are more than 2^20 elements.
    let mut model = made_up([4, 4], [160, 0], 160, &mut Pcg64::seed_from_u64(3));
    let mut random = Pcg64::seed_from_u64(4);
    let (components, directions) = (64, 160);
    let mut normal = |deviation: f32| -> f32 {
        let value: f32 = StandardNormal.sample(&mut random);
        deviation * value
    };
    model.density = Density::Mixture(Mixture {
        directions,
        whitening: (0..components * triangle::length(directions))
            .map(|_| f16::from_f32(normal(0.1)))
            .collect(),
        offset: (0..components * directions).map(|_| normal(1.0)).collect(),
        penalty: (0..components).map(|k| k as f32).collect(),
        shrinkage: Shrinkage {
            share: 0.0,
            floor: 0.0,
        },
        log_likelihood: 0.0,
    });
    let frames = Frames::random(&[("features", [160, 4, 4])], 2, 4);
    for kind in BackendKind::ALL {
        let Some(engine) = engine(kind) else { continue };
        let worst = disagreement(&model, &engine, &frames);
        assert!(worst < 1e-4, "{kind}: {worst:.1e}");
    }
}

/// Per-position Gaussians without frames.
fn made_up(
    size: [usize; 2],
    [directions, context]: [usize; 2],
    channels: usize,
    random: &mut impl Rng,
) -> Model {
    let values = vec![0.0; channels * size[0] * size[1]];
    let map = FeatureMap {
        name: "features",
        shape: [channels, size[0], size[1]],
        values: &values,
    };
    let grid = Grid::choose(&[map], Some(size)).unwrap();
    let mut normal = |deviation: f32| -> f32 {
        let value: f32 = StandardNormal.sample(random);
        deviation * value
    };
    let projection = Projection {
        mean: DVector::from_fn(channels, |_, _| normal(1.0)),
        weights: DMatrix::from_fn(directions, channels, |_, _| normal(0.1)),
    };
    let cells = size[0] * size[1];
    let of_frame = Context {
        mean: DVector::from_fn(channels, |_, _| normal(1.0)),
        weights: DMatrix::from_fn(context, channels, |_, _| normal(0.3)),
    };
    let mut halves = |count: usize, deviation: f32| -> Vec<f16> {
        (0..count)
            .map(|_| f16::from_f32(normal(deviation)))
            .collect()
    };
    let stored = CellGaussians {
        directions,
        mean: (0..cells * directions)
            .map(|i| (i as f32 * 0.7).sin())
            .collect(),
        whitening: halves(cells * triangle::length(directions), 1.0),
        context: of_frame,
        expected: (0..cells * directions * context)
            .map(|i| (i * 37 % 251) as i8)
            .collect(),
        spread: (0..context).map(|i| 0.02 * (i as f32).cos()).collect(),
        expected_scale: (0..cells * directions)
            .map(|i| 0.01 + (i as f32 * 0.3).sin().abs() / 100.0)
            .collect(),
    };
    Model {
        grid,
        projection: Arc::new(projection),
        density: Density::Cells {
            widened: Arc::new(stored.widen()),
            stored: Arc::new(stored),
            reach: 0,
        },
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let bytes = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let options = Options {
                directions: Some(5),
                components: vec![1, 4],
                ..Options::default()
            };
            let (_, _, mut models) = fitted(20, &Kind::GAUSSIANS, &options);
            let shapes = [("m", [3, 8, 8])];
            let mut train = Frames::random(&shapes, 10, 1);
            let mut held_out = Frames::random(&shapes, 2, 2);
            let options = Options {
                steps: 5,
                ..options
            };
            models.extend(fit(&mut train, &mut held_out, &[Kind::Vae], &options).unwrap());
            assert_eq!(models.len(), 4);
            models
                .iter()
                .flat_map(|model| model.to_onnx("test", "distance").unwrap())
                .collect::<Vec<u8>>()
        })
    };
    assert!(bytes(1) == bytes(3));
}

#[test]
fn few_frames_and_constant_channels_do() {
    for train in [2, 3] {
        let mut frames = Frames::random(&SHAPES, train, 1);
        for maps in &mut frames.values {
            // A channel that never moves, and two that are copies of one.
            maps[1][..16].fill(3.0);
            let (copied, rest) = maps[1][16..].split_at_mut(16);
            rest[..16].copy_from_slice(copied);
        }
        let mut held_out = Frames::random(&SHAPES, 1, 2);
        let models = fit(
            &mut frames,
            &mut held_out,
            &Kind::GAUSSIANS,
            &Options::default(),
        )
        .unwrap();
        for model in &models {
            let far = distances(model, &held_out.maps(0));
            let near = distances(model, &frames.maps(0));
            assert!(far.iter().chain(&near).all(|d| d.is_finite()));
            let sum = |d: &[f32]| d.iter().sum::<f32>();
            assert!(sum(&far) > sum(&near), "{}", model.kind());
        }
    }
}

#[test]
fn what_cannot_be_fitted_is_named() {
    let refusal = |train: usize, tested: usize, spoil: &dyn Fn(&mut Frames)| {
        let mut frames = Frames::random(&SHAPES, train, 1);
        spoil(&mut frames);
        let mut held_out = Frames::random(&SHAPES, tested, 2);
        let fitted = fit(
            &mut frames,
            &mut held_out,
            &Kind::GAUSSIANS,
            &Options::default(),
        );
        format!("{:#}", fitted.err().unwrap())
    };
    let text = refusal(12, 2, &|frames| frames.values[9][1][5] = f32::NAN);
    assert!(
        text.contains(
            "normal frame 9: feature map `features_8` is NaN at channel 0, row 1, column 1"
        ),
        "{text}"
    );
    let text = refusal(1, 2, &|_| ());
    assert!(text.contains("found 1 normal frames"), "{text}");
    let text = refusal(4, 0, &|_| ());
    assert!(text.contains("held-out"), "{text}");
    let text = refusal(4, 1, &|frames| {
        let first = frames.values[0].clone();
        frames.values.fill(first.clone());
        for maps in &mut frames.values {
            maps.iter_mut().for_each(|map| map.fill(1.0));
        }
    });
    assert!(text.contains("the same in all of 4"), "{text}");
}

#[test]
fn default_sizes_keep_the_budget() {
    let channels = [
        ("features_4", 64),
        ("features_8", 96),
        ("features_16", 128),
        ("head", 97),
    ];
    // Frames that are no copies; a grid's side; directions.
    for (originals, side, expected) in [
        (20, 16, 64),
        (600, 16, 64),
        (20, 32, 56),
        (600, 32, 32),
        (600, 7, 64),
    ] {
        let count: usize = channels.iter().map(|(_, c)| c).sum();
        let values = vec![0.0; count * side * side];
        let maps = channels.map(|(name, c)| FeatureMap {
            name,
            shape: [c, side, side],
            values: &values[..c * side * side],
        });
        let grid = Grid::choose(&maps, Some([side, side])).unwrap();
        let directions = fit::directions_of_cells(&grid, originals, &Options::default());
        assert_eq!(directions, expected);
        let model = made_up(
            [side, side],
            [directions, context::directions(originals)],
            count,
            &mut Pcg64::seed_from_u64(1),
        );
        let bytes = model.to_onnx("test", "distance").unwrap().len();
        assert!(
            bytes <= 5_000_000,
            "{side}×{side}: {directions} directions, {bytes} bytes"
        );
    }
}
