//! What peers ask for, done as well as this world allows.

use super::{Happening, World};
use crate::check::Breach;
use crate::disk::Honesty;
use crate::host::Fate;
use crate::story::DAY;
use okapi_base::SegmentName;
use okapi_peers::{Blob, Event, Output, Work};
use okapi_seal::hash;
use okapi_wire::peer::letter::HEAD_BYTES;
use std::time::Duration;

impl World {
    pub(super) fn outputs(&mut self, at: usize, outputs: Vec<Output>) -> Result<(), Breach> {
        for output in outputs {
            match output {
                Output::Send { to, letter, payload } => self.send(at, to, &letter, &payload)?,
                Output::Keep { ticket, writes } => {
                    let host = &mut self.hosts[at];
                    host.keeping.push_back((ticket, writes));
                    let run = host.run;
                    let when = self.now + self.dice.time(Duration::from_micros(200), Duration::from_millis(8));
                    self.at(when, Happening::Kept(at, run, ticket));
                }
                Output::Work { ticket, work } => {
                    let host = &mut self.hosts[at];
                    host.working.insert(ticket, work.clone());
                    let run = host.run;
                    let most = Duration::from_millis(if matches!(work, Work::Place { .. }) { 200 } else { 25 });
                    let when = self.now + self.dice.time(Duration::from_micros(300), most);
                    self.at(when, Happening::Worked(at, run, ticket, work));
                }
                Output::Event(event) => self.event(at, event)?,
            }
        }
        Ok(())
    }

    fn send(&mut self, at: usize, to: okapi_base::NodeId, letter: &[u8], payload: &Blob) -> Result<(), Breach> {
        if self.marks.is_in(letter) || self.marks.is_in(payload) {
            return Err(Breach::new("secrecy", self.now, format!("host {at} sends clear text or a key")));
        }
        let Some(to) = self.number(to) else { return Ok(()) };
        self.tally.sent(letter, payload);
        if self.story.mangled_ppm > 0 && self.hosts[at].cast.honesty != Honesty::Honest {
            self.mangle(at, to, letter, payload);
        }
        for when in self.network.send(self.now, at, to, letter.len() + payload.len()) {
            let (letter, payload) = (letter.to_vec(), payload.clone());
            self.at(when, Happening::Arrive { from: at, to, letter, payload });
        }
        Ok(())
    }

    /// A liar also sends letters again, much later, or with a bit flipped.
    fn mangle(&mut self, from: usize, to: usize, letter: &[u8], payload: &Blob) {
        if !self.dice.happens(self.story.mangled_ppm) {
            return;
        }
        let mut letter = letter.to_vec();
        let mut when = self.now + Duration::from_millis(self.dice.between(1, 5000));
        match self.dice.below(4) {
            0 => {}
            1 => when += self.dice.time(Duration::ZERO, DAY),
            2 => {
                let bit = self.dice.below(letter.len() as u64 * 8);
                letter[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            _ => letter.truncate(self.dice.below((letter.len() - HEAD_BYTES) as u64 + 1) as usize + HEAD_BYTES),
        }
        self.at(when, Happening::Arrive { from, to, letter, payload: payload.clone() });
    }

    fn event(&mut self, at: usize, event: Event) -> Result<(), Breach> {
        self.trace.add(self.now, at, &[b"event", &hash(format!("{event:?}").as_bytes()).0]);
        self.trace.say(self.now, Some(at), || format!("{event:?}"));
        self.tally.event(&event);
        match event {
            Event::Joined => self.hosts[at].joined = true,
            Event::JoinFailed { .. } => {
                let again = self.now + crate::story::HOUR;
                self.at(again, Happening::Join(at));
            }
            Event::Safe { segment, shape } => self.truth.promised(segment, shape),
            Event::Caught { node, shard } => {
                let innocent = |host: usize| self.hosts[host].is_honest() && !self.hosts[host].damaged;
                if let Some(host) = self.number(node).filter(|host| innocent(*host)) {
                    let what =
                        format!("host {at} says that host {host} has not got {shard:?}, which always was honest");
                    return Err(Breach::new("innocence", self.now, what));
                }
            }
            Event::UserHalfFull { segment } => {
                // The store takes back what it cannot have made safe; nobody was told that it is.
                self.hosts[at].disk.segments.remove(&segment);
                self.truth.released(segment);
            }
            Event::Gone { segment } => drop(self.hosts[at].disk.released.remove(&segment)),
            Event::Restored { segment, key } => self.came_back(at, segment, key)?,
            Event::RestoreDone { waiting, .. } => {
                // What was given up, or never promised, may be lost for good.
                let promised =
                    |name: &SegmentName| self.truth.of(*name).is_some_and(|fact| fact.safe && !fact.released);
                self.hosts[at].restores = waiting.iter().any(promised);
            }
            Event::Parted => {
                self.hosts[at].fate = Fate::Left;
                self.hosts[at].off_until = Duration::MAX;
            }
            _ => {}
        }
        Ok(())
    }

    fn came_back(&mut self, at: usize, segment: SegmentName, key: Blob) -> Result<(), Breach> {
        let host = &mut self.hosts[at];
        let Some((bytes, _)) = host.disk.segments.get(&segment) else {
            return Err(Breach::new("restore", self.now, format!("host {at} has not got {segment} that came back")));
        };
        if !crate::sealing::opens(&self.marks, &host.secret, bytes, &key) {
            return Err(Breach::new("restore", self.now, format!("host {at} cannot read {segment} with its key")));
        }
        host.disk.keys.insert(segment, key);
        Ok(())
    }
}
