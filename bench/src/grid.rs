//! Every contender in every scenario, one beside the other: A B C, A B C, and so on, and medians at the end.

use crate::Fault;
use crate::contender::{Contender, memcached::Memcached, okapi, redis::Redis};
use crate::memory_copy::MemoryCopy;
use crate::options::Options;
use crate::sample::{Sample, median};
use crate::scenario::{ALL, Goal, Measure, Scenario};
use crate::table::{Table, amount, bytes};
use std::process::Command;
use std::time::Duration;

const OKAPI: &str = "okapi";

/// How often, and for how long each time.
#[derive(Debug, Clone, Copy)]
struct Rounds {
    count: usize,
    time: Duration,
}

const MEASURED: Rounds = Rounds { count: 5, time: Duration::from_millis(1000) };
const QUICK: Rounds = Rounds { count: 3, time: Duration::from_millis(200) };

/// Runs the grid bench and prints its table.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let folder = options.folder()?;
    let mut contenders = contenders(options, folder.path())?;
    let rounds = if options.quick { QUICK } else { MEASURED };
    describe(rounds);
    let mut table = Table::new(&[
        "scenario",
        "contender",
        "blocks/s",
        "payload/s",
        "client us",
        "server us",
        "p50 us",
        "Okapi is",
        "goal",
        "verdict",
    ]);
    for scenario in ALL.iter().filter(|scenario| options.wants_scenario(scenario.name)) {
        let measured = measure(&mut contenders, scenario, rounds)?;
        show(&mut table, scenario, &measured);
    }
    table.print();
    Ok(())
}

fn contenders(options: &Options, dir: &std::path::Path) -> Result<Vec<Box<dyn Contender>>, Fault> {
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    if options.wants(OKAPI) {
        contenders.push(okapi::start(dir)?);
    }
    if options.wants("redis") {
        contenders.push(Box::new(Redis::start(dir)?));
    }
    if options.wants("memcached") {
        contenders.push(Box::new(Memcached::start(dir)?));
    }
    if options.wants("memcpy") {
        contenders.push(Box::new(MemoryCopy::default()));
    }
    Ok(contenders)
}

fn describe(rounds: Rounds) {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or("not installed").to_owned()
    };
    println!("redis:     {} (1 thread, no persistence)", version("redis-server"));
    println!("memcached: {} (4 threads, text protocol)", version("memcached"));
    println!(
        "{} rounds of {:?}, contenders in turn, medians of each and of their ratios; one client thread; microseconds are processor time per block\n",
        rounds.count, rounds.time
    );
}

/// The samples of each contender that takes part, in their order, round by round.
fn measure(
    contenders: &mut [Box<dyn Contender>],
    scenario: &Scenario,
    rounds: Rounds,
) -> Result<Vec<(&'static str, Vec<Sample>)>, Fault> {
    let mut taking: Vec<_> = contenders.iter_mut().filter(|contender| contender.takes(scenario)).collect();
    let within = |name, why| format!("{name}, {}: {why}", scenario.name);
    for contender in &mut taking {
        contender.prepare(scenario).map_err(|why| within(contender.name(), why))?;
    }
    let mut samples = vec![Vec::new(); taking.len()];
    for _ in 0..rounds.count {
        for (contender, samples) in taking.iter_mut().zip(&mut samples) {
            samples.push(contender.run(scenario, rounds.time).map_err(|why| within(contender.name(), why))?);
        }
    }
    Ok(taking.iter().map(|contender| contender.name()).zip(samples).collect())
}

/// A row for each contender, and one more for each further goal against it.
fn show(table: &mut Table, scenario: &Scenario, measured: &[(&'static str, Vec<Sample>)]) {
    let okapi = measured.iter().find(|(name, _)| *name == OKAPI).map(|(_, samples)| samples.as_slice());
    for (at, (name, samples)) in measured.iter().enumerate() {
        let sample = Sample::median(samples);
        let first = if at == 0 { scenario.name } else { "" };
        let figures = [
            first.to_owned(),
            (*name).to_owned(),
            amount(sample.ops),
            bytes(sample.bytes),
            format!("{:.2}", sample.client_cpu),
            format!("{:.2}", sample.server_cpu),
            if sample.p50.is_nan() { String::new() } else { format!("{:.2}", sample.p50) },
        ];
        let goals: Vec<&Goal> = scenario.goals.iter().filter(|goal| goal.rival == *name).collect();
        let plain = match okapi {
            Some(okapi) if *name != OKAPI && goals.is_empty() => {
                format!("{:.2} x", ratio(okapi, samples, |sample| sample.ops))
            }
            _ => String::new(),
        };
        if goals.is_empty() {
            table.row(figures.into_iter().chain([plain]));
            continue;
        }
        for (at, goal) in goals.into_iter().enumerate() {
            let judged = judge(goal, okapi, samples);
            if at == 0 {
                table.row(figures.iter().cloned().chain(judged));
            } else {
                table.row(std::iter::repeat_n(String::new(), figures.len()).chain(judged));
            }
        }
    }
    table.gap();
}

/// What Okapi is beside the rival, what it should be, and whether it is.
fn judge(goal: &Goal, okapi: Option<&[Sample]>, rival: &[Sample]) -> [String; 3] {
    let bound = goal.bound;
    let wanted = match goal.measure {
        Measure::Ops => format!(">= {bound} x"),
        Measure::Cpu => format!("<= {bound} x cpu"),
        Measure::Median => format!("p50 <= {bound} us"),
    };
    let Some(okapi) = okapi else { return [String::new(), wanted, "not measured".to_owned()] };
    let (found, reached) = match goal.measure {
        Measure::Ops => {
            let ratio = ratio(okapi, rival, |sample| sample.ops);
            (format!("{ratio:.2} x"), ratio >= bound)
        }
        Measure::Cpu => {
            let ratio = ratio(okapi, rival, Sample::cpu);
            (format!("{ratio:.2} x"), ratio <= bound)
        }
        Measure::Median => {
            let p50 = Sample::median(okapi).p50;
            (format!("{p50:.2} us"), p50 <= bound)
        }
    };
    [found, wanted, if reached { "reached" } else { "MISSED" }.to_owned()]
}

/// The median over the rounds of Okapi's figure divided by the rival's: what else the machine does meanwhile meets
/// both of one round alike.
fn ratio(okapi: &[Sample], rival: &[Sample], pick: fn(&Sample) -> f64) -> f64 {
    median(okapi.iter().zip(rival).map(|(okapi, rival)| pick(okapi) / pick(rival)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ops: f64, cpu: f64) -> [Sample; 1] {
        [Sample { ops, bytes: 0.0, client_cpu: cpu, server_cpu: cpu, p50: 1.5 }]
    }

    #[test]
    fn goals_are_judged() {
        let goal = Goal { rival: "redis", measure: Measure::Ops, bound: 2.0 };
        assert_eq!(judge(&goal, Some(&sample(200.0, 1.0)), &sample(100.0, 1.0)), ["2.00 x", ">= 2 x", "reached"]);
        assert_eq!(judge(&goal, Some(&sample(199.0, 1.0)), &sample(100.0, 1.0))[2], "MISSED");
        let goal = Goal { rival: "redis", measure: Measure::Cpu, bound: 0.5 };
        assert_eq!(judge(&goal, Some(&sample(1.0, 1.0)), &sample(1.0, 2.0))[2], "reached");
        assert_eq!(judge(&goal, Some(&sample(1.0, 1.1)), &sample(1.0, 2.0))[2], "MISSED");
        let goal = Goal { rival: "memcpy", measure: Measure::Median, bound: 1.4 };
        assert_eq!(judge(&goal, Some(&sample(1.0, 1.0)), &sample(1.0, 2.0))[2], "MISSED");
        assert_eq!(judge(&goal, None, &sample(1.0, 2.0))[2], "not measured");
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let rounds = |ops: [f64; 3]| ops.map(|ops| sample(ops, 1.0)[0]);
        let (okapi, rival) = (rounds([100.0, 10.0, 60.0]), rounds([50.0, 5.0, 20.0]));
        assert_eq!(ratio(&okapi, &rival, |sample| sample.ops), 2.0);
    }

    #[test]
    fn every_goal_names_a_contender_there_is() {
        for scenario in ALL {
            for goal in scenario.goals {
                assert!(["redis", "memcached", "memcpy"].contains(&goal.rival), "{}", scenario.name);
            }
        }
    }
}
