//! `edge-vae log verify`.

use std::path::PathBuf;

use clap::Args;
use edge_vae::{
    evidence::{self, EvidenceCheck, EvidenceReport},
    trust::PublicKey,
};
use serde::Serialize;

use crate::cli::{
    Outcome,
    output::{SCHEMA_VERSION, StandardOutput},
    reporter::{Reporter, count},
};

/// Tell whether a log of verdicts is whole.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae score frames/ --evidence day.evidence --evidence-key line-3.key
  edge-vae log verify day.evidence --key line-3.pub
  edge-vae log verify day.evidence --head 5c1f…
  edge-vae log verify evidence/ --after 5c1f…

A full file of the log is called like it, with the number of its first line behind: line-3.evidence
and line-3.evidence.000000250000 are verified together. A folder is the one log that is in it.

Found are lines that were removed, changed, inserted, moved or cut off. Each line holds the SHA-256
of the line before, so whoever writes a whole new log is found only by --key (every signature is by
this key, and the last line is signed) or by --head, the digest of the last line, kept elsewhere.

Exit codes: 0 the log is whole; 2 it is not, or something failed.")]
pub(super) struct VerifyFlags {
    /// The log, or the folder that it is in.
    #[arg(value_name = "LOG")]
    log: PathBuf,

    /// The public key (PEM) that the log must be signed by; may be given several times.
    #[arg(long, value_name = "KEY")]
    key: Vec<PathBuf>,

    /// The digest that the last line must have, as an earlier `log verify` printed it.
    #[arg(long, value_name = "SHA256")]
    head: Option<String>,

    /// The digest of the line before the first one, where older files are kept elsewhere: the head
    /// that `log verify` printed of these.
    #[arg(long, value_name = "SHA256")]
    after: Option<String>,

    /// The log is still written: it need not be closed.
    #[arg(long)]
    running: bool,

    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    log: String,
    whole: bool,
    lines: u64,
    verdicts: u64,
    lost: u64,
    signatures: u64,
    head: &'a str,
    faults: &'a [String],
    notices: &'a [String],
}

pub(super) fn run(flags: &VerifyFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let keys: Result<Vec<_>, _> = flags.key.iter().map(|path| PublicKey::read(path)).collect();
    let asked = EvidenceCheck {
        keys: &keys?,
        running: flags.running,
        after: flags.after.as_deref(),
    };
    let mut report = evidence::verify(&flags.log, asked, |_| {})?;
    if let Some(head) = &flags.head
        && *head != report.head
    {
        report.faults.push(format!(
            "the last line has the digest {}, expected {head}: lines are missing, or it is another \
             log",
            report.head
        ));
    }
    print(flags, &report)?;
    let shown = flags.log.display();
    for notice in &report.notices {
        reporter.note(&format_args!("{shown}: {notice}"));
    }
    for fault in &report.faults {
        reporter.error(&format_args!("{shown}: {fault}"));
    }
    if report.more_faults > 0 {
        let more = report.more_faults;
        reporter.error(&format_args!("{shown}: and {more} faults more"));
    }
    Ok(match report.is_whole() {
        true => Outcome::Done,
        false => Outcome::Failed,
    })
}

fn print(flags: &VerifyFlags, report: &EvidenceReport) -> anyhow::Result<()> {
    let mut out = StandardOutput::new();
    if flags.json {
        out.json(&Record {
            schema_version: SCHEMA_VERSION,
            log: flags.log.display().to_string(),
            whole: report.is_whole(),
            lines: report.lines,
            verdicts: report.verdicts,
            lost: report.lost,
            signatures: report.signatures,
            head: &report.head,
            faults: &report.faults,
            notices: &report.notices,
        })?;
    } else {
        let lost = match report.lost {
            0 => String::new(),
            lost => format!(", {lost} could not be written"),
        };
        out.line(format_args!(
            "{}: {}, {}{lost}, {} verified, head {}: {}",
            flags.log.display(),
            count(report.lines as usize, "line"),
            count(report.verdicts as usize, "verdict"),
            count(report.signatures as usize, "signature"),
            report.head,
            match report.is_whole() {
                true => "whole",
                false => "NOT whole",
            }
        ))?;
    }
    out.finish()
}
