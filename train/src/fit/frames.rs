//! The prepared training frames in memory.

use anyhow::Result;
use edge_vae::preprocess::Normalise;

/// Most bytes that the prepared frames may take.
const MEMORY: usize = 8 << 30;

/// Prepared frames, C×H×W each.
#[derive(Clone, Debug)]
pub struct Frames {
    shape: [usize; 3],
    values: Vec<f32>,
}

impl Frames {
    /// Frames of `shape` (C×H×W), one after the other.
    pub fn new(shape: [usize; 3], values: Vec<f32>) -> Self {
        Self { shape, values }
    }

    /// Shape of one frame: C×H×W.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Values of one frame.
    pub fn get(&self, index: usize) -> &[f32] {
        let length = self.length();
        &self.values[index * length..(index + 1) * length]
    }

    /// Number of frames.
    pub fn count(&self) -> usize {
        self.values.len() / self.length()
    }

    fn length(&self) -> usize {
        self.shape.iter().product()
    }

    /// Mean and standard deviation of each channel over the frames `indices`. A channel without
    /// contrast gets the deviation 1.
    pub fn normalisation(&self, indices: &[usize]) -> Normalise {
        let [channels, height, width] = self.shape;
        let (mut mean, mut std) = (Vec::new(), Vec::new());
        for c in 0..channels {
            let plane = |i: usize| {
                self.get(i)[c * height * width..(c + 1) * height * width]
                    .iter()
                    .map(|&v| f64::from(v))
            };
            let count = (indices.len() * height * width) as f64;
            let m = indices.iter().flat_map(|&i| plane(i)).sum::<f64>() / count;
            let variance = indices
                .iter()
                .flat_map(|&i| plane(i))
                .map(|v| (v - m) * (v - m))
                .sum::<f64>()
                / count;
            mean.push(m as f32);
            std.push(if variance > 1e-10 { variance.sqrt() as f32 } else { 1.0 });
        }
        Normalise { mean, std }
    }
}
