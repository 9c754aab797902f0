//! `watch --check` and `watch --print-pipeline`: what would run.

use edge_vae::stream::{
    Configuration, Policy,
    source::{self, SourceUri},
};

use super::super::{Outcome, output::StandardOutput, reporter::Reporter};
use super::{
    WatchFlags,
    plan::{Purpose, open_detector},
};

/// Checks all that can be checked without opening a source or a sink, and prints it.
pub(super) fn check(
    flags: &WatchFlags,
    configuration: &Configuration,
    reporter: Reporter,
) -> anyhow::Result<Outcome> {
    let options = configuration.options()?;
    let sources = configuration.sources()?;
    configuration.check_sinks()?;
    if let Some(control) = &configuration.control {
        control.check()?;
    }
    let (detector, _) = open_detector(flags, configuration, Purpose::Check, reporter)?;
    let mut out = StandardOutput::new();
    out.line(format_args!(
        "model        {} on {}",
        detector.model_id(),
        detector.description()
    ))?;
    let calibration = detector.calibration();
    out.line(format_args!("guarantee    {}", calibration.statement()))?;
    for (source, entry) in sources.iter().zip(&configuration.sources) {
        let uri: SourceUri = entry.uri.parse()?;
        let live = uri.is_live(&uri.resolve(&entry.settings)?);
        let policy = source.policy.unwrap_or(Policy::default_for(live));
        out.line(format_args!("source       {}: {uri}", source.name))?;
        out.line(format_args!(
            "             {}; where frames come too fast, {policy}",
            if live { "live" } else { "not live" }
        ))?;
        for statement in source.monitoring.statements(calibration, live)? {
            out.line(format_args!("             {statement}"))?;
        }
    }
    for sink in configuration.sink_names() {
        out.line(format_args!("sink         {sink}"))?;
    }
    if let Some(control) = &configuration.control {
        out.line(format_args!("control      {control}"))?;
    }
    let retries = match options.retries {
        Some(retries) => format!("given up after {retries} attempts"),
        None => "tried for ever".to_owned(),
    };
    out.line(format_args!("lost source  {retries}"))?;
    out.line(format_args!(
        "late         a verdict later than {:?} after its frame",
        options.deadline
    ))?;
    if let Some(frames) = options.frames {
        out.line(format_args!("ends         after {frames} judged frames"))?;
    }
    if let Some(duration) = options.duration {
        out.line(format_args!("ends         after {duration:?}"))?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}

/// Prints the command of each source that is read by a child process.
pub(super) fn print_pipelines(configuration: &Configuration) -> anyhow::Result<Outcome> {
    let mut out = StandardOutput::new();
    for entry in &configuration.sources {
        let uri: SourceUri = entry.uri.parse()?;
        match source::pipeline(&uri, &entry.settings)? {
            Some(command) => out.line(format_args!("{command}"))?,
            None => out.line(format_args!("# {uri}: read without a child process"))?,
        }
    }
    out.finish()?;
    Ok(Outcome::Done)
}
