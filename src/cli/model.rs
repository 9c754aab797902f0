//! `edge-vae model info` and `edge-vae model verify`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use edge_vae::{
    backend::{BackendKind, Device, Engine, find_ort_library},
    bundle::{Bundle, Manifest},
    preprocess::Colour,
    runtime::{Difference, GoldenCheck},
    scoring::{Aggregation, ImageScore, MapScore, ScoreSource},
    vae::{Latent, Likelihood},
};
use serde::Serialize;

use super::{
    Outcome,
    flags::{EngineChoice, EngineFlags, find_bundle},
    messages::{Voice, one_line},
    output::StandardOutput,
};

/// Show or verify a model.
#[derive(Args, Debug)]
pub(crate) struct ModelVerbs {
    #[command(subcommand)]
    verb: ModelVerb,
}

#[derive(Debug, Subcommand)]
enum ModelVerb {
    Info(InfoFlags),
    Verify(VerifyFlags),
}

/// Where the model is: by itself, or behind `--model` as the other verbs have it.
#[derive(Args, Debug)]
struct PlaceFlags {
    /// Folder of the model [default: $EDGE_VAE_MODEL, else models/surface].
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// The same.
    #[arg(long, value_name = "DIR", conflicts_with = "folder")]
    model: Option<PathBuf>,
}

impl PlaceFlags {
    fn find(self) -> anyhow::Result<PathBuf> {
        find_bundle(self.folder.or(self.model))
    }
}

/// Show what a model is: shapes, training, calibration, files.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae model info models/surface
  edge-vae model info --json | jq .card

The schema_version in the JSON is that of the manifest. Sizes and digests of all files are checked; the graphs are not run (see `model verify`).")]
struct InfoFlags {
    #[command(flatten)]
    place: PlaceFlags,

    /// Print the manifest and what follows from it as JSON.
    #[arg(long)]
    json: bool,
}

/// Prove that an engine computes for the golden frame what the trainer saw.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae model verify models/surface
  edge-vae model verify --all-engines
  edge-vae model verify --backend ort --device cuda

For each array: the largest difference (absolute up to 1, relative beyond) and the one allowed.")]
struct VerifyFlags {
    #[command(flatten)]
    place: PlaceFlags,

    #[command(flatten)]
    engine: EngineFlags,

    /// Verify on tract, and on ONNX Runtime where its library is found.
    #[arg(long, conflicts_with_all = ["backend", "device"])]
    all_engines: bool,
}

pub(crate) fn run(verbs: ModelVerbs, voice: Voice) -> anyhow::Result<Outcome> {
    match verbs.verb {
        ModelVerb::Info(flags) => {
            let bundle = Bundle::open(&flags.place.find()?)?;
            info(&bundle, flags.json)
        }
        ModelVerb::Verify(flags) => {
            let bundle = Bundle::open(&flags.place.find()?)?;
            verify(&bundle, &flags.engine.resolve(), flags.all_engines, voice)
        }
    }
}

/// The JSON of `model info`: the manifest, and what follows from it.
#[derive(Serialize)]
struct InfoRecord<'a> {
    path: String,
    bytes: u64,
    input_shape: [usize; 3],
    latent_shape: Vec<usize>,
    calibration_statement: Option<String>,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

fn info(bundle: &Bundle, json: bool) -> anyhow::Result<Outcome> {
    let manifest = bundle.manifest();
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    let statement = manifest
        .calibration
        .as_ref()
        .map(|calibration| calibration.statement());
    let mut out = StandardOutput::new();
    if json {
        out.json(&InfoRecord {
            path: bundle.path().display().to_string(),
            bytes,
            input_shape: manifest.vae.input_shape(),
            latent_shape: manifest.vae.latent.shape(),
            calibration_statement: statement,
            manifest,
        })?;
        out.finish()?;
        return Ok(Outcome::Done);
    }
    let mut row = |name: &str, value: &str| out.line(format_args!("{name:<12} {value}"));
    let card = &manifest.card;
    row("model", &manifest.model_id)?;
    row("folder", &bundle.path().display().to_string())?;
    row("input", &input(manifest))?;
    row("latent", &latent(manifest.vae.latent))?;
    row("likelihood", &likelihood(manifest.vae.likelihood))?;
    match &manifest.scoring {
        Some(scoring) => {
            row("score", &score(&scoring.image))?;
            row("map", &map(&scoring.map))?;
        }
        None => row(
            "scoring",
            "none: the model encodes, reconstructs and samples, and judges nothing",
        )?,
    }
    row(
        "calibration",
        statement
            .as_deref()
            .unwrap_or("none, so there is no threshold"),
    )?;
    if let Some(calibration) = &manifest.calibration {
        row(
            "threshold",
            &format!(
                "{:.4} for scores, {:.4} for regions of the anomaly map",
                calibration.threshold, calibration.map_threshold
            ),
        )?;
        let when = calibration.date.as_deref().unwrap_or("with the training");
        let of_groups = match (calibration.groups(), calibration.folds) {
            (Some(groups), _) => format!(" of {groups} groups"),
            (None, Some(folds)) => format!(" in {folds} folds"),
            (None, None) => String::new(),
        };
        row(
            "calibrated",
            &format!(
                "{when}, on {} frames{of_groups}, for a false-alarm rate of {}",
                calibration.scores.len(),
                calibration.false_alarm_rate
            ),
        )?;
    }
    row(
        "trained on",
        &format!(
            "{}: {} frames, and {} for validation, {} held out",
            card.dataset, card.train_frames, card.validation_frames, card.calibration_frames
        ),
    )?;
    row(
        "training",
        &format!(
            "preset {}, seed {}, {} steps in {:.0} s, by {}",
            card.preset, card.seed, card.steps, card.seconds, card.trainer
        ),
    )?;
    row("parameters", &card.parameters.to_string())?;
    for (name, figure) in &card.figures {
        row("figure", &format!("{name} = {figure}"))?;
    }
    row("size", &format!("{bytes} bytes"))?;
    for (name, file) in &manifest.files {
        row(
            "file",
            &format!("{name}: {} bytes, SHA-256 {}", file.bytes, file.sha256),
        )?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}

fn input(manifest: &Manifest) -> String {
    let settings = &manifest.preprocess;
    let colour = match settings.colour {
        Colour::Grey => "grey",
        Colour::Rgb => "RGB",
    };
    let crop = settings.crop.map_or_else(String::new, |crop| {
        format!(
            ", of the frame's part {}-{} × {}-{}",
            crop.left, crop.right, crop.top, crop.bottom
        )
    });
    let mask = settings.mask.as_ref().map_or("", |_| ", masked");
    let tiles = settings.tiles.map_or_else(String::new, |tiles| {
        format!(
            ", tiles of a canvas of {}×{} pixels",
            tiles.width, tiles.height
        )
    });
    let exposure = settings.exposure.map_or_else(String::new, |exposure| {
        format!(", median brightness brought to {}", exposure.target)
    });
    let contrast = settings.contrast.map_or_else(String::new, |contrast| {
        format!(", local contrast brought to {}", contrast.target)
    });
    format!(
        "{}×{} pixels, {colour}{crop}{mask}{tiles}{exposure}{contrast}",
        settings.width, settings.height
    )
}

fn latent(latent: Latent) -> String {
    match latent {
        Latent::Vector { length } => format!("vector of {length}"),
        Latent::Map {
            channels,
            height,
            width,
        } => format!(
            "map of {channels}×{height}×{width}, {} dimensions",
            latent.dimensions()
        ),
    }
}

fn score(image: &ImageScore) -> String {
    let what = match image.aggregation {
        Aggregation::Maximum => "strangest place".to_owned(),
        Aggregation::TopFraction { fraction } => {
            format!("mean of the strangest {} %", (1e4 * fraction).round() / 1e2)
        }
        Aggregation::Total => "sum".to_owned(),
    };
    format!("{what} of {}", sources(&image.sources, image.standardised))
}

fn map(map: &MapScore) -> String {
    sources(&map.sources, map.standardised)
}

fn sources(sources: &[ScoreSource], standardised: bool) -> String {
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    let unit = if standardised {
        ", in standard deviations of normal frames at each position"
    } else {
        ""
    };
    format!("{}{unit}", names.join(" + "))
}

fn likelihood(likelihood: Likelihood) -> String {
    match likelihood {
        Likelihood::Bernoulli => "Bernoulli".to_owned(),
        Likelihood::Gaussian { sigma } => {
            format!("Gaussian with standard deviation {sigma}")
        }
        Likelihood::GaussianLearned => "Gaussian with learned variance".to_owned(),
    }
}

fn verify(
    bundle: &Bundle,
    choice: &EngineChoice,
    all: bool,
    voice: Voice,
) -> anyhow::Result<Outcome> {
    let mut out = StandardOutput::new();
    let choices = if all {
        every_engine(choice, voice)
    } else {
        vec![choice.clone()]
    };
    let mut agree = true;
    for choice in choices {
        let threads = choice.threads.unwrap_or(1);
        // With one engine its failure is the verb's; of several, each is told.
        let check = choice
            .open(threads, voice)
            .and_then(|engine: Engine| Ok(GoldenCheck::run(bundle, &engine)?));
        match check {
            Ok(check) => {
                print(&mut out, bundle, &check)?;
                if !check.agrees() {
                    agree = false;
                    voice.error(&format_args!(
                        "{}: {} disagrees with the trainer on the golden frame; use another --backend or --device",
                        bundle.path().display(),
                        check.engine
                    ));
                }
            }
            Err(error) if all => {
                agree = false;
                voice.error(&one_line(&error));
            }
            Err(error) => return Err(error),
        }
    }
    out.finish()?;
    Ok(if agree {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

fn every_engine(choice: &EngineChoice, voice: Voice) -> Vec<EngineChoice> {
    let mut choices = vec![EngineChoice {
        backend: Some(BackendKind::Tract),
        device: Device::Cpu,
        ort_library: None,
        threads: choice.threads,
    }];
    if choice.ort_library.is_some() || find_ort_library().is_some() {
        choices.push(EngineChoice {
            backend: Some(BackendKind::Ort),
            ..choice.clone()
        });
    } else {
        voice.note(
            &"ONNX Runtime is not verified: no library was found; name one with --ort-library",
        );
    }
    choices
}

fn print(out: &mut StandardOutput, bundle: &Bundle, check: &GoldenCheck) -> anyhow::Result<()> {
    let says = if check.agrees() {
        "agrees"
    } else {
        "disagrees"
    };
    out.line(format_args!(
        "{}  {}  {says} on the golden frame",
        bundle.model_id(),
        check.engine
    ))?;
    for difference @ Difference {
        array,
        largest,
        tolerance,
    } in &check.differences
    {
        let mark = if difference.agrees() { "" } else { "  differs" };
        out.line(format_args!(
            "  {array:<28} {largest:>10.2e}  allowed {tolerance:.0e}{mark}"
        ))?;
    }
    Ok(())
}
