//! What is remembered of other nodes: when they were here, which outlasts a restart, and how quickly they answer.

use super::{Peer, kept};
use crate::history::Presence;
use crate::limits::{FETCH_PATIENCE, FETCH_PATIENCE_MIN, HISTORY_EVERY, MENDING, MISSED_PINGS, NAIVE_GRACE};
use crate::safety::Pace;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;
use okapi_base::NodeId;
use okapi_base::machine::Moment;

impl Peer {
    /// Watches those who take part, and forgets those who do so no more.
    pub(super) fn watch_members(&mut self, others: &[NodeId]) {
        let now = self.now;
        let members: BTreeSet<NodeId> = others.iter().copied().collect();
        let parted: Vec<NodeId> =
            self.histories.nodes().map(|(node, _)| *node).filter(|node| !members.contains(node)).collect();
        for node in parted {
            // Its person gave it up: it did not leave as one leaves.
            if !self.is_counted_on_if_member(node) {
                self.histories.count_lost(&node);
            }
            self.histories.forget(&node);
            self.speeds.forget(&node);
            self.keeper.remove(kept::node_key(kept::kind::HISTORY, node));
        }
        members.into_iter().for_each(|node| self.histories.watch(now, node));
    }

    /// How often a node that is here is heard at least depends on the size of the group.
    pub(super) fn expect_pings(&mut self, every: Duration) {
        self.histories.expect((every * MISSED_PINGS).as_millis() as u64);
    }

    /// A node was heard.
    pub(super) fn remember_contact(&mut self, node: NodeId) {
        self.histories.heard(self.now, node);
    }

    /// A node is here again: what was learnt of its absence is kept at once, so that a restart takes nobody who came
    /// back for one who did not.
    pub(super) fn remember_return(&mut self, node: NodeId) {
        if let Some(line) = self.histories.line(&node) {
            self.keeper.put(kept::node_key(kept::kind::HISTORY, node), line);
        }
    }

    /// This node itself was asleep until now.
    pub(super) fn remember_own_absence(&mut self) {
        self.histories.woke(self.now);
    }

    /// Whether a node that has been silent for so long is missing, so that its shards are rebuilt.
    ///
    /// Two rules keep a node that is cut off from judging the others. One who hears *nobody* blames nobody
    /// ([`crate::history::Histories::is_blind`]). One who hears fewer than half of the group (`is_minority`) is more
    /// likely on the wrong side of a cut than a witness of so many deaths, and waits until the silence is for good.
    /// By itself the second rule would be for ever, and a group that really lost its larger half was never mended; by
    /// itself the first one would have a small side of a cut rebuild everything after three days.
    pub(super) fn is_missing(&self, node: NodeId, silent: Duration, is_minority: bool) -> bool {
        if !self.settings.care.grace {
            return !is_minority && silent > NAIVE_GRACE;
        }
        // Whatever was remembered, it must have had the time to answer since this node is awake.
        if silent <= self.ping_every() * MISSED_PINGS {
            return false;
        }
        match self.histories.presence(self.now, &node) {
            Some(Presence::Missing { .. }) => !is_minority,
            Some(Presence::Gone { .. }) => true,
            _ => false,
        }
    }

    /// Once a day: keeps everything, counts who is gone for good, and sees how quickly losses are noticed now.
    pub(super) fn keep_histories(&mut self) {
        let is_gone = |node: &NodeId| matches!(self.histories.presence(self.now, node), Some(Presence::Gone { .. }));
        let gone: Vec<NodeId> = self.histories.nodes().map(|(node, _)| *node).filter(is_gone).collect();
        gone.iter().for_each(|node| self.histories.count_lost(node));
        self.pace = self.present_pace();
        let nodes: Vec<NodeId> = self.histories.nodes().map(|(node, _)| *node).collect();
        nodes.into_iter().for_each(|node| self.remember_return(node));
        self.keep_head(true);
    }

    /// Keeps now and then until when this node has listened: what it heard nothing of later, it was not there to hear.
    pub(super) fn keep_listening(&mut self) {
        if self.now.0.saturating_sub(self.listening_kept.0) >= HISTORY_EVERY {
            self.keep_head(false);
        }
    }

    fn keep_head(&mut self, with_lines: bool) {
        if self.histories.nodes().next().is_some() {
            self.listening_kept = self.now;
            let head = self.histories.head(self.now, with_lines);
            self.keeper.put(kept::prefixed(kept::kind::HISTORY, &[]), head);
        }
    }

    pub(super) fn present_pace(&self) -> Pace {
        Pace { notice_ms: self.histories.median_grace(), repair_ms: MENDING.as_millis() as u64 }
    }

    /// An answer of so many bytes came after so long.
    pub(super) fn measured(&mut self, node: NodeId, bytes: usize, since: Moment) {
        let took = self.now.0.saturating_sub(since.0).as_micros();
        self.speeds.answered(node, bytes as u64, u64::try_from(took).unwrap_or(u64::MAX));
    }

    /// How long a shard of so many bytes that is fetched from a node is waited for. One whose throughput was never
    /// measured has the longest time; nobody has so little that a disk which spins up is too slow.
    pub(super) fn fetch_patience(&self, node: NodeId, bytes: u64) -> Duration {
        let known = self.speeds.of(&node).and_then(crate::measure::Speed::throughput).is_some();
        let least = if known { FETCH_PATIENCE_MIN } else { FETCH_PATIENCE };
        Duration::from_micros(self.speeds.timeout(&node, bytes)).max(least)
    }
}
