//! Dense layers, normalisation over a batch, and the moving of channels.

use candle_core::{DType, Device, Tensor, Var};

use super::{ACTIVATIONS, check_against, check_gradients, flat, normals};
use crate::nn::ops::{
    Activation, batch_norm, batch_norm_residual, linear, pixel_shuffle, reference, space_to_depth,
};

#[test]
fn dense_layers_have_the_gradients_of_central_differences() {
    for (rows, inputs, outputs) in [(1, 3, 2), (3, 5, 4), (2, 1, 1)] {
        let tensors = normals(1, &[&[rows, inputs], &[outputs, inputs], &[outputs]]);
        for act in ACTIVATIONS {
            check_gradients(
                "linear",
                &|t| linear(&t[0], &t[1], Some(&t[2]), act),
                &tensors,
                3,
            );
            check_gradients(
                "linear",
                &|t| linear(&t[0], &t[1], None, act),
                &tensors[..2],
                2,
            );
            check_against(
                "linear",
                &|t| linear(&t[0], &t[1], Some(&t[2]), act),
                &|t| reference::activate(&t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2])?, act),
                &tensors,
                1e-12,
            );
        }
    }
}

#[test]
fn batch_norm_has_the_gradients_of_central_differences() {
    for shape in [&[1, 3, 2, 2][..], &[3, 2, 3, 1], &[4, 3]] {
        let channels: &[usize] = &shape[shape.len() - 1..];
        let inputs = normals(2, &[shape, channels, channels, shape]);
        for act in ACTIVATIONS {
            let plain = |t: &[Tensor]| Ok(batch_norm(&t[0], &t[1], &t[2], 1e-3, act)?.0);
            check_gradients(&format!("batch_norm {act:?}"), &plain, &inputs[..3], 3);
            let residual =
                |t: &[Tensor]| Ok(batch_norm_residual(&t[0], &t[1], &t[2], 1e-3, &t[3], act)?.0);
            check_gradients(
                &format!("batch_norm_residual {act:?}"),
                &residual,
                &inputs,
                4,
            );
            check_against(
                "batch_norm",
                &plain,
                &|t| Ok(reference::batch_norm(&t[0], &t[1], &t[2], 1e-3, None, act)?.0),
                &inputs[..3],
                1e-10,
            );
            check_against(
                "batch_norm_residual",
                &residual,
                &|t| Ok(reference::batch_norm(&t[0], &t[1], &t[2], 1e-3, Some(&t[3]), act)?.0),
                &inputs,
                1e-10,
            );
        }
    }
}

#[test]
fn batch_statistics_are_exact_far_from_zero() {
    // 70,000 rows make several parts; a difference of sums of squares would lose every digit here.
    let x = ((normals(3, &[&[70_000, 3]]).remove(0) * 0.01).unwrap() + 1000.0).unwrap();
    let x = x.to_dtype(DType::F32).unwrap();
    let ones = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    let (_, mean, variance) = batch_norm(&x, &ones, &ones, 1e-5, Activation::Identity).unwrap();
    let double = x.to_dtype(DType::F64).unwrap();
    let expected_mean = double.mean(0).unwrap();
    let expected = double
        .broadcast_sub(&expected_mean)
        .unwrap()
        .sqr()
        .unwrap()
        .mean(0)
        .unwrap();
    for (found, expected) in flat(&mean).iter().zip(flat(&expected_mean)) {
        assert!(
            (found / expected - 1.0).abs() < 1e-7,
            "{found} for {expected}"
        );
    }
    for (found, expected) in flat(&variance).iter().zip(flat(&expected)) {
        assert!(
            (found / expected - 1.0).abs() < 1e-3,
            "{found} for {expected}"
        );
    }
}

#[test]
fn statistics_of_a_batch_carry_no_gradient() {
    let inputs = normals(4, &[&[5, 2], &[2], &[2]]);
    let x = Var::from_tensor(&inputs[0]).unwrap();
    let (_, mean, variance) =
        batch_norm(&x, &inputs[1], &inputs[2], 1e-3, Activation::Relu).unwrap();
    assert!(!mean.track_op() && !variance.track_op());
}

#[test]
fn pixel_shuffle_moves_channels_as_depth_to_space_crd() {
    // ONNX's own example for CRD, a picture of 1×2 positions and 2·2² channels c0…c7.
    let x = Tensor::arange(0f64, 16.0, &Device::Cpu)
        .unwrap()
        .reshape((1, 1, 2, 8))
        .unwrap();
    let y = pixel_shuffle(&x, 2).unwrap();
    assert_eq!(y.dims(), [1, 2, 4, 2]);
    let expected = [
        0.0, 4.0, 1.0, 5.0, 8.0, 12.0, 9.0, 13.0, //
        2.0, 6.0, 3.0, 7.0, 10.0, 14.0, 11.0, 15.0,
    ];
    assert_eq!(flat(&y), expected);
    for (shape, r) in [([1, 2, 3, 8], 2), ([3, 1, 2, 9], 3), ([2, 2, 1, 3], 1)] {
        let inputs = normals(5, &[&shape]);
        check_gradients("pixel_shuffle", &|t| pixel_shuffle(&t[0], r), &inputs, 1);
        check_against(
            "pixel_shuffle",
            &|t| pixel_shuffle(&t[0], r),
            &|t| reference::pixel_shuffle(&t[0], r),
            &inputs,
            0.0,
        );
    }
}

#[test]
fn space_to_depth_moves_squares_as_onnx_does() {
    let x = Tensor::arange(0f64, 16.0, &Device::Cpu)
        .unwrap()
        .reshape((1, 2, 4, 2))
        .unwrap();
    let y = space_to_depth(&x, 2).unwrap();
    assert_eq!(y.dims(), [1, 1, 2, 8]);
    let expected = [
        0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0, //
        4.0, 5.0, 6.0, 7.0, 12.0, 13.0, 14.0, 15.0,
    ];
    assert_eq!(flat(&y), expected);
    for (shape, r) in [([1, 4, 6, 3], 2), ([2, 3, 6, 1], 3), ([2, 2, 1, 3], 1)] {
        let inputs = normals(5, &[&shape]);
        check_gradients("space_to_depth", &|t| space_to_depth(&t[0], r), &inputs, 1);
    }
    // The inverse of the shuffle where there is one channel.
    let x = normals(6, &[&[2, 4, 4, 1]]).remove(0);
    let back = pixel_shuffle(&space_to_depth(&x, 4).unwrap(), 4).unwrap();
    assert_eq!(flat(&back), flat(&x));
}
