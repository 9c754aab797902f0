//! One score source's map of a frame: blended of tiles, smoothed, standardised.

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::{ScoreMap, ScoreSource, ScoringError, SourceSettings, Standardisation};
use crate::{
    image::GaussianSmoothing,
    model::{ModelOutputs, TensorShapes},
    preprocess::{CanvasLayout, Interior, TileBlend},
    vae::VaeSpec,
};

/// How much of the score in a part of the frame comes from a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceShare {
    /// Name of the source.
    pub source: String,
    /// Its largest standardised value there, in deviations of normal frames.
    pub z: f32,
    /// Share of the sum of all sources' positive z, 0–1.
    pub share: f32,
}

/// One source's map of the last frame.
#[derive(Debug)]
pub(super) struct SourceMap {
    name: String,
    is_scored: bool,
    score_map: ScoreMap,
    /// What puts the maps of several tiles together, and the map of one.
    tile: Option<(TileBlend, Vec<f32>)>,
    shape: [usize; 2],
    interior: Option<Interior>,
    smoothing: GaussianSmoothing,
    standardisation: Option<Standardisation>,
    /// Smoothed.
    raw: Vec<f32>,
    /// Standardised too; empty without statistics.
    z: Vec<f32>,
}

impl SourceMap {
    pub(super) fn new(
        settings: &SourceSettings,
        is_scored: bool,
        vae: Option<&VaeSpec>,
        layout: &CanvasLayout,
        tensors: &TensorShapes,
        statistics: Option<&Array3<f32>>,
    ) -> Result<Self, ScoringError> {
        let name = settings.name.clone();
        let score_map = ScoreMap::new(&settings.reads, vae, tensors)?;
        let [rows, columns] = score_map.shape();
        // The setting is in pixels of the tensor, the map may be coarser.
        let smoothing = settings.smoothing * rows as f32 / layout.tiles().tile_size()[0] as f32;
        let shape = layout.map_size([rows, columns]);
        let [height, width] = shape;
        let standardisation = match (&settings.statistics, statistics) {
            (None, _) => None,
            (Some(file), None) => {
                return Err(ScoringError::Contradiction(format!(
                    "the statistics {file} of source `{name}` are missing"
                )));
            }
            (Some(_), Some(array)) => Some(Standardisation::from_array(array.view(), shape)?),
        };
        let standardised = if standardisation.is_some() {
            height * width
        } else {
            0
        };
        Ok(Self {
            name,
            is_scored,
            smoothing: GaussianSmoothing::new(width, height, smoothing)?,
            raw: vec![0.0; height * width],
            z: vec![0.0; standardised],
            standardisation,
            tile: layout
                .blend([rows, columns])
                .map(|blend| (blend, vec![0.0; rows * columns])),
            interior: layout.interior(shape),
            shape,
            score_map,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it is made of.
    pub(super) fn source(&self) -> &ScoreSource {
        self.score_map.source()
    }

    /// Whether score or map are made of it; else it only explains.
    pub(super) fn is_scored(&self) -> bool {
        self.is_scored
    }

    /// Rows and columns of the canvas's map.
    pub(super) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Its cells that count, where not all do.
    pub(super) fn interior(&self) -> Option<&Interior> {
        self.interior.as_ref()
    }

    /// Takes in what was computed for a tile.
    pub(super) fn add_tile(
        &mut self,
        tile: usize,
        outputs: &ModelOutputs,
    ) -> Result<(), ScoringError> {
        match &mut self.tile {
            None => self.score_map.compute(outputs, &mut self.raw)?,
            Some((blend, map)) => {
                self.score_map.compute(outputs, map)?;
                blend.add(tile, map, &mut self.raw);
            }
        }
        Ok(())
    }

    /// Smooths and standardises.
    pub(super) fn post_process(&mut self) -> Result<(), ScoringError> {
        self.smoothing.apply(&mut self.raw)?;
        if let Some(standardisation) = &self.standardisation {
            self.z.copy_from_slice(&self.raw);
            standardisation.apply(&mut self.z)?;
        }
        Ok(())
    }

    pub(super) fn values(&self, standardised: bool) -> &[f32] {
        if standardised { &self.z } else { &self.raw }
    }

    /// The largest standardised value in a part `[x, y, width, height]` of a canvas of `size`
    /// (rows, columns), of the cells that count if there are such; `None` without statistics.
    pub(super) fn largest_z(&self, part: [usize; 4], size: [usize; 2]) -> Option<f32> {
        self.standardisation.as_ref()?;
        let [height, width] = self.shape;
        let span = |from: usize, length: usize, of: usize, side: usize| {
            let first = (from * side / of).min(side - 1);
            first..((from + length) * side).div_ceil(of).clamp(first + 1, side)
        };
        let across = span(part[0], part[2], size[1], width);
        let cells = || {
            span(part[1], part[3], size[0], height)
                .flat_map(|y| across.clone().map(move |x| y * width + x))
        };
        let counts = |cell: &usize| {
            let inside = self.interior.as_ref().map(Interior::cells);
            inside.is_none_or(|inside| inside[*cell])
        };
        let most = |z: f32, cell: usize| z.max(self.z[cell]);
        Some(match cells().any(|cell| counts(&cell)) {
            true => cells().filter(counts).fold(f32::MIN, most),
            false => cells().fold(f32::MIN, most),
        })
    }
}
