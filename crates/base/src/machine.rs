//! The contract of a machine without IO.
//!
//! A machine is a state machine that thinks and never acts. It reads no clock, opens no socket or file, starts no
//! thread, throws no dice of its own and iterates no randomly seeded map, so the same inputs make the same outputs,
//! every time, everywhere. Whoever drives it
//!
//! 1. hands it one input with the present time: [`Machine::handle`];
//! 2. drains it: calls [`Machine::poll`] until it returns nothing, and carries out each output in that order;
//! 3. hands it a time no later than [`Machine::wake_at`] if nothing else happens before.
//!
//! One change, then drain: a machine may assert that it was drained before its next input.

use core::time::Duration;

/// A moment on the driver's clock: time since a start that the driver chose. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

/// A state machine without IO; see the module's text for the contract.
pub trait Machine {
    /// What happens to it.
    type Input;
    /// What it asks to be done.
    type Output;

    /// Takes in one thing that happened at `now`.
    fn handle(&mut self, now: Moment, input: Self::Input);
    /// The next thing to do, or nothing when it is drained.
    fn poll(&mut self) -> Option<Self::Output>;
    /// When it wants to be handed the time again, at the latest.
    fn wake_at(&self) -> Option<Moment>;
}
