//! The largest value in reach of each pixel.

use ndarray::{Array2, ArrayView2, Axis, Slice};

/// The largest values of a map, `H×W`, within so many rows above and below and columns to either
/// side: grey-scale dilation by a rectangle. Time grows with the reach.
pub(crate) fn dilated(map: ArrayView2<'_, f32>, reach: [usize; 2]) -> Array2<f32> {
    let mut dilated = map.to_owned();
    for (axis, reach) in [Axis(0), Axis(1)].into_iter().zip(reach) {
        let map = dilated.clone();
        let length = map.len_of(axis);
        for offset in 1..=reach.min(length.saturating_sub(1)) {
            let (first, last) = (Slice::from(..length - offset), Slice::from(offset..));
            for (to, from) in [(first, last), (last, first)] {
                dilated.slice_axis_mut(axis, to).zip_mut_with(
                    &map.slice_axis(axis, from),
                    |value, &other| {
                        *value = value.max(other);
                    },
                );
            }
        }
    }
    dilated
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_peak_becomes_a_rectangle() {
        let mut map = Array2::zeros((5, 6));
        map[[1, 4]] = 2.0;
        map[[4, 0]] = 3.0;
        let expected = array![
            [0.0f32, 0.0, 2.0, 2.0, 2.0, 2.0],
            [0.0, 0.0, 2.0, 2.0, 2.0, 2.0],
            [0.0, 0.0, 2.0, 2.0, 2.0, 2.0],
            [3.0, 3.0, 3.0, 0.0, 0.0, 0.0],
            [3.0, 3.0, 3.0, 0.0, 0.0, 0.0],
        ];
        assert_eq!(dilated(map.view(), [1, 2]), expected);
        assert_eq!(dilated(map.view(), [0, 0]), map);
        assert_eq!(dilated(map.view(), [9, 9]), Array2::from_elem((5, 6), 3.0));
        assert_eq!(dilated(Array2::zeros((0, 3)).view(), [1, 1]).dim(), (0, 3));
    }
}
