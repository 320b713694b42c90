use super::*;
use crate::chain::tests::{entries, key, path};
use crate::draw::{Roster, Rosters};
use crate::limits::{AWAY, HEAD_PATIENCE, HEAD_PATIENCE_MAX, REDRAW_AFTER, RETRY_FIRST, RETRY_MAX, ROUND};
use crate::tally::{Counted, confirm};
use alloc::sync::Arc;
use core::time::Duration;
use okapi_base::MemberId;
use okapi_seal::SigningKey;
use okapi_wire::peer::entry::{Confirmation, Entry, No, PATH_MAX};
use okapi_wire::peer::member::Version;
use proptest::prelude::*;

/// An author, and the keys of the others in its group, whose part the test plays.
struct Scene {
    key: SigningKey,
    rosters: Rosters,
    author: Author,
    now: Moment,
    away: bool,
}

const START: Moment = Moment(Duration::from_secs(1_800_000_000));

fn list(number: u8) -> Version {
    Version { number: u64::from(number), digest: Digest([number; 32]) }
}

fn node(number: u8) -> NodeId {
    NodeId(key(number).public())
}

impl Scene {
    /// An author in a group of so many, the others numbered from 2; it has found that its log is empty.
    fn new(count: u8) -> Self {
        let mut scene = Self::seeking(count, &[]);
        for number in 2..=count {
            scene.answer(number, None);
        }
        assert!(!scene.author.is_seeking());
        scene
    }

    fn seeking(count: u8, records: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let records = records.iter().map(|(key, value)| (&key[..], &value[..]));
        let author = Author::open(node(1), records, true, START).expect("its own records");
        let mut scene = Self { key: key(1), rosters: Rosters::default(), author, now: START, away: false };
        scene.change_list(1, 1..=count);
        scene.wait(Duration::ZERO);
        scene
    }

    fn change_list(&mut self, version: u8, numbers: impl IntoIterator<Item = u8>) {
        let seats = numbers.into_iter().map(|number| (node(number), MemberId([number; 32])));
        self.rosters.push(list(version), Arc::new(Roster::new(seats)));
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Author, &World<'_>) -> R) -> R {
        let away = self.away;
        let is_here = |_| !away;
        let world = World {
            now: self.now,
            key: &self.key,
            rosters: &self.rosters,
            is_here: &is_here,
            is_counted_on: &|_| true,
            by_place: true,
        };
        call(&mut self.author, &world)
    }

    fn acts(&mut self) -> Vec<Act> {
        core::iter::from_fn(|| self.author.poll()).collect()
    }

    fn wait(&mut self, long: Duration) -> Vec<Act> {
        self.now = Moment(self.now.0 + long);
        self.call(Author::go_on);
        self.acts()
    }

    /// Writes entries, makes them durable, and waits until they are submitted.
    fn write(&mut self, count: usize) -> Vec<Act> {
        for _ in 0..count {
            self.call(|author, world| author.append(world, 9, b"said".to_vec())).unwrap();
        }
        self.acts();
        let last = self.author.last_sequence();
        self.call(|author, world| author.kept(world, last));
        self.wait(ROUND)
    }

    fn answer(&mut self, number: u8, head: Option<SignedHeader>) -> Vec<Act> {
        let nonce = START.0.as_millis() as u64;
        assert!(self.call(|author, world| author.told_head(world, node(number), nonce, head.as_ref())));
        self.acts()
    }

    fn confirmation(&self, number: u8, sequence: u64, list: Version) -> Confirmation {
        let line = &self.author.lines[&sequence];
        confirm(&key(number), &line.head.header, line.hash, list)
    }

    fn confirm(&mut self, all: &[Confirmation]) -> Counted {
        self.call(|author, world| author.confirmed(world, all))
    }
}

/// Who was sent entries, and which.
fn submitted(acts: &[Act]) -> Vec<(NodeId, Vec<u64>)> {
    let sequences = |entries: &[Entry]| entries.iter().map(|entry| entry.head.header.sequence).collect();
    let submit = |act: &Act| match act {
        Act::Send(to, LogMessage::Submit { entries, .. }) => Some((*to, sequences(entries))),
        _ => None,
    };
    acts.iter().filter_map(submit).collect()
}

#[test]
fn what_is_written_is_durable_before_it_is_told() {
    let mut scene = Scene::new(3);
    scene.call(|author, world| author.append(world, 9, b"said".to_vec())).unwrap();
    let acts = scene.acts();
    assert!(matches!(&acts[..], [Act::Keep(_, Some(_)), Act::TellWhenKept(1)]), "{acts:?}");
    assert_eq!(scene.author.head().0, 0);
    assert_eq!(submitted(&scene.wait(RETRY_MAX)), []);
    scene.author.asked_head(node(2), 1);
    assert!(matches!(&scene.acts()[..], [Act::Send(_, LogMessage::Head { head: None, .. })]));
    scene.call(|author, world| author.kept(world, 1));
    assert_eq!(scene.author.head().0, 1);
    assert_eq!(submitted(&scene.wait(ROUND)).len(), 2);
    assert_eq!(scene.author.unwitnessed(), 1);
    for number in [2, 3] {
        let one = scene.confirmation(number, 1, list(1));
        assert_eq!(scene.confirm(&[one]), Counted::New);
    }
    assert_eq!(scene.author.unwitnessed(), 0);
    assert!(scene.author.lines().all(|line| line.settled && line.tally.confirmations().len() == 2));
    assert_eq!(scene.author.wake_at(), None, "nothing is left to do");
}

#[test]
fn a_silent_witness_is_asked_ever_later_and_at_once_when_it_is_back() {
    let mut scene = Scene::new(2);
    assert_eq!(submitted(&scene.write(1)), [(node(2), [1].into())]);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let next = scene.author.wake_at().expect("it asks again");
        waits.push(next.0 - scene.now.0);
        assert_eq!(submitted(&scene.wait(next.0 - scene.now.0)).len(), 1);
    }
    assert_eq!(waits[..3], [RETRY_FIRST, RETRY_FIRST * 2, RETRY_FIRST * 4]);
    assert_eq!(waits[11], RETRY_MAX);
    scene.away = true;
    assert_eq!(submitted(&scene.wait(RETRY_MAX)), []);
    assert_eq!(scene.author.wake_at(), Some(Moment(scene.now.0 + AWAY)));
    scene.away = false;
    scene.call(|author, world| author.came_back(world, node(2)));
    assert_eq!(submitted(&scene.acts()).len(), 1);
}

#[test]
fn witnesses_that_part_or_know_another_list_are_drawn_anew() {
    let mut scene = Scene::new(4);
    let first = submitted(&scene.write(1));
    let [one, other] = [first[0].0, first[1].0];
    let numbers = |without: NodeId| (1..=4).filter(move |number| node(*number) != without);
    scene.change_list(2, numbers(one));
    let again = submitted(&scene.wait(ROUND));
    let again: Vec<NodeId> =
        [again, submitted(&scene.wait(RETRY_FIRST))].concat().into_iter().map(|(to, _)| to).collect();
    assert!(again.len() == 2 && !again.contains(&one), "{again:?}");
    // One that does not know the list waits until there is another, or it does.
    scene.call(|author, world| author.refused(world, other, 1, No::UnknownList));
    assert_eq!(submitted(&scene.wait(ROUND)), []);
    scene.change_list(3, 1..=4);
    scene.call(|author, world| author.refused(world, other, 1, No::UnknownList));
    let acts = [scene.acts(), scene.wait(ROUND), scene.wait(RETRY_MAX)].concat();
    assert!(!submitted(&acts).is_empty());
    assert_eq!(scene.author.unwitnessed(), 1);
    // Silence alone is reason enough after a day, once the list has changed.
    scene.change_list(4, 1..=4);
    scene.wait(REDRAW_AFTER);
    let acts = scene.wait(ROUND);
    let lists = acts.iter().filter_map(|act| match act {
        Act::Send(_, LogMessage::Submit { list, .. }) => Some(*list),
        _ => None,
    });
    assert!(lists.clone().count() > 0 && lists.into_iter().all(|drawn| drawn == list(4)));
}

#[test]
fn one_that_is_alone_writes_and_is_witnessed_later() {
    let mut scene = Scene::seeking(1, &[]);
    assert!(!scene.author.is_seeking(), "there is nobody to ask");
    assert_eq!(submitted(&scene.write(300)), []);
    assert_eq!((scene.author.unwitnessed(), scene.author.wake_at()), (300, None));
    scene.change_list(2, 1..=2);
    scene.wait(Duration::ZERO);
    assert_eq!(submitted(&scene.wait(ROUND)), [(node(2), (1..=256).collect())]);
    let all: Vec<Confirmation> = (1..=256).map(|sequence| scene.confirmation(2, sequence, list(2))).collect();
    assert_eq!(scene.confirm(&all), Counted::New);
    assert_eq!(submitted(&scene.acts()), [(node(2), (257..=300).collect())], "the rest at once");
}

#[test]
fn a_witness_that_lies_gains_nothing() {
    let mut scene = Scene::new(3);
    scene.write(2);
    let good = scene.confirmation(2, 1, list(1));
    let other = NodeId([7; 32]);
    for bad in [
        Confirmation { signature: [0; 64], ..good },
        Confirmation { hash: Digest([7; 32]), ..good },
        Confirmation { sequence: 2, ..good },
        Confirmation { log: other, ..good },
        scene.confirmation(9, 1, list(1)),
    ] {
        assert_eq!(scene.confirm(&[bad]), Counted::Bad, "{bad:?}");
    }
    assert_eq!(scene.author.unwitnessed(), 2);
    // Telling other last entries again and again does not keep the author busy.
    let mut sent = 0;
    for round in 0..1000_u64 {
        scene.call(|author, world| author.told_known(world, node(2), round % 7, Digest([round as u8; 32])));
        scene.call(|author, world| author.refused(world, node(2), 1, No::UnknownList));
        sent += scene.acts().len();
    }
    assert!(sent < 20, "{sent} messages for a thousand lies");
    assert!(!scene.author.is_seeking(), "an unsigned word is no reason to stop writing");
    let forged = SignedHeader { header: scene.author.lines[&1].head.header, signature: [0; 64] };
    assert!(!scene.call(|author, world| author.told_head(world, node(2), 0, Some(&forged))));
    let foreign = entries(&key(5), Digest([0; 32]), 1, 2, 0);
    assert!(!scene.call(|author, world| author.told_entries(world, node(2), 0, 2, foreign.clone())));
    assert!(!scene.call(|author, world| author.told_path(world, &path(&foreign), foreign[1].head.signature)));
}

#[test]
fn the_way_to_a_witness_far_behind_goes_in_pieces() {
    let mut scene = Scene::seeking(1, &[]);
    scene.write(PATH_MAX * 2 + 50);
    scene.change_list(2, 1..=2);
    scene.wait(Duration::ZERO);
    scene.wait(ROUND);
    // The witness has witnessed the first, and nothing for a long time.
    let one = scene.confirmation(2, 1, list(2));
    for sequence in 2..=PATH_MAX as u64 * 2 {
        scene.author.asks.forget(sequence);
    }
    scene.confirm(&[one]);
    let mut known = 1;
    loop {
        let acts = scene.acts();
        let Some(Act::Send(_, LogMessage::Advance { path, .. })) = acts.last() else {
            assert_eq!(submitted(&acts), [(node(2), (PATH_MAX as u64 * 2 + 1..=PATH_MAX as u64 * 2 + 50).collect())]);
            break;
        };
        assert_eq!(path.first.sequence, known);
        known += path.rest.len() as u64;
        let hash = scene.author.lines[&known].hash;
        scene.call(|author, world| author.told_known(world, node(2), known, hash));
    }
    assert_eq!(known, 1 + 2 * (PATH_MAX as u64 - 1));
}

#[test]
fn the_end_of_the_log_is_known_when_enough_have_answered() {
    let own = entries(&key(1), Digest([0; 32]), 1, 3, 0);
    let draft = |scene: &mut Scene| scene.call(|author, world| author.append(world, 9, b"said".to_vec())).unwrap();
    // All of them, at once.
    let mut scene = Scene::seeking(4, &[]);
    draft(&mut scene);
    scene.answer(2, None);
    scene.answer(3, None);
    assert!(scene.author.is_seeking());
    assert_eq!((scene.author.drafts(), scene.author.lines.len()), (1, 0));
    // All but one, with patience.
    scene.wait(HEAD_PATIENCE);
    assert!(!scene.author.is_seeking());
    assert_eq!((scene.author.drafts(), scene.author.lines.len()), (0, 1));
    // A single one, with much patience, if anything of the log is known here; else never.
    let mut alone = Scene::seeking(1, &[]);
    draft(&mut alone);
    let known: Vec<(Vec<u8>, Vec<u8>)> = alone
        .acts()
        .into_iter()
        .filter_map(|act| if let Act::Keep(key, Some(value)) = act { Some((key, value)) } else { None })
        .collect();
    for (known, ends) in [(known.as_slice(), true), (&[], false)] {
        let mut scene = Scene::seeking(4, known);
        scene.answer(2, None);
        scene.wait(HEAD_PATIENCE);
        assert!(scene.author.is_seeking());
        scene.wait(HEAD_PATIENCE_MAX);
        assert_eq!(scene.author.is_seeking(), !ends);
    }
    // Nobody: never.
    let mut scene = Scene::seeking(4, &[]);
    draft(&mut scene);
    let mut records = scene.acts();
    scene.wait(HEAD_PATIENCE_MAX * 10);
    assert!(scene.author.is_seeking());
    // What waits is durable, and is written behind the end when that is found.
    records.retain(|act| matches!(act, Act::Keep(..)));
    let kept: Vec<(Vec<u8>, Vec<u8>)> = records
        .into_iter()
        .filter_map(|act| if let Act::Keep(key, Some(value)) = act { Some((key, value)) } else { None })
        .collect();
    let mut scene = Scene::seeking(2, &kept);
    assert_eq!(scene.author.drafts(), 1);
    let acts = scene.answer(2, Some(own[2].head));
    assert!(matches!(&acts[..], [Act::Send(_, LogMessage::AskEntries { from: 1, to: 3, .. })]), "{acts:?}");
    let nonce = START.0.as_millis() as u64;
    assert!(scene.call(|author, world| author.told_entries(world, node(2), nonce, 3, own.clone())));
    assert_eq!(scene.author.lines.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(scene.author.lines[&4].head.header.previous, scene.author.lines[&3].hash);
}

#[test]
fn it_keeps_so_much_and_no_more() {
    let mut scene = Scene::seeking(1, &[]);
    for _ in 0..OWN_ENTRIES_MAX + 10 {
        scene.call(|author, world| author.append(world, 9, Vec::new())).unwrap();
    }
    let kept: alloc::collections::BTreeSet<Vec<u8>> =
        scene.acts().into_iter().fold(Default::default(), |mut all, act| {
            match act {
                Act::Keep(key, Some(_)) => all.insert(key),
                Act::Keep(key, None) => all.remove(&key),
                _ => false,
            };
            all
        });
    assert_eq!((scene.author.lines.len(), kept.len()), (OWN_ENTRIES_MAX, OWN_ENTRIES_MAX));
    assert_eq!(scene.author.last_sequence() as usize, OWN_ENTRIES_MAX + 10);
    let long = scene.call(|author, world| author.append(world, 9, alloc::vec![0; ENTRY_BODY_MAX + 1]));
    assert_eq!(long, Err(AppendError::TooLong { bytes: ENTRY_BODY_MAX + 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Records cut or changed anywhere are refused or read as something, never a panic.
    #[test]
    fn damaged_records_are_refused(at in 0_usize..600, bit in 0_u8..8, cut: bool) {
        let mut scene = Scene::new(3);
        scene.call(|author, world| author.append(world, 9, b"said".to_vec())).unwrap();
        scene.acts();
        scene.call(|author, world| author.kept(world, 1));
        let one = scene.confirmation(2, 1, list(1));
        scene.confirm(&[one]);
        for act in scene.acts() {
            let Act::Keep(key, Some(mut value)) = act else { continue };
            let at = at % value.len();
            if cut { value.truncate(at) } else { value[at] ^= 1 << bit }
            let _ = Author::open(node(1), [(&key[..], &value[..])], true, START);
        }
    }
}
