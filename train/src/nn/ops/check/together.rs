//! Operations together: shared and strided tensors, threads, shapes that do not fit.

use candle_core::{DType, Device, Tensor};

use super::{check_gradients, gradients, normals};
use crate::nn::ops::{
    Activation, activate, batch_norm, batch_norm_residual, conv_transpose2d, conv2d,
    cross_entropy_with_logits, focal_loss_with_logits, gaussian_nll, importance_log_weights,
    importance_weighted_bound, kl_standard_normal, linear, mean_of_largest, pixel_shuffle,
    reparameterise, soft_clamp, soft_dice_with_logits, space_to_depth,
};

#[test]
fn a_tensor_used_twice_gets_both_gradients() {
    let inputs = normals(10, &[&[2, 4, 3, 2], &[2, 3, 3, 2], &[2]]);
    let shared = |t: &[Tensor]| {
        let inner = conv2d(&t[0], &t[1], Some(&t[2]), 1, 1, Activation::Silu)?;
        let outer = conv2d(&inner, &t[1], Some(&t[2]), 1, 1, Activation::Relu)?;
        let normalised =
            batch_norm_residual(&outer, &t[2], &t[2], 1e-2, &inner, Activation::LeakyRelu)?.0;
        let up = conv_transpose2d(&normalised, &t[1], None, 1, 1, Activation::Identity)?;
        kl_standard_normal(
            &activate(&up, Activation::Silu)?,
            &soft_clamp(&t[0], -1.0, 1.0)?,
        )
    };
    check_gradients("shared inputs", &shared, &inputs, 3);
    let same = |t: &[Tensor]| kl_standard_normal(&t[0], &t[0]);
    check_gradients("one tensor as both", &same, &inputs[..1], 1);
}

#[test]
fn strided_inputs_are_understood() {
    let inputs = normals(11, &[&[5, 3, 4, 2], &[3, 2, 2, 5]]);
    let turned = |t: &[Tensor]| {
        let x = t[0].permute((3, 1, 2, 0))?;
        conv2d(&x, &t[1], None, 1, 0, Activation::Silu)?.permute((0, 3, 1, 2))
    };
    check_gradients("permuted", &turned, &inputs, 2);
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let single = |seed: u64, shapes: &[&[usize]]| -> Vec<Tensor> {
        normals(seed, shapes)
            .iter()
            .map(|t| t.to_dtype(DType::F32).unwrap())
            .collect()
    };
    let inputs = single(
        12,
        &[
            &[7, 32, 32, 16],
            &[64, 4, 4, 16],
            &[64],
            &[64],
            &[64, 4, 4, 16],
            &[300, 7168],
            &[7, 300],
        ],
    );
    let step = |t: &[Tensor]| {
        let act = Activation::LeakyRelu;
        let coarse = conv2d(&t[0], &t[1], Some(&t[2]), 2, 1, act)?;
        let coarse = batch_norm_residual(&coarse, &t[2], &t[3], 1e-5, &coarse, act)?.0;
        let fine = conv_transpose2d(&coarse, &t[4], None, 2, 1, Activation::Silu)?;
        let dense = linear(&fine.reshape((16, 7168))?, &t[5], None, act)?;
        let nll = gaussian_nll(&t[0], &fine, &soft_clamp(&fine, -1.0, 1.0)?)?.sum_all()?;
        kl_standard_normal(&dense, &soft_clamp(&dense, -2.0, 2.0)?)?.broadcast_add(&nll)
    };
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| gradients(&step, &inputs[..6]))
    };
    let one = bits(1);
    assert!(one.iter().filter(|g| g.is_some()).count() == 6);
    for threads in [2, 3, 8] {
        assert!(
            one == bits(threads),
            "{threads} threads give other bits than one"
        );
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let t = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let act = Activation::Identity;
    assert!(conv2d(&t(&[1, 4, 4, 2]), &t(&[3, 3, 3, 1]), None, 1, 0, act).is_err());
    assert!(conv2d(&t(&[1, 2, 2, 2]), &t(&[3, 3, 3, 2]), None, 1, 0, act).is_err());
    assert!(conv2d(&t(&[1, 4, 4, 2]), &t(&[3, 3, 3, 2]), None, 0, 0, act).is_err());
    assert!(conv2d(&t(&[0, 4, 4, 2]), &t(&[3, 3, 3, 2]), None, 1, 0, act).is_err());
    assert!(
        conv2d(
            &t(&[1, 4, 4, 2]),
            &t(&[3, 3, 3, 2]),
            Some(&t(&[2])),
            1,
            0,
            act
        )
        .is_err()
    );
    assert!(conv_transpose2d(&t(&[1, 1, 1, 2]), &t(&[2, 2, 2, 3]), None, 2, 1, act).is_err());
    assert!(conv_transpose2d(&t(&[1, 3, 3, 2]), &t(&[3, 2, 2, 3]), None, 2, 0, act).is_err());
    assert!(linear(&t(&[2, 3]), &t(&[4, 2]), None, act).is_err());
    assert!(batch_norm(&t(&[2, 3]), &t(&[2]), &t(&[3]), 1e-5, act).is_err());
    assert!(pixel_shuffle(&t(&[1, 2, 2, 6]), 2).is_err());
    assert!(space_to_depth(&t(&[1, 2, 3, 1]), 2).is_err());
    assert!(gaussian_nll(&t(&[2, 3]), &t(&[2, 3]), &t(&[3])).is_err());
    assert!(kl_standard_normal(&t(&[0, 3]), &t(&[0, 3])).is_err());
    assert!(reparameterise(&t(&[2, 3]), &t(&[2, 3]), &t(&[2, 4])).is_err());
    assert!(soft_clamp(&t(&[2]), 1.0, 1.0).is_err());
    assert!(focal_loss_with_logits(&t(&[2, 3]), &t(&[2, 2]), 0.75).is_err());
    assert!(soft_dice_with_logits(&t(&[2, 3]), &t(&[3, 2])).is_err());
    assert!(mean_of_largest(&t(&[2, 3]), 4).is_err());
    assert!(cross_entropy_with_logits(&t(&[0]), &t(&[0])).is_err());
    let (z, noise) = (t(&[4, 3]), t(&[4, 3]));
    assert!(importance_log_weights(&t(&[2]), &z, &noise, &noise).is_err());
    assert!(importance_log_weights(&t(&[4]), &z, &t(&[4, 2]), &noise).is_err());
    assert!(importance_weighted_bound(&t(&[4])).is_err());
    let integers = Tensor::zeros((1, 2), DType::U32, &Device::Cpu).unwrap();
    assert!(activate(&integers, Activation::Relu).is_err());
}
