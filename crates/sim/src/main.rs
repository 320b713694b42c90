//! The command `okapi-sim`: runs a seed, or many.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use clap::Parser;
use okapi_peers::Care;
use okapi_sim::report::Report;
use okapi_sim::sweep::{Outcome, sweep};
use okapi_sim::{Wishes, run};
use std::io::Write as _;
use std::process::ExitCode;

/// Nodes of the largest world.
const NODES_MAX: usize = 1000;

/// Runs Okapi's peers in a pretend world, from a seed, and checks that nothing is lost.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The seed, or the first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs the seeds up to this one.
    #[arg(long)]
    to: Option<u64>,
    /// Nodes: 1 to 1,000. By default as the seed has it.
    #[arg(long)]
    nodes: Option<usize>,
    /// Days in which things go wrong. By default as the seed has it.
    #[arg(long)]
    days: Option<u64>,
    /// Threads for many seeds.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Measures, and prints a table: how much a minute simulates, what repair costs, how long data is safe.
    #[arg(long)]
    report: bool,
    /// Prints everything that happens.
    #[arg(long)]
    trace: bool,
    /// Leaves a precaution out: grace, place-by-draw, place-before-release, ask-head, audit.
    #[arg(long)]
    without: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut care = Care::FULL;
    match options.without.as_deref() {
        None => {}
        Some("grace") => care.grace = false,
        Some("place-by-draw") => care.draw_by_place = false,
        Some("place-before-release") => care.place_before_release = false,
        Some("ask-head") => care.ask_head = false,
        Some("audit") => care.audit = false,
        Some(other) => {
            println!("there is no precaution `{other}`; see --help");
            return ExitCode::from(2);
        }
    }
    if options.report {
        println!("{}", Report::new());
        return ExitCode::SUCCESS;
    }
    if options.nodes.is_some_and(|nodes| !(1..=NODES_MAX).contains(&nodes)) {
        println!("a world has 1 to {NODES_MAX} nodes; see --help");
        return ExitCode::from(2);
    }
    let wishes = Wishes { nodes: options.nodes, days: options.days, care };
    let Some(last) = options.to else {
        let outcome = run(options.seed, wishes, options.trace);
        let lines = outcome.lines.join("\n");
        // Whoever reads may have seen enough.
        let _ = std::io::stdout().write_all(lines.as_bytes());
        tell(&outcome);
        return if outcome.breach.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    };
    let mut failed = 0;
    sweep(options.seed, last, options.threads, wishes, |outcome| {
        tell(&outcome);
        failed += u64::from(outcome.breach.is_some());
        true
    });
    println!("{} seeds, {failed} failed", last - options.seed + 1);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(outcome: &Outcome) {
    let Outcome { seed, theme, nodes, days, seconds, digest, happened, tally, breach, .. } = outcome;
    let digest = format!("{digest}");
    println!(
        "seed {seed} {theme}: {nodes} nodes, {days:.1} days in {seconds:.2} s, {happened} happenings, {} letters, {} KiB placed, {} KiB fetched, {} KiB repaired of {} KiB lost, trace {}",
        tally.letters,
        tally.placed_bytes >> 10,
        tally.fetched_bytes >> 10,
        (tally.repaired.1 + tally.repaired.2) >> 10,
        tally.failed_bytes.iter().sum::<u64>() >> 10,
        &digest[..12],
    );
    if let Some(breach) = breach {
        println!("  FAILED {breach}\n  again: cargo run -p okapi-sim -- --seed {seed} --trace");
    }
}
