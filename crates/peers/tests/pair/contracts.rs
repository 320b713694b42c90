//! Contracts and caps: no half ever overflows, nobody places more than it is good for, and what is agreed is renewed.

use crate::world::*;
use okapi_base::{NodeId, SegmentName, Shape};
use okapi_peers::contract::{self, TERM_MS};
use okapi_peers::{Input, Peer};
use okapi_wire::peer::contract::Side;
use okapi_wire::peer::letter::{Body, Letter};
use std::time::Duration;

fn terms(peer: &Peer, holder: NodeId) -> Option<okapi_wire::peer::contract::Terms> {
    peer.books().pair(&holder).and_then(|pair| pair.lent()).map(|lent| lent.contract.terms)
}

#[test]
fn a_server_half_never_overflows_however_many_offer_at_once() {
    let mut world = World::group(6);
    // Room for eight shards; five owners offer five each at the same moment, and the disk is slow.
    let small = world.add_with(1 << 20, 8 * 10_000);
    world.join(small, 0);
    world.nodes[small].pace = |_| 3 * SECOND;
    world.run(HOUR);
    for at in 0..6 {
        for _ in 0..5 {
            world.put(at, 20_000);
        }
    }
    let mut most = 0;
    let ended = world.run_until(2 * DAY, |world| {
        most = most.max(world.nodes[small].disk.used);
        let all_safe = (0..6).all(|at| world.peer(at).segments().all(|segment| segment.safe));
        all_safe && world.is_quiet() && world.faults().is_empty()
    });
    assert!(most <= 80_000, "{most} bytes lay there");
    assert!(most >= 40_000, "it was used at all: {most}");
    assert!(ended, "{:#?}", world.faults());
    // What is given back makes room again, and still nothing overflows while bytes are being dropped.
    let names: Vec<(usize, SegmentName)> = (0..6)
        .flat_map(|at| world.peer(at).segments().map(move |segment| (at, segment.name)).collect::<Vec<_>>())
        .collect();
    for (at, name) in names.iter().filter(|(at, _)| at % 2 == 0) {
        world.nodes[*at].disk.segments.remove(name);
        world.input(*at, Input::Released { segment: *name });
    }
    for at in [1, 3, 5] {
        for _ in 0..4 {
            world.put(at, 20_000);
        }
    }
    world.run_until(2 * DAY, |world| {
        most = most.max(world.nodes[small].disk.used);
        false
    });
    assert!(most <= 80_000, "{most} bytes lay there");
    assert_eq!(world.faults(), [""; 0]);
}

#[test]
fn contracts_are_renewed_for_as_long_as_they_are_needed() {
    let mut world = World::group(3);
    let name = world.put(0, 20_000);
    world.settle(DAY);
    let holder = world.nodes[1].id;
    let first = terms(world.peer(0), holder).expect("there is a contract");
    let mut ends = vec![first.until];
    let mut lapsed = false;
    world.run_until(200 * DAY, |world| {
        let now = terms(world.peer(0), holder).expect("there always is one");
        if now.until != ends[ends.len() - 1] {
            ends.push(now.until);
        }
        lapsed |= u128::from(now.until) <= world.now.0.as_millis();
        false
    });
    assert!(!lapsed);
    assert!((4..=5).contains(&ends.len()), "renewed after two thirds of {TERM_MS} ms each: {ends:?}");
    assert_eq!(world.survives(0, name), Some(2));
    assert_eq!(world.faults(), [""; 0]);
}

#[test]
fn who_holds_nothing_for_others_places_no_more_than_its_line() {
    let mut world = World::group(4);
    // It promises 400,000 bytes, of which a quarter is its line, and the others give it nothing to hold.
    let taker = world.add_with(1 << 30, 400_000);
    world.join(taker, 0);
    world.run(HOUR);
    for _ in 0..40 {
        world.put(taker, 10_000);
    }
    let at = |world: &World, holder: usize| world.nodes[holder].disk.used;
    world.run(10 * DAY);
    let most = (0..4).map(|holder| at(&world, holder)).max().expect("there are four");
    assert!(most <= 100_000, "one holder took {most} bytes of it");
    assert!(most >= 60_000, "and its line is what it may have: {most}");
    let in_all: u64 = (0..4).map(|holder| at(&world, holder)).sum();
    world.run(60 * DAY);
    assert!((0..4).map(|holder| at(&world, holder)).sum::<u64>() <= in_all, "it grew without holding anything");
}

#[test]
fn what_found_no_room_is_placed_as_soon_as_more_is_promised() {
    let mut world = World::group(2);
    let small = world.add_with(1 << 20, 30_000);
    world.join(small, 0);
    world.run(HOUR);
    let names: Vec<SegmentName> = (0..6).map(|_| world.put(0, 20_000)).collect();
    world.run(HOUR);
    let safe = |world: &World| names.iter().filter(|name| world.safe(0, **name).is_some()).count();
    assert!(safe(&world) < names.len(), "there is no room for all of them");
    world.nodes[small].disk.room = 1 << 20;
    world.order(small, okapi_peers::Order::Promise { bytes: 1 << 20 });
    assert!(world.run_until(MINUTE, |world| safe(world) == names.len()), "{} are safe", safe(&world));
}

#[test]
fn an_ended_contract_is_emptied_and_then_struck_out() {
    let mut world = World::group(6);
    let name = world.put(0, 20_000);
    world.settle(DAY);
    let ender = world.holders(0, name)[0].expect("it lies");
    let peer = world.peer(ender);
    let granted = peer.books().pair(&world.nodes[0].id).and_then(|pair| pair.granted()).expect("it signed");
    let key = identity(ender as u8 + 1).signing;
    let ending = contract::end(world.now, &granted.contract, Side::Holder, &key);
    // Its own node would send this; here the letter is written for it.
    let stamp = world.now.0.as_millis() as u64;
    let letter = Letter { session: stamp, number: 1, stamp, body: Body::End(ending) };
    let from = world.nodes[ender].id;
    world.crash(ender);
    world.input(0, Input::Received { from, letter: letter.to_bytes(), payload: [].into() });
    world.run(Duration::from_millis(5));
    world.open(ender);
    let moved =
        |world: &World| !world.holders(0, name).contains(&Some(ender)) && world.is_complete(0, name, Shape::OneOfThree);
    assert!(world.run_until(5 * DAY, moved), "{:?}", world.holders(0, name));
    assert!(world.survives(0, name) >= Some(2));
    // Both sides keep to it: nothing goes there any more.
    let more: Vec<SegmentName> = (0..6).map(|_| world.put(0, 10_000)).collect();
    world.run(20 * DAY);
    assert!(more.iter().all(|name| !world.holders(0, *name).contains(&Some(ender))));
}
