//! `edge-vae engine build`.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use edge_vae::{
    Frame,
    backend::{BackendKind, Device, Engine, EngineOptions, Precision, TensorRtSettings},
    bundle::Bundle,
    runtime::{
        check_sealed,
        tensor_rt::{self, BuildProgress, Comparison, EngineStore},
    },
};

use crate::cli::{
    Outcome,
    flags::find_bundle,
    frames,
    reporter::{Reporter, count},
    trust::inspected,
};

/// Build the TensorRT engine of a model ahead of time, and check its scores.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae engine build --model models/part
  edge-vae engine build --model models/part --precision fp16 --frames good/
  edge-vae engine build --model models/part --precision int8 --dla 0 --frames good/

TensorRT compiles each graph for this GPU, driver and version of TensorRT, which takes minutes.
Afterwards `--device tensorrt` and `--device auto` run on the fastest engine that was built.

Its scores are compared with those of the engine that is built in, on the frames given, else on the
model's golden frame and 18 variants of it: a model holds no other frames. The engine is accepted
where no verdict changes, no p-value changes by more than 0.05, and no score by more than what
would change the rate of false alarms by half, as the calibration's scores lie. Else it does not
run, and the exit code is 2.")]
pub(super) struct BuildFlags {
    /// Folder of the model [default: $EDGE_VAE_MODEL, else models/surface].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// The numbers in which it computes: `fp32`, `fp16` or `int8`.
    #[arg(
        long,
        value_name = "PRECISION",
        default_value = "fp32",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(Precision::ALL.map(Precision::name))
            .try_map(|name| name.parse::<Precision>())
    )]
    precision: Precision,

    /// Build for a deep-learning accelerator of a Jetson, 0 or 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1))]
    dla: Option<u32>,

    /// Normal frames to compare scores on: pictures, folders, globs in quotes.
    #[arg(long, value_name = "FRAMES", num_args = 1..)]
    frames: Vec<PathBuf>,

    /// ONNX Runtime's shared library [default: $ORT_DYLIB_PATH, else the usual places].
    #[arg(long, value_name = "PATH")]
    ort_library: Option<PathBuf>,
}

pub(super) fn run(flags: BuildFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let bundle = inspected(&find_bundle(flags.model)?)?;
    check_sealed(&bundle, Device::TensorRt)?;
    let settings = TensorRtSettings {
        precision: flags.precision,
        dla: flags.dla,
    };
    settings.check()?;
    let options = EngineOptions {
        backend: Some(BackendKind::Ort),
        device: Device::TensorRt,
        ort_library: flags.ort_library,
        tensor_rt: settings,
        ..EngineOptions::default()
    };
    let store = EngineStore::of(&options)?;
    store.check_writable()?;
    let mut tensor_rt = Engine::open(&options)?;
    let mut reference = Engine::open(&EngineOptions::default())?;
    let comparison = comparison(&bundle, &flags.frames, reporter)?;
    let report = Report::start(reporter);
    let built = tensor_rt::build(
        &bundle,
        settings,
        (&mut tensor_rt, &mut reference),
        &comparison,
        &store,
        &mut |progress| report.see(&progress),
    );
    report.finish();
    let built = built?;
    let agreement = &built.agreement;
    reporter.note(&format_args!(
        "{} {settings}: built in {}, {:.2} ms a frame; on {} ({}) scores differ by at most {:.2e} \
         of {:.2e} allowed",
        built.model_id,
        shown(Duration::from_secs_f64(built.seconds)),
        built.milliseconds,
        count(agreement.frames, "frame"),
        agreement.source,
        agreement.largest_difference,
        agreement.tolerance,
    ));
    Ok(match &agreement.refused {
        None => Outcome::Done,
        Some(why) => {
            reporter.error(&format_args!(
                "the engine is not accepted and will not run: {why}; build it with a higher \
                 precision"
            ));
            Outcome::Failed
        }
    })
}

fn comparison(
    bundle: &Bundle,
    arguments: &[PathBuf],
    reporter: Reporter,
) -> anyhow::Result<Comparison> {
    if arguments.is_empty() {
        return Ok(Comparison::of_golden_frame(bundle)?);
    }
    let decode = bundle.manifest().preprocess.decode_options();
    let paths = frames::find(arguments, &[], reporter)?.paths;
    let read = paths
        .iter()
        .map(|path| Frame::open_with(path, &decode).with_context(|| path.display().to_string()));
    Ok(Comparison {
        frames: read.collect::<anyhow::Result<_>>()?,
        source: "given frames".to_owned(),
    })
}

/// Time between lines while a graph is compiled.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Says every few seconds how far it is: a compilation tells nothing itself.
struct Report {
    reporter: Reporter,
    stage: Arc<Mutex<Option<Stage>>>,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// A graph that is compiled.
struct Stage {
    what: String,
    began: Instant,
    estimate: Option<Duration>,
}

impl Stage {
    fn line(&self) -> String {
        let took = self.began.elapsed();
        let left = match self.estimate {
            Some(estimate) if estimate > took => format!("about {} left", shown(estimate - took)),
            Some(_) => "longer than estimated".to_owned(),
            None => "no engine was built here before, so that nothing tells how long".to_owned(),
        };
        format!("{}: {} so far, {left}", self.what, shown(took))
    }
}

impl Report {
    fn start(reporter: Reporter) -> Self {
        let stage = Arc::new(Mutex::new(None::<Stage>));
        let (stop, stopped) = mpsc::channel();
        let seen = Arc::clone(&stage);
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(BETWEEN_LINES) == Err(RecvTimeoutError::Timeout) {
                let stage = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(stage) = &*stage {
                    reporter.note(&stage.line());
                }
            }
        });
        Self {
            reporter,
            stage,
            stop,
            thread,
        }
    }

    fn see(&self, progress: &BuildProgress<'_>) {
        let next = match progress {
            BuildProgress::Graph {
                name,
                number,
                of,
                estimate,
            } => {
                let left = estimate.map_or(String::new(), |estimate| {
                    format!(", about {} left in all", shown(estimate))
                });
                let what = format!("{name}, graph {number} of {of}");
                self.reporter.note(&format_args!("compiles {what}{left}"));
                Some(Stage {
                    what,
                    began: Instant::now(),
                    estimate: *estimate,
                })
            }
            BuildProgress::Calibration { frames } => {
                let frames = count(*frames, "frame");
                self.reporter.note(&format_args!("calibrates on {frames}"));
                None
            }
            BuildProgress::Comparison { frames } => {
                let frames = count(*frames, "frame");
                self.reporter
                    .note(&format_args!("compares scores of {frames}"));
                None
            }
        };
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn finish(self) {
        drop(self.stop);
        // It ends with the channel, and has nothing to tell.
        let _ = self.thread.join();
    }
}

/// `42 s`, `3 min 5 s`.
fn shown(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_estimated_where_it_can_be() {
        let stage = |estimate| Stage {
            what: "encoder.onnx, graph 1 of 3".to_owned(),
            began: Instant::now(),
            estimate,
        };
        assert_eq!(
            stage(Some(Duration::from_millis(185_900))).line(),
            "encoder.onnx, graph 1 of 3: 0 s so far, about 3 min 5 s left"
        );
        assert!(stage(None).line().contains("nothing tells"));
        let late = stage(Some(Duration::ZERO)).line();
        assert!(late.ends_with("longer than estimated"), "{late}");
    }
}
