//! The network's brain: the whole node as one machine without IO.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod happiness;
pub mod placement;
