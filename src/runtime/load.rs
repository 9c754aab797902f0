//! The parts of a bundle at work: preprocessing, graphs on an engine, scorer.

use std::collections::BTreeMap;

use ndarray::Array3;

use crate::{
    Error,
    backend::{Device, Engine},
    bundle::{Bundle, BundleError, DECODER, ENCODER, MANIFEST, read_npy},
    frame::{DecodeOptions, Frame},
    model::{FeatureExtractor, GraphSettings, Model, ModelError, PreparedTensor, TensorShapes},
    preprocess::{PreprocessError, Preprocessor},
    scoring::{ScoreMap, Scorer, ScoringError, Standardisation, statistics_size},
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

/// Refuses an engine that would keep the weights of a sealed bundle on disk in the clear.
///
/// # Errors
/// [`BundleError::SealedCache`].
pub fn check_sealed(bundle: &Bundle, device: Device) -> Result<(), BundleError> {
    match bundle.is_sealed() && device == Device::TensorRt {
        true => Err(BundleError::SealedCache {
            path: bundle.path().to_owned(),
        }),
        false => Ok(()),
    }
}

/// The VAE on an engine, for `batch` frames at a time.
///
/// # Errors
/// A bundle without one, a graph that the engine can't load, or whose names or shapes are not those
/// of the manifest.
pub fn load_vae(bundle: &Bundle, engine: &Engine, batch: usize) -> Result<Vae, Error> {
    check_sealed(bundle, engine.device())?;
    let load = |name| -> Result<_, Error> {
        let shown = bundle.path().join(name).display().to_string();
        Ok(engine.load(bundle.listed(name), &shown, batch)?)
    };
    Ok(Vae::new(
        bundle.vae()?.clone(),
        load(ENCODER)?,
        load(DECODER)?,
    )?)
}

/// The model with all of its graphs, one frame at a time.
///
/// # Errors
/// A graph that the engine can't load, or whose names or shapes are not those of the manifest
/// or of the graphs before it.
pub fn load_model(bundle: &Bundle, engine: &Engine) -> Result<Model, Error> {
    check_sealed(bundle, engine.device())?;
    let manifest = bundle.manifest();
    let shown = |name: &str| bundle.path().join(name).display().to_string();
    let extractor = match &manifest.feature_extractor {
        Some(settings) => {
            let name = shown(&settings.file);
            let onnx = bundle.listed(&settings.file);
            let tensor = PreparedTensor {
                batch: 1,
                shape: manifest.preprocess.shape(),
                normalise: &manifest.preprocess.normalise,
            };
            let extractor = FeatureExtractor::load(engine, onnx, &name, settings, tensor);
            Some(extractor.map_err(ModelError::from)?)
        }
        None => None,
    };
    let vae = match &manifest.vae {
        Some(_) => Some(load_vae(bundle, engine, 1)?),
        None => None,
    };
    let mut model = Model::new(manifest.preprocess.shape(), vae, extractor);
    for GraphSettings { file, .. } in &manifest.graphs {
        let shown = shown(file);
        model.push(&shown, engine.load(bundle.listed(file), &shown, 1)?)?;
    }
    Ok(model)
}

/// The scorer with the bundle's statistics, for the tensors of its model; `None` for a model that
/// only reconstructs.
///
/// # Errors
/// A source whose tensor is missing; statistics of another shape than the source's, or impossible
/// ones.
pub fn load_scorer(bundle: &Bundle, tensors: &TensorShapes) -> Result<Option<Scorer>, Error> {
    let Some(scoring) = &bundle.manifest().scoring else {
        return Ok(None);
    };
    let spec = bundle.manifest().vae.as_ref();
    let unusable = |error: ScoringError| BundleError::Setting {
        path: bundle.path().join(MANIFEST),
        key: "scoring".into(),
        problem: error.to_string(),
    };
    let preprocessor = load_preprocessor(bundle)?;
    let layout = preprocessor.canvas_layout();
    let mut statistics = BTreeMap::new();
    for source in &scoring.sources {
        let Some(name) = &source.statistics else {
            continue;
        };
        let failed = |problem| BundleError::Array {
            path: bundle.path().join(name),
            problem,
        };
        let map = ScoreMap::new(&source.reads, spec, tensors).map_err(unusable)?;
        let size = layout.map_size(map.shape());
        let [rows, columns] = statistics_size(size);
        let shape = [2, rows, columns];
        let values = read_npy(bundle.listed(name), &shape).map_err(failed)?;
        let array =
            Array3::from_shape_vec(shape, values).map_err(|error| failed(error.to_string()))?;
        Standardisation::from_array(array.view(), size)
            .map_err(|error| failed(error.to_string()))?;
        statistics.insert(source.name.clone(), array);
    }
    let scorer = Scorer::new(scoring, spec, layout, tensors, &statistics);
    Ok(Some(scorer.map_err(unusable)?))
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
