//! Flags of every verb that runs a model, and what they are resolved into.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::bail;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use edge_vae::{
    backend::{BackendKind, Device, Engine, EngineOptions},
    bundle::Bundle,
    runtime::EngineChoice,
};

use super::{
    reporter::Reporter,
    trust::{TrustChoice, TrustFlags},
};

/// The bundle that is taken where none is named.
const DEFAULT_MODEL: &str = "models/surface";
/// The variable that names a bundle.
const MODEL_VARIABLE: &str = "EDGE_VAE_MODEL";

/// The second rate of a calibration, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReviewRate(Option<f64>);

impl ReviewRate {
    pub(crate) fn rate(self) -> Option<f64> {
        self.0
    }
}

impl FromStr for ReviewRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<f64>()) {
            ("off", _) => Ok(Self(None)),
            (_, Ok(rate)) if rate > 0.0 && rate < 1.0 => Ok(Self(Some(rate))),
            _ => Err("expected a probability above 0 and below 1, or off".to_owned()),
        }
    }
}

/// Flags of every verb that runs a model.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model and engine")]
pub(crate) struct ModelFlags {
    /// Folder of the model [default: $EDGE_VAE_MODEL, else models/surface].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    #[command(flatten)]
    engine: EngineFlags,

    #[command(flatten)]
    trust: TrustFlags,
}

/// Flags that choose an engine.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model and engine")]
pub(crate) struct EngineFlags {
    /// The engine: `tract` is built in, `ort` is ONNX Runtime [default: `ort` where the device
    /// needs it or --ort-library is given, else the fastest].
    #[arg(
        long,
        value_name = "ENGINE",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(BackendKind::ALL.map(BackendKind::name))
            .try_map(|name| name.parse::<BackendKind>())
    )]
    pub(crate) backend: Option<BackendKind>,

    /// Where the model runs: `auto`, `cpu`, `cuda` or `tensorrt` [default: auto]. `auto` takes the
    /// fastest on the model's golden frame; each other runs or fails.
    #[arg(
        long,
        value_name = "DEVICE",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(Device::ALL.map(Device::name))
            .try_map(|name| name.parse::<Device>())
    )]
    pub(crate) device: Option<Device>,

    /// ONNX Runtime's shared library [default: $ORT_DYLIB_PATH, else the usual places].
    #[arg(long, value_name = "PATH")]
    pub(crate) ort_library: Option<PathBuf>,

    /// Number of threads [default: 1; all cores for `likelihood`].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

impl EngineFlags {
    pub(crate) fn resolve(self) -> EngineRequest {
        EngineRequest {
            backend: self.backend,
            device: self.device.unwrap_or(Device::Auto),
            ort_library: self.ort_library,
            threads: self.threads.map(usize::from),
        }
    }
}

/// The requested engine.
#[derive(Clone, Debug)]
pub(crate) struct EngineRequest {
    pub(crate) backend: Option<BackendKind>,
    pub(crate) device: Device,
    pub(crate) ort_library: Option<PathBuf>,
    /// `None` is for the verb to choose.
    pub(crate) threads: Option<usize>,
}

impl EngineRequest {
    /// Opens the engine for a bundle with `threads` threads, and reports its notices.
    pub(crate) fn open(
        &self,
        bundle: &Bundle,
        threads: usize,
        reporter: Reporter,
    ) -> anyhow::Result<Engine> {
        let options = EngineOptions {
            backend: self.backend,
            device: self.device,
            ort_library: self.ort_library.clone(),
            threads,
            ..EngineOptions::default()
        };
        Ok(choose_engine(bundle, &options, reporter)?.engine)
    }
}

/// Opens the engine for a bundle, and reports its notices.
pub(crate) fn choose_engine(
    bundle: &Bundle,
    options: &EngineOptions,
    reporter: Reporter,
) -> anyhow::Result<EngineChoice> {
    let choice = EngineChoice::open(bundle, options)?;
    for notice in choice.engine.notices() {
        reporter.note(notice);
    }
    Ok(choice)
}

/// The requested model, and the engine to run it.
#[derive(Clone, Debug)]
pub(crate) struct ModelOptions {
    pub(crate) bundle: PathBuf,
    pub(crate) engine: EngineRequest,
    pub(crate) trust: TrustChoice,
}

impl ModelFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<ModelOptions> {
        Ok(ModelOptions {
            bundle: find_bundle(self.model)?,
            engine: self.engine.resolve(),
            trust: self.trust.resolve(),
        })
    }
}

impl ModelOptions {
    /// Opens bundle and engine; the golden frame is not checked.
    pub(crate) fn open(&self, reporter: Reporter) -> anyhow::Result<(Bundle, Engine)> {
        // The bundle first: of two mistakes, it is the likelier one.
        let bundle = self.trust.open(&self.bundle, reporter)?;
        let threads = self.engine.threads.unwrap_or(1);
        let engine = self.engine.open(&bundle, threads, reporter)?;
        Ok((bundle, engine))
    }
}

/// The bundle of `--model`, else the one that [`MODEL_VARIABLE`] names, else [`DEFAULT_MODEL`],
/// here or where a package installs it.
pub(crate) fn find_bundle(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path);
    }
    if let Some(path) = std::env::var_os(MODEL_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let default = Path::new(DEFAULT_MODEL);
    if default.is_dir() {
        return Ok(default.to_owned());
    }
    if let Some(installed) = installed_model() {
        return Ok(installed);
    }
    bail!(
        "no model: {MODEL_VARIABLE} is not set and there is no {DEFAULT_MODEL} here; name one \
         with --model DIR"
    )
}

/// [`DEFAULT_MODEL`] beside a program that a package installed: `PREFIX/bin/edge-vae` has its
/// models in `PREFIX/share/edge-vae`.
fn installed_model() -> Option<PathBuf> {
    let program = std::env::current_exe().and_then(fs::canonicalize).ok()?;
    let prefix = program.parent()?.parent()?;
    let model = prefix.join("share/edge-vae").join(DEFAULT_MODEL);
    model.is_dir().then_some(model)
}
