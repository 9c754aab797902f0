//! What is known of a candidate's map over normal frames, and what is made of the map by it.

use anyhow::Result;
use edge_vae::{
    image::GaussianSmoothing,
    preprocess::{CanvasLayout, Interior},
    scoring::{PositionStatistics, Standardisation},
};

use crate::{
    candidates::{Candidate, Member, Variant},
    data::equivalent_side,
};

/// A candidate's map: its shape, smoothings, and statistics over normal frames.
#[derive(Clone, Debug)]
pub struct MapStatistics {
    /// The candidate.
    pub candidate: &'static Candidate,
    /// Those of its variants that are considered.
    pub variants: Vec<&'static Variant>,
    /// Whether what makes the map was trained on synthetic defects.
    pub trained_on_defects: bool,
    /// Whether encoder and decoder have to run for it; else the pretrained backbone alone.
    pub needs_vae: bool,
    /// Rows and columns of its map of the canvas.
    pub shape: [usize; 2],
    /// Its cells that count, where not all do.
    valid: Option<Interior>,
    /// Smoothings that are tried, in tensor pixels, the preferred first.
    pub smoothings: Vec<f32>,
    /// Factor from tensor pixels to the map's own.
    scale: f32,
    /// For each smoothing.
    filters: Vec<GaussianSmoothing>,
    statistics: Vec<PositionStatistics>,
}

/// Smoothing, then standardisation where wanted.
#[derive(Debug)]
pub(super) struct PostProcessing {
    filter: GaussianSmoothing,
    standardisation: Option<Standardisation>,
}

impl MapStatistics {
    /// Nothing yet, of a candidate with maps of `tile_shape` for each tensor of `size` (both rows,
    /// columns).
    ///
    /// # Errors
    /// A map without pixels.
    pub(super) fn new(
        member: &Member,
        tile_shape: [usize; 2],
        size: [usize; 2],
        layout: &CanvasLayout,
    ) -> Result<Self> {
        let shape = layout.map_size(tile_shape);
        let valid = layout.interior(shape);
        let side = equivalent_side(size);
        let scale = tile_shape[0] as f32 / size[0] as f32;
        let shares = member.candidate.smoothings.iter();
        let smoothings: Vec<f32> = shares.map(|share| share * side).collect();
        let filters = smoothings.iter().map(|smoothing| {
            let deviation = smoothing * scale;
            Ok(GaussianSmoothing::new(shape[1], shape[0], deviation)?)
        });
        let filters = filters.collect::<Result<Vec<_>>>()?;
        let empty = PositionStatistics::within(shape[0], shape[1], valid.clone());
        Ok(Self {
            candidate: member.candidate,
            variants: member.variants.clone(),
            trained_on_defects: false,
            needs_vae: true,
            shape,
            valid,
            smoothings,
            scale,
            statistics: vec![empty; filters.len()],
            filters,
        })
    }

    /// The same without statistics.
    pub fn emptied(&self) -> Self {
        let [height, width] = self.shape;
        let empty = PositionStatistics::within(height, width, self.valid.clone());
        Self {
            statistics: vec![empty; self.filters.len()],
            ..self.clone()
        }
    }

    /// Adds the map of a normal frame.
    ///
    /// # Errors
    /// A map of another size; values that are not finite.
    pub fn push(&mut self, map: &[f32]) -> Result<()> {
        for (filter, statistics) in self.filters.iter_mut().zip(&mut self.statistics) {
            let mut smoothed = map.to_vec();
            filter.apply(&mut smoothed)?;
            statistics.push(&smoothed)?;
        }
        Ok(())
    }

    /// Whether the map has one cell, which tells no places apart.
    pub(super) fn is_one_cell(&self) -> bool {
        self.shape == [1, 1]
    }

    /// The values of a map's cells that count.
    pub(super) fn valid(&self, map: Vec<f32>) -> Vec<f32> {
        match &self.valid {
            None => map,
            Some(valid) => valid.inside(&map).collect(),
        }
    }

    /// Mean and deviation at each place, for a smoothing in tensor pixels.
    ///
    /// # Errors
    /// Fewer than two frames, or frames whose maps do not differ.
    pub fn standardisation(&self, smoothing: f32) -> Result<Standardisation> {
        let place = self.smoothings.iter().position(|&s| s == smoothing);
        Ok(self.statistics[place.unwrap_or(0)].finish()?)
    }

    /// What is done to a map, for a smoothing in tensor pixels.
    ///
    /// # Errors
    /// As [`MapStatistics::standardisation`].
    pub(super) fn post_processing(
        &self,
        smoothing: f32,
        standardised: bool,
    ) -> Result<PostProcessing> {
        let [height, width] = self.shape;
        Ok(PostProcessing {
            filter: GaussianSmoothing::new(width, height, smoothing * self.scale)?,
            standardisation: match standardised {
                true => Some(self.standardisation(smoothing)?),
                false => None,
            },
        })
    }
}

impl PostProcessing {
    /// The post-processed map.
    ///
    /// # Errors
    /// A map of another size.
    pub(super) fn apply(&mut self, map: &[f32]) -> Result<Vec<f32>> {
        let mut map = map.to_vec();
        self.filter.apply(&mut map)?;
        if let Some(standardisation) = &self.standardisation {
            standardisation.apply(&mut map)?;
        }
        Ok(map)
    }
}
