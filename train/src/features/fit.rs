//! Densities fitted to the features of the training frames and of their augmented samples.

use anyhow::Result;

use super::{
    Features, FitData, FrameFeatures, ModelPool, SamplingParams,
    density::{self, DensityKind, FitOptions, FittedDensity},
};

/// A density over some features, and what it is fitted on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureDensity {
    /// The features.
    pub features: Features,
    /// The density.
    pub kind: DensityKind,
    /// Augmented samples beside the frames.
    pub sampling: &'static SamplingParams,
}

impl FeatureDensity {
    /// Whether one reading of the features serves both.
    fn shares_reading(&self, other: &Self) -> bool {
        (self.features, self.sampling) == (other.features, other.sampling)
    }
}

/// How long the VAE over features is trained.
#[derive(Debug)]
struct VaeSteps {
    /// Steps for each step of the network's training: who trains briefly does not wait for it. A
    /// step takes a tenth of one of the network's.
    per_step: usize,
    /// The most.
    most: usize,
}

const VAE_STEPS: VaeSteps = VaeSteps {
    per_step: 3,
    most: 3000,
};

/// Each of `densities` fitted to the training frames of `data`, whose features `pool` extracts;
/// `None` for one that suits no maps as theirs. Features that several read are extracted once.
///
/// # Errors
/// Ctrl-C, and what can't be fitted.
pub fn fit(
    densities: &[FeatureDensity],
    data: &FitData,
    pool: &ModelPool,
) -> Result<Vec<Option<FittedDensity>>> {
    let mut fitted = vec![None; densities.len()];
    let mut left: Vec<usize> = (0..densities.len()).collect();
    while let Some(&first) = left.first() {
        let of = &densities[first];
        let shares = |place: &usize| densities[*place].shares_reading(of);
        let (together, others): (Vec<usize>, Vec<usize>) = left.into_iter().partition(shares);
        left = others;
        data.reporter.line(format_args!(
            "fitting densities of {} to {} frames",
            of.features,
            data.split.train.len()
        ));
        let kinds: Vec<DensityKind> = together.iter().map(|&p| densities[p].kind).collect();
        let models = match of.features {
            Features::Frame => fit_prototypes(&kinds, data)?,
            _ => fit_to_maps(of, &kinds, data, pool)?,
        };
        for place in together {
            let mut models = models.iter();
            let own = models.find(|model| model.kind() == densities[place].kind);
            fitted[place] = own.cloned();
        }
    }
    Ok(fitted)
}

/// Densities of `kinds` over the feature maps of `of`.
fn fit_to_maps(
    of: &FeatureDensity,
    kinds: &[DensityKind],
    data: &FitData,
    pool: &ModelPool,
) -> Result<Vec<FittedDensity>> {
    let FeatureDensity {
        features, sampling, ..
    } = *of;
    let steps = VAE_STEPS.per_step * usize::try_from(data.steps)?;
    let options = FitOptions {
        grid: pool.fine_grid().filter(|_| features == Features::Fine),
        steps: steps.min(VAE_STEPS.most),
        seed: data.seed,
        ..FitOptions::default()
    };
    let (train, held_out) = (&data.split.train, &data.split.validation);
    density::fit(
        &mut FrameFeatures::augmented(pool, data, features, sampling, train),
        &mut FrameFeatures::plain(pool, data, features, sampling, held_out),
        kinds,
        &options,
    )
}

/// Prototypes of whole frames, more or less smoothed.
fn fit_prototypes(kinds: &[DensityKind], data: &FitData) -> Result<Vec<FittedDensity>> {
    let shape = data.preprocess.shape();
    let frames = |places: &[usize]| -> Vec<&[f32]> {
        let frames = places.iter().map(|&place| data.frames.get(place));
        frames.collect()
    };
    let (train, held_out) = (frames(&data.split.train), frames(&data.split.validation));
    let normalise = &data.preprocess.normalise;
    kinds
        .iter()
        .map(|kind| {
            data.check_interrupted()?;
            FittedDensity::prototypes(*kind, &train, &held_out, shape, normalise, data.seed)
        })
        .collect()
}
