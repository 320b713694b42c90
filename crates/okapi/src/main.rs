//! The command `okapi`.
//!
//! [`cli`] is the list of commands, [`command`] has a file for each. A command runs with a [`session::Session`]: the
//! flags of all commands ([`global`]), the settings of this machine's node ([`settings`]), connections, and the
//! [`view`] it shows its results on. What it can be about: [`place`] (grids, records, blocks), [`span`] (parts of
//! them), [`size`] (amounts), [`passphrase`] (what people type unseen), [`ask`] (what they are asked), [`standing`] (how a node stands
//! in its group), [`disk`] (how much room there is). [`transfer`] moves bytes, [`chart`] draws maps, [`words`] and [`completion`] serve the
//! shell, [`failure`] is how it ends badly.

mod ask;
mod chart;
mod cli;
mod command;
mod completion;
mod disk;
mod failure;
mod global;
mod interrupt;
mod passphrase;
mod place;
mod qr;
mod session;
mod settings;
mod size;
mod span;
mod standing;
mod transfer;
mod view;
mod words;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
use failure::{Exit, Failure};
use serde_json::json;
use session::Session;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use view::{Color, Tone, View};

fn main() -> ExitCode {
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return wrong_usage(&error),
    };
    let cli = match cli::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let cli::Cli { global, command } = cli;
    let (json, color) = (global.json, global.color);
    let serves = command.serves();
    log_to_stderr(global.verbose, serves, color);
    let (_, inner) = matches.subcommand().expect("clap demands a command");
    let view = View::stdout(json, global.quiet, color);
    match command.run(Session::new(global, view), inner) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell_failure(&failure, json, color);
            exit_code(&failure)
        }
    }
}

fn exit_code(failure: &Failure) -> ExitCode {
    // Nobody reads on: that is how `| head` ends, and it is no failure.
    if failure.kind == "broken-pipe" { ExitCode::SUCCESS } else { ExitCode::from(failure.exit as u8) }
}

/// Says on standard error why a command failed.
fn tell_failure(failure: &Failure, json: bool, color: Color) {
    if failure.message.is_empty() {
        return;
    }
    let text = if json {
        json!({"error": {"kind": failure.kind, "message": failure.message}}).to_string()
    } else {
        let error = "error:";
        let colored = view::wanted(color, io::stderr().is_terminal());
        let error = if colored { view::paint(Tone::Bad, error) } else { error.to_owned() };
        format!("{error} {}", failure.message)
    };
    // If standard error is gone too, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Help and versions end here too: clap has them for errors.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|word| word == "--json");
    if json && error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        tell_failure(&cli::usage_failure(error), true, Color::Never);
    } else {
        // A reader that is gone needs no help.
        let _ = error.print();
    }
    if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
}

/// What happens inside goes to standard error: for whoever serves what wants attention, for other commands nothing, unless
/// `-v` or OKAPI_LOG ask for more.
fn log_to_stderr(verbose: u8, serves: bool, color: Color) {
    let level = match (verbose, serves) {
        (0, false) => "off",
        (0, true) => "warn",
        (1, _) => "info",
        (2, _) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("OKAPI_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = view::wanted(color, io::stderr().is_terminal());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi).with_target(false).init();
}
