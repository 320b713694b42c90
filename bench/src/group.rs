//! A group of nodes that keep each other's data, beside GlusterFS and Tahoe-LAFS: all systems run at once and take each
//! step one after the other, A B C, and so on; medians over the rounds at the end.

mod gluster;
mod guard;
mod okapi;
mod pool;
mod processes;
mod tahoe;

use crate::goal::Goal;
use crate::options::Options;
use crate::sample::median;
use crate::table::Table;
use crate::{Fault, random};
use pool::{Figures, Payload, Pool, Step};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

const OKAPI: &str = "okapi";
const GLUSTER: &str = "gluster";
const TAHOE: &str = "tahoe";

const MIB: u64 = 1 << 20;
const ROUNDS: usize = 3;
/// How long nothing is done before that is measured, so that what was begun is over.
const REST: Duration = Duration::from_secs(10);

/// Starts a system in a directory of its own.
type Start<'s> = &'s dyn Fn(&Path) -> Result<Box<dyn Pool>, Fault>;

/// How much, and for how long.
#[derive(Debug, Clone, Copy)]
struct Scale {
    rounds: usize,
    file_bytes: u64,
    idle: Duration,
}

const MEASURED: Scale = Scale { rounds: ROUNDS, file_bytes: 512 * MIB, idle: Duration::from_secs(60) };
const QUICK: Scale = Scale { rounds: 1, file_bytes: 128 * MIB, idle: Duration::from_secs(15) };

#[derive(Debug, Clone, Copy)]
enum Unit {
    /// Seconds of processor time for each MiB of the file.
    Cpu,
    /// MiB of the file a second.
    Rate,
    Microseconds,
    /// Parts of a processor.
    Share,
    Bytes,
    Times,
}

/// A figure worth a row.
#[derive(Debug, Clone, Copy)]
struct Row {
    figure: &'static str,
    label: &'static str,
    unit: Unit,
    goals: &'static [Goal],
}

const fn row(figure: &'static str, label: &'static str, unit: Unit, goals: &'static [Goal]) -> Row {
    Row { figure, label, unit, goals }
}

const ROWS: &[Row] = &[
    row("put.rate", "put until safe, MiB/s", Unit::Rate, &[Goal::Times(GLUSTER, 2.0), Goal::Times(TAHOE, 5.0)]),
    row("put.cpu", "put until safe, cpu s/MiB", Unit::Cpu, &[Goal::AtMost(0.004)]),
    row("get.rate", "get, MiB/s", Unit::Rate, &[]),
    row("get.cpu", "get, cpu s/MiB", Unit::Cpu, &[Goal::AtMost(0.001)]),
    row("restore.rate", "everything back from k shards, MiB/s", Unit::Rate, &[]),
    row("restore.cpu", "everything back, cpu s/MiB", Unit::Cpu, &[Goal::AtMost(0.001)]),
    row("restore.readable", "everything can be read, from the start of that", Unit::Microseconds, &[]),
    row("repair.rate", "repair after 2 lost nodes, MiB/s", Unit::Rate, &[]),
    row("repair.cpu", "repair, cpu s/MiB of all data", Unit::Cpu, &[Goal::AtMost(0.002)]),
    row("repair.moved", "repair, bytes moved by bytes lost", Unit::Times, &[Goal::AtMost(1.1)]),
    row("small.put", "put 4 KiB, durable here, p50", Unit::Microseconds, &[Goal::AtMost(1000.0)]),
    row("small.get", "get 4 KiB, p50", Unit::Microseconds, &[]),
    row("idle.cpu", "idle node, cpu, median", Unit::Share, &[]),
    row("idle.cpu_max", "idle node, cpu, most", Unit::Share, &[Goal::AtMost(0.001)]),
    row("idle.resident", "idle node, RSS, median", Unit::Bytes, &[]),
    row("idle.resident_max", "idle node, RSS, most", Unit::Bytes, &[Goal::AtMost(30.0 * MIB as f64)]),
    row("idle.proportional", "idle node, PSS, median", Unit::Bytes, &[]),
    row("idle.proportional_max", "idle node, PSS, most", Unit::Bytes, &[]),
];

/// Runs the group bench and prints its table.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    // Kept only by its path: the guard removes it.
    let folder = options.folder()?.keep();
    guard::guarded(&folder, || {
        let mut scale = if options.quick { QUICK } else { MEASURED };
        scale.rounds = options.rounds.unwrap_or(scale.rounds);
        describe(scale, &folder);
        let payload = payload(&folder, scale.file_bytes)?;
        let rounds: Result<Vec<Round>, Fault> = (0..scale.rounds)
            .map(|number| round(options, &folder.join(format!("round-{number}")), scale, &payload))
            .collect();
        show(&rounds?);
        Ok(())
    })
}

fn describe(scale: Scale, folder: &Path) {
    println!(
        "A file of {} MiB, {} rounds; all on this machine, over loopback, files under {}.\n\
         okapi:   15 nodes of as many members, 4 of 12, encrypted, every shard synced: 3 times the data\n\
         gluster: 6 bricks, 4 of 6, mounted by FUSE, neither encrypted nor signed, synced at the end: 1.5 times the data\n\
         tahoe:   12 servers, 4 of 12, encrypted, nothing synced: 3 times the data\n\
         Processor time is that of all processes of a system together, those of its commands too; the kernel's own\n\
         threads, which write to the disk, count for nobody.\n",
        scale.file_bytes / MIB,
        scale.rounds,
        folder.display()
    );
}

/// The figures of each system that took part.
type Round = Vec<(&'static str, Figures)>;

/// One life of all systems, from empty disks.
fn round(options: &Options, folder: &Path, scale: Scale, payload: &Payload) -> Result<Round, Fault> {
    let mut pools = start(options, folder)?;
    let mut figures = vec![Figures::new(); pools.len()];
    for step in Step::ALL.into_iter().filter(|step| options.wants_scenario(step.name()) || *step == Step::Put) {
        if step == Step::Idle {
            idle(&mut pools, &mut figures, scale.idle)?;
            continue;
        }
        for (pool, figures) in pools.iter_mut().zip(&mut figures) {
            let name = pool.name();
            let taken = taken(&mut **pool, step, payload);
            figures.extend(taken.map_err(|why| format!("{name}, {}: {why}", step.name()))?);
        }
    }
    let names: Vec<&str> = pools.iter().map(|pool| pool.name()).collect();
    drop(pools);
    processes::end_all(folder);
    std::fs::remove_dir_all(folder)?;
    Ok(names.into_iter().zip(figures).collect())
}

fn start(options: &Options, folder: &Path) -> Result<Vec<Box<dyn Pool>>, Fault> {
    let mut pools: Vec<Box<dyn Pool>> = Vec::new();
    let mut add = |name: &'static str, start: Start<'_>| -> Result<(), Fault> {
        if options.wants(name) {
            match start(&folder.join(name)) {
                Ok(pool) => pools.push(pool),
                // Without a rival there is still something to tell.
                Err(why) if name != OKAPI => println!("{name} does not run here and is left out: {why}"),
                Err(why) => return Err(format!("{name} does not start: {why}").into()),
            }
        }
        Ok(())
    };
    add(OKAPI, &|folder| Ok(Box::new(okapi::Okapi::start(folder)?)))?;
    add(GLUSTER, &|folder| Ok(Box::new(gluster::Gluster::start(folder)?)))?;
    let tahoe = std::env::current_exe()?.with_file_name("../rivals/tahoe/bin/tahoe");
    add(TAHOE, &|folder| Ok(Box::new(tahoe::Tahoe::start(&tahoe, folder)?)))?;
    Ok(pools)
}

/// A step of one system, with what it costs.
fn taken(pool: &mut dyn Pool, step: Step, payload: &Payload) -> Result<Figures, Fault> {
    if !pool.prepare(step)? {
        return Ok(Figures::new());
    }
    // One that ends meanwhile must not take what it has used with it.
    let spent = |pool: &dyn Pool| processes::used(&processes::of_folder(pool.folder())) + processes::used_by_waited();
    let (before, start) = (spent(pool), Instant::now());
    let mut figures = pool.take(step, payload)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = spent(pool) - before;
    let mib = payload.bytes as f64 / MIB as f64;
    eprintln!("{:>8} {:<8} {seconds:8.2} s {cpu:8.2} cpu s", pool.name(), step.name());
    figures.insert(format!("{}.rate", step.name()), mib / seconds);
    figures.insert(format!("{}.cpu", step.name()), cpu / mib);
    pool.check(step, payload)?;
    Ok(figures)
}

/// Looks at all systems together while nothing is asked of any.
fn idle(pools: &mut [Box<dyn Pool>], figures: &mut [Figures], time: Duration) -> Result<(), Fault> {
    for pool in pools.iter_mut() {
        pool.prepare(Step::Idle)?;
    }
    std::thread::sleep(REST);
    let nodes: Vec<Vec<u32>> = pools.iter().map(|pool| pool.nodes()).collect();
    let used = || -> Result<Vec<Vec<f64>>, Fault> {
        nodes.iter().map(|nodes| nodes.iter().map(|node| processes::used_finely(*node)).collect()).collect()
    };
    let (before, start) = (used()?, Instant::now());
    std::thread::sleep(time);
    let (after, seconds) = (used()?, start.elapsed().as_secs_f64());
    for (at, nodes) in nodes.iter().enumerate() {
        let shares = before[at].iter().zip(&after[at]).map(|(before, after)| (after - before) / seconds).collect();
        let memory: Vec<processes::Memory> =
            nodes.iter().map(|node| processes::memory(*node)).collect::<Result<_, _>>()?;
        let resident = memory.iter().map(|memory| memory.resident).collect();
        let proportional = memory.iter().map(|memory| memory.proportional).collect();
        for (name, of) in [("cpu", shares), ("resident", resident), ("proportional", proportional)] {
            let of: Vec<f64> = of;
            figures[at].insert(format!("idle.{name}_max"), of.iter().copied().fold(0.0, f64::max));
            figures[at].insert(format!("idle.{name}"), median(of));
        }
    }
    Ok(())
}

/// The file, made up from a seed.
fn payload(folder: &Path, bytes: u64) -> Result<Payload, Fault> {
    let path = folder.join("payload");
    let mut file = std::fs::File::create(&path)?;
    let mut piece = vec![0; MIB as usize];
    for number in 0..bytes / MIB {
        random::fill(number, &mut piece);
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(Payload { path, back: folder.join("back"), bytes })
}

fn show(rounds: &[Round]) {
    let names: Vec<&str> = rounds.first().into_iter().flatten().map(|(name, _)| *name).collect();
    let mut headings = vec!["median of the rounds", ""];
    headings.extend(&names);
    headings.extend(["goal", "verdict", "why"]);
    let mut table = Table::new(&headings);
    for row in ROWS {
        let values = |name: &str| -> Vec<f64> {
            let of = |round: &Round| {
                round.iter().find(|(other, _)| *other == name).and_then(|(_, figures)| figures.get(row.figure).copied())
            };
            rounds.iter().filter_map(of).collect()
        };
        let middle = |name: &str| Some(median(values(name))).filter(|middle| !middle.is_nan());
        // Round by round: what else the machine does meanwhile meets both of one round alike.
        let ratio = |rival: &str| {
            let ratios = values(OKAPI).into_iter().zip(values(rival)).map(|(own, other)| own / other).collect();
            Some(median(ratios)).filter(|ratio| !ratio.is_nan())
        };
        let cell = |name: &&str| middle(name).map_or_else(|| "-".to_owned(), |figure| text(figure, row.unit));
        let cells: Vec<String> =
            [row.label.to_owned(), String::new()].into_iter().chain(names.iter().map(cell)).collect();
        let mut judged = row.goals.iter().map(|goal| goal.judge(middle(OKAPI), ratio, |figure| text(figure, row.unit)));
        table.row(cells.iter().cloned().chain(judged.next().into_iter().flatten()));
        for more in judged {
            table.row(std::iter::repeat_n(String::new(), cells.len()).chain(more));
        }
    }
    table.print();
}

fn text(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Cpu => format!("{figure:.4}"),
        Unit::Rate => format!("{figure:.0}"),
        Unit::Microseconds if figure >= 10_000.0 => format!("{:.0} ms", figure / 1000.0),
        Unit::Microseconds => format!("{figure:.0} us"),
        Unit::Share => format!("{:.3} %", figure * 100.0),
        Unit::Bytes => format!("{:.1} MiB", figure / MIB as f64),
        Unit::Times => format!("{figure:.2} x"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_in_their_units() {
        let shown = [
            text(0.00312, Unit::Cpu),
            text(812.4, Unit::Rate),
            text(412.0, Unit::Microseconds),
            text(31_250.0, Unit::Microseconds),
            text(0.000_42, Unit::Share),
            text(29.5 * MIB as f64, Unit::Bytes),
            text(1.04, Unit::Times),
        ];
        assert_eq!(shown, ["0.0031", "812", "412 us", "31 ms", "0.042 %", "29.5 MiB", "1.04 x"]);
    }

    #[test]
    fn every_goal_names_a_system_there_is() {
        for row in ROWS {
            for goal in row.goals {
                if let Goal::Times(rival, _) | Goal::Beside(rival) = goal {
                    assert!([GLUSTER, TAHOE].contains(rival), "{}", row.label);
                }
            }
        }
    }

    #[test]
    fn a_file_that_came_back_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let payload = payload(folder.path(), 2 * MIB).unwrap();
        let mut bytes = std::fs::read(&payload.path).unwrap();
        std::fs::write(&payload.back, &bytes).unwrap();
        payload.check().unwrap();
        assert!(!payload.back.exists());
        for length in [bytes.len() - 1, 0] {
            std::fs::write(&payload.back, &bytes[..length]).unwrap();
            assert!(payload.check().is_err());
        }
        bytes[MIB as usize] ^= 1;
        std::fs::write(&payload.back, &bytes).unwrap();
        assert!(payload.check().is_err());
    }
}
