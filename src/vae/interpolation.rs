//! The way from one latent to another.

use super::{VaeError, check_length};

/// sin of the angle below which two latents count as parallel: their spherical interpolation
/// divides by it, and differs from the linear one by less than `f32` can tell.
const PARALLEL: f64 = 1e-6;

/// The path between two latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// (1 − t)·a + t·b. Its middle is shorter than its ends, and so atypical of a Gaussian prior in
    /// many dimensions.
    Linear,
    /// (sin((1 − t)Ω)·a + sin(tΩ)·b)/sin Ω with Ω the angle between a and b (slerp; Shoemake 1985;
    /// White 2016), which keeps the length of latents of one length. Linear where a and b are
    /// parallel, opposite or zero, for no angle or no one plane is defined there.
    Spherical,
}

/// `steps` latents from `from` to `to` at t = 0, 1/(steps − 1), …, 1; both ends are the given
/// latents, bit for bit.
///
/// # Errors
/// Latents of different lengths; fewer than two steps; NaN or an infinity in a latent.
pub fn interpolate(
    from: &[f32],
    to: &[f32],
    steps: usize,
    path: Interpolation,
) -> Result<Vec<Vec<f32>>, VaeError> {
    check_length("second latent", to.len(), from.len())?;
    if steps < 2 {
        return Err(VaeError::OutOfRange {
            what: "steps of the interpolation",
            found: steps as f64,
            expected: "at least 2, for both ends count",
        });
    }
    if let Some(value) = from.iter().chain(to).find(|value| !value.is_finite()) {
        return Err(VaeError::NotFinite {
            what: "latent",
            found: f64::from(*value),
        });
    }
    let angle = match path {
        Interpolation::Linear => None,
        Interpolation::Spherical => angle(from, to),
    };
    let last = steps - 1;
    Ok((0..steps)
        .map(|step| {
            if step == 0 {
                return from.to_vec();
            }
            if step == last {
                return to.to_vec();
            }
            let t = step as f64 / last as f64;
            let (a, b) = match angle {
                None => (1.0 - t, t),
                Some(angle) => (
                    ((1.0 - t) * angle).sin() / angle.sin(),
                    (t * angle).sin() / angle.sin(),
                ),
            };
            from.iter()
                .zip(to)
                .map(|(&from, &to)| (a * f64::from(from) + b * f64::from(to)) as f32)
                .collect()
        })
        .collect())
}

/// Angle between two vectors, or `None` where they are parallel, opposite or zero.
fn angle(a: &[f32], b: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths == 0.0 {
        return None;
    }
    let angle = (dot(a, b) / lengths).clamp(-1.0, 1.0).acos();
    (angle.sin() > PARALLEL).then_some(angle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(z: &[f32]) -> f64 {
        z.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn linear_steps_are_equal() {
        let path = interpolate(&[0.0, 4.0], &[8.0, 0.0], 5, Interpolation::Linear).unwrap();
        let expected = [[0.0, 4.0], [2.0, 3.0], [4.0, 2.0], [6.0, 1.0], [8.0, 0.0]];
        assert_eq!(path, expected);
    }

    #[test]
    fn spherical_keeps_the_length_and_turns_by_equal_angles() {
        // Both of length 5 in four dimensions.
        let (from, to) = ([3.0, 4.0, 0.0, 0.0], [0.0, 3.0, 0.0, -4.0]);
        let path = interpolate(&from, &to, 9, Interpolation::Spherical).unwrap();
        let whole = (12.0f64 / 25.0).acos();
        for (z, next) in path.iter().zip(&path[1..]) {
            assert!((norm(z) - 5.0).abs() < 1e-6);
            let cosine = z.iter().zip(next).map(|(a, b)| a * b).sum::<f32>() / 25.0;
            assert!((f64::from(cosine).acos() - whole / 8.0).abs() < 1e-5);
        }
        assert_eq!(path[0], from);
        assert_eq!(path[8], to);
    }

    #[test]
    fn spherical_on_a_quarter_circle_is_cos_and_sin() {
        let path = interpolate(&[1.0, 0.0], &[0.0, 1.0], 4, Interpolation::Spherical).unwrap();
        for (z, degrees) in path.iter().zip([0.0f32, 30.0, 60.0, 90.0]) {
            assert!((z[0] - degrees.to_radians().cos()).abs() < 1e-6);
            assert!((z[1] - degrees.to_radians().sin()).abs() < 1e-6);
        }
    }

    #[test]
    fn spherical_is_linear_where_no_angle_is_defined() {
        for (from, to) in [
            ([1.0f32, 2.0], [2.0f32, 4.0]),
            ([1.0, 2.0], [-1.0, -2.0]),
            ([0.0, 0.0], [1.0, 3.0]),
            ([1.0, 2.0], [1.0, 2.0]),
            ([1.0, 2.0], [1.0, 2.000_000_2]),
        ] {
            let spherical = interpolate(&from, &to, 7, Interpolation::Spherical).unwrap();
            let linear = interpolate(&from, &to, 7, Interpolation::Linear).unwrap();
            assert_eq!(spherical, linear);
        }
    }

    #[test]
    fn unusable_requests_are_refused() {
        for steps in [0, 1] {
            assert!(matches!(
                interpolate(&[0.0], &[1.0], steps, Interpolation::Linear),
                Err(VaeError::OutOfRange { .. })
            ));
        }
        assert!(matches!(
            interpolate(&[0.0], &[1.0, 2.0], 3, Interpolation::Linear),
            Err(VaeError::Length { .. })
        ));
        assert!(matches!(
            interpolate(&[f32::NAN], &[1.0], 3, Interpolation::Spherical),
            Err(VaeError::NotFinite { .. })
        ));
    }
}
