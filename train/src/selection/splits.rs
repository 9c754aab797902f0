//! The splits by which candidates are compared: cross-validation where frames are few.

use std::collections::BTreeMap;

use edge_vae::dataset::Split;

use super::SelectionParams;

/// Where there are fewer validation frames than it takes: folds of training and validation frames
/// together, each to select by once and to fit on otherwise. What is selected is then fitted anew.
/// Where there are enough, or too few groups, none.
///
/// For the features of a pretrained backbone, which no training has touched; what was trained has
/// seen some of these frames. `groups` has the number of each frame's group, of which none is
/// parted.
pub fn cross_validation(split: &Split, groups: &[usize], params: &SelectionParams) -> Vec<Split> {
    let few = split.validation.len() < params.least_validation;
    if !few || split.train.len() < split.validation.len() {
        return Vec::new();
    }
    let mut both = [&split.train[..], &split.validation].concat();
    both.sort_unstable();
    // In turn: frames that follow each other are often alike.
    let mut turn_of = BTreeMap::new();
    for &frame in &both {
        let next = turn_of.len();
        turn_of.entry(groups[frame]).or_insert(next);
    }
    let count = params.folds.min(turn_of.len());
    let fold = |fold: usize| {
        let mine = |frame: &usize| turn_of[&groups[*frame]] % count == fold;
        let (validation, train) = both.iter().partition(|frame| mine(frame));
        Split {
            train,
            validation,
            calibration: split.calibration.clone(),
        }
    };
    match count {
        0 | 1 => Vec::new(),
        count => (0..count).map(fold).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_selected_by_once_and_groups_stay_whole() {
        let split = |train: usize, validation: usize| Split {
            train: (validation..validation + train).collect(),
            validation: (0..validation).collect(),
            calibration: vec![199],
        };
        let params = SelectionParams {
            least_validation: 12,
            folds: 3,
            ..SelectionParams::default()
        };
        let splits = |split: &Split, groups: &[usize]| cross_validation(split, groups, &params);
        let alone: Vec<usize> = (0..200).collect();
        let folds = splits(&split(21, 3), &alone);
        assert_eq!(folds.len(), 3);
        let mut selecting: Vec<usize> = folds.iter().flat_map(|f| f.validation.clone()).collect();
        selecting.sort_unstable();
        assert_eq!(selecting, (0..24).collect::<Vec<_>>());
        for fold in &folds {
            assert_eq!([fold.train.len(), fold.validation.len()], [16, 8]);
            assert!(
                !fold
                    .train
                    .iter()
                    .any(|frame| fold.validation.contains(frame))
            );
            assert_eq!(fold.calibration, [199]);
        }
        // Enough to select by; less to fit on than to select by.
        assert!(splits(&split(84, 12), &alone).is_empty());
        assert!(splits(&split(2, 3), &alone).is_empty());
        // Of two frames each is selected by once.
        let folds = splits(&split(1, 1), &alone);
        assert_eq!(folds.len(), 2);
        for fold in &folds {
            assert_eq!((fold.train.len(), fold.validation.len()), (1, 1));
            assert_ne!(fold.train, fold.validation);
        }
        // Groups of five stay together.
        let groups: Vec<usize> = (0..200).map(|frame| frame / 5).collect();
        let folds = splits(&split(21, 3), &groups);
        assert_eq!(folds[1].validation, [5, 6, 7, 8, 9, 20, 21, 22, 23]);
        // Two groups make two folds, one makes none.
        let halves: Vec<usize> = (0..200).map(|frame| frame / 12).collect();
        assert_eq!(splits(&split(21, 3), &halves).len(), 2);
        assert!(splits(&split(21, 3), &[0; 200]).is_empty());
    }
}
