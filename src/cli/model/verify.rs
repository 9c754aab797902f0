//! `edge-vae model verify`.

use clap::Args;
use edge_vae::{
    backend::{BackendKind, Device, Engine},
    bundle::Bundle,
    runtime::{Difference, GoldenCheck},
    trust::{TrustedBundle, VerifiedSignature},
};

use super::FolderFlags;
use crate::cli::{
    Outcome,
    flags::{EngineFlags, EngineRequest},
    output::StandardOutput,
    reporter::{Reporter, one_line},
    trust::TrustFlags,
};

/// Check who signed a model, and that an engine computes what the trainer computed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae model verify models/surface
  edge-vae model verify --all-engines
  edge-vae model verify --backend ort --device cuda

With --require-signature the signatures of model and calibration are verified first, and printed.

Printed is for each array the largest difference from the trainer's values, and the one allowed;
differences are absolute up to 1, relative beyond.")]
pub(super) struct VerifyFlags {
    #[command(flatten)]
    folder: FolderFlags,

    #[command(flatten)]
    trust: TrustFlags,

    #[command(flatten)]
    engine: EngineFlags,

    /// Verify on tract, and on ONNX Runtime where its library is found.
    #[arg(long, conflicts_with_all = ["backend", "device"])]
    all_engines: bool,
}

pub(super) fn run(flags: VerifyFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let trusted = flags
        .trust
        .resolve()
        .inspect(&flags.folder.find()?, reporter)?;
    let bundle = &trusted.bundle;
    let choice = flags.engine.resolve();
    let choices = if flags.all_engines {
        every_engine(choice, reporter)
    } else {
        vec![choice]
    };
    let mut out = StandardOutput::new();
    print_signatures(&mut out, &trusted)?;
    let mut agree = true;
    for choice in choices {
        let threads = choice.threads.unwrap_or(1);
        // With one engine its failure is the verb's; of several, each is reported.
        let check = choice
            .open(bundle, threads, reporter)
            .and_then(|engine: Engine| Ok(GoldenCheck::run(bundle, &engine)?));
        match check {
            Ok(check) => {
                print(&mut out, bundle, &check)?;
                if !check.agrees() {
                    agree = false;
                    reporter.error(&format_args!(
                        "{}: {} disagrees with the trainer on the golden frame; \
                         use another --backend or --device",
                        bundle.path().display(),
                        check.engine
                    ));
                }
            }
            Err(error) if flags.all_engines => {
                agree = false;
                reporter.error(&one_line(&error));
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

/// Who signed what, where a signature is required.
fn print_signatures(out: &mut StandardOutput, trusted: &TrustedBundle) -> anyhow::Result<()> {
    let parts = [
        ("model", trusted.model.as_ref()),
        ("calibration", trusted.calibration.as_ref()),
    ];
    for (what, signed) in parts {
        let Some(VerifiedSignature { content, key }) = signed else {
            continue;
        };
        let annotations = &content.annotations;
        let version = annotations
            .version
            .map(|version| format!(", version {version}"));
        let expires = annotations.expires.as_ref();
        let expires = expires.map(|date| format!(", until {date}"));
        out.line(format_args!(
            "{what}: signed by {key}{}{}",
            version.unwrap_or_default(),
            expires.unwrap_or_default()
        ))?;
    }
    Ok(())
}

fn every_engine(choice: EngineRequest, reporter: Reporter) -> Vec<EngineRequest> {
    let tract = EngineRequest {
        backend: Some(BackendKind::Tract),
        device: Device::Cpu,
        ort_library: None,
        threads: choice.threads,
    };
    if choice.ort_library.is_none() && !finds_ort() {
        reporter.note(
            &"ONNX Runtime is not verified: no library was found; name one with --ort-library",
        );
        return vec![tract];
    }
    let ort = EngineRequest {
        backend: Some(BackendKind::Ort),
        ..choice
    };
    vec![tract, ort]
}

#[cfg(feature = "ort")]
fn finds_ort() -> bool {
    edge_vae::backend::find_ort_library().is_some()
}

#[cfg(not(feature = "ort"))]
fn finds_ort() -> bool {
    false
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
