//! What the members of the group may do here.

use crate::group::{Roster, short};
use crate::host::Host;
use crate::refusal::Refusal;
use okapi_base::{GridId, MemberId, NodeId};
use okapi_wire::Status;
use okapi_wire::message::Right;

impl Host {
    /// A number that changes whenever what any member may do has changed.
    pub(crate) fn rights_changes(&self) -> u64 {
        // Both only grow: the sum is the same only if both are.
        self.grants.changes() + self.roster().map_or(0, Roster::changes)
    }

    /// What the member of a node may do with a grid, by what it was granted. The other nodes of this node's own member
    /// own everything; who has parted may do nothing.
    pub(crate) fn right_of(&self, node: &NodeId, grid: GridId) -> Right {
        let Some(roster) = self.roster() else { return Right::None };
        match roster.get(node).filter(|enrolled| enrolled.takes_part) {
            None => Right::None,
            Some(enrolled) if enrolled.member == roster.own() => Right::Own,
            Some(enrolled) => self.grants.right(grid, enrolled.member),
        }
    }

    /// Has whoever follows a grid look at once whether it still may.
    pub(crate) fn wake_followers(&self) {
        self.all_grids().iter().for_each(|grid| grid.changes.wake());
    }

    /// What a member is told that has not this right. The same is said of a grid that is not there: whether it is, is
    /// not its business.
    pub(crate) fn no_right(&self, node: Option<NodeId>, right: Right, grid: &str) -> Refusal {
        let (Some(node), Some(roster)) = (node, self.roster()) else { return Status::Forbidden.into() };
        let text = match roster.get(&node).filter(|enrolled| enrolled.takes_part) {
            Some(enrolled) => no_right(&roster.name(&node), node, enrolled.member, right, grid),
            None => format!("node {} takes no part in this group any more; it can join anew", short(&node.0)),
        };
        Refusal::new(Status::Forbidden, text)
    }
}

fn no_right(name: &str, node: NodeId, member: MemberId, right: Right, grid: &str) -> String {
    let digits = short(&node.0);
    // What people can type: a name of one plain word, or the digits.
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
    let called = if is_word { name } else { &digits };
    let (doing, word, member) = (doing(right), right.word(), short(&member.0));
    format!(
        "{called} (member {member}) has no right to {doing} grid {grid}; its owner can give it: okapi grant {grid} {called} \
         {word}"
    )
}

fn doing(right: Right) -> &'static str {
    match right {
        Right::None | Right::Read => "read",
        Right::Write => "write to",
        Right::Own => "grant or drop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_is_told_how_it_could() {
        let (node, member) = (NodeId([0x1a; 32]), MemberId([0x2b; 32]));
        assert_eq!(
            no_right("attic", node, member, Right::Read, "photos"),
            "attic (member 2b2b2b2b) has no right to read grid photos; its owner can give it: okapi grant photos attic read"
        );
        let text = no_right("an attic; rm -rf", node, member, Right::Own, "photos");
        assert!(
            text.ends_with("okapi grant photos 1a1a1a1a own") && !text.contains(';') || text.starts_with("1a1a1a1a ")
        );
    }
}
