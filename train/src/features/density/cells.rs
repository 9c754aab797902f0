//! Gaussians of the cells in the making: one reading of the frames serves all components.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use anyhow::{Context as _, Result};
use nalgebra::{DMatrix, DMatrixView, DVector};
use rayon::prelude::*;

use super::{
    ComponentSubset, DensityKind, FeatureSource, FitOptions,
    component_subset::CellComponents,
    components::{ChannelStatistics, Projection},
    covariate::Covariate,
    grid::Grid,
    model::{Density, Fitted},
    per_location::{CellSums, PARAMS},
    scale::{self, Seen},
    source::evenly_spaced,
    store::Store,
};

/// Sums over the frames, in the components that any of the densities asks for.
pub(super) struct Cells {
    parts: Vec<(ComponentSubset, CellComponents)>,
    /// Onto the components, each in units of its deviation.
    projection: Projection,
    /// The first of them.
    first: usize,
    /// Variance that is added in each.
    floors: Vec<f64>,
    covariate: Covariate,
    /// Frames that are no augmented samples.
    originals: usize,
    sums: Option<CellSums>,
    /// The frames that the scale correction is fitted to.
    looked_at: BTreeSet<usize>,
    /// Their covariates and weights.
    seen: Vec<(DVector<f32>, f64)>,
    /// Their vectors, components×cells.
    vectors: Store,
}

impl Cells {
    /// For the Gaussians of cells among `kinds`; none where there is no such kind.
    pub(super) fn new(
        kinds: &[DensityKind],
        grid: &Grid,
        train: &dyn FeatureSource,
        statistics: &ChannelStatistics,
        options: &FitOptions,
    ) -> Option<Self> {
        let originals = train.originals();
        let mut parts: Vec<(ComponentSubset, CellComponents)> = Vec::new();
        for subset in kinds.iter().filter_map(|kind| kind.subset_of_cells()) {
            let part = CellComponents::of_cells(subset, grid, originals, options);
            if !parts.iter().any(|(of, _)| *of == subset) {
                parts.push((subset, part));
            }
        }
        let first = parts.iter().map(|(_, part)| part.components.start).min()?;
        let end = parts.iter().map(|(_, part)| part.components.end).max()?;
        let covariate = parts.iter().map(|(_, part)| part.covariate).max()?;
        let components = statistics.within();
        let (projection, floors) = components.standardised(first..end, PARAMS.floor);
        Some(Self {
            parts,
            projection,
            first,
            floors,
            covariate: statistics.covariate(covariate),
            originals,
            sums: None,
            looked_at: evenly_spaced(train.frames(), scale::PARAMS.frames)
                .into_iter()
                .collect(),
            seen: Vec::new(),
            vectors: Store::new(&options.room),
        })
    }

    /// Adds the vectors of `frames` with their weights.
    ///
    /// # Errors
    /// A file for vectors that can't be written.
    pub(super) fn add(
        &mut self,
        frames: &[usize],
        batch: &[DMatrix<f32>],
        weights: &[f64],
    ) -> Result<()> {
        let projected: Vec<_> = batch
            .par_iter()
            .map(|vectors| {
                let covariate = self.covariate.of(vectors);
                (self.projection.apply(vectors.clone()), covariate)
            })
            .collect();
        if let Some((first, _)) = projected.first() {
            let covariate = self.covariate.components();
            self.sums
                .get_or_insert_with(|| CellSums::new(&first.map(f64::from), covariate))
                .add(&projected, weights);
        }
        if self.covariate.components() == 0 {
            return Ok(());
        }
        for ((frame, (vectors, covariate)), &weight) in frames.iter().zip(projected).zip(weights) {
            if self.looked_at.contains(frame) {
                self.vectors.push(vectors.data.into())?;
                self.seen.push((covariate, weight));
            }
        }
        Ok(())
    }

    /// The Gaussians in each of the subsets.
    ///
    /// # Errors
    /// No frame; covariances that are not positive definite.
    pub(super) fn fit(self) -> Result<Vec<Fitted>> {
        let sums = self.sums.as_ref();
        let sums = sums.context("the source of feature maps gave no frame")?;
        let each = self.parts.iter().map(|(subset, part)| {
            let own = part.components.start - self.first..part.components.end - self.first;
            let density = self.fit_part(sums, own.clone(), part.covariate)?;
            Ok((*subset, Arc::new(self.projection.rows(own)), density))
        });
        each.collect()
    }

    fn fit_part(&self, sums: &CellSums, own: Range<usize>, covariate: usize) -> Result<Density> {
        let covariate = self.covariate.truncated(covariate);
        let given = covariate.components();
        let floors = &self.floors[own.clone()];
        let mut stored = sums.fit(own.clone(), covariate, floors, self.originals)?;
        let widened = stored.widen();
        let seen: Vec<Seen> = self
            .seen
            .par_iter()
            .enumerate()
            .map(|(place, (all, weight))| {
                let values = self.vectors.get(place)?;
                let components = self.projection.components();
                let vectors = DMatrixView::from_slice(&values, components, sums.cells());
                let vectors = vectors.rows(own.start, own.len()).clone_owned();
                let covariate = all.rows(0, given).clone_owned();
                Ok(Seen {
                    mean_squared: widened.mean_squared(&vectors, covariate.as_slice()),
                    covariate: covariate.map(f64::from),
                    weight: *weight,
                })
            })
            .collect::<Result<_>>()?;
        stored.scale_correction = scale::fit(&seen, sums.weight())?;
        Ok(Density::Cells {
            widened: Arc::new(stored.widen()),
            stored: Arc::new(stored),
            reach: 0,
        })
    }
}
