//! Reading from holders that have all, some, wrong or no bytes.

use super::far::{Far, Neighbours};
use okapi_base::{Digest, GroupId, NodeId, SegmentName, Shape};
use okapi_seal::proof::{GROUP_BYTES, group_hashes};
use okapi_seal::{Hasher, Secret, SigningKey, hash};
use okapi_store::log::Distant as _;
use okapi_wire::message::{DeedPage, DeedsOf, ShardPart, ShardRead};
use okapi_wire::peer::shard::{AmendedDeed, Deed, Signed as _, Slot};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const GROUP: GroupId = GroupId([1; 32]);

/// What a holder does when it is asked for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Honest,
    /// It is not there.
    Away,
    WrongBytes,
    WrongTree,
    Short,
}

/// A group in which each shard of each segment lies with a node of its own.
struct Pretend {
    owner: SigningKey,
    pages: Vec<AmendedDeed>,
    shards: BTreeMap<(SegmentName, u8, u8), Vec<u8>>,
    moods: Mutex<BTreeMap<NodeId, Mood>>,
    asked: Mutex<Vec<(NodeId, ShardRead)>>,
    nodes: BTreeSet<NodeId>,
}

fn holder(index: u8) -> NodeId {
    NodeId([0x40 + index; 32])
}

fn segment(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 255 + usize::from(seed)) as u8).collect()
}

impl Pretend {
    fn new() -> Self {
        let (pages, shards, nodes) = Default::default();
        let owner = SigningKey::from_secret(&Secret::from_bytes([9; 32]));
        Self { owner, pages, shards, moods: Mutex::default(), asked: Mutex::default(), nodes }
    }

    fn owner(&self) -> NodeId {
        NodeId(self.owner.public())
    }

    fn place(&mut self, bytes: &[u8], shape: Shape, stamp: u64) -> SegmentName {
        let name = SegmentName(hash(bytes).0);
        let indexes: Vec<u8> = (0..shape.n() as u8).collect();
        let shards = okapi_seal::code::encode(shape, bytes, &indexes).unwrap();
        let slots =
            indexes.iter().map(|index| Slot { root: hash(&shards[usize::from(*index)]), holder: Some(holder(*index)) });
        let mut deed = Deed {
            group: GROUP,
            owner: self.owner(),
            segment: name,
            bytes: bytes.len() as u64,
            shape,
            revision: 1,
            stamp,
            key: vec![1],
            slots: slots.collect(),
            signature: [0; 64],
        };
        let digest = Hasher::new(Deed::CONTEXT).add(&deed.unsigned()).digest();
        deed.signature = self.owner.sign(&digest).0;
        self.pages.push(AmendedDeed { deed, amendments: Vec::new() });
        self.pages.sort_by_key(|amended| amended.deed.segment);
        for (index, shard) in indexes.into_iter().zip(shards) {
            self.nodes.insert(holder(index));
            self.shards.insert((name, shape.k() as u8, index), shard.to_vec());
        }
        name
    }

    fn mood(&self, node: NodeId) -> Mood {
        self.moods.lock().get(&node).copied().unwrap_or(Mood::Honest)
    }

    fn set(&self, moods: impl IntoIterator<Item = (u8, Mood)>) {
        *self.moods.lock() = moods.into_iter().map(|(index, mood)| (holder(index), mood)).collect();
    }
}

impl Neighbours for Pretend {
    fn group(&self) -> GroupId {
        GROUP
    }

    fn nodes(&self, _: NodeId) -> (Vec<NodeId>, Vec<NodeId>) {
        self.nodes.iter().partition(|node| self.mood(**node) != Mood::Away)
    }

    fn deeds_of(&self, node: NodeId, ask: &DeedsOf) -> Result<DeedPage, String> {
        if self.mood(node) == Mood::Away {
            return Err("it is away".to_owned());
        }
        let mut rest = self.pages.iter().filter(|amended| Some(amended.deed.segment) > ask.after);
        let deeds: Vec<AmendedDeed> = rest.by_ref().take(2).cloned().collect();
        Ok(DeedPage { more: rest.next().is_some(), deeds })
    }

    fn read_shard(&self, node: NodeId, ask: &ShardRead) -> Result<ShardPart, String> {
        self.asked.lock().push((node, ask.clone()));
        let shard = &self.shards[&(ask.shard.segment, ask.shard.k, ask.shard.index)];
        assert_eq!(node, holder(ask.shard.index), "only who holds it is asked");
        let from = ask.offset as usize;
        let mut bytes = shard[from..from + ask.length as usize].to_vec();
        let mut tree = if ask.tree { group_hashes(shard) } else { Vec::new() };
        match self.mood(node) {
            Mood::Honest => {}
            Mood::Away => return Err("it is away".to_owned()),
            Mood::WrongBytes => bytes[0] ^= 1,
            Mood::WrongTree => tree.iter_mut().for_each(|hash| *hash = Digest([7; 32])),
            Mood::Short => drop(bytes.pop()),
        }
        Ok(ShardPart { tree, bytes })
    }
}

fn find(pretend: &Arc<Pretend>) -> Far {
    let neighbours: Arc<dyn Neighbours> = pretend.clone();
    Far::find(&neighbours, pretend.owner()).unwrap()
}

fn read(far: &Far, segment: usize, from: usize, length: usize) -> Result<Vec<u8>, String> {
    let mut into = vec![0; length];
    far.read(segment, from as u64, &mut into).map_err(|error| error.to_string())?;
    Ok(into)
}

/// Ranges that begin and end at all sorts of places.
const RANGES: [(usize, usize); 7] =
    [(0, 1), (0, 400_000), (5, 70_000), (16_384, 16_384), (99_999, 2), (100_352, 4160), (399_000, 1000)];

#[test]
fn any_range_comes_from_whoever_has_it() {
    for shape in [Shape::OneOfOne, Shape::OneOfThree, Shape::TwoOfSix, Shape::FourOfTwelve, Shape::EightOfTwentyFour] {
        let mut pretend = Pretend::new();
        let bytes = segment(400_000, 1);
        pretend.place(&bytes, shape, 5);
        let pretend = Arc::new(pretend);
        let far = find(&pretend);
        assert_eq!((far.lengths(), far.stamp(0)), (vec![400_000], 5));
        for (from, length) in RANGES {
            assert!(read(&far, 0, from, length).unwrap() == bytes[from..from + length], "{shape:?} {from}+{length}");
        }
        assert!(read(&far, 0, 399_999, 2).is_err());
        let data = |index: u8| usize::from(index) < shape.k();
        assert!(pretend.asked.lock().iter().all(|(_, ask)| data(ask.shard.index)), "no others are needed");
    }
}

#[test]
fn a_record_is_one_small_ask_and_what_came_before_is_kept() {
    let mut pretend = Pretend::new();
    let bytes = segment(8 << 20, 2);
    pretend.place(&bytes, Shape::FourOfTwelve, 5);
    let pretend = Arc::new(pretend);
    let far = find(&pretend);
    assert!(read(&far, 0, 3_000_000, 4160).unwrap() == bytes[3_000_000..3_004_160]);
    assert!(read(&far, 0, 3_000_100, 200).unwrap() == bytes[3_000_100..3_000_300]);
    let asked = pretend.asked.lock();
    let [(node, ask)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((*node, ask.tree), (holder(1), true));
    assert!(ask.length as usize <= 2 * GROUP_BYTES);
}

#[test]
fn whoever_is_away_or_lies_is_gone_round() {
    let mut pretend = Pretend::new();
    let bytes = segment(400_000, 3);
    pretend.place(&bytes, Shape::FourOfTwelve, 5);
    let pretend = Arc::new(pretend);
    for mood in [Mood::Away, Mood::WrongBytes, Mood::WrongTree, Mood::Short] {
        // All data shards, and as many of the others as may be.
        pretend.set((0..8).map(|index| (index, mood)));
        let far = find(&pretend);
        for (from, length) in RANGES {
            assert!(read(&far, 0, from, length).unwrap() == bytes[from..from + length], "{mood:?} {from}+{length}");
        }
        pretend.set((0..9).map(|index| (index, mood)));
        let far = find(&pretend);
        let error = read(&far, 0, 0, 100).unwrap_err();
        assert!(error.contains("too few shards of segment") && error.contains("(4 of 12 are needed)"), "{error}");
        assert_eq!(error.contains("9 more of the group cannot be reached"), mood == Mood::Away, "{error}");
    }
}

#[test]
fn copies_are_read_from_the_next_one_where_the_first_is_wrong() {
    let mut pretend = Pretend::new();
    let bytes = segment(50_000, 4);
    pretend.place(&bytes, Shape::OneOfThree, 5);
    let pretend = Arc::new(pretend);
    pretend.set([(0, Mood::WrongBytes), (1, Mood::Away)]);
    assert!(read(&find(&pretend), 0, 0, 50_000).unwrap() == bytes);
}

#[test]
fn while_a_segment_is_given_another_shape_either_will_do() {
    let mut pretend = Pretend::new();
    let bytes = segment(300_000, 5);
    pretend.place(&bytes, Shape::TwoOfSix, 5);
    pretend.place(&bytes, Shape::FourOfTwelve, 9);
    let pretend = Arc::new(pretend);
    assert_eq!(find(&pretend).stamp(0), 5);
    // Of the new one too little is there.
    pretend.set((3..12).map(|index| (index, Mood::WrongBytes)));
    let far = find(&pretend);
    assert_eq!(far.lengths().len(), 1);
    assert!(read(&far, 0, 10, 299_990).unwrap() == bytes[10..]);
}

#[test]
fn deeds_come_in_pages_and_strangers_deeds_are_left_out() {
    let mut pretend = Pretend::new();
    for seed in 0..7 {
        pretend.place(&segment(1000, seed), Shape::OneOfTwo, 100 - u64::from(seed));
    }
    let mut forged = pretend.pages[0].clone();
    forged.deed.segment = SegmentName([0xff; 32]);
    pretend.pages.push(forged.clone());
    let other = GroupId([2; 32]);
    pretend.pages.push(AmendedDeed { deed: Deed { group: other, ..forged.deed }, amendments: Vec::new() });
    let pretend = Arc::new(pretend);
    let far = find(&pretend);
    assert_eq!(far.lengths().len(), 7);
    assert!((0..6).all(|at| far.stamp(at) < far.stamp(at + 1)), "in the order in which they were placed");
}

#[test]
fn who_holds_nothing_is_no_help() {
    let pretend = Arc::new(Pretend::new());
    let neighbours: Arc<dyn Neighbours> = pretend.clone();
    let Err(refusal) = Far::find(&neighbours, pretend.owner()) else { panic!("there is nothing") };
    assert!(refusal.text.contains("nobody who can be reached holds anything of it"), "{refusal}");
}
