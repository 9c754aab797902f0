//! The engine of a bundle where the options leave a choice: the fastest on the golden frame.

mod measure;
mod record;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    golden_check::Checked,
    load::check_sealed,
    tensor_rt::{EngineState, EngineStore},
};
use crate::{
    Error,
    backend::{BackendError, Candidates, Device, Engine, EngineOptions, TensorRtSettings},
    bundle::Bundle,
    model::ExecutionPlan,
};

use measure::{Contender, measure};
pub use record::MeasuredEngines;
use record::Record;

/// How engines are measured.
#[derive(Clone, Copy, Debug)]
struct MeasuringParams {
    /// Time for all of them. An engine that is being opened is waited for, but after the first two
    /// none is opened later than that, and each runs once more at least. The start of a program
    /// should not look like a hang.
    budget: Duration,
    /// Runs of each after the first, of which the fastest counts: other work on the machine can
    /// only add time, and one of so many is mostly undisturbed.
    rounds: usize,
}

impl Default for MeasuringParams {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(2),
            rounds: 15,
        }
    }
}

/// How an engine did on the golden frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineTrial {
    /// Engine and device: `tract 0.23.9 on cpu`.
    pub engine: String,
    /// Milliseconds for the graphs of a frame that a verdict needs; absent where it was not
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
    /// Why it can't be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl fmt::Display for EngineTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, .. } = self;
        match (&self.problem, self.milliseconds) {
            (Some(problem), _) => write!(f, "{engine} is left out: {problem}"),
            (None, Some(milliseconds)) => write!(f, "{engine} takes {}", shown(milliseconds)),
            (None, None) => write!(f, "{engine} was not measured"),
        }
    }
}

/// `3.1 ms`, `0.042 ms`.
fn shown(milliseconds: f64) -> String {
    if milliseconds < 1.0 {
        format!("{milliseconds:.3} ms")
    } else {
        format!("{milliseconds:.1} ms")
    }
}

/// The engine of a bundle, and what it was chosen from.
#[derive(Debug)]
pub struct EngineChoice {
    /// The chosen one; its notices say why.
    pub engine: Engine,
    /// What was measured, now or before; a single engine is not.
    pub trials: Vec<EngineTrial>,
    /// Whether TensorRT was asked for and has yet to compile the graphs, which takes minutes.
    pub compiles: bool,
}

impl EngineChoice {
    /// Opens what `options` ask for. What they leave open (`Device::Auto`, a CPU without a back
    /// end) is chosen: each engine that could run computes the bundle's golden frame, and the
    /// fastest of those that compute what the trainer saw is taken. That takes 2 s at most, plus
    /// what the last engine takes to open, and is kept in [`EngineOptions::cache_folder`] for this
    /// bundle and machine. Where no ONNX Runtime is found there is nothing to measure.
    ///
    /// # Errors
    /// Those of [`Engine::open`] for what was asked for, or where no engine can be opened.
    pub fn open(bundle: &Bundle, options: &EngineOptions) -> Result<Self, Error> {
        let mut found = options.candidates();
        let has_cuda = |found: &Candidates| {
            let mut devices = found.options.iter().map(|found| found.device);
            devices.any(|device| device == Device::Cuda)
        };
        if options.device == Device::Auto
            && has_cuda(&found)
            && EngineStore::of(options).is_ok_and(|store| store.knows(bundle))
        {
            let tensor_rt = found.options.last().map(|cuda| EngineOptions {
                device: Device::TensorRt,
                ..cuda.clone()
            });
            found.options.extend(tensor_rt);
        }
        let mut choice = match &found.options[..] {
            [single] if single.device == Device::TensorRt => {
                let (engine, compiles) = on_tensor_rt(bundle, single)?;
                Self {
                    compiles,
                    ..Self::of(engine, Vec::new())
                }
            }
            [single] => Self::of(Engine::open(single)?, Vec::new()),
            several => Self::of_several(bundle, several)?,
        };
        for notice in found.notices {
            choice.engine.notice(notice);
        }
        if options.leave_a_choice() {
            let reason = choice.reason();
            choice.engine.notice(reason);
        }
        Ok(choice)
    }

    fn of(engine: Engine, trials: Vec<EngineTrial>) -> Self {
        Self {
            engine,
            trials,
            compiles: false,
        }
    }

    fn of_several(bundle: &Bundle, candidates: &[EngineOptions]) -> Result<Self, Error> {
        let record = Record::of(bundle, candidates);
        if let Some(trials) = record.read()
            && let Some(best) = fastest(&trials)
            // A GPU that is gone since then is measured anew, without it.
            && let Ok(engine) = open(bundle, &candidates[best])
        {
            return Ok(Self::of(engine, trials));
        }
        let params = MeasuringParams::default();
        let (trials, complete) = measure(candidates, &params, |options| {
            GoldenRun::open(bundle, options)
        });
        let Some(best) = fastest(&trials) else {
            // What is wrong with all of them is wrong with the bundle: whoever opens it on the
            // first is told.
            let engine = open(bundle, &candidates[0])?;
            return Ok(Self::of(engine, trials));
        };
        let mut engine = open(bundle, &candidates[best])?;
        // One that was not tried gets its turn at the next start.
        if complete && let Err(problem) = record.write(&trials) {
            engine.notice(format!(
                "engines are measured at every start, since the times cannot be kept: {problem}"
            ));
        }
        Ok(Self::of(engine, trials))
    }

    /// Which engine runs, and what the others take.
    fn reason(&self) -> String {
        let engine = self.engine.description();
        let best = fastest(&self.trials).and_then(|best| self.trials.get(best));
        let mut reason = format!("runs on {engine}");
        if let Some(milliseconds) = best.and_then(|best| best.milliseconds) {
            reason += &format!(", {} a frame", shown(milliseconds));
        }
        for other in self.trials.iter().filter(|trial| Some(*trial) != best) {
            reason += &format!("; {other}");
        }
        reason
    }
}

impl Engine {
    /// The engine for a bundle: what `options` ask for, and where they leave a choice the fastest.
    /// See [`EngineChoice::open`].
    ///
    /// # Errors
    /// Those of [`EngineChoice::open`].
    pub fn for_bundle(bundle: &Bundle, options: &EngineOptions) -> Result<Self, Error> {
        Ok(EngineChoice::open(bundle, options)?.engine)
    }
}

/// A candidate; TensorRT is one where it was built, and then only so.
fn open(bundle: &Bundle, options: &EngineOptions) -> Result<Engine, Error> {
    if options.device != Device::TensorRt {
        return Ok(Engine::open(options)?);
    }
    match on_tensor_rt(bundle, options)? {
        (engine, false) => Ok(engine),
        (engine, true) => Err(BackendError::EngineNotBuilt {
            message: engine.notices().join("; "),
        }
        .into()),
    }
}

/// TensorRT on the fastest engine that was built for the bundle and accepted; without one it has to
/// compile the graphs when they are loaded, as the options say, and the second value is true.
fn on_tensor_rt(bundle: &Bundle, options: &EngineOptions) -> Result<(Engine, bool), Error> {
    check_sealed(bundle, Device::TensorRt)?;
    let mut engine = Engine::open(options)?;
    let store = EngineStore::of(options)?;
    let machine = engine.tensor_rt_identity().cloned().unwrap_or_default();
    let Some(built) = store.fastest(bundle, &machine) else {
        let state = match store.state(bundle, options.tensor_rt, &machine) {
            EngineState::Stale(change) => format!("was built for something else ({change})"),
            EngineState::Refused(why) => format!("was not accepted ({why})"),
            EngineState::Absent | EngineState::Ready(_) => "was not built yet".to_owned(),
        };
        engine.notice(format!(
            "the TensorRT engine of {} {state}; to build it takes minutes, and `edge-vae engine \
             build` does it ahead of time",
            bundle.model_id()
        ));
        return Ok((engine, true));
    };
    if built.settings() != options.tensor_rt {
        engine = Engine::open(&EngineOptions {
            tensor_rt: built.settings(),
            ..options.clone()
        })?;
    }
    if built.settings() != TensorRtSettings::default() {
        engine.accept_scores_within(built.agreement.tolerance);
    }
    Ok((engine, false))
}

/// The fastest of those that can be used; one that is alone needs no time.
fn fastest(trials: &[EngineTrial]) -> Option<usize> {
    let usable = trials.iter().enumerate();
    usable
        .filter(|(_, trial)| trial.problem.is_none())
        .min_by(|(_, a), (_, b)| {
            let time = |trial: &EngineTrial| trial.milliseconds.unwrap_or(f64::INFINITY);
            time(a).total_cmp(&time(b))
        })
        .map(|(place, _)| place)
}

/// A bundle on an engine that reproduced the golden frame.
struct GoldenRun {
    checked: Checked,
    plan: ExecutionPlan,
    engine: String,
}

impl GoldenRun {
    fn open(bundle: &Bundle, options: &EngineOptions) -> Result<Self, String> {
        let opened = || -> Result<Self, Error> {
            let engine = open(bundle, options)?;
            let checked = Checked::verified(bundle, &engine)?;
            let plan = match &checked.scorer {
                Some(scorer) => checked.session.plan_for(&scorer.scored_tensors()),
                None => checked.session.full_plan(),
            };
            Ok(Self {
                engine: engine.description(),
                checked,
                plan,
            })
        };
        opened().map_err(|error| error.to_string())
    }
}

impl Contender for GoldenRun {
    fn engine(&self) -> String {
        self.engine.clone()
    }

    fn run(&mut self) -> Result<Duration, String> {
        let session = &mut self.checked.session;
        // Of the golden frame, which the check has prepared.
        let ran = session.run_plan(&self.plan, |_, _| Ok(()));
        let (_, stages) = ran.map_err(|error| error.to_string())?;
        Ok(stages.total())
    }
}
