//! The command line: flags are resolved once into plain option structs, and nothing below sees
//! a flag.

mod adapt;
mod bench;
mod calibrate;
mod completions;
#[cfg(all(feature = "watch", unix))]
mod ctl;
mod decode;
#[cfg(all(feature = "watch", unix))]
mod doctor;
mod encode;
mod engine;
mod evaluate;
mod evidence;
mod flags;
mod frames;
mod interpolate;
mod interrupt;
mod latents;
mod likelihood;
mod log;
mod man;
mod model;
mod model_card;
mod names;
mod output;
mod reconstruct;
mod reporter;
mod sample;
mod score;
mod trust;
#[cfg(all(feature = "watch", unix))]
mod watch;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

use reporter::{Reported, Reporter};

/// Tell whether camera frames are normal, with a known rate of false alarms.
#[derive(Debug, Parser)]
#[command(
    name = "edge-vae",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    /// Print nothing on standard error but errors.
    #[arg(long, short, global = true)]
    quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  with `score --exit-code`: a frame is anomalous or invalid; `doctor`: it can't run here
  2  something failed; standard error says what";

#[derive(Debug, Subcommand)]
enum Verb {
    Score(Box<score::ScoreFlags>),
    #[cfg(all(feature = "watch", unix))]
    Watch(Box<watch::WatchFlags>),
    #[cfg(all(feature = "watch", unix))]
    Ctl(ctl::CtlFlags),
    #[cfg(all(feature = "watch", unix))]
    Doctor(doctor::DoctorFlags),
    Calibrate(Box<calibrate::CalibrateFlags>),
    Adapt(Box<adapt::AdaptFlags>),
    Evaluate(Box<evaluate::EvaluateFlags>),
    Reconstruct(Box<reconstruct::ReconstructFlags>),
    Encode(Box<encode::EncodeFlags>),
    Decode(Box<decode::DecodeFlags>),
    Sample(Box<sample::SampleFlags>),
    Interpolate(Box<interpolate::InterpolateFlags>),
    Likelihood(Box<likelihood::LikelihoodFlags>),
    Bench(Box<bench::BenchFlags>),
    Model(model::ModelVerbs),
    Engine(engine::EngineVerbs),
    Log(log::LogVerbs),
    Completions(completions::CompletionsFlags),
    Man(man::ManFlags),
}

/// How a verb ended that did not fail as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran.
    Done,
    /// A frame is anomalous or invalid, and the exit code is to say so.
    NotNormal,
    /// This machine can't run what it was asked about.
    #[cfg(all(feature = "watch", unix))]
    CannotRun,
    /// Something failed, which was reported.
    Failed,
}

impl Outcome {
    /// How a verb ended that reported and counted what failed, and went on.
    pub(crate) fn after_failures(failed: usize) -> Self {
        if failed > 0 { Self::Failed } else { Self::Done }
    }
}

/// Reads the command line, does what it says, and turns the result into an exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let reporter = Reporter::new(cli.quiet);
    match run(cli.verb, reporter) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotNormal) => ExitCode::from(1),
        #[cfg(all(feature = "watch", unix))]
        Ok(Outcome::CannotRun) => ExitCode::from(1),
        Ok(Outcome::Failed) => ExitCode::from(2),
        Err(error) => {
            if !error.is::<Reported>() {
                reporter.error(&reporter::one_line(&error));
            }
            ExitCode::from(2)
        }
    }
}

fn run(verb: Verb, reporter: Reporter) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Score(flags) => score::run(&(*flags).resolve()?, reporter),
        #[cfg(all(feature = "watch", unix))]
        Verb::Watch(flags) => watch::run(*flags, reporter),
        #[cfg(all(feature = "watch", unix))]
        Verb::Ctl(flags) => ctl::run(flags),
        #[cfg(all(feature = "watch", unix))]
        Verb::Doctor(flags) => doctor::run(&flags),
        Verb::Calibrate(flags) => calibrate::run(&(*flags).resolve()?, reporter),
        Verb::Adapt(flags) => adapt::run(&(*flags).resolve()?, reporter),
        Verb::Evaluate(flags) => evaluate::run(&(*flags).resolve()?, reporter),
        Verb::Reconstruct(flags) => reconstruct::run(&(*flags).resolve()?, reporter),
        Verb::Encode(flags) => encode::run(&(*flags).resolve()?, reporter),
        Verb::Decode(flags) => decode::run(&(*flags).resolve()?, reporter),
        Verb::Sample(flags) => sample::run(&(*flags).resolve()?, reporter),
        Verb::Interpolate(flags) => interpolate::run(&(*flags).resolve()?, reporter),
        Verb::Likelihood(flags) => likelihood::run(&(*flags).resolve()?, reporter),
        Verb::Bench(flags) => bench::run(&flags, reporter),
        Verb::Model(verbs) => model::run(verbs, reporter),
        Verb::Engine(verbs) => engine::run(verbs, reporter),
        Verb::Log(verbs) => log::run(verbs, reporter),
        Verb::Completions(flags) => completions::run(flags, Cli::command()),
        Verb::Man(flags) => man::run(&flags, Cli::command()),
    }
}

/// Help goes out as it is; a wrong command line becomes one line like every other error.
fn usage(error: &clap::Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_help {
        // A closed pipe is no failure of a help text, and nothing else can be said of one.
        let _ = error.print();
        return ExitCode::from(error.exit_code() as u8);
    }
    let text = error.render().to_string();
    let mut words: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Usage:"))
        .filter(|line| !line.starts_with("For more information"))
        .collect();
    if let Some(first) = words.first_mut() {
        *first = first.strip_prefix("error: ").unwrap_or(first);
    }
    let verb = help_for(std::env::args_os().skip(1));
    Reporter::new(false).error(&format!("{}; see `{verb} --help`", words.join(" ")));
    ExitCode::from(2)
}

/// The program and the verbs at the head of the arguments, as far as there are such verbs.
fn help_for(arguments: impl Iterator<Item = OsString>) -> String {
    let mut name = "edge-vae".to_owned();
    let mut command = Cli::command();
    // Flags that may come before a verb take no value.
    for word in arguments.filter(|word| !word.as_encoded_bytes().starts_with(b"-")) {
        let Some(verb) = command.find_subcommand(&word).cloned() else {
            break;
        };
        name.push(' ');
        name.push_str(verb.get_name());
        command = verb;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_the_verb_that_was_help_for_is_named() {
        let found = |line: &str| help_for(line.split(' ').map(OsString::from));
        for (line, expected) in [
            ("score a.png --jsno", "edge-vae score"),
            ("--quiet score", "edge-vae score"),
            (
                "model verify --all-engines --device cuda",
                "edge-vae model verify",
            ),
            ("model verfy", "edge-vae model"),
            ("scroe model", "edge-vae"),
        ] {
            assert_eq!(found(line), expected);
        }
    }
}
