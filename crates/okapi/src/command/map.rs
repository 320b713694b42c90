//! `okapi map`: draws what of a grid is occupied, how full it is and how fragmented.

use crate::chart::{Charset, Chart, Span, legend, merged, without};
use crate::failure::Failure;
use crate::session::Session;
use crate::size::{Count, Size, counted};
use crate::view::{Tone, View};
use okapi_client::{Grid, GridInfo, Index, RecordInfo};
use serde_json::{Value, json};

/// Runs read for one map: more cannot be told apart on a screen, and each costs 16 bytes.
const RUNS_MAX: usize = 4 << 20;

/// Draw a grid: what is occupied, how full, how fragmented
///
/// Each cell stands for a number of blocks; the fuller the cell, the darker it is. Long emptiness is folded into one
/// line. The user's own blocks and those of records are drawn differently.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Draw with ASCII characters only
    #[arg(long)]
    ascii: bool,
}

/// What a map tells.
struct Facts {
    info: GridInfo,
    own: Vec<Span>,
    records: Vec<Span>,
    all: Vec<Span>,
    extents: usize,
    store: Vec<(String, String)>,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let grid = session.grid()?;
        let facts = gather(&grid)?;
        let view = &mut session.view;
        if view.json {
            return view.json(&facts.json());
        }
        let charset = if self.ascii || is_ascii_locale() { Charset::Ascii } else { Charset::Boxes };
        draw(view, &facts, charset)
    }
}

/// Whether the environment says outright that only ASCII can be shown.
fn is_ascii_locale() -> bool {
    let set =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    set.is_some_and(|locale| locale == "C" || locale == "POSIX")
}

/// Where the blocks of these records are, ascending. Lists of records bring only their first extents.
pub(crate) fn extents(grid: &Grid, records: &[RecordInfo]) -> Result<Vec<Span>, Failure> {
    let mut spans = Vec::with_capacity(records.len());
    for listed in records {
        let blocks = grid.block_size().blocks_for(listed.length);
        let first: u64 = listed.extents.iter().map(|extent| extent.count).sum();
        let found = if first < blocks { grid.find(&listed.name)? } else { None };
        let extents = &found.as_ref().unwrap_or(listed).extents;
        spans.extend(extents.iter().map(|extent| extent.start.get()..extent.last().get() + 1));
    }
    Ok(merged(&spans, &[]))
}

fn gather(grid: &Grid) -> Result<Facts, Failure> {
    let info = grid.stat()?;
    let listed: Vec<RecordInfo> = grid.records("").collect::<Result<_, _>>()?;
    let taken = extents(grid, &listed)?;
    let mut all = Vec::new();
    for run in grid.runs(Index::MIN) {
        let run = run?;
        if all.len() == RUNS_MAX {
            let text = format!("grid `{}` has more than {} runs, too many to draw", info.name, Count(RUNS_MAX as u64));
            return Err(Failure::of("too-many", text));
        }
        all.push(run.start.get()..run.last().get() + 1);
    }
    let own = without(&all, &taken);
    let records = without(&all, &own);
    // Strangers on somebody else's node may not see these; the map does without.
    let store = grid.client().status().map(|status| status.facts).unwrap_or_default();
    let store = store.into_iter().filter(|(name, _)| name.starts_with(&format!("{}.", info.engine))).collect();
    Ok(Facts { info, own, records, all, extents: taken.len(), store })
}

/// How many blocks these spans have.
fn blocks(spans: &[Span]) -> u64 {
    spans.iter().map(|span| span.end - span.start).sum()
}

impl Facts {
    fn largest(&self) -> u64 {
        self.all.iter().map(|span| span.end - span.start).max().unwrap_or(0)
    }

    /// Bytes stored as a part of what the occupied blocks could hold.
    fn fill(&self) -> u64 {
        let room = u128::from(blocks(&self.all)) * u128::from(self.info.block_size.bytes());
        u64::try_from((u128::from(self.info.bytes) * 100).checked_div(room).unwrap_or(0)).unwrap_or(100).min(100)
    }

    /// How full the store's segments are, as far as the node tells: all grids of the engine together.
    fn store_line(&self) -> Option<String> {
        let fact = |name: &str| {
            let found = self.store.iter().find(|(known, _)| known.ends_with(name));
            found.and_then(|(_, value)| value.parse::<u64>().ok())
        };
        let (segments, held, live) = (fact(".segments")?, fact(".held_bytes")?, fact(".live_bytes")?);
        let part = live.checked_mul(100)?.checked_div(held)?;
        Some(format!("{}, {} held, {part} % of it live", counted(segments, "segment"), Size(held)))
    }

    fn json(&self) -> Value {
        let spans =
            |spans: &[Span]| spans.iter().map(|span| json!([span.start, span.end - span.start])).collect::<Value>();
        json!({
            "grid": self.info.name,
            "block_size": self.info.block_size.bytes(),
            "blocks": blocks(&self.all),
            "bytes": self.info.bytes,
            "runs": self.all.len(),
            "largest_run": self.largest(),
            "own": spans(&self.own),
            "records": spans(&self.records),
            "store": self.store.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>(),
        })
    }
}

fn draw(view: &mut View, facts: &Facts, charset: Charset) -> Result<(), Failure> {
    let info = &facts.info;
    let size = u64::from(info.block_size.bytes());
    let dot = if charset == Charset::Ascii { "-" } else { "·" };
    let shape = format!("{dot} blocks of {} {dot} {}", Size(size), info.durability.word());
    view.line(format_args!("{} {}", view.paint(Tone::Strong, &info.name), view.paint(Tone::Faint, shape)))?;
    let chart = Chart::new(&facts.own, &facts.records);
    for line in chart.draw(charset, &|tone, text| view.paint(tone, text)) {
        view.line(line)?;
    }
    if facts.all.is_empty() {
        return view.line(view.paint(Tone::Faint, "put something in: okapi put FILE"));
    }
    let [own, record, none] = legend(charset);
    let own = format!("{} own blocks", view.paint(Tone::Own, own));
    let record = format!("{} records", view.paint(Tone::Record, record));
    let cell = format!("a cell: {}, {}", counted(chart.per_cell, "block"), Size(chart.per_cell.saturating_mul(size)));
    view.line(format_args!("  {cell}    {own}  {record}  {} empty", view.paint(Tone::Faint, none)))?;
    view.line("")?;
    let total = blocks(&facts.all);
    let runs = facts.all.len() as u64;
    let mut lines = vec![(
        "full".to_owned(),
        format!("{}, {} stored ({} % of their room)", counted(total, "block"), Size(info.bytes), facts.fill()),
    )];
    lines.push((
        "fragmented".to_owned(),
        match runs {
            1 => "not at all: one run".to_owned(),
            runs => format!(
                "{} runs, the largest {}, {} on average",
                Count(runs),
                counted(facts.largest(), "block"),
                Count(total / runs)
            ),
        },
    ));
    lines.push(("own blocks".to_owned(), share(&facts.own, facts.own.len(), "run")));
    let records = share(&facts.records, facts.extents, "extent");
    lines.push(("records".to_owned(), format!("{}: {records}", Count(info.records))));
    lines.extend(facts.store_line().map(|line| ("store".to_owned(), line)));
    view.facts(&lines)
}

fn share(spans: &[Span], pieces: usize, noun: &str) -> String {
    match blocks(spans) {
        0 => "none".to_owned(),
        count => format!("{} in {}", counted(count, "block"), counted(pieces as u64, noun)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use okapi_client::{BlockSize, Durability};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn page(own: &[Span], records: &[Span], charset: Charset) -> String {
        let info = GridInfo {
            handle: 1,
            id: 1,
            block_size: BlockSize::DEFAULT,
            durability: Durability::Always,
            public: false,
            blocks: blocks(own) + blocks(records),
            bytes: (blocks(own) + blocks(records)) * 65_536,
            records: records.len() as u64,
            name: "main".to_owned(),
            engine: "log".to_owned(),
        };
        let all = merged(own, records);
        let (own, records) = (own.to_vec(), records.to_vec());
        let facts = Facts { info, own, extents: records.len(), records, all, store: Vec::new() };
        let page = Page::default();
        draw(&mut View::plain(page.clone()), &facts, charset).unwrap();
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text
    }

    #[test]
    fn a_map_reads_well() {
        let text = page(&[0..1000, 1200..1201], &[1 << 40..(1 << 40) + 7700], Charset::Boxes);
        let expected = "\
main · blocks of 64 KiB · always
┌─────────────┬────────────────────────────────────────────────────────────────┐
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("a cell: 16 blocks, 1 MiB    ░▒▓█ own blocks  ▂▄▆▇ records  · empty"), "{text}");
        assert!(text.contains("full        8,701 blocks, 543.8 MiB stored (100 % of their room)"), "{text}");
        assert!(text.contains("fragmented  3 runs, the largest 7,700 blocks, 2,900 on average"), "{text}");
        assert!(text.contains("own blocks  1,001 blocks in 2 runs"), "{text}");
        assert!(text.contains("records     1: 7,700 blocks in 1 extent"), "{text}");
        assert!(page(&[0..5], &[9..10], Charset::Ascii).is_ascii());
        assert!(page(&[], &[], Charset::Boxes).contains("nothing is stored here yet"));
    }
}
