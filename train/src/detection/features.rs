//! What features are compared with: Gaussians or a VAE over a network's maps, or prototypes of whole
//! frames.

use std::{
    cell::RefCell,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use anyhow::{Context, Result, bail};
use edge_vae::{
    Model as GraphModel,
    preprocess::{CanvasLayout, Preprocessor},
    scoring::ScoreSource,
};
use rand::Rng;

use super::{
    Material, Score,
    progress::Progress,
    retake::{Pose, Retake, preprocessors},
    runner::{Runner, What},
};
use crate::{
    features::{self, FeatureMap, FeatureSource, Kind, Model, Prototypes},
    random::{Purpose, stream},
};

/// Tiles of all frames together that features are fitted on, at least one of each frame.
const FEATURE_TILES: usize = 2000;

/// Copies of training frames that features are fitted on beside the frames themselves, at least and at most:
/// two of each frame, or the fewer frames there are, the more of each, up to so many. A copy is the frame
/// as another camera, light and hand would have taken it; without them, blur, compression or a new hand are what is found, and of
/// a few frames a covariance can't be told (`docs/design/detection.md`).
const COPIES: [usize; 2] = [600, 1500];
/// Of one frame: so many where there are enough frames for it, and at most.
const OF_EACH: usize = 2;
const MOST_OF_ONE: usize = 16;

/// Frames that the mixture of turned copies is fitted on at most, and their copies: it takes a sample
/// of their vectors only.
const TURNED: usize = 300;

/// As how many frames all copies together count at least, and as which share of the frames themselves, but for
/// turned ones, which count as frames: what many frames say themselves about how they vary is better than
/// what copies do.
const COPIES_COUNT: f64 = 200.0;
const COPIES_SHARE: f64 = 0.5;
/// What of that they count in a mixture. Its components are few, and those that learn what blur and noise do
/// to a place tell less what is strange there.
const COPIES_IN_MIXTURE: f64 = 0.5;
/// As how many frames they count where they are of residuals, in which sharpness and noise of a copy are larger than
/// small defects.
const RESIDUAL_COPIES_COUNT: f64 = 100.0;

/// Steps of the VAE over features for each step in which the network was trained, and at most: who trains
/// briefly does not wait for it. A step takes a tenth of one of the network's.
const VAE_STEPS: usize = 3;
const MOST_VAE_STEPS: usize = 3000;

/// Standard deviations of the smoothing before prototypes, as shares of the shorter side, the
/// preferred first.
const BLURS: [f32; 2] = [1.0 / 28.0, 0.0];

/// Which maps a model is fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Features of the network or of a backbone.
    Features,
    /// The finest of a backbone.
    Details,
    /// What the reconstruction leaves unexplained, and the posterior mean
    /// ([`crate::export::residual`]).
    Reconstruction,
}

impl Of {
    const ALL: [Self; 3] = [Self::Features, Self::Details, Self::Reconstruction];

    /// What the network's progress through them is called.
    fn passing(self) -> &'static str {
        match self {
            Self::Features => "frames and copies for features",
            Self::Details => "frames and copies for details",
            Self::Reconstruction => "frames and copies for residuals",
        }
    }

    /// As how many frames all copies in a nearly held pose count beside so many frames.
    fn copies_count(self, originals: usize) -> f64 {
        match self {
            Self::Features | Self::Details => COPIES_COUNT.max(COPIES_SHARE * originals as f64),
            Self::Reconstruction => RESIDUAL_COPIES_COUNT,
        }
    }
}

/// A fitted way from a frame to distances.
#[derive(Debug)]
pub(super) enum Fitted {
    /// Over feature maps of the network or of a backbone.
    OfMaps {
        /// The Gaussians, or the VAE.
        model: Model,
        /// How the training frames lay in the copies that they were fitted on.
        pose: Pose,
        /// Whose maps they are.
        of: Of,
    },
    /// Over the prepared frame itself.
    Prototypes(Prototypes),
}

impl Fitted {
    /// For people: `per-position`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::OfMaps { model, pose, .. } => match pose {
                Pose::Held => model.kind().name().to_owned(),
                Pose::Turned => format!("{}, turned", model.kind()),
            },
            Self::Prototypes(prototypes) => {
                let count = prototypes.count();
                match prototypes.blur() {
                    0.0 => format!("{count} prototypes"),
                    blur => format!("{count} prototypes, frames smoothed {blur}"),
                }
            }
        }
    }

    /// The evidence that its distances are.
    pub(super) fn source(&self) -> ScoreSource {
        match self {
            Self::Prototypes(_) => ScoreSource::Features,
            Self::OfMaps { of, .. } => match of {
                Of::Features => ScoreSource::Features,
                Of::Details => ScoreSource::Details,
                Of::Reconstruction => ScoreSource::Reconstruction,
            },
        }
    }

    /// Which Gaussians it is, if it is some.
    pub(super) fn gaussians(&self) -> Option<Kind> {
        match self {
            Self::OfMaps { model, .. } if !self.is_vae() => Some(model.kind()),
            _ => None,
        }
    }

    /// Whether it is a VAE.
    pub(super) fn is_vae(&self) -> bool {
        matches!(self, Self::OfMaps { model, .. } if model.kind() == Kind::Vae)
    }

    /// Rows and columns of the distances.
    pub(super) fn shape(&self) -> [usize; 2] {
        match self {
            Self::OfMaps { model, .. } => model.grid(),
            Self::Prototypes(_) => [1, 1],
        }
    }

    /// The bytes of its graph.
    ///
    /// # Errors
    /// Those of [`Model::to_onnx`].
    pub(super) fn to_onnx(&self, model: &str) -> Result<Vec<u8>> {
        match self {
            Self::OfMaps {
                model: gaussians,
                of,
                ..
            } => gaussians.to_onnx(
                model,
                match of {
                    Of::Features => "distance",
                    Of::Details => "detail_distance",
                    Of::Reconstruction => "reconstruction_distance",
                },
            ),
            Self::Prototypes(prototypes) => Ok(prototypes.to_onnx(model)),
        }
    }
}

/// The distances of the frame `input`, which `observer` has seen last, for each of `fitted`.
///
/// # Errors
/// Values that are not finite.
pub(super) fn maps(
    fitted: &[Fitted],
    observer: &GraphModel,
    input: &[f32],
) -> Result<Vec<Vec<f32>>> {
    let tensors = Of::ALL.map(|of| maps_of(observer, of));
    let [features, details, residual] = tensors.each_ref().map(borrowed);
    fitted
        .iter()
        .map(|fitted| match fitted {
            Fitted::OfMaps { model, of, .. } => {
                let [height, width] = model.grid();
                let mut map = vec![0.0; height * width];
                let maps = match of {
                    Of::Features => &features,
                    Of::Details => &details,
                    Of::Reconstruction => &residual,
                };
                model.distance(maps, &mut map)?;
                Ok(map)
            }
            Fitted::Prototypes(prototypes) => Ok(vec![prototypes.distance(input)?]),
        })
        .collect()
}

/// Everything that may be chosen: models of features, of the finest, and of what reconstructions leave
/// unexplained.
///
/// # Errors
/// Ctrl-C, and what can't be fitted.
pub(super) fn fit(
    wanted: Score,
    material: &Material,
    runner: &RefCell<Runner>,
    with_vae: bool,
) -> Result<Vec<Fitted>> {
    let mut fitted = fit_features(wanted, material, runner, with_vae)?;
    fitted.extend(fit_details(wanted, material, runner)?);
    fitted.extend(fit_reconstruction(wanted, material, runner)?);
    Ok(fitted)
}

/// Gaussians of a backbone's finest features, if it has such.
fn fit_details(
    wanted: Score,
    material: &Material,
    runner: &RefCell<Runner>,
) -> Result<Vec<Fitted>> {
    let grid = runner.borrow().detail_grid();
    if wanted != Score::Auto || grid.is_none() {
        return Ok(Vec::new());
    }
    let kinds = match material.layout.tiles().count() {
        1 => &[Kind::PerPosition, Kind::PositionFree][..],
        _ => &[Kind::PositionFree],
    };
    fit_gaussians(Of::Details, (kinds, grid), material, runner)
}

/// Gaussians of what the reconstruction leaves unexplained, where it is asked for and the observers tell.
fn fit_reconstruction(
    wanted: Score,
    material: &Material,
    runner: &RefCell<Runner>,
) -> Result<Vec<Fitted>> {
    let (compares, has_residual) = {
        let runner = runner.borrow();
        let compares = wanted.compares_reconstructions(runner.has_backbone());
        (compares, runner.has_residual())
    };
    if !compares || !has_residual {
        return Ok(Vec::new());
    }
    eprintln!(
        "fitting Gaussians of what reconstructions of {} frames leave unexplained",
        material.split.train.len()
    );
    let kind = match material.layout.tiles().count() {
        1 => Kind::PerPosition,
        _ => Kind::PositionFree,
    };
    fit_gaussians(Of::Reconstruction, (&[kind], None), material, runner)
}

/// Gaussians of some maps of the training frames, on a grid if one is given, and of fewer copies than of the
/// features that judge.
fn fit_gaussians(
    of: Of,
    (kinds, grid): (&[Kind], Option<[usize; 2]>),
    material: &Material,
    runner: &RefCell<Runner>,
) -> Result<Vec<Fitted>> {
    let pose = Pose::Held;
    let tiles = |frames: &[usize]| tiles_of(material.layout, frames);
    let source = |looks| source(material, runner, looks, pose, of);
    let models = features::fit(
        &mut source(looks(&tiles(&material.split.train), COPIES[0])),
        &mut source(looks(&tiles(&material.split.validation), 0)),
        kinds,
        &features::Options {
            seed: material.seed,
            grid,
            ..features::Options::default()
        },
    )?;
    let fitted = |model| Fitted::OfMaps { model, pose, of };
    Ok(models.into_iter().map(fitted).collect())
}

/// Models of features: Gaussians of every kind; prototypes where the network has no
/// feature maps; nothing where none is asked for or frames are too large for prototypes.
///
/// # Errors
/// Ctrl-C, and what can't be fitted.
fn fit_features(
    wanted: Score,
    material: &Material,
    runner: &RefCell<Runner>,
    with_vae: bool,
) -> Result<Vec<Fitted>> {
    if !wanted.compares_features() {
        return Ok(Vec::new());
    }
    let only_vae = wanted == Score::FeaturesVae;
    if !runner.borrow().has_features() {
        if only_vae {
            bail!("--score {wanted} needs a network with feature maps");
        }
        return fit_prototypes(material);
    }
    eprintln!(
        "fitting models of the features of {} frames",
        material.split.train.len()
    );
    let tiles = |frames: &[usize]| tiles_of(material.layout, frames);
    let source = |looks, pose| source(material, runner, looks, pose, Of::Features);
    // A cell of a tile is no place of the part: only a mixture that all cells share can be fitted.
    let gaussians = match material.layout.tiles().count() {
        1 => &Kind::GAUSSIANS[..],
        _ => &[Kind::PositionFree],
    };
    let vae = match material.layout.tiles().count() {
        1 if with_vae => &[Kind::Vae][..],
        _ => &[],
    };
    let kinds = match wanted {
        Score::FeaturesVae => vae.to_vec(),
        Score::Features => gaussians.to_vec(),
        _ => [gaussians, vae].concat(),
    };
    let options = features::Options {
        steps: (VAE_STEPS * usize::try_from(material.steps)?).min(MOST_VAE_STEPS),
        seed: material.seed,
        ..features::Options::default()
    };
    let mut fitted = Vec::new();
    for pose in [Pose::Held, Pose::Turned] {
        if pose == Pose::Turned && only_vae {
            continue;
        }
        let kinds = match pose {
            Pose::Held => &kinds[..],
            Pose::Turned => &[Kind::PositionFree],
        };
        let train = fitted_looks(tiles(&material.split.train), pose);
        let held_out = looks(&tiles(&material.split.validation), 0);
        let models = features::fit(
            &mut source(train, pose),
            &mut source(held_out, pose),
            kinds,
            &options,
        )?;
        let of = Of::Features;
        let models = models.into_iter();
        fitted.extend(models.map(|model| Fitted::OfMaps { model, pose, of }));
    }
    if only_vae && fitted.is_empty() {
        bail!(
            "--score {wanted} needs frames that are not cut into tiles, and feature maps whose grid \
             has sides of 8 or more that are multiples of 4"
        );
    }
    Ok(fitted)
}

/// Prototypes of whole frames, smoothed and as they are.
fn fit_prototypes(material: &Material) -> Result<Vec<Fitted>> {
    let shape = material.preprocess.shape();
    if material.layout.tiles().count() > 1 || !Prototypes::suit(shape) {
        return Ok(Vec::new());
    }
    eprintln!(
        "finding prototypes of {} frames",
        material.split.train.len()
    );
    let frames = |places: &[usize]| -> Vec<&[f32]> {
        let frames = places.iter().map(|&place| material.frames.get(place));
        frames.collect()
    };
    let (train, held_out) = (
        frames(&material.split.train),
        frames(&material.split.validation),
    );
    let side = shape[1].min(shape[2]) as f32;
    BLURS
        .iter()
        .map(|blur| {
            if material.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let prototypes = Prototypes::fit(
                &train,
                &held_out,
                shape,
                &material.preprocess.normalise,
                blur * side,
                material.seed,
            )?;
            Ok(Fitted::Prototypes(prototypes))
        })
        .collect()
}

/// The tiles of `frames` by frame and place that features are fitted on: all but those of which
/// the mask leaves nothing, of many frames some in turn.
fn tiles_of(layout: &CanvasLayout, frames: &[usize]) -> Vec<(usize, usize)> {
    let [rows, columns] = layout.tiles().canvas_size();
    let interior = layout.interior([rows, columns]);
    let counts = |tile: &usize| {
        let (Some(interior), Some(place)) = (&interior, layout.tiles().tile(*tile)) else {
            return true;
        };
        let [x, y, width, height] =
            [place.x, place.y, place.width, place.height].map(|length| length as usize);
        (y..y + height).any(|y| interior.cells()[y * columns + x..][..width].contains(&true))
    };
    let tiles: Vec<usize> = (0..layout.tiles().count()).filter(counts).collect();
    let each = match tiles.len() {
        1 => 1,
        count => (FEATURE_TILES / frames.len().max(1)).clamp(1, count),
    };
    let of_frame = |(place, &frame): (usize, &usize)| {
        let tiles = &tiles;
        (0..each).map(move |i| (frame, tiles[(place * each + i) % tiles.len()]))
    };
    frames.iter().enumerate().flat_map(of_frame).collect()
}

/// Feature maps of one frame: name, C×h×w and values of each.
pub(super) type Maps = Vec<(String, [usize; 3], Vec<f32>)>;

/// What a model is made of: what encoder and head, or a backbone, name features, in order; or what is left of
/// the residual.
fn maps_of(observer: &GraphModel, of: Of) -> Maps {
    let maps = match of {
        Of::Features => observer.feature_maps(),
        Of::Details => observer.detail_maps(),
        Of::Reconstruction => observer.residual_maps(),
    };
    maps.into_iter()
        .map(|(name, shape, values)| (name.to_owned(), shape, values.to_vec()))
        .collect()
}

/// The same as models take them.
pub(super) fn borrowed(maps: &Maps) -> Vec<FeatureMap<'_>> {
    maps.iter()
        .map(|(name, shape, values)| FeatureMap {
            name,
            shape: *shape,
            values,
        })
        .collect()
}

/// A tensor that features are computed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) frame: usize,
    tile: usize,
    /// 0 for the frame as it is, else the number of the copy.
    pub(super) copy: usize,
}

/// What a model in `pose` would be fitted on of all frames, and their copies.
pub(super) fn all_looks(material: &Material, pose: Pose) -> Vec<Look> {
    let frames: Vec<usize> = (0..material.frames.count()).collect();
    fitted_looks(tiles_of(material.layout, &frames), pose)
}

/// The maps of `looks` (those of a frame follow each other), its copies taken in `pose`.
pub(super) fn source<'a, 'b>(
    material: &'a Material<'a>,
    runner: &'a RefCell<Runner<'b>>,
    looks: Vec<Look>,
    pose: Pose,
    of: Of,
) -> NetworkFeatures<'a, 'b> {
    let made = looks.iter().filter(|look| look.copy > 0).count();
    let originals = looks.len() - made;
    let count = of.copies_count(originals);
    NetworkFeatures {
        runner,
        of,
        copies: Copies {
            material,
            retake: Retake::to_fit(material.preprocess, originals),
            pose,
        },
        seen: 0,
        passing: Progress::new(looks.len(), of.passing()),
        looks,
        copy_weight: match pose {
            Pose::Held => (count / made.max(1) as f64).min(1.0),
            Pose::Turned => 1.0,
        },
        training: None,
    }
}

/// Frames that the network sees in a fit to `frames` frames of `tiles` tiles, copies included.
pub(super) fn passes(frames: usize, tiles: usize) -> usize {
    let looks = match tiles {
        1 => frames,
        _ => FEATURE_TILES.max(frames),
    };
    let copies = copies(looks).min(MOST_OF_ONE * looks);
    looks + copies + 2 * looks.min(TURNED)
}

/// Frames that the network sees while its finest maps are fitted.
pub(super) fn detail_passes(frames: usize, tiles: usize) -> usize {
    let looks = match tiles {
        1 => frames,
        _ => FEATURE_TILES.max(frames),
    };
    looks + COPIES[0].min(MOST_OF_ONE * looks)
}

/// Copies of so many tiles in all, where [`MOST_OF_ONE`] allows as many.
fn copies(tiles: usize) -> usize {
    (OF_EACH * tiles).clamp(COPIES[0], COPIES[1])
}

/// What models in this pose are fitted on: those of `tiles` that they take, and copies.
fn fitted_looks(tiles: Vec<(usize, usize)>, pose: Pose) -> Vec<Look> {
    match pose {
        Pose::Held => looks(&tiles, copies(tiles.len())),
        Pose::Turned => looks(&some(tiles, TURNED), TURNED),
    }
}

/// At most `most` of `tiles`, evenly spaced.
fn some(tiles: Vec<(usize, usize)>, most: usize) -> Vec<(usize, usize)> {
    let taken = tiles.len().min(most);
    (0..taken)
        .map(|place| tiles[place * tiles.len() / taken])
        .collect()
}

/// Each of `tiles` (frame and place) as it is, and some `copies` of them in all, evenly spaced.
fn looks(tiles: &[(usize, usize)], copies: usize) -> Vec<Look> {
    let count = tiles.len().max(1);
    let copies = copies.min(MOST_OF_ONE * count);
    // Of the first `place` tiles there are this many copies.
    let until = |place: usize| place * copies / count;
    let of_tile = |(place, &(frame, tile)): (usize, &(usize, usize))| {
        let number = until(place + 1) - until(place);
        (0..=number).map(move |copy| Look { frame, tile, copy })
    };
    tiles.iter().enumerate().flat_map(of_tile).collect()
}

/// The network as a source of feature maps of some of the tiles.
pub(super) struct NetworkFeatures<'a, 'b> {
    runner: &'a RefCell<Runner<'b>>,
    of: Of,
    copies: Copies<'a>,
    /// Those of a frame follow each other.
    looks: Vec<Look>,
    /// What a copy counts.
    copy_weight: f64,
    /// How many of them the network has seen.
    seen: usize,
    passing: Progress,
    /// Of the VAE over features.
    training: Option<Progress>,
}

/// Makes copies of frames.
struct Copies<'a> {
    material: &'a Material<'a>,
    retake: Retake,
    /// How the frames lie in the copies.
    pose: Pose,
}

impl Copies<'_> {
    /// What decides how a copy is taken.
    fn random(&self, frame: usize, copy: usize) -> impl Rng + use<> {
        let counter = ((frame as u64) << 32) + copy as u64;
        stream(self.material.seed, Purpose::Retake, counter)
    }

    /// The tensors of some looks at one frame, which is read once more where it is to be taken anew.
    fn tensors(&self, looks: &[Look], prepare: &mut [Preprocessor; 2]) -> Result<Vec<Vec<f32>>> {
        let tiles = self.material.layout.tiles();
        let [plain, whole] = prepare;
        let original = match looks.iter().find(|look| look.copy > 0) {
            Some(look) => {
                let frame = self.material.samples[look.frame].frame()?;
                Some(self.retake.original(&frame, plain)?)
            }
            None => None,
        };
        looks
            .iter()
            .map(|look| {
                let canvas = match look.copy {
                    0 => self.material.frames.get(look.frame),
                    copy => {
                        let original = original.as_ref().context("a copy of no frame")?;
                        let mut random = self.random(look.frame, copy);
                        self.retake
                            .prepare(original, self.pose, whole, &mut random)?;
                        whole.canvas()
                    }
                };
                tiles
                    .cut(look.tile, canvas)
                    .context("a canvas lacks a tile")
            })
            .collect()
    }
}

impl FeatureSource for NetworkFeatures<'_, '_> {
    fn step(&mut self, done: usize, total: usize) -> Result<()> {
        if self.copies.material.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let new = || Progress::new(total, "steps of the VAE over features");
        self.training.get_or_insert_with(new).step(done);
        Ok(())
    }

    fn frames(&self) -> usize {
        self.looks.len()
    }

    fn originals(&self) -> usize {
        self.looks.iter().filter(|look| look.copy == 0).count()
    }

    fn weight(&self, frame: usize) -> f64 {
        match self.looks[frame].copy {
            0 => 1.0,
            _ => self.copy_weight,
        }
    }

    fn mixture_weight(&self, frame: usize) -> f64 {
        let Look {
            frame: of, copy, ..
        } = self.looks[frame];
        let mut random = self.copies.random(of, copy);
        let weight = self.weight(frame);
        if copy == 0 {
            return weight;
        }
        if self.copies.retake.washes_out(&mut random) {
            return 0.0;
        }
        match self.copies.pose {
            Pose::Held => COPIES_IN_MIXTURE * weight,
            Pose::Turned => weight,
        }
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        let looks: Vec<Look> = frames.iter().map(|&place| self.looks[place]).collect();
        let of_one_frame: Vec<&[Look]> = looks.chunk_by(|a, b| a.frame == b.frame).collect();
        // Preprocessors that no frame has at the moment.
        let idle = Mutex::new(Vec::new());
        let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (copies, of) = (&self.copies, self.of);
        let what = match of {
            Of::Features | Of::Details => What::Features,
            Of::Reconstruction => What::Residual,
        };
        self.runner.borrow_mut().each(
            of_one_frame.len(),
            what,
            |place| {
                let spare = lock().pop();
                let mut prepare = match spare {
                    Some(prepare) => prepare,
                    None => preprocessors(copies.material)?,
                };
                let tensors = copies.tensors(of_one_frame[place], &mut prepare);
                lock().push(prepare);
                tensors
            },
            |_, observer, _, maps: &mut Vec<Maps>| {
                maps.push(maps_of(observer, of));
                Ok(())
            },
            |_, maps| {
                self.passing.step(self.seen);
                // The first is looked at once more.
                self.seen = (self.seen + maps.len()).min(self.looks.len() - 1);
                maps.iter().try_for_each(|maps| visit(&borrowed(maps)))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_shared_out_evenly() {
        let tiles = |count: usize| (0..count).map(|frame| (frame, 0)).collect::<Vec<_>>();
        let counts = |frames: usize, copies: usize| {
            let looks = looks(&tiles(frames), copies);
            let whole = looks.iter().filter(|look| look.copy == 0).count();
            assert_eq!(whole, frames);
            let mut of_each = vec![0; frames];
            for look in looks.iter().filter(|look| look.copy > 0) {
                of_each[look.frame] += 1;
                // Numbered from one, after the frame itself.
                assert_eq!(look.copy, of_each[look.frame]);
            }
            of_each
        };
        assert_eq!(counts(3, 600), [16; 3]);
        assert_eq!(counts(4, 10).iter().sum::<usize>(), 10);
        assert!(counts(4, 10).iter().all(|&n| n == 2 || n == 3));
        assert_eq!(counts(1000, 500).iter().sum::<usize>(), 500);
        assert_eq!(counts(5, 0), [0; 5]);
        assert_eq!(some(tiles(10), 4), [(0, 0), (2, 0), (5, 0), (7, 0)]);
        assert_eq!(some(tiles(2), 4).len(), 2);
    }
}
