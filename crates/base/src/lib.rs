//! Words, numbers and limits that every other crate of Okapi shares.
//!
//! Nothing here does IO, keeps time or throws dice. The crate knows no other crate of the workspace.
#![no_std]

#[cfg(test)]
extern crate alloc;

pub mod address;
pub mod block;
pub mod crc;
pub mod grid;
pub mod limits;
pub mod machine;
pub mod map;
pub mod member;
pub mod shape;

pub use address::{Address, Endpoint, Index};
pub use block::{BlockSize, Slice};
pub use crc::{Crc, crc32c};
pub use grid::{Durability, Generation, GridId, Ticket};
pub use member::{Digest, GroupId, MemberId, NodeId, SegmentName};
pub use shape::{SHARDS_MAX, Shape};
