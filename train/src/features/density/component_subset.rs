//! Which principal components of the feature vectors a density is over, and how many.

use std::ops::Range;

use super::{FitOptions, covariate, grid::Grid, triangle};

/// Bytes that nodes and small constants of a graph may take.
const GRAPH_BYTES: usize = 24_576;

/// Dimensions of the covariate for which there is room beside as many components as possible; more
/// of them take what room is left.
const LEAST_COVARIATE: usize = 24;

/// The components by how much normal frames vary in them.
///
/// The leading ones hold most of the variation of normal frames. Defects often show in those that
/// hardly vary (Rippel et al. 2020, "Modeling the distribution of normal data in pre-trained deep
/// features for anomaly detection").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentSubset {
    /// All of them.
    All,
    /// Those of the largest variance.
    Leading,
    /// The half of least variance.
    LeastVarying,
}

impl ComponentSubset {
    /// The name used in output; empty for all.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Leading => " in leading components",
            Self::LeastVarying => " in least-varying components",
        }
    }

    /// So many of `channels` components, which are sorted by their variance, the largest first.
    pub(super) fn range(self, count: usize, channels: usize) -> Range<usize> {
        let count = count.min(channels);
        match self {
            Self::All | Self::Leading => 0..count,
            Self::LeastVarying => channels - count..channels,
        }
    }

    /// The most components that a density may have of `channels`.
    fn most(self, channels: usize, leading: usize) -> usize {
        match self {
            Self::All => channels,
            Self::Leading => channels.min(leading),
            Self::LeastVarying => channels.div_ceil(2),
        }
    }
}

/// What a density of cells is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CellComponents {
    /// Places among the components.
    pub(super) components: Range<usize>,
    /// Dimensions of the covariate.
    pub(super) covariate: usize,
}

impl CellComponents {
    /// Of Gaussians of the cells that are fitted to so many frames that are no augmented samples.
    pub(super) fn of_cells(
        subset: ComponentSubset,
        grid: &Grid,
        originals: usize,
        options: &FitOptions,
    ) -> Self {
        let channels = grid.channels();
        let most = options.covariate.unwrap_or(usize::MAX);
        let most = covariate::components(originals).min(most);
        // Lower triangles and what the covariate lets expect as bytes; scales of both and means
        // as f32; places of a triangle; the covariate's own components.
        let bytes = |components: usize, covariate: usize| {
            let cell = triangle::length(components) + 1 + (12 + covariate) * components;
            grid.cells() * cell + 4 * components * components + 4 * covariate * channels
        };
        let least = most.min(LEAST_COVARIATE);
        let allowed = subset.most(channels, options.most_components);
        let count = choose(channels, allowed, options, |count| bytes(count, least));
        let room = |covariate: &usize| {
            bytes(count, *covariate) + of_graph(channels, count) <= options.bytes
        };
        Self {
            components: subset.range(count, channels),
            covariate: (least..=most).rev().find(room).unwrap_or(least),
        }
    }

    /// Components of a mixture.
    pub(super) fn of_mixture(
        subset: ComponentSubset,
        grid: &Grid,
        options: &FitOptions,
    ) -> Range<usize> {
        let channels = grid.channels();
        let gaussians = options.gaussians.iter().copied().max().unwrap_or(1);
        let bytes = |count| gaussians * (2 * triangle::length(count) + 4 * count);
        let allowed = subset.most(channels, options.most_components);
        let count = choose(channels, allowed, options, bytes);
        subset.range(count, channels)
    }
}

/// Bytes of the projection and of the nodes.
fn of_graph(channels: usize, components: usize) -> usize {
    4 * channels * (components + 1) + GRAPH_BYTES
}

/// As many components of `allowed` as fit where they are not given; `bytes` tells what that many
/// take beside the projection.
fn choose(
    channels: usize,
    allowed: usize,
    options: &FitOptions,
    bytes: impl Fn(usize) -> usize,
) -> usize {
    match options.components {
        Some(components) => components.min(channels),
        None => (1..=allowed)
            .rev()
            .filter(|&count| count == allowed || is_round(count))
            .find(|&count| bytes(count) + of_graph(channels, count) <= options.bytes)
            .unwrap_or(1),
    }
}

/// Numbers that fill the engines' registers.
fn is_round(components: usize) -> bool {
    match components {
        0..=8 => true,
        9..=64 => components.is_multiple_of(8),
        _ => components.is_multiple_of(32),
    }
}
