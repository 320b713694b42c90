//! The command line: help, completions, manual pages and the shell all come from this one list.

use crate::command::{Command, Data, GROUPS};
use crate::failure::Failure;
use crate::global::Global;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser};
use std::fmt::Write as _;

/// Store data in blocks and records at the speed of memory
///
/// Okapi keeps data in grids: spaces of 2^48 blocks, in which files lie as named records and single blocks have
/// indexes. A node serves them; the other commands talk to it.
#[derive(Debug, Parser)]
#[command(
    name = "okapi",
    version,
    disable_help_subcommand = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(styles = STYLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// A line of the shell or of a script.
#[derive(Debug, Parser)]
#[command(name = "okapi", no_binary_name = true, disable_version_flag = true, styles = STYLES, max_term_width = 100)]
pub(crate) struct Line {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: LineCommand,
}

/// What a line can say.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum LineCommand {
    #[command(flatten)]
    Data(Box<Data>),
    /// Go on with this grid
    Use {
        /// Its name
        grid: String,
    },
    /// Leave
    #[command(visible_alias = "quit")]
    Exit,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(anstyle::Style::new().dimmed());

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed (or damage found), 2 wrong usage, 3 not found, 4 no node reached.
`okapi COMMAND --help` tells all about a command, with examples.";

/// The list of commands as the program has it.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    let listed = listed(&command);
    command.help_template(template(&listed)).after_help(EXIT_CODES)
}

/// The list of commands as the shell has it. What the environment says was settled when the shell began.
pub(crate) fn line_command() -> clap::Command {
    let command = Line::command().mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    let listed = format!("{}\nShell\n  use GRID     Go on with this grid\n  exit         Leave\n", listed(&command));
    command.help_template(format!("{listed}\n`help COMMAND` tells all about a command."))
}

fn template(listed: &str) -> String {
    format!("{{about-with-newline}}\n{{usage-heading}} okapi COMMAND [OPTIONS]\n\n{listed}\n{{options}}{{after-help}}")
}

/// The commands in their groups, each with the first line of its help.
fn listed(command: &clap::Command) -> String {
    let mut text = String::new();
    let (bold, plain) = (anstyle::Style::new().bold(), anstyle::Reset);
    for (heading, names) in GROUPS {
        let inner = names.iter().filter_map(|name| command.find_subcommand(name));
        let lines: Vec<_> = inner.map(|inner| (inner.get_name(), inner.get_about().map(ToString::to_string))).collect();
        if lines.is_empty() {
            continue;
        }
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}{bold}{heading}{plain}");
        for (name, about) in lines {
            let _ = writeln!(text, "  {name:<11}  {}", about.unwrap_or_default());
        }
    }
    text
}

/// What a line of the shell says.
///
/// # Errors
/// clap's own; also when help was asked for.
pub(crate) fn parse_line(words: Vec<String>) -> Result<(Line, ArgMatches), clap::Error> {
    let matches = line_command().try_get_matches_from(words)?;
    let line = Line::from_arg_matches(&matches)?;
    let (_, inner) = matches.subcommand().expect("a line has a command");
    let inner = inner.clone();
    Ok((line, inner))
}

/// What clap says of a wrong line, without its general hints.
pub(crate) fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let lines = text.trim_start_matches("error: ").lines().map(str::trim);
    let said: Vec<&str> =
        lines.take_while(|line| !line.starts_with("Usage:")).filter(|line| !line.is_empty()).collect();
    let said: Vec<&str> = said.into_iter().filter(|line| !line.starts_with("For more information")).collect();
    Failure::usage(said.join(" ").replace("tip: ", "- "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sound() {
        command().debug_assert();
        line_command().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group_and_says_what_it_does() {
        let mut command = command();
        command.build();
        for inner in command.get_subcommands() {
            let groups = GROUPS.iter().filter(|(_, names)| names.contains(&inner.get_name())).count();
            assert_eq!(groups, 1, "{}", inner.get_name());
            let about = inner.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && about.len() <= 64, "{}: {about}", inner.get_name());
        }
        for name in GROUPS.iter().flat_map(|(_, names)| *names) {
            assert!(command.find_subcommand(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_help_fits_and_says_what_each_argument_is() {
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{}: {}", command.get_name(), arg.get_id());
            }
            command.get_subcommands_mut().filter(|inner| inner.get_name() != "help").for_each(check);
        }
        let mut command = command();
        command.build();
        check(&mut command);
    }

    #[test]
    fn lines_of_the_shell() {
        let words = |line: &str| crate::words::split(line).unwrap();
        assert!(
            matches!(parse_line(words("use photos")).unwrap().0.command, LineCommand::Use { grid } if grid == "photos")
        );
        assert!(matches!(parse_line(words("quit")).unwrap().0.command, LineCommand::Exit));
        assert!(matches!(parse_line(words("get #5 --json")).unwrap().0.command, LineCommand::Data(_)));
        let failure = usage_failure(&parse_line(words("slcie x")).unwrap_err());
        assert_eq!(failure.to_string(), "unrecognized subcommand 'slcie' - a similar subcommand exists: 'slice'");
        assert!(parse_line(words("up")).is_err(), "nodes are not started from a shell");
    }
}
