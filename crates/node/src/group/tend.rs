//! What is looked after now and then: segments that rest are closed so that they can be placed, what lies on the disk is
//! read again, memory that was freed goes back to the system, and on battery the background pauses.

use super::driver::Event;
use super::pace::Pace;
use super::segments::Segments;
use super::yard::Shards;
use crate::trim::Trim;
use okapi_base::SegmentName;
use okapi_peers::{Input, ShardId, Thing};
use okapi_seal::hash;
use okapi_store::log::Log;
use parking_lot::{Condvar, Mutex};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A segment to which nothing was added for so many looks is closed.
const QUIET_LOOKS: u32 = 3;
/// One that is open for so many is closed, too: what is in it has waited long enough.
const OPEN_LOOKS: u32 = 30;
/// In that time everything is read once.
const SCRUB_ALL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Between two things that are read, at least and at most.
const SCRUB_MIN: Duration = Duration::from_millis(1000);
const SCRUB_MAX: Duration = Duration::from_secs(20);
/// How often is looked whether the machine is on battery.
const POWER_EVERY: u32 = 15;

/// What is looked after.
pub(crate) struct Tended {
    pub(crate) log: Arc<Log>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) shards: Arc<Shards>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) events: Sender<Event>,
    /// Whether to pause on battery.
    pub(crate) mind_battery: bool,
}

/// Ends the thread.
#[derive(Default)]
pub(crate) struct Ending {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Ending {
    pub(crate) fn end(&self) {
        *self.over.lock() = true;
        self.changed.notify_all();
    }

    /// Waits for a look's time; whether it is over.
    fn wait(&self) -> bool {
        let mut over = self.over.lock();
        if !*over {
            self.changed.wait_for(&mut over, LOOK_EVERY);
        }
        *over
    }
}

/// The thread.
pub(crate) fn run(tended: &Tended, ending: &Ending) {
    let mut rest = Resting::default();
    let mut scrub = Scrub::new();
    let mut looks = 0_u32;
    let mut trim = Trim::default();
    while !ending.wait() {
        trim.look(!tended.pace.is_serving());
        if rest.look(tended.log.open_bytes())
            && let Err(error) = tended.log.close_segment()
        {
            tracing::warn!("the open segment could not be closed: {error}");
        }
        scrub.look(tended);
        if tended.mind_battery && looks.is_multiple_of(POWER_EVERY) {
            let on_battery = is_on_battery(Path::new("/sys/class/power_supply"));
            if on_battery != tended.pace.paused().is_some() {
                tended.pace.pause(on_battery.then(|| "this machine runs on battery".to_owned()));
            }
        }
        looks = looks.wrapping_add(1);
    }
}

/// Tells when a segment rests.
#[derive(Debug, Default)]
struct Resting {
    bytes: u64,
    quiet: u32,
    open: u32,
}

impl Resting {
    /// The open segment has so many bytes now: whether it is to be closed.
    fn look(&mut self, bytes: u64) -> bool {
        if bytes == 0 {
            *self = Self::default();
            return false;
        }
        self.open += 1;
        self.quiet = if bytes == self.bytes { self.quiet + 1 } else { 0 };
        self.bytes = bytes;
        let close = self.quiet >= QUIET_LOOKS || self.open >= OPEN_LOOKS;
        if close {
            *self = Self::default();
        }
        close
    }
}

/// Reads everything again, one thing after the other.
struct Scrub {
    waiting: Vec<Thing>,
    every: Duration,
    next: Instant,
}

impl Scrub {
    fn new() -> Self {
        Self { waiting: Vec::new(), every: SCRUB_MAX, next: Instant::now() + SCRUB_MAX }
    }

    fn look(&mut self, tended: &Tended) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.every;
        if self.waiting.is_empty() {
            self.begin(tended);
        }
        let Some(thing) = self.waiting.pop() else { return };
        if tended.pace.step(|| is_damaged(tended, thing)) {
            let _ = tended.events.send(Event::Note(format!("the scrub found damage: {thing:?}")));
            let _ = tended.events.send(Event::Input(Input::Damaged(thing)));
        }
    }

    fn begin(&mut self, tended: &Tended) {
        self.waiting = tended.segments.names().into_iter().map(Thing::Segment).collect();
        match tended.shards.list() {
            Ok(shards) => self.waiting.extend(shards.into_iter().map(Thing::Shard)),
            Err(error) => tracing::warn!("the shards of others cannot be listed: {error}"),
        }
        let count = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX).max(1);
        self.every = (SCRUB_ALL / count).clamp(SCRUB_MIN, SCRUB_MAX);
    }
}

fn is_damaged(tended: &Tended, thing: Thing) -> bool {
    match thing {
        Thing::Segment(name) => is_segment_damaged(tended, name),
        Thing::Shard(shard) => is_shard_damaged(tended, shard),
    }
}

/// What was removed meanwhile is not damaged.
fn is_segment_damaged(tended: &Tended, name: SegmentName) -> bool {
    tended.segments.read(name).is_some_and(|bytes| hash(&bytes).0 != name.0)
}

fn is_shard_damaged(tended: &Tended, shard: ShardId) -> bool {
    tended.shards.has(shard) && !tended.shards.is_whole(shard) && tended.shards.has(shard)
}

/// Whether the machine has batteries, and no line feeds it.
fn is_on_battery(folder: &Path) -> bool {
    let Ok(supplies) = std::fs::read_dir(folder) else { return false };
    let (mut batteries, mut lines) = (0, 0);
    for supply in supplies.flatten() {
        let read = |name: &str| std::fs::read_to_string(supply.path().join(name)).unwrap_or_default();
        match read("type").trim() {
            "Battery" if read("status").trim() == "Discharging" => batteries += 1,
            "Mains" | "USB" if read("online").trim() == "1" => lines += 1,
            _ => {}
        }
    }
    batteries > 0 && lines == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_closed_once_it_rests_or_has_waited() {
        let mut rest = Resting::default();
        assert!((0..100).all(|_| !rest.look(0)));
        assert!(!rest.look(10));
        assert!((1..QUIET_LOOKS).all(|_| !rest.look(10)));
        assert!(rest.look(10));
        let closed = (1..1000_u64).filter(|look| rest.look(*look)).count();
        assert_eq!(closed, 999 / OPEN_LOOKS as usize);
    }

    #[test]
    fn a_battery_that_nobody_feeds_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, facts: &[(&str, &str)]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            facts.iter().for_each(|(name, text)| std::fs::write(path.join(name), format!("{text}\n")).unwrap());
        };
        assert!(!is_on_battery(&folder.path().join("none")) && !is_on_battery(folder.path()));
        supply("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        assert!(is_on_battery(folder.path()));
        supply("AC", &[("type", "Mains"), ("online", "1")]);
        assert!(!is_on_battery(folder.path()));
        supply("AC", &[("type", "Mains"), ("online", "0")]);
        supply("BAT0", &[("type", "Battery"), ("status", "Full")]);
        assert!(!is_on_battery(folder.path()), "a full one that feeds nothing");
    }
}
