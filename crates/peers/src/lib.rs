//! The network's brain: the whole node as one machine without IO.
#![no_std]

extern crate alloc;
