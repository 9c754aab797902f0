//! A VAE over feature vectors: what is normal at a cell depends on its neighbours and on the frame,
//! in ways that no Gaussian can tell, and the likelihood says how well they agree.

use anyhow::Result;
use candle_core::{Device, Tensor};
use edge_vae::{
    model::{
        INPUT, LOG_VARIANCE, MEAN, ModelOutputs, RECONSTRUCTION, RECONSTRUCTION_LOG_VARIANCE,
        Tensor as Plane, TensorShapes,
    },
    scoring::{ScoreMap, ScoreSource},
    vae::{Latent, Likelihood, VaeSpec},
};
use nalgebra::DMatrix;
use rand::distr::{Distribution, weighted::WeightedIndex};
use rand_distr::StandardNormal;

use super::{FitOptions, per_location};
use crate::{
    nn::{
        Mode, Parameters, ops,
        optimiser::{AdamW, AdamWSettings},
    },
    random::{Purpose, stream},
    vae::{Network, schedule},
};

/// How it is built and trained. Found on magnetic tiles and drawn cloth: more of each takes longer
/// and finds no more.
#[derive(Debug)]
pub(super) struct VaeParams {
    /// Frames, augmented samples included, that it is trained on at most: what fits into memory.
    pub(super) most_frames: usize,
    /// Channels of the latent map, whose sides are a quarter of the grid's.
    latent: usize,
    /// Frames in one step.
    batch: usize,
    /// Learning rate at its highest, after a tenth of the steps.
    learning_rate: f64,
    /// Decay of the averaged weights, which are the ones that count.
    average: f64,
    /// Share of the steps in which the divergence comes to count in full.
    warm_up: f64,
    /// Decoupled weight decay.
    weight_decay: f64,
}

pub(super) const PARAMS: VaeParams = VaeParams {
    most_frames: 1200,
    latent: 16,
    batch: 16,
    learning_rate: 2e-3,
    average: 0.995,
    warm_up: 0.3,
    weight_decay: 0.01,
};

/// A network that tells the likelihood of a frame's vectors y, brought to x = (y − μₚ)/s with μₚ of
/// the cell and s of the component.
#[derive(Clone, Debug)]
pub(super) struct FeatureVae {
    /// μₚ, components×cells.
    pub(super) mean: DMatrix<f32>,
    /// 1/s, of each component.
    pub(super) scale: Vec<f32>,
    /// Rows and columns of the grid. The network's are multiples of four, and the cells beyond the
    /// grid's copies of its last ones.
    pub(super) grid: [usize; 2],
    pub(super) network: Network,
    pub(super) parameters: Parameters,
}

/// Frames that a network is trained on.
pub(super) struct TrainingFrames<'a> {
    /// components×cells each.
    pub(super) vectors: &'a [DMatrix<f32>],
    /// How much each counts.
    pub(super) weights: &'a [f64],
}

/// What the sides of a network are multiples of, since it halves them twice.
const MULTIPLE: usize = 4;

/// Whether there is a network for a grid: it has to have neighbours to learn from.
pub(super) fn suits([height, width]: [usize; 2]) -> bool {
    height.min(width) >= MULTIPLE && height * width >= 64
}

impl FeatureVae {
    /// Trained on `frames` for as many steps as `options` say; calls `each` before each of them.
    ///
    /// Equal frames and seed give equal bits.
    ///
    /// # Errors
    /// No frame; the errors of `each`.
    pub(super) fn fit(
        frames: &TrainingFrames,
        grid: [usize; 2],
        options: &FitOptions,
        each: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Self> {
        let Some(first) = frames.vectors.first() else {
            anyhow::bail!("no frame to train a VAE over features on");
        };
        let components = first.nrows();
        let (mean, scale) = moments(frames);
        let [height, width] = grid.map(|side| side.next_multiple_of(MULTIPLE));
        let network = Network::of_features(VaeSpec {
            channels: components,
            height,
            width,
            latent: Latent::Map {
                channels: PARAMS.latent,
                height: height / MULTIPLE,
                width: width / MULTIPLE,
            },
            likelihood: Likelihood::GaussianLearned,
        });
        let parameters = network.parameters(options.seed, &Device::Cpu)?;
        let mut vae = Self {
            mean,
            scale,
            grid,
            network,
            parameters,
        };
        vae.train(frames, options, each)?;
        Ok(vae)
    }

    fn train(
        &mut self,
        frames: &TrainingFrames,
        options: &FitOptions,
        each: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let settings = AdamWSettings {
            weight_decay: PARAMS.weight_decay,
            max_gradient_norm: Some(1.0),
            average_decay: Some(PARAMS.average),
            ..AdamWSettings::default()
        };
        let decays = |name: &str| name.ends_with(".weight");
        let mut optimiser = AdamW::new(self.parameters.weights(), decays, settings)?;
        let chosen = WeightedIndex::new(frames.weights)?;
        let spec = self.network.spec().clone();
        let dimensions = (spec.channels * spec.height * spec.width) as f64;
        let latent = [spec.height / MULTIPLE, spec.width / MULTIPLE, PARAMS.latent];
        for step in 0..options.steps {
            each(step)?;
            let mut random = stream(options.seed, Purpose::FeatureVae, step as u64);
            let batch: Vec<f32> = (0..PARAMS.batch)
                .flat_map(|_| self.prepared(&frames.vectors[chosen.sample(&mut random)]))
                .collect();
            let shape = (PARAMS.batch, spec.height, spec.width, spec.channels);
            let x = Tensor::from_vec(batch, shape, &Device::Cpu)?;
            let noise: Vec<f32> = (0..PARAMS.batch * latent.iter().product::<usize>())
                .map(|_| StandardNormal.sample(&mut random))
                .collect();
            let shape = (PARAMS.batch, latent[0], latent[1], latent[2]);
            let noise = Tensor::from_vec(noise, shape, &Device::Cpu)?;

            let mut mode = Mode::Train(Vec::new());
            let posterior = self.network.encode(&x, &self.parameters, &mut mode)?;
            let z = ops::reparameterise(&posterior.mean, &posterior.log_variance, &noise)?;
            let seen = self.network.decode(&z, &self.parameters, &mut mode)?;
            let nll = match &seen.log_variance {
                Some(log_variance) => ops::gaussian_nll(&x, &seen.location, log_variance)?,
                None => anyhow::bail!("a VAE over features learns its variance"),
            };
            let kl = ops::kl_standard_normal(&posterior.mean, &posterior.log_variance)?;
            let (step, total) = (step as u64, options.steps as u64);
            let weight = schedule::kl_weight(step, total, PARAMS.warm_up, 1.0);
            let loss = ((nll + (kl * weight)?)?.mean_all()? / dimensions)?;
            // A step whose gradients are not finite is none: the optimiser leaves everything as it
            // was.
            let rate = schedule::learning_rate(step, total, total / 10, PARAMS.learning_rate);
            optimiser.step(&loss.backward()?, rate)?;
        }
        let averages = self.parameters.averaged(optimiser.averages()?);
        self.parameters = self.parameters.with(&averages.as_stored()?)?;
        Ok(())
    }

    /// The vectors y (components×cells) of a frame as x of the network, cell after cell.
    fn prepared(&self, vectors: &DMatrix<f32>) -> Vec<f32> {
        let spec = self.network.spec();
        let [rows, columns] = self.grid;
        let cells = (0..spec.height).flat_map(|row| {
            let first = row.min(rows - 1) * columns;
            (0..spec.width).map(move |column| first + column.min(columns - 1))
        });
        let x = |cell: usize| {
            let (y, mean) = (vectors.column(cell), self.mean.column(cell));
            let each = y.iter().zip(&mean).zip(&self.scale);
            each.map(|((y, mean), scale)| (y - mean) * scale)
                .collect::<Vec<f32>>()
        };
        cells.flat_map(x).collect()
    }

    /// Negative evidence lower bound at the posterior mean of a frame's vectors in nats, for each
    /// cell: the library's [`ScoreSource::Likelihood`] of a picture whose channels are components.
    ///
    /// # Errors
    /// Vectors of another shape.
    pub(super) fn energy(&self, vectors: &DMatrix<f32>) -> Result<Vec<f32>> {
        let spec = self.network.spec();
        let shape = (1, spec.height, spec.width, spec.channels);
        let x = Tensor::from_vec(self.prepared(vectors), shape, &Device::Cpu)?;
        let (parameters, mode) = (&self.parameters, &mut Mode::Evaluate);
        let posterior = self.network.encode(&x, parameters, mode)?;
        let seen = self.network.decode(&posterior.mean, parameters, mode)?;
        let planes = |tensor: &Tensor| tensor.permute((0, 3, 1, 2))?.flatten_all()?.to_vec1();
        let variance = seen.log_variance.as_ref().map(planes).transpose()?;
        let mut map = vec![0.0; spec.height * spec.width];
        let variance = variance.unwrap_or_default();
        let picture = [spec.channels, spec.height, spec.width];
        let latent = spec.latent.shape();
        let (x, reconstruction) = (planes(&x)?, planes(&seen.location)?);
        let (mean, log_variance) = (planes(&posterior.mean)?, planes(&posterior.log_variance)?);
        let tensors: [(&str, &[usize], &[f32]); 5] = [
            (INPUT, &picture, &x),
            (MEAN, &latent, &mean),
            (LOG_VARIANCE, &latent, &log_variance),
            (RECONSTRUCTION, &picture, &reconstruction),
            (RECONSTRUCTION_LOG_VARIANCE, &picture, &variance),
        ];
        let tensors = tensors.map(|(name, shape, values)| (name, Plane { shape, values }));
        ScoreMap::new(
            &ScoreSource::Likelihood,
            Some(spec),
            &TensorShapes::default(),
        )?
        .compute(&ModelOutputs::of(&tensors), &mut map)?;
        let [rows, columns] = self.grid;
        let rows = map.chunks_exact(spec.width).take(rows);
        Ok(rows.flat_map(|row| row[..columns].to_vec()).collect())
    }
}

/// μₚ of the cells, and 1/s of the components, where s² is the variance within the cells and the
/// [floor](per_location::GaussianParams::floor).
fn moments(frames: &TrainingFrames) -> (DMatrix<f32>, Vec<f32>) {
    let (components, cells) = frames.vectors[0].shape();
    let total: f64 = frames.weights.iter().sum();
    let weighted = || frames.vectors.iter().zip(frames.weights);
    let mut mean = DMatrix::<f64>::zeros(components, cells);
    for (frame, weight) in weighted() {
        mean += frame.map(f64::from) * (weight / total);
    }
    let mut variance = vec![0.0; components];
    for (frame, weight) in weighted() {
        for (place, (y, mean)) in frame.iter().zip(&mean).enumerate() {
            variance[place % components] += weight * (f64::from(*y) - mean).powi(2);
        }
    }
    let scale = variance.iter().map(|sum| {
        let variance = sum / (total * cells as f64);
        (1.0 / (variance + per_location::PARAMS.floor).sqrt()) as f32
    });
    (mean.map(|m| m as f32), scale.collect())
}
