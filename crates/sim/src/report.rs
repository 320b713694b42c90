//! The figures we report: how much life a minute of a processor simulates, what repair costs by shape, how long data is
//! safe.

use crate::story::{BEGIN, DAY, Fault, Story, Wishes};
use crate::sweep::{Outcome, run, sweep};
use crate::world::World;
use okapi_base::Shape;
use okapi_peers::safety::{Days, Pace, days_of_shape};
use std::fmt;

/// Homes: of ten disks three are lost in a year, in 10^-9 a day.
const HOME_LOSS_RATE: u64 = 822_000;
/// A week to notice a loss, and a day to mend it.
const HOME_PACE: Pace = Pace { notice_ms: 7 * 86_400_000, repair_ms: 86_400_000 };
/// Seeds that are run for the first figures.
const SEEDS: u64 = 40;

/// What repair of one shape cost.
#[derive(Debug, Clone, Copy)]
pub struct RepairCost {
    /// The shape.
    pub shape: Shape,
    /// Nodes in the group.
    pub nodes: usize,
    /// Bytes of shards that were lost with one disk.
    pub failed: u64,
    /// Bytes fetched and sent to have them again.
    pub moved: u64,
}

/// All figures.
#[derive(Debug)]
pub struct Report {
    /// Years of nodes that lived.
    pub node_years: f64,
    /// Minutes of one processor that it took.
    pub minutes: f64,
    /// Seeds that failed.
    pub failed: u64,
    /// What repair cost.
    pub repairs: Vec<RepairCost>,
    /// Days of safety by shape.
    pub days: Vec<(Shape, Days)>,
}

impl Report {
    /// Measures them; takes about a minute.
    #[must_use]
    pub fn new() -> Self {
        let mut outcomes: Vec<Outcome> = Vec::new();
        // One thread: its time is a processor's.
        sweep(1, SEEDS, 1, Wishes::default(), |outcome| {
            outcomes.push(outcome);
            true
        });
        let groups =
            [(Shape::OneOfThree, 5), (Shape::TwoOfSix, 8), (Shape::FourOfTwelve, 14), (Shape::EightOfTwentyFour, 27)];
        Self {
            node_years: outcomes.iter().map(|outcome| outcome.nodes as f64 * outcome.days / 365.25).sum(),
            minutes: outcomes.iter().map(|outcome| outcome.seconds / 60.0).sum(),
            failed: outcomes.iter().filter(|outcome| outcome.breach.is_some()).count() as u64,
            repairs: groups.into_iter().map(|(shape, nodes)| repair_cost(shape, nodes)).collect(),
            days: Shape::ALL.map(|shape| (shape, days_of_shape(shape, HOME_LOSS_RATE, HOME_PACE))).to_vec(),
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

/// A quiet group in which one disk is lost for good.
fn repair_cost(shape: Shape, nodes: usize) -> RepairCost {
    let quiet = run(10, Wishes { nodes: Some(nodes), days: Some(2), ..Wishes::default() }, false);
    assert_eq!(quiet.breach, None, "a quiet group is well");
    let mut story = Story::of(10, Wishes { nodes: Some(nodes), days: Some(2), ..Wishes::default() });
    story.faults = vec![(BEGIN + DAY * 2 - DAY / 8, Fault::Lose(1, None))];
    story.cast.iter_mut().for_each(|cast| cast.deletes_ppm = 0);
    let mut world = World::new(story, false);
    let well = world.run();
    assert_eq!(well, Ok(()), "one lost disk is mended");
    let (_, read, sent) = world.tally.repaired;
    RepairCost { shape, nodes, failed: world.tally.failed_bytes.iter().sum(), moved: read + sent }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | figure |\n| --- | --- |")?;
        writeln!(f, "| seeds run, failed | {SEEDS}, {} |", self.failed)?;
        writeln!(f, "| simulated node-years a minute of one processor | {:.1} |", self.node_years / self.minutes)?;
        for RepairCost { shape, nodes, failed, moved } in &self.repairs {
            let ratio = *moved as f64 / (*failed).max(1) as f64;
            writeln!(f, "| bytes moved to repair a byte lost with a disk, {shape} ({nodes} nodes) | {ratio:.2} |")?;
        }
        for (shape, days) in &self.days {
            writeln!(f, "| days of safety at home churn (30 % a year, 7 days to notice), {shape} | {days} |")?;
        }
        Ok(())
    }
}
