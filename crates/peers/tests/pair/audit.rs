//! Audits: whoever does not have what it signed for is caught within the number of audits that theory says, and nobody
//! else ever is.

use crate::world::*;
use crate::yard::Honesty;
use okapi_base::Shape;
use okapi_peers::Event;
use okapi_peers::limits::{AUDIT_LEAVES, AUDITS_UNANSWERED};
use okapi_seal::proof::audits_to_find;
use okapi_wire::peer::letter::Body;
use std::collections::BTreeSet;

/// Who was caught.
fn caught(world: &World) -> Vec<usize> {
    let node = |event: &Event| match event {
        Event::Caught { node, .. } => Some(world.at(*node)),
        _ => None,
    };
    world.nodes.iter().flat_map(|all| all.events.iter().filter_map(node)).collect()
}

/// Challenges made to a node, however often each was sent.
fn challenges(world: &World, to: usize) -> u64 {
    let all = world.sent.as_ref().expect("letters are seen");
    let number = |sent: &Sent| match sent.body() {
        Body::Challenge(_, number, _) if sent.to == to => Some((sent.letter[8..16].to_vec(), number)),
        _ => None,
    };
    all.iter().filter_map(number).collect::<BTreeSet<_>>().len() as u64
}

/// A group of five with four segments of node 0; node 4 treats what it holds as it likes.
fn with_a_liar(honesty: Honesty) -> World {
    let mut world = World::group(5);
    world.nodes[4].disk.honesty = honesty;
    for _ in 0..4 {
        let name = world.put(0, 60_000);
        assert!(world.run_until(DAY, |world| world.safe(0, name) == Some(Shape::OneOfThree)));
    }
    assert!(world.peer(4).held().count() > 0, "it holds something");
    world.sent = Some(Vec::new());
    world
}

/// Runs until node 4 is caught, which must be within so many audits of it.
fn is_caught_within(world: &mut World, audits: u64) {
    assert!(world.run_until(60 * DAY, |world| !caught(world).is_empty()), "nobody is caught");
    assert_eq!(caught(world), [4]);
    let asked = challenges(world, 4);
    assert!(asked <= audits, "{asked} audits instead of {audits}");
}

/// Audits that find a holder without this fraction of the leaves, in all but one world of ten thousand.
fn audits(fraction: f64) -> u64 {
    audits_to_find(fraction, 0.9999).div_ceil(AUDIT_LEAVES as u64)
}

/// Runs until node 4 says itself that it has lost something, which must be within so many audits of it. It is no liar,
/// but all of its losses come out within the hour, and others have the shards instead.
fn is_admitted_within(world: &mut World, audits: u64) {
    let admits = |sent: &Sent| {
        (sent.from, sent.to) == (4, 0) && sent.payload.is_empty() && matches!(sent.body(), Body::Proof(..))
    };
    let admitted = |world: &World| world.sent.iter().flatten().any(admits);
    assert!(world.run_until(60 * DAY, admitted), "nothing is admitted");
    let asked = challenges(world, 4);
    assert!(asked <= audits, "{asked} audits instead of {audits}");
    let names: Vec<_> = world.peer(0).segments().map(|segment| segment.name).collect();
    let moved = |world: &World| {
        names.iter().all(|name| !world.holders(0, *name).contains(&Some(4)) && world.survives(0, *name) == Some(2))
    };
    assert!(world.run_until(HOUR, moved), "{:?}", world.holders(0, names[0]));
    assert_eq!(caught(world), [0; 0]);
    assert_eq!(world.peer(0).probes(world.nodes[4].id).1, 0, "whoever admits has not failed");
}

#[test]
fn one_that_throws_away_admits_it_at_once() {
    is_admitted_within(&mut with_a_liar(Honesty::Drops), 1);
}

#[test]
fn one_byte_that_rots_is_admitted_at_once() {
    is_admitted_within(&mut with_a_liar(Honesty::Rots), 1);
}

#[test]
fn one_that_makes_up_what_it_threw_away_is_caught_at_once() {
    is_caught_within(&mut with_a_liar(Honesty::MakesUp), audits(1.0));
}

#[test]
fn one_byte_that_rots_unseen_is_caught_at_once() {
    is_caught_within(&mut with_a_liar(Honesty::RotsUnseen), audits(1.0));
}

#[test]
fn one_that_keeps_half_of_the_leaves_is_caught_soon() {
    is_caught_within(&mut with_a_liar(Honesty::KeepsOneIn(2)), audits(0.5));
}

#[test]
fn one_that_never_answers_is_caught_after_a_few() {
    let mut world = with_a_liar(Honesty::Honest);
    world.fate =
        Box::new(
            |sent| if sent.from == 4 && matches!(sent.body(), Body::Proof(..)) { Fate::Lost } else { Fate::Arrives },
        );
    is_caught_within(&mut world, u64::from(AUDITS_UNANSWERED));
}

#[test]
fn honest_ones_are_never_caught_and_all_are_asked() {
    let mut world = with_a_liar(Honesty::Honest);
    // One is away every night, and one restarts every day: absence is no guilt.
    for _ in 0..20 {
        world.crash(2);
        world.run(10 * HOUR);
        world.open(2);
        world.crash(0);
        world.run(SECOND);
        world.open(0);
        world.run(14 * HOUR);
    }
    assert_eq!(caught(&world), [0; 0]);
    let holders = (1..5).filter(|at| world.peer(*at).held().count() > 0);
    for at in holders {
        assert!(challenges(&world, at) >= 5, "{at} was asked {} times in 20 days", challenges(&world, at));
        assert_eq!(world.peer(0).probes(world.nodes[at].id).1, 0);
    }
}

#[test]
fn what_a_liar_throws_away_is_not_given_to_it_again_and_again() {
    let mut world = with_a_liar(Honesty::Drops);
    world.run(30 * DAY);
    let all = world.sent.as_ref().expect("letters are seen");
    let to_liar = all.iter().filter(|sent| sent.to == 4 && matches!(sent.body(), Body::Place(_))).count();
    assert!(to_liar <= 8, "{to_liar} shards were given to it after it was caught");
    for segment in world.peer(0).segments() {
        assert!(world.survives(0, segment.name) >= Some(2), "{:?}", world.holders(0, segment.name));
    }
}
