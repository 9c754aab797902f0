//! A fitted score.

use std::sync::Arc;

use anyhow::{Result, ensure};
use nalgebra::DMatrix;
use serde::Serialize;

use super::{
    FeatureMap, Kind, MapShape, Options,
    autoencoder::Autoencoder,
    context,
    directions::Projection,
    grid::Grid,
    mixture::Mixture,
    position::{self, CellGaussians, Widened},
};

/// How far the feature vectors of a frame are from those of normal frames.
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) grid: Grid,
    pub(super) projection: Arc<Projection>,
    pub(super) density: Density,
}

#[derive(Clone, Debug)]
pub(super) enum Density {
    /// One for each cell; a vector is compared with those of the cells at most `reach` rows and
    /// columns away.
    Cells {
        stored: Arc<CellGaussians>,
        widened: Arc<Widened>,
        reach: usize,
    },
    Mixture(Mixture),
    Vae(Arc<Autoencoder>),
}

/// What a model is made of, for reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the [`Kind`].
    pub kind: &'static str,
    /// Rows and columns.
    pub grid: [usize; 2],
    /// Channels of all feature maps together.
    pub channels: usize,
    /// Principal directions, r.
    pub directions: usize,
    /// Directions of the frame's context; 0 but for Gaussians of cells.
    pub context: usize,
    /// Gaussians: one for each cell, or the components of the mixture; 1 for a VAE.
    pub components: usize,
    /// Weight of the pooled covariance in each covariance: 0 for cells, chosen by the held-out
    /// likelihood for a mixture.
    pub share: f64,
    /// Variance added in every direction, in units of a channel's variance; chosen likewise for a
    /// mixture.
    pub floor: f64,
}

impl Model {
    /// The kind.
    pub fn kind(&self) -> Kind {
        match &self.density {
            Density::Cells { reach: 0, .. } => Kind::PerPosition,
            Density::Cells { .. } => Kind::ShiftTolerant,
            Density::Mixture(_) => Kind::PositionFree,
            Density::Vae(_) => Kind::Vae,
        }
    }

    /// Rows and columns of the distance map.
    pub fn grid(&self) -> [usize; 2] {
        self.grid.size
    }

    /// The feature maps that it expects, in their order.
    pub fn maps(&self) -> &[MapShape] {
        &self.grid.maps
    }

    /// Bytes of a frame's feature vectors.
    pub fn bytes_of_frame(&self) -> usize {
        self.grid.cells() * self.grid.channels() * size_of::<f32>()
    }

    /// Options under which fits to `originals` frames and more give models of the same structure as this one:
    /// grid, number of components, shrinkage, and as many directions and contexts as so many frames
    /// can have.
    pub fn options(&self, originals: usize, options: &Options) -> Options {
        let mut options = Options {
            grid: Some(self.grid.size),
            context: Some(context::directions(originals)),
            ..options.clone()
        };
        if let Density::Mixture(mixture) = &self.density {
            options.components = vec![mixture.components()];
            options.shrinkage = Some(mixture.shrinkage);
        }
        options
    }

    /// The same model of vectors that are made of the maps of `other`.
    ///
    /// # Errors
    /// Vectors of other channels or cells.
    pub fn of_maps_of(&self, other: &Self) -> Result<Self> {
        ensure!(
            (self.grid.size, self.grid.channels()) == (other.grid.size, other.grid.channels()),
            "models of different feature vectors"
        );
        Ok(Self {
            grid: other.grid.clone(),
            ..self.clone()
        })
    }

    /// What it is made of.
    pub fn summary(&self) -> Summary {
        let (components, context, share, floor) = match &self.density {
            Density::Cells { stored, .. } => {
                let context = stored.context.directions();
                (self.grid.cells(), context, 0.0, position::FLOOR)
            }
            Density::Mixture(mixture) => {
                let shrinkage = mixture.shrinkage;
                (mixture.components(), 0, shrinkage.share, shrinkage.floor)
            }
            Density::Vae(_) => (1, 0, 0.0, position::FLOOR),
        };
        Summary {
            kind: self.kind().name(),
            grid: self.grid.size,
            channels: self.grid.channels(),
            directions: self.projection.directions(),
            context,
            components,
            share,
            floor,
        }
    }

    /// The distance at each cell, row after row, of a frame with these feature maps; `distance` has
    /// as many values as the grid has cells.
    ///
    /// It computes with the values that [`Self::to_onnx`] stores.
    ///
    /// # Errors
    /// Maps other than [`Self::maps`], NaN or infinities in them, a buffer of another length.
    pub fn distance(&self, maps: &[FeatureMap<'_>], distance: &mut [f32]) -> Result<()> {
        ensure!(
            distance.len() == self.grid.cells(),
            "the buffer for the distance has {} values, the grid {}",
            distance.len(),
            self.grid.cells()
        );
        let pooled = self.grid.pool(maps)?;
        match &self.density {
            Density::Cells {
                stored,
                widened,
                reach,
            } => {
                let context = stored.context.of(&pooled);
                let vectors = self.projection.apply(pooled);
                self.nearest_cells(widened, *reach, (&vectors, context.as_slice()), distance);
                let factor = widened.factor(context.as_slice());
                for d in distance {
                    *d = d.sqrt() * factor;
                }
            }
            Density::Mixture(mixture) => {
                let vectors = self.projection.apply(pooled);
                let squared = mixture.squared_distances(&vectors);
                for (d, squared) in distance.iter_mut().zip(squared) {
                    *d = squared.sqrt();
                }
            }
            Density::Vae(autoencoder) => {
                let vectors = self.projection.apply(pooled);
                distance.copy_from_slice(&autoencoder.energy(&vectors)?);
            }
        }
        Ok(())
    }

    fn nearest_cells(
        &self,
        gaussians: &Widened,
        reach: usize,
        (vectors, context): (&DMatrix<f32>, &[f32]),
        distance: &mut [f32],
    ) {
        let [height, width] = self.grid.size;
        let mut difference = vec![0.0; vectors.nrows()];
        let mut expected = vec![0.0; vectors.nrows()];
        distance.fill(f32::INFINITY);
        for cell in 0..height * width {
            gaussians.expect(cell, context, &mut expected);
            let (row, column) = (cell / width, cell % width);
            for y in row.saturating_sub(reach)..=(row + reach).min(height - 1) {
                for x in column.saturating_sub(reach)..=(column + reach).min(width - 1) {
                    let place = y * width + x;
                    let vector = vectors.column(place);
                    let squared = gaussians.squared_distance(
                        cell,
                        vector.as_slice(),
                        &expected,
                        &mut difference,
                    );
                    distance[place] = distance[place].min(squared);
                }
            }
        }
    }
}
