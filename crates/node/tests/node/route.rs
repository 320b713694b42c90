//! Two members' nodes with real links between them: programs of one use grids of the other.

use crate::raw::{Raw, SOON, connect, settings};
use okapi_base::{Durability, MemberId, NodeId};
use okapi_client::{Client, ConnectError, Settings, Whom};
use okapi_grid::ask::{self, ReplyError};
use okapi_node::Node;
use okapi_node::group::{Founding, found};
use okapi_seal::MemberSecret;
use okapi_wire::message::{
    GrantSet, GroupInvite, GroupJoin, GroupLeave, GroupMember, GroupStatus, Invited, MemberPresence, Right, Route,
    RoutedAway,
};
use okapi_wire::{BodyError, BodyReader, BodyWriter, Message, Op, Status};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// A member with one node.
pub(crate) struct House {
    pub(crate) node: Node,
    pub(crate) secret: MemberSecret,
    pub(crate) home: tempfile::TempDir,
}

pub(crate) fn founding(name: &str) -> Founding {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    Founding { number: 0, name: name.into(), give: 1 << 30, listen, advertise: Vec::new(), site: None }
}

impl House {
    fn new(name: &str) -> Self {
        let (home, secret) = (tempfile::tempdir().unwrap(), MemberSecret::random());
        found(&home.path().join("data"), &secret, &founding(name)).unwrap();
        let node = Node::start(settings(&home)).unwrap();
        Self { node, secret, home }
    }

    fn member(&self) -> MemberId {
        self.secret.id()
    }

    /// Asks the node, as its owner, for something that is answered with no more than that it is done.
    fn order(&self, op: Op, message: &impl Message) {
        let mut raw = Raw::open(&self.node, "main");
        ask::message(&mut raw.outbox, op, 1, 0, message);
        raw.next(|frame| ask::accept(frame, op).unwrap());
    }

    fn grant(&self, grid: &str, to: &Self, right: Right) {
        self.order(Op::GrantSet, &GrantSet { grid: grid.into(), member: to.member(), right });
    }

    fn until(&self, what: &str, is: impl Fn(&GroupStatus) -> bool) {
        let begun = Instant::now();
        while !is(&self.node.group_status().unwrap()) {
            assert!(begun.elapsed() < SOON, "{what}: {:#?}", self.node.group_status());
            std::thread::yield_now();
        }
    }

    /// A program's connection to this node that goes on to another; its reply, if that is a refusal.
    fn route(&self, name: &str) -> Result<Raw, ReplyError> {
        self.ways(name).map(|(raw, _)| raw)
    }

    /// The same, and as of when what is seen is, where the other is away.
    fn ways(&self, name: &str) -> Result<(Raw, Option<u64>), ReplyError> {
        let mut raw = Raw::bare(connect(&self.node.targets()[0]));
        raw.hello();
        raw.next(|frame| ask::accept(frame, Op::Hello).unwrap());
        let route = Route { node: NodeId([0; 32]), name: name.into() };
        ask::message(&mut raw.outbox, Op::Route, 1, 0, &route);
        // Whoever does not wait for the answer is understood all the same.
        raw.hello();
        let as_of = raw.next(|frame| {
            ask::accept(frame, Op::Route)?;
            let away = (!frame.descriptors.is_empty()).then(|| RoutedAway::parse(frame.descriptors).unwrap());
            Ok::<_, ReplyError>(away.map(|away| away.as_of))
        })?;
        raw.next(|frame| ask::accept(frame, Op::Hello).expect("a welcome from afar"));
        Ok((raw, as_of))
    }

    /// A way to what others hold of a node that is away.
    fn route_away(&self, name: &str) -> Raw {
        let (raw, as_of) = self.ways(name).unwrap();
        assert!(as_of.is_some_and(|at| at > 1_700_000_000_000));
        raw
    }

    fn until_linked(&self) {
        self.until("all are here", |status| {
            status.members.iter().all(|member| matches!(member.presence, MemberPresence::This | MemberPresence::Here))
        });
    }

    fn connections(&self) -> String {
        let facts = self.node.status();
        facts.into_iter().find(|(name, _)| name == "connections").unwrap().1
    }
}

fn neighbours() -> [House; 2] {
    group(["barn", "attic"])
}

pub(crate) fn group<const N: usize>(names: [&str; N]) -> [House; N] {
    let houses = names.map(House::new);
    let mut raw = Raw::open(&houses[0].node, "main");
    for house in &houses[1..] {
        ask::message(&mut raw.outbox, Op::GroupInvite, 1, 0, &GroupInvite { lifetime: 600 });
        let invited: Invited = raw.next(|frame| ask::read(frame, Op::GroupInvite).unwrap());
        house.order(Op::GroupJoin, &GroupJoin { ticket: invited.ticket });
    }
    let is_named = |member: &GroupMember| !member.name.is_empty();
    for house in &houses {
        house.until("they know each other", |status| status.members.len() == N && status.members.iter().all(is_named));
    }
    houses
}

fn refusal<T>(result: Result<T, ReplyError>) -> (Status, String) {
    match result {
        Err(ReplyError::Refused { status, text }) => (status, text),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

pub(crate) fn block(number: u64) -> Vec<u8> {
    (0..65_536_u64).map(|at| (at * 7 + number + at / 251) as u8).collect()
}

/// What a get of one block is answered with, as a whole.
fn status_of_get(raw: &mut Raw, index: u64) -> (Status, String) {
    raw.get(1, std::iter::once(index));
    raw.next(|frame| (Status::from_code(frame.header.status), String::from_utf8_lossy(frame.descriptors).into_owned()))
}

#[test]
fn another_members_grid_is_used_through_ones_own_node() {
    let [barn, attic] = neighbours();
    Raw::create(&barn.node, "photos", Durability::Interval);
    let mut own = Raw::open(&barn.node, "photos");
    (0..64).for_each(|number| own.put_now(number, &block(number)));
    let (status, text) = refusal(attic.route("barn").unwrap().open_grid("photos"));
    assert_eq!(status, Status::Forbidden);
    assert!(text.starts_with("attic (member ") && text.ends_with("okapi grant photos attic read"), "{text}");
    barn.grant("photos", &attic, Right::Read);
    let mut raw = attic.route("barn").unwrap();
    raw.grid = raw.open_grid("photos").unwrap();
    // Far more than buffers hold is asked for before anything is read.
    for request in 0..64 {
        raw.get(request, 0..16);
    }
    for _ in 0..64 {
        raw.next(|frame| {
            let got = ask::outcomes(frame, Op::Get, 16).unwrap();
            for (number, (_, payload)) in (0..).zip(got) {
                assert_eq!(payload, block(number));
            }
        });
    }
    raw.put(9, 1, b"changed");
    let refused = raw.next(|frame| Status::from_code(frame.header.status));
    assert_eq!(refused, Status::Forbidden);
    barn.grant("photos", &attic, Right::Write);
    raw.put_now(1, b"changed");
    assert_eq!(own.get_now(1), b"changed");
    // Revoked while the stream is open.
    barn.grant("photos", &attic, Right::None);
    let (status, text) = status_of_get(&mut raw, 1);
    assert!(status == Status::Forbidden && text.contains("has no right to read grid photos"), "{text}");
    // Closed by the program it is closed at both nodes.
    drop((raw, own));
    for house in [&barn, &attic] {
        let begun = Instant::now();
        while house.connections() != "0" {
            assert!(begun.elapsed() < SOON, "{} connections are left", house.connections());
            std::thread::yield_now();
        }
    }
}

#[test]
fn whoever_leaves_is_out_and_whoever_is_away_is_named() {
    let [barn, attic] = neighbours();
    Raw::open(&barn.node, "main").put_now(1, b"one");
    Raw::open(&attic.node, "main").put_now(1, b"other");
    barn.grant("main", &attic, Right::Read);
    attic.grant("main", &barn, Right::Own);
    let open = |mut raw: Raw| {
        raw.grid = raw.open_grid("main").unwrap();
        raw
    };
    let (mut to_barn, mut to_attic) = (open(attic.route("barn").unwrap()), open(barn.route("attic").unwrap()));
    assert_eq!((to_barn.get_now(1), to_attic.get_now(1)), (b"one".to_vec(), b"other".to_vec()));
    for (name, status) in [("nobody", Status::UnknownRecord), ("attic", Status::Malformed)] {
        assert_eq!(refusal(attic.route(name)).0, status);
    }
    attic.order(Op::GroupLeave, &GroupLeave { now: true });
    barn.until("it is known to have left", |status| {
        status.members.iter().any(|member| member.state == okapi_wire::message::MemberState::Parted)
    });
    let (status, text) = status_of_get(&mut to_barn, 1);
    assert!(status == Status::Forbidden && text.contains("takes no part in this group any more"), "{text}");
    let (status, text) = refusal(barn.route("attic"));
    assert!(status == Status::UnknownRecord && text.contains("has left the group"), "{text}");
    drop(to_attic);
    let [barn, attic] = neighbours();
    attic.grant("main", &barn, Right::Read);
    let mut raw = open(barn.route("attic").unwrap());
    attic.node.stop().unwrap();
    while raw.next_or_end(|_| ()).is_some() {}
    let (status, text) = refusal(barn.route("attic"));
    assert_eq!(status, Status::Away, "{text}");
    assert!(text.starts_with("attic (node ") && text.contains(" is away: ") && text.contains("it was last heard "));
}

#[test]
fn a_client_goes_on_to_a_member_with_each_of_its_connections() {
    let [barn, attic] = neighbours();
    barn.grant("main", &attic, Right::Write);
    let settings = |member| Settings { member: Some(member), reconnect: None, ..Settings::default() };
    let target = &attic.node.targets()[0];
    let client = Client::connect(target, settings(Whom::Called("barn".into()))).unwrap();
    assert!(client.address().starts_with("barn by way of unix:") && !client.welcome().owner);
    let grid = client.grid("main", None).unwrap();
    let content: Vec<u8> = (0..20).flat_map(block).collect();
    let mut writer = grid.write("r", None).unwrap();
    writer.write_all(&content).unwrap();
    writer.finish("").unwrap();
    let mut reader = grid.read("r").unwrap();
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    assert!(back == content);
    let node = barn.node.group_status().unwrap().node;
    assert_eq!(Client::connect(target, settings(Whom::Node(node))).unwrap().grids().unwrap().len(), 1);
    let error = Client::connect(target, settings(Whom::Called("nobody".into()))).unwrap_err();
    assert!(matches!(error, ConnectError::NoWay { status: Status::UnknownRecord, .. }), "{error}");
    // In memory there is no socket to hand on.
    let within = Client::over(attic.node.in_process().unwrap(), settings(Whom::Node(node))).unwrap_err();
    assert!(within.to_string().contains("connect to the node's unix socket"), "{within}");
}

impl House {
    fn fact(&self, name: &str) -> String {
        self.node.status().into_iter().find(|(its, _)| its == name).map_or_else(String::new, |(_, value)| value)
    }

    fn until_fact(&self, name: &str, wanted: &str) {
        let begun = Instant::now();
        while self.fact(name) != wanted {
            assert!(begun.elapsed() < SOON, "{name} is {} and not {wanted}", self.fact(name));
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// All that was put lies under keys of its own, and with others.
    pub(crate) fn make_safe(&self) {
        self.until_fact("log.moving_segments", "0");
        self.order(Op::GroupSafe, &Nothing);
    }

    /// Stops, once nobody else is in the middle of something with it.
    pub(crate) fn stop(self) -> (MemberSecret, tempfile::TempDir) {
        self.node.stop().unwrap();
        (self.secret, self.home)
    }
}

struct Nothing;

impl Message for Nothing {
    fn encode(&self, _: &mut BodyWriter<'_>) {}

    fn decode(_: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self)
    }
}

fn open(mut raw: Raw, grid: &str) -> Raw {
    raw.grid = raw.open_grid(grid).unwrap();
    raw
}

#[test]
fn a_granted_grid_is_read_while_its_owner_is_away() {
    let [barn, attic, shed] = group(["barn", "attic", "shed"]);
    Raw::create(&barn.node, "photos", Durability::Interval);
    let mut own = Raw::open(&barn.node, "photos");
    (0..100).for_each(|number| own.put_now(number, &block(number)));
    Raw::open(&barn.node, "main").put_now(1, b"nobody's business");
    barn.grant("photos", &attic, Right::Read);
    barn.grant("photos", &shed, Right::Read);
    (100..120).for_each(|number| own.put_now(number, &block(number)));
    own.put_now(5, b"");
    for house in [&attic, &shed] {
        house.until_fact("keys_received", "1");
    }
    barn.make_safe();
    // From here on shed may read no more, and what comes lies under another key.
    barn.grant("photos", &shed, Right::None);
    shed.until_fact("keys_received", "0");
    own.put_now(6, b"not for shed");
    barn.make_safe();
    drop(own);
    let (secret, home) = barn.stop();

    let mut raw = open(attic.route_away("barn"), "photos");
    let (status, text) = refusal(raw.open_grid("main"));
    assert_eq!(status, Status::UnknownGrid, "{text}");
    for number in 0..120 {
        let expected = match number {
            5 => Vec::new(),
            6 => b"not for shed".to_vec(),
            other => block(other),
        };
        assert_eq!(raw.get_now(number), expected, "block {number}");
    }
    raw.put(9, 1, b"x");
    let status = raw.next(|frame| ask::outcomes(frame, Op::Put, 1).unwrap().next().unwrap().0.status);
    assert_eq!(status, Status::ReadOnly);
    let (status, text) = refusal(shed.route("barn"));
    assert!(status == Status::Away && text.ends_with("can be read only once it is back"), "{text}");
    drop(raw);
    // It is back: programs go on to it again.
    let barn = House { node: Node::start(settings(&home)).unwrap(), secret, home };
    attic.until_linked();
    open(attic.route("barn").unwrap(), "photos").get_now(1);
    let own = Raw::open(&barn.node, "photos").get_now(6);
    assert_eq!(own, b"not for shed");
}
