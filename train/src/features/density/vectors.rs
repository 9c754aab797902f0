//! Feature vectors for mixtures: one reading of the frames serves all components.

use std::{ops::Range, sync::Arc};

use anyhow::Result;
use nalgebra::DMatrix;

use super::{
    ComponentSubset, DensityKind, FitOptions,
    component_subset::CellComponents,
    components::{ChannelStatistics, Projection},
    grid::Grid,
    mixture::Mixture,
    model::{Density, Fitted},
};

/// Vectors in the components that any of the mixtures asks for.
pub(super) struct Vectors {
    parts: Vec<(ComponentSubset, Range<usize>)>,
    projection: Projection,
    /// The first of the components.
    first: usize,
    columns: Vec<DMatrix<f32>>,
}

impl Vectors {
    /// For the mixtures among `kinds`; none where there is no such kind.
    pub(super) fn new(
        kinds: &[DensityKind],
        grid: &Grid,
        statistics: &ChannelStatistics,
        options: &FitOptions,
    ) -> Option<Self> {
        let parts = kinds.iter().filter_map(|kind| match *kind {
            DensityKind::Mixture(subset) => {
                Some((subset, CellComponents::of_mixture(subset, grid, options)))
            }
            _ => None,
        });
        let parts: Vec<_> = parts.collect();
        let first = parts.iter().map(|(_, part)| part.start).min()?;
        let end = parts.iter().map(|(_, part)| part.end).max()?;
        Some(Self {
            projection: statistics.total().projection(first..end),
            first,
            parts,
            columns: Vec::new(),
        })
    }

    /// Adds vectors, channels×vectors.
    pub(super) fn add(&mut self, vectors: DMatrix<f32>) {
        self.columns.push(self.projection.apply(vectors));
    }

    /// The same without vectors.
    pub(super) fn emptied(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            projection: self.projection.clone(),
            columns: Vec::new(),
            ..*self
        }
    }

    /// All vectors in some of the components.
    fn matrix(&self, own: &Range<usize>) -> DMatrix<f32> {
        let count = self.columns.iter().map(DMatrix::ncols).sum();
        let parts = self.columns.iter().map(|c| c.rows(own.start, own.len()));
        let values = parts.flat_map(|part| part.iter().copied().collect::<Vec<_>>());
        DMatrix::from_iterator(own.len(), count, values)
    }

    /// A mixture in each of the subsets, chosen by the vectors `held_out`.
    ///
    /// # Errors
    /// Covariances that can't be made positive definite; no vectors.
    pub(super) fn fit(self, held_out: &Self, options: &FitOptions) -> Result<Vec<Fitted>> {
        let each = self.parts.iter().map(|(subset, part)| {
            let own = part.start - self.first..part.end - self.first;
            let mixture = Mixture::fit(&self.matrix(&own), &held_out.matrix(&own), options)?;
            let projection = Arc::new(self.projection.rows(own));
            Ok((*subset, projection, Density::Mixture(mixture)))
        });
        each.collect()
    }
}
