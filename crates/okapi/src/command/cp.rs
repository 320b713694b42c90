//! `okapi cp`: copies records, blocks or whole grids, within a node or from one to another.

use crate::command::put::{RecordTarget, put_all, write_record};
use crate::command::{get, ls};
use crate::failure::Failure;
use crate::place::{Place, Thing};
use crate::session::Session;
use crate::size::{Size, counted, lasted, rate};
use crate::span::Indexes;
use crate::view::{Progress, Tone, shown};
use okapi_base::{crc32c, limits};
use okapi_client::{Grid, Index, PutAsk, RecordInfo, Slice};
use serde_json::json;
use std::time::Instant;

/// Bytes of blocks put at a time.
const BATCH_BYTES: usize = 4 << 20;

/// Copy records, blocks or whole grids
///
/// SRC and DST are places: [NODE//]GRID:NAME for a record, [NODE//]GRID:#5 or [NODE//]GRID:#5..10 for blocks, and
/// [NODE//]GRID: for everything in a grid. Without GRID: it is the grid in use, without NODE// the node in use. A DST
/// without a name or index keeps that of SRC. What DST has under other names and indexes stays; to make one grid like
/// another, and keep it so, use `okapi replicate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi cp a.jpg b.jpg                        a record, in the grid in use
  okapi cp a.jpg backup:                      to another grid, under the same name
  okapi cp main:#0..100 backup:#5000          blocks 0 to 99 to blocks 5000 to 5099
  okapi cp main: tcp://nas:7070//main:        everything, to another node
  okapi cp unix:/run/b.sock//main:x main:x    from another node

Quote places that begin with #: a shell takes the rest of the line for a comment.")]
pub(crate) struct Args {
    /// What to copy
    #[arg(value_name = "SRC")]
    from: Place,

    /// Where to
    #[arg(value_name = "DST")]
    to: Place,
}

/// What was copied.
#[derive(Debug, Default)]
struct Copied {
    records: u64,
    blocks: u64,
    bytes: u64,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let started = Instant::now();
        let (from, to) = (session.grid_at(&self.from.grid)?, session.grid_at(&self.to.grid)?);
        let mut copied = Copied::default();
        match (&self.from.thing, self.to.thing.clone()) {
            (Some(Thing::Record(name)), None) => copy_record(session, (&from, name), (&to, name), &mut copied)?,
            (Some(Thing::Record(name)), Some(Thing::Record(other))) => {
                copy_record(session, (&from, name), (&to, &other), &mut copied)?;
            }
            (Some(Thing::Blocks(indexes)), None) => {
                copy_blocks(session, &from, *indexes, (&to, indexes.from), &mut copied)?;
                if copied.blocks == 0 {
                    return Err(get::absent(&from, *indexes));
                }
            }
            (Some(Thing::Blocks(indexes)), Some(Thing::Blocks(other))) => {
                if !other.is_one() && other.count() != indexes.count() {
                    return Err(Failure::usage(format!(
                        "{indexes} and {other} are not as many blocks; name just the first one to copy to"
                    )));
                }
                copy_blocks(session, &from, *indexes, (&to, other.from), &mut copied)?;
                if copied.blocks == 0 {
                    return Err(get::absent(&from, *indexes));
                }
            }
            (None, None) => copy_grid(session, &from, &to, &mut copied)?,
            (None, Some(_)) => {
                return Err(Failure::usage("all of a grid cannot be copied to one name or block; write GRID: alone"));
            }
            (Some(Thing::Record(_)), Some(Thing::Blocks(_))) => {
                return Err(Failure::usage(
                    "a record cannot be copied to blocks; pipe it: okapi get NAME | okapi put --index N.. -",
                ));
            }
            (Some(Thing::Blocks(_)), Some(Thing::Record(_))) => {
                return Err(Failure::usage(
                    "blocks cannot be copied to a record; pipe them: okapi get --index A..B | okapi put NAME -",
                ));
            }
        }
        let took = started.elapsed();
        let Copied { records, blocks, bytes } = copied;
        let json = json!({"records": records, "blocks": blocks, "bytes": bytes, "seconds": took.as_secs_f64()});
        let mut parts = Vec::new();
        if records > 0 || blocks == 0 {
            parts.push(counted(records, "record"));
        }
        if blocks > 0 {
            parts.push(counted(blocks, "block"));
        }
        let view = &mut session.view;
        let to = view.paint(Tone::Strong, shown(&self.to.to_string()));
        let parts = parts.join(" and ");
        view.report(format_args!("{to}  {parts}  {}  {}  {}", Size(bytes), lasted(took), rate(bytes, took)), &json)
    }
}

fn copy_record(
    session: &Session,
    (from, name): (&Grid, &str),
    (to, other): (&Grid, &str),
    copied: &mut Copied,
) -> Result<(), Failure> {
    let reader = from.read(name)?;
    let info = reader.info().clone();
    let progress = session.view.progress(name, Some(info.length));
    let target = RecordTarget {
        grid: to,
        name: other,
        content_type: &info.content_type,
        length: Some(info.length),
        expect: None,
    };
    let written = write_record(&target, reader, name, &progress)?;
    let known = info.blake3 != [0; 32];
    if known && written.blake3 != info.blake3 {
        let text =
            format!("record `{name}`: what came is not what was stored (its BLAKE3 differs); the copy has what came");
        return Err(Failure::of("corrupted", text));
    }
    copied.records += 1;
    copied.bytes += info.length;
    Ok(())
}

/// Copies the occupied ones of `indexes` so that the first of these comes to `target`.
fn copy_blocks(
    session: &Session,
    from: &Grid,
    indexes: Indexes,
    (to, target): (&Grid, u64),
    copied: &mut Copied,
) -> Result<(), Failure> {
    let progress = session.view.progress(&indexes.to_string(), None);
    if target.checked_add(indexes.count() - 1).is_none_or(|last| last > limits::INDEX_MAX)
        && indexes.last != limits::INDEX_MAX
    {
        return Err(Failure::usage(format!("{indexes} moved to #{target} reach past the last index, 2^48 - 1")));
    }
    // Within one grid, moving up over itself would overwrite what is still to be read.
    let same = from.client().address() == to.client().address() && from.name() == to.name();
    if same && target > indexes.from && target <= indexes.last {
        return Err(Failure::usage(format!(
            "{indexes} and the blocks from #{target} on overlap; copy the later ones first"
        )));
    }
    let mut batch = Batch { to, progress: &progress, puts: Vec::new(), held: 0, copied };
    get::each_block(from, indexes, Slice::WHOLE, |index, bytes| {
        let at = Index::new(target + (index.get() - indexes.from));
        let at =
            at.ok_or_else(|| Failure::usage(format!("{index} moved to #{target} is past the last index, 2^48 - 1")))?;
        batch.add(at, bytes)
    })?;
    batch.send()
}

struct Batch<'a> {
    to: &'a Grid,
    progress: &'a Progress,
    puts: Vec<(Index, Vec<u8>)>,
    held: usize,
    copied: &'a mut Copied,
}

impl Batch<'_> {
    fn add(&mut self, index: Index, bytes: &[u8]) -> Result<(), Failure> {
        self.held += bytes.len();
        self.puts.push((index, bytes.to_vec()));
        if self.held >= BATCH_BYTES || self.puts.len() == usize::from(limits::DESCRIPTORS_MAX) {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Failure> {
        let asks = self.puts.iter().map(|(index, bytes)| (PutAsk::whole(*index, bytes, crc32c(bytes)), &bytes[..]));
        put_all(self.to, &asks.collect::<Vec<_>>(), "put")?;
        self.copied.blocks += self.puts.len() as u64;
        self.copied.bytes += self.held as u64;
        self.progress.at(self.copied.bytes);
        self.puts.clear();
        self.held = 0;
        Ok(())
    }
}

/// Copies all records by name, and all blocks that belong to none to the same indexes.
fn copy_grid(session: &mut Session, from: &Grid, to: &Grid, copied: &mut Copied) -> Result<(), Failure> {
    let names: Vec<RecordInfo> = from.records("").collect::<Result<_, _>>()?;
    let taken = crate::command::map::extents(from, &names)?;
    let runs = from.runs(Index::MIN).map(|run| Ok::<_, Failure>(run?)).collect::<Result<Vec<_>, _>>()?;
    let all: Vec<_> = runs.iter().map(|run| run.start.get()..run.last().get() + 1).collect();
    for span in crate::chart::without(&all, &taken) {
        let indexes = Indexes { from: span.start, last: span.end - 1 };
        copy_blocks(session, from, indexes, (to, span.start), copied)?;
    }
    for info in &names {
        copy_record(session, (from, &info.name), (to, &info.name), copied)?;
    }
    if names.is_empty() && copied.blocks == 0 {
        session.view.aside(format_args!("grid `{}` holds {}", from.name(), ls::summary(0, 0, 0)));
    }
    Ok(())
}
