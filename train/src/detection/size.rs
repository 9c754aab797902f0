//! At which size frames are worked on: at the one at which the second network's features tell
//! synthetic defects best.
//!
//! All sizes see the same pictures: frames and defects are drawn at the largest and averaged down to
//! the others, so that a defect of a few pixels is as small in the frame for all of them.

use std::{sync::atomic::Ordering, thread::available_parallelism};

use anyhow::{Context, Result, bail};
use edge_vae::{
    anomaly::{Aggregation, Backbone},
    metrics::auroc,
    preprocess::{PreprocessSettings, Preprocessor},
};
use rayon::prelude::*;

use super::{
    Material,
    features::{Maps, borrowed},
    retake::{Pose, Retake},
    trials::{self, Truth},
};
use crate::{
    features::{self, FeatureMap, FeatureSource, Kind},
    random::{Purpose, stream},
};

/// Frames that are looked at, at most; of three, two are fitted on and one is judged.
pub const FRAMES: usize = 96;

/// Copies of each frame that is fitted on ([`super::retake`]).
const COPIES: usize = 2;

/// Every how many of the frames of synthetic validation one is judged.
const TRIALS: usize = 2;

/// A smaller size is taken where it is better than a larger one by this much (AUROC): real defects may
/// be smaller than drawn ones, and synthetic validation is no finer.
const BETTER: f64 = 0.01;

/// The score of a map of distances: the best of these.
const AGGREGATIONS: [Aggregation; 2] = [
    Aggregation::TopFraction { fraction: 0.02 },
    Aggregation::TopFraction { fraction: 0.005 },
];

/// A size at which frames may be worked on.
#[derive(Debug)]
pub struct Candidate<'a, F> {
    /// Side of the tensor, in pixels.
    pub side: usize,
    /// From frame to tensor, with values in [0, 1].
    pub preprocess: &'a PreprocessSettings,
    /// Loads the second network for it.
    pub load: F,
}

/// The side among `candidates`, the largest first, whose divisors the other sides are: of `material`
/// the training frames are fitted on, the validation frames judged; its frames are those of the
/// largest side before exposure and contrast are evened, in [0, 1]. Says on the standard error what
/// was chosen, and why.
///
/// # Errors
/// Ctrl-C, frames that can no longer be read, values that are not finite.
pub fn choose<F: Fn() -> Result<Backbone> + Sync>(
    material: &Material,
    candidates: &[Candidate<'_, F>],
) -> Result<usize> {
    let trials: Vec<_> = trials::draw(material)?
        .into_iter()
        .step_by(TRIALS)
        .collect();
    let found = measure(material, candidates, &trials)?;
    let chosen = preferred(&found).context("no size to choose from")?;
    let defects = trials.iter().filter(|(_, truth)| truth.is_anomalous());
    let defects = defects.count();
    eprintln!(
        "size: AUROC of {defects} synthetic defects against {} held-out normal frames, drawn at the \
         largest:",
        trials.len() - defects
    );
    for (side, auroc) in found {
        let mark = if side == chosen { "  <- chosen" } else { "" };
        eprintln!("  {:5.1} %  {side}×{side} pixels{mark}", 100.0 * auroc);
    }
    Ok(chosen)
}

/// The side of each of `candidates`, and its AUROC on `trials`.
fn measure<F: Fn() -> Result<Backbone> + Sync>(
    material: &Material,
    candidates: &[Candidate<'_, F>],
    trials: &[(Vec<f32>, Truth)],
) -> Result<Vec<(usize, f64)>> {
    let anomalous: Vec<bool> = trials.iter().map(|(_, t)| t.is_anomalous()).collect();
    let looks = looks(material)?;
    let validation = &material.split.validation;
    let held_out = validation.iter().map(|&frame| material.frames.get(frame));
    let judged = trials.iter().map(|(picture, _)| &picture[..]);
    let pictures = looks.iter().map(Vec::as_slice).chain(held_out);
    let pictures: Vec<&[f32]> = pictures.chain(judged).collect();
    let measure = |candidate: &Candidate<'_, F>| {
        let mut seen = See {
            material,
            candidate,
        }
        .all(&pictures)?;
        let judged = seen.split_off(looks.len() + validation.len());
        let held_out = seen.split_off(looks.len());
        let auroc = separation(seen, held_out, &judged, &anomalous)?;
        Ok((candidate.side, auroc))
    };
    candidates.iter().map(measure).collect()
}

/// Of sides and their AUROC, the largest side first: the first that no later one beats by
/// [`BETTER`].
fn preferred(found: &[(usize, f64)]) -> Option<usize> {
    let top = found.iter().map(|(_, auroc)| *auroc).fold(0.0, f64::max);
    let good = found.iter().find(|(_, auroc)| *auroc >= top - BETTER);
    good.map(|(side, _)| *side)
}

/// The training frames and their copies, neither evened nor normalised, of the largest side.
fn looks(material: &Material) -> Result<Vec<Vec<f32>>> {
    let retake = Retake::to_fit(material.preprocess);
    let each = material.split.train.par_iter().map(|&frame| {
        let picture = material.frames.get(frame);
        let mut looks = vec![picture.to_vec()];
        for copy in 1..=COPIES {
            let counter = ((frame as u64) << 32) + copy as u64;
            let mut random = stream(material.seed, Purpose::Retake, counter);
            looks.push(retake.take(picture, Pose::Held, &mut random)?);
        }
        Ok(looks)
    });
    let looks = each.collect::<Result<Vec<_>>>()?;
    Ok(looks.into_iter().flatten().collect())
}

/// What the second network sees at a size.
struct See<'a, 'b, F> {
    material: &'a Material<'a>,
    candidate: &'a Candidate<'b, F>,
}

impl<F: Fn() -> Result<Backbone> + Sync> See<'_, '_, F> {
    /// Feature maps of `pictures` of the largest side, on all processors.
    fn all(&self, pictures: &[&[f32]]) -> Result<Vec<Maps>> {
        let processors = available_parallelism().map_or(1, usize::from);
        let part = pictures.len().div_ceil(processors).max(1);
        let parts = pictures.par_chunks(part).map(|part| self.some(part));
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }

    fn some(&self, pictures: &[&[f32]]) -> Result<Vec<Maps>> {
        let settings = self.candidate.preprocess.clone();
        let mut preprocessor = Preprocessor::with_mask(settings, self.material.mask)?;
        let mut network = (self.candidate.load)()?;
        let shape = self.material.frames.shape();
        let factor = shape[1] / self.candidate.side;
        let see = |picture: &&[f32]| {
            if self.material.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let reduced = averaged(picture, shape, factor);
            preprocessor.prepare_values(&reduced, "a frame at another size")?;
            network.run(preprocessor.canvas())?;
            let maps = network.maps().iter().enumerate().map(|(place, map)| {
                let shape = [map.shape[1], map.shape[2], map.shape[3]];
                (map.name.clone(), shape, network.values(place).to_vec())
            });
            Ok(maps.collect())
        };
        pictures.iter().map(see).collect()
    }
}

/// A picture C×H×W reduced by a whole factor: the mean of factor×factor pixels each.
fn averaged(picture: &[f32], [channels, height, width]: [usize; 3], factor: usize) -> Vec<f32> {
    if factor <= 1 {
        return picture.to_vec();
    }
    let (rows, columns) = (height / factor, width / factor);
    let share = 1.0 / (factor * factor) as f32;
    let mut out = vec![0.0; channels * rows * columns];
    for (place, out) in out.iter_mut().enumerate() {
        let (channel, cell) = (place / (rows * columns), place % (rows * columns));
        let (top, left) = (cell / columns * factor, cell % columns * factor);
        for y in top..top + factor {
            let row = &picture[(channel * height + y) * width + left..][..factor];
            *out += share * row.iter().sum::<f32>();
        }
    }
    out
}

/// Feature maps that are all there, and how many of the frames are no copies.
struct Seen {
    maps: Vec<Maps>,
    originals: usize,
}

impl FeatureSource for Seen {
    fn frames(&self) -> usize {
        self.maps.len()
    }

    fn originals(&self) -> usize {
        self.originals
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        frames
            .iter()
            .try_for_each(|&frame| visit(&borrowed(&self.maps[frame])))
    }
}

/// The largest AUROC with which Gaussians of the features `train` tell the anomalous pictures of `judged`.
fn separation(
    train: Vec<Maps>,
    held_out: Vec<Maps>,
    judged: &[Maps],
    anomalous: &[bool],
) -> Result<f64> {
    let options = features::Options::default();
    let kinds = [Kind::PerPosition, Kind::PositionFree];
    let mut train = Seen {
        originals: train.len() / (1 + COPIES),
        maps: train,
    };
    let mut held_out = Seen {
        originals: held_out.len(),
        maps: held_out,
    };
    let models = features::fit(&mut train, &mut held_out, &kinds, &options)?;
    let mut best: f64 = 0.0;
    for model in models {
        let [rows, columns] = model.grid();
        let distances = judged.par_iter().map(|maps| {
            let mut map = vec![0.0; rows * columns];
            model.distance(&borrowed(maps), &mut map)?;
            Ok(map)
        });
        let distances = distances.collect::<Result<Vec<Vec<f32>>>>()?;
        for aggregation in AGGREGATIONS {
            let (mut normal, mut defective) = (Vec::new(), Vec::new());
            for (map, &anomalous) in distances.iter().zip(anomalous) {
                let score = aggregation.score(&mut map.clone())?;
                if anomalous {
                    &mut defective
                } else {
                    &mut normal
                }
                .push(score);
            }
            best = best.max(auroc(&normal, &defective).unwrap_or(0.5));
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use edge_vae::{
        anomaly::BackboneSettings,
        backend::{BackendKind, Engine, EngineOptions},
        dataset::{Dataset, DatasetOptions, Sample, Split},
        preprocess::{Colour, Normalise},
    };

    use super::*;
    use crate::{backbone, fit::Frames};

    #[test]
    fn the_largest_size_is_kept_unless_a_smaller_one_is_better() {
        assert_eq!(preferred(&[(512, 0.90), (256, 0.905)]), Some(512));
        assert_eq!(preferred(&[(512, 0.90), (256, 0.92)]), Some(256));
        assert_eq!(preferred(&[(512, 0.95), (256, 0.80)]), Some(512));
        assert_eq!(preferred(&[]), None);
    }

    /// Stripes of four pixels, which are gone at half the size, as are gaps in them.
    #[test]
    fn what_half_the_size_loses_is_seen_at_the_whole() {
        let side = 128;
        let room = tempfile::tempdir().unwrap();
        for number in 0..18_u32 {
            let picture = image::GrayImage::from_fn(side, side, |x, y| {
                let stripe = if (x + number) % 4 < 2 { 60 } else { 140 };
                let grain = (x * 31 + y * 17 + number * 7) * (y + 3) % 13;
                image::Luma([(stripe + grain) as u8])
            });
            picture
                .save(room.path().join(format!("{number}.png")))
                .unwrap();
        }
        let dataset = Dataset::open(room.path(), &DatasetOptions::default()).unwrap();
        let samples: Vec<&Sample> = dataset.train.iter().collect();
        let settings = |side: u32| {
            let side = side as usize;
            PreprocessSettings::new(side, side, Colour::Grey)
        };
        let (large, small) = (settings(side), settings(side / 2));
        let mut preprocessor = Preprocessor::new(large.clone()).unwrap();
        let mut values = Vec::new();
        for sample in &samples {
            preprocessor
                .prepare_canvas(&sample.frame().unwrap())
                .unwrap();
            values.extend_from_slice(preprocessor.canvas());
        }
        let (validation, train) = (0..samples.len()).partition(|place| place % 3 == 1);
        let split = Split {
            train,
            validation,
            calibration: Vec::new(),
        };
        let interrupted = AtomicBool::new(false);
        let material = Material {
            frames: &Frames::new(large.canvas_shape(), values),
            layout: preprocessor.canvas_layout(),
            samples: &samples,
            preprocess: &large,
            mask: None,
            split: &split,
            in_folds: false,
            steps: 0,
            seed: 1,
            interrupted: &interrupted,
        };
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })
        .unwrap();
        let network = BackboneSettings {
            file: "backbone.onnx".to_owned(),
            normalise: backbone::normalise(),
            maps: Vec::new(),
        };
        let identity = Normalise::identity(1);
        let candidate = |preprocess| {
            let (engine, network, identity) = (&engine, &network, &identity);
            let [channels, side, _] = PreprocessSettings::shape(preprocess);
            Candidate {
                side,
                preprocess,
                load: move || {
                    let onnx = backbone::onnx(side, side)?;
                    let tensor = (1, [channels, side, side], identity);
                    Ok(Backbone::load(
                        engine,
                        &onnx,
                        "backbone.onnx",
                        network,
                        tensor,
                    )?)
                },
            }
        };
        let candidates = [candidate(&large), candidate(&small)];
        let trials: Vec<_> = trials::draw(&material)
            .unwrap()
            .into_iter()
            .step_by(2)
            .collect();
        let found = measure(&material, &candidates, &trials).unwrap();
        let [(first, whole), (second, half)] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!([first, second], [128, 64]);
        assert!(whole > half + BETTER, "{found:?}");
        assert_eq!(preferred(&found), Some(128));
        interrupted.store(true, Ordering::Relaxed);
        let error = choose(&material, &candidates).unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
    }

    #[test]
    fn pictures_are_averaged_down() {
        let picture: Vec<f32> = (0..32).map(|i| i as f32).collect();
        let found = averaged(&picture, [2, 4, 4], 2);
        assert_eq!(found, [2.5, 4.5, 10.5, 12.5, 18.5, 20.5, 26.5, 28.5]);
        assert_eq!(averaged(&picture, [2, 4, 4], 1), picture);
    }
}
