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
    features::{FeatureMemory, Features, FitData, PretrainedBackbone},
    options::{Budget, FitOptions, Size, TileChoice},
    reporter::Reporter,
    selection::{self, INPUT_SIZE, InputSize},
};

/// Frames from which a size can be chosen by some of them.
const LEAST: usize = 24;

/// Minutes of a budget from which on one of them is spent on the choice.
const LEAST_MINUTES: f64 = 10.0;

/// Pixels of the canvas on which defects are drawn, of those of a tensor: memory of the frames that
/// the choice looks at.
const MOST_DRAWN: f64 = 2.5;

/// What was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Of the tensor.
    pub size: Size,
    /// Whether frames are cut into tiles.
    pub tiles: TileChoice,
}

/// The input resolution at which some of the frames separate synthetic defects best: that of the
/// rule for frames as large as these, the preset's usual one, or a square where frames are long; of
/// frames that the rule cuts into tiles, whether they are better left whole. None, which leaves
/// it to the rule, where there is one way only, where frames are few, where there is hardly time,
/// and where a network decides that takes one size only or is not trained yet.
///
/// # Errors
/// Those of [`data::input`] and [`selection::select_input_size`].
pub(super) fn choose(
    dataset: &Dataset,
    options: &FitOptions,
    mask: Option<&[u8]>,
    memory: &FeatureMemory,
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
    let square = square_of(size, [spec.height, spec.width]).filter(|_| settings.tiles.is_none());
    let mut others = Vec::new();
    if can_be_whole {
        others.push(Chosen {
            size: Size::Auto,
            tiles: TileChoice::Off,
        });
    }
    let sizes = [can_shrink.then_some(Size::Budget(usual)), square];
    others.extend(sizes.into_iter().flatten().map(|size| Chosen {
        size,
        tiles: options.tiles,
    }));
    if others.is_empty()
        || !candidates::reads(options.score, Features::Patch, true)
        // The crop of a drawn picture, which is one already, would leave the mask where it was.
        || (options.crop.is_some() && mask.is_some())
    {
        return Ok(None);
    }
    let [height, width] = match square {
        Some(_) => drawn_at([spec.height, spec.width]),
        None => [spec.height, spec.width],
    };
    let drawn = PreprocessSettings {
        width,
        height,
        ..settings.clone()
    };
    let plain = PreprocessSettings {
        exposure: None,
        contrast: None,
        ..drawn.clone()
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
    let frames = Frames::new(drawn.canvas_shape(), values);
    let mut chosen = vec![Chosen {
        size,
        tiles: options.tiles,
    }];
    // What they are given was cropped and freed of noise.
    let of_drawn = |preprocess| PreprocessSettings {
        crop: None,
        denoise: None,
        ..preprocess
    };
    let mut prepared = vec![of_drawn(settings)];
    for other in others {
        let Input {
            preprocess, size, ..
        } = data::input(
            dataset,
            &FitOptions {
                size: other.size,
                tiles: other.tiles,
                ..options.clone()
            },
            mask,
        )?;
        chosen.push(Chosen { size, ..other });
        prepared.push(of_drawn(preprocess));
    }
    let engine = Engine::open(&EngineOptions {
        backend: Some(BackendKind::Tract),
        ..EngineOptions::default()
    })?;
    let backbones = prepared
        .iter()
        .map(|settings| PretrainedBackbone::read(backbone, settings.shape(), &engine))
        .collect::<Result<Vec<_>>>()?;
    let sizes = prepared.iter().zip(&backbones);
    let sizes: Vec<InputSize> = sizes
        .map(|(preprocess, backbone)| InputSize {
            preprocess,
            backbone,
        })
        .collect();
    let data = FitData {
        frames: &frames,
        layout: preprocessor.canvas_layout(),
        samples: &samples,
        preprocess: &drawn,
        mask,
        split: &split,
        groups: groups.numbers(),
        steps: 0,
        seed: options.seed,
        memory,
        interrupted,
        reporter,
    };
    let best = selection::select_input_size(&data, &sizes, &engine)?;
    Ok(chosen.get(best).copied())
}

/// Height and width of a canvas on which neither a tensor of `sides` nor a square of as many pixels
/// lacks what the other shows: in the tensor's proportions, its short side as long as the square's,
/// but with at most [`MOST_DRAWN`] times the pixels.
fn drawn_at(sides: [usize; 2]) -> [usize; 2] {
    let [height, width] = sides.map(|side| side as f64);
    let factor = (height.max(width) / height.min(width)).min(MOST_DRAWN);
    sides.map(|side| (side as f64 * factor.sqrt()).round() as usize)
}

/// A square of as many pixels as the budget `size`, where its tensor of this height and width is
/// none: of a long frame it shows the short side at a higher resolution.
fn square_of(size: Size, [height, width]: [usize; 2]) -> Option<Size> {
    match size {
        Size::Budget(side) if height != width => Some(Size::Exact {
            width: side,
            height: side,
        }),
        _ => None,
    }
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
    fn long_frames_may_become_squares() {
        let square = Size::Exact {
            width: 256,
            height: 256,
        };
        assert_eq!(square_of(Size::Budget(256), [160, 400]), Some(square));
        assert_eq!(square_of(Size::Budget(256), [256, 256]), None);
        assert_eq!(square_of(square, [256, 256]), None);
        assert_eq!(drawn_at([192, 336]), [254, 444]);
        assert_eq!(drawn_at([576, 96]), [911, 152]);
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
            let memory = FeatureMemory::default();
            choose(&dataset, &options, None, &memory, &stop, &quiet)
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
