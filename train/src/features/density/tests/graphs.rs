use std::sync::Arc;

use edge_vae::backend::BackendError;
use half::f16;
use rand::Rng;

use super::{
    components::Projection,
    covariate::Covariate,
    mixture::Mixture,
    per_location::{CellGaussians, Rows},
    *,
};

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
fn disagreement(model: &FittedDensity, engine: &Engine, frames: &Frames) -> f64 {
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
    for (components, covariate) in [(5, 4), (9, 4), (9, 0)] {
        let options = FitOptions {
            components: Some(components),
            covariate: Some(covariate),
            ..FitOptions::default()
        };
        let kinds = [&GAUSSIANS[..], &[DensityKind::Vae]].concat();
        let (_, held_out, models) = fitted(20, &kinds, &options);
        // Maps of 4×4 are too small for a VAE.
        assert_eq!(models.len(), 3);
        for model in &models {
            let worst = disagreement(model, &engine, &held_out);
            assert!(
                worst < 1e-4,
                "{} in {components} components: {worst:.1e}",
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
    let options = FitOptions {
        grid: Some([8, 8]),
        covariate: Some(0),
        steps: 400,
        ..FitOptions::default()
    };
    let kinds = [PER_LOCATION, DensityKind::Vae];
    let models = fit(&mut train, &mut held_out, &kinds, &options).unwrap();
    let found = |model: &FittedDensity| {
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
fn a_vae_takes_grids_that_it_can_not_halve_twice() {
    let shapes = [("m", [3, 7, 10])];
    let mut train = Frames::random(&shapes, 12, 5);
    let mut held_out = Frames::random(&shapes, 4, 6);
    let options = FitOptions {
        steps: 3,
        ..FitOptions::default()
    };
    let models = fit(&mut train, &mut held_out, &[DensityKind::Vae], &options).unwrap();
    for kind in BackendKind::ALL {
        let Some(engine) = engine(kind) else { continue };
        let worst = disagreement(&models[0], &engine, &held_out);
        assert!(worst < 1e-4, "{kind}: {worst:.1e}");
    }
}

#[test]
fn large_whitenings_come_in_parts() {
    // 11×13 cells of 88 components are more than 2^20 elements.
    for covariate in [0, 96] {
        let model = made_up([11, 13], [88, covariate], 100, &mut Pcg64::seed_from_u64(3));
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
    // 64 Gaussians of 160 components are more than 2^20 elements.
    let mut model = made_up([4, 4], [160, 0], 160, &mut Pcg64::seed_from_u64(3));
    let mut random = Pcg64::seed_from_u64(4);
    let (gaussians, components) = (64, 160);
    let mut normal = |deviation: f32| -> f32 {
        let value: f32 = StandardNormal.sample(&mut random);
        deviation * value
    };
    model.density = Density::Mixture(Mixture {
        components,
        whitening: (0..gaussians * triangle::length(components))
            .map(|_| f16::from_f32(normal(0.1)))
            .collect(),
        offset: (0..gaussians * components).map(|_| normal(1.0)).collect(),
        penalty: (0..gaussians).map(|k| k as f32).collect(),
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

/// Per-location Gaussians without frames.
pub(super) fn made_up(
    size: [usize; 2],
    [components, covariate]: [usize; 2],
    channels: usize,
    random: &mut impl Rng,
) -> FittedDensity {
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
        weights: DMatrix::from_fn(components, channels, |_, _| normal(0.1)),
    };
    let cells = size[0] * size[1];
    let of_frame = Covariate {
        mean: DVector::from_fn(channels, |_, _| normal(1.0)),
        weights: DMatrix::from_fn(covariate, channels, |_, _| normal(0.3)),
    };
    let rows = |rows: usize, values: usize| Rows {
        scale: (0..rows)
            .map(|i| 0.01 + (i as f32 * 0.3).sin().abs() / 100.0)
            .collect(),
        values: (0..values).map(|i| (i * 37 % 251) as i8).collect(),
    };
    let stored = CellGaussians {
        components,
        weight: 40.0,
        floors: vec![0.005; components],
        mean: (0..cells * components)
            .map(|i| (i as f32 * 0.7).sin())
            .collect(),
        whitening: rows(cells * components, cells * triangle::length(components)),
        covariate: of_frame,
        expected: rows(cells * components, cells * components * covariate),
        scale_correction: (0..covariate).map(|i| 0.02 * (i as f32).cos()).collect(),
    };
    FittedDensity {
        grid,
        subset: ComponentSubset::All,
        projection: Arc::new(projection),
        density: Density::Cells {
            widened: Arc::new(stored.widen()),
            stored: Arc::new(stored),
            reach: 0,
        },
    }
}
