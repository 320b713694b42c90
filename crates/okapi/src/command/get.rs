//! `okapi get`: brings a record or blocks back, whole or in part.

use crate::command::NAMING;
use crate::failure::{Exit, Failure};
use crate::place::{Thing, What};
use crate::session::{Session, block_failure};
use crate::size::{Size, counted, lasted, rate};
use crate::span::{ByteSpan, Indexes};
use crate::transfer::{Sink, pump};
use crate::view::{Progress, Tone, hex, shown};
use okapi_client::{GetAsk, Grid, Index, Slice, Status};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of blocks asked for at a time.
const BATCH_BYTES: u64 = 4 << 20;

/// Bring a record or blocks back
///
/// To a file, or to standard output. A whole record is checked against the BLAKE3 hash of what was stored; blocks and
/// parts against their checksums. A file appears under its name only when all of it is there.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  okapi get holiday.jpg -o .                  to a file of the same name here
  okapi get photos.tar | tar x                to a pipe
  okapi get disk.img --range 10M-20M -o part  reads only those bytes
  okapi get --index 5                         one block
  okapi get --index 0..100 -o disk.img        blocks 0 to 99, one after the other

An absent block has no bytes; asking for it alone ends with exit code 3.

{NAMING}"))]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,

    /// Write to this file (or into this directory); `-`: to standard output, whatever it is
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,

    /// Only these bytes: 10M-20M (up to and without), 10M+5M (that many), 10M- (to the end)
    #[arg(long, short = 'r', value_name = "RANGE", allow_hyphen_values = true)]
    range: Option<ByteSpan>,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        read(session, &self.what.thing()?, self.range, self.output.as_deref())
    }
}

/// Reads `range` of a record or of blocks to a file or standard output.
pub(crate) fn read(
    session: &mut Session,
    thing: &Thing,
    range: Option<ByteSpan>,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let to_file = output.is_some_and(|path| path.as_os_str() != "-");
    let grid = session.grid()?;
    match thing {
        Thing::Blocks(indexes) if session.view.json && !to_file => json_blocks(session, &grid, *indexes, range),
        _ if session.view.json && !to_file => {
            Err(Failure::usage("with --json the bytes of a record go to a file: add -o FILE"))
        }
        Thing::Record(name) => read_record(session, &grid, name, range, output),
        Thing::Blocks(indexes) => read_blocks(session, &grid, *indexes, range, output),
    }
}

fn read_record(
    session: &mut Session,
    grid: &Grid,
    name: &str,
    range: Option<ByteSpan>,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut reader = grid.read(name)?;
    let info = reader.info().clone();
    let wanted = range.map(|range| range.within(info.length));
    let length = wanted.as_ref().map_or(info.length, |range| range.end - range.start);
    if let Some(range) = wanted.clone() {
        reader.limit(range);
    }
    let view = &mut session.view;
    // A bar would only be in the way of text that a person reads.
    let watched = output.is_some() || !view.is_terminal();
    let progress = if watched { view.progress(name, Some(length)) } else { Progress::hidden() };
    let mut sink = Sink::open(output, name, view)?;
    pump(&mut reader, name, &progress, |bytes| sink.take(bytes))?;
    let verified = reader.verify();
    if verified == Some(false) {
        let text = format!(
            "record `{name}`: what came is not what was stored (its BLAKE3 differs); `okapi fsck` shows what else is damaged"
        );
        return Err(Failure::of("corrupted", text));
    }
    let path = sink.finish()?;
    drop(progress);
    let mut json = json!({"name": info.name, "bytes": length, "verified": verified == Some(true)});
    if let Some(range) = wanted {
        json["offset"] = range.start.into();
    }
    let note = match verified {
        Some(_) => format!("blake3 {} verified", hex(&info.blake3[..4])),
        None => String::new(),
    };
    report(session, name, path, Done { bytes: length, took: started.elapsed(), note, json })
}

struct Done {
    bytes: u64,
    took: Duration,
    note: String,
    json: Value,
}

/// A file says what became of it; what went to standard output speaks for itself.
fn report(session: &mut Session, name: &str, path: Option<PathBuf>, done: Done) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let Done { bytes, took, note, mut json } = done;
    json["file"] = path.display().to_string().into();
    json["seconds"] = took.as_secs_f64().into();
    let view = &mut session.view;
    let file = view.paint(Tone::Strong, path.display());
    let note = view.paint(Tone::Faint, note);
    let line = format!("{} -> {file}  {}  {}  {}  {note}", shown(name), Size(bytes), lasted(took), rate(bytes, took));
    view.report(line.trim_end(), &json)
}

/// The part of each block that is wanted.
fn slice(range: Option<ByteSpan>) -> Result<Slice, Failure> {
    let Some(range) = range else { return Ok(Slice::WHOLE) };
    let past = || Failure::of("past-block", "the range reaches past what a block can hold");
    let offset = u32::try_from(range.from).map_err(|_| past())?;
    let length = match range.to {
        Some(to) => u32::try_from(to - range.from).map_err(|_| past())?,
        None => Slice::TO_END,
    };
    Ok(Slice { offset, length })
}

fn read_blocks(
    session: &mut Session,
    grid: &Grid,
    indexes: Indexes,
    range: Option<ByteSpan>,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let slice = slice(range)?;
    let name = indexes.to_string();
    let view = &mut session.view;
    let watched = output.is_some() || !view.is_terminal();
    let progress = if watched { view.progress(&name, None) } else { Progress::hidden() };
    let mut sink = Sink::open(output, &format!("block-{}", indexes.from), view)?;
    let (mut bytes, mut blocks) = (0u64, 0u64);
    each_block(grid, indexes, slice, |_, content| {
        bytes += content.len() as u64;
        blocks += 1;
        progress.at(bytes);
        sink.take(content)
    })?;
    if blocks == 0 {
        return Err(absent(grid, indexes));
    }
    let path = sink.finish()?;
    drop(progress);
    let json = json!({"index": indexes.from, "blocks": blocks, "bytes": bytes});
    report(session, &name, path, Done { bytes, took: started.elapsed(), note: counted(blocks, "block"), json })
}

/// Hands over the content of each occupied block in `indexes`, in order.
pub(crate) fn each_block(
    grid: &Grid,
    indexes: Indexes,
    slice: Slice,
    mut take: impl FnMut(Index, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let per_batch =
        (BATCH_BYTES / u64::from(grid.block_size().bytes())).clamp(1, u64::from(okapi_base::limits::DESCRIPTORS_MAX));
    let mut blocks = occupied(grid, indexes)?;
    loop {
        let mut asks = Vec::new();
        for index in blocks.by_ref().take(usize::try_from(per_batch).expect("at most 1,024")) {
            asks.push(GetAsk { index: Some(index?), slice });
        }
        if asks.is_empty() {
            return Ok(());
        }
        // Answers need not come in order.
        let mut contents: Vec<Result<Vec<u8>, Status>> = vec![Err(Status::Absent); asks.len()];
        grid.get_many(&asks, |at, outcome, bytes| {
            contents[at] = if outcome.status.is_ok() { Ok(bytes.to_vec()) } else { Err(outcome.status) };
        })?;
        for (ask, content) in asks.iter().zip(contents) {
            let index = ask.index.expect("every ask has one");
            match content {
                Ok(bytes) => take(index, &bytes)?,
                // Deleted since it was listed.
                Err(Status::Absent) => {}
                Err(status) => return Err(block_failure(grid, index.get(), "get", status)),
            }
        }
    }
}

/// The occupied ones of `indexes`. One alone is not looked up first: it is asked for and may be absent.
pub(crate) fn occupied(
    grid: &Grid,
    indexes: Indexes,
) -> Result<Box<dyn Iterator<Item = Result<Index, Failure>>>, Failure> {
    let first = Index::new(indexes.from).ok_or_else(|| Failure::usage("an index is below 2^48"))?;
    if indexes.is_one() {
        return Ok(Box::new(std::iter::once(Ok(first))));
    }
    let listed = grid.list(first, false).map(|listed| Ok(listed?.index));
    Ok(Box::new(listed.take_while(move |index| !index.as_ref().is_ok_and(|index| index.get() > indexes.last))))
}

/// The failure of blocks that are not there.
pub(crate) fn absent(grid: &Grid, indexes: Indexes) -> Failure {
    let what = if indexes.is_one() { "block" } else { "blocks" };
    let message = format!("{what} {indexes} of grid `{}`: absent, nothing is stored there", grid.name());
    Failure { kind: "absent", exit: Exit::NotFound, message }
}

fn json_blocks(session: &mut Session, grid: &Grid, indexes: Indexes, range: Option<ByteSpan>) -> Result<(), Failure> {
    let slice = slice(range)?;
    let mut found = false;
    for index in occupied(grid, indexes)? {
        let index = index?;
        let Some(block) = grid.get_slice(index, slice)? else { continue };
        found = true;
        let mut json = json!({
            "index": index.get(),
            "bytes": block.length,
            "generation": block.generation.0,
            "crc32c": format!("{:08x}", block.crc),
        });
        match std::str::from_utf8(&block.bytes) {
            Ok(text) => json["text"] = text.into(),
            Err(_) => json["hex"] = hex(&block.bytes).into(),
        }
        session.view.json(&json)?;
    }
    if found { Ok(()) } else { Err(absent(grid, indexes)) }
}
