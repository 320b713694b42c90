//! Pulse: who is here. Pings every node now and then, and tells a node that sleeps from one that is gone.

use super::Peer;
use crate::limits::{MISSED_PINGS, PING_MAX, PING_MIN, PING_PER_NODE, REACH_MIN};
use crate::machine::Event;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use okapi_base::NodeId;
use okapi_base::machine::Moment;
use okapi_wire::peer::letter::{Body, Ping};

/// How a node is doing, as far as this one knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contact {
    /// It was heard lately.
    Here,
    /// It was not heard lately; that is usual for it.
    Away,
    /// It has been away for longer than is usual for it.
    Gone,
}

/// What is known of one node.
#[derive(Debug)]
pub(crate) struct Pulse {
    pub(crate) contact: Contact,
    /// When it was heard last, or when this node began to listen; moved on by the time this node itself was away.
    pub(crate) heard: Moment,
    next_ping: Moment,
    /// The ping that is out, and when it was sent.
    out: Option<(u64, Moment)>,
    /// When the last ping was sent that it answered: up to then it hears this node, too.
    pub(crate) hears: Moment,
    /// When the driver said that it cannot be reached, if it was not heard since.
    unreached: Option<Moment>,
    /// How often in a row the two sides' books differed.
    pub(crate) differs: u32,
}

/// What is known of all other nodes.
#[derive(Debug, Default)]
pub(crate) struct Pulses {
    pub(crate) nodes: BTreeMap<NodeId, Pulse>,
    /// When it was last made sure that time goes on as usual.
    ticked: Moment,
    next: Option<Moment>,
}

impl Pulses {
    pub(crate) fn contact(&self, node: NodeId) -> Contact {
        self.nodes.get(&node).map_or(Contact::Away, |pulse| pulse.contact)
    }

    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.next
    }
}

impl Peer {
    /// Time between two pings of the same node: the larger the group, the longer.
    pub(super) fn ping_every(&self) -> Duration {
        let others = self.pulses.nodes.len() as u32;
        (PING_PER_NODE * others).clamp(PING_MIN, PING_MAX)
    }

    /// The member list changed: listens to those who are in it.
    pub(super) fn follow_members(&mut self) {
        let now = self.now;
        let others: Vec<NodeId> = self.others().collect();
        self.watch_members(&others);
        self.pulses.nodes.retain(|node, _| others.contains(node));
        for node in others {
            // The first ping goes out at once: it is how two nodes meet.
            self.pulses.nodes.entry(node).or_insert(Pulse {
                contact: Contact::Away,
                heard: now,
                next_ping: now,
                out: None,
                hears: Moment::default(),
                unreached: None,
                differs: 0,
            });
        }
        self.pulses.next = Some(now);
    }

    /// Sends the pings that are due, and notices who has fallen silent.
    pub(super) fn beat(&mut self) {
        let now = self.now;
        if self.pulses.next.is_none_or(|next| next > now) {
            return;
        }
        let every = self.ping_every();
        self.expect_pings(every);
        let mut silent = Vec::new();
        let mut due = Vec::new();
        for (node, pulse) in &mut self.pulses.nodes {
            if pulse.next_ping <= now {
                due.push(*node);
                // Whose link broke may be back any moment, the more so the shorter that is ago.
                let ago = pulse.unreached.map(|since| now.0.saturating_sub(since.0).clamp(REACH_MIN, every));
                pulse.next_ping = Moment(now.0 + ago.unwrap_or(every));
            }
            if pulse.contact == Contact::Here && now.0.saturating_sub(pulse.heard.0) > every * MISSED_PINGS {
                pulse.contact = Contact::Away;
                silent.push(*node);
            }
        }
        silent.into_iter().for_each(|node| self.went_away(node));
        due.into_iter().for_each(|node| self.ping(node));
        self.find_gone();
        self.keep_listening();
        self.pulses.next = self.pulses.nodes.values().map(|pulse| pulse.next_ping).min();
    }

    /// A machine that slept, or was not run, has not heard the others for that time; that is not their fault.
    pub(super) fn forgive_own_absence(&mut self) {
        let every = self.ping_every();
        let passed = self.now.0.saturating_sub(self.pulses.ticked.0);
        if passed > every * 2 && self.pulses.ticked != Moment::default() {
            for pulse in self.pulses.nodes.values_mut() {
                pulse.heard = Moment((pulse.heard.0 + passed).min(self.now.0));
            }
            self.remember_own_absence();
        }
        self.pulses.ticked = self.now;
    }

    /// Pings a node. One that is not heard may not know this node yet, and then does not listen to it: this node's own
    /// record says who vouched for it.
    pub(super) fn ping(&mut self, node: NodeId) {
        if !self.is_here(node)
            && let Some(own) = self.members.get(self.node)
        {
            let own = own.clone();
            self.send(node, Body::Records(Vec::from([own])));
        }
        let ping = self.ping_for(node);
        let number = self.send(node, Body::Ping(ping));
        let pulse = self.pulses.nodes.get_mut(&node).expect("only known nodes are pinged");
        pulse.out = Some((number, self.now));
    }

    pub(super) fn ping_for(&self, node: NodeId) -> Ping {
        let version = self.members.version();
        let (head_sequence, head) = self.own_head();
        Ping {
            list_number: version.number,
            list_digest: version.digest,
            head_sequence,
            head,
            balance: self.balance(node),
        }
    }

    /// Something was heard of a node.
    pub(super) fn heard(&mut self, node: NodeId) {
        let now = self.now;
        let Some(pulse) = self.pulses.nodes.get_mut(&node) else { return };
        let was = pulse.contact;
        pulse.heard = now;
        pulse.unreached = None;
        pulse.contact = Contact::Here;
        self.remember_contact(node);
        if was != Contact::Here {
            self.came_back(node);
        }
    }

    pub(super) fn pinged(&mut self, from: NodeId, number: u64, ping: &Ping) {
        let answer = self.ping_for(from);
        self.send(from, Body::Pong(number, answer));
        self.compare(from, ping);
    }

    pub(super) fn ponged(&mut self, from: NodeId, number: u64, ping: &Ping) {
        if let Some(pulse) = self.pulses.nodes.get_mut(&from)
            && let Some((out, sent)) = pulse.out
            && out == number
        {
            pulse.out = None;
            pulse.hears = sent;
            self.measured(from, 0, sent);
        }
        self.compare(from, ping);
    }

    /// What the other side says of itself against what is known here.
    fn compare(&mut self, from: NodeId, ping: &Ping) {
        self.compare_lists(from, ping.list_number, ping.list_digest);
        self.compare_balance(from, &ping.balance);
        self.saw_head(from, ping.head_sequence, ping.head);
    }

    fn came_back(&mut self, node: NodeId) {
        self.remember_return(node);
        self.mine.dirty_for(node);
        self.tell_anew(node);
        self.mend_back(node);
        self.mend_again(node);
        self.ask_contract_anew(node);
        // What never was safe has waited for anybody at all.
        self.mine.end_rests(self.now, |segment| !segment.safe);
        self.ask_again_at(node);
        self.restore_back(node);
        self.gather_back(node);
        self.audit_back(node);
        self.log_back(node);
    }

    /// A node was started anew: what it was asked before it does not know any more.
    pub(super) fn started_anew(&mut self, node: NodeId) {
        self.gather_lost(node);
        self.inbound_lost(node);
        self.ask_again_at(node);
    }

    /// Letters on their way to and from a node may be lost. One that is not here will get its own once it is heard.
    pub(super) fn relinked(&mut self, node: NodeId) {
        if self.pulses.contact(node) == Contact::Here {
            self.started_anew(node);
            self.tell_anew(node);
            self.mend_ask_again_at(node);
            self.restore_back(node);
            self.log_back(node);
        }
    }

    fn went_away(&mut self, node: NodeId) {
        self.gather_lost(node);
        self.inbound_lost(node);
        self.ask_others_than(node);
        // Where that is one too many, it cannot be waited for.
        self.mine.dirty_for(node);
        self.mend_gone(node);
    }

    /// Finds nodes that have been away for longer than is usual for them.
    fn find_gone(&mut self) {
        let nodes = &self.pulses.nodes;
        let count = |contact: Contact| nodes.values().filter(|pulse| pulse.contact == contact).count();
        let (here, away) = (count(Contact::Here) + 1, count(Contact::Away));
        if away == 0 {
            return;
        }
        let is_minority = here < away && nodes.len() > 1;
        let is_over = |node: NodeId, pulse: &Pulse| {
            let silent = self.now.0.saturating_sub(pulse.heard.0);
            pulse.contact == Contact::Away && self.is_missing(node, silent, is_minority)
        };
        let gone: Vec<NodeId> =
            nodes.iter().filter(|(node, pulse)| is_over(**node, pulse)).map(|(node, _)| *node).collect();
        gone.into_iter().for_each(|node| self.count_as_gone(node));
    }

    /// A node that is not here counts as lost until it is heard.
    pub(super) fn count_as_gone(&mut self, node: NodeId) {
        let kept_own = self.keeps_own_shard();
        let Some(pulse) = self.pulses.nodes.get_mut(&node).filter(|pulse| pulse.contact != Contact::Gone) else {
            return;
        };
        let was = core::mem::replace(&mut pulse.contact, Contact::Gone);
        if was == Contact::Here {
            self.went_away(node);
        }
        self.mine.dirty_for(node);
        if !kept_own && self.keeps_own_shard() {
            // There is a place now for what lay with others who are gone, and had none.
            self.mine.all_dirty();
        }
        self.mend_gone(node);
        self.tell_user(Event::Missing { node });
    }

    /// The driver cannot reach a node: it is away, though its pings were not due yet.
    pub(super) fn unreached(&mut self, node: NodeId) {
        let Some(pulse) = self.pulses.nodes.get_mut(&node) else { return };
        pulse.unreached = Some(self.now);
        pulse.next_ping = pulse.next_ping.min(Moment(self.now.0 + REACH_MIN));
        self.pulses.next = self.pulses.next.min(Some(pulse.next_ping));
        if pulse.contact == Contact::Here {
            pulse.contact = Contact::Away;
            self.went_away(node);
        }
    }

    /// Whether the driver has tried to reach a node, and could not.
    pub(super) fn is_unreached(&self, node: NodeId) -> bool {
        self.pulses.nodes.get(&node).is_some_and(|pulse| pulse.unreached.is_some())
    }

    /// Whether a node has answered a ping that was sent at `since` or later: what else it does not answer it does not
    /// want to.
    pub(super) fn hears_since(&self, node: NodeId, since: Moment) -> bool {
        self.is_here(node) && self.pulses.nodes.get(&node).is_some_and(|pulse| pulse.hears >= since)
    }

    /// Whether a node was heard lately.
    pub(super) fn is_here(&self, node: NodeId) -> bool {
        node == self.node || (self.is_active(node) && self.pulses.contact(node) == Contact::Here)
    }

    /// Whether a node is a member that is here or usually comes back.
    pub(super) fn is_counted_on(&self, node: NodeId) -> bool {
        node == self.node || (!self.has_parted(node) && self.is_counted_on_if_member(node))
    }

    pub(super) fn is_counted_on_if_member(&self, node: NodeId) -> bool {
        self.pulses.contact(node) != Contact::Gone
    }
}
