//! Where nodes can be reached, by their own signed word. Of each node the newest announcement holds.

use super::identity::{ANNOUNCEMENT, verify};
use okapi_base::NodeId;
use okapi_wire::peer::announce::Announcement;
use okapi_wire::peer::member::NODES_MAX;
use std::collections::BTreeMap;

/// The announcements of all nodes but this one.
#[derive(Debug, Default)]
pub(crate) struct Book {
    announcements: BTreeMap<NodeId, Announcement>,
}

/// Why an announcement is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    /// The node did not sign it.
    #[error("the announcement is not signed by the node it speaks of")]
    Forged,
    /// One as new is known.
    #[error("an announcement as new is known")]
    Old,
    /// There are too many nodes.
    #[error("the address book is full")]
    Full,
}

impl Book {
    /// Takes an announcement in if it is newer than what is known.
    pub(crate) fn learn(&mut self, announcement: &Announcement) -> Result<(), LearnError> {
        let node = announcement.node;
        match self.announcements.get(&node) {
            Some(known) if known.stamp >= announcement.stamp => return Err(LearnError::Old),
            None if self.announcements.len() >= NODES_MAX => return Err(LearnError::Full),
            _ => {}
        }
        if !is_genuine(announcement) {
            return Err(LearnError::Forged);
        }
        self.announcements.insert(node, announcement.clone());
        Ok(())
    }

    pub(crate) fn get(&self, node: &NodeId) -> Option<&Announcement> {
        self.announcements.get(node)
    }

    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.announcements.keys().copied().collect()
    }

    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.announcements.remove(node);
    }
}

/// Whether the node it speaks of signed it.
pub(crate) fn is_genuine(announcement: &Announcement) -> bool {
    verify(&announcement.node, ANNOUNCEMENT, &announcement.signed_bytes(), &announcement.signature)
}
