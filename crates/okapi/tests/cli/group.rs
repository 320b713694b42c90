//! Commands about the group, at a node without one and at one whose group is made up by the test.

use crate::house::House;
use crate::terminal::Terminal;
use okapi_base::{GroupId, MemberId, NodeId, Shape};
use okapi_node::group::{GroupDoor, Ticket, WhenSafe};
use okapi_node::{HostSettings, Node, NodeSettings, Refusal};
use okapi_wire::Status;
use okapi_wire::message::{
    GroupData, GroupHalves, GroupMember, GroupState, GroupStatus, MemberGrade, MemberPresence, MemberState,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const GIB: u64 = 1 << 30;

/// A group that is made up: what it tells, what it is told, and what comes of that.
struct Pretend {
    state: Mutex<State>,
}

struct State {
    status: GroupStatus,
    told: Vec<String>,
    /// What becomes of the status, one look after the other.
    next: Vec<GroupStatus>,
    /// What an order is refused with.
    no: Option<Refusal>,
    /// Whether what is put becomes safe.
    safe: Result<(), Refusal>,
}

impl Pretend {
    fn told(&self, what: String) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        state.told.push(what);
        state.no.clone().map_or(Ok(()), Err)
    }
}

impl GroupDoor for Pretend {
    fn status(&self) -> GroupStatus {
        let mut state = self.state.lock().unwrap();
        if !state.next.is_empty() {
            state.status = state.next.remove(0);
        }
        state.status.clone()
    }

    fn invite(&self, lifetime: Duration) -> Result<(String, u64), Refusal> {
        self.told(format!("invite {lifetime:?}"))?;
        let expires = now() + lifetime.as_millis() as u64;
        Ok((ticket(expires).to_text(), expires))
    }

    fn join(&self, ticket: &str) -> Result<(), Refusal> {
        self.told(format!("join {ticket}"))
    }

    fn leave(&self, at_once: bool) -> Result<(), Refusal> {
        self.told(format!("leave {at_once}"))
    }

    fn give(&self, bytes: u64) -> Result<(), Refusal> {
        self.told(format!("give {bytes}"))?;
        let halves = GroupHalves { user: bytes / 2, user_used: 0, server: bytes / 2, server_used: 0 };
        self.state.lock().unwrap().status.halves = halves;
        Ok(())
    }

    fn lost(&self, node: NodeId) -> Result<(), Refusal> {
        self.told(format!("lost {}", node.0[0]))
    }

    fn when_safe(&self, then: WhenSafe) {
        then(self.state.lock().unwrap().safe.clone());
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn ticket(expires: u64) -> Ticket {
    let addresses = vec!["10.0.0.2:7072".to_owned()];
    Ticket { group: GroupId([1; 32]), via: NodeId([2; 32]), secret: [3; 32], expires, addresses }
}

fn one(byte: u8, name: &str, presence: MemberPresence) -> GroupMember {
    GroupMember {
        member: MemberId([0x80 + byte; 32]),
        node: NodeId([byte; 32]),
        number: 0,
        name: name.to_owned(),
        site: 0,
        state: MemberState::Active,
        presence,
        heard_ms_ago: 0,
        promise: 100 * GIB,
        proven: GIB,
        holds_for_us: 2 * GIB,
        held_for_it: GIB,
        grade: MemberGrade::Full,
        link: format!("10.0.0.{byte}:7072"),
        round_trip_us: 900,
        upload: 1 << 20,
        download: 1 << 20,
    }
}

/// A node of a group of two.
fn member() -> GroupStatus {
    let members = vec![one(1, "attic", MemberPresence::This), one(2, "cellar", MemberPresence::Here)];
    GroupStatus {
        state: GroupState::Member,
        name: "attic".to_owned(),
        shape: Shape::OneOfTwo,
        own: GroupData { segments: 2, safe_segments: 1, bytes: 16 << 20, safe_bytes: 8 << 20, ..GroupData::default() },
        members,
        ..alone()
    }
}

fn alone() -> GroupStatus {
    GroupStatus::alone(GroupId([1; 32]), NodeId([1; 32]), MemberId([0x81; 32]))
}

/// A node in the test's own process, in the data directory of the house.
fn up(house: &House, status: GroupStatus) -> (Node, Arc<Pretend>) {
    let node = Node::start(NodeSettings::new(HostSettings::new(house.path("data")))).unwrap();
    let state = State { status, told: Vec::new(), next: Vec::new(), no: None, safe: Ok(()) };
    let door = Arc::new(Pretend { state: Mutex::new(state) });
    node.set_group(door.clone());
    (node, door)
}

fn told(door: &Pretend) -> Vec<String> {
    std::mem::take(&mut door.state.lock().unwrap().told)
}

#[test]
fn a_node_that_will_not_come_back_is_said_to_be_lost() {
    let house = House::new();
    let (node, door) = up(&house, member());
    assert_eq!(house.ok("lost cellar --yes"), "cellar counts as lost; `okapi status` tells how far the repair is\n");
    house.ok("lost 02020202 --yes");
    assert_eq!(told(&door), ["lost 2", "lost 2"]);
    let unasked = house.run("lost cellar");
    assert!(unasked.code == 2 && unasked.err.contains("say --yes"), "{unasked:?}");
    let unknown = house.run("lost garage --yes");
    assert!(unknown.code == 3 && unknown.err.contains("no node of the group is `garage`"), "{unknown:?}");
    assert!(told(&door).is_empty());
    node.stop().unwrap();
}

#[test]
fn a_node_without_an_identity_says_how_to_get_one() {
    let house = House::new();
    let _node = house.up(&[]);
    let ticket = ticket(now() + 3_600_000).to_text();
    for line in ["invite", "members", "give 1G", "leave --yes", "top --once", &format!("join {ticket}")] {
        let ended = house.run(line);
        assert_eq!(ended.code, 1, "{line}: {ended:?}");
        assert!(ended.err.contains("this node is in no group: `okapi init` makes it ready for one"), "{}", ended.err);
        let error: Value = serde_json::from_str(&house.run(&format!("{line} --json")).err).unwrap();
        assert_eq!(error["error"]["kind"], json!("no-group"), "{line}");
    }
    house.file("x", "x");
    assert_eq!(house.run("put --safe x").code, 1);
    assert_eq!(house.ok("ls"), "", "nothing was stored");
    let status = &house.json("status")[0];
    assert_eq!((&status["group"], &status["owner"]), (&Value::Null, &json!(true)));
    assert!(house.ok("status").contains("reached at"));
}

#[test]
fn wrong_tickets_are_told_apart_before_any_node_is_asked() {
    let house = House::new();
    let good = ticket(now() + 3_600_000).to_text();
    let fails = |text: &str, said: &str| {
        let ended = house.run_with(&["join", text], b"");
        assert!(ended.code == 2 && ended.err.contains(said), "{text}: {ended:?}");
    };
    fails("hello", "that is no ticket: a ticket begins with `okapi-`");
    fails(&good[..good.len() - 3], "the ticket is cut off");
    fails(&good[..good.len() / 2], "the ticket is cut off");
    let mut typo = good.clone().into_bytes();
    let at = "okapi-".len() + 9 + 2;
    typo[at] = if typo[at] == b'7' { b'8' } else { b'7' };
    fails(std::str::from_utf8(&typo).unwrap(), "a character is wrong in group 2 of the ticket");
    fails(&good.replacen("-", "-U", 2), "which no ticket has; compare that group");
    let expired = house.run_with(&["join", &ticket(now() - 7_200_000).to_text()], b"");
    assert!(expired.code == 1 && expired.err.contains("the ticket expired 2 h ago"), "{expired:?}");
    let early = house.run_with(&["join", &ticket(now() + 400 * 86_400_000).to_text()], b"");
    assert!(early.code == 1 && early.err.contains("one of the two clocks is off"), "{early:?}");
    // A good one, however it comes, needs a node.
    house.file("ticket", format!("  {}\n", good.to_lowercase().replace('-', "-\n")));
    for (args, input) in [
        (vec!["join", "-"], good.as_bytes()),
        (vec!["join", "--file", "ticket"], b"".as_slice()),
        (vec!["join", &good], b"".as_slice()),
    ] {
        let ended = house.run_with(&args, input);
        assert!(ended.code == 4 && ended.err.contains("start one with `okapi up`"), "{ended:?}");
    }
    assert_eq!(house.run("join").code, 2);
    assert_eq!(house.run("join --file none").code, 3);
}

#[test]
fn a_ticket_is_made_and_shown_in_every_way() {
    let house = House::new();
    let (_node, door) = up(&house, member());
    let quiet = house.ok("invite -q");
    let made = Ticket::parse(&quiet).unwrap();
    assert_eq!((made.group, made.addresses), (GroupId([1; 32]), vec!["10.0.0.2:7072".to_owned()]));
    let text = house.ok("invite --for 2h");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.starts_with("okapi-")), "{text}");
    let ticket = text.lines().find(|line| line.starts_with("okapi-")).unwrap();
    assert!(Ticket::parse(ticket).is_ok());
    assert!(text.contains('█') && text.contains("UTC, 2 h from now; once, for one node"), "{text}");
    assert!(!house.ok("invite --no-qr").contains('█'));
    let json = &house.json("invite --for 30m")[0];
    assert_eq!(Ticket::parse(json["ticket"].as_str().unwrap()).unwrap().expires, json["expires_ms"].as_u64().unwrap());
    assert_eq!(told(&door), ["invite 86400s", "invite 7200s", "invite 86400s", "invite 1800s"]);
    assert_eq!(house.run("invite --for 10s").code, 2);
    door.state.lock().unwrap().no = Some(Refusal { status: Status::Full, text: "a thousand are out".to_owned() });
    house.run("invite").failed(1, "error: making a ticket failed: a thousand are out\n");
}

#[test]
fn a_join_is_watched_to_its_end() {
    let house = House::new();
    let (_node, door) = up(&house, alone());
    let text = ticket(now() + 3_600_000).to_text();
    let joining = |note: &str| GroupStatus { state: GroupState::Joining, note: note.to_owned(), ..alone() };
    let unreachable = "cannot reach 10.0.0.2:7072: connection refused";
    door.state.lock().unwrap().next = vec![joining(""), joining(unreachable), member()];
    let said = house.run_with(&["join", &text.to_lowercase()], b"").ok("join");
    assert!(said.starts_with("attic has joined a group of 2 nodes, all here\n"), "{said}");
    assert_eq!(told(&door), [format!("join {text}")], "as it is written, however it was typed");
    for (note, failed) in [
        ("the ticket was used already", "error: the node did not join: the ticket was used already\n"),
        ("", "error: the node did not join, and does not say why; its log may\n"),
    ] {
        let back = GroupStatus { note: note.to_owned(), ..alone() };
        door.state.lock().unwrap().next = vec![joining(""), back];
        house.run_with(&["join", &text], b"").failed(1, failed);
    }
    door.state.lock().unwrap().no = Some(Refusal { status: Status::BadTicket, text: "no such ticket".to_owned() });
    let refused = house.run_with(&["join", &text, "--json"], b"");
    let error: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!((refused.code, &error["error"]["kind"]), (1, &json!("bad-ticket")));
}

#[test]
fn leaving_is_asked_for_and_watched() {
    let house = House::new();
    let (_node, door) = up(&house, member());
    let refused = house.run("leave");
    assert!(refused.code == 2 && refused.err.contains("cannot be taken back; say --yes"), "{refused:?}");
    assert!(told(&door).is_empty());
    let leaving = GroupStatus { state: GroupState::Leaving, ..member() };
    let parted = GroupStatus { state: GroupState::Parted, ..member() };
    let next = vec![member(), leaving.clone(), parted.clone()];
    door.state.lock().unwrap().next.clone_from(&next);
    assert!(house.ok("leave --yes").starts_with("attic has left its group"));
    assert_eq!(told(&door), ["leave false"]);
    door.state.lock().unwrap().next = vec![leaving.clone(), leaving.clone(), parted.clone()];
    house.ok("leave --yes");
    assert!(told(&door).is_empty(), "it leaves already, and is only watched");
    door.state.lock().unwrap().next = vec![leaving, parted.clone()];
    house.ok("leave --now --yes");
    assert_eq!(told(&door), ["leave true"]);
    door.state.lock().unwrap().status = parted;
    house.run("leave --yes").failed(1, "error: the node has left its group already\n");
    // On a terminal it says what that costs, and takes a no for an answer.
    door.state.lock().unwrap().status = member();
    let mut terminal = Terminal::open(&house, "leave --now", 100, 30);
    terminal.until("1 GiB held for others goes with it");
    terminal.until("leave the group? [y/N] ");
    terminal.types("maybe\n");
    terminal.until("leave the group? [y/N] ");
    terminal.types("\n");
    terminal.until("the node stays");
    assert_eq!((terminal.end(), told(&door).len()), (1, 0));
    door.state.lock().unwrap().next = next;
    let mut terminal = Terminal::open(&house, "leave", 100, 30);
    terminal.until("stays here and only here");
    terminal.until("leave the group? [y/N] ");
    terminal.types("y\n");
    terminal.until("has left its group");
    assert_eq!((terminal.end(), told(&door).as_slice()), (0, ["leave false".to_owned()].as_slice()));
}

#[test]
fn the_group_is_shown_to_people_and_to_scripts() {
    let house = House::new();
    let (_node, door) = up(&house, member());
    let status = house.ok("status");
    assert!(status.starts_with("this node     attic is in a group of 2 nodes, all here\n"), "{status}");
    assert!(!status.contains("budget.receive") && house.run("status -v").ok_out().contains("budget.receive"));
    let json = &house.json("status")[0]["group"];
    assert_eq!(
        (&json["state"], &json["shape"], &json["own"]["segments"]),
        (&json!("member"), &json!("1of2"), &json!(2))
    );
    let members = house.json("members");
    assert_eq!(
        (members.len(), &members[1]["name"], &members[1]["link"]),
        (2, &json!("cellar"), &json!("10.0.0.2:7072"))
    );
    let table = house.ok("members");
    assert!(table.lines().count() == 3 && table.contains("↑1 MiB/s ↓1 MiB/s  10.0.0.2:7072  900 µs"), "{table}");
    assert!(house.ok("give 4G").starts_with("4 GiB: 2 GiB for your own data, 2 GiB for"));
    assert_eq!(house.json("give 2G")[0], json!({"gives": 2 * GIB, "user_half": GIB, "server_half": GIB}));
    assert_eq!(told(&door), ["give 4294967296", "give 2147483648"]);
    assert_eq!(house.run("give lots").code, 2);
    // The same in a script.
    let script = house.run_with(&["run", "-"], b"members\nstatus\n").ok("script");
    assert!(script.starts_with(&table) && script.contains("attic is in a group"));
}

#[test]
fn what_is_put_is_safe_when_the_command_ends_if_it_is_to_be() {
    let house = House::new();
    let (_node, door) = up(&house, member());
    house.file("x", "x");
    let said = house.ok("put --safe x");
    assert!(
        said.contains("blake3") && said.lines().last().unwrap().starts_with("safe with the others after "),
        "{said}"
    );
    assert_eq!(house.json("put --safe x")[1]["safe"], json!(true));
    door.state.lock().unwrap().safe = Err(Refusal { status: Status::Full, text: "the others are full".to_owned() });
    let ended = house.run("put --safe x y");
    assert!(
        ended.code == 1 && ended.err.contains("it is stored here, but waiting until all is safe failed"),
        "{ended:?}"
    );
    assert!(ended.err.contains("the others are full") && house.ok("ls").contains('y'));
    door.state.lock().unwrap().status = alone();
    let ended = house.run("put --safe x z");
    assert!(ended.code == 1 && ended.err.contains("nothing was stored"), "{ended:?}");
    assert!(!house.ok("ls").contains('z'));
}

#[test]
fn top_is_live_on_a_terminal_and_one_frame_without() {
    let house = House::new();
    let (node, _door) = up(&house, member());
    let refused = house.run("top");
    assert!(refused.code == 2 && refused.err.contains("say --once for one look"), "{refused:?}");
    let frame = house.ok("top --once");
    assert!(frame.starts_with(" this node   attic is in a group of 2 nodes, all here"), "{frame}");
    assert!(frame.contains("cellar") && !frame.contains('\u{1b}'));
    assert_eq!(house.json("top --once")[0]["name"], json!("attic"));
    assert_eq!(house.run("top --interval 1ms").code, 2);
    let mut terminal = Terminal::open(&house, "top --interval 100ms", 100, 30);
    terminal.until("cellar");
    terminal.types("\u{1b}[B");
    terminal.until("0101010101010101");
    terminal.resize(70, 20);
    terminal.until("attic");
    // A node that goes away is told, and keys still work.
    drop(node);
    terminal.until("not seen just now");
    terminal.types("q");
    assert_eq!(terminal.end(), 0);
    assert!(terminal.shown.contains("\u{1b}[?1049h") && terminal.shown.contains("\u{1b}[?1049l"), "it leaves no trace");
}
