//! Losses of a detector's logits. They are small beside a network's maps (a number for every
//! second pixel), so they are made of candle's operations, whose gradients the tests check.

use candle_core::{D, Result, Tensor, bail};

/// Focal loss (Lin et al. 2017, eq. 5) of `logits` against `targets`, each 0 or 1, of one shape:
/// the mean over all numbers of `−α_t·(1 − p_t)²·ln p_t` (γ = 2), with `α_t` = `positive` where
/// the target is 1 and `1 − positive` where it is 0. `targets` gets no gradient.
///
/// # Errors
/// The shapes differ.
pub fn focal_loss_with_logits(logits: &Tensor, targets: &Tensor, positive: f64) -> Result<Tensor> {
    same_shape("focal_loss_with_logits", logits, targets)?;
    let targets = targets.detach();
    // The logit of p_t: turned round where the target is 0.
    let sign = ((&targets * 2.0)? - 1.0)?;
    let logit = (logits * sign)?;
    let missing = sigmoid(&logit.neg()?)?;
    let alpha = ((targets * (2.0 * positive - 1.0))? + (1.0 - positive))?;
    ((missing.sqr()? * softplus(&logit.neg()?)?)? * alpha)?.mean_all()
}

/// Soft Dice loss (Milletari et al. 2016) of each sample, `1 − (2·Σ p·t + 1)/(Σ p + Σ t + 1)` with
/// `p = σ(logits)`: `N`, of `logits` and `targets` `N×…`. `targets` gets no gradient.
///
/// # Errors
/// The shapes differ.
pub fn soft_dice_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    same_shape("soft_dice_with_logits", logits, targets)?;
    let targets = per_sample(&targets.detach())?;
    let p = sigmoid(&per_sample(logits)?)?;
    let shared = (&p * &targets)?.sum(D::Minus1)?;
    let both = (p.sum(D::Minus1)? + targets.sum(D::Minus1)?)?;
    ((shared * 2.0)? + 1.0)?
        .div(&(both + 1.0)?)?
        .affine(-1.0, 1.0)
}

/// Mean of the `count` largest numbers of each sample of `x` (`N×…`): `N`. Of equal numbers the
/// first counts.
///
/// # Errors
/// A sample has fewer than `count` numbers, or `count` is 0.
pub fn mean_of_largest(x: &Tensor, count: usize) -> Result<Tensor> {
    let x = per_sample(x)?;
    let (samples, length) = x.dims2()?;
    if count == 0 || count > length {
        bail!("mean_of_largest: {count} of {length} numbers");
    }
    let rows = x
        .detach()
        .to_dtype(candle_core::DType::F64)?
        .to_vec2::<f64>()?;
    let mut weights = vec![0.0; samples * length];
    let mut order: Vec<usize> = Vec::with_capacity(length);
    for (row, weights) in rows.iter().zip(weights.chunks_exact_mut(length)) {
        order.clear();
        order.extend(0..length);
        let largest_first = |&a: &usize, &b: &usize| row[b].total_cmp(&row[a]).then(a.cmp(&b));
        order.select_nth_unstable_by(count - 1, largest_first);
        for &index in &order[..count] {
            weights[index] = 1.0 / count as f64;
        }
    }
    let weights = Tensor::from_vec(weights, (samples, length), x.device())?.to_dtype(x.dtype())?;
    (x * weights)?.sum(D::Minus1)
}

/// Binary cross-entropy of `logits` against `targets` in [0, 1], of one shape: the mean.
/// `targets` gets no gradient.
///
/// # Errors
/// The shapes differ.
pub fn cross_entropy_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    same_shape("cross_entropy_with_logits", logits, targets)?;
    (softplus(logits)? - (targets.detach() * logits)?)?.mean_all()
}

fn same_shape(name: &str, logits: &Tensor, targets: &Tensor) -> Result<()> {
    if logits.dims() != targets.dims() || logits.elem_count() == 0 {
        bail!(
            "{name}: logits {:?} and targets {:?} have to be of one shape and not empty",
            logits.dims(),
            targets.dims()
        );
    }
    Ok(())
}

fn per_sample(x: &Tensor) -> Result<Tensor> {
    x.reshape((x.dim(0)?, ()))
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    // tanh overflows nowhere.
    (x * 0.5)?.tanh()?.affine(0.5, 0.5)
}

/// ln(1 + exp(x)) without overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
