//! From a trained network to a detector: features' Gaussians, statistics of positions, and the
//! choice of score and map on synthetic defects.

mod choose;
mod gather;
mod runner;
mod trials;

use std::{cell::RefCell, collections::BTreeMap, fmt, sync::atomic::AtomicBool};

use anyhow::{Context, Result, anyhow};
use edge_vae::{
    Observer,
    anomaly::{BackboneSettings, EvidenceMap, GraphShapes, Scorer, Scoring, Source},
    bundle::write_npy,
    dataset::{Sample, Split},
    preprocess::PreprocessSettings,
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
    /// Negative ELBO.
    Likelihood,
    /// KL divergence of the posterior.
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
            Self::Latent => "latent",
            Self::Head => "head",
            Self::Features => "features",
        })
    }
}

/// What a detector is fitted on.
#[derive(Debug)]
pub struct Material<'a> {
    /// All tensors.
    pub frames: &'a Frames,
    /// Where they came from.
    pub samples: &'a [&'a Sample],
    /// From frame to tensor.
    pub preprocess: &'a PreprocessSettings,
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

/// Fits a detector for `wanted` with the observers of `make`, which have these graphs; says on the standard error what was chosen, and why.
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
    let size = [spec.height, spec.width];
    let models = fit_features(wanted, material, &runner)?;
    let mut runner = runner.into_inner();
    let evidence = Evidence::new(wanted, spec, runner.graph_shapes(), &models)?;

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
    let mut gathered = evidence.gathered(size)?;
    runner.each(
        train.len(),
        |place| Ok(material.frames.get(train[place]).to_vec()),
        |_, observer, input| evidence.maps(observer, input),
        |_, maps| {
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
        |place| Ok(trials[place].tensor.clone()),
        |_, observer, input| evidence.maps(observer, input),
        |place, maps| {
            seen.push(Trial {
                maps,
                mask: trials[place].mask.clone(),
            });
            Ok(())
        },
    )?;
    let choice = choose::choose(wanted, &gathered, &seen, size)?;
    report(wanted, &choice, &trials);

    let mut files = BTreeMap::new();
    let mut graphs: Vec<String> = graphs_given.head.map(str::to_owned).into_iter().collect();
    if let Some(kind) = evidence.chosen_features(&choice) {
        let model = models
            .iter()
            .find(|model| model.kind() == kind)
            .context("the chosen features were not fitted")?;
        files.insert(FEATURES.to_owned(), model.to_onnx("features")?);
        graphs.push(FEATURES.to_owned());
    }
    let backbone = graphs_given.backbone.cloned();
    let (scoring, statistics) = choose::scoring(&choice, &gathered, graphs, backbone, |source| {
        format!("statistics-{source}.npy")
    })?;
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

/// Scores the frames `places` as the runtime will, and hands score and map (`H×W`) to `take`, in
/// order.
///
/// # Errors
/// Ctrl-C, and values that are not finite.
pub fn score(
    material: &Material,
    places: &[usize],
    spec: &VaeSpec,
    detector: &Detector,
    make: impl FnMut() -> Result<Observer>,
    mut take: impl FnMut(f64, &[f32]),
) -> Result<()> {
    let mut runner = Runner::new(make, material.interrupted)?;
    let shapes = runner.graph_shapes();
    let scorer = || Scorer::new(&detector.scoring, spec, shapes, &detector.statistics);
    runner.each(
        places.len(),
        |place| Ok(material.frames.get(places[place]).to_vec()),
        |_, observer, input| {
            let mut map = vec![0.0; spec.height * spec.width];
            let score = scorer()?.score(&observer.observed(input), &mut map)?;
            Ok((score, map))
        },
        |_, (score, map)| {
            take(score, &map);
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
    let source = |frames| NetworkFeatures {
        runner,
        material,
        frames,
    };
    let options = features::Options {
        seed: material.seed,
        ..features::Options::default()
    };
    features::fit(
        &mut source(&material.split.train),
        &mut source(&material.split.validation),
        &Kind::ALL,
        &options,
    )
}

/// The maps of all candidates of a frame.
struct Evidence<'a> {
    spec: VaeSpec,
    graphs: GraphShapes,
    /// Sources other than features, in the order of preference.
    sources: Vec<Source>,
    models: &'a [Model],
}

impl<'a> Evidence<'a> {
    fn new(
        wanted: Score,
        spec: &VaeSpec,
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
        Ok(Self {
            spec: spec.clone(),
            graphs,
            sources,
            models,
        })
    }

    /// Empty statistics of each candidate, features first.
    fn gathered(&self, size: [usize; 2]) -> Result<Gathered> {
        let features = self.models.iter().map(|model| {
            let name = format!("features ({})", model.kind());
            Field::new(name, Source::Features, model.grid(), size)
        });
        let others = self.sources.iter().map(|&source| {
            let shape = EvidenceMap::new(source, &self.spec, self.graphs)?.shape();
            Field::new(source.name(), source, shape, size)
        });
        Ok(Gathered {
            fields: features.chain(others).collect::<Result<_>>()?,
        })
    }

    /// The map of each candidate, in the order of [`Evidence::gathered`].
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

/// The network as a source of feature maps of some of the frames.
struct NetworkFeatures<'a, 'b> {
    runner: &'a RefCell<Runner<'b>>,
    material: &'a Material<'a>,
    frames: &'a [usize],
}

impl FeatureSource for NetworkFeatures<'_, '_> {
    fn frames(&self) -> usize {
        self.frames.len()
    }

    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()> {
        let (material, mine) = (self.material, self.frames);
        self.runner.borrow_mut().each(
            frames.len(),
            |place| Ok(material.frames.get(mine[frames[place]]).to_vec()),
            |_, observer, _| Ok(feature_maps(observer)),
            |_, maps| visit(&borrowed(&maps)),
        )
    }
}
