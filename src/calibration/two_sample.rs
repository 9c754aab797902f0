//! The two-sample test of Kolmogorov and Smirnov.

/// Larger samples than this get the asymptotic p-value, as SciPy does it.
const EXACT_UP_TO: usize = 10_000;

/// Terms of the asymptotic series below this are left out.
const NEGLIGIBLE: f64 = 1e-18;

/// How far two samples lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoSample {
    /// The largest difference of the two empirical distribution functions, 0–1.
    pub statistic: f64,
    /// The probability of a statistic at least as large where all values are exchangeable; too
    /// large, and so on the safe side, where values are tied.
    pub p_value: f64,
}

/// Compares two ascending samples without NaN; `None` where one is empty.
///
/// The p-value is exact up to 10,000 values in each, by counting lattice paths (Hodges 1957);
/// beyond that it is that of Kolmogorov's limiting distribution.
pub fn two_sample(a: &[f64], b: &[f64]) -> Option<TwoSample> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let (n, m) = (a.len() as u64, b.len() as u64);
    let distance = distance(a, b);
    let statistic = distance as f64 / (n as f64 * m as f64);
    let p_value = if a.len().max(b.len()) <= EXACT_UP_TO {
        exact(n, m, distance)
    } else {
        let effective = n as f64 * m as f64 / (n as f64 + m as f64);
        limiting(statistic * effective.sqrt())
    };
    Some(TwoSample { statistic, p_value })
}

/// The largest |i·m − j·n| where i of the n values of `a` and j of the m values of `b` are at most
/// some value: the statistic times n·m, without rounding.
fn distance(a: &[f64], b: &[f64]) -> u64 {
    let (n, m) = (a.len() as u64, b.len() as u64);
    let (mut i, mut j, mut largest) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let value = a[i].min(b[j]);
        i += a[i..].iter().take_while(|&&v| v <= value).count();
        j += b[j..].iter().take_while(|&&v| v <= value).count();
        largest = largest.max((i as u64 * m).abs_diff(j as u64 * n));
    }
    largest
}

/// The probability that a path of n steps right and m steps up, all orders being equally likely,
/// reaches |i·m − j·n| ≥ `distance` somewhere.
///
/// Of the paths to (i, j) a share of i/(i + j) comes from (i − 1, j), so the share of those that
/// have been outside follows from the two neighbours, and small p-values keep all their digits.
fn exact(n: u64, m: u64, distance: u64) -> f64 {
    if distance == 0 {
        return 1.0;
    }
    // outside[i] is the share at (i, j), for the row j.
    let mut outside = vec![0.0; n as usize + 1];
    for j in 0..=m {
        for i in 0..=n {
            let here = i as usize;
            outside[here] = if (i * m).abs_diff(j * n) >= distance {
                1.0
            } else if i + j == 0 {
                0.0
            } else {
                let left = if i > 0 { outside[here - 1] } else { 0.0 };
                let below = if j > 0 { outside[here] } else { 0.0 };
                (i as f64 * left + j as f64 * below) / (i + j) as f64
            };
        }
    }
    outside[n as usize].min(1.0)
}

/// P(K ≥ x) of Kolmogorov's distribution: 2 Σ (−1)^(k−1) exp(−2 k² x²).
fn limiting(x: f64) -> f64 {
    // Below this the series needs many terms, for what is 1 to twelve digits.
    if x < 0.2 {
        return 1.0;
    }
    let mut sum = 0.0;
    for k in 1..=100 {
        let k = f64::from(k);
        let term = (-2.0 * k * k * x * x).exp();
        sum += if k as u32 % 2 == 1 { term } else { -term };
        if term < NEGLIGIBLE {
            break;
        }
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `scipy.stats.ks_2samp(a, b, method="exact")`, SciPy 1.17.1, of
    /// a = (k·K mod 1009)/1009 for k = 1 … n, b = ((k·L mod 1013)/1013)^P for k = 1 … m.
    const SCIPY: &[(usize, u64, usize, u64, f64, f64, f64)] = &[
        (5, 387, 7, 111, 1.0, 0.4, 0.6388888888888888),
        (20, 387, 20, 211, 1.0, 0.1, 0.9999923931635496),
        (
            20,
            387,
            35,
            211,
            1.5,
            0.2571428571428571,
            0.31578462773429083,
        ),
        (
            99,
            387,
            300,
            211,
            1.1,
            0.05929292929292929,
            0.9380160881831602,
        ),
        (
            99,
            387,
            300,
            211,
            1.6,
            0.19737373737373737,
            0.005049771140324475,
        ),
        (
            300,
            387,
            300,
            211,
            1.0,
            0.02666666666666667,
            0.9999324508116627,
        ),
        (300, 387, 500, 211, 1.2, 0.076, 0.21882755768405063),
        (
            1000,
            387,
            300,
            211,
            1.15,
            0.05566666666666667,
            0.45624772189946294,
        ),
        (
            1000,
            387,
            300,
            211,
            1.4,
            0.12866666666666668,
            0.0008705433675764861,
        ),
    ];

    fn sample(count: usize, factor: u64, prime: u64, power: f64) -> Vec<f64> {
        let mut values: Vec<f64> = (1..=count as u64)
            .map(|k| ((k * factor % prime) as f64 / prime as f64).powf(power))
            .collect();
        values.sort_by(f64::total_cmp);
        values
    }

    #[test]
    fn exact_values_are_those_of_scipy() {
        for &(n, k, m, l, power, statistic, p_value) in SCIPY {
            let (a, b) = (sample(n, k, 1009, 1.0), sample(m, l, 1013, power));
            for (a, b) in [(&a, &b), (&b, &a)] {
                let found = two_sample(a, b).unwrap();
                assert!(
                    (found.statistic - statistic).abs() < 1e-12,
                    "{n} {m}: {found:?}"
                );
                let error = (found.p_value / p_value - 1.0).abs();
                assert!(error < 1e-9, "{n} {m}: {found:?} {p_value}");
            }
        }
    }

    #[test]
    fn all_orders_counted() {
        // Of the C(5, 2) = 10 orders of two a and three b: by listing them, p = share of orders
        // with a statistic at least as large.
        let mut statistics = Vec::new();
        for first in 0..5 {
            for second in first + 1..5 {
                let is_a = |k: usize| k == first || k == second;
                let of = |wanted: bool| -> Vec<f64> {
                    (0..5)
                        .filter(|&k| is_a(k) == wanted)
                        .map(|k| k as f64)
                        .collect()
                };
                statistics.push((two_sample(&of(true), &of(false)).unwrap(), first, second));
            }
        }
        for (found, first, second) in &statistics {
            let reached = statistics
                .iter()
                .filter(|(other, ..)| other.statistic >= found.statistic - 1e-12)
                .count();
            assert!(
                (found.p_value - reached as f64 / 10.0).abs() < 1e-12,
                "{first} {second}: {found:?}"
            );
        }
    }

    #[test]
    fn ties_and_edges() {
        assert_eq!(two_sample(&[], &[1.0]), None);
        let same = two_sample(&[1.0, 1.0, 2.0], &[1.0, 2.0, 2.0]).unwrap();
        // At 1: 2/3 against 1/3.
        assert!((same.statistic - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(two_sample(&[1.0; 7], &[1.0; 5]).unwrap().p_value, 1.0);
        // Apart: of the C(7, 3) orders two.
        let apart = two_sample(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0, 7.0]).unwrap();
        assert_eq!(apart.statistic, 1.0);
        assert!((apart.p_value - 2.0 / 35.0).abs() < 1e-15);
        // Tiny p-values keep their digits: 2/C(600, 300).
        let (low, high): (Vec<f64>, Vec<f64>) =
            (0..300).map(|k| (k as f64, 400.0 + k as f64)).unzip();
        let apart = two_sample(&low, &high).unwrap().p_value;
        assert!((apart.log10() - -178.8296508830675).abs() < 1e-6, "{apart}");
    }

    #[test]
    fn large_samples_get_the_limit() {
        // scipy.special.kolmogorov.
        for (x, expected) in [
            (0.5, 0.9639452436648751),
            (0.8, 0.5441424115741981),
            (1.0, 0.26999967167735456),
            (1.5, 0.022217962616525127),
            (2.146, 0.00019994168289890081),
            (4.0, 2.532833109818835e-14),
        ] {
            assert!((limiting(x) / expected - 1.0).abs() < 1e-9, "{x}");
        }
        let (a, b) = (sample(1000, 387, 1009, 1.0), sample(10_001, 1, 20_011, 1.0));
        let large = two_sample(&a, &b).unwrap();
        assert!(large.p_value > 0.0 && large.p_value < 1e-100, "{large:?}");
    }
}
