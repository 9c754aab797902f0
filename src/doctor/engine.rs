//! The engine that would judge, and whether a model runs on it.

use std::path::Path;

use super::Finding;
use crate::{
    Detector,
    backend::{Device, Engine, EngineOptions},
    bundle::Bundle,
    error::one_line,
};

/// Opens the engine as every verb does, and proves a model on it by its golden frame; `model` is
/// its folder, or why there is none.
pub fn engine(options: &EngineOptions, model: Result<&Path, &str>) -> Vec<Finding> {
    let engine = match Engine::open(options) {
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
    let chosen = match options.device {
        Device::Auto => "chosen by `auto`",
        _ => "as it was asked for",
    };
    let mut findings = vec![
        Finding::ok("engine", format!("{description}, {chosen}"))
            .with("backend", engine.backend().name())
            .with("device", engine.device().name())
            .with("description", description.clone()),
    ];
    let reasons = engine.notices().iter();
    findings.extend(reasons.map(|reason| Finding::note("engine", reason)));
    findings.push(match model {
        Ok(path) => prove(&engine, path),
        Err(why) => Finding::note("model", why),
    });
    findings
}

fn prove(engine: &Engine, path: &Path) -> Finding {
    let failed = |error: &(dyn std::error::Error + 'static), remedy: &str| {
        let shown = path.display().to_string();
        let said = one_line(error);
        let text = if said.contains(&shown) {
            said
        } else {
            format!("{shown}: {said}")
        };
        Finding::error("model", text, remedy)
    };
    let bundle = match Bundle::open(path) {
        Ok(bundle) => bundle,
        Err(error) => return failed(&error, "copy the whole folder from where it was trained"),
    };
    match Detector::new(&bundle, engine) {
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
        Err(error) => failed(&error, "try another `backend` or `device`"),
    }
}
