//! Signed logs, their witnesses, and the list of members: machines without IO.
#![no_std]

extern crate alloc;
