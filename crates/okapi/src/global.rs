//! The flags that hold for all commands.

use crate::failure::Failure;
use crate::session;
use crate::settings::Effective;
use crate::view::Color;
use clap::ArgMatches;
use clap::parser::ValueSource;
use okapi_client::{Target, Token};
use std::path::PathBuf;

/// The heading of these flags in every help.
pub(crate) const HEADING: &str = "Options of all commands";

/// The flags that hold for all commands.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct Global {
    /// The node: unix:/path, tcp://host:port, or a path or host:port
    ///
    /// Without it: the socket of the node that has the data directory, on this machine.
    #[arg(long, short = 'n', global = true, env = "OKAPI_NODE", value_name = "TARGET", hide_short_help = true)]
    pub node: Option<Target>,

    /// Another member of your group, whose grids are meant: its node's name, or the first digits of its id
    ///
    /// Your own node goes on to that member's, which lets you do what was granted to you there (okapi grant). `okapi
    /// members` lists names and ids. In places, as in `okapi cp`, write @NAME//GRID:RECORD.
    #[arg(long, global = true, env = "OKAPI_MEMBER", value_name = "NAME", hide_short_help = true)]
    pub member: Option<String>,

    /// The data directory of the node on this machine
    #[arg(long, global = true, env = "OKAPI_DATA", value_name = "DIR", hide_short_help = true)]
    pub data: Option<PathBuf>,

    /// The file with settings, instead of the one in the platform's configuration directory
    #[arg(long, global = true, env = "OKAPI_CONFIG", value_name = "FILE", hide_short_help = true)]
    pub config: Option<PathBuf>,

    /// The grid [default: main]
    #[arg(long, short = 'g', global = true, env = "OKAPI_GRID", value_name = "NAME", hide_short_help = true)]
    pub grid: Option<String>,

    /// The node's token, 64 hexadecimal digits; needed over TCP
    ///
    /// It stands in the file `token` of the node's data directory. Other users can see the flags of running programs:
    /// prefer --token-file or the environment.
    #[arg(
        long,
        global = true,
        env = "OKAPI_TOKEN",
        value_name = "HEX",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub token: Option<String>,

    /// A file that holds the node's token
    #[arg(long, global = true, env = "OKAPI_TOKEN_FILE", value_name = "FILE", hide_short_help = true)]
    pub token_file: Option<PathBuf>,

    /// The grid's own token, for a private grid on somebody else's node
    #[arg(
        long,
        global = true,
        env = "OKAPI_GRID_TOKEN",
        value_name = "HEX",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub grid_token: Option<String>,

    /// JSON instead of words: one document, or one a line for lists; errors too, on standard error
    #[arg(long, global = true, hide_short_help = true)]
    pub json: bool,

    /// Results only: no reports, no progress
    #[arg(long, short = 'q', global = true, hide_short_help = true)]
    pub quiet: bool,

    /// Colours: on a terminal, always or never; NO_COLOR is honoured
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub color: Color,

    /// Log more to standard error: -v what happens, -vv every detail
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count, hide_short_help = true)]
    pub verbose: u8,
}

impl Global {
    /// Where the node in use is.
    ///
    /// # Errors
    /// [`Failure`] if the settings that tell cannot be read.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        match &self.node {
            Some(node) => Ok(node.clone()),
            None => Ok(Target::Unix(Effective::for_clients(self)?.socket()?)),
        }
    }

    /// The name of the grid in use.
    pub(crate) fn grid_name(&self) -> &str {
        self.grid.as_deref().unwrap_or("main")
    }

    /// The node's token, or none.
    ///
    /// # Errors
    /// [`Failure`] if it is no token or its file cannot be read.
    pub(crate) fn token(&self) -> Result<Token, Failure> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => session::token_from(token),
            (None, Some(path)) => session::token_file(path),
            (None, None) => Ok(Token::NONE),
        }
    }

    /// The grid's own token, if one is given.
    ///
    /// # Errors
    /// [`Failure`] if it is no token.
    pub(crate) fn grid_token(&self) -> Result<Option<Token>, Failure> {
        self.grid_token.as_deref().map(session::token_from).transpose()
    }

    /// These flags with those of one line of a shell over them: only what the line itself says counts.
    pub(crate) fn overridden(&self, line: &Self, matches: &ArgMatches) -> Self {
        let said = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut global = self.clone();
        macro_rules! take {
            ($($field:ident)*) => { $(if said(stringify!($field)) { global.$field.clone_from(&line.$field); })* };
        }
        take!(node member data config grid token token_file grid_token json quiet color verbose);
        global
    }
}
