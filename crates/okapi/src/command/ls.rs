//! `okapi ls`: lists records, or blocks.

use crate::failure::Failure;
use crate::place::Thing;
use crate::session::Session;
use crate::size::{Count, Size, counted, moment};
use crate::span::Indexes;
use crate::view::{Tone, columns, hex, shown};
use okapi_client::{Grid, Index, RecordInfo};
use serde_json::{Value, json};

/// Rows lined up together in a long list.
const PAGE: usize = 1000;

/// List records, or blocks
///
/// Records in the order of their names; blocks in the order of their indexes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi ls                                    all names
  okapi ls photos/ -l                         with sizes, times and hashes
  okapi ls --blocks                           indexes of occupied blocks
  okapi ls --blocks '#5..10' -l               with lengths and checksums")]
pub(crate) struct Args {
    /// Only names that begin so; with --blocks, only these blocks: #5..10
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,

    /// More about each: bytes, time, generation, hash
    #[arg(long, short = 'l')]
    long: bool,

    /// Blocks instead of records (those of records too)
    #[arg(long, short = 'b')]
    blocks: bool,

    /// At most this many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let grid = session.grid()?;
        let limit = self.limit.unwrap_or(usize::MAX);
        let prefix = self.prefix.unwrap_or_default();
        let indexes = match prefix.parse() {
            Ok(Thing::Blocks(indexes)) => Some(indexes),
            _ if self.blocks && prefix.is_empty() => Some(Indexes::ALL),
            _ if self.blocks => Some(prefix.parse().map_err(Failure::usage)?),
            _ => None,
        };
        match indexes {
            Some(indexes) => list_blocks(session, &grid, indexes, self.long, limit),
            None => list_records(session, &grid, &prefix, self.long, limit),
        }
    }
}

/// A record as JSON.
pub(crate) fn record_json(info: &RecordInfo) -> Value {
    let known = info.blake3 != [0; 32];
    json!({
        "name": info.name,
        "bytes": info.length,
        "modified": moment(info.modified).replace(' ', "T") + "Z",
        "generation": info.generation.0,
        "blake3": known.then(|| hex(&info.blake3)),
        "type": info.content_type,
    })
}

fn list_records(session: &mut Session, grid: &Grid, prefix: &str, long: bool, limit: usize) -> Result<(), Failure> {
    let mut records = grid.records(prefix).take(limit);
    let mut count = 0;
    loop {
        let page: Vec<RecordInfo> = records.by_ref().take(PAGE).collect::<Result<_, _>>()?;
        if page.is_empty() {
            break;
        }
        count += page.len();
        let view = &mut session.view;
        if view.json {
            page.iter().try_for_each(|info| view.json(&record_json(info)))?;
        } else if long {
            let rows: Vec<Vec<String>> = page.iter().map(long_row).collect();
            columns(&rows, &[0]).iter().try_for_each(|line| view.line(line))?;
        } else {
            page.iter().try_for_each(|info| view.line(shown(&info.name)))?;
        }
    }
    if count == 0 && session.view.is_terminal() {
        let under = if prefix.is_empty() { String::new() } else { format!(" under `{}`", shown(prefix)) };
        session.view.aside(format_args!(
            "no records{under} in grid `{}`; blocks are listed by `okapi ls --blocks`",
            grid.name()
        ));
    }
    Ok(())
}

fn long_row(info: &RecordInfo) -> Vec<String> {
    let known = info.blake3 != [0; 32];
    let hash = if known { hex(&info.blake3[..6]) } else { "-".to_owned() };
    vec![Size(info.length).to_string(), moment(info.modified), hash, shown(&info.name)]
}

fn list_blocks(session: &mut Session, grid: &Grid, indexes: Indexes, long: bool, limit: usize) -> Result<(), Failure> {
    let first = Index::new(indexes.from).ok_or_else(|| Failure::usage("an index is below 2^48"))?;
    let blocks = grid.list(first, long);
    let wanted = |listed: &Result<okapi_client::Listed, _>| {
        !listed.as_ref().is_ok_and(|listed| listed.index.get() > indexes.last)
    };
    let view = &mut session.view;
    for listed in blocks.take_while(wanted).take(limit) {
        let listed = listed?;
        let index = listed.index.get();
        let (bytes, generation) = (listed.length, listed.generation.0);
        match (view.json, long) {
            (true, true) => {
                let crc = format!("{:08x}", listed.crc);
                view.json(&json!({"index": index, "bytes": bytes, "generation": generation, "crc32c": crc}))?;
            }
            (true, false) => view.json(&json!({"index": index}))?,
            (false, false) => view.line(format_args!("#{index}"))?,
            (false, true) => {
                let note = view.paint(Tone::Faint, format_args!("crc32c {:08x}  generation {generation}", listed.crc));
                view.line(format_args!("{:<16}  {:>9}  {note}", format!("#{index}"), Size(u64::from(bytes))))?;
            }
        }
    }
    Ok(())
}

/// What a grid holds, in one line.
pub(crate) fn summary(blocks: u64, bytes: u64, records: u64) -> String {
    format!("{}, {}, {} records", counted(blocks, "block"), Size(bytes), Count(records))
}
