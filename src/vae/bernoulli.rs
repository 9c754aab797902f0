//! log p(x|z) of Bernoulli pixels, fast.
//!
//! The estimate of a test set takes some 10¹⁰ pixels, so that a call of exp and of log for each
//! would cost as much as the decoder.

/// Σ x·l − softplus(l) over all pixels, in nats; what
/// [`bernoulli_log_likelihood`](super::bernoulli_log_likelihood) computes, to some 1e-6 of the sum.
///
/// softplus(l) = max(l, 0) + ln(1 + e^−|l|), and the logarithms of many pixels are taken at once,
/// as that of a product: its factors lie in (1, 2], so that [`CHUNK`] of them stay below
/// 2^[`CHUNK`]. NaN and infinities are the caller's to refuse, as `Vae` does.
pub(super) fn log_likelihood(x: &[f32], logits: &[f32]) -> f64 {
    x.chunks(CHUNK)
        .zip(logits.chunks(CHUNK))
        .map(|(x, logits)| chunk(x, logits))
        .sum()
}

/// Pixels whose factors are multiplied: in eight products of f32, each below 2^16.
const CHUNK: usize = 128;
const LANES: usize = 8;

fn chunk(x: &[f32], logits: &[f32]) -> f64 {
    let mut linear = [0.0_f32; LANES];
    let mut product = [1.0_f32; LANES];
    let (x_lanes, x_rest) = x.as_chunks::<LANES>();
    let (logit_lanes, logit_rest) = logits.as_chunks::<LANES>();
    for (x, logits) in x_lanes.iter().zip(logit_lanes) {
        for lane in 0..LANES {
            let logit = logits[lane];
            linear[lane] += x[lane] * logit - logit.max(0.0);
            product[lane] *= 1.0 + exp_of_negative(-logit.abs());
        }
    }
    for ((&x, &logit), lane) in x_rest.iter().zip(logit_rest).zip(0..) {
        linear[lane] += x * logit - logit.max(0.0);
        product[lane] *= 1.0 + exp_of_negative(-logit.abs());
    }
    let linear: f64 = linear.iter().copied().map(f64::from).sum();
    let product: f64 = product.iter().copied().map(f64::from).product();
    linear - product.ln()
}

/// e^x for x ≤ 0 with a relative error below 2e-7; below −87 it stays at e^−87, which adds nothing
/// to 1.
///
/// e^x = 2^n · e^r with n the integer next to x/ln 2 and |r| ≤ ln 2/2, e^r by its Taylor polynomial
/// of degree 6 (remainder r⁷/7! < 1.2e-7). No branch and no call, so that it runs on several lanes.
fn exp_of_negative(x: f32) -> f32 {
    /// ln 2 in two parts, the first with few enough bits that its product with n is exact
    /// (Cody & Waite 1980).
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// 1.5·2²³: adding it rounds to an integer, which then lies in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    let mut sum = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + coefficient;
    }
    sum * power
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;
    use crate::vae::bernoulli_log_likelihood;

    #[test]
    fn the_exponential_is_right_over_its_range() {
        for step in 0..=86_900 {
            let x = -(step as f32) * 1e-3;
            let (found, exact) = (f64::from(exp_of_negative(x)), f64::from(x).exp());
            assert!(
                (found - exact).abs() <= 3e-7 * exact,
                "{x}: {found} {exact}"
            );
        }
        assert!(exp_of_negative(-1e30) < 1e-37);
    }

    #[test]
    fn the_sum_is_that_of_the_plain_formula() {
        let mut rng = Pcg64::seed_from_u64(1);
        for (pixels, reach) in [(1, 3.0), (7, 1.0), (784, 0.01), (784, 8.0), (4000, 60.0)] {
            let logits: Vec<f32> = (0..pixels)
                .map(|_| rng.random_range(-reach..reach))
                .collect();
            for grey in [false, true] {
                let x: Vec<f32> = (0..pixels)
                    .map(|_| {
                        let value = rng.random_range(0.0_f32..1.0);
                        if grey { value } else { value.round() }
                    })
                    .collect();
                let exact = bernoulli_log_likelihood(&x, &logits).unwrap();
                let found = log_likelihood(&x, &logits);
                assert!(
                    (found - exact).abs() <= 1e-6 * exact.abs().max(1.0),
                    "{pixels} {reach}: {found} {exact}"
                );
            }
        }
    }
}
