//! What is read of a node of which nothing has come back yet, from holders that are there, away or lie.

use super::*;
use crate::group::running::Return;
use crate::group::tests::{House, Hub, content, founding, group};
use crate::group::{RestoreVia, begin_restore};
use crate::host::DEFAULT_GRID;
use okapi_base::{GroupId, Index, NodeId, crc32c};
use okapi_seal::MemberSecret;
use okapi_store::{Change, Edit, Got, Patience, ReadError};
use okapi_wire::message::{DeedPage, DeedsOf, GroupState, ShardPart, ShardRead};
use std::collections::BTreeMap;
use std::sync::mpsc::channel;

const BLOCKS: u64 = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Honest,
    Away,
    Lying,
}

/// The houses that are left, and the moods that they are in.
struct Left {
    houses: BTreeMap<NodeId, Arc<Group>>,
    moods: Mutex<BTreeMap<NodeId, Mood>>,
}

impl Left {
    fn mood(&self, node: NodeId) -> Mood {
        self.moods.lock().get(&node).copied().unwrap_or(Mood::Honest)
    }

    fn set(&self, moods: [Mood; 3]) {
        *self.moods.lock() = self.houses.keys().copied().zip(moods).collect();
    }
}

impl Neighbours for Left {
    fn group(&self) -> GroupId {
        self.houses.values().next().unwrap().group()
    }

    fn nodes(&self, _: NodeId) -> (Vec<NodeId>, Vec<NodeId>) {
        self.houses.keys().partition(|node| self.mood(**node) != Mood::Away)
    }

    fn deeds_of(&self, node: NodeId, ask: &DeedsOf) -> Result<DeedPage, String> {
        self.houses[&node].deeds_of(ask).map_err(|refusal| refusal.text)
    }

    fn read_shard(&self, node: NodeId, ask: &ShardRead) -> Result<ShardPart, String> {
        let mut part = self.houses[&node].read_shard(ask).map_err(|refusal| refusal.text)?;
        match self.mood(node) {
            Mood::Honest => {}
            Mood::Away => return Err("it does not answer".to_owned()),
            Mood::Lying => part.bytes[0] ^= 1,
        }
        Ok(part)
    }
}

/// A node on an empty disk that reaches nobody, so that nothing comes back; and the others, who have all that it had.
fn burnt_down(blocks: u64) -> (House, NodeKey, Arc<Left>, Vec<House>) {
    let mut houses = group(4);
    let lost = houses.remove(0);
    let key = NodeKey::load(&lost.data().join("node.key")).unwrap();
    let log = lost.log.clone().unwrap();
    let (host, _) = Host::over_log(&lost.settings(), log, &key).unwrap();
    let grid = host.grid(DEFAULT_GRID).unwrap();
    for index in 0..blocks {
        let bytes = content(index);
        let edit = Edit::Whole { bytes: &bytes, crc: crc32c(&bytes) };
        grid.blocks.put(Index::new(index).unwrap(), &Change { edit, expect: None, relaxed: true }).unwrap();
    }
    host.close().unwrap();
    drop((host, grid));
    lost.make_safe();
    let phrase = lost.secret.phrase();
    drop(lost);
    let hub = Arc::new(Hub::default());
    hub.there.lock().insert(NodeId([0xEE; 32]), channel().0);
    let (folder, secret) = (tempfile::tempdir().unwrap(), MemberSecret::from_phrase(&phrase));
    let mut back = House { links: false, folder, secret, hub, group: None, log: None };
    let via = RestoreVia::Address("127.0.0.1:1".to_owned());
    begin_restore(&back.data(), &back.secret, &founding("phoenix"), &via).unwrap();
    let nobody = Return { key: back.secret.recipient_key(), found: Box::new(drop), restored: Box::new(|| ()) };
    back.group = Some(Group::start_restore(&back.seat(), &via, nobody, back.carrier()).unwrap());
    let left = houses.iter().map(|house| (house.secret.node_id(0), Arc::clone(house.door()))).collect();
    (back, key, Arc::new(Left { houses: left, moods: Mutex::default() }), houses)
}

fn get(host: &Host, index: u64) -> Result<Vec<u8>, ReadError> {
    match host.grid(DEFAULT_GRID).unwrap().blocks.get(Index::new(index).unwrap(), Patience::Waiting)? {
        Got::Block(block) => Ok(block.payload.as_ref().to_vec()),
        other => panic!("block {index}: {other:?}"),
    }
}

#[test]
fn all_of_it_is_read_from_whoever_has_it_and_nothing_without_them() {
    let (back, key, left, houses) = burnt_down(BLOCKS);
    let neighbours: Arc<dyn Neighbours> = left.clone();
    let settings = NodeSettings::new(back.settings());
    let preview =
        Preview::start(back.door(), neighbours, (Token([7; 32]), back.secret.recipient_key()), &settings, Vec::new())
            .unwrap();
    let known = |segments, silent| Known { segments, silent };
    let open = || preview.stage.open(Some(key.clone()), known(2, 0));
    let (host, readable) = open().unwrap();
    assert_eq!(readable, Readable { grids: 1, records: 0, silent: 0 });
    assert!((0..BLOCKS).all(|index| get(&host, index).unwrap() == content(index)));
    // Copies: any one of them is enough, and a wrong one is gone round.
    for moods in [[Mood::Lying, Mood::Lying, Mood::Honest], [Mood::Away, Mood::Honest, Mood::Lying]] {
        left.set(moods);
        let (host, readable) = open().unwrap();
        assert_eq!(readable.silent, u32::from(moods.contains(&Mood::Away)));
        for index in (0..BLOCKS).step_by(7) {
            assert_eq!(get(&host, index).unwrap(), content(index), "{moods:?} {index}");
        }
    }
    let text = |moods| {
        left.set(moods);
        open().err().unwrap().text
    };
    let lies = text([Mood::Lying; 3]);
    assert!(
        lies.contains("too few shards of segment") && lies.contains("its bytes are not those of the shard"),
        "{lies}"
    );
    let away = text([Mood::Away; 3]);
    assert!(away.contains("nobody who can be reached holds anything of it; 3 more of the group"), "{away}");
    left.set([Mood::Honest; 3]);
    let missing = preview.stage.open(Some(key.clone()), known(1000, 0)).err().unwrap().text;
    assert!(missing.contains(" of 1000 segments are with members that can be reached"), "{missing}");
    assert_eq!(preview.stage.open(Some(key.clone()), known(2, 2)).unwrap().1.silent, 2);
    let silent = preview.stage.open(Some(key.clone()), known(2, 3)).err().unwrap().text;
    assert_eq!(silent, "3 members have not answered, who may know of more than the others do");
    let (host, _) = preview.stage.open(None, known(2, 0)).unwrap();
    assert_eq!(get(&host, 1).unwrap(), content(1), "its key is in every deed");
    // Those who go away after it was opened are missed at what was not read before.
    let (host, _) = open().unwrap();
    left.set([Mood::Away; 3]);
    let failed = (0..BLOCKS).filter_map(|index| get(&host, index).err()).last().unwrap().to_string();
    assert!(failed.contains("too few shards of segment") && failed.contains("it does not answer"), "{failed}");
    drop((preview, houses));
}

#[test]
fn the_door_is_open_for_questions_only() {
    let (back, _, _, houses) = burnt_down(1);
    assert_eq!(back.door().status().state, GroupState::Restoring);
    let refused = |result: Result<(), Refusal>| {
        let refusal = result.unwrap_err();
        assert!(refusal.status == Status::ReadOnly && refusal.text.starts_with(COMING_BACK), "{refusal}");
    };
    refused(back.door().leave(true));
    refused(back.door().give(8 << 30));
    refused(back.door().join("okapi-zz"));
    refused(back.door().lost(NodeId([9; 32])));
    let (told, safe) = channel();
    back.door().when_safe(Box::new(move |result| told.send(result).unwrap()));
    refused(safe.recv().unwrap());
    drop(houses);
}
