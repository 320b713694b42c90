//! `okapi del`: deletes records and blocks.

use crate::command::put::put_all;
use crate::command::{NAMING, get};
use crate::failure::Failure;
use crate::place::Thing;
use crate::session::Session;
use crate::size::counted;
use crate::span::Indexes;
use okapi_base::limits::DESCRIPTORS_MAX;
use okapi_client::{Generation, Grid, PutAsk};
use serde_json::json;

/// Delete records and blocks
///
/// Deleted is deleted: there is no way back. Blocks that belong to records are deleted with their records only.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "rm", after_long_help = format!("\
Examples:
  okapi del holiday.jpg notes.txt             two records
  okapi del --index 5..10                     the blocks 5 to 9
  okapi del --all-under photos/2025/          every record whose name begins so

{NAMING}"))]
pub(crate) struct Args {
    /// Records' names, or blocks: #5, #5..10
    #[arg(value_name = "WHAT", required_unless_present_any = ["index", "all_under"])]
    what: Vec<Thing>,

    /// Blocks: 5, 5..10; the same as #5 and so on, without quotes
    #[arg(long, short = 'i', value_name = "INDEX")]
    index: Vec<Indexes>,

    /// Every record whose name begins with this
    #[arg(long, value_name = "PREFIX")]
    all_under: Option<String>,

    /// Only if the record is at this generation (`okapi stat` shows it)
    #[arg(long, value_name = "GENERATION", conflicts_with_all = ["index", "all_under"])]
    if_generation: Option<u64>,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let grid = session.grid()?;
        let expect = self.if_generation.map(Generation);
        let (mut records, mut blocks) = (0, 0);
        if let Some(prefix) = &self.all_under {
            // All names first: what is listed while it is being deleted might be skipped.
            let names: Result<Vec<String>, _> = grid.records(prefix).map(|info| info.map(|info| info.name)).collect();
            for name in names? {
                records += u64::from(grid.remove(&name, None)?);
            }
        }
        for thing in self.what.iter().cloned().chain(self.index.iter().copied().map(Thing::Blocks)) {
            match thing {
                Thing::Record(name) if grid.remove(&name, expect)? => records += 1,
                Thing::Record(name) => {
                    return Err(Failure {
                        kind: "unknown-record",
                        ..Failure::not_found(format!(
                            "record `{name}` of grid `{}`: there is no such record",
                            grid.name()
                        ))
                    });
                }
                Thing::Blocks(_) if expect.is_some() => {
                    return Err(Failure::usage(
                        "--if-generation is for records; for a block, put nothing: okapi put --index N --text '' --if-generation G",
                    ));
                }
                Thing::Blocks(indexes) => blocks += delete_blocks(&grid, indexes)?,
            }
        }
        let mut parts = Vec::new();
        if records > 0 {
            parts.push(counted(records, "record"));
        }
        if blocks > 0 {
            parts.push(counted(blocks, "block"));
        }
        let text =
            if parts.is_empty() { "nothing to delete".to_owned() } else { format!("deleted {}", parts.join(" and ")) };
        session.view.report(text, &json!({"records": records, "blocks": blocks}))
    }
}

fn delete_blocks(grid: &Grid, indexes: Indexes) -> Result<u64, Failure> {
    if indexes.is_one() {
        let first = okapi_client::Index::new(indexes.from).ok_or_else(|| Failure::usage("an index is below 2^48"))?;
        if grid.list(first, false).next().transpose()?.is_none_or(|listed| listed.index != first) {
            return Err(get::absent(grid, indexes));
        }
    }
    let mut blocks = get::occupied(grid, indexes)?;
    let mut deleted = 0;
    loop {
        let mut puts: Vec<(PutAsk, &[u8])> = Vec::new();
        for index in blocks.by_ref().take(usize::from(DESCRIPTORS_MAX)) {
            puts.push((PutAsk::delete(index?), &[]));
        }
        if puts.is_empty() {
            return Ok(deleted);
        }
        put_all(grid, &puts, "delete")?;
        deleted += puts.len() as u64;
    }
}
