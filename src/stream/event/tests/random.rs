//! Random sequences against a slow reference.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;

/// The same by counting anew at every frame: an event at a time, from the frame where the last one
/// ended.
fn by_brute_force(rule: &EventRule, frames: &[(f64, f64)]) -> Vec<String> {
    let judged = |k: usize| !frames[k].1.is_nan();
    let last_of = |from: usize, to: usize| -> Vec<usize> {
        let all: Vec<usize> = (from..=to).filter(|&k| judged(k)).collect();
        all[all.len().saturating_sub(rule.of)..].to_vec()
    };
    let hot = |k: &usize| frames[*k].1 > 90.0;
    let warm = |k: &usize| frames[*k].1 > 50.0;
    let mut lines = Vec::new();
    let mut start = 0;
    'event: loop {
        let opens = |k: &usize| {
            let window = last_of(start, *k);
            judged(*k) && hot(k) && window.iter().filter(|k| hot(k)).count() >= rule.anomalous
        };
        let Some(opened) = (start..frames.len()).find(opens) else {
            return lines;
        };
        let first = *last_of(start, opened).iter().find(|k| hot(k)).unwrap();
        lines.push(format!("{opened}: +{first}"));
        let close = |last: usize, when: String, lines: &mut Vec<String>| {
            let of_event: Vec<usize> = (first..=last).filter(|k| judged(*k) && hot(k)).collect();
            let most = of_event.iter().map(|&k| frames[k].1).fold(0.0, f64::max);
            let worst = of_event.iter().find(|&&k| frames[k].1 == most).unwrap();
            lines.push(format!(
                "{when}: -{first}..{} worst {worst} ({})",
                of_event.last().unwrap(),
                of_event.len()
            ));
        };
        for k in opened + 1..frames.len() {
            let before = (opened..k).rfind(|&k| judged(k)).unwrap();
            let gap = frames[k].0 - frames[before].0 > rule.max_gap;
            if gap || frames[k].0 - frames[opened].0 > rule.max_duration {
                close(k - 1, k.to_string(), &mut lines);
                start = k;
                continue 'event;
            }
            if !judged(k) || warm(&k) {
                continue;
            }
            // The judged frames up to this one that are all calm.
            let calm =
                |k: usize| last_of(start, k).iter().filter(|k| warm(k)).count() < rule.anomalous;
            let run = (opened + 1..=k)
                .rev()
                .filter(|&k| judged(k))
                .take_while(|&k| calm(k))
                .last();
            if run.is_some_and(|since| frames[k].0 - frames[since].0 >= rule.cool_down) {
                close(k, k.to_string(), &mut lines);
                start = k + 1;
                continue 'event;
            }
        }
        close(frames.len() - 1, "end".to_owned(), &mut lines);
        return lines;
    }
}

#[test]
fn random_sequences_give_what_counting_anew_gives() {
    let mut rng = Pcg64::seed_from_u64(3);
    let mut events = 0;
    for round in 0..4000 {
        let of = rng.random_range(1..=5);
        let rule = limited(
            rule(
                rng.random_range(1..=of),
                of,
                f64::from(rng.random_range(0..4)),
            ),
            f64::from(rng.random_range(2..8)),
            f64::from(rng.random_range(3..20)),
        );
        let heat = rng.random_range(0.1..0.9);
        let mut time = 0.0;
        let frames: Vec<(f64, f64)> = (0..rng.random_range(1..40))
            .map(|_| {
                time += 0.25 * f64::from(rng.random_range(1..=8));
                let score = match rng.random_range(0.0..1.0) {
                    x if x < 0.1 => INVALID,
                    x if x < 0.1 + 0.9 * heat => f64::from(rng.random_range(91..=99)),
                    _ => f64::from(rng.random_range(1..=90)),
                };
                (time, score)
            })
            .collect();
        let found = timeline_at(rule.clone(), &frames);
        assert_eq!(
            found,
            by_brute_force(&rule, &frames),
            "{round}: {rule:?} {frames:?}"
        );
        events += found.len();
    }
    assert!(events > 10_000, "{events}");
}
