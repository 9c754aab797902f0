//! Evidence gathered over frames: maps of every candidate source, and their statistics over
//! training frames.

use anyhow::Result;
use edge_vae::{
    image::GaussianSmoothing,
    preprocess::{CanvasLayout, Interior},
    scoring::{PositionStatistics, ScoreSource, Standardisation},
};

use crate::features::Kind;

/// Smoothings of full-resolution sources that are tried, as shares of the tensor's shorter side,
/// the preferred first.
const FINE: [f32; 3] = [1.0 / 64.0, 1.0 / 128.0, 1.0 / 32.0];

/// Smoothings of the head's map.
const HEAD: [f32; 2] = [0.0, 1.0 / 64.0];

/// A candidate: one source's map in one variant.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// For people: `features (per-position)`.
    pub name: String,
    /// The source.
    pub source: ScoreSource,
    /// Whether the network that makes it was trained on synthetic defects.
    pub practised: bool,
    /// The kind of Gaussians whose distances its values are: never negative, and of no unit that means
    /// anything.
    pub gaussians: Option<Kind>,
    /// Whether encoder and decoder have to run for it.
    pub needs_vae: bool,
    /// Rows and columns of its map of the canvas.
    pub shape: [usize; 2],
    /// Its cells that count, where not all do.
    interior: Option<Interior>,
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
pub(super) struct Treatment {
    filter: GaussianSmoothing,
    standardisation: Option<Standardisation>,
}

/// All candidates, in the order of preference.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The candidates.
    pub fields: Vec<Field>,
    /// Rows and columns of the canvas.
    pub size: [usize; 2],
    /// Pixels of the canvas that count, where not all do.
    pub interior: Option<Interior>,
    /// Shorter side of a tensor, in pixels.
    pub side: usize,
    /// Whether the canvas has several tiles.
    pub tiled: bool,
}

impl Field {
    /// A candidate with maps of `tile_shape` for each tensor of `size` (both rows, columns).
    ///
    /// # Errors
    /// A map without pixels.
    pub(super) fn new(
        name: impl Into<String>,
        (source, practised): (ScoreSource, bool),
        tile_shape: [usize; 2],
        size: [usize; 2],
        layout: &CanvasLayout,
    ) -> Result<Self> {
        let shape = layout.map_size(tile_shape);
        let interior = layout.interior(shape);
        let side = size[0].min(size[1]) as f32;
        let shares: &[f32] = match source {
            ScoreSource::Residual | ScoreSource::Likelihood => &FINE,
            ScoreSource::Head => &HEAD,
            ScoreSource::Latent
            | ScoreSource::Reconstruction
            | ScoreSource::Features
            | ScoreSource::Details => &[0.0],
        };
        let scale = tile_shape[0] as f32 / size[0] as f32;
        let smoothings: Vec<f32> = shares.iter().map(|share| share * side).collect();
        let filters = smoothings
            .iter()
            .map(|smoothing| {
                Ok(GaussianSmoothing::new(
                    shape[1],
                    shape[0],
                    smoothing * scale,
                )?)
            })
            .collect::<Result<Vec<_>>>()?;
        let empty = PositionStatistics::within(shape[0], shape[1], interior.clone());
        let statistics = vec![empty; filters.len()];
        Ok(Self {
            name: name.into(),
            source,
            practised,
            gaussians: None,
            needs_vae: true,
            shape,
            interior,
            smoothings,
            scale,
            filters,
            statistics,
        })
    }

    /// The same without statistics.
    pub(super) fn emptied(&self) -> Self {
        let [height, width] = self.shape;
        let empty = PositionStatistics::within(height, width, self.interior.clone());
        Self {
            statistics: vec![empty; self.filters.len()],
            ..self.clone()
        }
    }

    /// Adds the map of a normal frame to the statistics.
    ///
    /// # Errors
    /// A map of another size; values that are not finite.
    pub(super) fn push(&mut self, map: &[f32]) -> Result<()> {
        for (filter, statistics) in self.filters.iter_mut().zip(&mut self.statistics) {
            let mut smoothed = map.to_vec();
            filter.apply(&mut smoothed)?;
            statistics.push(&smoothed)?;
        }
        Ok(())
    }

    /// The values of a map's cells that count.
    pub(super) fn inside(&self, map: Vec<f32>) -> Vec<f32> {
        match &self.interior {
            None => map,
            Some(interior) => interior.inside(&map).collect(),
        }
    }

    /// Mean and deviation at each position, for a smoothing by its place.
    ///
    /// # Errors
    /// Fewer than two frames, or frames whose maps do not differ.
    pub(super) fn standardisation(&self, smoothing: usize) -> Result<Standardisation> {
        Ok(self.statistics[smoothing].finish()?)
    }

    /// What is done to a map, for a smoothing by its place.
    ///
    /// # Errors
    /// As [`Field::standardisation`].
    pub(super) fn treatment(&self, smoothing: usize, standardised: bool) -> Result<Treatment> {
        Ok(Treatment {
            filter: GaussianSmoothing::new(
                self.shape[1],
                self.shape[0],
                self.smoothings[smoothing] * self.scale,
            )?,
            standardisation: match standardised {
                true => Some(self.standardisation(smoothing)?),
                false => None,
            },
        })
    }
}

impl Treatment {
    /// The treated map.
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
