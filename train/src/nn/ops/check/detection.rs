//! Losses of the head that finds defects.

use candle_core::{DType, Device, Tensor};

use super::{check_gradients, flat, normals};
use crate::nn::ops::{
    cross_entropy_with_logits, focal_loss_with_logits, mean_of_largest, soft_dice_with_logits,
};

/// Targets 0 and 1 of the given shape, about a third of them 1.
fn targets(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let numbers: Vec<f64> = (0..count).map(|i| f64::from(i % 3 == 1)).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

#[test]
fn detection_losses_have_the_gradients_of_central_differences() {
    for shape in [&[1, 5][..], &[3, 2, 3, 1]] {
        let logits = normals(13, &[shape]);
        let targets = targets(shape);
        check_gradients(
            "focal",
            &|t| focal_loss_with_logits(&t[0], &targets, 0.75),
            &logits,
            1,
        );
        check_gradients(
            "dice",
            &|t| soft_dice_with_logits(&t[0], &targets),
            &logits,
            1,
        );
        check_gradients("largest", &|t| mean_of_largest(&t[0], 3), &logits, 1);
        check_gradients(
            "cross-entropy",
            &|t| cross_entropy_with_logits(&t[0], &targets),
            &logits,
            1,
        );
        let by_targets = [targets.clone()];
        check_gradients(
            "focal's targets",
            &|t| focal_loss_with_logits(&logits[0], &t[0], 0.75),
            &by_targets,
            0,
        );
        check_gradients(
            "dice's targets",
            &|t| soft_dice_with_logits(&logits[0], &t[0]),
            &by_targets,
            0,
        );
    }
}

#[test]
fn detection_losses_have_the_values_of_closed_forms() {
    let row = |numbers: &[f64]| {
        Tensor::new(numbers, &Device::Cpu)
            .unwrap()
            .unsqueeze(0)
            .unwrap()
    };
    // p = ¾ for a 1 and for a 0: ½ (0.75·(¼)²·ln(4/3) + 0.25·(¾)²·ln 4).
    let logits = row(&[3f64.ln(), 3f64.ln()]);
    let found = focal_loss_with_logits(&logits, &row(&[1.0, 0.0]), 0.75).unwrap();
    let (one, zero) = (
        0.75 / 16.0 * (4.0f64 / 3.0).ln(),
        0.25 * 9.0 / 16.0 * 4f64.ln(),
    );
    assert!((flat(&found)[0] - (one + zero) / 2.0).abs() < 1e-12);
    // 1 − (2·¾ + 1)/(3/2 + 1 + 1).
    let found = soft_dice_with_logits(&logits, &row(&[1.0, 0.0])).unwrap();
    assert!((flat(&found)[0] - (1.0 - 2.5 / 3.5)).abs() < 1e-12);
    let found = mean_of_largest(&row(&[1.0, -5.0, 4.0, 4.0, 0.0]), 3).unwrap();
    assert_eq!(flat(&found), [3.0]);
    let found = cross_entropy_with_logits(&logits, &row(&[1.0, 0.0])).unwrap();
    assert!((flat(&found)[0] - ((4.0f64 / 3.0).ln() + 4f64.ln()) / 2.0).abs() < 1e-12);
    // No logit overflows, and a sure mistake costs its logit.
    let far = row(&[1000.0, -1000.0]).to_dtype(DType::F32).unwrap();
    let wrong = row(&[0.0, 1.0]).to_dtype(DType::F32).unwrap();
    let found = focal_loss_with_logits(&far, &wrong, 0.75).unwrap();
    assert!((flat(&found)[0] - 500.0).abs() < 1e-3);
    assert_eq!(
        flat(&cross_entropy_with_logits(&far, &wrong).unwrap()),
        [1000.0]
    );
}
