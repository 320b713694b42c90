//! What happens, happens.

use super::{Happening, WAKES_MAX, World};
use crate::check::Breach;
use crate::dice::Dice;
use crate::disk::Honesty;
use crate::host::Fate;
use crate::story::{DAY, HOUR};
use okapi_peers::labour::labour;
use okapi_peers::placement::Map;
use okapi_peers::{Done, Input, Order, Work};
use okapi_seal::hash;
use okapi_wire::peer::letter::Letter;
use std::sync::Arc;
use std::time::Duration;

impl World {
    pub(super) fn happen(&mut self, happening: Happening) -> Result<(), Breach> {
        match happening {
            Happening::Wake(at, run) => self.woken(at, run),
            Happening::Arrive { from, to, letter, payload } => {
                if !self.hosts[to].is_up() {
                    return Ok(());
                }
                self.trace.add(self.now, to, &[b"arrive", &(from as u64).to_le_bytes(), &letter]);
                self.say_letter(from, to, &letter, payload.len());
                let from = self.hosts[from].node;
                let before = self.trace.speaks().then(|| self.refusals(to));
                self.input(to, Input::Received { from, letter, payload })?;
                if let Some(before) = before.filter(|before| *before != self.refusals(to)) {
                    let (refusals, now) = (self.refusals(to), self.now);
                    self.trace.say(now, Some(to), || format!("refuses it: {before:?} -> {refusals:?}"));
                }
                Ok(())
            }
            Happening::Kept(at, run, ticket) => self.kept(at, run, ticket),
            Happening::Worked(at, run, ticket, work) => self.worked(at, run, ticket, work),
            Happening::Join(at) => self.join(at),
            Happening::Write(at) => self.write(at),
            Happening::Turn(at) => self.turn(at),
            Happening::Fault(number) => self.fault(number),
            Happening::Over(number) => {
                self.over(number);
                Ok(())
            }
            Happening::Backup(at) => {
                if self.hosts[at].fate == Fate::There {
                    let host = &self.hosts[at];
                    self.backups.insert(at, (host.disk.clone(), host.joined));
                }
                Ok(())
            }
            Happening::Reborn(at) => self.reborn(at),
            Happening::Scrub(at) => self.scrub(at),
            Happening::Tick => unreachable!("a tick is seen to by `run`"),
        }
    }

    fn refusals(&self, at: usize) -> Vec<(&'static str, u64)> {
        let peer = self.hosts[at].peer.as_ref();
        peer.into_iter()
            .flat_map(|peer| peer.refusals().iter())
            .map(|(refusal, count)| (refusal.word(), count))
            .collect()
    }

    fn say_letter(&mut self, from: usize, to: usize, letter: &[u8], payload: usize) {
        self.trace.say(self.now, Some(to), || {
            let said = match Letter::parse(letter) {
                Ok(letter) => format!("{:?}", letter.body),
                Err(error) => format!("something that is no letter ({error})"),
            };
            let short: String = said.chars().take(150).collect();
            let more = if payload > 0 { format!(" with {payload} bytes") } else { String::new() };
            format!("  from {from}: {short}{more}")
        });
    }

    fn woken(&mut self, at: usize, run: u64) -> Result<(), Breach> {
        let host = &mut self.hosts[at];
        if host.run != run || !host.is_up() || host.wake != Some(self.now) {
            return Ok(());
        }
        host.wake = None;
        self.wakes[at] += 1;
        if self.wakes[at] > WAKES_MAX {
            return Err(Breach::new(
                "spin",
                self.now,
                format!("host {at} is woken more than {WAKES_MAX} times an hour"),
            ));
        }
        self.trace.add(self.now, at, &[b"wake"]);
        self.input(at, Input::Wake)
    }

    /// Plans to wake a host when its peer wants it.
    pub(super) fn plan_wake(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(wanted) = host.wake_at() else { return };
        // Timers are a millisecond late, as timers are.
        let wanted = wanted.max(self.now) + Duration::from_millis(1);
        if host.wake.is_none_or(|planned| wanted < planned) {
            host.wake = Some(wanted);
            let run = host.run;
            self.at(wanted, Happening::Wake(at, run));
        }
    }

    fn kept(&mut self, at: usize, run: u64, ticket: u64) -> Result<(), Breach> {
        let host = &mut self.hosts[at];
        if host.run != run || !host.is_up() {
            return Ok(());
        }
        while host.keeping.front().is_some_and(|(kept, _)| *kept <= ticket) {
            let (_, writes) = host.keeping.pop_front().expect("it was just seen");
            host.disk.keep(writes);
        }
        self.trace.add(self.now, at, &[b"kept", &ticket.to_le_bytes()]);
        self.input(at, Input::Kept { ticket })
    }

    fn worked(&mut self, at: usize, run: u64, ticket: u64, work: Work) -> Result<(), Breach> {
        if self.hosts[at].run != run || !self.hosts[at].is_up() {
            return Ok(());
        }
        self.hosts[at].working.remove(&ticket);
        let honesty = self.hosts[at].disk.honesty;
        let dropped = if let Work::DropShard { shard } = &work { Some(*shard) } else { None };
        let done = match work {
            Work::Prove { .. } if honesty == Honesty::Silent => return Ok(()),
            Work::Prove { shard, leaves, .. } if honesty == Honesty::Halves => {
                // It proves what it has, for what it should have.
                let disk = &mut self.hosts[at].disk;
                let root = disk.shards.get(&shard).map_or(okapi_base::Digest([0; 32]), |lying| hash(&lying.bytes));
                let leaves = leaves.into_iter().map(|_| 0).collect();
                labour(disk, Work::Prove { shard, root, leaves })
            }
            Work::Place { places, seed, shape } => {
                let map = self.maps.entry((shape, seed, places.clone()));
                Done::Placed(map.or_insert_with(|| Arc::new(Map::new(&places, &seed, shape))).clone())
            }
            work => labour(&mut self.hosts[at].disk, work),
        };
        if let Some(shard) = dropped {
            self.checks.floor.dropped(self, at, shard)?;
        }
        self.trace.add(self.now, at, &[b"worked", &ticket.to_le_bytes()]);
        self.input(at, Input::Worked { ticket, done })
    }

    /// A host goes on or off, as its habit and what happened to it will have it.
    pub(super) fn turn(&mut self, at: usize) -> Result<(), Breach> {
        let (now, care) = (self.now, self.story.care);
        let host = &mut self.hosts[at];
        if host.fate != Fate::There {
            return Ok(());
        }
        let wants = host.wants_to_run(now);
        if let Some(next) = host.cast.habit.next_change(now) {
            self.at(next, Happening::Turn(at));
        }
        match (wants, self.hosts[at].is_up()) {
            (true, false) => {
                self.trace.add(now, at, &[b"start"]);
                self.trace.say(now, Some(at), || "starts".to_owned());
                let told = self.hosts[at].start(now, care);
                let outputs = self.hosts[at].drain();
                self.outputs(at, outputs)?;
                for input in told {
                    self.input(at, input)?;
                }
                self.plan_wake(at);
                if self.hosts[at].restores {
                    self.order_restore(at)?;
                }
                let scrub = now + self.dice.time(HOUR, DAY * 2);
                self.at(scrub, Happening::Scrub(at));
            }
            (false, true) => {
                self.trace.add(now, at, &[b"stop"]);
                self.trace.say(now, Some(at), || "stops".to_owned());
                self.hosts[at].crash();
            }
            _ => {}
        }
        Ok(())
    }

    /// The driver of a host looks at all its bytes.
    fn scrub(&mut self, at: usize) -> Result<(), Breach> {
        if !self.hosts[at].is_up() || !self.hosts[at].is_honest() {
            return Ok(());
        }
        for thing in self.hosts[at].disk.scrub() {
            self.trace.say(self.now, Some(at), || format!("scrub finds {thing:?} damaged"));
            self.trace.add(self.now, at, &[b"scrub"]);
            self.input(at, Input::Damaged(thing))?;
        }
        self.at(self.now + DAY * 7, Happening::Scrub(at));
        Ok(())
    }

    /// Has a host whose disk was lost ask a member for everything.
    pub(super) fn order_restore(&mut self, at: usize) -> Result<(), Breach> {
        let Some(via) = self.someone(at) else { return Ok(()) };
        self.trace.say(self.now, Some(at), || format!("restores by way of {via}"));
        let via = self.hosts[via].node;
        self.input(at, Input::Order(Order::Restore { via }))
    }

    /// A running host that has joined, other than one.
    pub(super) fn someone(&mut self, but: usize) -> Option<usize> {
        let group = |at: usize| self.hosts[at].peer.as_ref().map(okapi_peers::Peer::group);
        let all: Vec<usize> = self
            .running()
            .filter(|(at, host)| {
                *at != but && host.is_honest() && !host.restores && host.joined && group(*at).is_some()
            })
            .map(|(at, _)| at)
            .collect();
        (!all.is_empty()).then(|| *Dice::pick(&mut self.dice, &all))
    }
}
