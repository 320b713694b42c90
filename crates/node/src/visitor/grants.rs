//! What a visitor is answered about grants.

use super::control::{bytes, empty, read};
use super::{End, Visitor};
use crate::catalog::Home;
use crate::grants::Grant;
use crate::group::{Roster, short};
use crate::host::Host;
use crate::records::now;
use crate::refusal::Refusal;
use okapi_base::MemberId;
use okapi_grid::Control;
use okapi_wire::message::{GrantList, GrantSet, Granted, Right};
use okapi_wire::{Frame, Status};

impl Visitor {
    /// Grants or revokes: for the node's owner, and for members that own the grid.
    pub(super) fn set_grant(&self, ask: &Frame<'_>) -> Result<Control, End> {
        let wanted: GrantSet = read(ask)?;
        let (is_owner, node) = (self.is_owner(), self.node);
        Ok(self.later(&ask.header, false, move |host| {
            let grid = host.grid(&wanted.grid);
            let right = match (&grid, node) {
                _ if is_owner => Right::Own,
                (Some(grid), Some(node)) => host.right_of(&node, grid.definition.id),
                _ => Right::None,
            };
            if right < Right::Own {
                return Err(host.no_right(node, Right::Own, &wanted.grid));
            }
            let grid = grid.ok_or(Status::UnknownGrid)?;
            let (has_key, grid) = (grid.home() == Home::Log, grid.definition.id);
            let roster = host.roster().ok_or_else(Refusal::no_group)?;
            if wanted.right != Right::None {
                check_member(wanted.member, roster)?;
            }
            host.grants.set(grid, Grant { member: wanted.member, right: wanted.right, since: now() }, has_key)?;
            host.wake_followers();
            host.give_keys();
            Ok(Vec::new())
        })?)
    }

    /// What was granted: all of it to the owner; to a member what it was granted itself, and all on grids it owns.
    pub(super) fn list_grants(&self, ask: &Frame<'_>) -> Result<Control, End> {
        empty(ask)?;
        let (is_owner, node) = (self.is_owner(), self.node);
        let enrolled = node.and_then(|node| self.host.roster()?.get(&node)).filter(|enrolled| enrolled.takes_part);
        let member = enrolled.map(|enrolled| enrolled.member);
        if !is_owner && member.is_none() {
            return Err(Status::Forbidden.into());
        }
        Ok(self.later(&ask.header, false, move |host| {
            let owns = |grid| is_owner || node.is_some_and(|node| host.right_of(&node, grid) == Right::Own);
            Ok(bytes(&list(host, &|grid, grant| Some(grant.member) == member || owns(grid))))
        })?)
    }
}

fn list(host: &Host, shows: &dyn Fn(okapi_base::GridId, &Grant) -> bool) -> GrantList {
    let mut grants = Vec::new();
    for grid in host.all_grids() {
        let definition = &grid.definition;
        let shown = host.grants.of(definition.id).into_iter().filter(|grant| shows(definition.id, grant));
        let granted = |Grant { member, right, since }| Granted { grid: definition.name.clone(), member, right, since };
        grants.extend(shown.map(granted));
    }
    GrantList { grants }
}

fn check_member(member: MemberId, roster: &Roster) -> Result<(), Refusal> {
    if member == roster.own() {
        return Err(Refusal::new(Status::Malformed, "that is the node's own member, which owns all its grids"));
    }
    if !roster.has_member(member) {
        let text = format!("{} is no member of this group; `okapi members` lists them", short(&member.0));
        return Err(Refusal::new(Status::UnknownRecord, text));
    }
    Ok(())
}
