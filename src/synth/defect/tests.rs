use super::*;

#[test]
fn nothing_is_changed_beyond_the_reach() {
    let mut draw = Draw::new(&[5]);
    let surface = Surface::new(1, &mut draw);
    for kind in DefectKind::ALL {
        for _ in 0..20 {
            let defect = Defect::new(kind, &surface, [128.0; 2], 1.0, 1.0, &mut draw);
            let [x, y] = defect.centre();
            let changed_at = |r: f32| {
                (0..64).any(|k| {
                    let s = (k as f32 / 32.0 - 1.0) * 0.999;
                    let c = (1.0 - s * s).sqrt();
                    [c, -c]
                        .iter()
                        .any(|c| defect.at([x + r * c, y + r * s]) != Touch::NONE)
                })
            };
            assert!(!changed_at(defect.reach + 0.01), "{kind:?}");
            let inside = (0..40).any(|k| changed_at(defect.reach * (k as f32 + 0.5) / 40.0));
            assert!(inside, "{kind:?} changes nothing at all");
        }
    }
}

#[test]
fn nearest_is_signed_and_interpolates() {
    let line = [Segment {
        from: [0.0, 0.0],
        along: [1.0, 0.0],
        length: 10.0,
        half_width: [1.0, 3.0],
        strength: [1.0, 0.0],
    }];
    let (offset, along, half_width, strength) = nearest([5.0, -2.0], &line).unwrap();
    assert_eq!((offset, along), (-2.0, [1.0, 0.0]));
    assert_eq!((half_width, strength), (2.0, 0.5));
    assert!(nearest([-4.0, 0.0], &line).is_none());
}
