//! Connections: which of them are the ones, and what becomes of the others.

use super::{Hub, PARTED};
use crate::member::book::LearnError;
use crate::member::connection;
use crate::member::correspondent::Correspondent;
use crate::member::dial;
use crate::member::greet::{Greeting, plain};
use crate::member::host::{Event, Standing};
use crate::member::identity::{PRESENCE, verify};
use crate::member::live::Live;
use crate::member::settings::{CLOCK_TOLERANCE, HINTS_MAX};
use okapi_base::NodeId;
use okapi_wire::peer::announce::ADDRESSES_MAX;
use okapi_wire::peer::link::{Farewell, Hello, Presence, Reason};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Refusals of one node that are remembered: one for each of its addresses.
const REFUSALS_MAX: usize = HINTS_MAX + ADDRESSES_MAX;

impl Hub {
    /// A connection on which both ends have said hello, not yet in use.
    pub(crate) fn meet(&self, greeting: &Greeting, hello: Hello, trusted: bool) -> Arc<Live> {
        let ahead = hello.stamp.cast_signed().wrapping_sub((self.settings.clock)().cast_signed());
        if ahead.unsigned_abs() > CLOCK_TOLERANCE {
            self.host.happened(Event::ClockOff { node: greeting.node(), milliseconds: ahead });
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        Arc::new(Live::new(number, greeting.parties(hello), trusted, greeting.traffic.clone()))
    }

    /// Lets letters take this connection from now on, unless another one stands in its way. It is to be driven by
    /// [`Hub::start`] then, or given up by [`Hub::never_began`].
    pub(crate) async fn admit(self: &Arc<Self>, fresh: &Arc<Live>) -> Result<(), Farewell> {
        let whom = self.correspondent(fresh.node);
        loop {
            let old = {
                let mut state = whom.state.lock();
                match state.live.clone() {
                    Some(old) if !self.yields(&old, fresh) => old,
                    old => {
                        state.live = Some(fresh.clone());
                        drop(state);
                        self.took(fresh, old);
                        return Ok(());
                    }
                }
            };
            // The old one stays, if it is there at all.
            let presence = old.prove(fresh.run, self.tuning.prove).await;
            match presence {
                Some(_) if old.run == fresh.run => {
                    return Err(plain(Reason::Replaced, "another connection between the two is in use"));
                }
                Some(presence) if (old.started, old.run) < (fresh.started, fresh.run) => {
                    return Err(self.twin_of(&presence));
                }
                // The old connection is dead, or leads to the later of two twins.
                _ => {
                    let mut state = whom.state.lock();
                    if state.live.as_ref().is_some_and(|live| live.id == old.id) {
                        state.live = Some(fresh.clone());
                        drop(state);
                        self.took(fresh, Some(old));
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether an old connection gives way to a new one without being asked: of two that the same two processes made
    /// at once that one stays which the smaller of them dialled, and of two that one process dialled the newer.
    fn yields(&self, old: &Live, fresh: &Live) -> bool {
        let smaller_dialled = |live: &Live| live.dialled == (self.me() < live.node);
        old.run == fresh.run && (old.dialled == fresh.dialled || smaller_dialled(fresh))
    }

    /// A new connection took the place of none or an old one.
    fn took(self: &Arc<Self>, fresh: &Arc<Live>, old: Option<Arc<Live>>) {
        self.host.happened(Event::Up { node: fresh.node, address: fresh.address.clone() });
        match old {
            None => {}
            Some(old) if old.run == fresh.run => {
                old.close(plain(Reason::Replaced, "another connection between the two is in use"));
            }
            Some(old) => {
                // Either the old process is gone, or it is the later of two: then it is told so, with proof.
                let (hub, fresh) = (self.clone(), fresh.clone());
                self.runtime.spawn(async move {
                    let presence = fresh.prove(old.run, hub.tuning.prove).await;
                    old.close(match presence {
                        Some(presence) => hub.twin_of(&presence),
                        None => plain(Reason::Replaced, "another connection between the two is in use"),
                    });
                });
            }
        }
    }

    fn twin_of(&self, presence: &Presence) -> Farewell {
        let words = "another process that runs with this identity has been connected for longer";
        Farewell { twin: Some(Box::new(*presence)), ..plain(Reason::Twin, words) }
    }

    /// Drives a connection, in a task of its own. `place` is a stranger's.
    pub(crate) fn start(self: &Arc<Self>, live: Arc<Live>, greeting: Greeting, place: Option<OwnedSemaphorePermit>) {
        match self.host.standing(&live.node) {
            // Whom this node dialled it knows.
            Standing::Stranger if live.is_trusted() => self.exchange(&live),
            // It may have changed since the hello, when a review did not find the connection yet.
            _ => self.judge(&live),
        }
        self.connections.send_modify(|count| *count += 1);
        self.runtime.spawn(connection::run(self.clone(), live, greeting, place));
    }

    /// Takes in what a member says of itself, and tells it of all others.
    pub(crate) fn exchange(&self, live: &Live) {
        if self.learn(live.announcement.clone(), Some(live)) == Err(LearnError::Old)
            && self.announced(&live.node).is_some_and(|known| known.stamp > live.announcement.stamp)
        {
            // It does not know what it said itself, under a clock that was ahead: it will say something newer.
            live.outbox.lock().news.insert(live.node);
        }
        live.tell(self.members_known());
    }

    /// What nodes are to the group may have changed.
    pub(crate) fn review(&self) {
        for whom in self.correspondents() {
            let live = whom.state.lock().live.clone();
            if let Some(live) = live {
                self.judge(&live);
            }
        }
    }

    /// Goes by what the node at the other end is to the group now.
    fn judge(&self, live: &Live) {
        match self.host.standing(&live.node) {
            Standing::Parted => live.close(plain(Reason::Parted, PARTED)),
            Standing::Member => {
                live.trusted.store(true, Ordering::Relaxed);
                self.exchange(live);
            }
            Standing::Stranger => {}
        }
    }

    /// A connection was lost before it was driven.
    pub(crate) fn never_began(self: &Arc<Self>, live: &Live, why: String) {
        self.connections.send_modify(|count| *count += 1);
        self.ended(live, why);
    }

    /// A connection is over.
    pub(crate) fn ended(self: &Arc<Self>, live: &Live, why: String) {
        self.connections.send_modify(|count| *count -= 1);
        // A node that was forgotten has none.
        let Some(whom) = self.correspondents.lock().get(&live.node).cloned() else { return };
        let mut state = whom.state.lock();
        let was_current = state.live.as_ref().is_some_and(|current| current.id == live.id);
        let offered = std::mem::take(&mut live.outbox.lock().offered);
        for offered in offered.into_iter().rev() {
            state.queue.put_back(offered.letter);
        }
        if was_current {
            state.live = None;
            state.failure = Some(why.clone());
            if live.since.elapsed() >= self.tuning.handshake {
                state.backoff.reset();
            }
            state.not_before = Instant::now() + state.backoff.delay();
        } else if let Some(current) = &state.live {
            current.wake();
        }
        let dial = state.live.is_none() && !state.dialling && !state.queue.is_empty() && !self.is_stopping();
        state.dialling |= dial;
        drop(state);
        if was_current {
            self.host.happened(Event::Down { node: live.node, why });
        }
        if dial {
            self.runtime.spawn(dial::until_connected(self.clone(), whom));
        } else if !live.is_trusted() {
            self.drop_stranger(&whom);
        }
    }

    /// Keeps nothing of a stranger to whom nobody has anything to say: there may be many of them.
    fn drop_stranger(&self, whom: &Arc<Correspondent>) {
        let mut correspondents = self.correspondents.lock();
        let unused = {
            let state = whom.state.lock();
            state.live.is_none() && !state.dialling && state.queue.is_empty() && state.hints.is_empty()
        };
        // Besides the entry itself there is only the one at hand; others are made under this lock.
        if unused && Arc::strong_count(whom) == 2 {
            correspondents.remove(&whom.node);
        }
    }

    /// Another end's farewell, where it means more than that a connection is over.
    pub(crate) fn told(&self, node: NodeId, address: &str, farewell: &Farewell) {
        match (farewell.reason, &farewell.twin) {
            (Reason::Twin, Some(twin)) => self.twin(address, twin, &farewell.words),
            (Reason::Versions | Reason::Parted, _) => self.refused(node, address, &farewell.words),
            _ => {}
        }
    }

    /// Another process with this node's identity was shown to be there. The later of the two stops.
    fn twin(&self, address: &str, twin: &Presence, said: &str) {
        let record = twin.signed_bytes(&self.settings.run);
        let genuine = twin.run != self.settings.run && verify(&self.me(), PRESENCE, &record, &twin.signature);
        if genuine {
            self.met_twin(address, twin.started, twin.run, said);
        }
    }

    pub(crate) fn met_twin(&self, address: &str, started: u64, run: [u8; 16], said: &str) {
        if (started, run) < (self.started, self.settings.run) {
            self.host.happened(Event::Twin { address: address.to_owned(), said: said.to_owned() });
        }
    }

    /// Tells people why a node cannot be reached, once for the same reason.
    pub(crate) fn refused(&self, node: NodeId, address: &str, why: &str) {
        let whom = self.correspondent(node);
        let told = (address.to_owned(), why.to_owned());
        let mut state = whom.state.lock();
        if !state.refused.contains(&told) {
            if state.refused.len() >= REFUSALS_MAX {
                state.refused.remove(0);
            }
            state.refused.push(told);
            drop(state);
            self.host.happened(Event::Refused { node, address: address.to_owned(), why: why.to_owned() });
        }
    }
}
