//! The network's brain: the whole node as one machine without IO.
#![no_std]

extern crate alloc;
<<<<<<< HEAD
#[cfg(test)]
extern crate std;

pub mod happiness;
pub mod limits;
pub mod machine;
pub mod peer;
pub mod placement;

pub use machine::{Blob, Done, Event, Input, Order, Output, ShardId, Thing, Work};
pub use peer::{Care, Identity, Peer, Settings};
=======

pub mod books;
pub mod contract;
pub mod ledger;
pub mod stamp;
>>>>>>> ledger
