//! A fitted density.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use edge_vae::preprocess::Normalise;
use nalgebra::DMatrix;
use serde::Serialize;

use super::{
    ComponentSubset, DensityKind, FeatureMap, FitOptions, MapShape, Prototypes,
    components::Projection,
    covariate,
    feature_vae::FeatureVae,
    grid::Grid,
    mixture::Mixture,
    per_location::{self, CellGaussians, Widened},
};

/// How far the feature vectors of a frame are from those of normal frames.
#[derive(Clone, Debug)]
pub struct FittedDensity {
    pub(super) grid: Grid,
    /// Which of the components it is over; of no meaning where there are no Gaussians.
    pub(super) subset: ComponentSubset,
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
    Vae(Arc<FeatureVae>),
    /// Of whole frames, which are compared without a projection.
    Prototypes {
        prototypes: Arc<Prototypes>,
        /// Standard deviation of their smoothing, as a share of the shorter side.
        smoothing: f32,
    },
}

/// A density over a subset of the components.
pub(super) type Fitted = (ComponentSubset, Arc<Projection>, Density);

/// What a model is made of, for reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the [`DensityKind`].
    pub kind: &'static str,
    /// Rows and columns.
    pub grid: [usize; 2],
    /// Channels of all feature maps together.
    pub channels: usize,
    /// Principal components, r.
    pub components: usize,
    /// Components of the frame's covariate; 0 but for Gaussians of cells.
    pub covariate: usize,
    /// Gaussians: one for each cell, or those of the mixture; 1 for a VAE; prototypes.
    pub gaussians: usize,
    /// Weight of the pooled covariance in each covariance: 0 for cells, chosen by the held-out
    /// likelihood for a mixture.
    pub share: f64,
    /// Variance added in every component, in units of a channel's variance; chosen likewise for a
    /// mixture.
    pub floor: f64,
}

impl FittedDensity {
    /// The kind.
    pub fn kind(&self) -> DensityKind {
        match &self.density {
            Density::Cells { reach: 0, .. } => DensityKind::PerLocation(self.subset),
            Density::Cells { .. } => DensityKind::LocalNeighbourhood(self.subset),
            Density::Mixture(_) => DensityKind::Mixture(self.subset),
            Density::Vae(_) => DensityKind::Vae,
            &Density::Prototypes { smoothing, .. } => DensityKind::Prototypes { smoothing },
        }
    }

    /// Prototypes of the frames `train` (C×H×W of `shape` each, normalised as `normalise` says),
    /// which are scaled by other normal frames, `held_out`.
    ///
    /// # Errors
    /// Another kind; those of [`Prototypes::fit`].
    pub fn prototypes(
        kind: DensityKind,
        train: &[&[f32]],
        held_out: &[&[f32]],
        shape: [usize; 3],
        normalise: &Normalise,
        seed: u64,
    ) -> Result<Self> {
        let DensityKind::Prototypes { smoothing } = kind else {
            bail!("a {kind} is not fitted to whole frames");
        };
        let deviation = smoothing * shape[1].min(shape[2]) as f32;
        let prototypes = Prototypes::fit(train, held_out, shape, normalise, deviation, seed)?;
        Ok(Self {
            grid: Grid {
                maps: vec![MapShape {
                    name: "input".to_owned(),
                    shape,
                }],
                size: [1, 1],
            },
            subset: ComponentSubset::All,
            projection: Arc::new(Projection::none()),
            density: Density::Prototypes {
                prototypes: Arc::new(prototypes),
                smoothing,
            },
        })
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

    /// Options under which fits to `originals` frames and more give models of the same structure as
    /// this one: grid, components, number of Gaussians, shrinkage, and a covariate of as many
    /// dimensions as so many frames can have.
    pub fn options(&self, originals: usize, options: &FitOptions) -> FitOptions {
        let mut options = FitOptions {
            grid: Some(self.grid.size),
            components: Some(self.projection.components()).filter(|_| self.kind().is_gaussian()),
            covariate: Some(covariate::components(originals)),
            ..options.clone()
        };
        if let Density::Mixture(mixture) = &self.density {
            options.gaussians = vec![mixture.gaussians()];
            options.shrinkage = Some(mixture.shrinkage);
        }
        options
    }

    /// What it is made of.
    pub fn summary(&self) -> Summary {
        let (gaussians, covariate, share, floor) = match &self.density {
            Density::Cells { stored, .. } => {
                let covariate = stored.covariate.components();
                (
                    self.grid.cells(),
                    covariate,
                    0.0,
                    per_location::PARAMS.floor,
                )
            }
            Density::Mixture(mixture) => {
                let shrinkage = mixture.shrinkage;
                (mixture.gaussians(), 0, shrinkage.share, shrinkage.floor)
            }
            Density::Vae(_) => (1, 0, 0.0, per_location::PARAMS.floor),
            Density::Prototypes { prototypes, .. } => (prototypes.count(), 0, 0.0, 0.0),
        };
        Summary {
            kind: self.kind().name(),
            grid: self.grid.size,
            channels: self.grid.channels(),
            components: self.projection.components(),
            covariate,
            gaussians,
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
        if let (Density::Prototypes { prototypes, .. }, [frame]) = (&self.density, maps) {
            distance.fill(prototypes.distance(frame.values)?);
            return Ok(());
        }
        let pooled = self.grid.pool(maps)?;
        match &self.density {
            Density::Prototypes { .. } => bail!("prototypes are compared with one frame"),
            Density::Cells {
                stored,
                widened,
                reach,
            } => {
                let covariate = stored.covariate.of(&pooled);
                let vectors = self.projection.apply(pooled);
                self.nearest_cells(widened, *reach, (&vectors, covariate.as_slice()), distance);
                let factor = widened.factor(covariate.as_slice());
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
            Density::Vae(vae) => {
                let vectors = self.projection.apply(pooled);
                distance.copy_from_slice(&vae.energy(&vectors)?);
            }
        }
        Ok(())
    }

    fn nearest_cells(
        &self,
        gaussians: &Widened,
        reach: usize,
        (vectors, covariate): (&DMatrix<f32>, &[f32]),
        distance: &mut [f32],
    ) {
        let [height, width] = self.grid.size;
        let mut difference = vec![0.0; vectors.nrows()];
        let mut expected = vec![0.0; vectors.nrows()];
        distance.fill(f32::INFINITY);
        for cell in 0..height * width {
            gaussians.expect(cell, covariate, &mut expected);
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
