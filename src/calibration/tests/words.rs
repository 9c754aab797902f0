//! What is said for people.

use super::*;

#[test]
fn the_statement_in_words() {
    assert_eq!(
        fit(ascending(152), 0.01).unwrap().statement(),
        "calibrated on 152 held-out normal frames: of new normal frames like these, at most 1.0 % \
         on average are called anomalous; with 90 % confidence the true rate lies between 0.033 % \
         and 2.0 %"
    );
    let groups: Vec<usize> = (0..1200).map(|i| i / 10).collect();
    let calibration =
        Calibration::fit_grouped(ascending(1200), ascending(1200), &groups, 0.02).unwrap();
    assert_eq!(
        calibration.statement(),
        "calibrated on 1,200 held-out normal frames of 120 groups: of normal frames of new groups \
         like these, at most 2.0 % on average (each group counting alike) are called anomalous; \
         with 90 % confidence the true rate lies between 0.055 % and 5.4 %"
    );
}

#[test]
fn percentages_have_two_digits_and_are_rounded_to_the_safe_side() {
    for (probability, up, down) in [
        (0.01, "1.0 %", "1.0 %"),
        (0.07, "7.0 %", "7.0 %"),
        (0.29, "29 %", "29 %"),
        (1.0 / 153.0, "0.66 %", "0.65 %"),
        (0.000_123_4, "0.013 %", "0.012 %"),
        (0.0999, "10.0 %", "9.9 %"),
        (0.999, "100 %", "99 %"),
        (1.0, "100 %", "100 %"),
        (2e-7, "0.000020 %", "0 %"),
        (0.0, "0 %", "0 %"),
    ] {
        assert_eq!(percent_up(probability), up);
        assert_eq!(percent_down(probability), down);
    }
}

#[test]
fn where_a_score_stands_in_words() {
    let percentile = |below, frames, copies| Percentile {
        below,
        frames,
        copies,
    };
    let of = |below, frames| percentile(below, frames, false).to_string();
    let of_copies = percentile(6, 6, true).to_string();
    assert_eq!(of_copies, "higher than all 6 augmented samples");
    assert_eq!(of(1197, 1200), "higher than 99.7 % of 1,200 normal frames");
    assert_eq!(of(1199, 1200), "higher than 99.9 % of 1,200 normal frames");
    assert_eq!(of(1200, 1200), "higher than all 1,200 normal frames");
    assert_eq!(
        of(99_999, 100_000),
        "higher than 99.9 % of 100,000 normal frames"
    );
    assert_eq!(of(1, 1200), "higher than 1 of 1,200 normal frames");
    assert_eq!(of(7, 9), "higher than 7 of 9 normal frames");
    assert_eq!(of(9, 9), "higher than all 9 normal frames");
    assert_eq!(of(2, 2), "higher than both normal frames");
    assert_eq!(of(1, 1), "higher than the only normal frame");
    assert_eq!(of(0, 1200), "not higher than any of 1,200 normal frames");
    let calibration = fit(vec![1.0, 2.0, 2.0, 3.0], 0.25).unwrap();
    for (score, below) in [(0.5, 0), (1.0, 0), (2.0, 1), (2.5, 3), (3.0, 3), (3.5, 4)] {
        let percentile = calibration.percentile(score);
        assert_eq!(percentile.below, below, "{score}");
        assert_eq!(percentile.percent(), 25.0 * below as f64);
    }
}

#[test]
fn copies_of_known_frames_guarantee_nothing() {
    let copies = vec![0.5, 0.75, 0.25];
    let calibration = Calibration::without_guarantee(copies.clone(), copies, 0.01).unwrap();
    calibration.validate().unwrap();
    assert_eq!(
        (calibration.threshold, calibration.map_threshold),
        (0.75, 0.75)
    );
    assert!(calibration.is_anomalous(0.76) && !calibration.is_anomalous(0.75));
    assert_eq!(calibration.p_value(9.0), 0.5);
    assert_eq!(calibration.p_value(0.0), 1.0);
    assert_eq!(calibration.rate_interval(0.9), (0.0, 1.0));
    assert!(calibration.threshold_at(0.9).is_err());
    assert_eq!(
        calibration.statement(),
        "no guarantee: the threshold is the largest score of 3 augmented samples of what the model \
         was trained on, and nothing is known of false alarms; 1.0 % takes 99 normal frames"
    );
    let table = OperatingTable::of(&calibration, None);
    assert!(table.rows.iter().all(|row| row.threshold.is_none()));
    assert_eq!(table.rows[1].missing, 98);
    // A manifest that says so of frames that were held out is not to be believed.
    let held_out = fit(ascending(9), 0.1).unwrap();
    for said in [
        Calibration {
            threshold: 0.5,
            ..calibration.clone()
        },
        Calibration {
            unguaranteed: true,
            ..held_out
        },
        Calibration {
            unguaranteed: false,
            ..calibration
        },
    ] {
        assert!(said.validate().is_err(), "{said:?}");
    }
}
