//! Joining: tickets good and bad, answers that are lost, an inviter that restarts, and lists that become the same.

use crate::world::*;
use okapi_base::GroupId;
use okapi_peers::{Event, Order, Refusal};
use okapi_wire::peer::letter::Body;
use std::cell::Cell;
use std::rc::Rc;

fn failed(world: &World, at: usize) -> Option<&str> {
    world.nodes[at].events.iter().find_map(|event| match event {
        Event::JoinFailed { why } => Some(why.as_str()),
        _ => None,
    })
}

fn joined(world: &World, at: usize) -> bool {
    world.nodes[at].events.contains(&Event::Joined)
}

#[test]
fn a_good_ticket_opens_the_group_and_all_lists_become_the_same() {
    let mut world = World::group(3);
    // Told of by one, known to all.
    assert!(world.active().iter().all(|at| world.peer(*at).members().len() == 3));
    let fourth = world.add();
    world.join(fourth, 2);
    let digest = world.peer(0).members().version().digest;
    assert!((0..4).all(|at| world.peer(at).members().version().digest == digest));
    assert!((0..4).all(|at| world.peer(at).refusals().iter().next().is_none()), "honest nodes refuse nothing");
}

#[test]
fn a_ticket_that_was_never_made_opens_nothing() {
    let mut world = World::group(2);
    let stranger = world.add();
    let (via, group) = (world.nodes[0].id, world.group_name());
    world.order(stranger, Order::Join { via, group, secret: [9; 32] });
    assert!(world.run_until(MINUTE, |world| failed(world, stranger).is_some()));
    assert_eq!(failed(&world, stranger), Some("there is no such ticket; ask for a new one"));
    assert_eq!(world.peer(0).members().len(), 2);
    assert_ne!(world.peer(stranger).group(), group);
}

#[test]
fn a_ticket_is_for_one_node_and_for_a_while() {
    let mut world = World::group(1);
    let (first, second, late) = (world.add(), world.add(), world.add());
    let order = world.ticket(0, 1);
    world.order(first, order.clone());
    assert!(world.run_until(MINUTE, |world| joined(world, first)));
    world.order(second, order);
    assert!(world.run_until(MINUTE, |world| failed(world, second).is_some()));
    assert_eq!(failed(&world, second), Some("the ticket was used by another node; ask for a new one"));
    let order = world.ticket(0, 2);
    world.run(2 * DAY);
    world.order(late, order);
    assert!(world.run_until(MINUTE, |world| failed(world, late).is_some()));
    assert_eq!(failed(&world, late), Some("the ticket has expired; ask for a new one"));
    assert_eq!(world.peer(0).members().len(), 2);
}

#[test]
fn a_ticket_for_another_group_is_refused_by_name() {
    let mut world = World::group(1);
    let newcomer = world.add();
    let Order::Join { via, secret, .. } = world.ticket(0, 1) else { unreachable!() };
    world.order(newcomer, Order::Join { via, group: GroupId([7; 32]), secret });
    world.run(MINUTE);
    assert!(world.peer(0).refusals().of(Refusal::WrongGroup) > 0);
    assert!(!joined(&world, newcomer));
}

/// Whether a letter is the one that is meant.
type Which = fn(&Body) -> bool;

/// Loses the first letter for which `which` is true.
fn lose_first(world: &mut World, which: Which) -> Rc<Cell<bool>> {
    let lost = Rc::new(Cell::new(false));
    let once = lost.clone();
    world.fate = Box::new(move |sent| {
        if !once.get() && which(&sent.body()) {
            once.set(true);
            return Fate::Lost;
        }
        Fate::Arrives
    });
    lost
}

#[test]
fn whichever_letter_is_lost_the_same_ticket_still_opens() {
    let letters: [(&str, Which); 4] = [
        ("the question", |body| matches!(body, Body::JoinAsk(..))),
        ("the answer", |body| matches!(body, Body::JoinYes(_))),
        ("the list", |body| matches!(body, Body::Records(all) if all.len() > 1)),
        ("the newcomer's own record", |body| matches!(body, Body::Records(all) if all.len() == 1)),
    ];
    for (what, which) in letters {
        let mut world = World::group(2);
        let newcomer = world.add();
        let order = world.ticket(0, 1);
        let lost = lose_first(&mut world, which);
        world.order(newcomer, order);
        let all_know = |world: &World| (0..3).all(|at| world.peer(at).members().len() == 3);
        assert!(world.run_until(HOUR, |world| joined(world, newcomer) && all_know(world)), "{what}");
        assert!(lost.get(), "{what} was sent");
    }
}

#[test]
fn two_newcomers_join_while_the_inviter_restarts_at_any_step() {
    for crash_after in 1.. {
        let mut world = World::group(1);
        let (one, other) = (world.add(), world.add());
        let orders = [world.ticket(0, 1), world.ticket(0, 2)];
        world.run(SECOND);
        // The first newcomer hears the answer late: its vouch is out while the inviter restarts and vouches again.
        let late = world.nodes[one].id;
        let at_late = world.at(late);
        world.fate =
            Box::new(
                move |sent| {
                    if sent.to == at_late && sent.from == 0 { Fate::Late(MINUTE / 2) } else { Fate::Arrives }
                },
            );
        world.order(one, orders[0].clone());
        let mut inputs = 0;
        let until = okapi_base::machine::Moment(world.now.0 + MINUTE * 2);
        let mut ended = true;
        while let Some(at) = world.step(until) {
            inputs += usize::from(at == 0);
            if inputs == crash_after {
                ended = false;
                break;
            }
        }
        world.crash(0);
        world.open(0);
        world.order(other, orders[1].clone());
        let all_know = |world: &World| (0..3).all(|at| world.peer(at).members().len() == 3);
        assert!(world.run_until(HOUR, all_know), "restarted after {crash_after} inputs");
        if ended {
            assert!(crash_after > 4, "the inviter had something to do");
            break;
        }
    }
}

#[test]
fn a_long_list_comes_in_parts_and_the_voucher_with_the_first() {
    // Each of these was vouched for by the one before: the last one's record hangs on all others'.
    let mut world = World::group(1);
    for at in 1..6 {
        let newcomer = world.add();
        world.join(newcomer, at - 1);
    }
    assert!((0..6).all(|at| world.peer(at).members().len() == 6));
}
