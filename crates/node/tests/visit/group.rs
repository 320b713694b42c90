//! What a node is asked about its group, with nobody behind the door but the test.

use crate::conn::*;
use crate::toy::Toy;
use okapi_base::{GroupId, MemberId, NodeId};
use okapi_node::group::{GroupDoor, WhenSafe};
use okapi_node::{Host, Refusal};
use okapi_wire::message::*;
use okapi_wire::{Op, Status};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A door that writes down what it was asked, and says no when it is told to.
#[derive(Default)]
struct Door {
    asked: Mutex<Vec<String>>,
    no: Mutex<Option<Refusal>>,
    waiting: Mutex<Vec<WhenSafe>>,
}

impl Door {
    fn asked(&self, what: String) -> Result<(), Refusal> {
        self.asked.lock().push(what);
        self.no.lock().clone().map_or(Ok(()), Err)
    }
}

impl GroupDoor for Door {
    fn status(&self) -> GroupStatus {
        self.asked.lock().push("status".to_owned());
        GroupStatus::alone(GroupId([1; 32]), NodeId([2; 32]), MemberId([3; 32]))
    }

    fn invite(&self, lifetime: Duration) -> Result<(String, u64), Refusal> {
        self.asked(format!("invite {lifetime:?}")).map(|()| ("okapi-1".to_owned(), 7))
    }

    fn join(&self, ticket: &str) -> Result<(), Refusal> {
        self.asked(format!("join {ticket}"))
    }

    fn leave(&self, now: bool) -> Result<(), Refusal> {
        self.asked(format!("leave {now}"))
    }

    fn give(&self, bytes: u64) -> Result<(), Refusal> {
        self.asked(format!("give {bytes}"))
    }

    fn lost(&self, node: NodeId) -> Result<(), Refusal> {
        self.asked(format!("lost {}", node.0[0]))
    }

    fn when_safe(&self, then: WhenSafe) {
        self.waiting.lock().push(then);
    }
}

fn with_door() -> (Arc<Host>, Arc<Door>) {
    let (host, door) = (host(&Toy::default()), Arc::new(Door::default()));
    host.set_group(door.clone());
    (host, door)
}

fn asks() -> [(Op, Vec<u8>); 7] {
    [
        (Op::GroupStatus, body(&GroupStatusAsk::OURS)),
        (Op::GroupInvite, body(&GroupInvite { lifetime: 60 })),
        (Op::GroupJoin, body(&GroupJoin { ticket: "okapi-1".into() })),
        (Op::GroupLeave, body(&GroupLeave { now: true })),
        (Op::GroupGive, body(&GroupGive { bytes: 5 })),
        (Op::GroupLost, body(&GroupLost { node: NodeId([6; 32]) })),
        (Op::GroupSafe, vec![]),
    ]
}

fn start(conn: &mut Conn, op: Op, bytes: &[u8]) -> u32 {
    let request = conn.next();
    conn.out.message(okapi_wire::Header::ask(op, request, 0), |out| out.extend_from_slice(bytes));
    request
}

#[test]
fn each_ask_comes_through_and_so_does_each_answer() {
    let (host, door) = with_door();
    let mut conn = Conn::owner(&host);
    let status: GroupStatus = conn.ask(Op::GroupStatus, 0, &GroupStatusAsk { newest: 200 }).message();
    assert_eq!((status.state, status.member), (GroupState::Alone, MemberId([3; 32])));
    let invited: Invited = conn.ask(Op::GroupInvite, 0, &GroupInvite { lifetime: 60 }).message();
    assert_eq!((invited.ticket.as_str(), invited.expires), ("okapi-1", 7));
    for (op, bytes) in &asks()[2..6] {
        let request = start(&mut conn, *op, bytes);
        assert_eq!(conn.reply(request).status, Status::Ok, "{op:?}");
    }
    assert_eq!(*door.asked.lock(), ["status", "invite 60s", "join okapi-1", "leave true", "give 5", "lost 6"]);
    *door.no.lock() = Some(Refusal { status: Status::BadTicket, text: "it was used".to_owned() });
    for (op, bytes) in &asks()[1..6] {
        let request = start(&mut conn, *op, bytes);
        let got = conn.reply(request);
        assert_eq!((got.status, got.text.as_str()), (Status::BadTicket, "it was used"), "{op:?}");
    }
}

#[test]
fn only_the_owner_asks_and_only_of_a_node_with_an_identity() {
    let (with, door) = with_door();
    let mut stranger = Conn::stranger(&with);
    let without = host(&Toy::default());
    let mut alone = Conn::owner(&without);
    for (op, bytes) in asks() {
        let request = start(&mut stranger, op, &bytes);
        assert_eq!(stranger.reply(request).status, Status::Forbidden, "{op:?}");
        let request = start(&mut alone, op, &bytes);
        let got = alone.reply(request);
        assert_eq!(got.status, Status::NoGroup, "{op:?}");
        assert!(got.text.contains("`okapi init`"), "{}", got.text);
    }
    assert!(door.asked.lock().is_empty() && door.waiting.lock().is_empty());
}

#[test]
fn what_is_not_safe_yet_is_waited_for_and_stops_nothing_else() {
    let (host, door) = with_door();
    let mut conn = Conn::owner(&host);
    let held: Vec<u32> = (0..3).map(|_| start(&mut conn, Op::GroupSafe, b"")).collect();
    assert!(held.iter().all(|request| !conn.has_reply(*request)));
    conn.ask(Op::GroupStatus, 0, &GroupStatusAsk::OURS).message::<GroupStatus>();
    // Asked in this order, one after the other, and all before the status.
    let mut waiting = std::mem::take(&mut *door.waiting.lock()).into_iter();
    waiting.next().unwrap()(Ok(()));
    assert_eq!(conn.reply(held[0]).status, Status::Ok);
    let no = Refusal { status: Status::Full, text: "the others have no room".to_owned() };
    waiting.next().unwrap()(Err(no));
    let got = conn.reply(held[1]);
    assert_eq!((got.status, got.text.as_str()), (Status::Full, "the others have no room"));
    drop(waiting);
    assert_eq!(conn.reply(held[2]).status, Status::Stopping, "whoever forgets an answer gives one all the same");
    host.close().unwrap();
    assert_eq!(Arc::strong_count(&door), 1, "a closed host lets go of the door");
}
