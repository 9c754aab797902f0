//! What features are compared with: Gaussians over a network's maps, or prototypes of whole frames.

use std::{cell::RefCell, sync::atomic::Ordering};

use anyhow::{Context, Result, bail};
use edge_vae::{Observer, preprocess::CanvasLayout};

use super::{Material, Score, runner::Runner};
use crate::features::{self, FeatureMap, FeatureSource, Kind, Model, Prototypes};

/// Tiles of all frames together that features are fitted on, at least one of each frame.
const FEATURE_TILES: usize = 2000;

/// Standard deviations of the smoothing before prototypes, as shares of the shorter side, the
/// preferred first.
const BLURS: [f32; 2] = [1.0 / 28.0, 0.0];

/// A fitted way from a frame to distances.
#[derive(Debug)]
pub(super) enum Fitted {
    /// Over feature maps of the network or of a backbone.
    Gaussians(Model),
    /// Over the prepared frame itself.
    Prototypes(Prototypes),
}

impl Fitted {
    /// For people: `per-position`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Gaussians(model) => model.kind().name().to_owned(),
            Self::Prototypes(prototypes) => {
                let count = prototypes.count();
                match prototypes.blur() {
                    0.0 => format!("{count} prototypes"),
                    blur => format!("{count} prototypes, frames smoothed {blur}"),
                }
            }
        }
    }

    /// Rows and columns of the distances.
    pub(super) fn shape(&self) -> [usize; 2] {
        match self {
            Self::Gaussians(model) => model.grid(),
            Self::Prototypes(_) => [1, 1],
        }
    }

    /// The bytes of `features.onnx`.
    ///
    /// # Errors
    /// Those of [`Model::to_onnx`].
    pub(super) fn to_onnx(&self, model: &str) -> Result<Vec<u8>> {
        match self {
            Self::Gaussians(gaussians) => gaussians.to_onnx(model),
            Self::Prototypes(prototypes) => Ok(prototypes.to_onnx(model)),
        }
    }
}

/// The distances of the frame `input`, which `observer` has seen last, for each of `fitted`.
///
/// # Errors
/// Values that are not finite.
pub(super) fn maps(fitted: &[Fitted], observer: &Observer, input: &[f32]) -> Result<Vec<Vec<f32>>> {
    let tensors = feature_maps(observer);
    let features = borrowed(&tensors);
    fitted
        .iter()
        .map(|fitted| match fitted {
            Fitted::Gaussians(model) => {
                let [height, width] = model.grid();
                let mut map = vec![0.0; height * width];
                model.distance(&features, &mut map)?;
                Ok(map)
            }
            Fitted::Prototypes(prototypes) => Ok(vec![prototypes.distance(input)?]),
        })
        .collect()
}

/// Everything that may be chosen: Gaussians of every kind; prototypes where the network has no
/// feature maps; nothing where none is asked for or frames are too large for prototypes.
///
/// # Errors
/// Ctrl-C, and what can't be fitted.
pub(super) fn fit(
    wanted: Score,
    material: &Material,
    runner: &RefCell<Runner>,
) -> Result<Vec<Fitted>> {
    if !matches!(wanted, Score::Auto | Score::Features) {
        return Ok(Vec::new());
    }
    if !runner.borrow().has_features() {
        return fit_prototypes(material);
    }
    eprintln!(
        "fitting Gaussians to the features of {} frames",
        material.split.train.len()
    );
    let source = |frames: &[usize]| NetworkFeatures {
        runner,
        material,
        tiles: tiles_of(material.layout, frames),
    };
    // A cell of a tile is no place of the part: only a mixture that all cells share can be fitted.
    let kinds = match material.layout.tiles().count() {
        1 => &Kind::ALL[..],
        _ => &[Kind::PositionFree],
    };
    let options = features::Options {
        seed: material.seed,
        ..features::Options::default()
    };
    let models = features::fit(
        &mut source(&material.split.train),
        &mut source(&material.split.validation),
        kinds,
        &options,
    )?;
    Ok(models.into_iter().map(Fitted::Gaussians).collect())
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

/// Feature maps of one frame.
type Maps = Vec<(String, [usize; 3], Vec<f32>)>;

/// What features are made of: everything that encoder and head name so, in order.
fn feature_maps(observer: &Observer) -> Maps {
    observer
        .feature_maps()
        .into_iter()
        .map(|(name, shape, values)| (name.to_owned(), shape, values.to_vec()))
        .collect()
}

fn borrowed(maps: &Maps) -> Vec<FeatureMap<'_>> {
    maps.iter()
        .map(|(name, shape, values)| FeatureMap {
            name,
            shape: *shape,
            values,
        })
        .collect()
}

/// The network as a source of feature maps of some of the tiles.
struct NetworkFeatures<'a, 'b> {
    runner: &'a RefCell<Runner<'b>>,
    material: &'a Material<'a>,
    /// Frame and place of each.
    tiles: Vec<(usize, usize)>,
}

impl FeatureSource for NetworkFeatures<'_, '_> {
    fn frames(&self) -> usize {
        self.tiles.len()
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        let (material, mine) = (self.material, &self.tiles);
        let cut = |place: usize| {
            let (frame, tile) = mine[frames[place]];
            material
                .layout
                .tiles()
                .cut(tile, material.frames.get(frame))
        };
        self.runner.borrow_mut().each(
            frames.len(),
            |place| Ok(vec![cut(place).context("a canvas lacks a tile")?]),
            |_, observer, _, maps| {
                *maps = feature_maps(observer);
                Ok(())
            },
            |_, maps: Maps| visit(&borrowed(&maps)),
        )
    }
}
