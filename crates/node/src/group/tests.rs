//! Several parts of a group in one process, over real disks and a pretend network.

use super::carrier::{Carrier, LinkFacts};
use super::driver::Event;
use super::links::Links;
use super::running::{Group, Hook, Return, Seat};
use super::{Founding, GroupDoor, Onward, RestoreVia, begin_restore, found};
use crate::host::HostSettings;
use crate::open::open_log;
use crate::settings::GroupSettings;
use okapi_base::{BlockSize, Durability, GridId, Index, NodeId, crc32c};
use okapi_peers::{Blob, Input};
use okapi_seal::{MemberSecret, NodeKey};
use okapi_store::log::{Log, RealDisk};
use okapi_store::{Change, Edit, Engine as _, Got, Patience, Shape};
use okapi_wire::message::{GroupState, GroupStatus, MemberPresence};
use okapi_wire::peer::announce::Announcement;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long anything may take: far longer than it does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A network that loses nothing but what goes to nodes that are not there.
#[derive(Default)]
pub(crate) struct Hub {
    pub(crate) there: Mutex<BTreeMap<NodeId, Sender<Event>>>,
}

struct End {
    hub: Arc<Hub>,
    node: NodeId,
}

impl Carrier for End {
    fn send(&self, to: NodeId, letter: Vec<u8>, payload: Blob) {
        if let Some(events) = self.hub.there.lock().get(&to) {
            let input = Input::Received { from: self.node, letter, payload };
            let _ = events.send(Event::Letter { input, room: Box::new(()) });
        }
    }

    fn hint(&self, _: NodeId, _: &[String]) {}

    fn review(&self) -> Vec<Announcement> {
        Vec::new()
    }

    fn probe(&self, address: &str) -> Result<NodeId, String> {
        let first = self.hub.there.lock().keys().find(|node| **node != self.node).copied();
        first.ok_or(format!("nobody is at {address}"))
    }

    fn addresses(&self) -> Vec<String> {
        vec!["127.0.0.1:1".to_owned()]
    }

    fn links(&self) -> BTreeMap<NodeId, LinkFacts> {
        let here = LinkFacts { connected: true, ..LinkFacts::default() };
        self.hub.there.lock().keys().map(|node| (*node, here.clone())).collect()
    }

    fn reach(&self, _: NodeId, then: Box<dyn FnOnce(Result<Onward, String>) + Send>) {
        then(Err("nothing but letters goes here".to_owned()));
    }

    fn stop(&self) {
        self.hub.there.lock().remove(&self.node);
    }
}

/// A machine with a disk of its own.
pub(crate) struct House {
    /// Whether it has real links.
    pub(crate) links: bool,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) secret: MemberSecret,
    pub(crate) hub: Arc<Hub>,
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) log: Option<Arc<Log>>,
}

impl House {
    fn new(hub: &Arc<Hub>, name: &str, links: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = MemberSecret::random();
        let mut house = Self { links, folder, secret, hub: Arc::clone(hub), group: None, log: None };
        found(&house.data(), &house.secret, &founding(name)).unwrap();
        house.start();
        house
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn settings(&self) -> HostSettings {
        HostSettings::new(self.data())
    }

    pub(crate) fn carrier(&self) -> impl FnOnce(Hook) -> Result<Arc<dyn Carrier>, String> + use<> {
        let (hub, node) = (Arc::clone(&self.hub), self.secret.node_id(0));
        let seat = self.links.then(|| self.seat());
        move |hook: Hook| {
            if let Some(seat) = seat {
                return Links::start_dyn(&seat, hook, &Arc::default());
            }
            hub.there.lock().insert(node, hook.events);
            Ok(Arc::new(End { hub, node }) as Arc<dyn Carrier>)
        }
    }

    pub(crate) fn seat(&self) -> Seat {
        Seat::load(&self.data(), &GroupSettings::default()).unwrap().expect("it was founded")
    }

    fn start(&mut self) {
        let (log, key) = open_log(&self.settings()).unwrap();
        self.group = Some(Group::start(&self.seat(), &key, &log, self.carrier()).unwrap());
        self.log = Some(log);
    }

    pub(crate) fn stop(&mut self) {
        if let Some(group) = self.group.take() {
            group.stop();
        }
        self.log = None;
    }

    pub(crate) fn door(&self) -> &Arc<Group> {
        self.group.as_ref().expect("it runs")
    }

    fn put(&self, index: u64, bytes: &[u8]) {
        let edit = Edit::Whole { bytes, crc: crc32c(bytes) };
        self.grid().put(Index::new(index).unwrap(), &Change { edit, expect: None, relaxed: true }).unwrap();
    }

    fn get(&self, index: u64) -> Option<Vec<u8>> {
        match self.grid().get(Index::new(index).unwrap(), Patience::Waiting).unwrap() {
            Got::Block(block) => Some(block.payload.as_ref().to_vec()),
            _ => None,
        }
    }

    fn grid(&self) -> Arc<dyn okapi_store::Blocks> {
        let shape = Shape { block_size: BlockSize::DEFAULT, durability: Durability::Always };
        self.log.as_ref().unwrap().open_grid(GridId(5), shape).unwrap()
    }

    pub(crate) fn make_safe(&self) {
        let (told, safe) = channel();
        self.door().when_safe(Box::new(move |result| told.send(result).unwrap()));
        safe.recv_timeout(PATIENCE).expect("it becomes safe").unwrap();
    }

    fn until(&self, what: &str, is: impl Fn(&GroupStatus) -> bool) -> GroupStatus {
        let begun = Instant::now();
        loop {
            let status = self.door().status();
            if is(&status) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {status:#?}");
            // The driver and the disk need the processor, too.
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn founding(name: &str) -> Founding {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    Founding { number: 0, name: name.to_owned(), give: 4 << 30, listen, advertise: Vec::new(), site: None }
}

/// A group of so many houses.
pub(crate) fn group(count: usize) -> Vec<House> {
    group_with(count, false)
}

fn group_with(count: usize, links: bool) -> Vec<House> {
    let hub = Arc::new(Hub::default());
    let houses: Vec<House> = (0..count).map(|number| House::new(&hub, &format!("house {number}"), links)).collect();
    for house in &houses[1..] {
        let (ticket, _) = houses[0].door().invite(Duration::from_secs(60)).unwrap();
        house.door().join(&ticket).unwrap();
        house.until("joined", |status| status.state == GroupState::Member);
    }
    for house in &houses {
        house.until("all are known", |status| status.members.len() == count);
    }
    houses
}

pub(crate) fn content(index: u64) -> Vec<u8> {
    (0..60_000_u64).map(|at| (at * 31 + index * 7 + at / 251) as u8).collect()
}

#[test]
fn what_one_puts_lies_with_the_others_and_comes_back_from_the_phrase() {
    let mut houses = group(4);
    for index in 0..200 {
        houses[0].put(index, &content(index));
    }
    houses[0].make_safe();
    let status = houses[0].door().status();
    assert_eq!((status.own.local_bytes, status.own.segments), (0, status.own.safe_segments));
    assert!(status.own.segments >= 2 && status.own.at_risk == 0, "{status:#?}");
    assert!(houses[1..].iter().all(|house| house.door().status().halves.server_used > 8 << 20));
    // The machine burns down. All that is left of it is the phrase.
    let phrase = houses[0].secret.phrase();
    let hub = Arc::clone(&houses[0].hub);
    let lost = houses.remove(0);
    drop(lost);
    let folder = tempfile::tempdir().unwrap();
    let mut back =
        House { links: false, folder, secret: MemberSecret::from_phrase(&phrase), hub, group: None, log: None };
    let via = RestoreVia::Address("127.0.0.1:1".to_owned());
    begin_restore(&back.data(), &back.secret, &founding("phoenix"), &via).unwrap();
    let (keys, key) = channel::<NodeKey>();
    let (dones, _done) = channel();
    let back_to = Return {
        key: back.secret.recipient_key(),
        found: Box::new(move |key| keys.send(key).unwrap()),
        restored: Box::new(move || dones.send(()).unwrap()),
    };
    let running = Group::start_restore(&back.seat(), &via, back_to, back.carrier()).unwrap();
    back.group = Some(running);
    let first = key.recv_timeout(PATIENCE).expect("the key comes with the first segment");
    // In the middle of it, or at its very end, the machine goes off.
    back.stop();
    assert_eq!(back.seat().identity.node(), back.secret.node_id(0));
    let (keys, key) = channel::<NodeKey>();
    let (dones, done) = channel();
    let back_to = Return {
        key: back.secret.recipient_key(),
        found: Box::new(move |key| keys.send(key).unwrap()),
        restored: Box::new(move || dones.send(()).unwrap()),
    };
    back.group = Some(Group::start_restore(&back.seat(), &via, back_to, back.carrier()).unwrap());
    let key = key.recv_timeout(PATIENCE).expect("the key comes again");
    done.recv_timeout(PATIENCE).expect("everything comes back");
    drop(first);
    key.keep(&back.data().join("node.key")).unwrap();
    Log::finish_restore(&RealDisk::new(&back.data().join("log")).unwrap(), &key).unwrap();
    let (log, _) = open_log(&back.settings()).unwrap();
    back.door().attach(&log).unwrap();
    back.log = Some(log);
    for index in 0..200 {
        assert_eq!(back.get(index).as_deref(), Some(&*content(index)), "block {index}");
    }
    back.put(777, b"and on it goes");
    back.make_safe();
}

#[test]
fn the_same_goes_over_real_links() {
    let houses = group_with(3, true);
    for index in 0..300 {
        houses[0].put(index, &content(index));
    }
    houses[0].make_safe();
    for house in &houses[1..] {
        let status = house.until("it holds a copy", |status| status.halves.server_used > 16 << 20);
        let first = status.members.iter().find(|member| member.node == houses[0].secret.node_id(0)).unwrap();
        assert!(first.link.contains("127.0.0.1:") && first.held_for_it == status.halves.server_used, "{first:#?}");
        assert!(status.work.received_bytes > 16 << 20, "{status:#?}");
    }
}

#[test]
fn everybody_knows_what_the_others_are_called() {
    let houses = group_with(4, true);
    let names = |status: &GroupStatus| {
        let mut names: Vec<String> = status.members.iter().map(|member| member.name.clone()).collect();
        names.sort();
        names
    };
    let wanted: Vec<String> = (0..4).map(|number| format!("house {number}")).collect();
    for house in &houses {
        house.until("all names are known", |status| names(status) == wanted);
    }
}

#[test]
fn a_node_that_restarts_goes_on_where_it_was() {
    let mut houses = group(3);
    houses[1].put(1, &content(1));
    houses[1].make_safe();
    houses[1].stop();
    houses[1].start();
    assert_eq!(houses[1].get(1), Some(content(1)));
    houses[1].put(2, &content(2));
    houses[1].make_safe();
    let status = houses[1].until("all is safe", |status| status.own.local_bytes == 0);
    assert_eq!((status.members.len(), status.state), (3, GroupState::Member));
}

#[test]
fn whoever_joined_finds_the_others_after_a_restart() {
    let mut houses = group_with(3, true);
    houses[2].stop();
    houses[2].start();
    houses[2].put(1, &content(1));
    houses[2].make_safe();
    houses[2].until("it is linked to both", |status| {
        status.members.iter().filter(|member| member.presence == MemberPresence::Here).count() == 2
    });
}

#[test]
fn what_is_deleted_and_compacted_is_given_back() {
    let houses = group(3);
    for round in 0..3 {
        for index in 0..400 {
            houses[0].put(index, &content(index + round));
        }
        houses[0].make_safe();
    }
    let full = houses[1].door().status().halves.server_used;
    for index in 10..400 {
        houses[0].put(index, &[]);
    }
    houses[0].log.as_ref().unwrap().compact().unwrap();
    houses[0].make_safe();
    let less = |status: &GroupStatus| status.halves.server_used < full / 4;
    houses[1].until("the other gives room back", less);
    assert_eq!(houses[0].get(3), Some(content(3 + 2)));
}

#[test]
fn what_is_at_risk_is_told_by_name() {
    let mut houses = group(2);
    houses[1].stop();
    let names = |blocks: &[(GridId, Index)], most: usize| -> Vec<String> {
        blocks.iter().take(most).map(|(grid, index)| format!("{}:{}", grid.0, index.get())).collect()
    };
    houses[0].door().set_names(Box::new(names));
    for index in [4, 2, 2] {
        houses[0].put(index, &content(index));
    }
    houses[0].log.as_ref().unwrap().close_segment().unwrap();
    let status = houses[0].until("it is at risk", |status| status.own.at_risk > 0);
    assert_eq!(status.risks.len(), 1);
    assert_eq!(
        (status.risks[0].survives, &status.risks[0].records[..]),
        (0, &["5:4".to_owned(), "5:2".to_owned()][..])
    );
    assert!(status.own.local_bytes >= 120_000, "{status:#?}");
}

#[test]
fn doors_say_no_in_words() {
    let houses = group(2);
    let (one, two) = (houses[0].door(), houses[1].door());
    let (ticket, _) = one.invite(Duration::from_secs(60)).unwrap();
    let text = |result: Result<(), crate::Refusal>| result.unwrap_err().text;
    assert!(text(two.join(&ticket)).contains("in a group with others already"));
    assert!(text(one.join(&ticket)).contains("made the ticket itself"));
    assert!(text(two.join("okapi-zz")).len() > 10);
    assert!(text(one.give(1000)).contains("too few"));
    assert!(one.invite(Duration::from_secs(86_400 * 365)).unwrap_err().text.contains("30 days"));
    let other = houses[1].secret.node_id(0);
    assert!(text(one.lost(other)).contains("not lost"));
    assert!(text(one.lost(NodeId([9; 32]))).contains("no such node"));
    one.give(8 << 30).unwrap();
    let status = one.status();
    assert_eq!((status.halves.user, status.halves.server), (4 << 30, 4 << 30));
}
