//! The command line: flags are resolved once into plain option structs, and nothing below sees
//! a flag.

mod completions;
mod decode;
mod encode;
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
mod pictures;
mod reconstruct;
mod sample;
mod score;

use std::{io, process::ExitCode};

use clap::{
    CommandFactory, Parser, Subcommand,
    error::{ContextKind, ErrorKind},
};

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
  1  with `score --exit-code`: a frame is anomalous
  2  something failed; one line on standard error says what";

#[derive(Debug, Subcommand)]
enum Verb {
    Score(Box<score::ScoreFlags>),
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
    /// A frame is anomalous, and that was to be told by the exit code.
    Anomalous,
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
        Ok(Outcome::Anomalous) => ExitCode::from(1),
        Ok(Outcome::Failed) => ExitCode::from(2),
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            voice.error(&messages::one_line(&error));
            ExitCode::from(2)
        }
    }
}

fn run(verb: Verb, voice: Voice) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Score(flags) => score::run(&(*flags).resolve()?, voice),
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

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    })
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
    let verb = match error.get(ContextKind::InvalidSubcommand) {
        Some(_) => String::new(),
        None => std::env::args()
            .nth(1)
            .filter(|word| {
                Cli::command()
                    .get_subcommands()
                    .any(|verb| verb.get_name() == word)
            })
            .map_or_else(String::new, |verb| format!(" {verb}")),
    };
    Voice::new(false).error(&format!("{}; see `edge-vae{verb} --help`", words.join(" ")));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
