//! How a program goes on to another member's node.

use super::control::{bytes, read};
use super::{End, Visitor};
use crate::group::{Onward, Route, Way};
use crate::refusal::Refusal;
use okapi_grid::Control;
use okapi_link::Kind;
use okapi_wire::message::RoutedAway;
use okapi_wire::{Frame, Status};
use std::sync::Arc;

impl Visitor {
    /// Begins to look for the way; the connection reads nothing more until there is an answer.
    pub(super) fn route(&self, ask: &Frame<'_>) -> Result<Control, End> {
        self.owner()?;
        let wanted: Route = read(ask)?;
        if !matches!(self.link, Kind::Unix | Kind::Tcp) {
            let text = "only a connection over a socket goes on to another member; connect to the node's unix socket";
            return Err(Refusal::new(Status::Unsupported, text).into());
        }
        if self.handles.len() > 0 || !self.streams.is_empty() || self.owes() {
            let text = "a route comes right after the hello; connect again for it";
            return Err(Refusal::new(Status::Malformed, text).into());
        }
        let door = self.host.group().ok_or_else(Refusal::no_group)?;
        let (owed, onward) = (self.owe(&ask.header)?, Arc::clone(&self.onward));
        let told = move |way: Result<Way, Refusal>| match way {
            Ok(way) => {
                *onward.lock() = Some(way.onward);
                owed.pay(Ok(way.as_of.map_or_else(Vec::new, |as_of| bytes(&RoutedAway { as_of }))));
            }
            Err(refusal) => owed.pay(Err(refusal)),
        };
        self.host.asking.add(move || door.route(&wanted, Box::new(told)));
        Ok(Control::Later)
    }

    /// Whether answers are still to be made, or to be written.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.later.state.lock().pending > 0
    }

    /// The way to another member's node, once the answer to a route has been written and was not a refusal.
    pub fn take_onward(&mut self) -> Option<Onward> {
        self.onward.lock().take()
    }
}
