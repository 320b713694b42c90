//! Announcements: what this node says of itself, what others say, and who is told.

use super::Hub;
use crate::member::book::{LearnError, is_genuine};
use crate::member::host::{Event, Standing};
use crate::member::identity::{ANNOUNCEMENT, Identity};
use crate::member::live::Live;
use okapi_base::NodeId;
use okapi_wire::peer::announce::{Announcement, STAMP_MAX};
use std::sync::atomic::Ordering;

impl Hub {
    pub(crate) fn announced(&self, node: &NodeId) -> Option<Announcement> {
        if *node == self.me() { Some(self.announcement.lock().clone()) } else { self.book.lock().get(node).cloned() }
    }

    /// Announces other addresses of this node.
    pub(crate) fn announce(&self, addresses: Vec<String>) {
        let now = (self.settings.clock)();
        let mut known = self.announcement.lock();
        let stamp = now.max(known.stamp + 1).min(STAMP_MAX);
        *known = signed(&self.identity, &self.settings.name, stamp, addresses);
        let announcement = known.clone();
        drop(known);
        self.spread(&announcement, None);
        self.host.happened(Event::Announced(announcement));
    }

    /// Takes an announcement in, from the host or from another node, and tells it to all that may not have it.
    pub(crate) fn learn(&self, announcement: Announcement, from: Option<&Live>) -> Result<(), LearnError> {
        if announcement.node == self.me() {
            self.outlive(&announcement);
            return Err(LearnError::Old);
        }
        let learned = self.book.lock().learn(&announcement);
        if learned == Err(LearnError::Forged) {
            self.forged.fetch_add(1, Ordering::Relaxed);
        }
        learned?;
        let whom = self.correspondents.lock().get(&announcement.node).cloned();
        if let Some(whom) = whom {
            whom.dial_anew();
        }
        self.spread(&announcement, from);
        if from.is_some() {
            self.host.happened(Event::Announced(announcement));
        }
        Ok(())
    }

    /// What a process before this one announced, perhaps under a clock that was ahead, must not outlive what this one
    /// announces.
    fn outlive(&self, former: &Announcement) {
        let known = self.announcement.lock().clone();
        let newer = (former.stamp, &former.addresses) > (known.stamp, &known.addresses);
        if newer && is_genuine(former) && former.stamp < STAMP_MAX {
            let mut known = self.announcement.lock();
            *known = signed(&self.identity, &self.settings.name, former.stamp + 1, known.addresses.clone());
            let announcement = known.clone();
            drop(known);
            self.spread(&announcement, None);
            self.host.happened(Event::Announced(announcement));
        }
    }

    fn spread(&self, announcement: &Announcement, from: Option<&Live>) {
        let node = announcement.node;
        let may_be_told = node == self.me() || self.host.standing(&node) == Standing::Member;
        for whom in self.correspondents().iter().filter(|_| may_be_told) {
            let live = whom.state.lock().live.clone();
            if let Some(live) = live.filter(|live| live.is_trusted() && from.is_none_or(|from| from.id != live.id)) {
                live.tell([node]);
            }
        }
    }

    /// All nodes whose announcements a member may be told.
    pub(crate) fn members_known(&self) -> Vec<NodeId> {
        let mut nodes = self.book.lock().nodes();
        nodes.retain(|node| self.host.standing(node) == Standing::Member);
        nodes
    }
}

pub(crate) fn signed(identity: &Identity, name: &str, stamp: u64, addresses: Vec<String>) -> Announcement {
    let mut announcement =
        Announcement { node: identity.node(), stamp, name: name.to_owned(), addresses, signature: [0; 64] };
    announcement.signature = identity.sign(ANNOUNCEMENT, &announcement.signed_bytes());
    announcement
}
