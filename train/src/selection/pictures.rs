//! Features of pictures at one input size.

use std::{borrow::Cow, ops::Range, thread::available_parallelism};

use anyhow::Result;
use edge_vae::{
    backend::Engine,
    preprocess::{Normalise, PreprocessSettings, Preprocessor},
};
use rayon::prelude::*;

use crate::features::{
    FitData, PretrainedBackbone,
    density::{FeatureMap, FeatureSource, MapShape, Store},
    to_frame,
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
    pub(super) fn name(&self) -> String {
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

/// The backbone at one size.
pub(super) struct Extraction<'a> {
    pub data: &'a FitData<'a>,
    pub size: InputSize<'a>,
    pub engine: &'a Engine,
}

impl Extraction<'_> {
    /// Feature maps of `count` pictures of the canvas to draw on, those of each tile, on all
    /// processors.
    ///
    /// # Errors
    /// Ctrl-C, pictures that can't be prepared, a file for maps that can't be written.
    pub(super) fn all<'p>(
        &self,
        count: usize,
        picture: impl Fn(usize) -> Result<Cow<'p, [f32]>> + Sync,
    ) -> Result<Extracted> {
        let processors = available_parallelism().map_or(1, usize::from);
        let part = count.div_ceil(processors).max(1);
        let places: Vec<usize> = (0..count).collect();
        let parts = places
            .par_chunks(part)
            .map(|part| self.some(part, &picture));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let (shapes, values): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let tiles = values.iter().map(Store::frames).sum::<usize>() / count.max(1);
        Ok(Extracted {
            shapes: shapes.into_iter().next().unwrap_or_default(),
            tiles,
            part: part * tiles,
            values,
        })
    }

    fn some<'p>(
        &self,
        places: &[usize],
        picture: &(impl Fn(usize) -> Result<Cow<'p, [f32]>> + Sync),
    ) -> Result<(Vec<MapShape>, Store)> {
        let settings = self.size.preprocess.clone();
        let shape = settings.shape();
        let mut tensor = vec![0.0; shape.iter().product()];
        let identity = Normalise::identity(shape[0]);
        let mut backbone = self.size.backbone.load(self.engine, shape, &identity)?;
        let mut preprocessor = Preprocessor::with_mask(settings, self.data.mask)?;
        let drawn = self.data.frames.shape();
        let mut kept = Store::new(&self.data.memory.room);
        for &place in places {
            self.data.check_interrupted()?;
            let picture = picture(place)?;
            if preprocessor.settings().canvas_shape() == drawn {
                preprocessor.prepare_values(&picture, NAME)?;
            } else {
                preprocessor.prepare_canvas(&to_frame(&picture, drawn, 16, NAME)?)?;
            }
            for tile in 0..preprocessor.layout().count() {
                preprocessor.tile(tile, &mut tensor)?;
                backbone.run(&tensor)?;
                let maps = 0..backbone.maps().len();
                let values: Vec<&[f32]> = maps.map(|map| backbone.values(map)).collect();
                kept.push(values.concat())?;
            }
        }
        let shapes = backbone.maps().iter().map(|map| MapShape {
            name: map.name.clone(),
            shape: [map.shape[1], map.shape[2], map.shape[3]],
        });
        Ok((shapes.collect(), kept))
    }
}

/// What drawn pictures are called in errors.
const NAME: &str = "a frame at another size";

/// Feature maps of pictures, those of each tile.
pub(super) struct Extracted {
    shapes: Vec<MapShape>,
    /// Tiles of a picture.
    tiles: usize,
    /// Values of all maps of a tile together, so many tiles in each.
    values: Vec<Store>,
    part: usize,
}

impl Extracted {
    /// Those of some pictures.
    pub(super) fn pictures(&self, pictures: Range<usize>) -> Pictures<'_> {
        Pictures { of: self, pictures }
    }
}

/// Some of the pictures.
pub(super) struct Pictures<'a> {
    of: &'a Extracted,
    pictures: Range<usize>,
}

impl Pictures<'_> {
    /// Tiles of a picture.
    pub(super) fn tiles(&self) -> usize {
        self.of.tiles
    }

    /// The first `count` of them, and the others.
    pub(super) fn split_at(self, count: usize) -> (Self, Self) {
        let middle = self.pictures.start + count;
        let part = |pictures| Self {
            of: self.of,
            pictures,
        };
        (
            part(self.pictures.start..middle),
            part(middle..self.pictures.end),
        )
    }

    /// What `look` makes of the maps of a tile.
    ///
    /// # Errors
    /// Those of `look`; maps that can't be read from their file.
    pub(super) fn tile<T>(
        &self,
        tile: usize,
        look: impl FnOnce(&[FeatureMap<'_>]) -> Result<T>,
    ) -> Result<T> {
        let of = self.of;
        let place = self.pictures.start * of.tiles + tile;
        let values = of.values[place / of.part].get(place % of.part)?;
        let mut rest = &values[..];
        let maps = of.shapes.iter().map(|MapShape { name, shape }| {
            let values;
            (values, rest) = rest.split_at(shape.iter().product());
            FeatureMap {
                name,
                shape: *shape,
                values,
            }
        });
        look(&maps.collect::<Vec<_>>())
    }
}

/// Its frames are tiles.
impl FeatureSource for Pictures<'_> {
    fn frames(&self) -> usize {
        self.pictures.len() * self.of.tiles
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        let mut each = frames.iter();
        each.try_for_each(|&tile| self.tile(tile, &mut *visit))
    }
}
