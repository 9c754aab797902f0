//! The input size: at how many pixels frames are scored, and whether in tiles, as the pretrained
//! backbone's features separate synthetic defects best.
//!
//! All sizes see the same pictures: frames and defects are drawn on a canvas that shows what any of
//! them shows, and prepared for each as photographs of that size would be, so that a defect of a
//! few pixels is as small in the frame for all of them.

use std::thread::available_parallelism;

use anyhow::{Context, Result};
use edge_vae::{
    backend::Engine,
    metrics::auroc,
    preprocess::{Normalise, PreprocessSettings, Preprocessor},
    scoring::Aggregation,
};
use rayon::prelude::*;

use super::{
    SyntheticSample,
    validation::{self, AS_DRAWN},
};
use crate::{
    features::{
        FitData, FrameAugmentation, Maps, PretrainedBackbone, SMALL_JITTER, borrowed,
        density::{self, ComponentSubset, DensityKind, FeatureMap, FeatureSource, FitOptions},
        to_frame,
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

/// A size at which frames may be scored.
#[derive(Clone, Copy, Debug)]
pub struct InputSize<'a> {
    /// From frame to tensors, with values in [0, 1].
    pub preprocess: &'a PreprocessSettings,
    /// The backbone for tensors of that size.
    pub backbone: &'a PretrainedBackbone,
}

impl InputSize<'_> {
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
    let pictures = train
        .iter()
        .map(Vec::as_slice)
        .chain(held_out.iter().map(|&frame| data.frames.get(frame)))
        .chain(samples.iter().map(|sample| &sample.canvas[..]));
    let pictures: Vec<&[f32]> = pictures.collect();
    let measure = |size: &InputSize| {
        let extraction = Extraction {
            data,
            size: *size,
            engine,
        };
        let mut maps = extraction.all(&pictures)?;
        let scored = maps.split_off(train.len() + held_out.len());
        let held_out = maps.split_off(train.len());
        separation(maps, held_out, &scored, &anomalous)
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
fn augmented(data: &FitData) -> Result<Vec<Vec<f32>>> {
    let augmentation = FrameAugmentation::to_fit(data.preprocess, data.split.train.len());
    let each = data.split.train.par_iter().map(|&frame| {
        let picture = data.frames.get(frame);
        let mut all = vec![picture.to_vec()];
        for number in 1..=INPUT_SIZE.samples {
            let counter = ((frame as u64) << 32) + number as u64;
            let mut random = stream(data.seed, Purpose::AugmentedSample, counter);
            all.push(augmentation.apply(picture, &SMALL_JITTER, &mut random)?);
        }
        Ok(all)
    });
    let each = each.collect::<Result<Vec<_>>>()?;
    Ok(each.into_iter().flatten().collect())
}

/// The backbone at one size.
struct Extraction<'a> {
    data: &'a FitData<'a>,
    size: InputSize<'a>,
    engine: &'a Engine,
}

impl Extraction<'_> {
    /// Feature maps of `pictures` of the canvas to draw on, those of each tile, on all
    /// processors.
    fn all(&self, pictures: &[&[f32]]) -> Result<Vec<Vec<Maps>>> {
        let processors = available_parallelism().map_or(1, usize::from);
        let part = pictures.len().div_ceil(processors).max(1);
        let parts = pictures.par_chunks(part).map(|part| self.some(part));
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }

    fn some(&self, pictures: &[&[f32]]) -> Result<Vec<Vec<Maps>>> {
        let settings = self.size.preprocess.clone();
        let shape = settings.shape();
        let mut tensor = vec![0.0; shape.iter().product()];
        let identity = Normalise::identity(shape[0]);
        let mut backbone = self.size.backbone.load(self.engine, shape, &identity)?;
        let mut preprocessor = Preprocessor::with_mask(settings, self.data.mask)?;
        let drawn = self.data.frames.shape();
        let extract = |picture: &&[f32]| {
            self.data.check_interrupted()?;
            if preprocessor.settings().canvas_shape() == drawn {
                preprocessor.prepare_values(picture, NAME)?;
            } else {
                preprocessor.prepare_canvas(&to_frame(picture, drawn, 16, NAME)?)?;
            }
            let tiles = 0..preprocessor.layout().count();
            let maps = tiles.map(|tile| {
                preprocessor.tile(tile, &mut tensor)?;
                backbone.run(&tensor)?;
                let maps = backbone.maps().iter().enumerate().map(|(place, map)| {
                    let shape = [map.shape[1], map.shape[2], map.shape[3]];
                    (map.name.clone(), shape, backbone.values(place).to_vec())
                });
                Ok(maps.collect())
            });
            maps.collect()
        };
        pictures.iter().map(extract).collect()
    }
}

/// What drawn pictures are called in errors.
const NAME: &str = "a frame at another size";

/// Feature maps that are all there, and how many of the frames are no augmented samples.
struct ReadMaps {
    maps: Vec<Maps>,
    originals: usize,
}

impl FeatureSource for ReadMaps {
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

/// The largest AUROC with which Gaussians of the features `train` separate the anomalous pictures
/// of `scored`; of each picture there are the maps of its tiles.
fn separation(
    train: Vec<Vec<Maps>>,
    held_out: Vec<Vec<Maps>>,
    scored: &[Vec<Maps>],
    anomalous: &[bool],
) -> Result<f64> {
    // A cell of a tile is no place of the part.
    let tiled = scored.first().is_some_and(|tiles| tiles.len() > 1);
    let kinds = match tiled {
        true => &[DensityKind::Mixture(ComponentSubset::All)][..],
        false => &[
            DensityKind::PerLocation(ComponentSubset::All),
            DensityKind::PerLocation(ComponentSubset::LeastVarying),
            DensityKind::Mixture(ComponentSubset::All),
        ],
    };
    let (train, held_out) = (train.concat(), held_out.concat());
    let mut train = ReadMaps {
        originals: train.len() / (1 + INPUT_SIZE.samples),
        maps: train,
    };
    let mut held_out = ReadMaps {
        originals: held_out.len(),
        maps: held_out,
    };
    let options = FitOptions::default();
    let densities = density::fit(&mut train, &mut held_out, kinds, &options)?;
    let mut best: f64 = 0.0;
    for density in densities {
        let [rows, columns] = density.grid();
        let distances = scored.par_iter().map(|tiles| {
            let mut map = vec![0.0; tiles.len() * rows * columns];
            for (maps, map) in tiles.iter().zip(map.chunks_exact_mut(rows * columns)) {
                density.distance(&borrowed(maps), map)?;
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
        preprocess::{Colour, Tiles},
    };

    use super::*;
    use crate::{data::Frames, options::BackboneOptions, reporter::Reporter};

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
