//! Repair: what is lost is found, only that is moved, and from where it costs least.

use crate::world::*;
use okapi_base::{SegmentName, Shape};
use okapi_peers::{Event, Input, ShardId, Thing};
use okapi_wire::peer::letter::Body;
use std::time::Duration;

/// A world of so many nodes with one segment of node 0, in the shape that they allow, and letters seen from then on.
fn world(count: usize, bytes: usize, shape: Shape) -> (World, SegmentName) {
    let mut world = World::group(count);
    let name = world.put(0, bytes);
    assert!(world.run_until(DAY, |world| world.is_complete(0, name, shape)), "{:?}", world.holders(0, name));
    world.settle(DAY);
    world.traffic.clear();
    (world, name)
}

fn shard(world: &World, name: SegmentName, shape: Shape, index: usize) -> ShardId {
    ShardId { owner: world.nodes[0].id, segment: name, k: shape.k() as u8, index: index as u8 }
}

/// Bytes of shards that were placed.
fn placed(world: &World) -> u64 {
    world.traffic.get(&12).map_or(0, |(_, bytes)| *bytes)
}

/// Bytes of shards that were fetched.
fn fetched(world: &World) -> u64 {
    world.traffic.get(&19).map_or(0, |(_, bytes)| *bytes)
}

fn repaired(world: &World, at: usize) -> Vec<(u32, u64, u64)> {
    let figures = |event: &Event| match event {
        Event::Repaired { shards, read, sent, .. } => Some((*shards, *read, *sent)),
        _ => None,
    };
    world.nodes[at].events.iter().filter_map(figures).collect()
}

#[test]
fn what_a_scrub_finds_damaged_is_made_from_the_live_segment() {
    let (mut world, name) = world(7, 10_000, Shape::TwoOfSix);
    let holder = world.holders(0, name)[3].expect("it lies");
    let lost = shard(&world, name, Shape::TwoOfSix, 3);
    world.damage(holder, lost);
    assert!(world.run_until(HOUR, |world| !repaired(world, 0).is_empty()));
    world.settle(HOUR);
    assert_eq!(repaired(&world, 0), [(1, 0, 5_000)]);
    assert_eq!((placed(&world), fetched(&world)), (5_000, 0), "one shard, from the live segment");
    assert_eq!(world.survives(0, name), Some(4));
}

#[test]
fn what_vanishes_is_found_by_audit() {
    let (mut world, name) = world(7, 10_000, Shape::TwoOfSix);
    let holder = world.holders(0, name)[1].expect("it lies");
    world.nodes[holder].disk.shards.clear();
    world.sent = Some(Vec::new());
    // After it admitted the loss it is given nothing for a day, and there is nobody else.
    assert!(world.run_until(6 * DAY, |world| !repaired(world, 0).is_empty()));
    let admits = |sent: &&Sent| sent.payload.is_empty() && matches!(sent.body(), Body::Proof(..));
    let admitted: Vec<_> = world.sent.iter().flatten().filter(admits).map(|sent| (sent.from, sent.to)).collect();
    assert_eq!(admitted, [(holder, 0)]);
    assert!(!world.nodes[0].events.iter().any(|event| matches!(event, Event::Caught { .. })), "it did not lie");
    assert_eq!((placed(&world), fetched(&world)), (5_000, 0));
}

#[test]
fn what_a_holder_says_it_has_not_is_repaired() {
    let (mut world, name) = world(7, 10_000, Shape::TwoOfSix);
    let holder = world.holders(0, name)[5].expect("it lies");
    let lost = shard(&world, name, Shape::TwoOfSix, 5);
    // The letter that says so is lost as well: books that differ bring it out.
    world.cut.insert((holder, 0));
    world.damage(holder, lost);
    world.run(SECOND);
    world.cut.clear();
    assert!(world.run_until(DAY, |world| !repaired(world, 0).is_empty()), "nobody noticed");
    world.settle(HOUR);
    assert_eq!(world.survives(0, name), Some(4));
}

#[test]
fn a_node_that_is_gone_is_replaced_after_its_grace_and_only_its_shards_move() {
    let (mut world, _) = world(8, 10_000, Shape::TwoOfSix);
    let names: Vec<SegmentName> = (0..4).map(|_| world.put(0, 10_000)).collect();
    world.settle(DAY);
    let victim = world.holders(0, names[0])[0].expect("it lies");
    let mine = |shard: &ShardId| shard.owner == world.nodes[0].id;
    let lost = world.nodes[victim].disk.shards.keys().filter(|shard| mine(shard)).count() as u64;
    world.traffic.clear();
    world.crash(victim);
    world.nodes[victim].disk.shards.clear();
    world.run(12 * HOUR);
    assert_eq!(placed(&world), 0, "half a day is nothing unusual");
    let whole = |world: &World| names.iter().all(|name| world.survives(0, *name) == Some(4));
    assert!(world.run_until(10 * DAY, whole));
    world.run(DAY);
    assert_eq!((placed(&world), fetched(&world)), (lost * 5_000, 0));
}

#[test]
fn a_live_segment_that_is_lost_comes_back_from_k_shards() {
    let (mut world, name) = world(7, 10_000, Shape::TwoOfSix);
    let content = world.nodes[0].disk.segments.remove(&name).expect("it was there");
    world.input(0, Input::Damaged(Thing::Segment(name)));
    assert!(world.run_until(HOUR, |world| world.nodes[0].disk.segments.contains_key(&name)));
    assert_eq!(world.nodes[0].disk.segments[&name], content);
    world.settle(HOUR);
    assert_eq!((fetched(&world), placed(&world)), (10_000, 0), "k shards, and nothing else");
}

#[test]
fn without_the_live_segment_a_repair_costs_k_fetches_and_the_missing_shard() {
    let (mut world, name) = world(7, 10_000, Shape::TwoOfSix);
    let holder = world.holders(0, name)[3].expect("it lies");
    world.nodes[0].disk.segments.remove(&name);
    let lost = shard(&world, name, Shape::TwoOfSix, 3);
    world.damage(holder, lost);
    assert!(world.run_until(HOUR, |world| !repaired(world, 0).is_empty()));
    world.settle(HOUR);
    assert_eq!((fetched(&world), placed(&world)), (10_000, 5_000));
}

#[test]
fn two_failures_during_a_repair_do_not_restart_it() {
    let (mut world, name) = world(19, 40_000, Shape::FourOfTwelve);
    let holders: Vec<usize> = world.holders(0, name).into_iter().flatten().collect();
    for at in 1..19 {
        world.nodes[at].pace = |_| MINUTE;
    }
    for at in &holders[..3] {
        world.crash(*at);
        world.nodes[*at].disk.shards.clear();
    }
    // Once the first of the three is there again, two of those that are being asked fail too.
    let placed_one = |world: &World| placed(world) >= 10_000;
    assert!(world.run_until(10 * DAY, placed_one));
    let asked: Vec<usize> = (1..19)
        .filter(|at| world.nodes[*at].peer.as_ref().is_some_and(|peer| peer.books().sums().reserved > 0))
        .collect();
    assert_eq!(asked.len(), 3, "three are asked at once");
    for at in &asked[..2] {
        world.crash(*at);
        world.nodes[*at].disk.shards.clear();
    }
    let whole = |world: &World| world.survives(0, name) == Some(8);
    assert!(world.run_until(10 * DAY, whole), "{:?}", world.survives(0, name));
    world.run(DAY);
    // Three were lost, and two more on their way: no shard goes to one who has it, none is made twice.
    assert!(placed(&world) <= 5 * 10_000, "{} bytes were sent", placed(&world));
    assert_eq!(fetched(&world), 0);
}

#[test]
fn sources_that_fail_cost_one_more_fetch_each() {
    let (mut world, name) = world(13, 40_000, Shape::FourOfTwelve);
    for at in 1..13 {
        world.nodes[at].pace = |_| SECOND;
    }
    world.nodes[0].disk.segments.remove(&name);
    world.sent = Some(Vec::new());
    world.input(0, Input::Damaged(Thing::Segment(name)));
    let asked = |world: &World| -> Vec<usize> {
        let all = world.sent.as_ref().expect("letters are seen");
        all.iter().filter(|sent| matches!(sent.body(), Body::Fetch(_))).map(|sent| sent.to).collect()
    };
    let first = asked(&world);
    assert_eq!(first.len(), 4);
    world.crash(first[0]);
    world.crash(first[1]);
    assert!(world.run_until(DAY, |world| world.nodes[0].disk.segments.contains_key(&name)));
    assert_eq!(asked(&world).len(), 6);
    assert_eq!(fetched(&world), 40_000, "what had come was not fetched again");
}

#[test]
fn a_shape_that_is_older_than_the_group_is_repaired_after_a_restart() {
    // The owner knows the placement of the present shape only; the segment has another, and its list never rests.
    let (mut world, name) = world(7, 10_000, Shape::TwoOfSix);
    let holder = world.holders(0, name)[2].expect("it lies");
    for at in (1..7).filter(|at| *at != holder).take(2) {
        world.crash(at);
        world.nodes[at].disk.shards.clear();
    }
    world.run(5 * DAY);
    world.crash(0);
    world.run(SECOND);
    world.open(0);
    let newcomer = world.add();
    let order = world.ticket(0, 9);
    world.order(newcomer, order);
    let whole = |world: &World| world.survives(0, name) >= Some(3);
    assert!(world.run_until(5 * DAY, whole), "{:?} {:?}", world.survives(0, name), world.holders(0, name));
}

#[test]
fn nothing_moves_when_nothing_changes() {
    let (mut world, _) = world(7, 10_000, Shape::TwoOfSix);
    world.run(Duration::from_secs(30 * 24 * 3600));
    assert_eq!((placed(&world), fetched(&world)), (0, 0));
}
