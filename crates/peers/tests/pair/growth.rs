//! Growth: what the founding text asks for, step by step.

use crate::world::*;
use okapi_base::Shape;

#[test]
fn one_two_three() {
    let mut world = World::new();
    world.add();
    let mine = world.put(0, 10_000);
    assert!(world.run_until(MINUTE, |world| world.safe(0, mine) == Some(Shape::OneOfOne)));
    world.settle(HOUR);
    assert_eq!(world.holders(0, mine), [Some(0)]);
    world.welcome();
    assert!(world.run_until(HOUR, |world| world.safe(0, mine) == Some(Shape::OneOfTwo)));
    world.settle(HOUR);
}
