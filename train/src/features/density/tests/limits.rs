use super::{component_subset::CellComponents, graphs::made_up, *};

#[test]
fn bits_do_not_depend_on_threads() {
    let bytes = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let options = FitOptions {
                components: Some(5),
                gaussians: vec![1, 4],
                ..FitOptions::default()
            };
            let (_, _, mut models) = fitted(20, &GAUSSIANS, &options);
            let shapes = [("m", [3, 8, 8])];
            let mut train = Frames::random(&shapes, 10, 1);
            let mut held_out = Frames::random(&shapes, 2, 2);
            let options = FitOptions {
                steps: 5,
                ..options
            };
            models.extend(fit(&mut train, &mut held_out, &[DensityKind::Vae], &options).unwrap());
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
            &GAUSSIANS,
            &FitOptions::default(),
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
            &GAUSSIANS,
            &FitOptions::default(),
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
    // Frames that are no augmented samples; a grid's side; components of all, of the leading and
    // of the least varying.
    for (originals, side, expected) in [
        (20, 16, [160, 64, 160]),
        (600, 16, [128, 64, 128]),
        (600, 32, [64, 64, 64]),
        (600, 7, [320, 64, 193]),
    ] {
        let count: usize = channels.iter().map(|(_, c)| c).sum();
        let values = vec![0.0; count * side * side];
        let maps = channels.map(|(name, c)| FeatureMap {
            name,
            shape: [c, side, side],
            values: &values[..c * side * side],
        });
        let grid = Grid::choose(&maps, Some([side, side])).unwrap();
        let each = [
            ComponentSubset::All,
            ComponentSubset::Leading,
            ComponentSubset::LeastVarying,
        ];
        let options = FitOptions::default();
        let parts = each.map(|of| CellComponents::of_cells(of, &grid, originals, &options));
        assert_eq!(parts.clone().map(|part| part.components.len()), expected);
        assert_eq!(parts[2].components.end, count);
        for part in parts {
            let components = part.components.len();
            let sizes = [components, part.covariate];
            let model = made_up([side, side], sizes, count, &mut Pcg64::seed_from_u64(1));
            let bytes = model.to_onnx("test", "distance").unwrap().len();
            assert!(
                bytes <= options.bytes,
                "{side}×{side}: {components} components, {bytes} bytes"
            );
            assert!(part.covariate >= covariate::components(originals).min(24));
        }
    }
}
