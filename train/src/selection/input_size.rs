//! The input size: at how many pixels frames are scored, and whether in tiles, as the pretrained
//! backbone's features separate synthetic defects best.
//!
//! All sizes see the same pictures: frames and defects are drawn on a canvas that shows what any of
//! them shows, and prepared for each as photographs of that size would be, so that a defect of a
//! few pixels is as small in the frame for all of them.

use std::borrow::Cow;

use anyhow::{Context, Result};
use edge_vae::{backend::Engine, metrics::auroc, scoring::Aggregation};
use rayon::prelude::*;

use super::{
    SyntheticSample,
    pictures::{Extraction, InputSize, Pictures},
    validation::{self, AS_DRAWN},
};
use crate::{
    features::{
        FitData, FrameAugmentation, SMALL_JITTER,
        density::{
            self, ComponentSubset, DensityKind, FeatureMap, FeatureSource, FitOptions, Room, Store,
        },
    },
    random::{Purpose, stream},
};

/// How input sizes are compared.
#[derive(Debug)]
pub struct InputSizeParams {
    /// Frames that are looked at, at most; of three, two are fitted on and one is scored. More take
    /// longer than the choice is worth.
    pub frames: usize,
    /// Augmented samples of each frame that is fitted on.
    samples: usize,
    /// Most samples of synthetic validation that are scored, evenly spaced among all.
    validation: usize,
    /// A smaller size is taken where it is better than a larger one, or than tiles, by this much
    /// (AUROC): real defects may be smaller than synthetic ones, and the set is no finer.
    better: f64,
    /// The score of a map of distances: the best of these.
    aggregations: [Aggregation; 2],
}

/// What is used.
pub const INPUT_SIZE: InputSizeParams = InputSizeParams {
    frames: 96,
    samples: 2,
    validation: 240,
    better: 0.02,
    aggregations: [
        Aggregation::TopFraction { fraction: 0.02 },
        Aggregation::TopFraction { fraction: 0.005 },
    ],
};

/// The place of the best of `sizes`, the largest canvas first. Of `data` densities are fitted to
/// the training frames, synthetic samples made of the validation frames; its frames are those of
/// the canvas to draw on, in [0, 1], nothing of them normalised. Reports what was selected.
///
/// # Errors
/// Ctrl-C, frames that can no longer be read, values that are not finite.
pub fn select_input_size(data: &FitData, sizes: &[InputSize], engine: &Engine) -> Result<usize> {
    let samples = validation::draw(data, 1, AS_DRAWN)?;
    let step = samples.len().div_ceil(INPUT_SIZE.validation).max(1);
    let samples: Vec<SyntheticSample> = samples.into_iter().step_by(step).collect();
    let found = measure(data, sizes, &samples, engine)?;
    let selected = preferred(&found).context("no size to select from")?;
    let defects = samples.iter().filter(|sample| sample.label.is_anomalous());
    let defects = defects.count();
    data.reporter.line(format_args!(
        "input size: AUROC of {defects} synthetic defects against {} held-out normal frames, drawn \
         in full detail:",
        samples.len() - defects
    ));
    for (place, (size, auroc)) in sizes.iter().zip(found).enumerate() {
        let mark = if place == selected {
            "  <- selected"
        } else {
            ""
        };
        let line = format!("  {:5.1} %  {}{mark}", 100.0 * auroc, size.name());
        data.reporter.line(line);
    }
    Ok(selected)
}

/// The AUROC at each of `sizes` on `samples`.
fn measure(
    data: &FitData,
    sizes: &[InputSize],
    samples: &[SyntheticSample],
    engine: &Engine,
) -> Result<Vec<f64>> {
    let anomalous: Vec<bool> = samples.iter().map(|s| s.label.is_anomalous()).collect();
    let train = augmented(data)?;
    let held_out = &data.split.validation;
    let all = train.frames() + held_out.len() + samples.len();
    let picture = |place: usize| {
        let Some(rest) = place.checked_sub(train.frames()) else {
            return train.get(place);
        };
        let sample = |place: usize| &samples[place].canvas[..];
        let held_out = held_out.get(rest).map(|&frame| data.frames.get(frame));
        let of_sample = || sample(rest - data.split.validation.len());
        Ok(Cow::Borrowed(held_out.unwrap_or_else(of_sample)))
    };
    let measure = |size: &InputSize| {
        let extraction = Extraction {
            data,
            size: *size,
            engine,
        };
        let maps = extraction.all(all, picture)?;
        let (train, rest) = maps.pictures(0..all).split_at(train.frames());
        let (held_out, scored) = rest.split_at(held_out.len());
        separation(train, held_out, &scored, &anomalous, &data.memory.room)
    };
    sizes.iter().map(measure).collect()
}

/// Of the AUROC of all sizes: the first that no later one beats by [`InputSizeParams::better`].
fn preferred(found: &[f64]) -> Option<usize> {
    let top = found.iter().copied().fold(0.0, f64::max);
    found
        .iter()
        .position(|&auroc| auroc >= top - INPUT_SIZE.better)
}

/// The training frames and their augmented samples, on the canvas to draw on.
fn augmented(data: &FitData) -> Result<Store> {
    let augmentation = FrameAugmentation::to_fit(data.preprocess, data.split.train.len());
    let of_frame = |&frame: &usize| {
        let picture = data.frames.get(frame);
        let mut all = vec![picture.to_vec()];
        for number in 1..=INPUT_SIZE.samples {
            let counter = ((frame as u64) << 32) + number as u64;
            let mut random = stream(data.seed, Purpose::AugmentedSample, counter);
            all.push(augmentation.apply(picture, &SMALL_JITTER, &mut random)?);
        }
        Ok(all)
    };
    let mut store = Store::new(&data.memory.room);
    for frames in data
        .split
        .train
        .chunks(ROUND * rayon::current_num_threads())
    {
        let each = frames
            .par_iter()
            .map(of_frame)
            .collect::<Result<Vec<_>>>()?;
        for picture in each.into_iter().flatten() {
            store.push(picture)?;
        }
    }
    Ok(store)
}

/// Frames of a thread that are augmented before they are kept.
const ROUND: usize = 4;

/// Frames, each followed by its augmented samples.
struct WithSamples<'a>(Pictures<'a>);

impl FeatureSource for WithSamples<'_> {
    fn frames(&self) -> usize {
        self.0.frames()
    }

    fn originals(&self) -> usize {
        self.0.frames() / (1 + INPUT_SIZE.samples)
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        self.0.visit(frames, visit)
    }
}

/// The largest AUROC with which Gaussians of the features `train` separate the anomalous pictures
/// of `scored`; of each picture there are the maps of its tiles.
fn separation(
    train: Pictures,
    mut held_out: Pictures,
    scored: &Pictures,
    anomalous: &[bool],
    room: &Room,
) -> Result<f64> {
    let tiles = scored.tiles();
    // A cell of a tile is no place of the part.
    let tiled = tiles > 1;
    let kinds = match tiled {
        true => &[DensityKind::Mixture(ComponentSubset::All)][..],
        false => &[
            DensityKind::PerLocation(ComponentSubset::All),
            DensityKind::PerLocation(ComponentSubset::LeastVarying),
            DensityKind::Mixture(ComponentSubset::All),
        ],
    };
    let mut train = WithSamples(train);
    let options = FitOptions {
        room: room.clone(),
        ..FitOptions::default()
    };
    let densities = density::fit(&mut train, &mut held_out, kinds, &options)?;
    let mut best: f64 = 0.0;
    for density in densities {
        let [rows, columns] = density.grid();
        let distances = (0..anomalous.len()).into_par_iter().map(|picture| {
            let mut map = vec![0.0; tiles * rows * columns];
            for (tile, map) in map.chunks_exact_mut(rows * columns).enumerate() {
                scored.tile(picture * tiles + tile, |maps| density.distance(maps, map))?;
            }
            Ok(map)
        });
        let distances = distances.collect::<Result<Vec<Vec<f32>>>>()?;
        for aggregation in INPUT_SIZE.aggregations {
            let scores = distances
                .iter()
                .map(|map| aggregation.score(&mut map.clone()));
            let scores = scores.collect::<Result<Vec<f64>, _>>()?;
            let of = |wanted: bool| -> Vec<f64> {
                let pairs = scores.iter().zip(anomalous);
                let of = pairs.filter(|&(_, &is)| is == wanted);
                of.map(|(&score, _)| score).collect()
            };
            best = best.max(auroc(&of(false), &of(true)).unwrap_or(0.5));
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use edge_vae::{
        backend::{BackendKind, EngineOptions},
        dataset::{Dataset, DatasetOptions, Sample, Split},
        preprocess::{Colour, PreprocessSettings, Preprocessor, Tiles},
    };

    use super::*;
    use crate::{
        data::Frames,
        features::{FeatureMemory, PretrainedBackbone},
        options::BackboneOptions,
        reporter::Reporter,
    };

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
        let data = FitData {
            frames: &Frames::new(large.canvas_shape(), values),
            layout: preprocessor.canvas_layout(),
            samples: &samples,
            preprocess: &large,
            mask: None,
            split: &split,
            groups: &(0..samples.len()).collect::<Vec<_>>(),
            steps: 0,
            seed: 1,
            memory: &FeatureMemory::default(),
            interrupted: &interrupted,
            reporter: &Reporter::new(true),
        };
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })
        .unwrap();
        let shipped = BackboneOptions {
            path: None,
            normalise: None,
            maps: Vec::new(),
        };
        let settings = [&large, &tiled, &small];
        let backbones = settings
            .map(|settings| PretrainedBackbone::read(&shipped, settings.shape(), &engine).unwrap());
        let sizes = settings.iter().zip(&backbones);
        let sizes: Vec<InputSize> = sizes
            .map(|(&preprocess, backbone)| InputSize {
                preprocess,
                backbone,
            })
            .collect();
        assert_eq!(sizes[0].name(), "128×128 pixels");
        assert_eq!(sizes[1].name(), "128×128 pixels in tiles of 64×64");
        let samples: Vec<_> = validation::draw(&data, 1, AS_DRAWN)
            .unwrap()
            .into_iter()
            .step_by(2)
            .collect();
        let found = measure(&data, &sizes, &samples, &engine).unwrap();
        let [whole, in_tiles, half] = found[..] else {
            panic!("{found:?}")
        };
        assert!(whole > half + INPUT_SIZE.better, "{found:?}");
        assert!(in_tiles > half + INPUT_SIZE.better, "{found:?}");
        interrupted.store(true, Ordering::Relaxed);
        let error = select_input_size(&data, &sizes, &engine).unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
    }
}
