//! What members may do with a node's grids, with pretend members.

use crate::conn::*;
use crate::toy::{Toy, Write};
use okapi_base::{BlockSize, Durability, Generation, GridId, Index, MemberId, NodeId, crc32c};
use okapi_grid::{Answered, Backend, Control, Fetched, Outbox, Reply, Stored, answer, ask};
use okapi_link::{Kind, Peer};
use okapi_node::group::{Enrolled, GroupDoor, Roster, Route, Routed, Way, WhenSafe};
use okapi_node::{Host, Refusal};
use okapi_wire::message::*;
use okapi_wire::{Frame, GetAsk, HEADER_BYTES, Header, Listed, Op, PutAsk, Run, Status, Token};
use std::sync::Arc;
use std::time::Duration;

const OWN: MemberId = MemberId([1; 32]);
const ANNA: MemberId = MemberId([2; 32]);
const BEN: MemberId = MemberId([3; 32]);
/// The owner's other node, Anna's two, Ben's one, one that has parted.
const NODES: [(u8, MemberId, bool); 5] =
    [(11, OWN, true), (21, ANNA, true), (22, ANNA, true), (31, BEN, true), (41, ANNA, false)];

fn node(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn enrol(roster: &Roster, nodes: &[(u8, MemberId, bool)]) {
    let enrolled = |(number, member, takes_part): &(u8, MemberId, bool)| {
        (node(*number), Enrolled { member: *member, takes_part: *takes_part })
    };
    roster.enrol(nodes.iter().map(enrolled));
}

/// A host with a private grid `photos`, a public grid `square`, and these members.
fn with_members(toy: &Toy) -> (Arc<Host>, Arc<Roster>, Conn) {
    let (host, roster) = (host(toy), Arc::new(Roster::new(OWN)));
    enrol(&roster, &NODES);
    roster.call(node(21), "attic");
    host.set_roster(&roster);
    let mut owner = Conn::owner(&host);
    if toy.dump(0).len() == 2 {
        owner.grid("photos");
        assert_eq!(owner.create("square", 512, Durability::Always, true, "").status, Status::Ok);
    }
    (host, roster, owner)
}

fn member(host: &Arc<Host>, number: u8) -> Conn {
    let mut conn = Conn::new(host, Kind::Tls, Peer::Member(node(number)));
    assert!(!conn.hello(Token::NONE).message::<okapi_wire::Welcome>().owner);
    conn
}

fn grant(conn: &mut Conn, grid: &str, member: MemberId, right: Right) -> Got {
    conn.ask(Op::GrantSet, 0, &GrantSet { grid: grid.into(), member, right })
}

fn granted(conn: &mut Conn) -> Vec<(String, MemberId, Right)> {
    let list: GrantList = conn.bare(Op::GrantList, 0).message();
    list.grants.into_iter().map(|its| (its.grid, its.member, its.right)).collect()
}

fn names(conn: &mut Conn) -> Vec<String> {
    let list: GridList = conn.bare(Op::GridList, 0).message();
    list.grids.into_iter().map(|grid| grid.name).collect()
}

const NO_READ: &str =
    "attic (member 02020202) has no right to read grid photos; its owner can give it: okapi grant photos attic read";
const NO_WRITE: &str = "attic (member 02020202) has no right to write to grid photos; its owner can give it: okapi grant photos attic write";

#[test]
fn nothing_is_anyones_until_it_is_granted() {
    let (host, _, mut owner) = with_members(&Toy::default());
    let mut anna = member(&host, 21);
    let got = anna.try_open("photos", Token::NONE);
    assert_eq!((got.status, got.text.as_str()), (Status::Forbidden, NO_READ));
    let nothing = anna.try_open("nothing", Token::NONE);
    assert_eq!((nothing.status, nothing.text), (Status::Forbidden, NO_READ.replace("photos", "nothing")));
    assert_eq!(names(&mut anna), ["square"], "what is public is everybody's");
    let square = anna.open("square");
    assert_eq!(anna.put(square, 0, 1, b"x"), Status::Ok);
    assert_eq!(granted(&mut anna), []);
    assert_eq!(grant(&mut owner, "photos", ANNA, Right::Read).status, Status::Ok);
    // For all nodes of the member, and for no other.
    assert_eq!(names(&mut anna), ["photos", "square"]);
    assert!(member(&host, 22).open("photos") > 0);
    assert_eq!(member(&host, 31).try_open("photos", Token::NONE).status, Status::Forbidden);
    assert_eq!(granted(&mut anna), [("photos".to_owned(), ANNA, Right::Read)]);
    assert_eq!(granted(&mut member(&host, 31)), []);
    assert_eq!(granted(&mut owner).len(), 1);
}

#[test]
fn each_right_includes_those_before_it() {
    let (host, _, mut owner) = with_members(&Toy::default());
    let photos = owner.open("photos");
    owner.write_record(photos, "a", b"content", 512);
    let mut anna = member(&host, 21);
    grant(&mut owner, "photos", ANNA, Right::Read);
    let its = anna.open("photos");
    assert_eq!(anna.read_record(its, "a").unwrap().1, b"content");
    for op in [Op::GridStat, Op::Sync] {
        assert_eq!(anna.bare(op, its).status, Status::Ok, "{op:?}");
    }
    let request = anna.start_puts(its, 0, &[(PutAsk::whole(index(1), b"x", crc32c(b"x")), b"x")]);
    let got = anna.reply(request);
    assert_eq!((got.status, got.text.as_str()), (Status::Forbidden, NO_WRITE));
    for got in [anna.reserve(its, 0, 1, None), anna.remove(its, "a", None), anna.rename(its, "a", "b")] {
        assert_eq!((got.status, got.text.as_str()), (Status::Forbidden, NO_WRITE));
    }
    grant(&mut owner, "photos", ANNA, Right::Write);
    assert_eq!(anna.put(its, 0, 1, b"x"), Status::Ok, "at once, on a handle that was opened before");
    anna.write_record(its, "b", b"more", 512);
    assert_eq!(grant(&mut anna, "photos", BEN, Right::Read).status, Status::Forbidden);
    assert_eq!(anna.ask(Op::GridDrop, 0, &Named { name: "photos".into() }).status, Status::Forbidden);
    grant(&mut owner, "photos", ANNA, Right::Own);
    assert_eq!(grant(&mut anna, "photos", BEN, Right::Read).status, Status::Ok);
    assert_eq!(granted(&mut anna).len(), 2, "who owns a grid sees all that was granted on it");
    assert_eq!(grant(&mut anna, "main", BEN, Right::Read).status, Status::Forbidden);
    assert_eq!(anna.ask(Op::GridDrop, 0, &Named { name: "photos".into() }).status, Status::Ok);
    assert_eq!(granted(&mut owner), []);
}

#[test]
fn what_is_the_owners_stays_the_owners() {
    let (host, _, mut owner) = with_members(&Toy::default());
    grant(&mut owner, "photos", ANNA, Right::Own);
    // Not even the owner's other node, which owns every grid.
    for number in [11, 21] {
        let mut conn = member(&host, number);
        for op in [Op::NodeStatus, Op::Verify, Op::Compact, Op::Sync, Op::GroupSafe] {
            assert_eq!(conn.bare(op, 0).status, Status::Forbidden, "{op:?}");
        }
        assert_eq!(conn.create("new", 512, Durability::Always, false, "").status, Status::Forbidden);
        assert_eq!(conn.ask(Op::GroupStatus, 0, &GroupStatusAsk::OURS).status, Status::Forbidden);
        assert_eq!(conn.ask(Op::Route, 0, &Route { node: node(31), name: String::new() }).status, Status::Forbidden);
    }
    let mut own = member(&host, 11);
    assert_eq!(names(&mut own), ["main", "photos", "square"]);
    let main = own.open("main");
    assert_eq!(own.put(main, 0, 1, b"x"), Status::Ok);
    assert_eq!(grant(&mut own, "main", BEN, Right::Read).status, Status::Ok);
    for (member, right, status) in [
        (OWN, Right::Read, Status::Malformed),
        (MemberId([9; 32]), Right::Read, Status::UnknownRecord),
        (MemberId([9; 32]), Right::None, Status::Ok),
    ] {
        assert_eq!(grant(&mut owner, "photos", member, right).status, status);
    }
    assert_eq!(grant(&mut owner, "nothing", ANNA, Right::Read).status, Status::UnknownGrid);
    let mut stranger = Conn::stranger(&host);
    assert_eq!(grant(&mut stranger, "square", ANNA, Right::Read).status, Status::Forbidden);
    assert_eq!(stranger.bare(Op::GrantList, 0).status, Status::Forbidden);
    assert_eq!(
        grant(&mut Conn::owner(&crate::conn::host(&Toy::default())), "main", ANNA, Right::Read).status,
        Status::NoGroup
    );
}

#[test]
fn whoever_is_revoked_is_out_at_once() {
    let toy = Toy::default();
    let (host, roster, mut owner) = with_members(&toy);
    let photos = owner.open("photos");
    assert_eq!(owner.put(photos, 0, 1, b"one"), Status::Ok);
    grant(&mut owner, "photos", ANNA, Right::Write);
    let mut anna = member(&host, 21);
    let its = anna.open("photos");
    assert_eq!(anna.get(its, 1), (Status::Ok, b"one".to_vec()));
    let mut follower = member(&host, 22);
    let theirs = follower.open("photos");
    let request = follower.next();
    ask::message(&mut follower.out, Op::Follow, request, theirs, &Follow { epoch: 0, sequence: 0 });
    while !follower.replies.contains_key(&request) || follower.frames < 4 {
        follower.turn(&mut Willing, usize::MAX).unwrap();
    }
    assert_eq!(follower.goodbye, None);
    // One frame is with the disk workers.
    let mut bytes: Outbox<Vec<u8>> = Outbox::default();
    ask::get(&mut bytes, 77, its, 1 << 20, &[GetAsk::whole(index(1))]);
    let mut patient = anna.visitor.patient();
    grant(&mut owner, "photos", ANNA, Right::None);
    let frame = asked(&mut bytes);
    let (frame, _) = Frame::parse(&frame, 1 << 20).unwrap().unwrap();
    let mut late = Outbox::default();
    assert_eq!(answer(&frame, &mut patient, &mut late), Answered::Yes);
    let late = asked(&mut late);
    let header = Header::decode(late.first_chunk::<HEADER_BYTES>().unwrap(), 1 << 20).unwrap();
    assert_eq!(Status::from_code(header.status), Status::Forbidden);
    assert!(String::from_utf8_lossy(&late).contains(NO_READ));
    assert_eq!(anna.get(its, 1).0, Status::Forbidden);
    let request = anna.start_puts(its, 0, &[(PutAsk::whole(index(1), b"x", crc32c(b"x")), b"x")]);
    assert_eq!(anna.reply(request).text, NO_WRITE);
    assert_eq!(anna.list(its, Op::List, 0, 9, 0).status, Status::Forbidden);
    // The follower is woken and told, and nothing more comes, whatever changes.
    while follower.turn(&mut Willing, usize::MAX).unwrap() {}
    assert_eq!(follower.goodbye, Some(Status::Forbidden));
    let before = follower.frames;
    assert_eq!(owner.put(photos, 0, 2, b"two"), Status::Ok);
    while follower.turn(&mut Willing, usize::MAX).unwrap() {}
    assert_eq!(follower.frames, before);
    // Parting does the same.
    grant(&mut owner, "photos", ANNA, Right::Read);
    assert_eq!(anna.get(its, 1).0, Status::Ok);
    let mut parted = NODES;
    parted[1].2 = false;
    enrol(&roster, &parted);
    let got = anna.find(its, "a");
    assert_eq!(
        (got.status, got.text.as_str()),
        (Status::Forbidden, "node 15151515 takes no part in this group any more; it can join anew")
    );
    assert_eq!(member(&host, 41).try_open("photos", Token::NONE).status, Status::Forbidden);
}

/// Takes whatever it is sent.
struct Willing;

impl Backend for Willing {
    type Payload = Vec<u8>;

    fn grid(&mut self, _: u32) -> Result<BlockSize, Status> {
        Ok(BlockSize::DEFAULT)
    }
    fn get(&mut self, _: u32, _: Index) -> Fetched<Vec<u8>> {
        unreachable!()
    }
    fn put(&mut self, _: u32, _: &PutAsk, payload: &[u8], _: u16) -> Stored {
        Stored { status: Status::Ok, generation: Generation(1), length: payload.len() as u32, hold: None }
    }
    fn list(&mut self, _: u32, _: Index, _: usize, _: bool, _: &mut Vec<Listed>) -> Result<bool, Status> {
        unreachable!()
    }
    fn runs(&mut self, _: u32, _: Index, _: usize, _: &mut Vec<Run>) -> Result<bool, Status> {
        unreachable!()
    }
    fn control(&mut self, _: &Frame<'_>, _: &mut Reply<'_>) -> Control {
        Control::Done(Status::Ok)
    }
}

fn asked<P: AsRef<[u8]>>(from: &mut Outbox<P>) -> Vec<u8> {
    let mut parts: [&[u8]; 8] = [&[]; 8];
    let filled = from.fill(&mut parts);
    parts[..filled].concat()
}

#[test]
fn grants_outlive_the_node_and_not_their_grid() {
    let toy = Toy::default();
    {
        let (host, _, mut owner) = with_members(&toy);
        grant(&mut owner, "photos", ANNA, Right::Write);
        grant(&mut owner, "photos", BEN, Right::Own);
        grant(&mut owner, "square", ANNA, Right::Own);
        grant(&mut owner, "photos", ANNA, Right::Read);
        drop(owner);
        host.close().unwrap();
    }
    let (host, _, mut owner) = with_members(&toy);
    let wanted = [("photos", ANNA, Right::Read), ("photos", BEN, Right::Own), ("square", ANNA, Right::Own)];
    assert_eq!(granted(&mut owner), wanted.map(|(grid, member, right)| (grid.to_owned(), member, right)));
    assert_eq!(toy.dump(1 << 31).len(), 2);
    assert_eq!(owner.ask(Op::GridDrop, 0, &Named { name: "square".into() }).status, Status::Ok);
    assert_eq!(toy.dump(1 << 31).len(), 1);
    drop(owner);
    host.close().unwrap();
    // An older version drops a grid and knows nothing of grants; a newer one writes them differently.
    let mut writes = toy.writes();
    let strange = toy.dump(1 << 31)[&2].iter().enumerate().map(|(at, byte)| if at == 0 { 9 } else { *byte }).collect();
    writes.push(Write::Put(GridId(1 << 31), index(2), Generation(9_000), strange));
    writes.push(Write::Put(GridId(1 << 31), index(99), Generation(9_001), b"left behind".to_vec()));
    let toy = Toy::after(&writes);
    let (_host, _, mut owner) = with_members(&toy);
    assert_eq!(granted(&mut owner), [], "what is not understood lets nobody in");
    let got = grant(&mut owner, "photos", ANNA, Right::Read);
    assert!(got.status == Status::WrongVersion && got.text.contains("newer okapi"), "{}", got.text);
    assert_eq!(toy.dump(1 << 31).keys().copied().collect::<Vec<_>>(), [2], "and is not written over");
}

#[test]
fn there_are_so_many_grants_and_no_more() {
    let (host, roster, mut owner) = with_members(&Toy::default());
    let many = |number: u16| {
        let mut id = [5; 32];
        id[..2].copy_from_slice(&number.to_le_bytes());
        id
    };
    roster.enrol(
        (0..201).map(|number| (NodeId(many(number)), Enrolled { member: MemberId(many(number)), takes_part: true })),
    );
    for number in 0..200 {
        assert_eq!(grant(&mut owner, "photos", MemberId(many(number)), Right::Read).status, Status::Ok);
    }
    let got = grant(&mut owner, "photos", MemberId(many(200)), Right::Read);
    assert!(got.status == Status::Full && got.text.starts_with("200 members have rights"), "{}", got.text);
    assert_eq!(grant(&mut owner, "photos", MemberId(many(7)), Right::None).status, Status::Ok);
    assert_eq!(grant(&mut owner, "photos", MemberId(many(200)), Right::Read).status, Status::Ok);
    assert_eq!(granted(&mut owner).len(), 200);
    drop(host);
}

/// A door that leads to one node.
struct Door;

impl GroupDoor for Door {
    fn status(&self) -> GroupStatus {
        unreachable!()
    }
    fn invite(&self, _: Duration) -> Result<(String, u64), Refusal> {
        unreachable!()
    }
    fn join(&self, _: &str) -> Result<(), Refusal> {
        unreachable!()
    }
    fn leave(&self, _: bool) -> Result<(), Refusal> {
        unreachable!()
    }
    fn give(&self, _: u64) -> Result<(), Refusal> {
        unreachable!()
    }
    fn lost(&self, _: NodeId) -> Result<(), Refusal> {
        unreachable!()
    }
    fn when_safe(&self, _: WhenSafe) {
        unreachable!()
    }

    fn route(&self, wanted: &Route, then: Routed) {
        match wanted.name.as_str() {
            "attic" => then(Ok(Way { onward: Box::new(|_, _, _| {}), as_of: None })),
            "lost" => {}
            name => then(Err(Refusal { status: Status::Away, text: format!("{name} is away") })),
        }
    }
}

#[test]
fn a_route_leads_on_or_says_why_not() {
    let host = host(&Toy::default());
    let to = |name: &str| Route { node: NodeId([0; 32]), name: name.into() };
    let fresh = |kind| {
        let mut conn = Conn::new(&host, kind, Peer::Same);
        conn.hello(Token::NONE);
        conn
    };
    assert_eq!(fresh(Kind::Unix).ask(Op::Route, 0, &to("attic")).status, Status::NoGroup);
    host.set_group(Arc::new(Door));
    let mut conn = fresh(Kind::Unix);
    assert_eq!(conn.ask(Op::Route, 0, &to("attic")).status, Status::Ok);
    assert!(!conn.visitor.owes() && conn.visitor.take_onward().is_some());
    let mut conn = fresh(Kind::Tcp);
    let got = conn.ask(Op::Route, 0, &to("barn"));
    assert_eq!((got.status, got.text.as_str()), (Status::Away, "barn is away"));
    assert!(conn.visitor.take_onward().is_none());
    assert_eq!(fresh(Kind::Unix).ask(Op::Route, 0, &to("lost")).status, Status::Stopping);
    assert_eq!(fresh(Kind::Memory).ask(Op::Route, 0, &to("attic")).status, Status::Unsupported);
    assert_eq!(Conn::stranger(&host).ask(Op::Route, 0, &to("attic")).status, Status::Forbidden);
    let mut conn = fresh(Kind::Unix);
    conn.open("main");
    assert_eq!(conn.ask(Op::Route, 0, &to("attic")).status, Status::Malformed);
}
