//! The network's brain: the whole node as one machine without IO.
//!
//! - [`Peer`] is the node: [`machine`] says what happens to it and what it asks to be done, [`labour`] does it;
//! - [`placement`] and [`happiness`] say where shards go and when that is safe;
//! - [`books`], [`contract`] and [`ledger`] say who owes whom how much.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod books;
pub mod contract;
pub mod happiness;
pub mod history;
pub mod labour;
pub mod ledger;
pub mod limits;
pub mod machine;
pub mod measure;
pub mod peer;
pub mod placement;
#[cfg(test)]
mod pretend;
pub mod safety;
pub mod stamp;

pub use machine::{Blob, Done, Event, Input, Order, Output, ShardId, Thing, Work};
pub use peer::{
    Care, Contact, Identity, MemberView, Peer, Phase, Refusal, Refusals, RestoreView, SegmentView, Settings,
};
