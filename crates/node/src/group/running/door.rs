//! The door through which the node's owner, and the other members, ask of its part in the group.

use super::super::clock::stamp;
use super::super::driver::{Driver, Event};
use super::super::founding::{self, Gift};
use super::super::report::{self, Sources, report};
use super::super::route::Destination;
use super::{Group, TICKET_LIFE_MAX, WayAway};
use crate::group::{GroupDoor, Onward, Route, Routed, Way, WhenSafe};
use crate::refusal::Refusal;
use okapi_base::NodeId;
use okapi_peers::{Input, Order, Phase};
use okapi_wire::Status;
use okapi_wire::message::{DeedPage, DeedsOf, GroupStatus, ShardPart, ShardRead};
use okapi_wire::peer::ticket::Ticket;
use std::sync::Arc;
use std::time::Duration;

impl GroupDoor for Group {
    fn status(&self) -> GroupStatus {
        let gift = self.gift.lock().clone();
        let (number, member) = (self.number, self.member);
        let (log, carrier) = (self.log.read().clone(), Arc::clone(&self.carrier));
        let told = self.ask(move |driver| {
            report(driver, &Sources { gift: &gift, number, member, log: log.as_deref(), carrier: &*carrier })
        });
        let named = told.map(|mut status| {
            self.name_risks(&mut status.risks);
            status
        });
        named.unwrap_or_else(|refusal| GroupStatus {
            note: refusal.text,
            state: okapi_wire::message::GroupState::Halted,
            ..GroupStatus::alone(okapi_base::GroupId([0; 32]), self.node, self.member)
        })
    }

    fn invite(&self, lifetime: Duration) -> Result<(String, u64), Refusal> {
        if lifetime.is_zero() || lifetime > TICKET_LIFE_MAX {
            let text = format!("a ticket lives for up to {} days", TICKET_LIFE_MAX.as_secs() / 86_400);
            return Err(Refusal::new(Status::Malformed, text));
        }
        let expires = stamp() + u64::try_from(lifetime.as_millis()).expect("a month fits");
        let mut secret = [0; 32];
        okapi_seal::random(&mut secret);
        let group = self.ask_durably(move |driver| driver.invite(secret, expires))??;
        Ok((self.ticket(secret, expires, group), expires))
    }

    fn join(&self, ticket: &str) -> Result<(), Refusal> {
        self.settled()?;
        let wrong = |text: String| Refusal::new(Status::Malformed, text);
        let ticket = Ticket::parse(ticket).map_err(|error| wrong(error.to_string()))?;
        if ticket.expires < stamp() {
            return Err(wrong("the ticket has expired; ask for a new one".to_owned()));
        }
        if ticket.via == self.node {
            return Err(wrong("this node made the ticket itself; give it to another one".to_owned()));
        }
        if ticket.addresses.is_empty() {
            return Err(wrong("the ticket tells no address; have one made by a node that listens".to_owned()));
        }
        self.carrier.hint(ticket.via, &ticket.addresses);
        self.ask(move |driver| driver.join(&ticket))?
    }

    fn leave(&self, now: bool) -> Result<(), Refusal> {
        self.settled()?;
        let alone = self.ask(|driver| driver.peer.members().iter().count() < 2)?;
        if alone {
            return Err(Refusal::new(
                Status::NoGroup,
                "nobody else is in this node's group: there is nothing to leave",
            ));
        }
        self.order(if now { Order::LeaveNow } else { Order::Leave })
    }

    fn give(&self, bytes: u64) -> Result<(), Refusal> {
        self.settled()?;
        if bytes < founding::GIVE_MIN {
            let error = founding::FoundError::TooLittle { give: bytes };
            return Err(Refusal::new(Status::TooLong, error.to_string()));
        }
        let gift = Gift { give: bytes, ..self.gift.lock().clone() };
        let (user, server) = gift.halves();
        let held = self.ask(|driver| driver.peer.held().map(|(_, bytes)| bytes).sum::<u64>())?;
        if held > server {
            let text = format!("{held} bytes are held for others; give at least {}", held * 2);
            return Err(Refusal::new(Status::Full, text));
        }
        gift.write(&self.data).map_err(|error| Refusal::new(Status::Failed, error.to_string()))?;
        *self.gift.lock() = gift;
        if let Some(log) = &*self.log.read() {
            log.set_limit(user);
        }
        self.order(Order::Promise { bytes: server })
    }

    fn lost(&self, node: NodeId) -> Result<(), Refusal> {
        self.settled()?;
        let known = self.ask(move |driver| driver.peer.members().get(node).is_some())?;
        let is_linked = self.carrier.links().get(&node).is_some_and(|link| link.connected);
        match (known, is_linked || node == self.node) {
            (false, _) => {
                Err(Refusal::new(Status::UnknownRecord, "no such node is in this group; `okapi members` lists them"))
            }
            (_, true) if node == self.node => {
                Err(Refusal::new(Status::Malformed, "that is this very node, and it is here"))
            }
            (_, true) => Err(Refusal::new(Status::Malformed, "that node is here; a node that answers is not lost")),
            _ => self.order(Order::Lost { node }),
        }
    }

    fn route(&self, wanted: &Route, then: Routed) {
        let (name, carrier) = (self.gift.lock().name.clone(), Arc::clone(&self.carrier));
        let listed = self.ask(move |driver| report::members(&driver.peer, &carrier.links(), (&name, "")));
        let to = listed.and_then(|members| {
            let alone = GroupStatus::alone(okapi_base::GroupId([0; 32]), self.node, self.member);
            Destination::find(&GroupStatus { members, ..alone }, wanted)
        });
        match to {
            Ok(to) => {
                let away = self.away.read().clone();
                self.carrier.reach(to.node, Box::new(move |way| route_on(way, to, away, then)));
            }
            Err(refusal) => then(Err(refusal)),
        }
    }

    fn deeds_of(&self, wanted: &DeedsOf) -> Result<DeedPage, Refusal> {
        let DeedsOf { owner, after } = *wanted;
        let (more, deeds) = self.ask(move |driver| driver.peer.deeds_of(owner, after))?;
        Ok(DeedPage { more, deeds })
    }

    fn read_shard(&self, wanted: &ShardRead) -> Result<ShardPart, Refusal> {
        let part = self.shards.read_part(wanted.shard, wanted.offset, wanted.length, wanted.tree);
        let (tree, bytes) = part.ok_or_else(|| Refusal::new(Status::UnknownRecord, "no such shard lies here"))?;
        Ok(ShardPart { tree, bytes })
    }

    fn when_safe(&self, then: WhenSafe) {
        let Some(log) = self.log.read().clone() else {
            return then(self.settled());
        };
        match log.close_segment() {
            Ok(until) => {
                // Dropped unasked where the driver is gone: then the node is stopping.
                let _ = self.events.send(Event::Ask(Box::new(move |driver| driver.wait_until_safe(until, then))));
            }
            Err(error) => then(Err(error.into())),
        }
    }
}

/// The node was reached, or was not: then there may be another way, to what others hold of it.
fn route_on(reached: Result<Onward, String>, to: Destination, away: Option<Arc<WayAway>>, then: Routed) {
    let why = match (reached, away) {
        (Ok(onward), _) => return then(Ok(Way { onward, as_of: None })),
        (Err(why), None) => return then(Err(to.away(&why))),
        (Err(why), Some(away)) => (why, away),
    };
    // The thread is one of the links', which the other members are reached by.
    let find = move || {
        let (why, away) = why;
        then(match away(to.node) {
            None => Err(to.away(&why)),
            Some(Err(refusal)) => Err(to.unreadable(&why, &refusal)),
            Some(Ok(way)) => Ok(way),
        });
    };
    // Dropped, it is answered as if the node were stopping.
    let _ = std::thread::Builder::new().name("okapi-way".to_owned()).spawn(find);
}

impl Driver {
    fn invite(&mut self, secret: [u8; 32], expires: u64) -> Result<okapi_base::GroupId, Refusal> {
        if let Some(why) = &self.halted {
            return Err(Refusal::new(Status::Failed, why.clone()));
        }
        match self.peer.phase() {
            Phase::Settled => {}
            Phase::Joining | Phase::Restoring => {
                return Err(Refusal::new(Status::Failed, "this node is still on its way into a group; invite later"));
            }
            Phase::Leaving | Phase::Parted => {
                return Err(Refusal::new(Status::Failed, "this node leaves its group and invites nobody"));
            }
        }
        self.invited = None;
        self.input(Input::Order(Order::Invite { secret, expires }));
        let text = "as many tickets are out as there may be (64); wait until some have expired";
        self.invited.take().ok_or_else(|| Refusal::new(Status::Full, text))
    }

    fn join(&mut self, ticket: &Ticket) -> Result<(), Refusal> {
        if let Some(why) = &self.halted {
            return Err(Refusal::new(Status::Failed, why.clone()));
        }
        if self.peer.members().iter().count() > 1 {
            let text = "this node is in a group with others already; `okapi leave` first";
            return Err(Refusal::new(Status::Exists, text));
        }
        self.join_note.clear();
        self.asked = Some(ticket.via);
        let Ticket { via, group, secret, .. } = *ticket;
        self.input(Input::Order(Order::Join { via, group, secret }));
        Ok(())
    }
}
