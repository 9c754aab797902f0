//! The parts of a bundle at work: preprocessing, graphs on an engine, scorer.

use std::collections::BTreeMap;

use ndarray::Array3;

use crate::{
    Error,
    backend::Engine,
    bundle::{Bundle, BundleError, DECODER, ENCODER, MANIFEST, read_npy},
    frame::{DecodeOptions, Frame},
    model::{FeatureExtractor, GraphShapes, Model, ModelError},
    preprocess::{PreprocessError, Preprocessor},
    scoring::{ScoreMap, Scorer, Standardisation, statistics_size},
    vae::Vae,
};

/// The preprocessing, with the bundle's mask where it has one.
///
/// # Errors
/// Impossible settings, and a file that is no mask or leaves nothing to look at.
pub fn load_preprocessor(bundle: &Bundle) -> Result<Preprocessor, PreprocessError> {
    let settings = &bundle.manifest().preprocess;
    let mask = settings.mask.as_deref().map(|name| bundle.listed(name));
    Preprocessor::with_mask(settings.clone(), mask)
}

/// The model on an engine, for `batch` frames at a time.
///
/// # Errors
/// A graph that the engine can't load, or whose names or shapes are not those of the manifest.
pub fn load_vae(bundle: &Bundle, engine: &Engine, batch: usize) -> Result<Vae, Error> {
    let load = |name| -> Result<_, Error> {
        let shown = bundle.path().join(name).display().to_string();
        Ok(engine.load(bundle.listed(name), &shown, batch)?)
    };
    Ok(Vae::new(
        bundle.manifest().vae.clone(),
        load(ENCODER)?,
        load(DECODER)?,
    )?)
}

/// The model with the graphs that its scoring runs after the decoder, one frame at a time.
///
/// # Errors
/// A graph that the engine can't load, or whose names or shapes are not those of the manifest
/// or of the graphs before it.
pub fn load_model(bundle: &Bundle, engine: &Engine) -> Result<Model, Error> {
    let scoring = bundle.manifest().scoring.as_ref();
    let shown = |name: &str| bundle.path().join(name).display().to_string();
    let backbone = match scoring.and_then(|scoring| scoring.backbone.as_ref()) {
        Some(settings) => Some(
            FeatureExtractor::load(
                engine,
                bundle.listed(&settings.file),
                &shown(&settings.file),
                settings,
                (
                    1,
                    bundle.manifest().vae.input_shape(),
                    &bundle.manifest().preprocess.normalise,
                ),
            )
            .map_err(ModelError::from)?,
        ),
        None => None,
    };
    let mut model = Model::new(load_vae(bundle, engine, 1)?, backbone);
    for name in scoring.iter().flat_map(|scoring| &scoring.graphs) {
        let shown = shown(name);
        model.push(&shown, engine.load(bundle.listed(name), &shown, 1)?)?;
    }
    Ok(model)
}

/// The scorer with the bundle's statistics, for maps that the graphs make in these shapes;
/// `None` for a model that only reconstructs.
///
/// # Errors
/// A source whose graph is missing; statistics of another shape than the source's, or
/// impossible ones.
pub fn load_scorer(bundle: &Bundle, graphs: GraphShapes) -> Result<Option<Scorer>, BundleError> {
    let Some(scoring) = &bundle.manifest().scoring else {
        return Ok(None);
    };
    let spec = &bundle.manifest().vae;
    let preprocessor = load_preprocessor(bundle).map_err(|error| BundleError::Setting {
        path: bundle.path().join(MANIFEST),
        key: "preprocess".into(),
        problem: error.to_string(),
    })?;
    let layout = preprocessor.canvas_layout();
    let unusable = |path: &str, problem| BundleError::Array {
        path: bundle.path().join(path),
        problem,
    };
    let mut statistics = BTreeMap::new();
    for settings in &scoring.sources {
        let Some(name) = &settings.statistics else {
            continue;
        };
        let failed = |problem| unusable(name, problem);
        let score_map = ScoreMap::new(settings.source, spec, graphs)
            .map_err(|error| failed(error.to_string()))?;
        let size = layout.map_size(score_map.shape());
        let [rows, columns] = statistics_size(size);
        let shape = [2, rows, columns];
        let values = read_npy(bundle.listed(name), &shape).map_err(failed)?;
        let array =
            Array3::from_shape_vec(shape, values).map_err(|error| failed(error.to_string()))?;
        Standardisation::from_array(array.view(), size)
            .map_err(|error| failed(error.to_string()))?;
        statistics.insert(settings.source, array);
    }
    let scorer = Scorer::new(scoring, spec, layout, graphs, &statistics)
        .map_err(|error| unusable(MANIFEST, error.to_string()))?;
    Ok(Some(scorer))
}

/// The golden frame.
///
/// # Errors
/// A picture that can't be decoded.
pub fn golden_frame(bundle: &Bundle) -> Result<Frame, Error> {
    let name = &bundle.manifest().golden.frame;
    let shown = bundle.path().join(name).display().to_string();
    Ok(Frame::decode(
        bundle.listed(name),
        &shown,
        &DecodeOptions::default(),
    )?)
}
