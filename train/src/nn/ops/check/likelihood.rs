//! Likelihoods, divergences and bounds.

use candle_core::{DType, Device, Tensor, Var};

use super::{Function, check_against, check_gradients, flat, normals};
use crate::nn::ops::{
    bernoulli_nll_with_logits, gaussian_nll, importance_log_weights, importance_weighted_bound,
    kl_standard_normal, reference, reparameterise, soft_clamp,
};

#[test]
fn likelihoods_and_divergence_have_the_gradients_of_central_differences() {
    for shape in [&[1, 5][..], &[3, 2, 3, 2], &[2, 1, 1, 1]] {
        let inputs = normals(6, &[shape, shape, shape]);
        check_gradients(
            "gaussian_nll",
            &|t| gaussian_nll(&inputs[0], &t[0], &t[1]),
            &inputs[1..],
            2,
        );
        check_gradients(
            "gaussian_nll's x",
            &|t| gaussian_nll(&t[0], &inputs[1], &inputs[2]),
            &inputs[..1],
            0,
        );
        check_gradients(
            "bernoulli",
            &|t| bernoulli_nll_with_logits(&inputs[0], &t[0]),
            &inputs[1..2],
            1,
        );
        check_gradients(
            "bernoulli's x",
            &|t| bernoulli_nll_with_logits(&t[0], &inputs[1]),
            &inputs[..1],
            0,
        );
        check_gradients("kl", &|t| kl_standard_normal(&t[0], &t[1]), &inputs[..2], 2);
        check_gradients(
            "reparameterise",
            &|t| reparameterise(&t[0], &t[1], &t[2]),
            &inputs,
            2,
        );
        check_gradients(
            "soft_clamp",
            &|t| soft_clamp(&t[0], -1.0, 0.5),
            &inputs[..1],
            1,
        );
        let against = |what: &str, ours: Function<'_>, theirs: Function<'_>, inputs: &[Tensor]| {
            check_against(what, ours, theirs, inputs, 1e-10);
        };
        against(
            "gaussian_nll",
            &|t| gaussian_nll(&t[0], &t[1], &t[2]),
            &|t| reference::gaussian_nll(&t[0], &t[1], &t[2]),
            &inputs,
        );
        against(
            "bernoulli",
            &|t| bernoulli_nll_with_logits(&t[0], &t[1]),
            &|t| reference::bernoulli_nll_with_logits(&t[0], &t[1]),
            &inputs[..2],
        );
        against(
            "kl",
            &|t| kl_standard_normal(&t[0], &t[1]),
            &|t| reference::kl_standard_normal(&t[0], &t[1]),
            &inputs[..2],
        );
        against(
            "reparameterise",
            &|t| reparameterise(&t[0], &t[1], &t[2]),
            &|t| reference::reparameterise(&t[0], &t[1], &t[2]),
            &inputs,
        );
        against(
            "soft_clamp",
            &|t| soft_clamp(&t[0], -1.0, 0.5),
            &|t| reference::soft_clamp(&t[0], -1.0, 0.5),
            &inputs[..1],
        );
    }
}

#[test]
fn likelihoods_and_divergence_have_the_values_of_closed_forms() {
    let row = |numbers: &[f64]| {
        Tensor::new(numbers, &Device::Cpu)
            .unwrap()
            .unsqueeze(0)
            .unwrap()
    };
    // N(1; 3, 4): ½ (ln 2π + ln 4 + 4/4).
    let found = gaussian_nll(&row(&[1.0]), &row(&[3.0]), &row(&[4f64.ln()])).unwrap();
    assert!((flat(&found)[0] - 2.112_085_713_764_618).abs() < 1e-12);
    // P(1) = ¾ and P(0) = ¼ at logit ln 3.
    let logits = row(&[3f64.ln(), 3f64.ln()]);
    let found = bernoulli_nll_with_logits(&row(&[1.0, 0.0]), &logits).unwrap();
    assert!((flat(&found)[0] - (4f64.ln() + (4.0f64 / 3.0).ln())).abs() < 1e-12);
    // KL(N(1, 4) ‖ N(0, 1)) = ½ (1 + 4 − 1 − ln 4).
    let found = kl_standard_normal(&row(&[1.0]), &row(&[4f64.ln()])).unwrap();
    assert!((flat(&found)[0] - (2.0 - 2f64.ln())).abs() < 1e-12);
    // No logit overflows.
    let far = row(&[1000.0, -1000.0]).to_dtype(DType::F32).unwrap();
    let x = row(&[1.0, 0.0]).to_dtype(DType::F32).unwrap();
    assert_eq!(flat(&bernoulli_nll_with_logits(&x, &far).unwrap()), [0.0]);
}

#[test]
fn sums_over_large_samples_are_accurate_in_single_precision() {
    let inputs = normals(9, &[&[2, 20_011], &[2, 20_011], &[2, 20_011]]);
    let single: Vec<Tensor> = inputs
        .iter()
        .map(|t| t.to_dtype(DType::F32).unwrap())
        .collect();
    let found = gaussian_nll(&single[0], &single[1], &single[2]).unwrap();
    let expected = reference::gaussian_nll(&inputs[0], &inputs[1], &inputs[2]).unwrap();
    for (found, expected) in flat(&found).iter().zip(flat(&expected)) {
        assert!(
            (found / expected - 1.0).abs() < 1e-6,
            "{found} for {expected}"
        );
    }
}

#[test]
fn soft_clamp_stays_in_bounds_and_keeps_a_gradient_outside() {
    let x = Tensor::new(&[-1e4f32, -60.0, 0.0, 0.1, 60.0, 1e4], &Device::Cpu).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    let y = soft_clamp(&x, -4.0, 4.0).unwrap();
    let values = flat(&y);
    assert!(values.iter().all(|y| (-4.0..=4.0).contains(y)));
    assert!((values[3] - 0.1).abs() < 1e-4);
    let grads = y.sum_all().unwrap().backward().unwrap();
    let slopes = flat(grads.get(&x).unwrap());
    assert!(slopes[1] > 0.0 && slopes[4] > 0.0, "{slopes:?}");
    assert_eq!(slopes[2], 1.0);
}

#[test]
fn importance_weighted_bound_has_the_gradients_of_central_differences() {
    // Two frames, three samples of each, four latents.
    let inputs = normals(13, &[&[6], &[6, 2, 2], &[6, 2, 2], &[6, 2, 2]]);
    let bound = |t: &[Tensor]| {
        let log_weights = importance_log_weights(&t[0], &t[1], &t[2], &t[3])?;
        importance_weighted_bound(&log_weights.reshape((3, 2))?)
    };
    check_gradients("importance-weighted bound", &bound, &inputs, 3);
}

/// Of z ~ N(0, 1), x|z ~ N(a·z + b, s²), everything is known. With the posterior as proposal every
/// weight is p(x); with another, the bound is the logarithm of the mean weight.
#[test]
fn importance_weighted_bound_of_a_linear_gaussian_model() {
    let (a, b, s, x) = (0.8_f64, -0.3, 0.5_f64, 1.1);
    let noise = normals(14, &[&[5, 1]]).remove(0);
    let log_normal = |x: f64, mean: f64, variance: f64| {
        -0.5 * ((std::f64::consts::TAU * variance).ln() + (x - mean).powi(2) / variance)
    };
    let marginal = log_normal(x, b, a * a + s * s);
    let precision = 1.0 + a * a / (s * s);
    let exact = (a * (x - b) / (s * s) / precision, 1.0 / precision);
    for (mean, variance) in [exact, (0.4, 0.7)] {
        let full = |value: f64| Tensor::full(value, (5, 1), &Device::Cpu).unwrap();
        let log_variance = full(variance.ln());
        let z = reparameterise(&full(mean), &log_variance, &noise).unwrap();
        let nll: Vec<f64> = flat(&z)
            .iter()
            .map(|z| -log_normal(x, a * z + b, s * s))
            .collect();
        let nll_tensor = Tensor::from_vec(nll.clone(), 5, &Device::Cpu).unwrap();
        let log_weights = importance_log_weights(&nll_tensor, &z, &log_variance, &noise).unwrap();
        let by_hand: Vec<f64> = flat(&z)
            .iter()
            .zip(&nll)
            .map(|(z, nll)| -nll + log_normal(*z, 0.0, 1.0) - log_normal(*z, mean, variance))
            .collect();
        for (found, wanted) in flat(&log_weights).iter().zip(&by_hand) {
            assert!((found - wanted).abs() < 1e-12, "{found} for {wanted}");
        }
        let bound = importance_weighted_bound(&log_weights.reshape((5, 1)).unwrap()).unwrap();
        let bound = flat(&bound)[0];
        let wanted = (by_hand.iter().map(|w| w.exp()).sum::<f64>() / 5.0).ln();
        assert!((bound - wanted).abs() < 1e-12, "{bound} for {wanted}");
        if (mean, variance) == exact {
            assert!((bound - marginal).abs() < 1e-12, "{bound} for {marginal}");
        }
    }
}
