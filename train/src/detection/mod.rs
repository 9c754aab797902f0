//! From a trained network to a detector: features' Gaussians, statistics of positions, and the
//! choice of score and map on synthetic defects.

mod choose;
mod gather;
mod runner;
mod trials;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

use anyhow::{Context, Result, anyhow};
use edge_vae::{
    Observer,
    anomaly::{BackboneSettings, EvidenceMap, GraphShapes, Scorer, Scoring, Source},
    bundle::write_npy,
    dataset::{Sample, Split},
    preprocess::{CanvasLayout, PreprocessSettings, TileBlend},
    vae::VaeSpec,
};
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::{
    features::{self, FeatureMap, FeatureSource, Kind, Model},
    fit::Frames,
};
use choose::{Choice, Row, Trial};
use gather::{Field, Gathered};
use runner::Runner;

/// File of the bundle with the features' graph.
pub const FEATURES: &str = "features.onnx";

/// Frames that statistics of positions need at most.
const STATISTICS_FRAMES: usize = 2000;

/// Tiles of all frames together that features are fitted on, at least one of each frame.
const FEATURE_TILES: usize = 2000;

/// Which score a bundle judges by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// What tells synthetic defects from held-out normal frames best.
    #[default]
    Auto,
    /// Residual of the reconstruction in units of the decoder's deviation.
    Residual,
    /// The same, standardised at each position.
    ResidualZ,
    /// Negative ELBO of the frame.
    Likelihood,
    /// The strangest places of its map, standardised at each position.
    LikelihoodZ,
    /// KL divergence of the frame's posterior.
    Latent,
    /// The head that was trained on synthetic defects.
    Head,
    /// Gaussians over the network's features.
    Features,
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Residual => "residual",
            Self::ResidualZ => "residual-z",
            Self::Likelihood => "likelihood",
            Self::LikelihoodZ => "likelihood-z",
            Self::Latent => "latent",
            Self::Head => "head",
            Self::Features => "features",
        })
    }
}

/// What a detector is fitted on.
#[derive(Debug)]
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
    /// validation frames.
    pub split: &'a Split,
    /// Seed of the synthetic defects.
    pub seed: u64,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// A fitted detector: what the bundle adds to encoder and decoder.
#[derive(Debug)]
pub struct Detector {
    /// How map and score are computed.
    pub scoring: Scoring,
    /// Statistics by source.
    pub statistics: BTreeMap<Source, Array3<f32>>,
    /// Files that the scoring names, but for the head's graph.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Figures for the model card.
    pub figures: BTreeMap<String, f64>,
}

/// What the observers have beside encoder and decoder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Graphs<'a> {
    /// File of the head's graph.
    pub head: Option<&'a str>,
    /// The user's backbone.
    pub backbone: Option<&'a BackboneSettings>,
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
    make: impl FnMut() -> Result<Observer>,
) -> Result<Detector> {
    let runner = RefCell::new(Runner::new(make, material.interrupted)?);
    let models = fit_features(wanted, material, &runner)?;
    let mut runner = runner.into_inner();
    let graph_shapes = runner.graph_shapes();
    let evidence = Evidence::new(wanted, spec, material.layout, graph_shapes, &models)?;

    let stride = material
        .split
        .train
        .len()
        .div_ceil(STATISTICS_FRAMES)
        .max(1);
    let train: Vec<usize> = material
        .split
        .train
        .iter()
        .step_by(stride)
        .copied()
        .collect();
    let mut gathered = evidence.gathered()?;
    runner.each(
        train.len(),
        |place| tensors(material.layout, material.frames.get(train[place])),
        |tile, observer, input, maps| evidence.add(tile, observer, input, maps),
        |_, maps: Vec<Vec<f32>>| {
            gathered
                .fields
                .iter_mut()
                .zip(&maps)
                .try_for_each(|(field, map)| field.push(map))
        },
    )?;

    let trials = trials::make(material)?;
    let mut seen = Vec::with_capacity(trials.len());
    runner.each(
        trials.len(),
        |place| tensors(material.layout, &trials[place].canvas),
        |tile, observer, input, maps| evidence.add(tile, observer, input, maps),
        |place, maps| {
            seen.push(Trial {
                maps,
                mask: trials[place].mask.clone(),
            });
            Ok(())
        },
    )?;
    let choice = choose::choose(wanted, &gathered, &seen)?;
    report(wanted, &choice, &trials);

    let mut files = BTreeMap::new();
    if let Some(kind) = evidence.chosen_features(&choice) {
        let model = models
            .iter()
            .find(|model| model.kind() == kind)
            .context("the chosen features were not fitted")?;
        files.insert(FEATURES.to_owned(), model.to_onnx("features")?);
    }
    let backbone = graphs_given.backbone.cloned();
    let (mut scoring, statistics) = choose::scoring(&choice, &gathered, backbone, |source| {
        format!("statistics-{source}.npy")
    })?;
    let has_features = files.contains_key(FEATURES);
    let is_source = |source| scoring.sources.iter().any(|s| s.source == source);
    let wants_head = is_source(Source::Head) || (has_features && scoring.backbone.is_none());
    scoring.graphs = graphs_given
        .head
        .filter(|_| wants_head)
        .into_iter()
        .chain(has_features.then_some(FEATURES))
        .map(str::to_owned)
        .collect();
    for (source, array) in &statistics {
        let values: Vec<f32> = array.iter().copied().collect();
        let name = format!("statistics-{source}.npy");
        let file = write_npy(array.shape(), &values)
            .map_err(|problem| anyhow!("cannot lay out {name}: {problem}"))?;
        files.insert(name, file);
    }
    let figures = choice
        .table
        .iter()
        .filter(|row| row.chosen)
        .map(|row| ("synthetic-image-AUROC".to_owned(), row.auroc))
        .chain([("synthetic-pixel-AUROC".to_owned(), choice.pixel_auroc)])
        .collect();
    Ok(Detector {
        scoring,
        statistics,
        files,
        figures,
    })
}

/// The tiles of a canvas.
fn tensors(layout: &CanvasLayout, canvas: &[f32]) -> Result<Vec<Vec<f32>>> {
    let tiles = layout.tiles();
    (0..tiles.count())
        .map(|tile| tiles.cut(tile, canvas).context("a canvas lacks a tile"))
        .collect()
}

/// A frame that is being scored.
#[derive(Default)]
struct Judged {
    scorer: Option<Scorer>,
    score: f64,
    divergence: f64,
    map: Vec<f32>,
}

/// Scores the frames `places` as the runtime will, and hands score, divergence of the posterior
/// ([`Scorer::divergence`]) and map (`H×W` of the canvas) to `take`, in order.
///
/// # Errors
/// Ctrl-C, and values that are not finite.
pub fn score(
    material: &Material,
    places: &[usize],
    spec: &VaeSpec,
    detector: &Detector,
    make: impl FnMut() -> Result<Observer>,
    mut take: impl FnMut(f64, f64, &[f32]),
) -> Result<()> {
    let mut runner = Runner::new(make, material.interrupted)?;
    let shapes = runner.graph_shapes();
    let (layout, statistics) = (material.layout, &detector.statistics);
    // Scorers that no frame has at the moment.
    let idle = Mutex::new(Vec::new());
    let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
    runner.each(
        places.len(),
        |place| tensors(layout, material.frames.get(places[place])),
        |tile, observer, input, judged: &mut Judged| {
            let mut scorer = match judged.scorer.take().or_else(|| lock().pop()) {
                Some(scorer) => scorer,
                None => Scorer::new(&detector.scoring, spec, layout, shapes, statistics)?,
            };
            scorer.add_tile(tile, &observer.observed(input))?;
            if tile + 1 < layout.tiles().count() {
                judged.scorer = Some(scorer);
                return Ok(());
            }
            judged.map.resize(scorer.positions(), 0.0);
            judged.score = scorer.finish(&mut judged.map)?;
            judged.divergence = scorer.divergence();
            lock().push(scorer);
            Ok(())
        },
        |_, judged| {
            take(judged.score, judged.divergence, &judged.map);
            Ok(())
        },
    )
}

/// Gaussians of every kind that may be chosen; none where the network has no features or none are
/// asked for.
fn fit_features(
    wanted: Score,
    material: &Material,
    runner: &RefCell<Runner>,
) -> Result<Vec<Model>> {
    if !matches!(wanted, Score::Auto | Score::Features) || !runner.borrow().has_features() {
        return Ok(Vec::new());
    }
    eprintln!(
        "fitting Gaussians to the features of {} frames",
        material.split.train.len()
    );
    let source = |frames: &[usize]| NetworkFeatures {
        runner,
        material,
        tiles: tiles_of(material.layout, frames),
    };
    // A cell of a tile is no place of the part: only a mixture that all cells share can be fitted.
    let kinds = match material.layout.tiles().count() {
        1 => &Kind::ALL[..],
        _ => &[Kind::PositionFree],
    };
    let options = features::Options {
        seed: material.seed,
        ..features::Options::default()
    };
    features::fit(
        &mut source(&material.split.train),
        &mut source(&material.split.validation),
        kinds,
        &options,
    )
}

/// The tiles of `frames` by frame and place that features are fitted on: all but those of which
/// the mask leaves nothing, of many frames some in turn.
fn tiles_of(layout: &CanvasLayout, frames: &[usize]) -> Vec<(usize, usize)> {
    let [rows, columns] = layout.tiles().canvas_size();
    let interior = layout.interior([rows, columns]);
    let counts = |tile: &usize| {
        let (Some(interior), Some(place)) = (&interior, layout.tiles().tile(*tile)) else {
            return true;
        };
        let [x, y, width, height] =
            [place.x, place.y, place.width, place.height].map(|length| length as usize);
        (y..y + height).any(|y| interior.cells()[y * columns + x..][..width].contains(&true))
    };
    let tiles: Vec<usize> = (0..layout.tiles().count()).filter(counts).collect();
    let each = match tiles.len() {
        1 => 1,
        count => (FEATURE_TILES / frames.len().max(1)).clamp(1, count),
    };
    let of_frame = |(place, &frame): (usize, &usize)| {
        let tiles = &tiles;
        (0..each).map(move |i| (frame, tiles[(place * each + i) % tiles.len()]))
    };
    frames.iter().enumerate().flat_map(of_frame).collect()
}

/// The maps of all candidates of a frame.
struct Evidence<'a> {
    spec: VaeSpec,
    layout: &'a CanvasLayout,
    graphs: GraphShapes,
    /// Sources other than features, in the order of preference.
    sources: Vec<Source>,
    models: &'a [Model],
    /// What puts the maps of several tiles together, for each candidate.
    blends: Vec<Option<TileBlend>>,
}

impl<'a> Evidence<'a> {
    fn new(
        wanted: Score,
        spec: &VaeSpec,
        layout: &'a CanvasLayout,
        graphs: GraphShapes,
        models: &'a [Model],
    ) -> Result<Self> {
        let sources = [
            Source::Head,
            Source::Residual,
            Source::Likelihood,
            Source::Latent,
        ];
        let sources = sources
            .into_iter()
            .filter(|&source| source != Source::Head || graphs.head.is_some())
            .filter(|&source| wanted == Score::Auto || choose::considers(wanted, source))
            .collect();
        let mut evidence = Self {
            spec: spec.clone(),
            layout,
            graphs,
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
    fn candidates(&self) -> Result<Vec<(String, Source, [usize; 2])>> {
        let features = self.models.iter().map(|model| {
            let name = format!("features ({})", model.kind());
            Ok((name, Source::Features, model.grid()))
        });
        let others = self.sources.iter().map(|&source| {
            let shape = EvidenceMap::new(source, &self.spec, self.graphs)?.shape();
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
                .map(|(name, source, shape)| Field::new(name, source, shape, tensor, self.layout))
                .collect::<Result<_>>()?,
            size,
            interior: self.layout.interior(size),
            side: tensor[0].min(tensor[1]),
            tiled: self.layout.tiles().count() > 1,
        })
    }

    /// Adds what the graphs made of a tile to the maps of the canvas, in the order of
    /// [`Evidence::candidates`].
    fn add(
        &self,
        tile: usize,
        observer: &Observer,
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
    fn maps(&self, observer: &Observer, input: &[f32]) -> Result<Vec<Vec<f32>>> {
        let tensors = feature_maps(observer);
        let features = borrowed(&tensors);
        let mut maps = Vec::with_capacity(self.models.len() + self.sources.len());
        for model in self.models {
            let [height, width] = model.grid();
            let mut map = vec![0.0; height * width];
            model.distance(&features, &mut map)?;
            maps.push(map);
        }
        for &source in &self.sources {
            let mut evidence = EvidenceMap::new(source, &self.spec, self.graphs)?;
            let [height, width] = evidence.shape();
            let mut map = vec![0.0; height * width];
            evidence.compute(&observer.observed(input), &mut map)?;
            maps.push(map);
        }
        Ok(maps)
    }

    /// The kind of features that score or map use.
    fn chosen_features(&self, choice: &Choice) -> Option<Kind> {
        let used = [choice.image_field]
            .into_iter()
            .chain(choice.map_fields.iter().copied());
        used.filter_map(|field| self.models.get(field))
            .map(Model::kind)
            .next()
    }
}

/// Says what was chosen, and from what.
fn report(wanted: Score, choice: &Choice, trials: &[trials::Made]) {
    let defects = trials.iter().filter(|trial| trial.mask.is_some()).count();
    eprintln!(
        "score `{wanted}`: AUROC of {defects} synthetic defects against {} held-out normal frames, \
         exposure, contrast and position of all changed at random:",
        trials.len() - defects
    );
    for Row {
        name,
        auroc,
        chosen,
    } in &choice.table
    {
        let mark = if *chosen { "  <- chosen" } else { "" };
        eprintln!("  {:5.1} %  {name}{mark}", 100.0 * auroc);
    }
    eprintln!(
        "  of two within 1 %, the first of this order is taken: features, head, residual, \
         likelihood, latent"
    );
    let sources: Vec<&str> = choice.map.sources.iter().map(|s| s.name()).collect();
    eprintln!(
        "map: {}; AUROC of the defects' pixels {:.1} %",
        sources.join(" + "),
        100.0 * choice.pixel_auroc
    );
}

/// Feature maps of one frame.
type Maps = Vec<(String, [usize; 3], Vec<f32>)>;

/// What features are made of: everything that encoder and head name so, in order.
fn feature_maps(observer: &Observer) -> Maps {
    observer
        .feature_maps()
        .into_iter()
        .map(|(name, shape, values)| (name.to_owned(), shape, values.to_vec()))
        .collect()
}

fn borrowed(maps: &Maps) -> Vec<FeatureMap<'_>> {
    maps.iter()
        .map(|(name, shape, values)| FeatureMap {
            name,
            shape: *shape,
            values,
        })
        .collect()
}

/// The network as a source of feature maps of some of the tiles.
struct NetworkFeatures<'a, 'b> {
    runner: &'a RefCell<Runner<'b>>,
    material: &'a Material<'a>,
    /// Frame and place of each.
    tiles: Vec<(usize, usize)>,
}

impl FeatureSource for NetworkFeatures<'_, '_> {
    fn frames(&self) -> usize {
        self.tiles.len()
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        let (material, mine) = (self.material, &self.tiles);
        let cut = |place: usize| {
            let (frame, tile) = mine[frames[place]];
            material
                .layout
                .tiles()
                .cut(tile, material.frames.get(frame))
        };
        self.runner.borrow_mut().each(
            frames.len(),
            |place| Ok(vec![cut(place).context("a canvas lacks a tile")?]),
            |_, observer, _, maps| {
                *maps = feature_maps(observer);
                Ok(())
            },
            |_, maps: Maps| visit(&borrowed(&maps)),
        )
    }
}
