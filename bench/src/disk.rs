//! Disks over NBD, beside nbdkit and qemu-nbd: all serve at once and are asked one after the other, over unix sockets;
//! medians over the rounds at the end. fio is slower than any of those it asks, so it is only shown beside a guest that
//! costs next to nothing.

mod fan;
mod fio;
mod guest;
mod served;
mod shared;
mod sharer;

use crate::goal::Goal;
use crate::options::Options;
use crate::sample::median;
use crate::table::{Table, amount, bytes};
use crate::{Fault, random};
use fio::{Job, Run};
use served::Served;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const OKAPI: &str = "okapi";
/// The same, with what is written left in its memory until a flush.
const BACK: &str = "okapi --write-back";
/// The same without looking for more before it sleeps.
const STILL: &str = "okapi --spin 0";
const MEMORY: &str = "nbdkit memory";
const COW: &str = "nbdkit cow";
const QEMU: &str = "qemu-nbd";
/// Over vhost-user.
const SHARED: &str = "okapi vhost";
const DAEMON: &str = "qemu-storage-daemon";

/// Bytes of the image: twice what a small guest has, so that nothing is decided by what a processor keeps to itself.
const IMAGE: u64 = 128 << 20;
const ROUNDS: usize = 5;
/// What the part about many machines is called.
const MACHINES: &str = "254 machines from one image";
/// What the part about shared memory is called.
const SHARING: &str = "vhost-user";

/// What is asked of the disks.
struct Scenario {
    name: &'static str,
    job: Job,
    /// Who takes part, and which of its disks.
    disks: &'static [(&'static str, Disk)],
    goals: &'static [Goal],
    /// Goals of the 99th percentile, where small ones are better.
    late: Option<&'static str>,
}

/// The disks of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disk {
    /// It shows an image that nobody has written to.
    Base,
    /// The same, half of whose blocks have been written anew.
    Diff,
    /// It is written to.
    Own,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "4 KiB random reads, 32 in flight",
        job: Job { what: "randread", block: 4, depth: 32, flush: false },
        disks: &[(OKAPI, Disk::Base), (MEMORY, Disk::Own), (QEMU, Disk::Own)],
        goals: &[Goal::Times(MEMORY, 1.5)],
        late: Some(MEMORY),
    },
    Scenario {
        name: "4 KiB random reads, one at a time",
        job: Job { what: "randread", block: 4, depth: 1, flush: false },
        disks: &[(OKAPI, Disk::Base), (STILL, Disk::Base), (MEMORY, Disk::Own), (QEMU, Disk::Own)],
        goals: &[Goal::Beside(MEMORY)],
        late: None,
    },
    Scenario {
        name: "128 KiB reads in order, 8 in flight",
        job: Job { what: "read", block: 128, depth: 8, flush: false },
        disks: &[(OKAPI, Disk::Base), (MEMORY, Disk::Own), (QEMU, Disk::Own)],
        goals: &[Goal::Times(MEMORY, 1.1)],
        late: None,
    },
    Scenario {
        name: "128 KiB writes in order, 8 in flight",
        job: Job { what: "write", block: 128, depth: 8, flush: false },
        disks: &[(BACK, Disk::Own), (OKAPI, Disk::Own), (MEMORY, Disk::Own), (QEMU, Disk::Own)],
        goals: &[Goal::Times(MEMORY, 1.0)],
        late: None,
    },
    Scenario {
        name: "4 KiB random reads of base and diff, 32 in flight",
        job: Job { what: "randread", block: 4, depth: 32, flush: false },
        disks: &[(OKAPI, Disk::Diff), (COW, Disk::Diff), (QEMU, Disk::Diff)],
        goals: &[Goal::Times(COW, 3.0), Goal::Beside(QEMU)],
        late: None,
    },
    Scenario {
        name: "4 KiB random writes, 32 in flight",
        job: Job { what: "randwrite", block: 4, depth: 32, flush: false },
        disks: &[(BACK, Disk::Own), (OKAPI, Disk::Own), (MEMORY, Disk::Own), (QEMU, Disk::Own)],
        goals: &[Goal::Beside(MEMORY), Goal::Beside(QEMU)],
        late: None,
    },
    Scenario {
        name: "4 KiB random writes, each made durable, one at a time",
        job: Job { what: "randwrite", block: 4, depth: 1, flush: true },
        disks: &[(OKAPI, Disk::Own), (QEMU, Disk::Own)],
        goals: &[Goal::Beside(QEMU)],
        late: None,
    },
    Scenario {
        name: "4 KiB random writes, each made durable, 32 in flight",
        job: Job { what: "randwrite", block: 4, depth: 32, flush: true },
        disks: &[(OKAPI, Disk::Own), (QEMU, Disk::Own)],
        goals: &[Goal::Beside(QEMU)],
        late: None,
    },
];

/// Runs the bench and prints its table.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let folder = options.folder()?;
    let image = image_in(folder.path())?;
    println!("An image of {} MiB, served over unix sockets by all at once; asked by {}.", IMAGE >> 20, fio::version()?);
    let served = serve(options, folder.path(), &image)?;
    let (rounds, seconds) = pace(options);
    for scenario in SCENARIOS.iter().filter(|scenario| options.wants_scenario(scenario.name)) {
        let (mut lean, mut by_fio) = (Runs::new(), Runs::new());
        for _ in 0..rounds {
            for (who, disk) in scenario.disks {
                let Some(its) = served.iter().find(|its| its.name == *who && its.has(*disk)) else { continue };
                lean.entry(who).or_default().push(guest::run(&scenario.job, its, *disk, seconds)?);
                by_fio.entry(who).or_default().push(scenario.job.run(its, *disk, seconds)?);
            }
        }
        show(scenario, &lean, Some(&by_fio));
    }
    drop(served);
    if options.wants_scenario(SHARING) {
        shared::run(options)?;
    }
    if options.wants_scenario(MACHINES) { fan::run(options) } else { Ok(()) }
}

/// Writes the image that all serve.
fn image_in(folder: &Path) -> Result<PathBuf, Fault> {
    let image = folder.join("image.raw");
    let mut content = vec![0; IMAGE as usize];
    random::fill(1, &mut content);
    std::fs::write(&image, content)?;
    Ok(image)
}

/// How many rounds there are, and for how many seconds each asks.
fn pace(options: &Options) -> (usize, f64) {
    if options.quick { (1, 1.0) } else { (options.rounds.unwrap_or(ROUNDS), 2.0) }
}

/// What each contender came to, round by round.
type Runs = BTreeMap<&'static str, Vec<Run>>;

/// Starts all that take part. Of those that are not installed the table says so.
fn serve(options: &Options, folder: &Path, image: &Path) -> Result<Vec<Served>, Fault> {
    let mut served = Vec::new();
    type Start = fn(&Path, &Path) -> Result<Vec<Served>, Fault>;
    let all: [(&str, Start); 4] =
        [(OKAPI, served::okapi), (MEMORY, served::memory), (COW, served::cow), (QEMU, served::qemu)];
    for (name, start) in all.into_iter().filter(|(name, _)| options.wants(name)) {
        let its = folder.join(name.replace(' ', "-"));
        std::fs::create_dir_all(&its)?;
        match start(&its, image) {
            Ok(started) => served.extend(started),
            Err(why) if name != OKAPI => println!("{name} is left out: {why}"),
            Err(why) => return Err(why),
        }
    }
    for its in &served {
        its.prepare()?;
    }
    Ok(served)
}

fn show(scenario: &Scenario, all: &Runs, by_fio: Option<&Runs>) {
    println!("\n{}", scenario.name);
    let of = |runs: &Runs, who: &str, figure: fn(&Run) -> f64| {
        runs.get(who).map(|runs| median(runs.iter().map(figure).collect()))
    };
    let middle = |who: &str, figure: fn(&Run) -> f64| of(all, who, figure);
    let headings = [
        "",
        "",
        "a second",
        "bytes/s",
        "p50 us",
        "p99 us",
        "server CPU us each",
        by_fio.map_or("", |_| "a second, asked by fio"),
    ];
    let mut table = Table::new(&headings);
    for (who, _) in scenario.disks.iter().filter(|(who, _)| all.contains_key(who)) {
        let figure = |figure| middle(who, figure).unwrap_or(f64::NAN);
        table.row([
            (*who).to_owned(),
            String::new(),
            amount(figure(|run| run.rate)),
            bytes(figure(|run| run.bytes)),
            format!("{:.0}", figure(|run| run.p50)),
            format!("{:.0}", figure(|run| run.p99)),
            format!("{:.2}", figure(|run| run.cpu)),
            by_fio.and_then(|by_fio| of(by_fio, who, |run| run.rate)).map(amount).unwrap_or_default(),
        ]);
    }
    table.print();
    // Both ways to serve where there are two.
    for (own, _) in scenario
        .disks
        .iter()
        .filter(|(who, _)| who.starts_with(OKAPI) && all.contains_key(who))
        .filter(|(who, _)| !scenario.goals.iter().any(|goal| matches!(goal, Goal::Beside(rival) if rival == who)))
    {
        let beside = |figure: fn(&Run) -> f64| {
            move |rival: &str| {
                let (own, its) = (all.get(own)?, all.get(rival)?);
                Some(median(own.iter().zip(its).map(|(own, its)| figure(own) / figure(its)).collect()))
            }
        };
        for goal in scenario.goals {
            let [wanted, verdict] = goal.judge(middle(own, |run| run.rate), beside(|run| run.rate), amount);
            println!("  {own}, rate {wanted}: {verdict}");
        }
        if let Some(rival) = scenario.late {
            let verdict = beside(|run| run.p99)(rival).map_or_else(
                || "not measured".to_owned(),
                |ratio| format!("{} ({ratio:.2} x)", if ratio <= 1.0 { "reached" } else { "MISSED" }),
            );
            println!("  {own}, p99 <= that of {rival}: {verdict}");
        }
    }
}
