//! Prototypes: the frame as a whole, compared with typical normal ones. For small pictures, of
//! which no network hands out feature maps.
//!
//! What is compared is the picture's shape, not its exposure:
//!
//! 1. Pixel values in [0, 1], less their mean, smoothed by a Gaussian, so that strokes and edges
//!    that lie a little beside each other still agree.
//! 2. Brought to length 1: v = d / √(|d|² + D·ε²), with D values d. ε keeps the noise of a nearly
//!    even picture from being blown up.
//! 3. distance = s · minₖ |v − cₖ|². The prototypes cₖ are the centres of clusters of the training
//!    frames; s makes the mean over held-out normal frames 1.

use anyhow::{Result, ensure};
use edge_vae::{image::GaussianSmoothing, preprocess::Normalise};
use half::f16;
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::k_means::k_means;
use crate::{
    export::onnx::{Attribute, GraphBuilder, Value},
    random::{Purpose, stream},
};

/// How prototypes are found.
#[derive(Debug)]
struct PrototypeParams {
    /// Most values of a picture: beyond, prototypes are too large for a bundle, and pictures show
    /// more than one thing.
    most_values: usize,
    /// Most prototypes: of digits 50 to 500 separate alike.
    most: usize,
    /// Most elements of the matrix of prototypes: tract widens it once, when it loads the file.
    most_elements: usize,
    /// Frames from which the centres are computed, at most: more take longer and change none.
    most_frames: usize,
    /// ε: standard deviation of a picture, as a share of full scale, that counts as next to
    /// nothing.
    even: f32,
    /// Least mean of |v − c|² over held-out frames that s is made of, for frames that are all
    /// alike.
    least_mean: f64,
}

const PARAMS: PrototypeParams = PrototypeParams {
    most_values: 1 << 13,
    most: 500,
    most_elements: 1 << 20,
    most_frames: 10_000,
    even: 0.01,
    least_mean: 1e-4,
};

/// Beyond the counters of the other users of the stream, which are frames and numbers of Gaussians.
const CENTRES: u64 = 1 << 41;

/// Typical normal frames, and how a frame is compared with them.
#[derive(Clone, Debug)]
pub struct Prototypes {
    description: Description,
    /// Mean m of the vectors of the training frames. Vectors and prototypes are both taken from
    /// there: where frames are much alike, |v|² + |c|² − 2·v·c would otherwise lose its digits.
    mean: DVector<f32>,
    /// The prototypes less m, D×K row after row, as they are stored.
    stored: Vec<f16>,
    /// The same, K×D.
    rows: DMatrix<f32>,
    /// |cₖ − m|².
    lengths: Vec<f32>,
    /// s.
    scale: f32,
}

/// What is compared of a frame.
#[derive(Clone, Debug)]
struct Description {
    /// C, H, W.
    shape: [usize; 3],
    /// From tensor to pixel values.
    normalise: Normalise,
    /// Standard deviation of the smoothing, in pixels; 0 for none.
    blur: f32,
    /// The smoothing along columns and rows, H×H and W×W.
    smoothing: [DMatrix<f32>; 2],
}

impl Prototypes {
    /// Whether pictures of C×H×W are small enough.
    pub fn suit(shape: [usize; 3]) -> bool {
        shape.iter().product::<usize>() <= PARAMS.most_values
    }

    /// Finds the prototypes of the frames `train` (C×H×W each, normalised as `normalise` says):
    /// 2·√n of n frames, at most 500; `blur` is the standard deviation of the smoothing in pixels.
    /// `held_out` are other normal frames.
    ///
    /// The same frames and seed give the same bits, whatever the number of threads.
    ///
    /// # Errors
    /// No frames, frames of another length, values that are not finite, pictures that do not
    /// [suit](Self::suit).
    pub fn fit(
        train: &[&[f32]],
        held_out: &[&[f32]],
        shape: [usize; 3],
        normalise: &Normalise,
        blur: f32,
        seed: u64,
    ) -> Result<Self> {
        ensure!(
            Self::suit(shape),
            "prototypes are for pictures of at most {} values, not for {shape:?}",
            PARAMS.most_values
        );
        ensure!(
            !train.is_empty() && !held_out.is_empty(),
            "prototypes need training frames and held-out ones, there are {} and {}",
            train.len(),
            held_out.len()
        );
        let description = Description::new(shape, normalise, blur)?;
        let stride = train.len().div_ceil(PARAMS.most_frames);
        let seen: Vec<&[f32]> = train.iter().step_by(stride).copied().collect();
        let mut vectors = description.matrix(&seen)?;
        let mean = vectors.column_mean();
        vectors.column_iter_mut().for_each(|mut v| v -= &mean);
        let count = count(train.len(), shape.iter().product());
        let mut random = stream(seed, Purpose::Features, CENTRES);
        let centres = k_means(&vectors, count.min(seen.len()), &mut random);
        let mut prototypes = Self::of(description, mean, &centres);
        let distances: Vec<f32> = held_out
            .par_iter()
            .map(|frame| prototypes.distance(frame))
            .collect::<Result<_>>()?;
        let sum: f64 = distances.iter().copied().map(f64::from).sum();
        prototypes.scale = (1.0 / (sum / held_out.len() as f64).max(PARAMS.least_mean)) as f32;
        Ok(prototypes)
    }

    /// With these prototypes less `mean` (D×K), to be rounded, and a scale of 1.
    fn of(description: Description, mean: DVector<f32>, centres: &DMatrix<f32>) -> Self {
        let rows = centres.transpose();
        // Column after column of K×D is row after row of D×K.
        let stored: Vec<f16> = rows.iter().map(|&value| f16::from_f32(value)).collect();
        let (count, length) = rows.shape();
        let rows = DMatrix::from_iterator(count, length, stored.iter().map(|v| v.to_f32()));
        let squares = |row: usize| rows.row(row).iter().map(|&v| f64::from(v).powi(2)).sum();
        let lengths = (0..count).map(squares).map(|sum: f64| sum as f32);
        Self {
            lengths: lengths.collect(),
            description,
            mean,
            stored,
            rows,
            scale: 1.0,
        }
    }

    /// Number of prototypes.
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// The distance of a prepared frame (C×H×W). It computes with the values that
    /// [`Self::to_onnx`] stores.
    ///
    /// # Errors
    /// A frame of another length; values that are not finite.
    pub fn distance(&self, frame: &[f32]) -> Result<f32> {
        let vector = self.description.of(frame)? - &self.mean;
        let products = &self.rows * &vector;
        let squared = products
            .iter()
            .zip(&self.lengths)
            .map(|(product, length)| length - 2.0 * product)
            .fold(f32::INFINITY, f32::min);
        Ok(self.scale * (vector.norm_squared() + squared).max(0.0))
    }

    /// The bytes of a graph: `input` N×C×H×W → `output` N×1×1×1. `model` is the model's name, for
    /// the file's metadata.
    pub fn to_onnx(&self, model: &str, output: &str) -> Vec<u8> {
        let mut graph = GraphBuilder::new("features");
        let vector = self.description.nodes(&mut graph);
        let (count, length) = self.rows.shape();
        let mean = graph.floats("mean_vector", &[length], self.mean.as_slice());
        let vector = graph.node("Sub", "difference", &[&vector, &mean], &[]);
        let own = squared_length(&mut graph, "own", &vector);
        let prototypes = graph.halves("prototypes", &[length, count], &self.stored);
        let products = graph.node("MatMul", "products", &[&vector, &prototypes], &[]);
        let factor = graph.floats("minus_two", &[], &[-2.0]);
        let products = graph.node("Mul", "twice", &[&products, &factor], &[]);
        let lengths = graph.floats("lengths", &[count], &self.lengths);
        let squared = graph.node("Add", "squared", &[&products, &lengths], &[]);
        let axis = [("axes", Attribute::Ints(&[1]))];
        let nearest = graph.node("ReduceMin", "nearest", &[&squared], &axis);
        let nearest = graph.node("Add", "with_own", &[&nearest, &own], &[]);
        let nearest = graph.node("Relu", "not_negative", &[&nearest], &[]);
        let scale = graph.floats("scale", &[], &[self.scale]);
        let scaled = graph.node("Mul", "scaled", &[&nearest, &scale], &[]);
        let shape = graph.integers("map.shape", &[0, 1, 1, 1]);
        let map = graph.node("Reshape", "map", &[&scaled, &shape], &[]);
        graph.output(&map, output, &[1, 1, 1]);
        graph.finish(&[
            ("edge_vae.graph", "features".to_owned()),
            ("edge_vae.model", model.to_owned()),
            ("edge_vae.features", "prototypes".to_owned()),
            ("edge_vae.prototypes", count.to_string()),
        ])
    }
}

/// Number of prototypes for so many frames of so many values.
fn count(frames: usize, values: usize) -> usize {
    let wanted = (2.0 * (frames as f64).sqrt()).round() as usize;
    wanted.clamp(1, PARAMS.most.min(PARAMS.most_elements / values))
}

impl Description {
    fn new(shape: [usize; 3], normalise: &Normalise, blur: f32) -> Result<Self> {
        let [_, height, width] = shape;
        Ok(Self {
            shape,
            normalise: normalise.clone(),
            blur,
            smoothing: [smoothing(height, blur)?, smoothing(width, blur)?],
        })
    }

    /// The vectors of frames, one in each column.
    fn matrix(&self, frames: &[&[f32]]) -> Result<DMatrix<f32>> {
        let vectors: Vec<DVector<f32>> = frames
            .par_iter()
            .map(|frame| self.of(frame))
            .collect::<Result<_>>()?;
        Ok(DMatrix::from_columns(&vectors))
    }

    /// The vector v of a frame.
    fn of(&self, frame: &[f32]) -> Result<DVector<f32>> {
        let [channels, height, width] = self.shape;
        let area = height * width;
        ensure!(
            frame.len() == channels * area,
            "a frame has {} values, wanted {:?}",
            frame.len(),
            self.shape
        );
        let mut vector = DVector::from_column_slice(frame);
        let scales = self.normalise.std.iter().zip(&self.normalise.mean);
        for (plane, (std, mean)) in vector.as_mut_slice().chunks_exact_mut(area).zip(scales) {
            plane.iter_mut().for_each(|v| *v = *v * std + mean);
        }
        let mean = vector.mean();
        vector.iter_mut().for_each(|v| *v -= mean);
        if self.blur > 0.0 {
            let [down, across] = &self.smoothing;
            for plane in vector.as_mut_slice().chunks_exact_mut(area) {
                // Rows of the picture are columns of the matrix; the smoothing is symmetric.
                let picture = DMatrix::from_column_slice(width, height, plane);
                plane.copy_from_slice((across * picture * down).as_slice());
            }
        }
        let length = (vector.norm_squared() + self.least()).sqrt();
        vector /= length;
        ensure!(
            vector.iter().all(|v| v.is_finite()),
            "a frame has values that are not finite"
        );
        Ok(vector)
    }

    /// D·ε².
    fn least(&self) -> f32 {
        self.shape.iter().product::<usize>() as f32 * PARAMS.even * PARAMS.even
    }

    /// The same in a graph: v, N×D.
    fn nodes(&self, graph: &mut GraphBuilder) -> Value {
        let [channels, height, width] = self.shape;
        let input = graph.input("input", &self.shape);
        let std = graph.floats("std", &[channels, 1, 1], &self.normalise.std);
        let mean = graph.floats("mean", &[channels, 1, 1], &self.normalise.mean);
        let values = graph.node("Mul", "stretched", &[&input, &std], &[]);
        let values = graph.node("Add", "values", &[&values, &mean], &[]);
        let all = [("axes", Attribute::Ints(&[1, 2, 3]))];
        let mean = graph.node("ReduceMean", "level", &[&values], &all);
        let mut picture = graph.node("Sub", "centred", &[&values, &mean], &[]);
        if self.blur > 0.0 {
            let [down, across] = &self.smoothing;
            let down = graph.floats("down", &[1, 1, height, height], down.as_slice());
            let across = graph.floats("across", &[1, 1, width, width], across.as_slice());
            picture = graph.node("MatMul", "smoothed_down", &[&down, &picture], &[]);
            picture = graph.node("MatMul", "smoothed", &[&picture, &across], &[]);
        }
        let shape = graph.integers("flat.shape", &[0, (channels * height * width) as i64]);
        let flat = graph.node("Reshape", "flat", &[&picture, &shape], &[]);
        let squared = squared_length(graph, "flat.length", &flat);
        let least = graph.floats("least", &[], &[self.least()]);
        let squared = graph.node("Add", "enough", &[&squared, &least], &[]);
        let length = graph.node("Sqrt", "length", &[&squared], &[]);
        graph.node("Div", "vector", &[&flat, &length], &[])
    }
}

/// |x|² of N×D, N×1.
fn squared_length(graph: &mut GraphBuilder, name: &str, x: &Value) -> Value {
    let squares = graph.node("Mul", &format!("{name}.squares"), &[x, x], &[]);
    let axis = graph.integers(&format!("{name}.axis"), &[1]);
    graph.node("ReduceSum", name, &[&squares, &axis], &[])
}

/// The matrix that smooths a line of `side` values as maps are smoothed; symmetric.
fn smoothing(side: usize, blur: f32) -> Result<DMatrix<f32>> {
    let mut filter = GaussianSmoothing::new(side, 1, blur)?;
    let mut matrix = DMatrix::identity(side, side);
    for mut column in matrix.column_iter_mut() {
        filter.apply(column.as_mut_slice())?;
    }
    Ok(matrix)
}

#[cfg(test)]
mod tests;
