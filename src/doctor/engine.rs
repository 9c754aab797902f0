//! The engine that would judge, and whether a model runs on it.

use std::path::Path;

use super::Finding;
use crate::{
    Detector, Error,
    backend::{Device, Engine, EngineOptions},
    bundle::Bundle,
    error::one_line,
    trust::{self, TrustError, TrustPolicy, TrustSettings},
};

/// Opens the engine as every verb does, and proves a model on it by its golden frame; `model` is
/// its folder, or why there is none. What the options leave open is measured on the model.
pub fn engine(options: &EngineOptions, model: Result<&Path, &str>) -> Vec<Finding> {
    let bundle = match model {
        Ok(path) => open(path).map_err(|error| {
            let remedy = "copy the whole folder from where it was trained";
            failed(path, &error, remedy)
        }),
        Err(why) => Err(Finding::note("model", why)),
    };
    let engine = match &bundle {
        Ok(bundle) => Engine::for_bundle(bundle, options),
        Err(_) => Engine::open(options).map_err(Error::from),
    };
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            return vec![Finding::error(
                "engine",
                one_line(&error),
                "device `auto` takes what works here",
            )];
        }
    };
    let description = engine.description();
    // The notice that says why repeats what was chosen.
    let (why, others): (Vec<&String>, Vec<&String>) = engine
        .notices()
        .iter()
        .partition(|notice| notice.starts_with(&format!("runs on {description}")));
    let why = why
        .first()
        .and_then(|notice| notice.strip_prefix("runs on "));
    let text = match (options.device, &bundle) {
        (Device::Auto, Ok(_)) => format!("`auto` takes {}", why.unwrap_or(&description)),
        (Device::Auto, Err(_)) => {
            format!("{description}, as long as there is no model to measure engines on")
        }
        _ => format!("{description}, as it was asked for"),
    };
    let mut findings = vec![
        Finding::ok("engine", text)
            .with("backend", engine.backend().name())
            .with("device", engine.device().name())
            .with("description", description.clone()),
    ];
    let others = others.into_iter();
    findings.extend(others.map(|notice| Finding::note("engine", notice)));
    findings.push(match bundle {
        Ok(bundle) => prove(&engine, &bundle),
        Err(finding) => finding,
    });
    findings
}

/// Opens a model that the machine believes.
fn open(path: &Path) -> Result<Bundle, TrustError> {
    let policy = TrustPolicy::load(&TrustSettings::default(), false)?;
    Ok(trust::open(path, &policy)?.bundle)
}

fn failed(path: &Path, error: &(dyn std::error::Error + 'static), remedy: &str) -> Finding {
    let shown = path.display().to_string();
    let said = one_line(error);
    let text = if said.contains(&shown) {
        said
    } else {
        format!("{shown}: {said}")
    };
    Finding::error("model", text, remedy)
}

fn prove(engine: &Engine, bundle: &Bundle) -> Finding {
    let path = bundle.path();
    match Detector::new(bundle, engine) {
        Ok(_) => Finding::ok(
            "model",
            format!(
                "{} ({}) reproduces its golden frame on {}",
                path.display(),
                bundle.model_id(),
                engine.description()
            ),
        )
        .with("path", path.display().to_string())
        .with("model_id", bundle.model_id()),
        Err(error) => failed(path, &error, "try another `backend` or `device`"),
    }
}
