//! The command line: flags are resolved once into plain option structs, and nothing below sees
//! a flag.

mod calibrate;
mod completions;
mod decode;
mod encode;
mod evaluate;
mod flags;
mod frames;
mod interpolate;
mod interrupt;
mod latents;
mod likelihood;
mod man;
mod messages;
mod model;
mod names;
mod output;
mod progress;
mod reconstruct;
mod sample;
mod score;
mod watch;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

use messages::Voice;

/// Tells whether camera frames are normal, and shows what a model makes of them.
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
  0  it ran
  1  with `score --exit-code`: a frame is anomalous or invalid
  2  something failed; one line on standard error says what";

#[derive(Debug, Subcommand)]
enum Verb {
    Score(Box<score::ScoreFlags>),
    Watch(Box<watch::WatchFlags>),
    Calibrate(Box<calibrate::CalibrateFlags>),
    Evaluate(Box<evaluate::EvaluateFlags>),
    Reconstruct(Box<reconstruct::ReconstructFlags>),
    Encode(Box<encode::EncodeFlags>),
    Decode(Box<decode::DecodeFlags>),
    Sample(Box<sample::SampleFlags>),
    Interpolate(Box<interpolate::InterpolateFlags>),
    Likelihood(Box<likelihood::LikelihoodFlags>),
    Model(model::ModelVerbs),
    Completions(completions::CompletionsFlags),
    Man(man::ManFlags),
}

/// How a verb ended that did not fail as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran.
    Done,
    /// A frame is anomalous or invalid, and that was to be told by the exit code.
    NotNormal,
    /// Something failed, which has been said.
    Failed,
}

/// Reads the command line, does what it says, and turns the result into an exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let voice = Voice::new(cli.quiet);
    match run(cli.verb, voice) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotNormal) => ExitCode::from(1),
        Ok(Outcome::Failed) => ExitCode::from(2),
        Err(error) => {
            voice.error(&messages::one_line(&error));
            ExitCode::from(2)
        }
    }
}

fn run(verb: Verb, voice: Voice) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Score(flags) => score::run(&(*flags).resolve()?, voice),
        Verb::Watch(flags) => watch::run(*flags, voice),
        Verb::Calibrate(flags) => calibrate::run(&(*flags).resolve()?, voice),
        Verb::Evaluate(flags) => evaluate::run(&(*flags).resolve()?, voice),
        Verb::Reconstruct(flags) => reconstruct::run(&(*flags).resolve()?, voice),
        Verb::Encode(flags) => encode::run(&(*flags).resolve()?, voice),
        Verb::Decode(flags) => decode::run(&(*flags).resolve()?, voice),
        Verb::Sample(flags) => sample::run(&(*flags).resolve()?, voice),
        Verb::Interpolate(flags) => interpolate::run(&(*flags).resolve()?, voice),
        Verb::Likelihood(flags) => likelihood::run(&(*flags).resolve()?, voice),
        Verb::Model(verbs) => model::run(verbs, voice),
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
    let asked = asked_for(std::env::args_os().skip(1));
    Voice::new(false).error(&format!("{}; see `{asked} --help`", words.join(" ")));
    ExitCode::from(2)
}

/// The program and the verbs at the head of the arguments, as far as there are such verbs.
fn asked_for(arguments: impl Iterator<Item = OsString>) -> String {
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
    fn the_help_of_the_verb_that_was_asked_for_is_named() {
        let asked = |line: &str| asked_for(line.split(' ').map(OsString::from));
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
            assert_eq!(asked(line), expected);
        }
    }
}
