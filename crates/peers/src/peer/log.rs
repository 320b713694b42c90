//! What this node writes into its own log, and what it does as a witness of others' logs.
//!
//! A node whose log was forked is watched, not banned: it keeps what it has here, but no new shard of it is taken, and
//! nothing of its log is confirmed any more. Whoever owns it parts it and comes back under a new number.

use super::keep::Then;
use super::kept::{kind, prefixed};
use super::post::{Mail, nothing};
use super::refusal::Refusal;
use super::{Contact, Peer, identity};
use crate::limits::LIST_REST;
use crate::machine::Event;
use alloc::boxed::Box;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, NodeId, SegmentName};
use okapi_seal::Hasher;
use okapi_timeline::fork;
use okapi_timeline::tally::Counted;
use okapi_timeline::{Act, Author, Rosters, Witness, World};
use okapi_wire::peer::entry::{Entry, ForkProof, LogMessage, No, Said, SignedHeader};
use okapi_wire::peer::letter::Body;
use okapi_wire::peer::shard::Deed;

/// To how many others the proof of a fork is passed on at once: they pass it on too.
const FORKS_TO: usize = 8;

/// The logs a node has to do with.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) author: Author,
    pub(crate) witness: Witness,
    pub(crate) rosters: Rosters,
    /// This node is in another group: it asks there for the end of its log.
    seek_again: bool,
    /// Who takes part, as the log told it last.
    listed: Digest,
    /// When the log is to tell it again.
    list_at: Option<Moment>,
}

/// Kept records of one machine: keys without what tells whose they are.
pub(crate) type Records<'a> = Vec<(&'a [u8], &'a [u8])>;

impl Logs {
    /// Fails with the kind of the records that are not what was kept.
    pub(crate) fn open(
        node: NodeId,
        own: Records<'_>,
        others: Records<'_>,
        ask_head: bool,
        now: Moment,
    ) -> Result<Self, u8> {
        Ok(Self {
            author: Author::open(node, own, ask_head, now).map_err(|_| kind::AUTHOR)?,
            witness: Witness::open(others).map_err(|_| kind::WITNESS)?,
            rosters: Rosters::default(),
            seek_again: false,
            listed: Digest([0; 32]),
            list_at: None,
        })
    }

    /// Whether a log is known to be forked.
    pub(crate) fn is_forked(&self, log: NodeId) -> bool {
        self.witness.is_forked(log)
    }
}

impl Peer {
    /// Knows who can be drawn, as the records leave it.
    pub(super) fn open_logs(&mut self) {
        self.logs.rosters.follow(&self.members);
        self.logs.listed = self.who_takes_part();
    }

    pub(super) fn logs_at(&self) -> Option<Moment> {
        [self.logs.author.wake_at(), self.logs.list_at].into_iter().flatten().min()
    }

    /// Does whatever is due for the logs.
    pub(super) fn go_on_logging(&mut self) {
        let changed = self.logs.rosters.follow(&self.members);
        let alone = self.others().next().is_none();
        if changed && !alone && self.who_takes_part() != self.logs.listed {
            self.logs.list_at = Some(Moment(self.now.0 + LIST_REST));
        }
        if self.logs.list_at.is_some_and(|at| at <= self.now) {
            self.logs.list_at = None;
            self.logs.listed = self.who_takes_part();
            self.write_down(Said::List(self.members.version()));
        }
        if self.logs.seek_again && !alone {
            self.logs.seek_again = false;
            self.with_logs(|author, _, world| author.seek_again(world));
        }
        self.with_logs(|author, _, world| author.go_on(world));
    }

    fn who_takes_part(&self) -> Digest {
        let nodes = self.members.active().map(|record| record.binding.node);
        nodes.fold(Hasher::new("okapi 2026 peer: who takes part"), |hasher, node| hasher.add(&node.0)).digest()
    }

    /// Lets author and witness do something, and does what they ask for.
    fn with_logs<R>(&mut self, call: impl FnOnce(&mut Author, &mut Witness, &World<'_>) -> R) -> R {
        let Self { logs, pulses, members, identity, settings, now, .. } = self;
        let is_here = |node| members.is_active(node) && pulses.contact(node) == Contact::Here;
        let is_counted_on = |node| members.is_active(node) && pulses.contact(node) != Contact::Gone;
        let world = World {
            now: *now,
            key: &identity.signing,
            rosters: &logs.rosters,
            is_here: &is_here,
            is_counted_on: &is_counted_on,
            by_place: settings.care.draw_by_place,
        };
        let answer = call(&mut logs.author, &mut logs.witness, &world);
        while let Some(act) = self.logs.author.poll() {
            self.act(kind::AUTHOR, act);
        }
        while let Some(act) = self.logs.witness.poll() {
            self.act(kind::WITNESS, act);
        }
        answer
    }

    fn act(&mut self, space: u8, act: Act) {
        match act {
            Act::Keep(key, Some(value)) => self.keeper.put(prefixed(space, &key), value),
            Act::Keep(key, None) => self.keeper.remove(prefixed(space, &key)),
            Act::Send(to, message) => {
                self.send(to, Body::Log(message));
            }
            Act::SendWhenKept(to, message) => {
                self.keeper.then(Then::Send(Mail { to, body: Body::Log(message), payload: nothing() }));
            }
            Act::TellWhenKept(sequence) => self.keeper.then(Then::Logged(sequence)),
            Act::Forked(proof) => self.found_fork(&proof),
            Act::Behind => self.restore_what_was_forgotten(),
        }
    }

    /// Entries of one's own log are durable.
    pub(super) fn logged(&mut self, sequence: u64) {
        self.with_logs(|author, _, world| author.kept(world, sequence));
    }

    /// A fork is proven, for the first time here: all are to know.
    fn found_fork(&mut self, proof: &ForkProof) {
        let log = proof.one.header.log;
        self.tell_user(Event::Forked { log });
        let here: Vec<NodeId> = self.others().filter(|node| *node != log && self.is_here(*node)).collect();
        for node in self.draw(&here, FORKS_TO) {
            self.send(node, Body::Log(LogMessage::Forked(Box::new(proof.clone()))));
        }
    }

    /// The last entry of one's own log that is durable.
    pub(super) fn own_head(&self) -> (u64, Digest) {
        self.logs.author.head()
    }

    /// A node says what the last entry of its log is. If this one knows a later one, or another, it says so and asks
    /// for a signature: the author may be a backup that has not asked yet, and if it lies, its signature proves it.
    pub(super) fn saw_head(&mut self, from: NodeId, sequence: u64, head: Digest) {
        let Some((known, hash)) = self.logs.witness.head_hash(from) else { return };
        if sequence > known || (sequence == known && head == hash) || self.logs.is_forked(from) {
            return;
        }
        let ours = self.logs.witness.head(from).copied().map(Box::new);
        self.send(from, Body::Log(LogMessage::Head { log: from, nonce: 0, head: ours }));
        if sequence > 0 {
            self.send(from, Body::Log(LogMessage::AskHead { log: from, nonce: 0 }));
        }
    }

    /// A node that was away is here again.
    pub(super) fn log_back(&mut self, node: NodeId) {
        self.with_logs(|author, _, world| author.came_back(world, node));
    }

    pub(super) fn log_deed(&mut self, name: SegmentName, deed: &Deed) {
        self.write_down(Said::Deed { segment: name, revision: deed.revision, deed: identity::digest(deed) });
    }

    pub(super) fn log_release(&mut self, name: SegmentName) {
        self.write_down(Said::Release(name));
    }

    /// This node came into a group: somebody there may know its log from before.
    pub(super) fn log_joined(&mut self) {
        self.logs.rosters.follow(&self.members);
        self.with_logs(|author, _, world| author.seek_again(world));
        self.write_down(Said::Joined(self.group));
    }

    /// This node is in another group, and will know who else is when the list has come.
    pub(super) fn log_rejoined(&mut self) {
        self.logs.seek_again = true;
    }

    /// Whether this node's own log says that it gave a segment up.
    pub(super) fn log_says_released(&self, name: SegmentName) -> bool {
        self.logs.author.lines().any(|line| {
            let said = line.body.and_then(|body| Said::parse(line.head.header.kind, body).ok());
            said == Some(Said::Release(name))
        })
    }

    fn write_down(&mut self, said: Said) {
        let written = self.with_logs(|author, _, world| author.append(world, said.kind(), said.to_body()));
        // A log that takes no more loses history, not data: what lies where is in the deeds. The user was told of the
        // fork, or sees that the end of the log is being looked for.
        let _ = written;
    }

    /// Something about logs was said.
    pub(super) fn log_said(&mut self, from: NodeId, message: LogMessage) {
        let own = self.node;
        let refusal = match message {
            LogMessage::Submit { list, path, entries } => self
                .with_logs(|_, witness, world| witness.submitted(world, from, list, &path, entries))
                .and_then(refusal_of),
            LogMessage::Advance { path, signature } if path.first.log == own => {
                bad_unless(self.with_logs(|author, _, world| author.told_path(world, &path, signature)))
            }
            LogMessage::Advance { path, signature } => {
                self.with_logs(|_, witness, _| witness.advanced(from, &path, signature)).and_then(refusal_of)
            }
            LogMessage::Confirmed(all) => {
                bad_unless(self.with_logs(|author, _, world| author.confirmed(world, &all)) != Counted::Bad)
            }
            LogMessage::Known { log, known, hash, .. } if log == own => {
                self.with_logs(|author, _, world| author.told_known(world, from, known, hash));
                None
            }
            LogMessage::Refused { log, sequence, why } if log == own => {
                self.with_logs(|author, _, world| author.refused(world, from, sequence, why));
                None
            }
            LogMessage::Known { .. } | LogMessage::Refused { .. } => Some(Refusal::NotYours),
            LogMessage::Forked(proof) => self.shown_fork(*proof),
            LogMessage::AskHead { log, nonce } => {
                self.with_logs(|author, witness, _| match log == own {
                    true => author.asked_head(from, nonce),
                    false => witness.asked_head(from, log, nonce),
                });
                None
            }
            LogMessage::Head { log, nonce, head } => self.head_came(from, log, nonce, head.as_deref()),
            LogMessage::AskEntries { log, nonce, from: first, to } => {
                self.with_logs(|author, witness, _| match log == own {
                    true => author.asked(from, nonce, first, to),
                    false => witness.asked(from, log, nonce, first, to),
                });
                None
            }
            LogMessage::Entries { log, nonce, to, entries } => self.entries_came(from, log, nonce, to, entries),
        };
        if let Some(refusal) = refusal {
            self.refuse(refusal);
        }
    }

    fn shown_fork(&mut self, proof: ForkProof) -> Option<Refusal> {
        let log = proof.one.header.log;
        if log == self.node {
            let good = fork::verify(&proof).is_ok();
            self.with_logs(|author, _, _| author.shown_fork(&proof));
            return bad_unless(good);
        }
        if self.members.get(log).is_none() {
            return Some(Refusal::Stranger);
        }
        bad_unless(self.with_logs(|_, witness, _| witness.shown(proof)).is_ok())
    }

    fn head_came(&mut self, from: NodeId, log: NodeId, nonce: u64, head: Option<&SignedHeader>) -> Option<Refusal> {
        if log == self.node {
            return bad_unless(self.with_logs(|author, _, world| author.told_head(world, from, nonce, head)));
        }
        if head.is_some_and(|head| head.header.log != log) {
            return Some(Refusal::Malformed);
        }
        if let Some(head) = head {
            self.with_logs(|_, witness, _| witness.saw(head));
        }
        None
    }

    fn entries_came(&mut self, from: NodeId, log: NodeId, nonce: u64, to: u64, entries: Vec<Entry>) -> Option<Refusal> {
        if log != self.node {
            return Some(Refusal::Unasked);
        }
        bad_unless(self.with_logs(|author, _, world| author.told_entries(world, from, nonce, to, entries)))
    }
}

fn bad_unless(good: bool) -> Option<Refusal> {
    (!good).then_some(Refusal::BadSignature)
}

/// How a witness's refusal is counted. That it is busy is nobody's fault.
fn refusal_of(why: No) -> Option<Refusal> {
    match why {
        No::NotAMember => Some(Refusal::Stranger),
        No::UnknownList => Some(Refusal::WrongVersion),
        No::NotDrawn => Some(Refusal::NotYours),
        No::Busy => None,
        No::Bad => Some(Refusal::BadSignature),
    }
}
