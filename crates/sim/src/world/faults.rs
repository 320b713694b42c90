//! What goes wrong. Never so much that nobody could have kept what was promised: data that is lost then is the peers'
//! fault.

use super::{Happening, World};
use crate::check::Breach;
use crate::disk::Disk;
use crate::host::Fate;
use crate::story::{Fault, HOUR};
use crate::truth::Intact;
use okapi_base::SegmentName;
use okapi_peers::{Input, Order, Thing};
use std::time::Duration;

impl World {
    pub(super) fn fault(&mut self, number: usize) -> Result<(), Breach> {
        let (_, fault) = self.story.faults[number].clone();
        self.trace.add(self.now, usize::MAX, &[b"fault", &(number as u64).to_le_bytes()]);
        if !matches!(fault, Fault::Crash(..) | Fault::Partition(..) | Fault::Deaf(..)) {
            self.checks.floor.forget();
        }
        match fault {
            Fault::Crash(at, off) => {
                if self.hosts[at].fate == Fate::There {
                    self.say(at, "loses power");
                    self.power_off(at, off);
                }
            }
            Fault::Lose(at, back) => self.lose(at, back),
            Fault::Rot(at) => self.rot(at),
            Fault::Partition(side, off) => {
                self.cut(&side, true);
                self.trace.say(self.now, None, || format!("{side:?} cut off from the others"));
                self.at(self.now + off, Happening::Over(number));
            }
            Fault::Deaf(from, to, off) => {
                self.network.cut(from, to);
                self.at(self.now + off, Happening::Over(number));
            }
            Fault::Revert(at, _) => self.revert(at)?,
            Fault::Leave(at) => {
                if at > 0 && self.hosts[at].is_up() && self.hosts[at].joined && !self.hosts[at].restores {
                    self.say(at, "wants to leave");
                    self.hosts[at].leaving = true;
                    self.input(at, Input::Order(Order::Leave))?;
                }
            }
        }
        Ok(())
    }

    /// What a fault did is over.
    pub(super) fn over(&mut self, number: usize) {
        if self.peace {
            return;
        }
        match self.story.faults[number].1.clone() {
            Fault::Partition(side, _) => self.cut(&side, false),
            Fault::Deaf(from, to, _) => self.network.mend(from, to),
            _ => {}
        }
    }

    fn cut(&mut self, side: &[usize], cut: bool) {
        for one in 0..self.hosts.len() {
            for other in 0..self.hosts.len() {
                if side.contains(&one) == side.contains(&other) {
                    continue;
                }
                if cut { self.network.cut(one, other) } else { self.network.mend(one, other) }
            }
        }
    }

    fn say(&mut self, at: usize, what: &str) {
        self.trace.say(self.now, Some(at), || what.to_owned());
    }

    fn power_off(&mut self, at: usize, off: Duration) {
        if self.hosts[at].is_up() {
            self.hosts[at].crash();
        }
        self.hosts[at].off_until = self.now + off;
        self.at(self.now + off, Happening::Turn(at));
    }

    /// Liars count for nothing, so one more of the rest must be left where there are any.
    fn margin(&self) -> u32 {
        u32::from(self.hosts.iter().any(|host| !host.is_honest()))
    }

    /// Whether all that was promised can still be rebuilt if `left` is all there is of this host's disk.
    fn can_bear(&self, at: usize, left: Option<&Disk>) -> bool {
        let elsewhere = Intact::on(&self.hosts, |other| other == at);
        self.truth.promises().all(|(name, fact)| {
            let owner = &self.hosts[fact.owner];
            let disk = if fact.owner == at { left } else { (owner.fate == Fate::There).then_some(&owner.disk) };
            let live = disk.is_some_and(|disk| disk.segments.get(&name).is_some_and(|(_, good)| *good));
            owner.fate == Fate::Left
                || live
                || elsewhere.spare(owner.node, name).is_some_and(|spare| spare >= self.margin())
        })
    }

    fn lose(&mut self, at: usize, back: Option<Duration>) {
        if self.hosts[at].fate != Fate::There || !self.can_bear(at, None) {
            return;
        }
        self.say(at, "loses its disk");
        if self.hosts[at].is_up() {
            self.hosts[at].crash();
        }
        let host = &mut self.hosts[at];
        for (shard, lying) in host.disk.shards.iter().filter(|(shard, _)| shard.owner != host.node) {
            self.tally.failed(shard.k, lying.bytes.len() as u64);
        }
        host.disk = Disk::new(0, host.cast.honesty);
        host.fate = Fate::Lost;
        host.damaged = true;
        self.truth.forget_unpromised(at, |_| false);
        self.backups.remove(&at);
        if let Some(back) = back {
            self.at(self.now + back, Happening::Reborn(at));
        }
    }

    fn rot(&mut self, at: usize) {
        let bit = self.dice.throw();
        let disk = &self.hosts[at].disk;
        let things: Vec<Thing> = disk
            .shards
            .keys()
            .map(|s| Thing::Shard(*s))
            .chain(disk.segments.keys().map(|n| Thing::Segment(*n)))
            .collect();
        if things.is_empty() || self.hosts[at].fate != Fate::There {
            return;
        }
        let thing = *self.dice.pick(&things);
        let mut rotten = self.hosts[at].disk.clone();
        rotten.rot(thing, bit);
        if self.can_bear_rot(at, &rotten, thing) {
            self.trace.say(self.now, Some(at), || format!("{thing:?} rots"));
            self.hosts[at].disk = rotten;
            self.hosts[at].damaged = true;
            if let Thing::Shard(shard) = thing {
                self.tally.failed(shard.k, self.hosts[at].disk.shards[&shard].bytes.len() as u64);
            }
        }
    }

    fn can_bear_rot(&mut self, at: usize, rotten: &Disk, thing: Thing) -> bool {
        let name = match thing {
            Thing::Segment(name) => name,
            Thing::Shard(shard) => shard.segment,
        };
        let Some(fact) = self.truth.of(name).filter(|fact| !fact.released) else { return true };
        let (owner, safe) = (fact.owner, fact.safe);
        let good = std::mem::replace(&mut self.hosts[at].disk, rotten.clone());
        let spare = Intact::on(&self.hosts, |_| false).spare(self.hosts[owner].node, name);
        let live = self.hosts[owner].disk.segments.get(&name).is_some_and(|(_, good)| *good);
        self.hosts[at].disk = good;
        // A segment that nobody else has yet may not rot: nothing was promised, and there is nothing to check.
        spare.is_some_and(|spare| spare >= self.margin()) || (safe && live)
    }

    /// A host is set back to its last backup.
    fn revert(&mut self, at: usize) -> Result<(), Breach> {
        let Some((backup, had_joined)) = self.backups.get(&at).cloned() else { return Ok(()) };
        let is_there = self.hosts[at].fate == Fate::There && self.hosts[at].joined && !self.hosts[at].restores;
        if !is_there || !self.can_bear(at, Some(&backup)) {
            return Ok(());
        }
        self.say(at, "is set back to a backup");
        if self.hosts[at].is_up() {
            self.hosts[at].crash();
        }
        let kept: Vec<SegmentName> = backup.segments.keys().copied().collect();
        self.truth.forget_unpromised(at, |name| kept.contains(name));
        self.hosts[at].disk = backup;
        self.hosts[at].damaged = true;
        if !had_joined {
            // It is alone again, and its person asks for another ticket.
            self.hosts[at].joined = false;
            self.at(self.now + HOUR, Happening::Join(at));
        }
        self.turn(at)
    }
}
