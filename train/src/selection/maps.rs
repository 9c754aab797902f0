//! The maps of all candidates of a frame.

use anyhow::Result;
use edge_vae::{
    Model, dataset::Split, model::TensorShapes, preprocess::TileBlend, scoring::ScoreMap,
    vae::VaeSpec,
};

use super::{
    MapStatistics, SelectionParams,
    validation::{self, Label, SyntheticSample},
};
use crate::{
    candidates::{MapSource, Member},
    features::{FitData, ModelPool, Place, borrowed},
};

/// Computes the maps of all candidates.
pub struct CandidateMaps<'a> {
    members: &'a [Member],
    data: &'a FitData<'a>,
    pool: &'a ModelPool<'a>,
    vae: Option<&'a VaeSpec>,
    shapes: &'a TensorShapes,
    /// Rows and columns of a tile's map of each candidate.
    tile_shapes: Vec<[usize; 2]>,
    /// What puts the maps of several tiles together, for each candidate.
    blends: Vec<Option<TileBlend>>,
}

/// The maps of a sample of the synthetic validation set, neither smoothed nor standardised.
#[derive(Debug)]
pub struct SampleMaps {
    /// Of each candidate.
    pub maps: Vec<Vec<f32>>,
    /// What is wrong with the sample.
    pub label: Label,
}

impl<'a> CandidateMaps<'a> {
    /// Of `members`, as the models of `pool` make them, with `vae` where they have one.
    ///
    /// # Errors
    /// A map that the models do not make.
    pub fn new(
        members: &'a [Member],
        data: &'a FitData<'a>,
        pool: &'a ModelPool<'a>,
        vae: Option<&'a VaeSpec>,
    ) -> Result<Self> {
        let shapes = pool.shapes();
        let shape = |member: &Member| match &member.density {
            Some(density) => Ok(density.grid()),
            None => Ok(ScoreMap::new(&member.candidate.source.reads(), vae, shapes)?.shape()),
        };
        let tile_shapes = members.iter().map(shape).collect::<Result<Vec<_>>>()?;
        let blends = tile_shapes.iter().map(|&shape| data.layout.blend(shape));
        Ok(Self {
            blends: blends.collect(),
            members,
            data,
            pool,
            vae,
            shapes,
            tile_shapes,
        })
    }

    /// Statistics of each candidate over the training frames of `data`; where these show one
    /// picture only, over augmented samples of it too.
    ///
    /// # Errors
    /// Ctrl-C, values that are not finite, a frame that can no longer be read.
    pub fn statistics(&self, params: &SelectionParams) -> Result<Vec<MapStatistics>> {
        let train = &self.data.split.train;
        let stride = train.len().div_ceil(params.statistics_frames).max(1);
        let train: Vec<usize> = train.iter().step_by(stride).copied().collect();
        let augmented = match self.data.is_one_picture(&train) {
            true => validation::make_normal(&FitData {
                split: &Split {
                    validation: train.clone(),
                    ..self.data.split.clone()
                },
                // Other samples than those that select or calibrate.
                seed: self.data.seed.wrapping_add(1),
                ..*self.data
            })?,
            false => Vec::new(),
        };
        let augmented = augmented.iter().map(|sample| &sample.canvas[..]);
        let canvases = train.iter().map(|&frame| self.data.frames.get(frame));
        let canvases: Vec<&[f32]> = canvases.chain(augmented).collect();
        let mut statistics = self.empty_statistics()?;
        let mut bar = self
            .data
            .reporter
            .bar(canvases.len(), "frames measured by every candidate");
        self.pool.each(
            canvases.len(),
            Model::run,
            |place| self.data.tensors(canvases[place]),
            |place, model, input, maps| self.add(place, model, input, maps),
            |place, maps: Vec<Vec<f32>>| {
                bar.set(place);
                let mut each = statistics.iter_mut().zip(&maps);
                each.try_for_each(|(statistics, map)| statistics.push(map))
            },
        )?;
        Ok(statistics)
    }

    /// The maps of the samples of the synthetic validation set.
    ///
    /// # Errors
    /// Ctrl-C, values that are not finite.
    pub fn of_samples(&self, samples: &[SyntheticSample]) -> Result<Vec<SampleMaps>> {
        let mut all = Vec::with_capacity(samples.len());
        let mut bar = self
            .data
            .reporter
            .bar(samples.len(), "synthetic validation samples scored");
        self.pool.each(
            samples.len(),
            Model::run,
            |place| self.data.tensors(&samples[place].canvas),
            |place, model, input, maps| self.add(place, model, input, maps),
            |place, maps| {
                bar.set(place);
                all.push(SampleMaps {
                    maps,
                    label: samples[place].label.clone(),
                });
                Ok(())
            },
        )?;
        Ok(all)
    }

    fn empty_statistics(&self) -> Result<Vec<MapStatistics>> {
        let [_, height, width] = self.data.preprocess.shape();
        let has_backbone = self.pool.has_backbone();
        let members = self.members.iter().zip(&self.tile_shapes);
        members
            .map(|(member, &shape)| {
                let mut empty =
                    MapStatistics::new(member, shape, [height, width], self.data.layout)?;
                empty.needs_vae = !member.candidate.is_of_backbone(has_backbone);
                // What has a head was trained on defects, and its VAE to take them away.
                empty.trained_on_defects =
                    empty.needs_vae && self.shapes.get(MapSource::HEAD.tensor()).is_some();
                Ok(empty)
            })
            .collect()
    }

    /// Adds what the model made of a tile to the maps of the canvas.
    fn add(
        &self,
        place: Place,
        model: &Model,
        input: &[f32],
        maps: &mut Vec<Vec<f32>>,
    ) -> Result<()> {
        let of_tile = self.maps(model, input)?;
        if place.tile == 0 {
            let size = |(map, blend): (&Vec<f32>, &Option<TileBlend>)| {
                let canvas = blend.as_ref().map(TileBlend::size);
                canvas.map_or(map.len(), |[rows, columns]| rows * columns)
            };
            let sizes = of_tile.iter().zip(&self.blends).map(size);
            *maps = sizes.map(|size| vec![0.0; size]).collect();
        }
        for ((map, blend), canvas) in of_tile.into_iter().zip(&self.blends).zip(maps) {
            match blend {
                Some(blend) => blend.add(place.tile, &map, canvas),
                None => *canvas = map,
            }
        }
        Ok(())
    }

    /// The map that each candidate has of a tile.
    fn maps(&self, model: &Model, input: &[f32]) -> Result<Vec<Vec<f32>>> {
        let shape = self.data.preprocess.shape();
        let mut read = Vec::new();
        let members = self.members.iter().zip(&self.tile_shapes);
        members
            .map(|(member, [height, width])| {
                let mut map = vec![0.0; height * width];
                match (&member.density, member.candidate.features()) {
                    (Some(density), Some(features)) => {
                        if !read.iter().any(|(of, _)| *of == features) {
                            read.push((features, features.of(model, input, shape)));
                        }
                        let maps = read.iter().find(|(of, _)| *of == features);
                        let maps = maps.map(|(_, maps)| borrowed(maps)).unwrap_or_default();
                        density.distance(&maps, &mut map)?;
                    }
                    _ => ScoreMap::new(&member.candidate.source.reads(), self.vae, self.shapes)?
                        .compute(&model.outputs(input), &mut map)?,
                }
                Ok(map)
            })
            .collect()
    }
}
