//! `okapi grid`: makes, lists and drops grids.

use crate::command::stat::grid_json;
use crate::failure::Failure;
use crate::place::is_grid_name;
use crate::session::Session;
use crate::size::{Count, Size};
use crate::view::{Tone, columns, hex};
use okapi_client::{BlockSize, Durability, GridCreate};
use serde_json::json;
use std::io::{self, IsTerminal, Write};

/// Make, list and drop grids
///
/// A grid is a space of 2^48 blocks with a name, a block size and a durability of its own. Grids are private: over TCP
/// they open only with the node's token or their own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(Create),
    Ls(Ls),
    Drop(Drop),
}

/// Make a grid
///
/// Prints the token that opens it from elsewhere. The token is not shown again: keep it.
#[derive(Debug, clap::Args)]
struct Create {
    /// Its name: letters, digits, `.`, `_` and `-`
    #[arg(value_parser = name)]
    name: String,

    /// The capacity of its blocks: a power of two from 512 to 1M
    #[arg(long, short = 's', value_name = "SIZE", default_value = "64K", value_parser = block_size)]
    block_size: BlockSize,

    /// What an acknowledged put has survived: always (it is on the disk), interval (it will be soon), memory (nothing)
    #[arg(long, short = 'd', value_name = "WHEN", default_value = "always", value_parser = durability)]
    durability: Durability,

    /// Let everyone who reaches the node open it
    #[arg(long)]
    public: bool,

    /// The engine that holds it: log, fjall or memory [default: what the durability needs]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    engine: String,
}

/// List the grids you may see
#[derive(Debug, clap::Args)]
#[command(visible_alias = "list")]
struct Ls {}

/// Drop a grid and everything in it
#[derive(Debug, clap::Args)]
struct Drop {
    /// Its name
    name: String,

    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

fn name(text: &str) -> Result<String, String> {
    match is_grid_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a grid's name has 1 to 64 letters, digits, `.`, `_` or `-`, and begins with none of `.` and `-`"
            .to_owned()),
    }
}

fn block_size(text: &str) -> Result<BlockSize, String> {
    let bytes = text.parse::<Size>()?.0;
    let size = u32::try_from(bytes).ok().and_then(BlockSize::new);
    size.ok_or_else(|| "a block size is a power of two from 512 to 1M".to_owned())
}

fn durability(text: &str) -> Result<Durability, String> {
    let known = Durability::ALL.into_iter().find(|durability| durability.word() == text);
    known.ok_or_else(|| "a durability is always, interval or memory".to_owned())
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self.command {
            Command::Create(create) => create.run(session),
            Command::Ls(_) => list(session),
            Command::Drop(drop) => drop.run(session),
        }
    }
}

impl Create {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let Self { name, block_size, durability, public, engine } = self;
        let made = session.client()?.create_grid(&GridCreate { name, block_size, durability, public, engine })?;
        let mut json = grid_json(&made.info);
        json["token"] = hex(&made.token.0).into();
        let view = &mut session.view;
        if view.json {
            return view.json(&json);
        }
        let name = view.paint(Tone::Strong, &made.info.name);
        let shape = format!("blocks of {}, {}", Size(u64::from(block_size.bytes())), made.info.durability.word());
        view.report(format_args!("{name}  {shape}, engine {}", made.info.engine), &json)?;
        // The one result that must not be lost, even with --quiet.
        if made.token.is_none() { Ok(()) } else { view.line(format_args!("token {}", hex(&made.token.0))) }
    }
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let grids = session.client()?.grids()?;
    let view = &mut session.view;
    if view.json {
        return grids.iter().try_for_each(|info| view.json(&grid_json(info)));
    }
    let mut rows =
        vec![["name", "blocks of", "occupied", "stored", "records", "kept", "engine"].map(str::to_owned).to_vec()];
    rows.extend(grids.iter().map(|info| {
        vec![
            info.name.clone(),
            Size(u64::from(info.block_size.bytes())).to_string(),
            Count(info.blocks).to_string(),
            Size(info.bytes).to_string(),
            Count(info.records).to_string(),
            info.durability.word().to_owned(),
            if info.public { format!("{}, public", info.engine) } else { info.engine.clone() },
        ]
    }));
    let lines = columns(&rows, &[1, 2, 3, 4]);
    view.line(view.paint(Tone::Faint, &lines[0]))?;
    lines[1..].iter().try_for_each(|line| view.line(line))
}

impl Drop {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let client = session.client()?;
        if !self.yes {
            if !io::stdin().is_terminal() {
                return Err(Failure::usage(format!(
                    "dropping grid `{}` deletes all that is in it; say --yes",
                    self.name
                )));
            }
            let records = client.grid(&self.name, session.global.grid_token()?)?.stat()?;
            let holds = crate::command::ls::summary(records.blocks, records.bytes, records.records);
            let _ = write!(io::stderr(), "drop grid `{}` with {holds}, for ever? [y/N] ", self.name);
            let mut answer = String::new();
            io::stdin().read_line(&mut answer).map_err(|error| Failure::io("standard input", &error))?;
            if !matches!(answer.trim(), "y" | "Y" | "yes") {
                return Err(Failure::new("nothing was dropped"));
            }
        }
        client.drop_grid(&self.name)?;
        session.view.report(format_args!("dropped {}", self.name), &json!({"dropped": self.name}))
    }
}
