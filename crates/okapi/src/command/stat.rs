//! `okapi stat`: tells everything about a record, a block or the grid.

use crate::command::{NAMING, get, ls};
use crate::failure::Failure;
use crate::place::{Thing, What};
use crate::session::Session;
use crate::size::{Count, Size, counted, moment};
use crate::span::Indexes;
use crate::view::{Tone, hex, shown};
use okapi_client::{Grid, GridInfo, Index, RecordInfo};
use serde_json::{Value, json};

/// Extents named one by one.
const EXTENTS_SHOWN: usize = 8;

/// Tell everything about a record, a block or the grid
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  okapi stat                                  the grid
  okapi stat holiday.jpg                      a record
  okapi stat --index 5                        a block

{NAMING}"))]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let grid = session.grid()?;
        match self.what.given() {
            None => stat_grid(session, &grid),
            Some(Thing::Record(name)) => match grid.find(&name)? {
                Some(info) => stat_record(session, &grid, &info),
                None => Err(Failure {
                    kind: "unknown-record",
                    ..Failure::not_found(format!("record `{name}` of grid `{}`: there is no such record", grid.name()))
                }),
            },
            Some(Thing::Blocks(indexes)) => {
                let index = indexes.one().map_err(Failure::usage)?;
                stat_block(session, &grid, index)
            }
        }
    }
}

/// A grid as JSON.
pub(crate) fn grid_json(info: &GridInfo) -> Value {
    json!({
        "name": info.name,
        "id": info.id,
        "block_size": info.block_size.bytes(),
        "durability": info.durability.word(),
        "engine": info.engine,
        "public": info.public,
        "blocks": info.blocks,
        "bytes": info.bytes,
        "records": info.records,
    })
}

fn stat_grid(session: &mut Session, grid: &Grid) -> Result<(), Failure> {
    let info = grid.stat()?;
    let view = &mut session.view;
    if view.json {
        return view.json(&grid_json(&info));
    }
    view.facts(&[
        ("grid", view.paint(Tone::Strong, &info.name)),
        ("blocks of", Size(u64::from(info.block_size.bytes())).to_string()),
        ("durability", format!("{} (engine {})", info.durability.word(), info.engine)),
        (
            "open to",
            if info.public { "everyone who reaches the node" } else { "its owner, and holders of its token" }
                .to_owned(),
        ),
        ("occupied", counted(info.blocks, "block")),
        ("stored", Size(info.bytes).to_string()),
        ("records", Count(info.records).to_string()),
    ])
}

fn stat_record(session: &mut Session, grid: &Grid, info: &RecordInfo) -> Result<(), Failure> {
    let blocks: u64 = info.extents.iter().map(|extent| extent.count).sum();
    let view = &mut session.view;
    if view.json {
        let mut json = ls::record_json(info);
        json["blocks"] = blocks.into();
        json["extents"] = info.extents.iter().map(|extent| json!([extent.start.get(), extent.count])).collect();
        return view.json(&json);
    }
    let known = info.blake3 != [0; 32];
    let spans =
        info.extents.iter().map(|extent| Indexes { from: extent.start.get(), last: extent.last().get() }.to_string());
    let mut extents = spans.take(EXTENTS_SHOWN).collect::<Vec<_>>().join(", ");
    if info.extents.len() > EXTENTS_SHOWN {
        extents += &format!(" and {} more", info.extents.len() - EXTENTS_SHOWN);
    }
    let mut facts = vec![
        ("record", view.paint(Tone::Strong, shown(&info.name))),
        ("bytes", format!("{} ({})", Count(info.length), Size(info.length))),
        ("modified", format!("{} UTC", moment(info.modified))),
        ("generation", info.generation.0.to_string()),
        ("blake3", if known { hex(&info.blake3) } else { "not known since a part was changed".to_owned() }),
        ("blocks", format!("{} of {}", Count(blocks), Size(u64::from(grid.block_size().bytes())))),
    ];
    if !extents.is_empty() {
        facts.push(("at", extents));
    }
    if !info.content_type.is_empty() {
        facts.push(("type", shown(&info.content_type)));
    }
    view.facts(&facts)
}

fn stat_block(session: &mut Session, grid: &Grid, number: u64) -> Result<(), Failure> {
    let index = Index::new(number).ok_or_else(|| Failure::usage("an index is below 2^48"))?;
    let listed = grid.list(index, true).next().transpose()?.filter(|listed| listed.index == index);
    let listed = listed.ok_or_else(|| get::absent(grid, Indexes { from: number, last: number }))?;
    let view = &mut session.view;
    let crc = format!("{:08x}", listed.crc);
    if view.json {
        let (bytes, generation) = (listed.length, listed.generation.0);
        return view.json(&json!({"index": number, "bytes": bytes, "generation": generation, "crc32c": crc}));
    }
    view.facts(&[
        ("block", view.paint(Tone::Strong, format_args!("#{number}"))),
        ("bytes", format!("{} of {}", Count(u64::from(listed.length)), Count(u64::from(grid.block_size().bytes())))),
        ("generation", listed.generation.0.to_string()),
        ("crc32c", crc),
    ])
}
