//! Signed logs, their witnesses, and the list of members: machines without IO.
//!
//! - [`members::MemberList`] is who belongs to the group: signed records that merge in any order to the same list.
//! - [`draw`] says who witnesses which entry; anyone draws the same two.
//! - [`author::Author`] is the one writer of a log: chains, signs, and has its entries confirmed.
//! - [`witness::Witness`] keeps entries of others' logs, confirms each once, and never two in one place.
//! - [`tally`] counts confirmations, [`fork`] makes and checks the proof that an author lied.
//!
//! Author and witness are small machines inside a larger one: they are told of the [`World`] at every call, and what
//! they want done is fetched as [`Act`]s. What must be durable before it is told says so itself.
//!
//! The formats are in `docs/format/timeline.md`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod act;
pub mod author;
pub mod chain;
pub mod draw;
pub mod fork;
pub mod limits;
pub mod members;
mod pack;
pub mod tally;
pub mod witness;

pub use act::{Act, BadRecord, World};
pub use author::Author;
pub use draw::{DrawBy, Roster, Rosters, Witnesses};
pub use members::{MemberList, MemberRefusal, Merged};
pub use witness::Witness;

#[cfg(test)]
mod tests;
