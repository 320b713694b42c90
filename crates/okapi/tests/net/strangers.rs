//! Who is no member: a stranger that proves a key of its own, and a node that has left. The test itself is the
//! stranger, and says what no node of ours would.

use crate::house::{noise, walk};
use crate::lab::{Lab, Namespace};
use crate::machine::{Machine, group, is_safe};
use okapi_base::{GroupId, NodeId, SegmentName};
use okapi_link::member::{Event, Host, MemberLinks, Settings, Standing};
use okapi_seal::{MemberSecret, NodeIdentity};
use okapi_timeline::{MemberList, members};
use okapi_wire::peer::letter::{Body, Letter};
use okapi_wire::peer::member::Binding;
use okapi_wire::peer::shard::ShardId;
use serde_json::json;
use std::cell::Cell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node's links without a node.
struct Stranger {
    links: MemberLinks,
    events: Receiver<Event>,
    identity: NodeIdentity,
    number: Cell<u64>,
}

struct Ears(Mutex<Sender<Event>>);

impl Host for Ears {
    fn standing(&self, _: &NodeId) -> Standing {
        Standing::Member
    }

    fn happened(&self, event: Event) {
        let _ = self.0.lock().unwrap().send(event);
    }
}

impl Stranger {
    fn new(namespace: &Namespace, secret: &MemberSecret) -> Self {
        let identity = NodeIdentity::new(secret, 0, 0, |key, node, recipient| members::bind(key, node, recipient, 0));
        let (send, events) = channel();
        let settings = Settings::new(Zeroizing::new(*identity.seed()), [7; 16]);
        let links = namespace.enter(|| MemberLinks::start(settings, Arc::new(Ears(Mutex::new(send)))).unwrap());
        Self { links, events, identity, number: Cell::new(0) }
    }

    fn knows(&self, machine: &Machine) -> NodeId {
        let node = NodeId(unhex(&machine.id));
        self.links.hint(node, &[format!("tcp://{}", machine.member_address())]);
        node
    }

    fn say(&self, to: NodeId, body: Body) {
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let number = self.number.get() + 1;
        self.number.set(number);
        let letter = Letter { session: now, number, stamp: now, body }.to_bytes();
        self.links.send(to, letter, Arc::new([]));
    }

    /// A request to be let in by a ticket that nobody made: that one is answered.
    fn ask_to_join(&self, to: NodeId, group: GroupId) {
        let NodeIdentity { member, recipient, number, member_signature, .. } = self.identity;
        let binding = Binding { group, node: self.identity.node(), member, recipient, number };
        let pledge = members::pledge(&self.identity.signing_key(), binding, member_signature);
        self.say(to, Body::JoinAsk([9; 32], pledge));
    }

    /// The next event of which `pick` makes something, and what came before it.
    fn wait<T>(&self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> (T, Vec<Event>) {
        let (begun, mut before) = (Instant::now(), Vec::new());
        loop {
            match self.events.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(event) => match pick(&event) {
                    Some(found) => return (found, before),
                    None => before.push(event),
                },
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("never {what}: {before:#?}"),
            }
        }
    }
}

#[test]
fn a_stranger_with_a_key_of_its_own_is_told_nothing() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, 3);
    machines[0].put_safe("film", &noise(12 << 20));
    let status = machines[0].until("it is safe", is_safe);
    let (namespace, _) = lab.connect();
    let stranger = Stranger::new(&namespace, &MemberSecret::from_bytes([9; 32]));
    let group_id = GroupId(unhex(status["group"].as_str().unwrap()));
    let (owner, holder) = (stranger.knows(&machines[0]), stranger.knows(&machines[1]));
    let shard = held(&machines[1], owner);
    for body in [
        Body::Summary(MemberList::new(group_id).summary()),
        Body::DeedsAsk(owner, None),
        Body::InventoryAsk(None),
        Body::Fetch(shard),
        Body::Challenge(shard, 1, vec![0]),
        Body::Records(Vec::new()),
    ] {
        stranger.say(holder, body);
    }
    stranger.links.send(holder, vec![0xee; 3000], Arc::new([]));
    stranger.ask_to_join(holder, group_id);
    let answer = |event: &Event| match event {
        Event::Letter { letter, .. } => Some(Letter::parse(letter).unwrap().body),
        _ => None,
    };
    // All before it was read before it: the first answer there is must be that to the last letter.
    let (said, before) = stranger.wait("the answer", answer);
    assert!(matches!(said, Body::JoinNo(1)), "{said:?}");
    let learned = before.iter().filter(|event| match event {
        Event::Announced(said) => said.node != holder && said.node != stranger.identity.node(),
        _ => false,
    });
    assert_eq!(learned.count(), 0, "where the others are is nobody's business: {before:?}");

    // Who sends more than letters is sent away.
    stranger.links.send(holder, vec![0xee; 3000], Arc::new([7; 3000]));
    let down = |event: &Event| match event {
        Event::Down { why, .. } => Some(why.clone()),
        _ => None,
    };
    let (why, _) = stranger.wait("it is sent away", down);
    assert!(why.contains("a stranger may send letters"), "{why}");

    // Blocks are for members: the stream is closed before anything is said on it.
    let mut blocks = stranger.links.open_grid(holder).unwrap();
    let begun = Instant::now();
    let ended = loop {
        match blocks.receive(&mut [0; 64]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(begun.elapsed() < PATIENCE, "the stream stays open");
                std::thread::yield_now();
            }
            ended => break ended,
        }
    };
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    stranger.links.stop();

    // It left no trace, and nobody is worse off for it.
    for machine in &machines {
        let status = machine.status();
        assert_eq!(status["members"].as_array().unwrap().len(), 3, "{status}");
    }
    machines[0].put_safe("another-film", &noise(1 << 20));
}

#[test]
fn who_has_left_is_turned_away_and_told_why() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, 3);
    machines[2].ok("leave --now --yes");
    machines[2].kill();
    for machine in &machines[..2] {
        machine.until("all know that it has left", |status| {
            crate::machine::member(status, &machines[2])["state"] == json!("parted")
        });
    }
    // The same key, and no node behind it that would hold its tongue.
    let phrase = okapi_seal::RecoveryPhrase::parse(&machines[2].phrase).unwrap();
    let parted = Stranger::new(&machines[2].namespace, &MemberSecret::from_phrase(&phrase));
    assert_eq!(parted.identity.node(), NodeId(unhex(&machines[2].id)));
    let first = parted.knows(&machines[0]);
    parted.say(first, Body::InventoryAsk(None));
    let refused = |event: &Event| match event {
        Event::Refused { node, why, .. } if *node == first => Some(why.clone()),
        _ => None,
    };
    let (why, before) = parted.wait("it is refused", refused);
    assert_eq!(why, "this node has parted from the group; it can join anew");
    assert!(!before.iter().any(|event| matches!(event, Event::Letter { .. })), "{before:?}");
    parted.links.stop();
}

/// A shard of `owner` that a machine holds, by the name of its file.
fn held(machine: &Machine, owner: NodeId) -> ShardId {
    let files = walk(&machine.data().join("shards").join(owner.to_string()));
    let name = files[0].file_name().unwrap().to_str().unwrap().to_owned();
    let parts: Vec<&str> = name.split('.').collect();
    let (k, index) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
    ShardId { owner, segment: SegmentName(unhex(parts[0])), k, index }
}

pub(crate) fn unhex(text: &str) -> [u8; 32] {
    let byte = |at: usize| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap();
    assert_eq!(text.len(), 64, "{text}");
    std::array::from_fn(byte)
}
