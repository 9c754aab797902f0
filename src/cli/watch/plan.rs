//! From flags and configuration to what runs.

use std::{io, path::Path};

use anyhow::{Context, bail};
use edge_vae::{
    Detector,
    backend::{Device, Engine, EngineOptions},
    bundle::Bundle,
    runtime::tensor_rt::{self, Comparison, EngineStore},
    stream::{
        Configuration, Plan, SinkConfig, SourceEntry, Successor, control::ControlSettings,
        sink::Terminal,
    },
};
use indicatif::ProgressDrawTarget;

use super::{
    super::{
        flags,
        reporter::{Reporter, one_line},
        trust::TrustChoice,
    },
    DEFAULT_FILE, WatchFlags,
};

/// The configuration with what the flags say in its place. A source on the command line replaces
/// those of the file, a sink is added to them.
pub(super) fn configuration(flags: &WatchFlags) -> anyhow::Result<Configuration> {
    let default = Path::new(DEFAULT_FILE);
    let mut configuration = match &flags.config {
        Some(path) => Configuration::read(path)?,
        None if default.is_file() => Configuration::read(default)?,
        None => Configuration::default(),
    };
    let stdin = flags.stdin_settings.as_ref();
    let mut sources = flags.sources.clone();
    sources.extend(stdin.map(|settings| format!("-?{settings}")));
    if !sources.is_empty() {
        configuration.sources = sources.iter().map(SourceEntry::new).collect();
    }
    let engine = flags.engine.clone();
    configuration.backend = engine.backend.or(configuration.backend);
    configuration.device = engine.device.or(configuration.device);
    configuration.ort_library = engine.ort_library.or(configuration.ort_library);
    configuration.threads = engine.threads.or(configuration.threads);
    configuration.model = flags.model.clone().or(configuration.model);
    configuration.review_rate = flags.review_rate.or(configuration.review_rate);
    configuration.policy = flags.policy.or(configuration.policy);
    configuration.frames = flags.frames.or(configuration.frames);
    configuration.duration = flags.duration.or(configuration.duration);
    configuration.retries = flags.retries.or(configuration.retries);
    configuration
        .trust
        .extend(flags.trust.clone().resolve().settings);
    configuration.max_pixels = flags.max_pixels.or(configuration.max_pixels);
    if let Some(path) = &flags.control {
        let control = configuration.control.take();
        configuration.control = Some(ControlSettings {
            path: path.clone(),
            ..control.unwrap_or_else(|| ControlSettings::new(path))
        });
    }
    flags.sinks.add_to(&mut configuration);
    Ok(configuration)
}

/// What a model is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Run,
    Check,
}

/// Opens the model that the configuration names, and proves it. Where TensorRT has to compile it
/// first, another engine judges until then.
pub(super) fn open_detector(
    watch_flags: &WatchFlags,
    configuration: &Configuration,
    purpose: Purpose,
    reporter: Reporter,
) -> anyhow::Result<(Detector, Option<Compilation>)> {
    let trust = TrustChoice {
        settings: configuration.trust.clone(),
        ..watch_flags.trust.clone().resolve()
    };
    // The bundle first: of two mistakes, it is the likelier one.
    let path = flags::find_bundle(configuration.model.clone())?;
    let bundle = match purpose {
        Purpose::Run => trust.open(&path, reporter)?,
        Purpose::Check => trust.inspect(&path, reporter)?.bundle,
    };
    let options = EngineOptions {
        backend: configuration.backend,
        device: configuration.device.unwrap_or(Device::Auto),
        ort_library: configuration.ort_library.clone(),
        threads: configuration.threads.map_or(1, usize::from),
        ..EngineOptions::default()
    };
    let mut choice = flags::choose_engine(&bundle, &options, reporter)?;
    let mut compilation = None;
    if choice.compiles {
        let meanwhile = EngineOptions {
            device: Device::Auto,
            ..options.clone()
        };
        let stand_in = flags::choose_engine(&bundle, &meanwhile, reporter)?;
        compilation = Some(Compilation {
            tensor_rt: std::mem::replace(&mut choice, stand_in).engine,
            bundle: bundle.clone(),
            options,
        });
    }
    let name = || bundle.path().display().to_string();
    let mut detector = Detector::new(&bundle, &choice.engine).with_context(name)?;
    if let Some(rate) = configuration.review_rate {
        detector
            .calibration_mut()
            .set_review_rate(Some(rate))
            .with_context(name)?;
    }
    Ok((detector, compilation))
}

/// What TensorRT has yet to compile.
pub(super) struct Compilation {
    bundle: Bundle,
    tensor_rt: Engine,
    options: EngineOptions,
}

impl Compilation {
    /// Compiles in a thread of its own, and keeps the engine for the next start.
    fn start(self) -> io::Result<Successor> {
        Successor::start(move || self.compiled().map_err(|error| one_line(&error)))
    }

    fn compiled(mut self) -> anyhow::Result<Detector> {
        let built = tensor_rt::build(
            &self.bundle,
            self.options.tensor_rt,
            (
                &mut self.tensor_rt,
                &mut Engine::open(&EngineOptions::default())?,
            ),
            &Comparison::of_golden_frame(&self.bundle)?,
            &EngineStore::of(&self.options)?,
            &mut |_| (),
        )?;
        if let Some(why) = built.agreement.refused {
            bail!("the TensorRT engine is not accepted: {why}");
        }
        Ok(Detector::new(&self.bundle, &self.tensor_rt)?)
    }
}

/// Everything that runs.
pub(super) fn plan(
    flags: &WatchFlags,
    configuration: &Configuration,
    reporter: Reporter,
) -> anyhow::Result<Plan> {
    // What costs nothing to check first.
    let options = configuration.options()?;
    configuration.sources()?;
    let mut sinks = configuration.sinks();
    sinks.push(terminal(flags.json, reporter));
    let (detector, compilation) = open_detector(flags, configuration, Purpose::Run, reporter)?;
    let mut configuration = configuration.clone();
    let of_model = detector.manifest().preprocess.max_pixels;
    configuration.max_pixels = configuration.max_pixels.or(of_model);
    Ok(Plan {
        detector,
        successor: compilation.map(Compilation::start).transpose()?,
        sources: configuration.sources()?,
        sinks,
        control: configuration.control,
        options,
    })
}

/// Whether a line on standard error shows how it goes.
pub(super) fn shows_status(json: bool, reporter: Reporter) -> bool {
    !json && reporter.draws()
}

fn terminal(json: bool, reporter: Reporter) -> SinkConfig {
    SinkConfig {
        key: "terminal".to_owned(),
        open: Box::new(move || {
            let out = Box::new(io::stdout());
            if json {
                return Ok(Box::new(Terminal::json(out)));
            }
            let terminal = Terminal::lines(out);
            Ok(Box::new(if shows_status(json, reporter) {
                terminal.with_status(ProgressDrawTarget::stderr())
            } else {
                terminal
            }))
        }),
    }
}
