//! Scores out of the JSON lines of `edge-vae score`.
//!
//! Which frames count decides what is guaranteed. The frames that were called normal are those
//! below the old threshold: a sample that ends just where the new threshold belongs. So each frame
//! that was called anomalous must be known to be normal or not.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
};

use anyhow::{Context, bail, ensure};
use edge_vae::runtime::Label;

use super::{NormalFrame, NormalFrames, score_line::ScoreLine};
use crate::cli::{
    frames::without_mark,
    output::SCHEMA_VERSION,
    reporter::{Reporter, count},
};

/// Longest line that is read, in bytes; one of a frame with thousands of regions is far shorter.
const MAX_LINE: u64 = 16 << 20;

/// Most lines of a kind that are named one by one.
const NAMED: usize = 20;

/// Frames that were called anomalous, and that nobody has accepted or rejected.
#[derive(Default)]
struct Unreviewed {
    frames: usize,
    first: String,
}

/// Reads the lines of all files and keeps those of normal frames of this model.
pub(super) fn read(
    files: &[PathBuf],
    model_id: &str,
    all_normal: bool,
    reporter: Reporter,
) -> anyhow::Result<NormalFrames> {
    let mut normal = NormalFrames::default();
    let mut unreviewed = Unreviewed::default();
    for file in files {
        let (name, mut input): (String, Box<dyn BufRead>) = if file.as_os_str() == "-" {
            ("standard input".into(), Box::new(io::stdin().lock()))
        } else {
            let name = file.display().to_string();
            let input = File::open(file).with_context(|| format!("{name}: cannot read"))?;
            (name, Box::new(BufReader::new(input)))
        };
        let mut number = 0;
        while let Some(line) =
            next_line(&mut input).with_context(|| format!("{name}: cannot read"))?
        {
            number += 1;
            let line = if number == 1 {
                without_mark(&line)
            } else {
                &line
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let at = || format!("{name}:{number}");
            match ScoreLine::parse(line, SCHEMA_VERSION) {
                Ok(record) if record.model_id != model_id => normal.other_models += 1,
                Ok(record) => sort(record, &at, all_normal, &mut normal, &mut unreviewed),
                Err(problem) => {
                    normal.unreadable += 1;
                    match normal.unreadable {
                        ..=NAMED => reporter.error(&format_args!("{}: {problem}", at())),
                        found if found == NAMED + 1 => {
                            reporter.error(&"further lines that can't be read are only counted");
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    ensure!(
        unreviewed.frames == 0,
        "{} called anomalous, and the lines do not say whether rightly (the first is {}): \
         add \"accepted\": true to those of normal frames and false to those of defects, or give \
         --all-normal if all frames of these lines were normal; without them the scores would end \
         at the old threshold",
        match unreviewed.frames {
            1 => "1 frame was".to_owned(),
            several => format!("{several} frames were"),
        },
        unreviewed.first
    );
    if normal.frames.is_empty() && normal.unreadable == 0 {
        bail!(
            "no normal frame of {model_id} in the lines: {} of other models, {} invalid, {} not \
             accepted",
            normal.other_models,
            normal.invalid,
            normal.rejected
        );
    }
    if normal.other_models > 0 {
        reporter.note(&format_args!(
            "{} of other models left out",
            count(normal.other_models, "line")
        ));
    }
    Ok(normal)
}

/// The next line without its end; `None` at the end of the input.
fn next_line(input: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line is longer than {MAX_LINE} bytes"),
        ));
    }
    Ok(Some(line))
}

fn sort(
    record: ScoreLine,
    at: &dyn Fn() -> String,
    all_normal: bool,
    normal: &mut NormalFrames,
    unreviewed: &mut Unreviewed,
) {
    let (Some(score), Some(map_maximum)) = (record.pred_score, record.map_max) else {
        normal.invalid += 1;
        return;
    };
    let is_normal = match (record.pred_label, record.accepted) {
        (Label::Invalid, _) => {
            normal.invalid += 1;
            return;
        }
        (_, Some(accepted)) => accepted,
        (Label::Normal, None) => true,
        (Label::Anomalous, None) if all_normal => true,
        (Label::Anomalous, None) => {
            if unreviewed.frames == 0 {
                unreviewed.first = at();
            }
            unreviewed.frames += 1;
            return;
        }
    };
    if is_normal {
        normal.frames.push(NormalFrame {
            path: record.path,
            score,
            map_maximum,
            reference: None,
        });
    } else {
        normal.rejected += 1;
    }
}
