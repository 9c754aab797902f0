//! The logistic function and SiLU in single precision, over whole slices as vector instructions.
//!
//! The instructions differ between processors, the arithmetic does not: neither multiplications nor
//! additions are fused, so all give the same bits.

/// e^x for |x| ≤ 87, beyond as at the nearer end; the relative error is below 2e-7. NaN stays NaN.
///
/// As in Cephes: x = n·ln 2 + r with ln 2 in two parts, a polynomial for e^r, and n added to the
/// exponent.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Added to a number below 2²², it leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p * r + coefficient;
    }
    let p = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    p * power
}

/// 1 / (1 + e^−x).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Compiles a function over slices for AVX2 too and takes that where the processor has it.
macro_rules! over_slices {
    ($(#[$documentation:meta])* $name:ident($($argument:ident: $type:ty),*) $body:block) => {
        $(#[$documentation])*
        pub(super) fn $name($($argument: $type),*) {
            #[inline(always)]
            fn portable($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) {
                    portable($($argument),*);
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has the feature.
                    unsafe { avx2($($argument),*) };
                    return;
                }
            }
            portable($($argument),*);
        }
    };
}

over_slices! {
    /// x·σ(x) of each number of `x` into `y`, up to the shorter one's length.
    silu(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * sigmoid(x);
        }
    }
}

over_slices! {
    /// `grad` times the derivative of x·σ(x), into `out`, up to the shortest one's length.
    silu_gradient(x: &[f32], grad: &[f32], out: &mut [f32]) {
        for ((out, &x), &grad) in out.iter_mut().zip(x).zip(grad) {
            let sigmoid = sigmoid(x);
            *out = grad * (sigmoid * (1.0 + x * (1.0 - sigmoid)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_agrees_with_double_precision() {
        for step in -86_999..87_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) / exact - 1.0).abs();
            assert!(error < 2e-7, "exp({x}) is off by {error:.1e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_has_its_limits() {
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        assert!((0.0..1e-37).contains(&sigmoid(f32::NEG_INFINITY)));
        for step in -300..=300 {
            let x = step as f32 * 0.1;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let error = (f64::from(sigmoid(x)) / exact - 1.0).abs();
            assert!(error < 3e-7, "sigmoid({x}) is off by {error:.1e}");
        }
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn silu_over_slices_is_that_of_each_number() {
        let x: Vec<f32> = (-1000..=1003).map(|i| i as f32 * 0.07).collect();
        let grad: Vec<f32> = x.iter().map(|x| 0.3 - x * 0.01).collect();
        let (mut y, mut slope) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        silu(&x, &mut y);
        silu_gradient(&x, &grad, &mut slope);
        for (i, &x) in x.iter().enumerate() {
            let sigma = 1.0 / (1.0 + (-f64::from(x)).exp());
            let wanted = f64::from(x) * sigma;
            let close = |found: f32, wanted: f64| {
                (f64::from(found) - wanted).abs() <= 1e-6 * (0.1 + wanted.abs())
            };
            assert!(close(y[i], wanted), "silu({x}) = {}", y[i]);
            let derivative = sigma * (1.0 + f64::from(x) * (1.0 - sigma));
            let wanted = f64::from(grad[i]) * derivative;
            assert!(close(slope[i], wanted), "slope at {x}: {}", slope[i]);
            // The same bits as without vector instructions.
            assert_eq!(y[i], x * sigmoid(x));
        }
    }
}
