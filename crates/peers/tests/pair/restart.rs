//! Restarts: a spatter whose owner or holder is killed after every single input, with and without what it had just
//! written, always ends safe, and leaves nothing behind.

use crate::world::*;
use okapi_base::Shape;
use okapi_base::machine::Moment;
use okapi_peers::Event;
use std::time::Duration;

/// A segment of node 0 of a group of four is spattered while `victim` is killed after its n-th input, whose writes are
/// lost if `torn`. Tells whether there was such an input.
fn spatter_with_a_crash(victim: usize, nth: usize, torn: bool) -> bool {
    let mut world = World::group(4);
    world.run(MINUTE);
    let name = world.put(0, 10_000);
    let until = Moment(world.now.0 + MINUTE);
    let mut inputs = 0;
    let crashed = loop {
        if inputs == nth {
            break true;
        }
        if inputs + 1 == nth {
            world.nodes[victim].held_back = torn;
        }
        match world.step(until) {
            Some(at) => inputs += usize::from(at == victim),
            None => break false,
        }
    };
    let what = format!("{victim} killed after its input {nth}, torn: {torn}");
    world.crash(victim);
    world.run(5 * SECOND);
    world.open(victim);
    let safe = |world: &World| world.peer(0).segments().any(|segment| segment.name == name && segment.safe);
    let whole = |world: &World| world.is_complete(0, name, Shape::OneOfThree) && safe(world);
    assert!(world.run_until(5 * MINUTE, whole), "{what}: {:?}", world.holders(0, name));
    if !world.settles(8 * HOUR) {
        panic!("{what}: quiet {}, {:#?}", world.is_quiet(), world.faults());
    }
    crashed
}

fn at_every_step(victim: usize, torn: bool) {
    let steps = (0..).take_while(|nth| spatter_with_a_crash(victim, *nth, torn)).count();
    assert!(steps > 5, "there were {steps} inputs");
}

#[test]
fn the_owner_is_killed_at_every_step() {
    at_every_step(0, false);
}

#[test]
fn the_owner_is_killed_before_it_has_written_at_every_step() {
    at_every_step(0, true);
}

#[test]
fn a_holder_is_killed_at_every_step() {
    at_every_step(2, false);
}

#[test]
fn a_holder_is_killed_before_it_has_written_at_every_step() {
    at_every_step(2, true);
}

#[test]
fn a_release_is_carried_out_whoever_is_killed_at_whichever_step() {
    for victim in [0, 2] {
        for torn in [false, true] {
            for nth in 0..12 {
                let mut world = World::group(4);
                let name = world.put(0, 10_000);
                world.settle(HOUR);
                world.nodes[0].disk.segments.remove(&name);
                world.input(0, okapi_peers::Input::Released { segment: name });
                let mut inputs = 0;
                let until = Moment(world.now.0 + MINUTE);
                while inputs < nth {
                    if inputs + 1 == nth {
                        world.nodes[victim].held_back = torn;
                    }
                    match world.step(until) {
                        Some(at) => inputs += usize::from(at == victim),
                        None => break,
                    }
                }
                world.crash(victim);
                world.run(5 * SECOND);
                world.open(victim);
                // A store that was told to release says so again if it finds the segment released.
                world.input(0, okapi_peers::Input::Released { segment: name });
                let gone = |world: &World| {
                    world.peer(0).segments().all(|segment| segment.name != name)
                        && world.nodes.iter().all(|node| node.disk.shards.is_empty())
                };
                assert!(world.run_until(8 * HOUR, gone), "{victim} killed after {nth} inputs, torn: {torn}");
                world.settle(8 * HOUR);
            }
        }
    }
}

#[test]
fn room_that_was_reserved_for_what_never_came_is_free_again() {
    // The holder restarts while a shard is on its way, and stays away until the owner has found another.
    let mut world = World::group(5);
    let name = world.put(0, 10_000);
    let reserved = |world: &World| (1..5).find(|at| world.peer(*at).books().sums().reserved > 0);
    assert!(world.run_until(HOUR, |world| reserved(world).is_some()));
    let holder = reserved(&world).expect("it was just seen");
    world.crash(holder);
    assert!(world.run_until(5 * HOUR, |world| world.is_complete(0, name, Shape::OneOfThree)));
    assert!(!world.holders(0, name).contains(&Some(holder)));
    world.open(holder);
    world.settle(8 * HOUR);
    assert_eq!(world.peer(holder).books().sums().held(), 0);
}

#[test]
fn letters_lost_doubled_and_late_change_nothing_in_the_end() {
    for seed in 0..6 {
        let mut world = World::new();
        world.add();
        let mut dice = Dice(seed);
        world.fate = Box::new(move |_| match dice.below(10) {
            0 | 1 => Fate::Lost,
            2 => Fate::Doubled,
            3 | 4 => Fate::Late(Duration::from_millis(dice.below(90_000) as u64)),
            _ => Fate::Arrives,
        });
        let mut all = vec![(0, world.put(0, 6_000))];
        for _ in 1..8 {
            let newcomer = world.add();
            world.join(newcomer, newcomer / 2);
            all.push((newcomer, world.put(newcomer, 5_000)));
            world.run(20 * MINUTE);
        }
        let whole = |world: &World| all.iter().all(|(at, name)| world.is_complete(*at, *name, Shape::TwoOfSix));
        assert!(world.run_until(2 * DAY, whole), "seed {seed}");
        // One goes in the same weather, and one segment is given back.
        world.nodes[0].disk.segments.remove(&all[0].1);
        world.input(0, okapi_peers::Input::Released { segment: all[0].1 });
        world.run(HOUR);
        world.fate = Box::new(|_| Fate::Arrives);
        assert!(world.settles(2 * DAY), "seed {seed}: quiet {}, {:#?}", world.is_quiet(), world.faults());
        assert!(all[1..].iter().all(|(at, name)| world.survives(*at, *name) == Some(4)), "seed {seed}");
        assert!(world.nodes.iter().all(|node| !node.events.iter().any(|it| matches!(it, Event::Caught { .. }))));
    }
}
