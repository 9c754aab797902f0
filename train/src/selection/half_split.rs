//! Half-split model selection, for few frames.

use std::collections::BTreeMap;

use edge_vae::dataset::Split;

/// Where there are fewer than `least` validation frames: halves of training and validation frames
/// together, to fit on and to select by. What is selected is then fitted anew. For the features of
/// a pretrained backbone, which no training has touched; what was trained has seen some of these
/// frames. `groups` has the number of each frame's group, of which none is parted.
pub fn half_split(split: &Split, groups: &[usize], least: usize) -> Option<Split> {
    let few = split.validation.len() < least;
    if !few || split.train.len() <= split.validation.len() {
        return None;
    }
    let mut both = [&split.train[..], &split.validation].concat();
    both.sort_unstable();
    // In turn: frames that follow each other are often alike.
    let mut half_of = BTreeMap::new();
    for &frame in &both {
        let next = half_of.len() % 2;
        half_of.entry(groups[frame]).or_insert(next);
    }
    let (train, validation): (Vec<usize>, Vec<usize>) = both
        .iter()
        .partition(|&&frame| half_of[&groups[frame]] == 0);
    (!validation.is_empty()).then(|| Split {
        train,
        validation,
        calibration: split.calibration.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_what_does_not_calibrate() {
        let split = |train: usize, validation: usize| Split {
            train: (validation..validation + train).collect(),
            validation: (0..validation).collect(),
            calibration: vec![99],
        };
        let half_split = |split: &Split, groups: &[usize]| half_split(split, groups, 12);
        let alone: Vec<usize> = (0..100).collect();
        let halves = half_split(&split(21, 3), &alone).unwrap();
        assert_eq!([halves.train.len(), halves.validation.len()], [12, 12]);
        let mut both = [halves.train, halves.validation].concat();
        both.sort_unstable();
        assert_eq!(both, (0..24).collect::<Vec<_>>());
        assert_eq!(halves.calibration, [99]);
        // Enough to select by; no more to fit on than to select by.
        assert_eq!(half_split(&split(84, 12), &alone), None);
        assert_eq!(half_split(&split(3, 3), &alone), None);
        // Groups of five stay together.
        let groups: Vec<usize> = (0..100).map(|frame| frame / 5).collect();
        let halves = half_split(&split(21, 3), &groups).unwrap();
        assert_eq!(halves.validation, [5, 6, 7, 8, 9, 15, 16, 17, 18, 19]);
        assert_eq!(halves.train.len(), 14);
        assert_eq!(half_split(&split(21, 3), &[0; 100]), None);
    }
}
