//! What users do: they join, write, give up what is old, and get new disks.

use super::{Happening, World};
use crate::check::Breach;
use crate::disk::Disk;
use crate::host::Fate;
use crate::sealing;
use crate::story::HOUR;
use crate::truth::Fact;
use okapi_base::SegmentName;
use okapi_peers::{Input, Order};
use std::time::Duration;

impl World {
    /// A host comes into being, if it is not yet, and asks to be let in.
    pub(super) fn join(&mut self, at: usize) -> Result<(), Breach> {
        if self.hosts[at].fate == Fate::Unborn {
            self.hosts[at].fate = Fate::There;
            self.hosts[at].joined = at == 0;
            self.turn(at)?;
            for _ in 0..self.hosts[at].cast.first {
                self.write_one(at)?;
            }
            let first = self.now + self.dice.wait(self.hosts[at].cast.writes_every);
            self.at(first, Happening::Write(at));
        }
        if self.hosts[at].joined || self.hosts[at].fate == Fate::Left {
            return Ok(());
        }
        // Whatever comes of it, it is looked at again.
        self.at(self.now + HOUR * 6, Happening::Join(at));
        if !self.hosts[at].is_up() {
            return Ok(());
        }
        let Some(via) = self.someone(at) else { return Ok(()) };
        let secret = self.dice.seed();
        let expires = (self.now + HOUR * 24).as_millis() as u64;
        self.trace.say(self.now, Some(at), || format!("joins by way of {via}"));
        self.input(via, Input::Order(Order::Invite { secret, expires }))?;
        let (node, group) = (self.hosts[via].node, self.hosts[via].peer.as_ref().expect("it runs").group());
        self.input(at, Input::Order(Order::Join { via: node, group, secret }))
    }

    /// A host writes, and gives up something old now and then.
    pub(super) fn write(&mut self, at: usize) -> Result<(), Breach> {
        if self.peace || matches!(self.hosts[at].fate, Fate::Left) {
            return Ok(());
        }
        let next = self.now + self.dice.wait(self.hosts[at].cast.writes_every);
        self.at(next, Happening::Write(at));
        if !self.hosts[at].is_up() || self.hosts[at].restores {
            return Ok(());
        }
        if self.dice.happens(self.hosts[at].cast.deletes_ppm) {
            self.give_up_one(at)?;
        }
        self.write_one(at)
    }

    fn write_one(&mut self, at: usize) -> Result<(), Breach> {
        let host = &mut self.hosts[at];
        let length = self.dice.between(64, 6000) as usize;
        let used = host.disk.used().1;
        // Its own data is a part of what it offers, as it is of most people's disks.
        if !host.is_up() || used + length as u64 > host.cast.server_half / 20 {
            return Ok(());
        }
        let closed = sealing::close(&mut self.dice, &self.marks, &host.secret, length);
        let bytes = closed.bytes.len() as u64;
        let fact = Fact { owner: at, bytes, key: closed.key.clone(), safe: false, shards: 0, released: false };
        self.truth.wrote(closed.name, fact);
        host.disk.segments.insert(closed.name, (closed.bytes, true));
        host.disk.keys.insert(closed.name, closed.key.clone());
        self.trace.add(self.now, at, &[b"write", &closed.name.0]);
        self.trace.say(self.now, Some(at), || format!("writes {}", closed.name));
        self.input(at, Input::Closed { segment: closed.name, bytes, key: closed.key })
    }

    /// Compaction: an old segment is no longer needed.
    fn give_up_one(&mut self, at: usize) -> Result<(), Breach> {
        let names: Vec<SegmentName> = self.hosts[at].disk.segments.keys().copied().collect();
        if names.is_empty() {
            return Ok(());
        }
        let name = *self.dice.pick(&names);
        let host = &mut self.hosts[at];
        host.disk.segments.remove(&name);
        host.disk.keys.remove(&name);
        host.disk.released.insert(name);
        self.truth.released(name);
        self.trace.add(self.now, at, &[b"release", &name.0]);
        self.trace.say(self.now, Some(at), || format!("releases {name}"));
        self.input(at, Input::Released { segment: name })
    }

    /// A host whose disk was lost has a new one, and its member's phrase.
    pub(super) fn reborn(&mut self, at: usize) -> Result<(), Breach> {
        let host = &mut self.hosts[at];
        if host.fate != Fate::Lost {
            return Ok(());
        }
        host.disk = Disk::new(host.cast.user_half + host.cast.server_half, host.cast.honesty);
        host.fate = Fate::There;
        host.off_until = Duration::ZERO;
        host.restores = host.joined;
        self.trace.say(self.now, Some(at), || "has a new disk".to_owned());
        self.turn(at)
    }
}
