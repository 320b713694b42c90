//! What a visitor is answered about the group.

use super::control::{bytes, empty, read};
use super::{Owed, Visitor};
use crate::group::GroupDoor;
use crate::refusal::Refusal;
use okapi_grid::Control;
use okapi_wire::message::{GroupGive, GroupInvite, GroupJoin, GroupLeave, GroupLost, GroupStatusAsk, Invited};
use okapi_wire::{Frame, Op};
use std::time::Duration;

impl Visitor {
    /// One of the asks about the group; the asker is the owner.
    pub(super) fn group(&self, op: Op, ask: &Frame<'_>) -> Result<Control, Refusal> {
        match op {
            Op::GroupStatus => {
                // There is but one version, and everybody reads it.
                let _: GroupStatusAsk = read(ask)?;
                self.through(ask, |door, owed| owed.pay(Ok(bytes(&door.status()))))
            }
            Op::GroupInvite => {
                let wanted: GroupInvite = read(ask)?;
                let lifetime = Duration::from_secs(u64::from(wanted.lifetime));
                let invited = |(ticket, expires)| bytes(&Invited { ticket, expires });
                self.through(ask, move |door, owed| owed.pay(door.invite(lifetime).map(invited)))
            }
            Op::GroupJoin => {
                let wanted: GroupJoin = read(ask)?;
                self.through(ask, move |door, owed| owed.pay(done(door.join(&wanted.ticket))))
            }
            Op::GroupLeave => {
                let wanted: GroupLeave = read(ask)?;
                self.through(ask, move |door, owed| owed.pay(done(door.leave(wanted.now))))
            }
            Op::GroupLost => {
                let wanted: GroupLost = read(ask)?;
                self.through(ask, move |door, owed| owed.pay(done(door.lost(wanted.node))))
            }
            Op::GroupGive => {
                let wanted: GroupGive = read(ask)?;
                self.through(ask, move |door, owed| owed.pay(done(door.give(wanted.bytes))))
            }
            _ => {
                empty(ask)?;
                self.through(ask, |door, owed| door.when_safe(Box::new(move |safe| owed.pay(done(safe)))))
            }
        }
    }

    /// Has the door asked where waiting for its locks stops no connection.
    pub(super) fn through(
        &self,
        ask: &Frame<'_>,
        work: impl FnOnce(&dyn GroupDoor, Owed) + Send + 'static,
    ) -> Result<Control, Refusal> {
        let door = self.host.group().ok_or_else(Refusal::no_group)?;
        let owed = self.owe(&ask.header)?;
        self.host.asking.add(move || work(&*door, owed));
        Ok(Control::Later)
    }
}

fn done(result: Result<(), Refusal>) -> Result<Vec<u8>, Refusal> {
    result.map(|()| Vec::new())
}
