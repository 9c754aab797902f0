//! From a data set to a bundle, a function for each stage: plan, load, fit, train, complete.

mod bundle;
mod detector;
mod frames;
mod input_size;
mod memory;
mod models;
mod report;
mod resume;
mod trim;

use std::{
    path::PathBuf,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use edge_vae::backend::{BackendKind, Engine, EngineOptions};

use crate::{
    candidates, data,
    features::{Features, FitData, PretrainedBackbone},
    options::{FitOverrides, Golden},
    reporter::Reporter,
    selection::{self, SelectionParams},
    vae::{self, Checkpoint, Network, Start, State, Trained, Training},
};
use bundle::{Finished, TrainedVae};
pub use detector::ScoreComparison;
use frames::{Material, Plan, load, plan};
pub use report::FitReport;
use report::Written;

/// One call of `fit`.
#[derive(Debug)]
pub struct Job<'a> {
    /// The training frames.
    pub dataset: PathBuf,
    /// The bundle to write.
    pub out: PathBuf,
    /// Continue from the checkpoint beside it.
    pub resume: bool,
    /// Train a VAE; else what reads features alone judges.
    pub vae: bool,
    /// What the user asks for.
    pub overrides: FitOverrides,
    /// Share of the training frames, those that look least normal, to leave out.
    pub trim: Option<f64>,
    /// Most bytes that the process may take.
    pub memory: Option<u64>,
    /// The golden frame; without it the checkpoint's, or one of the calibration frames.
    pub golden: Option<Golden>,
    /// Where to train, one at least; the first does what is done once.
    pub devices: Vec<Device>,
    /// Set by Ctrl-C and SIGTERM.
    pub interrupted: &'a AtomicBool,
    /// Says how far it is.
    pub reporter: &'a Reporter,
}

impl Job<'_> {
    /// The same with another bundle and other options.
    fn with(&self, out: PathBuf, overrides: FitOverrides) -> Self {
        Self {
            dataset: self.dataset.clone(),
            out,
            overrides,
            golden: self.golden.clone(),
            devices: self.devices.clone(),
            ..*self
        }
    }
}

/// Fits a detector to normal frames, calibrates, and writes the bundle; where there is a
/// `review_rate`, with the threshold for it. What judges without a VAE is written first; then the
/// VAE is trained, and the bundle written again with it.
///
/// # Errors
/// Frames, checkpoints or folders that can't be used, Ctrl-C, and an export that disagrees with
/// what was trained.
pub fn fit(job: &Job, review_rate: Option<f64>) -> Result<FitReport> {
    let began = Instant::now();
    let overrides = match job.trim {
        Some(share) => trim::overrides(job, share)?,
        None => job.overrides.clone(),
    };
    let job = &job.with(job.out.clone(), overrides);
    let report = with_frames(job, began, |run, checkpoint| {
        let folder = &run.plan.folder;
        let report = |written: &Written, data: &FitData| {
            written.report(&run.plan.dataset.name, data, folder)
        };
        let mut first = None;
        if !job.vae || (checkpoint.is_none() && run.judges_without_vae()) {
            if job.vae {
                resume::forget(folder)?;
            }
            let data = run.data(0);
            let fitting = Instant::now();
            let written = run
                .finished(&data, None)
                .write(&job.out, review_rate, None)?;
            if !job.vae {
                return report(&written, &data);
            }
            job.reporter.line(format_args!(
                "{} judges already, by features alone. Now the VAE is trained, for \
                 reconstructions, explanations and likelihoods",
                job.out.display()
            ));
            first = Some((written.fitted, fitting.elapsed()));
        }
        let network = run.network();
        let (first, fitted_in) = first.unzip();
        let trained = run.train(&network, checkpoint, fitted_in)?;
        let data = run.data(trained.state.step);
        let finished = run.finished(&data, Some(TrainedVae::of(&network, &trained)));
        let written = finished.write(&job.out, review_rate, first);
        let written =
            written.context("training is finished and kept, `--resume` exports it again")?;
        report(&written, &data)
    })?;
    memory::say_peak(report.peak_memory_bytes, job);
    Ok(report)
}

/// Trains on normal frames, and sets what every candidate makes of the synthetic validation set
/// against what it makes of the test frames. Nothing is written but the run's folder.
///
/// # Errors
/// As [`fit`].
pub fn compare(job: &Job) -> Result<Vec<ScoreComparison>> {
    with_frames(job, Instant::now(), |run, checkpoint| {
        let test = &run.plan.dataset.test;
        if !job.vae {
            return run.finished(&run.data(0), None).compare(test);
        }
        let network = run.network();
        let trained = run.train(&network, checkpoint, None)?;
        let data = run.data(trained.state.step);
        let finished = run.finished(&data, Some(TrainedVae::of(&network, &trained)));
        finished.compare(test)
    })
}

/// A run whose frames are in memory.
struct Run<'a> {
    job: &'a Job<'a>,
    began: Instant,
    plan: &'a Plan,
    material: &'a Material<'a>,
    engine: &'a Engine,
    backbone: Option<&'a PretrainedBackbone>,
    /// Frames that looked least normal and were left out.
    trimmed: u32,
}

/// Plans, reads the frames, and does `then` with them and the checkpoint to continue from. The
/// minutes of a budget count from `began`.
fn with_frames<T>(
    job: &Job,
    began: Instant,
    then: impl FnOnce(&Run, Option<Checkpoint>) -> Result<T>,
) -> Result<T> {
    let engine = Engine::open(&EngineOptions {
        backend: Some(BackendKind::Tract),
        ..EngineOptions::default()
    })?;
    let mut plan = plan(job, &engine)?;
    let checkpoint = plan.checkpoint.take();
    let material = load(job, &plan)?;
    if let Some(checkpoint) = &checkpoint
        && checkpoint.state.dataset != material.loaded.digest
    {
        bail!(
            "{}: the checkpoint was trained on other frames than those of {}: resume with the \
             same data set",
            plan.folder.display(),
            plan.dataset.name
        );
    }
    let folder = &plan.folder;
    edge_vae::create_folder(folder)
        .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    let shape = material.input.spec.input_shape();
    let backbone = plan.options.backbone.as_ref();
    let backbone = backbone
        .map(|options| PretrainedBackbone::read(options, shape, &engine))
        .transpose()?;
    let run = Run {
        job,
        began,
        plan: &plan,
        material: &material,
        engine: &engine,
        backbone: backbone.as_ref(),
        trimmed: trim::trimmed(plan.options.exclude.as_deref(), &plan.folder)?,
    };
    then(&run, checkpoint)
}

impl Run<'_> {
    /// The frames, for a VAE that was trained in so many steps.
    fn data(&self, steps: u64) -> FitData<'_> {
        let material = self.material;
        FitData {
            frames: &material.loaded.frames,
            layout: &material.loaded.layout,
            samples: &material.loaded.samples,
            preprocess: &material.input.preprocess,
            mask: material.mask.as_deref(),
            split: &material.parts,
            groups: material.groups.numbers(),
            steps,
            seed: self.plan.options.seed,
            memory: &self.plan.memory,
            interrupted: self.job.interrupted,
            reporter: self.job.reporter,
        }
    }

    /// All that a bundle is made of.
    fn finished<'b>(&'b self, data: &'b FitData, vae: Option<TrainedVae<'b>>) -> Finished<'b> {
        Finished {
            dataset: &self.plan.dataset.name,
            options: &self.plan.options,
            vae,
            began: self.began,
            data,
            pictures: &self.material.loaded.pictures,
            golden: &self.plan.golden,
            backbone: self.backbone,
            engine: self.engine,
            device: &self.job.devices[0],
            trimmed: self.trimmed,
        }
    }

    /// Whether something that `--score` asks for reads nothing of a VAE: features of a pretrained
    /// backbone, or the frames themselves.
    fn judges_without_vae(&self) -> bool {
        let options = &self.plan.options;
        let features: &[Features] = match (&self.backbone, options.preset.detects()) {
            (Some(_), _) => &[Features::Patch, Features::Fine],
            (None, true) => &[],
            (None, false) => &[Features::Frame],
        };
        candidates::judge_without_vae(options.score, features, self.backbone.is_some())
    }

    /// The network to train.
    fn network(&self) -> Network {
        let (options, spec) = (&self.plan.options, self.material.input.spec.clone());
        match options.head {
            Some(_) => Network::with_head(options.preset, spec),
            None => Network::new(options.preset, spec),
        }
    }

    /// Trains it, or continues from a checkpoint. Where the features are fitted already,
    /// `fitted_in` says how long that took.
    fn train(
        &self,
        network: &Network,
        checkpoint: Option<Checkpoint>,
        fitted_in: Option<Duration>,
    ) -> Result<Trained> {
        let (plan, material) = (self.plan, self.material);
        let start = match checkpoint {
            Some(checkpoint) => Start::Resumed(Box::new(Checkpoint {
                state: State {
                    options: plan.options.clone(),
                    ..checkpoint.state
                },
                ..checkpoint
            })),
            None => Start::New(Box::new(State::new(
                plan.options.clone(),
                plan.golden.clone(),
                material.loaded.digest.clone(),
            ))),
        };
        let training = Training {
            network,
            frames: &material.loaded.frames,
            normalise: &material.input.preprocess.normalise,
            train: &material.parts.train,
            validation: &material.parts.validation,
            crop: data::crop(&plan.options),
            began: self.began,
            afterwards: self.seconds_afterwards(fitted_in)?,
            folder: &plan.folder,
            devices: &self.job.devices,
            interrupted: self.job.interrupted,
            reporter: self.job.reporter,
        };
        vae::train(&training, start)
    }

    /// Seconds that what follows training takes, roughly; 0 where that is not known. Where features
    /// were fitted, completing them with the VAE reads the frames no oftener than that did.
    fn seconds_afterwards(&self, fitted_in: Option<Duration>) -> Result<f64> {
        if let Some(duration) = fitted_in {
            return Ok(duration.as_secs_f64());
        }
        let Some(backbone) = self.backbone else {
            return Ok(0.0);
        };
        let material = self.material;
        let prepared = &material.input.preprocess.normalise;
        let pass = backbone.seconds(self.engine, material.input.spec.input_shape(), prepared)?;
        let tiles = material.loaded.layout.tiles().count();
        let groups = material.groups.numbers();
        let params = SelectionParams::default();
        Ok(selection::seconds(
            &material.parts,
            groups,
            tiles,
            pass,
            &params,
        ))
    }
}
