//! Restoring: a new disk and the old keys, and any one member who answers.

use crate::world::*;
use crate::yard::Honesty;
use okapi_base::{SegmentName, Shape};
use okapi_peers::{Blob, Event, Order};
use std::collections::BTreeMap;

/// A group of eight; node 0 has made some segments, one of another shape than the others, and given one back.
fn world() -> (World, BTreeMap<SegmentName, Blob>) {
    let mut world = World::group(4);
    let old = world.put(0, 7_000);
    let released = world.put(0, 5_000);
    world.settle(DAY);
    for _ in 4..8 {
        world.welcome();
    }
    for _ in 0..6 {
        world.put(0, 10_000);
    }
    world.nodes[0].disk.segments.remove(&released);
    world.input(0, okapi_peers::Input::Released { segment: released });
    world.put(3, 9_000);
    let names: Vec<SegmentName> = world.nodes[0].disk.segments.keys().copied().collect();
    assert!(world.run_until(DAY, |world| names.iter().all(|name| world.is_complete(0, *name, Shape::TwoOfSix))));
    world.settle(DAY);
    assert!(names.contains(&old) && !names.contains(&released));
    let content = world.nodes[0].disk.segments.clone();
    (world, content)
}

fn done(world: &World, at: usize) -> Option<(u32, Vec<SegmentName>)> {
    world.nodes[at].events.iter().rev().find_map(|event| match event {
        Event::RestoreDone { restored, waiting } => Some((*restored, waiting.clone())),
        _ => None,
    })
}

fn all_back(world: &World, content: &BTreeMap<SegmentName, Blob>) -> bool {
    world.nodes[0].disk.segments == *content
}

#[test]
fn everything_comes_back_by_any_one_member_keys_too() {
    let (mut world, content) = world();
    let keys = world.nodes[0].keys.clone();
    world.burn(0);
    let via = world.nodes[6].id;
    world.order(0, Order::Restore { via });
    assert!(world.run_until(DAY, |world| done(world, 0).is_some()));
    assert_eq!(done(&world, 0), Some((content.len() as u32, vec![])));
    assert!(all_back(&world, &content));
    for name in content.keys() {
        let key = world.nodes[0].events.iter().find_map(|event| match event {
            Event::Restored { segment, key } if segment == name => Some(key.clone()),
            _ => None,
        });
        assert_eq!(key.as_ref(), keys.get(name), "the wrapped key of each comes with it");
        world.nodes[0].keys.insert(*name, keys[name].clone());
    }
    // What it held for others is lost with its disk, and they notice.
    world.settle(5 * DAY);
    assert!(content.keys().all(|name| world.survives(0, *name) == Some(4)));
    // It goes on as before.
    let next = world.put(0, 4_000);
    assert!(world.run_until(DAY, |world| world.safe(0, next).is_some()));
    world.settle(DAY);
}

#[test]
fn what_cannot_be_fetched_yet_is_named_and_comes_by_itself() {
    let (mut world, content) = world();
    world.burn(0);
    for at in 2..8 {
        world.crash(at);
    }
    let via = world.nodes[1].id;
    world.order(0, Order::Restore { via });
    assert!(world.run_until(DAY, |world| done(world, 0).is_some()), "it says what waits");
    let (restored, waiting) = done(&world, 0).expect("it was just seen");
    assert_eq!(restored as usize + waiting.len(), world.peer(0).segments().count());
    assert!(!waiting.is_empty() && !all_back(&world, &content));
    for at in 2..8 {
        world.run(HOUR);
        world.open(at);
    }
    assert!(world.run_until(DAY, |world| all_back(world, &content)), "{:?}", done(&world, 0));
    assert!(world.run_until(HOUR, |world| done(world, 0) == Some((content.len() as u32, vec![]))));
}

#[test]
fn holders_that_serve_other_bytes_are_caught_and_the_rest_suffices() {
    let (mut world, content) = world();
    world.burn(0);
    let liars = [2, 4, 6];
    for at in liars {
        world.nodes[at].disk.honesty = Honesty::Swaps;
    }
    let via = world.nodes[1].id;
    world.order(0, Order::Restore { via });
    assert!(world.run_until(DAY, |world| all_back(world, &content)), "{:?}", done(&world, 0));
    let node = |event: &Event| if let Event::Caught { node, .. } = event { Some(world.at(*node)) } else { None };
    let caught: Vec<usize> = world.nodes[0].events.iter().filter_map(node).collect();
    assert!(!caught.is_empty() && caught.iter().all(|at| liars.contains(at)), "{caught:?}");
}

#[test]
fn a_restore_goes_on_after_a_restart_at_any_step() {
    for after in [3, 20, 40, 60, 90, 120, 160, 200] {
        let (mut world, content) = world();
        let keys = world.nodes[0].keys.clone();
        world.burn(0);
        world.nodes[0].keys = keys;
        let via = world.nodes[1].id;
        world.order(0, Order::Restore { via });
        let until = okapi_base::machine::Moment(world.now.0 + HOUR);
        let mut inputs = 0;
        while inputs < after && !all_back(&world, &content) {
            inputs += usize::from(world.step(until) == Some(0));
        }
        world.crash(0);
        world.run(SECOND);
        world.open(0);
        world.order(0, Order::Restore { via });
        assert!(
            world.run_until(DAY, |world| all_back(world, &content)),
            "restarted after {after}: {:?}",
            done(&world, 0)
        );
        world.settle(5 * DAY);
    }
}

#[test]
fn who_cannot_be_reached_is_not_waited_for_with_the_answers() {
    let (mut world, content) = world();
    world.burn(0);
    // Of two of six any two do.
    for at in 4..8 {
        world.crash(at);
    }
    let via = world.nodes[1].id;
    world.order(0, Order::Restore { via });
    assert!(!world.run_until(MINUTE, |world| all_back(world, &content)), "four may still answer");
    for at in 4..8 {
        let node = world.nodes[at].id;
        world.input(0, okapi_peers::Input::Unreached { node });
    }
    assert!(world.run_until(MINUTE, |world| all_back(world, &content)));
    assert_eq!(world.nodes[0].peer.as_ref().unwrap().restore_view().silent, 4, "they may know of more");
}

#[test]
fn what_too_few_had_goes_on_at_once_when_they_come_back() {
    let (mut world, content) = world();
    world.burn(0);
    for at in 2..8 {
        world.crash(at);
    }
    let via = world.nodes[1].id;
    world.order(0, Order::Restore { via });
    world.run(MINUTE);
    for at in 2..8 {
        let node = world.nodes[at].id;
        world.input(0, okapi_peers::Input::Unreached { node });
    }
    assert!(!world.run_until(5 * MINUTE, |world| all_back(world, &content)), "one of two");
    // Of seven others six have a shard of each segment, so of three at least two.
    world.open(3);
    world.open(4);
    assert!(world.run_until(MINUTE, |world| all_back(world, &content)), "{:?}", done(&world, 0));
}
