//! Every interleaving of a sleeper and a ringer, on a model that has the steps of the code one by one.

use std::collections::HashSet;

/// Things the ringer makes true, one after the other; the sleeper takes them all.
const THINGS: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Model {
    /// Things made and not yet taken.
    things: u8,
    waits: bool,
    count: u8,
    sleeper: At,
    armed: bool,
    due: u8,
    taken: u8,
    ringer: Ringer,
    made: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Take,
    DisarmOld,
    Hear,
    Arm,
    Look,
    DisarmAwake,
    Sleep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ringer {
    Make,
    Look,
    Swap,
    Ring,
}

impl Model {
    const START: Self = Self {
        things: 0,
        waits: false,
        count: 0,
        sleeper: At::Take,
        armed: false,
        due: 0,
        taken: 0,
        ringer: Ringer::Make,
        made: 0,
    };

    fn disarm(&mut self) {
        if self.armed {
            self.armed = false;
            if !std::mem::replace(&mut self.waits, false) {
                self.due += 1;
            }
        }
    }

    /// The sleeper's next step; nothing if it is asleep. `shows_first` is the code's order; the other one is wrong.
    fn sleeper_step(mut self, shows_first: bool) -> Option<Self> {
        let (arm_then, look_then) = if shows_first { (At::Look, At::Sleep) } else { (At::Sleep, At::Arm) };
        self.sleeper = match self.sleeper {
            At::Take => {
                self.taken += std::mem::take(&mut self.things);
                At::DisarmOld
            }
            At::DisarmOld => {
                self.disarm();
                At::Hear
            }
            At::Hear => {
                if self.due > 0 && self.count > 0 {
                    self.due = self.due.checked_sub(std::mem::take(&mut self.count)).expect("a ring nobody owed");
                }
                if shows_first { At::Arm } else { At::Look }
            }
            At::Arm => {
                (self.waits, self.armed) = (true, true);
                arm_then
            }
            At::Look if self.things > 0 => At::DisarmAwake,
            At::Look => look_then,
            At::DisarmAwake => {
                self.disarm();
                At::Take
            }
            At::Sleep if self.count > 0 => At::Take,
            At::Sleep => return None,
        };
        Some(self)
    }

    /// The ringer's next step; nothing if it has made all it makes.
    fn ringer_step(mut self) -> Option<Self> {
        self.ringer = match self.ringer {
            Ringer::Make if self.made == THINGS => return None,
            Ringer::Make => {
                self.made += 1;
                self.things += 1;
                Ringer::Look
            }
            Ringer::Look if self.waits => Ringer::Swap,
            Ringer::Look => Ringer::Make,
            Ringer::Swap if std::mem::replace(&mut self.waits, false) => Ringer::Ring,
            Ringer::Swap => Ringer::Make,
            Ringer::Ring => {
                self.count += 1;
                Ringer::Make
            }
        };
        Some(self)
    }
}

/// Goes through all interleavings; the states in which nobody can go on.
fn ends(shows_first: bool) -> (usize, Vec<Model>) {
    let mut seen = HashSet::from([Model::START]);
    let mut open = vec![Model::START];
    let mut ends = Vec::new();
    while let Some(model) = open.pop() {
        let next = [model.sleeper_step(shows_first), model.ringer_step()];
        if next == [None, None] {
            ends.push(model);
        }
        open.extend(next.into_iter().flatten().filter(|next| seen.insert(*next)));
    }
    (seen.len(), ends)
}

#[test]
fn no_interleaving_loses_a_wake_up_or_leaves_a_ring_behind() {
    let (states, ends) = ends(true);
    assert!(states > 100 && !ends.is_empty());
    for end in ends {
        assert_eq!((end.taken, end.things), (THINGS, 0), "asleep with something to take: {end:?}");
        assert_eq!((end.due, end.count), (0, 0), "a ring is left: {end:?}");
    }
}

#[test]
fn looking_before_showing_would_lose_wake_ups() {
    assert!(ends(false).1.iter().any(|end| end.things > 0), "the model finds nothing wrong with a wrong order");
}
