//! `okapi put`: stores a file, a pipe or a text, as a record or in blocks.

mod safe;

use crate::command::NAMING;
use crate::failure::Failure;
use crate::place::Thing;
use crate::session::{Session, block_failure};
use crate::size::{Size, counted, lasted, rate};
use crate::span::Indexes;
use crate::transfer::{Source, fill, from_io, pump};
use crate::view::{Tone, hex, shown};
use okapi_base::crc32c;
use okapi_client::{Generation, Grid, Index, PutAsk, RecordInfo};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Payload sent in one multi-put.
const BATCH_BYTES: usize = 4 << 20;

/// Store a file, a pipe or a text
///
/// As a record, a file of any size under a name; or in blocks, by their index. A record or block that was there is
/// replaced. When the command ends well, the data is as safe as the grid's durability promises.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  okapi put holiday.jpg                       the record holiday.jpg
  okapi put holiday.jpg photos/2026/first.jpg under another name
  tar c ~/photos | okapi put photos.tar -     from a pipe
  okapi put --index 5 --text hello            five bytes in block 5
  okapi put --index 0.. disk.img              a file over blocks 0, 1, 2 ...
  okapi put --safe will.pdf                   done once the others have their parts
  okapi put notes.txt --at 10 --text HELLO    change five bytes in the middle

{NAMING}"))]
pub(crate) struct Args {
    /// The file to store; or, with `-` after it or with --text, the name to store under
    #[arg(value_name = "FILE")]
    first: Option<String>,

    /// The name to store under [default: the file's]; `-`: store standard input under the first name
    #[arg(value_name = "NAME")]
    second: Option<String>,

    /// Store in this block (5) or these blocks (5..10, 5..) instead of a record
    #[arg(long, short = 'i', value_name = "INDEX")]
    index: Option<Indexes>,

    /// Store this text instead of a file
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,

    /// Change the bytes from this offset on, and leave the others as they are
    #[arg(long, value_name = "OFFSET")]
    at: Option<Size>,

    /// Only if the record or block is at this generation (`okapi stat` shows it); 0: only if there is none
    #[arg(long, value_name = "GENERATION", conflicts_with = "at")]
    if_generation: Option<u64>,

    /// Wait until it lies safely with enough other members of the group
    ///
    /// Without it the data is as safe as the grid's durability promises, on this machine, and goes to the others
    /// afterwards. Ctrl-C ends the waiting, not that.
    #[arg(long)]
    safe: bool,

    /// The record's media type, as in image/jpeg
    #[arg(long = "type", value_name = "MEDIA", default_value = "", hide_default_value = true)]
    content_type: String,
}

impl Args {
    /// What is stored where.
    fn resolve(&self) -> Result<(Source, Thing), Failure> {
        let Self { first, second, index, text, .. } = self;
        let thing = |name: &str| name.parse::<Thing>().map_err(Failure::usage);
        let (source, named) = match (text, first.as_deref(), second.as_deref()) {
            (Some(_), Some(_), Some(_)) => return Err(Failure::usage("with --text, give one name only")),
            (Some(text), name, _) => (Source::Text(text.clone()), name.map(thing).transpose()?),
            (None, None, _) => {
                return Err(Failure::usage("what to store? name a file, or - for standard input, or give --text"));
            }
            (None, Some(name), Some("-")) if name != "-" => (Source::Stdin, Some(thing(name)?)),
            (None, Some(file), Some(name)) => (Source::from_word(file), Some(thing(name)?)),
            (None, Some(file), None) => (Source::from_word(file), None),
        };
        let thing = match (index, named) {
            (Some(indexes), None) => Thing::Blocks(*indexes),
            (Some(_), Some(_)) => return Err(Failure::usage("a name and --index cannot both be meant; leave one out")),
            (None, Some(thing)) => thing,
            (None, None) => match &source {
                Source::File(path) => Thing::Record(file_name(path)?),
                _ => return Err(Failure::usage("under which name? write `okapi put NAME -`, or give --index")),
            },
        };
        Ok((source, thing))
    }

    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (source, thing) = self.resolve()?;
        if self.safe {
            safe::check(&session.client()?)?;
        }
        self.store(session, &source, thing)?;
        if self.safe { safe::wait(session) } else { Ok(()) }
    }

    fn store(&self, session: &mut Session, source: &Source, thing: Thing) -> Result<(), Failure> {
        if let Some(at) = self.at {
            return write_at(session, &thing, at.0, source, None);
        }
        let expect = self.if_generation.map(Generation);
        // The source first: a file that is not there should not cost a connection.
        let (from, length) = source.open().map_err(|failure| pipe_hint(failure, source))?;
        let grid = session.grid()?;
        match thing {
            Thing::Record(name) => {
                let started = Instant::now();
                let progress = session.view.progress(&name, length);
                let to = RecordTarget { grid: &grid, name: &name, content_type: &self.content_type, length, expect };
                let info = write_record(&to, from, &source.label(), &progress)?;
                drop(progress);
                report_record(session, &info, started.elapsed())
            }
            Thing::Blocks(indexes) if indexes.is_one() => put_block(session, &grid, indexes.from, from, source, expect),
            Thing::Blocks(_) if expect.is_some() => Err(Failure::usage("--if-generation is for a record or one block")),
            Thing::Blocks(indexes) => put_blocks(session, &grid, indexes, from, source, length),
        }
    }
}

fn file_name(path: &Path) -> Result<String, Failure> {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    name.map(str::to_owned).ok_or_else(|| Failure::usage(format!("{}: give a name to store it under", path.display())))
}

/// A missing file may be a name that was meant for a pipe.
fn pipe_hint(mut failure: Failure, source: &Source) -> Failure {
    if let (Source::File(path), "not-found") = (source, failure.kind) {
        failure.message += &format!("; to store from a pipe, write `okapi put {} -`", path.display());
    }
    failure
}

/// Where a record is to be written.
pub(crate) struct RecordTarget<'a> {
    pub grid: &'a Grid,
    pub name: &'a str,
    pub content_type: &'a str,
    pub length: Option<u64>,
    pub expect: Option<Generation>,
}

/// Streams `from` into a record; `label` names it in errors.
pub(crate) fn write_record(
    to: &RecordTarget<'_>,
    mut from: impl std::io::Read,
    label: &str,
    progress: &crate::view::Progress,
) -> Result<RecordInfo, Failure> {
    let mut writer = to.grid.write(to.name, to.length)?;
    pump(&mut from, label, progress, |bytes| writer.write_all(bytes).map_err(|error| from_io(error, to.name)))?;
    Ok(match to.expect {
        Some(expect) => writer.finish_if(to.content_type, expect)?,
        None => writer.finish(to.content_type)?,
    })
}

fn report_record(session: &mut Session, info: &RecordInfo, took: Duration) -> Result<(), Failure> {
    let blocks: u64 = info.extents.iter().map(|extent| extent.count).sum();
    let json = json!({
        "name": info.name,
        "bytes": info.length,
        "blocks": blocks,
        "generation": info.generation.0,
        "blake3": hex(&info.blake3),
        "seconds": took.as_secs_f64(),
    });
    let view = &mut session.view;
    let line = format!(
        "{}  {}  {}  {}  {}  {}",
        view.paint(Tone::Strong, shown(&info.name)),
        Size(info.length),
        counted(blocks, "block"),
        lasted(took),
        rate(info.length, took),
        view.paint(Tone::Faint, format_args!("blake3 {}", hex(&info.blake3[..4]))),
    );
    view.report(line, &json)
}

fn index(number: u64) -> Result<Index, Failure> {
    Index::new(number).ok_or_else(|| Failure::usage(format!("#{number} is past the last index, 2^48 - 1")))
}

fn put_block(
    session: &mut Session,
    grid: &Grid,
    number: u64,
    mut from: impl std::io::Read,
    source: &Source,
    expect: Option<Generation>,
) -> Result<(), Failure> {
    let capacity = grid.block_size().bytes() as usize;
    // One byte more than fits shows whether there is more.
    let mut bytes = vec![0; capacity + 1];
    let filled = fill(&mut from, &source.label(), &mut bytes)?;
    if filled > capacity {
        let size = Size(capacity as u64);
        let text = format!(
            "{} is longer than a block ({size}); let it span blocks with #{number}.., or store a record",
            source.label()
        );
        return Err(Failure::of("past-block", text));
    }
    let bytes = &bytes[..filled];
    let placed = match expect {
        Some(expect) => grid.put_if(index(number)?, bytes, expect)?,
        None => grid.put(index(number)?, bytes)?,
    };
    let json = json!({"index": number, "bytes": placed.length, "generation": placed.generation.0});
    let view = &mut session.view;
    let block = view.paint(Tone::Strong, format_args!("#{number}"));
    if filled == 0 {
        return view.report(format_args!("{block}  deleted: nothing was put in it"), &json);
    }
    let generation = view.paint(Tone::Faint, format_args!("generation {}", placed.generation.0));
    view.report(format_args!("{block}  {}  {generation}", Size(filled as u64)), &json)
}

fn put_blocks(
    session: &mut Session,
    grid: &Grid,
    indexes: Indexes,
    mut from: impl std::io::Read,
    source: &Source,
    length: Option<u64>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let size = grid.block_size().bytes() as usize;
    let progress = session.view.progress(&source.label(), length);
    let per_batch = (BATCH_BYTES / size).clamp(1, usize::from(okapi_base::limits::DESCRIPTORS_MAX));
    let mut buffer = vec![0; per_batch * size];
    let (mut total, mut next) = (0u64, indexes.from);
    loop {
        let filled = fill(&mut from, &source.label(), &mut buffer)?;
        if filled == 0 {
            break;
        }
        let batch: Vec<&[u8]> = buffer[..filled].chunks(size).collect();
        if batch.len() as u64 > indexes.last + 1 - next {
            let stored = match next - indexes.from {
                0 => "nothing was stored".to_owned(),
                count => format!("the first {} were stored", counted(count, "block")),
            };
            let text = format!("{} is longer than {indexes} hold; {stored}", source.label());
            return Err(Failure::of("past-block", text));
        }
        put_batch(grid, next, &batch)?;
        next += batch.len() as u64;
        total += filled as u64;
        progress.at(total);
        if filled < buffer.len() {
            break;
        }
    }
    drop(progress);
    let took = started.elapsed();
    let count = next - indexes.from;
    let json = json!({"index": indexes.from, "blocks": count, "bytes": total, "seconds": took.as_secs_f64()});
    let name =
        if count == 0 { "nothing".to_owned() } else { Indexes { from: indexes.from, last: next - 1 }.to_string() };
    let view = &mut session.view;
    let name = view.paint(Tone::Strong, name);
    let text = format!("{name}  {}  {}  {}  {}", Size(total), counted(count, "block"), lasted(took), rate(total, took));
    view.report(text, &json)
}

/// Puts whole blocks one after the other from `first` on, in one go; the first that fails is the failure.
pub(crate) fn put_batch(grid: &Grid, first: u64, batch: &[&[u8]]) -> Result<(), Failure> {
    let mut puts = Vec::with_capacity(batch.len());
    for (number, bytes) in (first..).zip(batch) {
        puts.push((PutAsk::whole(index(number)?, bytes, crc32c(bytes)), *bytes));
    }
    put_all(grid, &puts, "put")
}

/// Makes these changes; the first that fails is the failure.
pub(crate) fn put_all(grid: &Grid, puts: &[(PutAsk, &[u8])], what: &str) -> Result<(), Failure> {
    let mut failed = None;
    grid.put_many(puts, 0, |at, outcome| {
        if !outcome.status.is_ok() && failed.is_none() {
            failed = Some((puts[at].0.index.get(), outcome.status));
        }
    })?;
    failed.map_or(Ok(()), |(index, status)| Err(block_failure(grid, index, what, status)))
}

/// Changes the bytes of a record or block from `at` on, exactly `length` of them if that is given.
pub(crate) fn write_at(
    session: &mut Session,
    thing: &Thing,
    at: u64,
    source: &Source,
    length: Option<u64>,
) -> Result<(), Failure> {
    let (mut from, _) = source.open()?;
    let grid = session.grid()?;
    let label = source.label();
    let mut buffer = vec![0; BATCH_BYTES];
    let mut written = 0u64;
    loop {
        let filled = fill(&mut from, &label, &mut buffer)?;
        if length.is_some_and(|length| {
            written + filled as u64 > length || filled < buffer.len() && written + filled as u64 != length
        }) {
            let text = format!("{label} does not have the {} bytes of the range", length.unwrap_or_default());
            return Err(Failure::usage(text));
        }
        let bytes = &buffer[..filled];
        match thing {
            _ if filled == 0 => {}
            Thing::Record(name) => grid.patch(name, at + written, bytes)?,
            Thing::Blocks(indexes) => {
                let number = indexes.one().map_err(Failure::usage)?;
                let offset = u32::try_from(at + written).ok().filter(|offset| *offset <= grid.block_size().bytes());
                let offset = offset.ok_or_else(|| {
                    Failure::of("past-block", format!("offset {at} is past the end of block #{number}"))
                })?;
                grid.put_slice(index(number)?, offset, bytes)?;
            }
        }
        written += filled as u64;
        if filled < buffer.len() {
            break;
        }
    }
    let json = json!({"what": thing.to_string(), "offset": at, "bytes": written});
    let view = &mut session.view;
    let name = view.paint(Tone::Strong, shown(&thing.to_string()));
    view.report(format_args!("{name}  {} at {at}", counted(written, "byte")), &json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(words: &[&str]) -> Result<(Source, String), String> {
        use clap::{Args as _, FromArgMatches as _};
        let list = Args::augment_args(clap::Command::new("put").no_binary_name(true));
        let matches = list.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let args = Args::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        args.resolve().map(|(source, thing)| (source, thing.to_string())).map_err(|failure| failure.message)
    }

    #[test]
    fn what_goes_where() {
        let file = |name: &str| Source::File(name.into());
        let text = |text: &str| Source::Text(text.to_owned());
        for (words, source, thing) in [
            (&["a/b.jpg"][..], file("a/b.jpg"), "b.jpg"),
            (&["a/b.jpg", "c/d"], file("a/b.jpg"), "c/d"),
            (&["c/d", "-"], Source::Stdin, "c/d"),
            (&["-", "c/d"], Source::Stdin, "c/d"),
            (&["a", "#5"], file("a"), "#5"),
            (&["#5", "-"], Source::Stdin, "#5"),
            (&["-i5", "-"], Source::Stdin, "#5"),
            (&["--index=5..", "a"], file("a"), "#5..281474976710656"),
            (&["--index=5", "--text", "x"], text("x"), "#5"),
            (&["n", "--text=-x"], text("-x"), "n"),
        ] {
            assert_eq!(resolved(words), Ok((source, thing.to_owned())), "{words:?}");
        }
        for words in
            [&[][..], &["-"], &["a", "b", "-i5"], &["a", "b", "--text=x"], &["--text=x"], &["a", "#x"], &[".."]]
        {
            assert!(resolved(words).is_err(), "{words:?}");
        }
    }
}
