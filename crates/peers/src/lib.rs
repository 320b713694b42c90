//! The network's brain: the whole node as one machine without IO.
#![no_std]

extern crate alloc;

pub mod books;
pub mod contract;
pub mod history;
pub mod ledger;
pub mod measure;
pub mod safety;
pub mod stamp;
