//! At which size large frames are worked on, and whether in tiles, where no flag says it.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use edge_vae::{
    backend::{BackendKind, Engine, EngineOptions},
    dataset::{Dataset, Sample, Split},
    preprocess::{PreprocessSettings, Preprocessor},
};

use crate::{
    candidates,
    data::{self, Frames, Groups, Input},
    features::{Features, FitData, PretrainedBackbone},
    options::{Budget, FitOptions, Size, TileChoice},
    reporter::Reporter,
    selection::{self, INPUT_SIZE, InputSize},
};

/// Frames from which a size can be chosen by some of them.
const LEAST: usize = 24;

/// Minutes of a budget from which on one of them is spent on the choice.
const LEAST_MINUTES: f64 = 10.0;

/// What was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Of the tensor.
    pub size: Size,
    /// Whether frames are cut into tiles.
    pub tiles: TileChoice,
}

/// The input resolution at which some of the frames separate synthetic defects best: that of the
/// rule for frames as large as these, or the preset's usual one; of frames that the rule cuts into
/// tiles, whether they are better left whole. None, which leaves it to the rule, where there is one
/// way only, where frames are few, where there is hardly time, and where a network decides that
/// takes one size only or is not trained yet.
///
/// # Errors
/// Those of [`data::input`] and [`selection::select_input_size`].
pub(super) fn choose(
    dataset: &Dataset,
    options: &FitOptions,
    mask: Option<&[u8]>,
    interrupted: &AtomicBool,
    reporter: &Reporter,
) -> Result<Option<Chosen>> {
    if matches!(options.budget, Budget::Minutes(minutes) if minutes < LEAST_MINUTES) {
        return Ok(None);
    }
    let usual = options.preset.usual_side();
    let shipped = options.backbone.as_ref().filter(|b| b.path.is_none());
    let Some(backbone) = shipped.filter(|_| options.preset.fixed_side().is_none()) else {
        return Ok(None);
    };
    let Input {
        spec,
        preprocess: settings,
        size,
        ..
    } = data::input(dataset, options, mask)?;
    let can_shrink = spec.height * spec.width > usual * usual && settings.tiles.is_none();
    let can_be_whole = settings.tiles.is_some() && options.tiles == TileChoice::Auto;
    if !(can_shrink || can_be_whole)
        || !candidates::reads(options.score, Features::Patch, true)
        // The crop of a drawn picture, which is one already, would leave the mask where it was.
        || (options.crop.is_some() && mask.is_some())
    {
        return Ok(None);
    }
    let plain = PreprocessSettings {
        exposure: None,
        contrast: None,
        ..settings.clone()
    };
    let mut preprocessor = Preprocessor::with_mask(plain, mask)?;
    let mut samples: Vec<&Sample> = Vec::new();
    let mut values = Vec::new();
    // A canvas has as many tensors as tiles.
    let most = INPUT_SIZE.frames / if can_be_whole { 2 } else { 1 };
    let stride = dataset.train.len().div_ceil(most).max(1);
    for sample in dataset.train.iter().step_by(stride) {
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted while the size was chosen: nothing was trained");
        }
        // What can't be read or shows nothing is named when all frames are read.
        let Ok(frame) = sample.frame() else { continue };
        if frame.defect().is_none() {
            preprocessor.prepare_canvas(&frame)?;
            values.extend_from_slice(preprocessor.canvas());
            samples.push(sample);
        }
    }
    if samples.len() < LEAST {
        return Ok(None);
    }
    let groups = Groups::of(&samples, options.group_by.as_deref())?;
    let (validation, train): (Vec<usize>, Vec<usize>) =
        (0..samples.len()).partition(|&place| groups.numbers()[place] % 3 == 1);
    if validation.is_empty() {
        return Ok(None);
    }
    reporter.line(format_args!(
        "choosing the input size by {} frames",
        samples.len()
    ));
    let split = Split {
        train,
        validation,
        calibration: Vec::new(),
    };
    let frames = Frames::new(settings.canvas_shape(), values);
    let other = FitOptions {
        tiles: match can_be_whole {
            true => TileChoice::Off,
            false => options.tiles,
        },
        size: match can_shrink {
            true => Size::Budget(usual),
            false => Size::Auto,
        },
        ..options.clone()
    };
    let of_other = data::input(dataset, &other, mask)?;
    // What it is given was cropped and freed of noise.
    let of_drawn = PreprocessSettings {
        crop: None,
        denoise: None,
        ..of_other.preprocess
    };
    let engine = Engine::open(&EngineOptions {
        backend: Some(BackendKind::Tract),
        ..EngineOptions::default()
    })?;
    let both = [&settings, &of_drawn];
    let backbones =
        both.map(|settings| PretrainedBackbone::read(backbone, settings.shape(), &engine));
    let backbones = backbones.into_iter().collect::<Result<Vec<_>>>()?;
    let sizes = both.iter().zip(&backbones);
    let sizes: Vec<InputSize> = sizes
        .map(|(&preprocess, backbone)| InputSize {
            preprocess,
            backbone,
        })
        .collect();
    let data = FitData {
        frames: &frames,
        layout: preprocessor.canvas_layout(),
        samples: &samples,
        preprocess: &settings,
        mask,
        split: &split,
        groups: groups.numbers(),
        steps: 0,
        seed: options.seed,
        interrupted,
        reporter,
    };
    let chosen = selection::select_input_size(&data, &sizes, &engine)?;
    Ok(Some(match chosen {
        1 => Chosen {
            size: of_other.size,
            tiles: other.tiles,
        },
        _ => Chosen {
            size,
            tiles: options.tiles,
        },
    }))
}

#[cfg(test)]
mod tests {
    use edge_vae::dataset::DatasetOptions;

    use super::*;
    use crate::options::{Preset, Score};

    fn options() -> FitOptions {
        FitOptions {
            budget: Budget::Minutes(LEAST_MINUTES),
            ..FitOptions::defaults(Preset::Edge)
        }
    }

    #[test]
    fn a_size_is_chosen_only_where_there_are_two_and_time() {
        let room = tempfile::tempdir().unwrap();
        let add = |number: usize| {
            let picture = image::GrayImage::from_fn(330, 340, |x, y| {
                image::Luma([(x * 7 + y * 3 + number as u32) as u8])
            });
            let path = room.path().join(format!("{number}.png"));
            picture.save(path).unwrap();
        };
        (1..LEAST).for_each(add);
        let chosen = |stop: bool, change: &dyn Fn(&mut FitOptions)| {
            let dataset = Dataset::open(room.path(), &DatasetOptions::default()).unwrap();
            let mut options = options();
            change(&mut options);
            let (stop, quiet) = (AtomicBool::new(stop), Reporter::new(true));
            choose(&dataset, &options, None, &stop, &quiet)
        };
        assert_eq!(chosen(false, &|_| ()).unwrap(), None, "too few frames");
        add(LEAST);
        let canvas = TileChoice::Canvas {
            width: 512,
            height: 512,
        };
        let without: [&dyn Fn(&mut FitOptions); 5] = [
            &|o| o.backbone = None,
            &|o| o.score = Score::Residual,
            &|o| o.budget = Budget::Minutes(5.0),
            &|o| o.tiles = canvas,
            &|o| o.preset = Preset::Small28,
        ];
        for change in without {
            assert_eq!(chosen(true, change).unwrap(), None);
        }
        // Nothing stands in the way, so it begins, and is told to stop.
        let error = chosen(true, &|_| ()).unwrap_err();
        assert!(error.to_string().starts_with("interrupted"), "{error}");
    }
}
