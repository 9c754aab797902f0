//! From a trained network to a detector: features' Gaussians, statistics of positions, and the
//! choice of score and map on synthetic defects.

mod choose;
mod estimate;
mod features;
mod folds;
mod gather;
mod judge;
mod planes;
mod progress;
mod retake;
mod runner;
pub mod size;
mod trials;

use std::{cell::RefCell, collections::BTreeMap, sync::atomic::AtomicBool};

use anyhow::{Context, Result, anyhow};
use edge_vae::{
    Model,
    bundle::write_npy,
    dataset::{Sample, Split},
    model::{FeatureExtractorSettings, GraphShapes},
    preprocess::{CanvasLayout, PreprocessSettings, TileBlend},
    scoring::{ScoreMap, ScoreSource, Scoring},
    vae::VaeSpec,
};
use ndarray::Array3;

use crate::{data::Frames, options::Score, reporter::Reporter};
use choose::{Choice, MapRow, Row, Trial};
pub use estimate::seconds;
use features::Fitted;
pub use folds::Folds;
use gather::{Field, Gathered};
pub use judge::score;
use progress::Progress;
use runner::{Runner, What};
use trials::Truth;

/// File of the bundle with the features' graph.
pub const FEATURES: &str = "features.onnx";

/// File of the bundle with the graph of the finest features.
pub const DETAILS: &str = "details.onnx";

/// Files of the bundle with the graph of [`crate::export::residual`], and that of the Gaussians over its maps.
pub const RESIDUAL: &str = "residual.onnx";
const RECONSTRUCTION: &str = "reconstruction.onnx";

/// The file with the graph of the distances `source`.
pub fn graph_of(source: ScoreSource) -> &'static str {
    match source {
        ScoreSource::Details => DETAILS,
        _ => FEATURES,
    }
}

/// Frames that statistics of positions need at most.
const STATISTICS_FRAMES: usize = 2000;

/// What a detector is fitted on.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// All canvases.
    pub frames: &'a Frames,
    /// Their tiles, and where to look.
    pub layout: &'a CanvasLayout,
    /// Where they came from.
    pub samples: &'a [&'a Sample],
    /// From frame to tensor.
    pub preprocess: &'a PreprocessSettings,
    /// PNG of the mask that it names.
    pub mask: Option<&'a [u8]>,
    /// Features and statistics are fitted on the training frames, score and map are chosen on the
    /// validation frames; what was chosen may then be fitted to all ([`Self::in_folds`]).
    pub split: &'a Split,
    /// The number of each frame's group, from 0: frames that belong together are in one part of the split, and
    /// in one fold. Where none do, each has its own.
    pub groups: &'a [usize],
    /// Whether what is chosen may be fitted to all frames in the end, each judged by a model of the
    /// others.
    pub in_folds: bool,
    /// Steps in which the network was trained.
    pub steps: u64,
    /// Seed of the synthetic defects.
    pub seed: u64,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
    /// Says what was found.
    pub reporter: &'a Reporter,
}

/// A fitted detector: what the bundle adds to encoder and decoder.
#[derive(Debug)]
pub struct Detector {
    /// How map and score are computed.
    pub scoring: Scoring,
    /// Statistics by source.
    pub statistics: BTreeMap<ScoreSource, Array3<f32>>,
    /// Files that the scoring names, but for the head's graph.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Figures for the model card.
    pub figures: BTreeMap<String, f64>,
    /// Where all frames were fitted to: what judges each of them without having seen it.
    pub folds: Option<Folds>,
    /// Whether the anomaly map is made of the folds' distances alone.
    pub only_distances: bool,
}

/// What the observers have beside encoder and decoder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Graphs<'a> {
    /// File of the head's graph.
    pub head: Option<&'a str>,
    /// The graph of [`crate::export::residual`], which the observers have as [`RESIDUAL`].
    pub residual: Option<&'a [u8]>,
    /// A second network, whose features are compared.
    pub backbone: Option<&'a FeatureExtractorSettings>,
}

/// Fits a detector for `wanted` with the observers of `make`, which have these graphs; says on the
/// standard error what was chosen, and why. Graphs that score, map and sources do without are not
/// in its scoring, and so cost no frame any time.
///
/// # Errors
/// A score that the network does not have, Ctrl-C, values that are not finite.
pub fn fit(
    wanted: Score,
    material: &Material,
    spec: &VaeSpec,
    graphs_given: Graphs,
    make: impl FnMut() -> Result<Model>,
) -> Result<Detector> {
    let runner = RefCell::new(Runner::new(make, material.interrupted)?);
    let has_backbone = graphs_given.backbone.is_some();
    let compares_features = has_backbone && wanted.compares_features();
    let rehearsal = compares_features
        .then(|| rehearsal(material.split, material.groups))
        .flatten();
    let rehearsed = Material {
        split: rehearsal.as_ref().unwrap_or(material.split),
        ..*material
    };
    if rehearsal.is_some() {
        eprintln!(
            "{} frames are few to choose by: the choice is rehearsed on halves of all but those \
             that are held out",
            material.split.validation.len()
        );
    }
    let graph_shapes = (runner.borrow().graph_shapes(), has_backbone);
    let mut models = features::fit(wanted, &rehearsed, &runner, true)?;
    let evidence = Evidence::new(wanted, spec, material.layout, graph_shapes, &models)?;
    let mut gathered = evidence.gather(&rehearsed, &runner)?;
    let trials = trials::make(&rehearsed)?;
    let seen = evidence.try_out(&trials, &runner)?;
    let choice = choose::choose(wanted, &gathered, &seen)?;
    drop(seen);
    report(wanted, &choice, &trials);
    let judging = models.get(choice.image_field).filter(|_| has_backbone);
    let obstacle = folds::obstacle(judging, material);
    let in_folds = material.in_folds && obstacle.is_none();
    if let (true, Some(obstacle)) = (material.in_folds, obstacle) {
        let held_out = material.split.calibration.len();
        eprintln!(
            "the threshold will come from the {held_out} frames that are held out: {obstacle}"
        );
    }
    if rehearsal.is_some() && !in_folds {
        // A VAE that was not chosen keeps its place, and is not trained again.
        let keeps_vae = evidence
            .chosen(&choice, ScoreSource::Features)
            .is_some_and(Fitted::is_vae);
        let idle = models
            .iter()
            .position(Fitted::is_vae)
            .filter(|_| !keeps_vae);
        let mut again = features::fit(wanted, material, &runner, keeps_vae)?;
        if let Some(place) = idle {
            again.insert(place, models.swap_remove(place));
        }
        models = again;
    }
    let evidence = Evidence::new(wanted, spec, material.layout, graph_shapes, &models)?;
    if rehearsal.is_some() {
        gathered = evidence.gather(material, &runner)?;
    }
    let (last, folds) = match models.get(choice.image_field).filter(|_| in_folds) {
        Some(model) => {
            let field = &mut gathered.fields[choice.image_field];
            let in_map = choice.map_fields.contains(&choice.image_field);
            let standardised = choice.image.standardised || (choice.map.standardised && in_map);
            Some(folds::fit(model, field, standardised, material, &runner)?)
        }
        None => None,
    }
    .unzip();

    let mut files = BTreeMap::new();
    let chosen = |source| {
        let last = last.as_ref().filter(|model| model.source() == source);
        last.or(evidence.chosen(&choice, source))
    };
    if let Some(model) = chosen(ScoreSource::Features) {
        files.insert(FEATURES.to_owned(), model.to_onnx("features")?);
    }
    if let Some(model) = chosen(ScoreSource::Details) {
        files.insert(DETAILS.to_owned(), model.to_onnx("details")?);
    }
    if let (Some(model), Some(residual)) =
        (chosen(ScoreSource::Reconstruction), graphs_given.residual)
    {
        files.insert(RESIDUAL.to_owned(), residual.to_vec());
        files.insert(RECONSTRUCTION.to_owned(), model.to_onnx("reconstruction")?);
    }
    let backbone = graphs_given.backbone.cloned();
    let (mut scoring, statistics) = choose::scoring(&choice, &gathered, backbone, |source| {
        format!("statistics-{source}.npy")
    })?;
    let has_features = files.contains_key(FEATURES);
    let is_source = |source| scoring.sources.iter().any(|s| s.source == source);
    let wants_head = is_source(ScoreSource::Head) || (has_features && scoring.backbone.is_none());
    scoring.graphs = graphs_given
        .head
        .filter(|_| wants_head)
        .into_iter()
        .chain(
            [RESIDUAL, RECONSTRUCTION, FEATURES, DETAILS]
                .into_iter()
                .filter(|&name| files.contains_key(name)),
        )
        .map(str::to_owned)
        .collect();
    for (source, array) in &statistics {
        let values: Vec<f32> = array.iter().copied().collect();
        let name = format!("statistics-{source}.npy");
        let file = write_npy(array.shape(), &values)
            .map_err(|problem| anyhow!("cannot lay out {name}: {problem}"))?;
        files.insert(name, file);
    }
    let judging = folds.as_ref().map(Folds::source);
    let only_distances = judging.is_some_and(|source| scoring.map.sources == [source]);
    let figures = choice
        .table
        .iter()
        .filter(|row| row.chosen)
        .map(|row| ("synthetic-image-AUROC".to_owned(), row.auroc))
        .chain(choice.maps.iter().filter(|row| row.chosen).flat_map(
            |MapRow { figures, .. }| {
                [
                    ("synthetic-pixel-AUROC".to_owned(), figures.auroc),
                    ("synthetic-pixel-AUPRO".to_owned(), figures.aupro),
                ]
            },
        ))
        .collect();
    Ok(Detector {
        scoring,
        statistics,
        files,
        figures,
        folds,
        only_distances,
    })
}

/// Validation frames with which a choice can be made: how much normal frames differ from each other
/// decides between scores, and a handful does not show it.
const LEAST_TO_CHOOSE: usize = 12;

/// Where there are few validation frames: halves of training and validation frames together, to fit on
/// and to choose by. What is chosen is then fitted on the training frames, or on all. For the features of a
/// second network, which no training has touched; scores of the trained one have seen some of these frames.
fn rehearsal(split: &Split, groups: &[usize]) -> Option<Split> {
    let few = split.validation.len() < LEAST_TO_CHOOSE;
    if !few || split.train.len() <= split.validation.len() {
        return None;
    }
    let mut both = [&split.train[..], &split.validation].concat();
    both.sort_unstable();
    // In turn: frames that follow each other are often alike.
    let mut half_of = BTreeMap::new();
    for &frame in &both {
        let next = half_of.len() % 2;
        half_of.entry(groups[frame]).or_insert(next);
    }
    let (train, validation): (Vec<usize>, Vec<usize>) = both
        .iter()
        .partition(|&&frame| half_of[&groups[frame]] == 0);
    (!validation.is_empty()).then(|| Split {
        train,
        validation,
        calibration: split.calibration.clone(),
    })
}

/// The tiles of a canvas.
fn tensors(layout: &CanvasLayout, canvas: &[f32]) -> Result<Vec<Vec<f32>>> {
    let tiles = layout.tiles();
    (0..tiles.count())
        .map(|tile| tiles.cut(tile, canvas).context("a canvas lacks a tile"))
        .collect()
}

/// The maps of all candidates of a frame.
struct Evidence<'a> {
    spec: VaeSpec,
    layout: &'a CanvasLayout,
    graphs: GraphShapes,
    /// Whether features are those of a backbone.
    has_backbone: bool,
    /// Sources other than features, in the order of preference.
    sources: Vec<ScoreSource>,
    models: &'a [Fitted],
    /// What puts the maps of several tiles together, for each candidate.
    blends: Vec<Option<TileBlend>>,
}

impl<'a> Evidence<'a> {
    fn new(
        wanted: Score,
        spec: &VaeSpec,
        layout: &'a CanvasLayout,
        (graphs, has_backbone): (GraphShapes, bool),
        models: &'a [Fitted],
    ) -> Result<Self> {
        let sources = [
            ScoreSource::Head,
            ScoreSource::Residual,
            ScoreSource::Likelihood,
            ScoreSource::Latent,
        ];
        let sources = sources
            .into_iter()
            .filter(|&source| source != ScoreSource::Head || graphs.head.is_some())
            .filter(|&source| wanted == Score::Auto || choose::considers(wanted, source))
            .collect();
        let mut evidence = Self {
            spec: spec.clone(),
            layout,
            graphs,
            has_backbone,
            sources,
            models,
            blends: Vec::new(),
        };
        let candidates = evidence.candidates()?;
        evidence.blends = candidates
            .iter()
            .map(|(.., shape)| layout.blend(*shape))
            .collect();
        Ok(evidence)
    }

    /// Name, source, and rows and columns of a tile's map of each candidate, features first.
    fn candidates(&self) -> Result<Vec<(String, ScoreSource, [usize; 2])>> {
        let features = self.models.iter().map(|model| {
            let name = format!("{} ({})", model.source(), model.name());
            Ok((name, model.source(), model.shape()))
        });
        let others = self.sources.iter().map(|&source| {
            let shape = ScoreMap::new(source, &self.spec, self.graphs)?.shape();
            Ok((source.name().to_owned(), source, shape))
        });
        features.chain(others).collect()
    }

    /// Empty statistics of each candidate.
    fn gathered(&self) -> Result<Gathered> {
        let tensor = [self.spec.height, self.spec.width];
        let candidates = self.candidates()?.into_iter();
        let size = self.layout.tiles().canvas_size();
        Ok(Gathered {
            fields: candidates
                .enumerate()
                .map(|(place, (name, source, shape))| {
                    let named = (source, self.is_practised(source));
                    let model = self.models.get(place);
                    let mut field = Field::new(name, named, shape, tensor, self.layout)?;
                    field.gaussians = model.and_then(Fitted::gaussians);
                    field.needs_vae = !self.is_of_backbone(source);
                    Ok(field)
                })
                .collect::<Result<_>>()?,
            size,
            interior: self.layout.interior(size),
            side: tensor[0].min(tensor[1]),
            tiled: self.layout.tiles().count() > 1,
        })
    }

    /// Statistics of each candidate over the training frames.
    fn gather(&self, material: &Material, runner: &RefCell<Runner>) -> Result<Gathered> {
        let train = &material.split.train;
        let stride = train.len().div_ceil(STATISTICS_FRAMES).max(1);
        let train: Vec<usize> = train.iter().step_by(stride).copied().collect();
        let mut gathered = self.gathered()?;
        let mut progress = Progress::new(train.len(), "frames measured by every score");
        runner.borrow_mut().each(
            train.len(),
            What::All,
            |place| tensors(material.layout, material.frames.get(train[place])),
            |[_, tile], observer, input, maps| self.add(tile, observer, input, maps),
            |place, maps: Vec<Vec<f32>>| {
                progress.step(place);
                gathered
                    .fields
                    .iter_mut()
                    .zip(&maps)
                    .try_for_each(|(field, map)| field.push(map))
            },
        )?;
        Ok(gathered)
    }

    /// The maps of each candidate of the frames of synthetic validation.
    fn try_out(&self, trials: &[trials::Made], runner: &RefCell<Runner>) -> Result<Vec<Trial>> {
        let mut seen = Vec::with_capacity(trials.len());
        let mut progress = Progress::new(trials.len(), "frames of synthetic validation judged");
        runner.borrow_mut().each(
            trials.len(),
            What::All,
            |place| tensors(self.layout, &trials[place].canvas),
            |[_, tile], observer, input, maps| self.add(tile, observer, input, maps),
            |place, maps| {
                progress.step(place);
                seen.push(Trial {
                    maps,
                    truth: trials[place].truth.clone(),
                });
                Ok(())
            },
        )?;
        Ok(seen)
    }

    /// Whether the network that makes `source` was trained on synthetic defects: what has a head was,
    /// and its VAE to take them away; a backbone never saw one.
    fn is_practised(&self, source: ScoreSource) -> bool {
        self.graphs.head.is_some() && !self.is_of_backbone(source)
    }

    /// Whether nothing but a backbone has to run for `source`.
    fn is_of_backbone(&self, source: ScoreSource) -> bool {
        self.has_backbone && matches!(source, ScoreSource::Features | ScoreSource::Details)
    }

    /// Adds what the graphs made of a tile to the maps of the canvas, in the order of
    /// [`Evidence::candidates`].
    fn add(
        &self,
        tile: usize,
        observer: &Model,
        input: &[f32],
        maps: &mut Vec<Vec<f32>>,
    ) -> Result<()> {
        let of_tile = self.maps(observer, input)?;
        if tile == 0 {
            let size = |(map, blend): (&Vec<f32>, &Option<TileBlend>)| {
                let canvas = blend.as_ref().map(TileBlend::size);
                canvas.map_or(map.len(), |[rows, columns]| rows * columns)
            };
            let sizes = of_tile.iter().zip(&self.blends).map(size);
            *maps = sizes.map(|size| vec![0.0; size]).collect();
        }
        for ((map, blend), canvas) in of_tile.into_iter().zip(&self.blends).zip(maps) {
            match blend {
                Some(blend) => blend.add(tile, &map, canvas),
                None => *canvas = map,
            }
        }
        Ok(())
    }

    /// The map that each candidate has of a tile.
    fn maps(&self, observer: &Model, input: &[f32]) -> Result<Vec<Vec<f32>>> {
        let mut maps = features::maps(self.models, observer, input)?;
        for &source in &self.sources {
            let mut evidence = ScoreMap::new(source, &self.spec, self.graphs)?;
            let [height, width] = evidence.shape();
            let mut map = vec![0.0; height * width];
            evidence.compute(&observer.outputs(input), &mut map)?;
            maps.push(map);
        }
        Ok(maps)
    }

    /// The model that score or map use for `source`.
    fn chosen(&self, choice: &Choice, source: ScoreSource) -> Option<&'a Fitted> {
        let used = [choice.image_field]
            .into_iter()
            .chain(choice.map_fields.iter().copied());
        let mut models = used.filter_map(|field| self.models.get(field));
        models.find(|model| model.source() == source)
    }
}

/// Says what was chosen, and from what.
fn report(wanted: Score, choice: &Choice, trials: &[trials::Made]) {
    let count = |wanted: fn(&Truth) -> bool| trials.iter().filter(|t| wanted(&t.truth)).count();
    let (defects, shapes) = (count(Truth::is_defect), count(Truth::is_shape));
    let with_shapes = match shapes {
        0 => String::new(),
        shapes => format!(" and {shapes} changes of the whole shape (each in parentheses)"),
    };
    eprintln!(
        "score `{wanted}`: AUROC of {defects} synthetic defects{with_shapes} against {} held-out \
         normal frames, all changed at random as by another camera:",
        trials.len() - defects - shapes
    );
    for Row {
        name,
        auroc,
        parts,
        chosen,
    } in &choice.table
    {
        let mark = if *chosen { "  <- chosen" } else { "" };
        let parts = parts.map_or(String::new(), |[defects, shapes]| {
            format!(" ({:5.1}, {:5.1})", 100.0 * defects, 100.0 * shapes)
        });
        eprintln!("  {:5.1} %{parts}  {name}{mark}", 100.0 * auroc);
    }
    eprintln!(
        "  of two within 1 to 2 %, the first of this order is taken: features, details, reconstruction, \
         head, residual, likelihood, latent; beside features of another network, less 5 % for what was trained on \
         such defects"
    );
    if shapes > 0 {
        eprintln!(
            "  where frames have a shape of their own, its changes come first, and defects decide \
             among the scores that tell them best; else defects alone"
        );
    }
    eprintln!("map: AUROC and AUPRO of the defects' pixels:");
    for MapRow {
        name,
        figures,
        chosen,
    } in &choice.maps
    {
        let mark = if *chosen { "  <- chosen" } else { "" };
        let [auroc, aupro] = [figures.auroc, figures.aupro].map(|figure| 100.0 * figure);
        eprintln!("  {auroc:5.1}, {aupro:4.1} %  {name}{mark}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_rehearsed_on_halves_of_what_does_not_calibrate() {
        let split = |train: usize, validation: usize| Split {
            train: (validation..validation + train).collect(),
            validation: (0..validation).collect(),
            calibration: vec![99],
        };
        let alone: Vec<usize> = (0..100).collect();
        let halves = rehearsal(&split(21, 3), &alone).unwrap();
        assert_eq!([halves.train.len(), halves.validation.len()], [12, 12]);
        let mut both = [halves.train, halves.validation].concat();
        both.sort_unstable();
        assert_eq!(both, (0..24).collect::<Vec<_>>());
        assert_eq!(halves.calibration, [99]);
        // Enough to choose by; no more to fit on than to choose by.
        assert_eq!(rehearsal(&split(84, 12), &alone), None);
        assert_eq!(rehearsal(&split(3, 3), &alone), None);
        // Groups of five stay together.
        let groups: Vec<usize> = (0..100).map(|frame| frame / 5).collect();
        let halves = rehearsal(&split(21, 3), &groups).unwrap();
        assert_eq!(halves.validation, [5, 6, 7, 8, 9, 15, 16, 17, 18, 19]);
        assert_eq!(halves.train.len(), 14);
        assert_eq!(rehearsal(&split(21, 3), &[0; 100]), None);
    }
}
