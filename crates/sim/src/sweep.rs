//! Runs seeds, many at a time.

use crate::check::Breach;
use crate::story::{Story, Wishes};
use crate::tally::Tally;
use crate::world::World;
use okapi_base::Digest;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What its story was about.
    pub theme: &'static str,
    /// How many nodes took part.
    pub nodes: usize,
    /// How many days went by.
    pub days: f64,
    /// How long that took, in seconds of this thread.
    pub seconds: f64,
    /// The hash of everything that happened.
    pub digest: Digest,
    /// How much happened.
    pub happened: u64,
    /// Figures.
    pub tally: Tally,
    /// What was wrong, if anything.
    pub breach: Option<Breach>,
    /// Lines for people, if they were wanted.
    pub lines: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, wishes: Wishes, lines: bool) -> Outcome {
    let start = std::time::Instant::now();
    let mut world = World::new(Story::of(seed, wishes), lines);
    let breach = world.run().err();
    Outcome {
        seed,
        theme: world.story.theme,
        nodes: world.hosts.len(),
        days: world.days(),
        seconds: start.elapsed().as_secs_f64(),
        digest: world.trace.digest(),
        happened: world.trace.count,
        tally: world.tally.clone(),
        breach,
        lines: world.trace.lines().to_vec(),
    }
}

/// Runs seeds from `first` up to and including `last` on so many threads, and hands each outcome on as it comes; ends
/// early when `each` says so.
pub fn sweep(first: u64, last: u64, threads: usize, wishes: Wishes, mut each: impl FnMut(Outcome) -> bool) {
    let next = AtomicU64::new(first);
    let (sender, outcomes) = mpsc::sync_channel(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last || sender.send(run(seed, wishes, false)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in &outcomes {
            if !each(outcome) {
                next.store(u64::MAX / 2, Ordering::Relaxed);
            }
        }
    });
}
