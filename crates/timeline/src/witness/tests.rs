use super::*;
use crate::chain::tests::{entries, key, path};
use crate::draw::{DrawBy, Roster, Rosters};
use crate::limits::ROSTERS_MAX;
use alloc::sync::Arc;
use okapi_base::MemberId;
use okapi_base::machine::Moment;
use okapi_seal::SigningKey;
use okapi_wire::Message;
use okapi_wire::peer::entry::PATH_MAX;
use proptest::prelude::*;

/// A witness in a group of three, so that it is drawn for everything.
struct Scene {
    author: SigningKey,
    own: SigningKey,
    rosters: Rosters,
    witness: Witness,
}

const LIST: Version = Version { number: 1, digest: Digest([1; 32]) };
const START: Digest = Digest([0; 32]);

impl Scene {
    fn new() -> Self {
        let mut rosters = Rosters::default();
        let seats = (1..=3).map(|number| (NodeId(key(number).public()), MemberId([number; 32])));
        rosters.push(LIST, Arc::new(Roster::new(seats)));
        Self { author: key(1), own: key(2), rosters, witness: Witness::default() }
    }

    fn log(&self) -> NodeId {
        NodeId(self.author.public())
    }

    fn submit(&mut self, path: &Path, entries: &[Entry]) -> (Option<No>, Vec<Act>) {
        self.submit_as(self.log(), LIST, path, entries)
    }

    fn submit_as(&mut self, from: NodeId, list: Version, path: &Path, entries: &[Entry]) -> (Option<No>, Vec<Act>) {
        let world = World {
            now: Moment::default(),
            key: &self.own,
            rosters: &self.rosters,
            is_here: &|_| true,
            is_counted_on: &|_| true,
            by_place: true,
        };
        let no = self.witness.submitted(&world, from, list, path, entries.to_vec());
        (no, self.drain())
    }

    fn drain(&mut self) -> Vec<Act> {
        core::iter::from_fn(|| self.witness.poll()).collect()
    }

    /// Submits entries with the path through them and what is before.
    fn submit_all(&mut self, all: &[Entry], from: usize) -> Vec<Act> {
        let (no, acts) = self.submit(&path(all), &all[from..]);
        assert_eq!(no, None);
        acts
    }

    fn reopened(&self, acts: &[Act]) -> Witness {
        let mut records = BTreeMap::new();
        for act in acts {
            if let Act::Keep(key, value) = act {
                match value {
                    Some(value) => records.insert(key.clone(), value.clone()),
                    None => records.remove(key),
                };
            }
        }
        Witness::open(records.iter().map(|(key, value)| (&key[..], &value[..]))).expect("its own records")
    }
}

fn confirmed(acts: &[Act]) -> Vec<u64> {
    let told = acts.iter().filter_map(|act| match act {
        Act::SendWhenKept(_, LogMessage::Confirmed(all)) => Some(all),
        Act::Send(_, LogMessage::Confirmed(_)) => panic!("a confirmation must wait until it is durable"),
        _ => None,
    });
    told.flatten().map(|confirmation| confirmation.sequence).collect()
}

fn known(acts: &[Act]) -> Option<u64> {
    acts.iter().find_map(|act| match act {
        Act::Send(_, LogMessage::Known { known, .. }) => Some(*known),
        _ => None,
    })
}

fn proof(acts: &[Act]) -> Option<ForkProof> {
    acts.iter().find_map(|act| match act {
        Act::Forked(proof) => Some(proof.clone()),
        _ => None,
    })
}

#[test]
fn what_is_confirmed_is_kept_first_and_survives() {
    let mut scene = Scene::new();
    let all = entries(&scene.author, START, 1, 5, 0);
    let acts = scene.submit_all(&all, 2);
    assert_eq!(confirmed(&acts), [3, 4, 5]);
    let last_keep = acts.iter().rposition(|act| matches!(act, Act::Keep(..))).unwrap();
    let first_word = acts.iter().position(|act| matches!(act, Act::SendWhenKept(..))).unwrap();
    assert!(last_keep < first_word, "kept, then told");
    let again = scene.reopened(&acts);
    assert_eq!(again.head(scene.log()), Some(&all[4].head));
    assert!(again.entries(scene.log()).eq(&all[2..]));
    assert_eq!(again.logs, scene.witness.logs);
    // Asked once more, as when the answer was lost, it says the same.
    scene.witness = again;
    assert_eq!(confirmed(&scene.submit_all(&all, 2)), [3, 4, 5]);
}

#[test]
fn what_does_not_come_from_the_head_is_not_confirmed() {
    let mut scene = Scene::new();
    let all = entries(&scene.author, START, 1, 9, 0);
    scene.submit_all(&all[..3], 0);
    let (no, acts) = scene.submit(&path(&all[5..7]), &all[6..7]);
    assert_eq!((no, known(&acts)), (None, Some(3)), "a gap is told");
    assert_eq!(confirmed(&acts), []);
    assert_eq!(confirmed(&scene.submit_all(&all[2..7], 4)), [7]);
    // One before the head that leads to it is confirmed as well.
    let (_, acts) = scene.submit(&path(&all[3..7]), &all[3..4]);
    assert_eq!(confirmed(&acts), [4]);
    assert_eq!(scene.witness.head(scene.log()), Some(&all[6].head), "the head never goes back");
}

#[test]
fn a_second_entry_in_a_place_is_a_fork_and_stays_one() {
    let trunk = entries(&key(1), START, 1, 4, 0);
    let fourth = entry_hash(&trunk[3].head.header);
    let left = [trunk.clone(), entries(&key(1), fourth, 5, 8, 1)].concat();
    let right = [trunk, entries(&key(1), fourth, 5, 8, 2)].concat();
    // At the head, behind it, and at a kept entry before it without any path to the head.
    for (from, to, first) in [(4, 7, 6), (4, 8, 7), (4, 6, 4)] {
        let mut scene = Scene::new();
        let mut before = scene.submit_all(&left[..7], 4);
        let (no, acts) = scene.submit(&path(&right[from..to]), &right[first..to]);
        assert_eq!((no, confirmed(&acts)), (None, Vec::new()));
        let proof = proof(&acts).expect("it is proven");
        assert_eq!(fork::verify(&proof), Ok(scene.log()), "to anyone");
        before.extend(acts);
        scene.witness = scene.reopened(&before);
        assert!(scene.witness.is_forked(scene.log()));
        let (_, acts) = scene.submit(&path(&left), &left[7..]);
        assert!(matches!(&acts[..], [Act::Send(_, LogMessage::Forked(_))]), "nothing of it is confirmed any more");
    }
}

#[test]
fn everything_untrue_is_refused_by_name() {
    let mut scene = Scene::new();
    let all = entries(&scene.author, START, 1, 3, 0);
    let good = path(&all);
    let refused = |scene: &mut Scene, path: &Path, entries: &[Entry]| {
        let (no, acts) = scene.submit(path, entries);
        assert!(matches!(&acts[..], [Act::Send(_, LogMessage::Refused { .. })]), "{acts:?}");
        no
    };
    let changed = |change: &dyn Fn(&mut Entry)| {
        let mut entry = all[2].clone();
        change(&mut entry);
        entry
    };
    assert_eq!(refused(&mut scene, &good, &[]), Some(No::Bad));
    assert_eq!(refused(&mut scene, &good, &[changed(&|e| e.head.signature[0] ^= 1)]), Some(No::Bad));
    assert_eq!(refused(&mut scene, &good, &[changed(&|e| e.body[0] ^= 1)]), Some(No::Bad));
    assert_eq!(refused(&mut scene, &good, &[changed(&|e| e.head.header.stamp += 1)]), Some(No::Bad));
    assert_eq!(refused(&mut scene, &good, &[all[1].clone(), all[1].clone()]), Some(No::Bad));
    assert_eq!(refused(&mut scene, &path(&all[..2]), &all[2..]), Some(No::Bad), "not on the path");
    let stranger = key(9);
    let foreign = entries(&stranger, START, 1, 1, 0);
    let from = NodeId(stranger.public());
    assert_eq!(scene.submit_as(from, LIST, &path(&foreign), &foreign).0, Some(No::NotAMember));
    assert_eq!(scene.submit_as(from, LIST, &good, &all).0, Some(No::Bad), "another's log");
    let unknown = Version { number: 2, ..LIST };
    assert_eq!(scene.submit_as(scene.log(), unknown, &good, &all).0, Some(No::UnknownList));
    assert_eq!(scene.witness.logs.len(), 0);
    // In a larger group it is drawn for few.
    let seats = (1..=40).map(|number| (NodeId(key(number).public()), MemberId([number; 32])));
    let many = Arc::new(Roster::new(seats));
    let list = Version { number: 3, digest: Digest([3; 32]) };
    scene.rosters.push(list, many.clone());
    let own = NodeId(scene.own.public());
    for entry in &all {
        let drawn = many.draw(scene.log(), entry.head.header.sequence, &list.digest, DrawBy::Place).contains(own);
        let one = core::slice::from_ref(entry);
        let no = scene.submit_as(scene.log(), list, &path(one), one).0;
        assert_eq!(no, (!drawn).then_some(No::NotDrawn));
    }
    const { assert!(ROSTERS_MAX > 2) };
}

#[test]
fn long_ways_go_in_pieces() {
    let mut scene = Scene::new();
    let all = entries(&scene.author, START, 1, 3 * PATH_MAX as u64, 0);
    scene.submit_all(&all[..1], 0);
    let mut at = 0;
    while at + PATH_MAX < all.len() {
        let end = at + PATH_MAX - 1;
        let piece = path(&all[at..=end]);
        assert_eq!(scene.witness.advanced(scene.log(), &piece, all[end].head.signature), None);
        assert_eq!(known(&scene.drain()), Some(end as u64 + 1));
        at = end;
    }
    assert_eq!(confirmed(&scene.submit_all(&all[at..], all.len() - at - 1)), [all.len() as u64]);
    // A piece that leads elsewhere is a fork too, however long.
    let other = entries(&scene.author, START, 1, all.len() as u64 + 5, 1);
    let piece = path(&other[all.len() - 1..]);
    let mut bad = other[other.len() - 1].head.signature;
    assert_eq!(scene.witness.advanced(scene.log(), &piece, bad), None);
    assert!(proof(&scene.drain()).is_some());
    bad[0] ^= 1;
    assert_eq!(scene.witness.advanced(scene.log(), &piece, bad), Some(No::Bad));
    assert!(scene.witness.logs[&scene.log()].tail.len() <= TAIL_MAX);
}

#[test]
fn it_tells_what_it_has_in_pages_and_the_author_the_last_headers_too() {
    let mut scene = Scene::new();
    let all = entries(&scene.author, START, 1, 600, 0);
    let mut acts = Vec::new();
    for some in [&all[..], &all[255..]] {
        acts.extend(scene.submit_all(&some[..256.min(some.len())], 0));
    }
    acts.extend(scene.submit_all(&all[510..], 1));
    scene.witness = scene.reopened(&acts);
    let (log, mut from, mut came) = (scene.log(), 1, Vec::new());
    loop {
        scene.witness.asked(log, log, 7, from, 600);
        let mut acts = scene.drain();
        let Some(Act::Send(_, LogMessage::Entries { nonce: 7, to, entries, .. })) = acts.pop() else {
            panic!("{acts:?}")
        };
        came.extend(entries);
        assert_eq!(acts.len(), usize::from(to == 600), "the last headers come with the last page");
        if to == 600 {
            break;
        }
        from = to + 1;
    }
    assert_eq!(came, all);
    scene.witness.asked(NodeId([9; 32]), log, 1, 5, 4);
    assert!(matches!(&scene.drain()[..], [Act::Send(_, LogMessage::Entries { entries, .. })] if entries.is_empty()));
}

#[test]
fn it_keeps_so_much_and_no_more() {
    let mut scene = Scene::new();
    let all = entries(&scene.author, START, 1, LOG_ENTRIES_MAX as u64 + 100, 0);
    let mut acts = scene.submit_all(&all[..1], 0);
    for at in (0..all.len() - 1).step_by(200) {
        acts.extend(scene.submit_all(&all[at..all.len().min(at + 201)], 1));
    }
    let log = scene.log();
    assert_eq!(scene.witness.entries(log).count(), LOG_ENTRIES_MAX);
    assert_eq!(scene.witness.bytes, 2 * LOG_ENTRIES_MAX);
    let again = scene.reopened(&acts);
    assert_eq!((again.bytes, again.logs), (scene.witness.bytes, scene.witness.logs.clone()));
    // What it forgot it does not let be replaced.
    let other = entries(&scene.author, START, 1, 1, 9);
    let (_, acts) = scene.submit(&path(&other), &other);
    assert_eq!((confirmed(&acts), known(&acts)), (Vec::new(), Some(all.len() as u64)));
}

#[test]
fn a_head_shown_by_another_can_prove_a_fork() {
    let mut scene = Scene::new();
    let left = entries(&scene.author, START, 1, 3, 1);
    let right = entries(&scene.author, START, 1, 3, 2);
    scene.submit_all(&left, 0);
    scene.drain();
    scene.witness.saw(&left[1].head);
    scene.witness.saw(&SignedHeader { signature: [0; 64], ..right[1].head });
    assert_eq!(scene.drain(), []);
    scene.witness.saw(&right[1].head);
    let shown = proof(&scene.drain()).expect("two second entries");
    let mut third = Scene::new();
    assert_eq!(third.witness.shown(shown.clone()), Ok(true));
    assert_eq!(third.witness.shown(shown.clone()), Ok(false), "news only once");
    assert!(third.witness.shown(ForkProof { signature: [0; 64], ..shown }).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is submitted, in whatever order, of whichever branches: never two confirmations for one place.
    #[test]
    fn never_two_in_one_place(steps in proptest::collection::vec((0_usize..3, 0_usize..12, 1_usize..6, 0_usize..6), 1..40)) {
        let author = key(1);
        let trunk = entries(&author, START, 1, 5, 0);
        let branch = |at: u64, salt| {
            let hash = entry_hash(&trunk[at as usize - 1].head.header);
            [trunk[..at as usize].to_vec(), entries(&author, hash, at + 1, 18, salt)].concat()
        };
        let logs = [branch(5, 1), branch(5, 2), branch(3, 3)];
        let mut scene = Scene::new();
        let mut kept = Vec::new();
        let mut places: BTreeMap<u64, Digest> = BTreeMap::new();
        for (log, from, long, skip) in steps {
            let part = &logs[log][from..(from + long)];
            let (_, acts) = scene.submit(&path(part), &part[skip.min(part.len() - 1)..]);
            for act in &acts {
                if let Act::SendWhenKept(_, LogMessage::Confirmed(all)) = act {
                    for one in all {
                        prop_assert_eq!(*places.entry(one.sequence).or_insert(one.hash), one.hash);
                    }
                }
                if let Act::Forked(proof) = act {
                    prop_assert_eq!(fork::verify(proof), Ok(scene.log()));
                }
            }
            kept.extend(acts);
            if skip == 5 {
                scene.witness = scene.reopened(&kept);
            }
        }
    }

    /// Records cut or changed anywhere are refused or read as something, never a panic.
    #[test]
    fn damaged_records_are_refused(at in 0_usize..400, bit in 0_u8..8, cut: bool) {
        let mut scene = Scene::new();
        let all = entries(&scene.author, START, 1, 2, 0);
        for act in scene.submit_all(&all, 0) {
            let Act::Keep(key, Some(mut value)) = act else { continue };
            let at = at % value.len();
            if cut { value.truncate(at) } else { value[at] ^= 1 << bit }
            let _ = Witness::open([(&key[..], &value[..])]);
            let _ = LogMessage::parse(&value);
        }
    }
}
