use super::*;

#[test]
fn two_halves_are_one_frame() {
    let kinds = [PER_LOCATION, LOCAL_NEIGHBOURHOOD];
    let (frames, mut held_out, whole) = fitted(40, &kinds, &FitOptions::default());
    let options = FitOptions {
        grid: Some([4, 4]),
        ..FitOptions::default()
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

#[test]
fn distances_by_brute_force() {
    let kinds = [PER_LOCATION, LOCAL_NEIGHBOURHOOD];
    let options = FitOptions {
        covariate: Some(0),
        ..FitOptions::default()
    };
    let (frames, _, models) = fitted(40, &kinds, &options);
    assert_eq!(models[0].grid(), [4, 4]);
    let summary = models[0].summary();
    assert_eq!((summary.components, summary.channels), (9, 9));
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

    assert_eq!(models[1].kind(), LOCAL_NEIGHBOURHOOD);
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

/// The floor in the units of a model's components: a row of the projection is a unit vector by the
/// channels' scales and the component's.
fn floor(model: &FittedDensity, frames: &Frames) -> DMatrix<f64> {
    let (scale, _) = brute_force(frames);
    let weights = &model.projection.weights;
    let squares = weights.row_iter().map(|row| {
        let channels = row.iter().zip(&scale);
        channels.map(|(w, s)| (f64::from(*w) / s).powi(2)).sum()
    });
    let squares = DVector::from_iterator(weights.nrows(), squares);
    DMatrix::from_diagonal(&(squares * per_location::PARAMS.floor))
}

#[test]
fn fewer_components_than_channels() {
    let options = FitOptions {
        components: Some(3),
        covariate: Some(0),
        ..FitOptions::default()
    };
    let (frames, _, models) = fitted(30, &[PER_LOCATION], &options);
    let summary = models[0].summary();
    assert_eq!(summary.components, 3);
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
            let covariance = own + floor(&models[0], &frames);
            let vector = vectors.column(cell).clone_owned();
            mahalanobis(&vector, &(mean.clone(), covariance.try_inverse().unwrap()))
        })
        .collect();
    assert_close(&found, &expected);
}

/// The regression of each cell on the covariates, and the distance of a frame by it, from the
/// definition.
#[test]
fn covariates_by_brute_force() {
    const FRAMES: usize = 40;
    let options = FitOptions {
        covariate: Some(3),
        ..FitOptions::default()
    };
    let kinds = [PER_LOCATION, LOCAL_NEIGHBOURHOOD];
    let (frames, _, models) = fitted(FRAMES, &kinds, &options);
    assert_eq!(models[0].summary().covariate, 3);
    let Density::Cells { stored, .. } = &models[0].density else {
        panic!("{}", models[0].kind());
    };
    let seen = |maps: &[FeatureMap<'_>]| {
        let pooled = models[0].grid.pool(maps).unwrap();
        let covariate = stored.covariate.of(&pooled).map(f64::from);
        (models[0].projection.apply(pooled).map(f64::from), covariate)
    };
    let trained: Vec<_> = (0..FRAMES).map(|i| seen(&frames.maps(i))).collect();
    let n = FRAMES as f64;
    let level = trained.iter().map(|(_, a)| a).sum::<DVector<f64>>() / n;
    let products: DMatrix<f64> = trained
        .iter()
        .map(|(_, a)| (a - &level) * (a - &level).transpose())
        .sum();
    let ridge = DMatrix::identity(3, 3) * per_location::PARAMS.ridge;
    let inverse = (&products + ridge).try_inverse().unwrap();
    let freedom = (&inverse * &products).trace();
    assert!(freedom > 2.0 && freedom < 3.0, "{freedom}");

    let other = Frames::random(&SHAPES, 1, 9);
    let (vectors, covariate) = seen(&other.maps(0));
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
        let covariance = left / ((n - 1.0) * (1.0 - freedom / n)) + floor(&models[0], &frames);
        let gaussian = (expected(&covariate), covariance.try_inverse().unwrap());
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

/// What frames have in common as a whole is explained by it, and hides nothing that is at one
/// place.
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
    let ratio = |covariate: usize, train: &mut Frames, held_out: &mut Frames| {
        let options = FitOptions {
            grid: Some([8, 8]),
            covariate: Some(covariate),
            ..FitOptions::default()
        };
        let models = fit(train, held_out, &[PER_LOCATION], &options).unwrap();
        let [normal, spotted] = [0, 1].map(|i| distances(&models[0], &tested.maps(i)));
        let most = normal.iter().copied().fold(0.0, f32::max);
        spotted[27] / most
    };
    let without = ratio(0, &mut train, &mut held_out);
    let with = ratio(4, &mut train, &mut held_out);
    assert!(with > 1.5 * without, "{with} {without}");
}
