//! Segments of a node that is away, as others hold them: which there are, and any range of their bytes.
//!
//! The data of a segment lie in its first k shards one after the other, so most reads are of one shard; only if that is not
//! to be had is the same range of k others read and decoded. Whatever comes is checked against the roots that the owner
//! has signed, by the hashes of groups of leaves, which are asked for once a shard.

use crate::group::short;
use crate::refusal::Refusal;
use okapi_base::{Digest, GroupId, NodeId, SegmentName, Shape};
use okapi_seal::proof::{GROUP_BYTES, Groups};
use okapi_seal::{Hasher, Signature, verify};
use okapi_store::log::Distant;
use okapi_wire::Status;
use okapi_wire::message::away::SHARD_READ_MAX;
use okapi_wire::message::{DeedPage, DeedsOf, ShardPart, ShardRead};
use okapi_wire::peer::shard::{AmendedDeed, Deed, ShardId, Signed};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Groups kept in memory for whoever reads on.
const GROUPS_KEPT: usize = 1024;
/// Shards whose groups' hashes are kept.
const TREES_KEPT: usize = 1024;
/// For how long a node that failed is asked last.
const SHUN: Duration = Duration::from_secs(30);
/// Layouts of one segment that are tried.
const LAYOUTS_MAX: usize = 4;
/// Sealed keys that are kept: they all have the same in them.
const KEYS_KEPT: usize = 8;
/// Segments of one owner that are looked at, at most.
const SEGMENTS_MAX: usize = 1 << 18;

/// The other nodes of the group, and this one, as whoever reads shards asks them.
pub(crate) trait Neighbours: Send + Sync {
    /// The group.
    fn group(&self) -> GroupId;

    /// Those that can be asked, and those that cannot be reached. The owner is among neither.
    fn nodes(&self, owner: NodeId) -> (Vec<NodeId>, Vec<NodeId>);

    /// Which deeds a node has.
    fn deeds_of(&self, node: NodeId, ask: &DeedsOf) -> Result<DeedPage, String>;

    /// Nothing is asked for now.
    fn rest(&self) {}

    /// A part of a shard that a node holds.
    fn read_shard(&self, node: NodeId, ask: &ShardRead) -> Result<ShardPart, String>;
}

/// What was found of one node's segments.
pub(crate) struct Far {
    neighbours: Arc<dyn Neighbours>,
    owner: NodeId,
    segments: Vec<Segment>,
    /// The owner's key, as it was sealed to its member.
    keys: BTreeSet<Vec<u8>>,
    /// Nodes that have not said what they hold: they are not asked for it either.
    unheard: Vec<NodeId>,
    trees: Mutex<Kept<(Way, u8), Arc<Groups>>>,
    groups: Mutex<Kept<GroupName, Arc<[u8]>>>,
    shunned: Mutex<HashMap<NodeId, Instant>>,
}

#[derive(Default)]
struct Found {
    segments: BTreeMap<SegmentName, Segment>,
    keys: BTreeSet<Vec<u8>>,
}

struct Segment {
    name: SegmentName,
    bytes: u64,
    /// When it was first placed, as far as anybody remembers.
    stamp: u64,
    /// How it lies, the newest first: while it is given another shape it lies in two.
    layouts: Vec<Layout>,
}

struct Layout {
    shape: Shape,
    stamp: u64,
    roots: Vec<Digest>,
    /// By index, who may have the shard.
    holders: Vec<BTreeSet<NodeId>>,
}

/// A segment, and one of its layouts.
type Way = (usize, usize);
/// A group of leaves: of which shard, and its number.
type GroupName = (Way, u8, u64);

/// The last few of something.
struct Kept<K, V> {
    all: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + std::hash::Hash, V: Clone> Kept<K, V> {
    fn new(most: usize) -> Self {
        Self { all: HashMap::new(), order: VecDeque::new(), most }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.all.get(key).cloned()
    }

    fn keep(&mut self, key: K, value: V) {
        if self.all.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

impl Far {
    /// Asks everybody for deeds.
    pub(crate) fn find(neighbours: &Arc<dyn Neighbours>, owner: NodeId) -> Result<Self, Refusal> {
        let (nodes, mut unheard) = neighbours.nodes(owner);
        let found = Mutex::new(Found::default());
        let silent = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for node in nodes {
                let (found, silent) = (&found, &silent);
                scope.spawn(move || {
                    if let Err(why) = ask_for_deeds(&**neighbours, node, owner, found) {
                        tracing::debug!("{} does not say what it holds of {}: {why}", short(&node.0), short(&owner.0));
                        silent.lock().push(node);
                    }
                });
            }
        });
        unheard.append(&mut silent.into_inner());
        let Found { segments, keys } = found.into_inner();
        let mut segments: Vec<Segment> = segments.into_values().collect();
        segments.sort_by_key(|segment| (segment.stamp, segment.name));
        let far = Self {
            neighbours: Arc::clone(neighbours),
            owner,
            segments,
            keys,
            unheard,
            trees: Mutex::new(Kept::new(TREES_KEPT)),
            groups: Mutex::new(Kept::new(GROUPS_KEPT)),
            shunned: Mutex::default(),
        };
        if far.segments.is_empty() {
            let text = far.with_unheard("nobody who can be reached holds anything of it".to_owned());
            return Err(Refusal::new(Status::Away, text));
        }
        Ok(far)
    }

    /// The lengths of the segments.
    pub(crate) fn lengths(&self) -> Vec<u64> {
        self.segments.iter().map(|segment| segment.bytes).collect()
    }

    /// The names of the segments.
    pub(crate) fn names(&self) -> Vec<SegmentName> {
        self.segments.iter().map(|segment| segment.name).collect()
    }

    /// When a segment was placed, in milliseconds since 1970.
    pub(crate) fn stamp(&self, segment: usize) -> u64 {
        self.segments[segment].stamp
    }

    /// The owner's key, as it was sealed to its member: perhaps more than once.
    pub(crate) fn sealed_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(Vec::as_slice)
    }

    /// How many have not been heard.
    pub(crate) fn unheard(&self) -> usize {
        self.unheard.len()
    }

    /// Adds who has not been heard, if anybody.
    pub(crate) fn with_unheard(&self, text: String) -> String {
        match self.unheard.len() {
            0 => text,
            count => {
                let names: Vec<String> = self.unheard.iter().take(4).map(|node| short(&node.0)).collect();
                let more = if count > 4 { " and others" } else { "" };
                format!("{text}; {count} more of the group cannot be reached ({}{more})", names.join(", "))
            }
        }
    }

    fn layout(&self, way: Way) -> &Layout {
        &self.segments[way.0].layouts[way.1]
    }

    fn shard_bytes(&self, way: Way) -> u64 {
        self.layout(way).shape.shard_bytes(self.segments[way.0].bytes)
    }

    /// Bytes of a segment as it lies in one layout.
    fn read_as(&self, way: Way, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let (k, shard_bytes) = (self.layout(way).shape.k(), self.shard_bytes(way));
        let mut done = 0;
        while done < into.len() {
            let at = offset + done as u64;
            let (index, within) = if k == 1 { (0, at) } else { (at / shard_bytes, at % shard_bytes) };
            let count = shard_bytes.saturating_sub(within).min((into.len() - done) as u64) as usize;
            let index = u8::try_from(index).ok().filter(|index| usize::from(*index) < k && count > 0);
            let index = index.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.read_shard(way, index, within, &mut into[done..done + count])?;
            done += count;
        }
        Ok(())
    }

    /// Bytes of one shard, from `offset` on.
    fn read_shard(&self, way: Way, index: u8, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let group_bytes = GROUP_BYTES as u64;
        let mut at = offset;
        let end = offset + into.len() as u64;
        while at < end {
            let group = at / group_bytes;
            let kept = self.groups.lock().get(&(way, index, group));
            let bytes = match kept {
                Some(bytes) => bytes,
                None => self.fetch(way, index, group, end)?,
            };
            let from = (at - group * group_bytes) as usize;
            let count = (bytes.len() - from).min((end - at) as usize);
            let to = (at - offset) as usize;
            into[to..to + count].copy_from_slice(&bytes[from..from + count]);
            at += count as u64;
        }
        Ok(())
    }

    /// Fetches groups from `first` on, until `end` or as many as one ask can be for; gives the first of them.
    fn fetch(&self, way: Way, index: u8, first: u64, end: u64) -> io::Result<Arc<[u8]>> {
        let group_bytes = GROUP_BYTES as u64;
        let shard_bytes = self.shard_bytes(way);
        let offset = first * group_bytes;
        let end = end.next_multiple_of(group_bytes).min(offset + u64::from(SHARD_READ_MAX)).min(shard_bytes);
        let length = u32::try_from(end - offset).expect("it is at most what one ask is for");
        let bytes = self.fetch_range(way, index, offset, length)?;
        let mut groups = self.groups.lock();
        let mut wanted = None;
        for (group, bytes) in (first..).zip(bytes.chunks(GROUP_BYTES)) {
            let bytes: Arc<[u8]> = bytes.into();
            wanted.get_or_insert_with(|| Arc::clone(&bytes));
            groups.keep((way, index, group), bytes);
        }
        wanted.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn fetch_range(&self, way: Way, index: u8, offset: u64, length: u32) -> io::Result<Vec<u8>> {
        let its = self.layout(way);
        let n = its.shape.n() as u8;
        // Where any shard is the whole segment any will do.
        let direct: Vec<u8> = if its.shape.k() == 1 { (0..n).collect() } else { vec![index] };
        let mut why = Vec::new();
        for index in direct {
            match self.fetch_from_holders(way, index, offset, length) {
                Ok(bytes) => return Ok(bytes),
                Err(mut failed) => why.append(&mut failed),
            }
        }
        if its.shape.k() > 1 {
            match self.decode(way, index, offset, length) {
                Ok(bytes) => return Ok(bytes),
                Err(mut failed) => why.append(&mut failed),
            }
        }
        let why = if why.is_empty() { "nobody who can be reached holds it".to_owned() } else { why.join("; ") };
        let name = short(&self.segments[way.0].name.0);
        let text = format!("too few shards of segment {name} can be had ({} of {n} are needed): {why}", its.shape.k());
        Err(io::Error::other(self.with_unheard(text)))
    }

    /// The range of one shard, from whoever has it.
    fn fetch_from_holders(&self, way: Way, index: u8, offset: u64, length: u32) -> Result<Vec<u8>, Vec<String>> {
        let mut why = Vec::new();
        for node in self.in_order(&self.layout(way).holders[usize::from(index)]) {
            match self.fetch_from(node, way, index, offset, length) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => {
                    self.shunned.lock().insert(node, Instant::now());
                    why.push(format!("{}: {error}", short(&node.0)));
                }
            }
        }
        Err(why)
    }

    /// Those that can be asked; those that failed lately come last.
    fn in_order(&self, nodes: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let shunned = self.shunned.lock();
        let is_shunned = |node: &NodeId| shunned.get(node).is_some_and(|at| at.elapsed() < SHUN);
        let mut nodes: Vec<NodeId> = nodes.iter().filter(|node| !self.unheard.contains(node)).copied().collect();
        nodes.sort_by_key(is_shunned);
        nodes
    }

    fn fetch_from(&self, node: NodeId, way: Way, index: u8, offset: u64, length: u32) -> Result<Vec<u8>, String> {
        let its = self.layout(way);
        let name = self.segments[way.0].name;
        let shard = ShardId { owner: self.owner, segment: name, k: its.shape.k() as u8, index };
        let known = self.trees.lock().get(&(way, index));
        let ask = ShardRead { shard, offset, length, tree: known.is_none() };
        let part = self.neighbours.read_shard(node, &ask)?;
        let groups = match known {
            Some(groups) => groups,
            None => {
                let groups = Groups::check(part.tree, &its.roots[usize::from(index)], self.shard_bytes(way));
                let groups = Arc::new(groups.ok_or("its hashes do not lead to the shard's root")?);
                self.trees.lock().keep((way, index), Arc::clone(&groups));
                groups
            }
        };
        if part.bytes.len() != length as usize || !groups.are_right(offset, &part.bytes) {
            return Err("its bytes are not those of the shard".to_owned());
        }
        Ok(part.bytes)
    }

    /// The range of a shard that nobody has, from the same range of k others.
    fn decode(&self, way: Way, index: u8, offset: u64, length: u32) -> Result<Vec<u8>, Vec<String>> {
        let its = self.layout(way);
        let k = its.shape.k();
        let others = |other: &u8| *other != index && !its.holders[usize::from(*other)].is_empty();
        let mut left: VecDeque<u8> = (0..its.shape.n() as u8).filter(others).collect();
        let mut have: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut why = Vec::new();
        while have.len() < k && !left.is_empty() {
            let next: Vec<u8> = left.drain(..left.len().min(k - have.len())).collect();
            let fetched: Vec<_> = std::thread::scope(|scope| {
                let fetch = |other: u8| (other, self.fetch_from_holders(way, other, offset, length));
                let threads: Vec<_> = next.into_iter().map(|other| scope.spawn(move || fetch(other))).collect();
                threads.into_iter().map(|thread| thread.join().expect("fetching does not panic")).collect()
            });
            for (other, fetched) in fetched {
                match fetched {
                    Ok(bytes) => have.push((other, bytes)),
                    Err(mut failed) => why.append(&mut failed),
                }
            }
        }
        if have.len() < k {
            return Err(why);
        }
        let have: Vec<(u8, &[u8])> = have.iter().map(|(other, bytes)| (*other, &bytes[..])).collect();
        // The code goes byte by byte: a range of each shard is a segment of its own.
        let rebuilt = okapi_seal::code::rebuild(its.shape, u64::from(length) * k as u64, &have, &[index]);
        rebuilt.map(|mut rebuilt| rebuilt.remove(0).to_vec()).map_err(|error| vec![error.to_string()])
    }
}

impl Distant for Far {
    fn read(&self, segment: usize, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut failed = None;
        for layout in 0..self.segments[segment].layouts.len() {
            match self.read_as((segment, layout), offset, into) {
                Ok(()) => return Ok(()),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
    }
}

/// Asks one node for all the deeds that it has.
fn ask_for_deeds(neighbours: &dyn Neighbours, node: NodeId, owner: NodeId, found: &Mutex<Found>) -> Result<(), String> {
    let mut after = None;
    loop {
        let page = neighbours.deeds_of(node, &DeedsOf { owner, after })?;
        let last = page.deeds.last().map(|amended| amended.deed.segment);
        for AmendedDeed { deed, amendments } in page.deeds {
            if !is_good(&deed, owner, neighbours.group()) {
                continue;
            }
            let others = amendments.iter().map(|amendment| (amendment.index, amendment.holder));
            let others: Vec<(u8, NodeId)> =
                others.filter(|(index, _)| usize::from(*index) < deed.slots.len()).collect();
            let mut found = found.lock();
            if found.segments.len() < SEGMENTS_MAX || found.segments.contains_key(&deed.segment) {
                take(&mut found.segments, &deed, &others);
            }
            if found.keys.len() < KEYS_KEPT {
                found.keys.insert(deed.key);
            }
        }
        if !page.more {
            return Ok(());
        }
        // Whoever goes in circles is not followed.
        let next = last.filter(|last| after < Some(*last)).ok_or("its pages of deeds do not go on")?;
        after = Some(next);
    }
}

fn is_good(deed: &Deed, owner: NodeId, group: GroupId) -> bool {
    let digest = || Hasher::new(Deed::CONTEXT).add(&deed.unsigned()).digest();
    deed.owner == owner && deed.group == group && verify(&owner.0, &digest(), &Signature(deed.signature))
}

/// Takes in a deed. Who holds what by an older one of that shape may hold it still.
fn take(found: &mut BTreeMap<SegmentName, Segment>, deed: &Deed, others: &[(u8, NodeId)]) {
    let roots: Vec<Digest> = deed.slots.iter().map(|slot| slot.root).collect();
    let Deed { segment: name, bytes, stamp, shape, .. } = *deed;
    let segment = found.entry(name).or_insert_with(|| Segment { name, bytes, stamp, layouts: Vec::new() });
    segment.stamp = segment.stamp.min(stamp);
    let layouts = &mut segment.layouts;
    let at = layouts.iter().position(|layout| layout.shape == shape && layout.roots == roots);
    let at = at.unwrap_or_else(|| {
        let holders = vec![BTreeSet::new(); roots.len()];
        layouts.push(Layout { shape, stamp, roots, holders });
        layouts.len() - 1
    });
    let layout = &mut layouts[at];
    layout.stamp = layout.stamp.max(stamp);
    for (holders, slot) in layout.holders.iter_mut().zip(&deed.slots) {
        holders.extend(slot.holder.filter(|holder| *holder != deed.owner));
    }
    for (index, holder) in others {
        layout.holders[usize::from(*index)].insert(*holder);
    }
    layouts.sort_by_key(|layout| std::cmp::Reverse(layout.stamp));
    layouts.truncate(LAYOUTS_MAX);
}
