//! The golden values: everything that is computed on the way from a frame to its score, by name.

use super::InferenceSession;
use crate::{
    Error,
    bundle::{Bundle, BundleError, read_npz, write_npz},
    frame::Frame,
    model::{
        INPUT, LOG_VARIANCE, LOGITS, MEAN, ModelOutputs, RECONSTRUCTION,
        RECONSTRUCTION_LOG_VARIANCE,
    },
    scoring::Scorer,
};

/// Name of the anomaly map among the golden values.
pub(super) const ANOMALY_MAP: &str = "anomaly_map";

/// The VAE's tensors, in the order in which they are computed.
const OF_VAE: [&str; 6] = [
    INPUT,
    MEAN,
    LOG_VARIANCE,
    RECONSTRUCTION,
    LOGITS,
    RECONSTRUCTION_LOG_VARIANCE,
];

/// Tensors of one frame by name, and its score: those of the VAE, those that score sources read,
/// and `anomaly_map`, in the order in which they are computed. Of several tiles they are what the
/// graphs make of the first one, and map and score of the canvas. Of planes H×W with more than
/// 16,384 values, rows and columns 0, s, 2s, … are kept, with s = ⌈√(H W / 16,384)⌉.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GoldenValues {
    tensors: Vec<(String, GoldenTensor)>,
    /// Score, where there is a scoring. It is stored in the manifest, not in the NPZ file.
    pub score: Option<f64>,
}

/// A tensor without batch dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenTensor {
    /// Its sides.
    pub shape: Vec<usize>,
    /// In C order.
    pub values: Vec<f32>,
}

impl GoldenValues {
    /// Goes the whole way for a frame.
    ///
    /// # Errors
    /// A frame that can't be prepared, and failures of the engine.
    pub fn compute(
        frame: &Frame,
        session: &mut InferenceSession,
        mut scorer: Option<&mut Scorer>,
    ) -> Result<Self, Error> {
        let mut golden = Self::default();
        session.run_tiles(frame, |tile, outputs| {
            if tile == 0 {
                let read = scorer.as_deref().map_or_else(Vec::new, Scorer::tensors);
                golden.take(&OF_VAE, outputs);
                golden.take(&read, outputs);
            }
            match &mut scorer {
                Some(scorer) => Ok(scorer.add_tile(tile, outputs)?),
                None => Ok(()),
            }
        })?;
        if let Some(scorer) = scorer {
            let mut map = vec![0.0; scorer.positions()];
            golden.score = Some(scorer.finish(&mut map)?);
            let canvas = session.canvas_layout().tiles().canvas_size();
            golden.insert(ANOMALY_MAP, &canvas, &map);
        }
        Ok(golden)
    }

    fn take(&mut self, names: &[&str], outputs: &ModelOutputs) {
        for name in names {
            if let Some(tensor) = outputs.get(name) {
                self.insert(name, tensor.shape, tensor.values);
            }
        }
    }

    /// Adds a tensor, or puts it in the place of the one of its name.
    ///
    /// # Panics
    /// Values of another number than the shape's.
    pub fn insert(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let expected: usize = shape.iter().product();
        assert_eq!(values.len(), expected, "values of `{name}`");
        let grid = Grid::of(shape);
        let tensor = GoldenTensor {
            shape: grid.shape(),
            values: grid.values(values),
        };
        match self.tensors.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = tensor,
            None => self.tensors.push((name.to_owned(), tensor)),
        }
    }

    /// Removes a tensor.
    pub fn remove(&mut self, name: &str) {
        self.tensors.retain(|(known, _)| known != name);
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&GoldenTensor> {
        let mut tensors = self.tensors.iter();
        let found = tensors.find(|(known, _)| known == name);
        found.map(|(_, tensor)| tensor)
    }

    /// The values of a tensor; empty where it is not there.
    pub fn values(&self, name: &str) -> &[f32] {
        self.get(name).map_or(&[], |tensor| &tensor.values)
    }

    /// All tensors, in the order in which they are computed.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &GoldenTensor)> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The NPZ file that [`Golden::expected`](crate::bundle::Golden::expected) names.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn to_npz(&self) -> Result<Vec<u8>, BundleError> {
        let tensors = self.iter();
        let arrays: Vec<_> = tensors
            .map(|(name, tensor)| (name, &tensor.shape[..], &tensor.values[..]))
            .collect();
        write_npz(&arrays)
    }

    /// What a bundle keeps.
    ///
    /// # Errors
    /// A file that is no NPZ of f32 arrays.
    pub fn read(bundle: &Bundle) -> Result<Self, BundleError> {
        let golden = &bundle.manifest().golden;
        let path = bundle.path().join(&golden.expected);
        let arrays = read_npz(bundle.listed(&golden.expected))
            .map_err(|problem| BundleError::Array { path, problem })?;
        let tensors = arrays.into_iter();
        Ok(Self {
            tensors: tensors
                .map(|(name, shape, values)| (name, GoldenTensor { shape, values }))
                .collect(),
            score: golden.score,
        })
    }
}

/// Most values of a plane that is kept whole.
const MOST_OF_A_PLANE: usize = 16_384;

/// Which values of an array a bundle keeps. A frame of 512 pixels would take 11 MB whole. Latents
/// and features depend on every pixel, so one that is not kept shows in them.
struct Grid<'a> {
    whole: &'a [usize],
    step: usize,
}

impl<'a> Grid<'a> {
    fn of(whole: &'a [usize]) -> Self {
        let plane: usize = match whole {
            [.., height, width] => height * width,
            _ => 0,
        };
        let step = (plane as f64 / MOST_OF_A_PLANE as f64).sqrt().ceil();
        Self {
            whole,
            step: (step as usize).max(1),
        }
    }

    /// Shape of what is kept.
    fn shape(&self) -> Vec<usize> {
        let planes = self.whole.len().saturating_sub(2);
        let (before, plane) = self.whole.split_at(planes);
        let kept = plane.iter().map(|side| side.div_ceil(self.step));
        before.iter().copied().chain(kept).collect()
    }

    /// What is kept of the values of a whole array.
    fn values(&self, values: &[f32]) -> Vec<f32> {
        let [.., height, width] = self.whole else {
            return values.to_vec();
        };
        values
            .chunks(height * width)
            .flat_map(|plane| plane.chunks(*width).step_by(self.step))
            .flat_map(|row| row.iter().copied().step_by(self.step))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_planes_are_kept_on_a_grid() {
        let small = [3, 128, 128];
        assert_eq!(Grid::of(&small).shape(), small);
        assert_eq!(Grid::of(&[7]).values(&[1.0; 7]), [1.0; 7]);
        assert!(Grid::of(&[]).shape().is_empty());
        let long = [40_000];
        assert_eq!(Grid::of(&long).shape(), long);

        // 131 · 260 = 34,060 values: every second row and column.
        let shape = [2, 131, 260];
        let grid = Grid::of(&shape);
        assert_eq!(grid.shape(), [2, 66, 130]);
        let values: Vec<f32> = (0..2 * 131 * 260).map(|value| value as f32).collect();
        let kept = grid.values(&values);
        assert_eq!(kept.len(), 2 * 66 * 130);
        assert_eq!(kept[..2], [0.0, 2.0]);
        assert_eq!(kept[130], 2.0 * 260.0);
        assert_eq!(kept[66 * 130 + 1], (131 * 260 + 2) as f32);
    }
}
