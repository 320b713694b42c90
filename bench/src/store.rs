//! The segment log beside fjall, redb and LMDB, in turn, medians at the end.

mod engine;
mod fjall;
mod life;
mod lmdb;
mod okapi;
mod probe;
mod redb;

use crate::Fault;
use crate::goal::Goal;
use crate::options::Options;
use crate::sample::median;
use crate::table::{Table, amount, bytes};
use engine::Safety;
use life::{Figures, Life};

/// The word that makes this program live one life of one engine (see [`life`]).
pub(crate) const LIFE: &str = "life";

const OKAPI: &str = "okapi";
const MIB: u64 = 1 << 20;

/// The child's side of a life.
pub(crate) fn live(words: &[String]) -> Result<(), Fault> {
    life::live(words)
}

/// A figure worth a row.
#[derive(Debug, Clone, Copy)]
struct Row {
    figure: &'static str,
    label: &'static str,
    unit: Unit,
    goals: &'static [Goal],
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    /// Blocks a second.
    Ops,
    /// Bytes a second.
    Bytes,
    /// Microseconds of processor time for each block.
    Cpu,
    /// Times the payload.
    Times,
    Seconds,
}

struct Scenario {
    name: &'static str,
    life: Life,
    /// Lives of each engine; a quick look is one.
    rounds: usize,
    rows: &'static [Row],
}

const fn row(figure: &'static str, label: &'static str, unit: Unit, goals: &'static [Goal]) -> Row {
    Row { figure, label, unit, goals }
}

const REOPEN: Row = row("reopen", "reopen and first get", Unit::Seconds, &[Goal::AtMost(1.0)]);

const SMALL: &[Row] = &[
    row("fill_ops", "fill, blocks/s", Unit::Ops, &[Goal::Times("lmdb", 2.0), Goal::Times("fjall", 5.0)]),
    row("fill_synced_bytes", "fill and sync, payload/s", Unit::Bytes, &[]),
    row("fill_cpu", "fill, cpu us", Unit::Cpu, &[]),
    row("fill_written", "fill, bytes written", Unit::Times, &[Goal::AtMost(1.1)]),
    row("read_ops", "random read, blocks/s", Unit::Ops, &[Goal::Beside("lmdb")]),
    row("read_cpu", "random read, cpu us", Unit::Cpu, &[]),
    row("overwrite_ops", "random overwrite, blocks/s", Unit::Ops, &[Goal::Times("lmdb", 3.0)]),
    row("overwrite_written", "overwrite until idle, bytes written", Unit::Times, &[Goal::AtMost(1.6)]),
    row("space", "space once idle and closed", Unit::Times, &[Goal::AtMost(1.25)]),
    REOPEN,
];

const LARGE: &[Row] = &[
    row("fill_bytes", "fill, payload/s", Unit::Bytes, &[Goal::AtLeast(2.5e9)]),
    row("fill_synced_bytes", "fill and sync, payload/s", Unit::Bytes, &[]),
    row("fill_cpu", "fill, cpu us", Unit::Cpu, &[]),
    row("fill_written", "fill, bytes written", Unit::Times, &[Goal::AtMost(1.1)]),
    row("read_ops", "random read, blocks/s", Unit::Ops, &[Goal::Beside("lmdb")]),
    row("read_cpu", "random read, cpu us", Unit::Cpu, &[]),
    row("overwrite_bytes", "random overwrite, payload/s", Unit::Bytes, &[Goal::Beside("lmdb")]),
    row("overwrite_written", "overwrite until idle, bytes written", Unit::Times, &[Goal::AtMost(1.6)]),
    row("space", "space once idle and closed", Unit::Times, &[Goal::AtMost(1.25)]),
    REOPEN,
];

const SYNCED: &[Row] = &[row("fill_ops", "fill, blocks/s", Unit::Ops, &[])];

fn scenarios(quick: bool) -> Vec<Scenario> {
    let scale = if quick { 8 } else { 1 };
    let rounds = if quick { 1 } else { 3 };
    let life = |size: u64, mib: u64, overwritten: u64, safety| {
        let blocks = mib * MIB / scale / size;
        Life { size: size as usize, blocks, reads: blocks, overwrites: blocks * overwritten, safety }
    };
    vec![
        Scenario { name: "4 KiB", life: life(4 << 10, 1024, 1, Safety::AtTheEnd), rounds, rows: SMALL },
        Scenario { name: "64 KiB", life: life(64 << 10, 2048, 1, Safety::AtTheEnd), rounds, rows: LARGE },
        Scenario {
            name: "4 KiB, every batch synced",
            life: life(4 << 10, 32, 0, Safety::EveryBatch),
            rounds,
            rows: SYNCED,
        },
        Scenario {
            name: "64 KiB, every batch synced",
            life: life(64 << 10, 256, 0, Safety::EveryBatch),
            rounds,
            rows: SYNCED,
        },
        Scenario { name: "4 GiB of 4 KiB", life: life(4 << 10, 4096, 0, Safety::AtTheEnd), rounds: 1, rows: &[REOPEN] },
    ]
}

/// Runs the store bench and prints its table.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let folder = options.folder()?;
    let names: Vec<&str> = engine::NAMES.into_iter().filter(|name| options.wants(name)).collect();
    println!(
        "Files under {}. Blocks are put 16 at a time, in one transaction where there is such. Nothing is synced before \
         the end, unless\nthe scenario says so; then each 16 are. Each life of an engine is a process of its own; what \
         is read was just written.\n",
        folder.path().display()
    );
    if options.quick {
        println!("A quick look: one round, and an eighth of the data that the scenarios name.\n");
    }
    if options.wants(OKAPI) {
        let own = tempfile::tempdir_in(folder.path())?;
        println!(
            "One thread alone on this machine: sealing 64 KiB {}, 4 KiB {}; writing to the page cache, not sealed, {}.\n",
            text(probe::seal(64 << 10), Unit::Bytes),
            text(probe::seal(4 << 10), Unit::Bytes),
            text(probe::write(own.path())?, Unit::Bytes)
        );
    }
    let scenarios = scenarios(options.quick);
    for scenario in scenarios.iter().filter(|scenario| options.wants_scenario(scenario.name)) {
        let mut lives = vec![Vec::new(); names.len()];
        for _ in 0..scenario.rounds {
            for (name, lives) in names.iter().zip(&mut lives) {
                let own = tempfile::tempdir_in(folder.path())?;
                lives.push(life::live_apart(name, own.path(), &scenario.life)?);
            }
        }
        show(scenario, &names, &lives);
    }
    Ok(())
}

fn show(scenario: &Scenario, names: &[&str], lives: &[Vec<Figures>]) {
    let payload = scenario.life.size as f64;
    let mut headings = vec![scenario.name, ""];
    headings.extend(names);
    headings.extend(["goal", "verdict"]);
    let mut table = Table::new(&headings);
    for row in scenario.rows {
        let scale = match row.figure {
            "fill_written" | "space" => scenario.life.blocks as f64 * payload,
            "overwrite_written" => scenario.life.overwrites as f64 * payload,
            _ => 1.0,
        };
        let of = |lives: &Vec<Figures>| {
            median(lives.iter().map(|life| life.get(row.figure).copied().unwrap_or(f64::NAN) / scale).collect())
        };
        let figures: Vec<(&str, f64)> = names.iter().copied().zip(lives.iter().map(of)).collect();
        let cells = [row.label.to_owned(), String::new()].into_iter();
        let cells: Vec<String> = cells.chain(figures.iter().map(|(_, figure)| text(*figure, row.unit))).collect();
        let of = |name: &str| figures.iter().find(|(other, _)| *other == name).map(|(_, figure)| *figure);
        let ratio = |rival: &str| of(OKAPI).zip(of(rival)).map(|(own, other)| own / other);
        let mut judged = row.goals.iter().map(|goal| goal.judge(of(OKAPI), ratio, |figure| text(figure, row.unit)));
        table.row(cells.iter().cloned().chain(judged.next().into_iter().flatten()));
        for more in judged {
            table.row(std::iter::repeat_n(String::new(), cells.len()).chain(more));
        }
    }
    table.gap();
    table.print();
}

fn text(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Ops => amount(figure),
        Unit::Bytes => bytes(figure),
        Unit::Cpu => format!("{figure:.2}"),
        Unit::Times => format!("{figure:.2} x"),
        Unit::Seconds if figure < 1.0 => format!("{:.1} ms", figure * 1e3),
        Unit::Seconds => format!("{figure:.2} s"),
    }
}
