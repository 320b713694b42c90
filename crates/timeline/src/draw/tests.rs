use super::*;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use proptest::prelude::*;

fn node(number: u16) -> NodeId {
    NodeId(okapi_seal::hash(&number.to_le_bytes()).0)
}

fn member(number: u16) -> MemberId {
    MemberId([number as u8; 32])
}

/// So many nodes, each of a member of its own.
fn strangers(count: u16) -> Roster {
    Roster::new((0..count).map(|number| (node(number), member(number))))
}

fn list(number: u8) -> Digest {
    Digest([number; 32])
}

#[test]
fn the_same_place_draws_the_same_for_ever() {
    let roster = strangers(100);
    let position = |witness: NodeId| roster.seat_of(witness).unwrap();
    let drawn = |sequence| -> Vec<usize> {
        roster.draw(node(7), sequence, &list(3), DrawBy::Place).iter().map(position).collect()
    };
    let golden: Vec<Vec<usize>> = (1..=5).map(drawn).collect();
    assert_eq!(format!("{golden:?}"), "[[3, 61], [11, 61], [55, 48], [56, 52], [27, 95]]");
}

#[test]
fn few_nodes_are_drawn_as_far_as_they_go() {
    let names = |roster: &Roster| -> Vec<NodeId> { roster.draw(node(0), 1, &list(0), DrawBy::Place).iter().collect() };
    assert_eq!(names(&strangers(1)), []);
    assert_eq!(names(&strangers(2)), [node(1)]);
    let both: BTreeSet<NodeId> = names(&strangers(3)).into_iter().collect();
    assert_eq!(both, BTreeSet::from([node(1), node(2)]));
    assert!(strangers(3).draw(node(9), 1, &list(0), DrawBy::Place).is_empty(), "not in the list");
    // One's own second node is better than nobody, and anyone else is better than it.
    let own = Roster::new([(node(0), member(0)), (node(1), member(0))]);
    assert_eq!(names(&own), [node(1)]);
    let pair = Roster::new([(node(0), member(0)), (node(1), member(0)), (node(2), member(2))]);
    assert_eq!(names(&pair), [node(2), node(1)]);
    // Two nodes of one other member come before one's own.
    let three = [(node(0), member(0)), (node(1), member(0)), (node(2), member(2)), (node(3), member(2))];
    assert_eq!(names(&Roster::new(three)).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([node(2), node(3)]));
}

#[test]
fn everybody_is_drawn_equally_often() {
    let roster = strangers(50);
    let mut counts = BTreeMap::new();
    let mut pairs: BTreeMap<_, u32> = BTreeMap::new();
    for sequence in 1..=49_000 {
        let drawn = roster.draw(node(7), sequence, &list(1), DrawBy::Place);
        drawn.iter().for_each(|witness| *counts.entry(witness).or_insert(0_i64) += 1);
        *pairs.entry(drawn).or_default() += 1;
    }
    assert_eq!(counts.len(), 49);
    assert!(!counts.contains_key(&node(7)));
    // Each of the 49 is expected 2,000 times. Chi-squared with 48 degrees of freedom is below 93 in 9,999 of 10,000.
    let chi: f64 = counts.values().map(|count| ((count - 2000) * (count - 2000)) as f64 / 2000.0).sum();
    assert!(chi < 93.0, "the draw is uneven: chi-squared {chi}");
    assert_eq!(pairs.len(), 49 * 48, "every pair comes up, in both orders");
}

/// What the precaution is worth: an author that wants its two friends as witnesses, and may write what it likes.
#[test]
fn content_can_be_ground_and_places_cannot() {
    let roster = strangers(20);
    let friends = Witnesses([Some(node(3)), Some(node(4))]);
    let wins = |by: fn(u16) -> DrawBy| -> usize {
        (0..2000).filter(|body| roster.draw(node(7), 5, &list(1), by(*body)) == friends).count()
    };
    assert_eq!(wins(|_| DrawBy::Place), 0, "if this place drew the friends, take another for the test");
    assert!(wins(|body| DrawBy::Content(okapi_seal::hash(&body.to_le_bytes()))) > 0);
}

#[test]
fn old_lists_are_remembered_for_a_while() {
    let version = |number: u64| Version { number, digest: list(number as u8) };
    let mut rosters = Rosters::default();
    for number in 1..=ROSTERS_MAX as u64 + 1 {
        rosters.push(version(number), Arc::new(strangers(number as u16)));
    }
    assert_eq!(rosters.get(&version(1)), None);
    assert_eq!(rosters.get(&version(2)), Some(&strangers(2)));
    rosters.push(version(2), Arc::new(strangers(2)));
    assert_eq!((rosters.version(), rosters.present()), (&version(2), &strangers(2)));
    assert_eq!(rosters.recent.len(), ROSTERS_MAX);
}

proptest! {
    #[test]
    fn a_draw_is_of_others_and_of_different_members_if_there_are(
        owners in proptest::collection::vec(0_u16..6, 1..12), sequence in 1_u64.., salt: u8,
    ) {
        let roster = Roster::new((0..).zip(&owners).map(|(number, owner)| (node(number), member(*owner))));
        let whose = |witness: NodeId| roster.seats[roster.seat_of(witness).unwrap()].1;
        let drawn: Vec<NodeId> = roster.draw(node(0), sequence, &list(salt), DrawBy::Place).iter().collect();
        prop_assert_eq!(drawn.len(), WITNESSES.min(owners.len() - 1));
        prop_assert!(!drawn.contains(&node(0)));
        let members: BTreeSet<MemberId> = drawn.iter().map(|witness| whose(*witness)).collect();
        let others: BTreeSet<u16> = owners.iter().copied().filter(|owner| *owner != owners[0]).collect();
        let of_others = owners.iter().filter(|owner| **owner != owners[0]).count();
        let own_drawn = drawn.iter().filter(|witness| whose(**witness) == member(owners[0])).count();
        prop_assert_eq!(own_drawn, drawn.len().saturating_sub(of_others), "own nodes only fill up: {}", String::new());
        prop_assert!(members.len() >= drawn.len().min(others.len()));
    }
}
