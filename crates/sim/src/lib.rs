//! The simulator: many real peers in a pretend world, from a seed.
//!
//! Clock, network, disks and people are pretended and everything that can go wrong with them does, as the seed has it;
//! the peers are the very machines that run in a node. Checkers see everything. A run that fails is run again by its
//! seed, bit for bit.
//!
//! - [`Story`] is what a seed decides: who takes part, and what goes wrong when;
//! - [`World`] runs it; [`host::Host`] drives one peer;
//! - [`check`] has the checkers, [`truth`] what they compare with;
//! - [`sweep`] runs many seeds, [`report`] measures.

pub mod check;
pub mod dice;
pub mod disk;
pub mod host;
pub mod network;
pub mod report;
pub mod sealing;
pub mod story;
pub mod sweep;
pub mod tally;
pub mod trace;
pub mod truth;
pub mod world;

pub use check::Breach;
pub use story::{Story, Wishes};
pub use sweep::{Outcome, run};
pub use world::World;
