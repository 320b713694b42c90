use super::*;
use alloc::collections::BTreeMap;
use okapi_base::NodeId;

/// A yard in memory, with so many bytes of room left.
#[derive(Default)]
struct Heap {
    segments: BTreeMap<SegmentName, Blob>,
    shards: BTreeMap<ShardId, Blob>,
    full: bool,
}

impl Yard for Heap {
    fn segment(&mut self, name: SegmentName) -> Option<Blob> {
        self.segments.get(&name).cloned()
    }

    fn put_segment(&mut self, name: SegmentName, bytes: Blob) -> Result<(), NoRoom> {
        if self.full {
            return Err(NoRoom);
        }
        self.segments.insert(name, bytes);
        Ok(())
    }

    fn shard(&mut self, shard: ShardId) -> Option<Blob> {
        self.shards.get(&shard).cloned()
    }

    fn put_shard(&mut self, shard: ShardId, bytes: Blob) -> Result<(), NoRoom> {
        if self.full {
            return Err(NoRoom);
        }
        self.shards.insert(shard, bytes);
        Ok(())
    }

    fn drop_shard(&mut self, shard: ShardId) {
        self.shards.remove(&shard);
    }
}

fn segment(bytes: usize) -> (SegmentName, Blob) {
    let bytes: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
    (SegmentName(hash(&bytes).0), Blob::from(bytes))
}

fn shards_of(yard: &mut Heap, name: SegmentName, shape: Shape) -> (Vec<(u8, Blob)>, Vec<Digest>) {
    let wanted = (0..shape.n() as u8).collect();
    match labour(yard, Work::Code { segment: name, shape, wanted }) {
        Done::Shards { shards, roots } => (shards, roots),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_segment_of_every_shape_comes_back_from_its_last_shards() {
    for shape in Shape::ALL {
        let (name, bytes) = segment(10_007);
        let mut yard = Heap::default();
        yard.segments.insert(name, bytes.clone());
        let (shards, roots) = shards_of(&mut yard, name, shape);
        assert_eq!(roots.len(), shape.n());
        assert!(shards.iter().all(|(index, bytes)| hash(bytes) == roots[usize::from(*index)]));
        let last = shards[shape.n() - shape.k()..].to_vec();
        let wanted: Vec<u8> = (0..(shape.n() - shape.k()) as u8).collect();
        let work = Work::Rebuild { bytes: 10_007, shape, have: last.clone(), wanted: wanted.clone() };
        let Done::Shards { shards: again, .. } = labour(&mut yard, work) else { panic!("{shape}") };
        assert_eq!(again, shards[..wanted.len()]);
        yard.segments.clear();
        let back = Work::Restore { segment: name, bytes: 10_007, shape, have: last };
        assert!(matches!(labour(&mut yard, back), Done::Well));
        assert_eq!(yard.segments[&name], bytes);
    }
}

#[test]
fn what_is_not_what_its_name_says_is_lost() {
    let (name, bytes) = segment(5000);
    let mut yard = Heap::default();
    let code = || Work::Code { segment: name, shape: Shape::TwoOfSix, wanted: Vec::new() };
    assert!(matches!(labour(&mut yard, code()), Done::Lost));
    let mut rotten = bytes.to_vec();
    rotten[17] ^= 1;
    yard.segments.insert(name, Blob::from(rotten.clone()));
    assert!(matches!(labour(&mut yard, code()), Done::Lost));
    yard.segments.insert(name, bytes.clone());
    let (shards, roots) = shards_of(&mut yard, name, Shape::TwoOfSix);
    let shard = ShardId { owner: NodeId([1; 32]), segment: name, k: 2, index: 3 };
    let store = |bytes: &Blob| Work::StoreShard { shard, root: roots[3], bytes: bytes.clone() };
    assert!(matches!(labour(&mut yard, store(&shards[2].1)), Done::Lost));
    assert!(matches!(labour(&mut yard, Work::ReadShard { shard, root: roots[3] }), Done::Lost));
    yard.full = true;
    assert!(matches!(labour(&mut yard, store(&shards[3].1)), Done::Full));
    yard.full = false;
    assert!(matches!(labour(&mut yard, store(&shards[3].1)), Done::Well));
    assert!(matches!(labour(&mut yard, Work::ReadShard { shard, root: roots[3] }), Done::Bytes(_)));
    assert!(matches!(labour(&mut yard, Work::ReadShard { shard, root: roots[2] }), Done::Lost));
    assert!(matches!(
        labour(&mut yard, Work::Prove { shard, root: roots[3], leaves: Vec::from([0, 2]) }),
        Done::Proofs(_)
    ));
    assert!(matches!(labour(&mut yard, Work::Prove { shard, root: roots[3], leaves: Vec::from([999]) }), Done::Lost));
    let rotten_proof = Work::Prove { shard, root: roots[2], leaves: Vec::from([0]) };
    assert!(matches!(labour(&mut yard, rotten_proof), Done::Lost));
    let mut wrong = shards.clone();
    wrong[0].1 = Blob::from(rotten[..2500].to_vec());
    let back = Work::Restore { segment: name, bytes: 5000, shape: Shape::TwoOfSix, have: wrong };
    assert!(matches!(labour(&mut yard, back), Done::Lost));
    assert!(matches!(labour(&mut yard, Work::DropShard { shard }), Done::Well));
    assert!(yard.shards.is_empty());
}
