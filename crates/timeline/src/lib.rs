//! Signed logs, their witnesses, and the list of members: machines without IO.
//!
//! - [`members::MemberList`] is who belongs to the group: signed records that merge in any order to the same list.
//!
//! The formats are in `docs/format/timeline.md`.
#![no_std]

extern crate alloc;

pub mod members;

pub use members::{MemberList, MemberRefusal, Merged};
