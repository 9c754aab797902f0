use super::*;

#[test]
fn kept_vectors_give_the_same_models() {
    let kinds = GAUSSIANS;
    let (mut train, mut held_out, models) = fitted(60, &kinds, &FitOptions::default());
    for model in &models {
        let kept = Kept::read(&mut train, Some(model.grid()), &Room::default()).unwrap();
        let options = model.options(60, &FitOptions::default());
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
        let of_maps = kept.of_maps(again[0].clone()).unwrap();
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
    let options = FitOptions::default();
    let other = fit(
        &mut other,
        &mut Frames::random(&SHAPES[..2], 5, 2),
        &kinds[..1],
        &options,
    )
    .unwrap();
    let kept = Kept::read(&mut train, None, &Room::default()).unwrap();
    assert!(kept.of_maps(other[0].clone()).is_err());
}

#[test]
fn vectors_in_a_file_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |room: Room| {
        let options = FitOptions {
            room: room.clone(),
            ..FitOptions::default()
        };
        let (mut train, _, mut models) = fitted(60, &GAUSSIANS, &options);
        let kept = Kept::read(&mut train, Some([4, 4]), &room).unwrap();
        let mut all = kept.part((0..60).collect(), 60);
        models.extend(fit(&mut all.clone(), &mut all, &GAUSSIANS, &options).unwrap());
        let graph = |model: &FittedDensity| model.to_onnx("test", "distance").unwrap();
        let distance = kept.distance(59, &models[3]).unwrap();
        (models.iter().flat_map(graph).collect::<Vec<u8>>(), distance)
    };
    let in_memory = bytes(Room::default());
    // A frame has nine channels in sixteen cells.
    for frames in [0, 1, 13] {
        let some = Room::new(frames * 9 * 16 * 4, folder.path().to_owned());
        assert!(bytes(some) == in_memory, "{frames} frames in memory");
    }
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
    let options = FitOptions {
        gaussians: vec![1, 4],
        ..FitOptions::default()
    };
    let models = fit(
        &mut train,
        &mut held_out,
        &[DensityKind::Mixture(ComponentSubset::All)],
        &options,
    )
    .unwrap();
    let summary = models[0].summary();
    assert_eq!((summary.kind, summary.gaussians), ("global mixture", 4));

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
