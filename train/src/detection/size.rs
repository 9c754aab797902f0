//! At which size frames are worked on, and whether in tiles: as the second network's features tell
//! synthetic defects best.
//!
//! All candidates see the same pictures: frames and defects are drawn at the first one's canvas, the
//! largest, and prepared for the others as photographs of that size would be, so that a defect of a few
//! pixels is as small in the frame for all of them.

use std::{sync::atomic::Ordering, thread::available_parallelism};

use anyhow::{Context, Result, bail};
use edge_vae::{
    metrics::auroc,
    model::FeatureExtractor,
    preprocess::{PreprocessSettings, Preprocessor},
    scoring::Aggregation,
};
use rayon::prelude::*;

use super::{
    Material,
    features::{Maps, borrowed},
    planes,
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

/// Most frames of synthetic validation that are judged, evenly spaced among all.
const TRIALS: usize = 240;

/// A smaller size is taken where it is better than a larger one, or than tiles, by this much (AUROC):
/// real defects may be smaller than drawn ones, and synthetic validation is no finer.
const BETTER: f64 = 0.02;

/// The score of a map of distances: the best of these.
const AGGREGATIONS: [Aggregation; 2] = [
    Aggregation::TopFraction { fraction: 0.02 },
    Aggregation::TopFraction { fraction: 0.005 },
];

/// A way in which frames may be worked on.
#[derive(Debug)]
pub struct Candidate<'a, F> {
    /// From frame to tensors, with values in [0, 1].
    pub preprocess: &'a PreprocessSettings,
    /// Loads the second network for one tensor.
    pub load: F,
}

impl<F> Candidate<'_, F> {
    /// For people.
    fn name(&self) -> String {
        let [_, height, width] = self.preprocess.shape();
        match self.preprocess.tiles {
            None => format!("{width}×{height} pixels"),
            Some(tiles) => format!(
                "{}×{} pixels in tiles of {width}×{height}",
                tiles.width, tiles.height
            ),
        }
    }
}

/// The place of the best of `candidates`, the largest canvas first: of `material` the training frames
/// are fitted on, the validation frames judged; its frames are those of the first candidate's canvas
/// before exposure and contrast are evened, in [0, 1]. Says on the standard error what was chosen, and
/// why.
///
/// # Errors
/// Ctrl-C, frames that can no longer be read, values that are not finite.
pub fn choose<F: Fn() -> Result<FeatureExtractor> + Sync>(
    material: &Material,
    candidates: &[Candidate<'_, F>],
) -> Result<usize> {
    let trials = trials::draw(material)?;
    let step = trials.len().div_ceil(TRIALS).max(1);
    let trials: Vec<_> = trials.into_iter().step_by(step).collect();
    let found = measure(material, candidates, &trials)?;
    let chosen = preferred(&found).context("no size to choose from")?;
    let defects = trials.iter().filter(|(_, truth)| truth.is_anomalous());
    let defects = defects.count();
    eprintln!(
        "size: AUROC of {defects} synthetic defects against {} held-out normal frames, drawn at the \
         largest:",
        trials.len() - defects
    );
    for (place, (candidate, auroc)) in candidates.iter().zip(found).enumerate() {
        let mark = if place == chosen { "  <- chosen" } else { "" };
        eprintln!("  {:5.1} %  {}{mark}", 100.0 * auroc, candidate.name());
    }
    Ok(chosen)
}

/// The AUROC of each of `candidates` on `trials`.
fn measure<F: Fn() -> Result<FeatureExtractor> + Sync>(
    material: &Material,
    candidates: &[Candidate<'_, F>],
    trials: &[(Vec<f32>, Truth)],
) -> Result<Vec<f64>> {
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
        separation(seen, held_out, &judged, &anomalous)
    };
    candidates.iter().map(measure).collect()
}

/// Of the candidates' AUROC: the first that no later one beats by [`BETTER`].
fn preferred(found: &[f64]) -> Option<usize> {
    let top = found.iter().copied().fold(0.0, f64::max);
    found.iter().position(|&auroc| auroc >= top - BETTER)
}

/// The training frames and their copies, neither evened nor normalised, of the largest side.
fn looks(material: &Material) -> Result<Vec<Vec<f32>>> {
    let retake = Retake::to_fit(material.preprocess, material.split.train.len());
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

/// What the second network sees of a candidate's frames.
struct See<'a, 'b, F> {
    material: &'a Material<'a>,
    candidate: &'a Candidate<'b, F>,
}

impl<F: Fn() -> Result<FeatureExtractor> + Sync> See<'_, '_, F> {
    /// Feature maps of `pictures` of the first candidate's canvas, those of each tile, on all
    /// processors.
    fn all(&self, pictures: &[&[f32]]) -> Result<Vec<Vec<Maps>>> {
        let processors = available_parallelism().map_or(1, usize::from);
        let part = pictures.len().div_ceil(processors).max(1);
        let parts = pictures.par_chunks(part).map(|part| self.some(part));
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }

    fn some(&self, pictures: &[&[f32]]) -> Result<Vec<Vec<Maps>>> {
        let settings = self.candidate.preprocess.clone();
        let mut tensor = vec![0.0; settings.shape().iter().product()];
        let mut preprocessor = Preprocessor::with_mask(settings, self.material.mask)?;
        let mut network = (self.candidate.load)()?;
        let drawn = self.material.frames.shape();
        let see = |picture: &&[f32]| {
            if self.material.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if preprocessor.settings().canvas_shape() == drawn {
                preprocessor.prepare_values(picture, NAME)?;
            } else {
                preprocessor.prepare_canvas(&planes::to_frame(picture, drawn, 16, NAME)?)?;
            }
            let tiles = 0..preprocessor.layout().count();
            let maps = tiles.map(|tile| {
                preprocessor.tile(tile, &mut tensor)?;
                network.run(&tensor)?;
                let maps = network.maps().iter().enumerate().map(|(place, map)| {
                    let shape = [map.shape[1], map.shape[2], map.shape[3]];
                    (map.name.clone(), shape, network.values(place).to_vec())
                });
                Ok(maps.collect())
            });
            maps.collect()
        };
        pictures.iter().map(see).collect()
    }
}

/// What drawn pictures are called in errors.
const NAME: &str = "a frame at another size";

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

/// The largest AUROC with which Gaussians of the features `train` tell the anomalous pictures of
/// `judged`; of each picture there are the maps of its tiles.
fn separation(
    train: Vec<Vec<Maps>>,
    held_out: Vec<Vec<Maps>>,
    judged: &[Vec<Maps>],
    anomalous: &[bool],
) -> Result<f64> {
    let options = features::Options::default();
    // A cell of a tile is no place of the part.
    let tiled = judged.first().is_some_and(|tiles| tiles.len() > 1);
    let kinds = match tiled {
        true => &[Kind::PositionFree][..],
        false => &[Kind::PerPosition, Kind::PositionFree],
    };
    let (train, held_out) = (train.concat(), held_out.concat());
    let mut train = Seen {
        originals: train.len() / (1 + COPIES),
        maps: train,
    };
    let mut held_out = Seen {
        originals: held_out.len(),
        maps: held_out,
    };
    let models = features::fit(&mut train, &mut held_out, kinds, &options)?;
    let mut best: f64 = 0.0;
    for model in models {
        let [rows, columns] = model.grid();
        let distances = judged.par_iter().map(|tiles| {
            let mut map = vec![0.0; tiles.len() * rows * columns];
            for (maps, map) in tiles.iter().zip(map.chunks_exact_mut(rows * columns)) {
                model.distance(&borrowed(maps), map)?;
            }
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
        backend::{BackendKind, Engine, EngineOptions},
        dataset::{Dataset, DatasetOptions, Sample, Split},
        model::FeatureExtractorSettings,
        preprocess::{Colour, Normalise, Tiles},
    };

    use super::*;
    use crate::{backbone, data::Frames, reporter::Reporter};

    #[test]
    fn the_largest_size_is_kept_unless_a_smaller_one_is_better() {
        assert_eq!(preferred(&[0.90, 0.915]), Some(0));
        assert_eq!(preferred(&[0.90, 0.925]), Some(1));
        assert_eq!(preferred(&[0.95, 0.80]), Some(0));
        assert_eq!(preferred(&[]), None);
    }

    /// Stripes of four pixels, which are gone at half the size, as are gaps in them.
    #[test]
    fn what_half_the_size_loses_is_seen_at_the_whole_and_in_tiles() {
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
        let tiled = PreprocessSettings {
            tiles: Some(Tiles {
                width: side as usize,
                height: side as usize,
                overlap: 0.0,
            }),
            ..small.clone()
        };
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
            groups: &(0..samples.len()).collect::<Vec<_>>(),
            in_folds: false,
            steps: 0,
            seed: 1,
            interrupted: &interrupted,
            reporter: &Reporter::new(true),
        };
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })
        .unwrap();
        let network = FeatureExtractorSettings {
            file: "backbone.onnx".to_owned(),
            normalise: backbone::normalise(),
            maps: Vec::new(),
        };
        let identity = Normalise::identity(1);
        let candidate = |preprocess| {
            let (engine, network, identity) = (&engine, &network, &identity);
            let [channels, side, _] = PreprocessSettings::shape(preprocess);
            Candidate {
                preprocess,
                load: move || {
                    let onnx = backbone::onnx(side, side)?;
                    let tensor = (1, [channels, side, side], identity);
                    Ok(FeatureExtractor::load(
                        engine,
                        &onnx,
                        "backbone.onnx",
                        network,
                        tensor,
                    )?)
                },
            }
        };
        let candidates = [&large, &tiled, &small].map(candidate);
        assert_eq!(candidates[0].name(), "128×128 pixels");
        assert_eq!(candidates[1].name(), "128×128 pixels in tiles of 64×64");
        let trials: Vec<_> = trials::draw(&material)
            .unwrap()
            .into_iter()
            .step_by(2)
            .collect();
        let found = measure(&material, &candidates, &trials).unwrap();
        let [whole, in_tiles, half] = found[..] else {
            panic!("{found:?}")
        };
        assert!(whole > half + BETTER, "{found:?}");
        assert!(in_tiles > half + BETTER, "{found:?}");
        interrupted.store(true, Ordering::Relaxed);
        let error = choose(&material, &candidates).unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
    }
}
