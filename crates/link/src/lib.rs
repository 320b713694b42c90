//! Links: byte streams between a client and a node, all behind one trait.
//!
//! [`memory`] joins two ends in one process, [`unix`] and [`tcp`] join processes. [`Target`] says in text where a
//! node is, and connects to it; [`Backoff`] says when to try again.
//! [`map`] reads a grid that a node of this machine shares, without asking it.

pub mod backoff;
pub mod link;
pub mod map;
#[cfg(feature = "member")]
pub mod member;
pub mod memory;
mod socket;
pub mod spin;
pub mod target;
pub mod tcp;
pub mod unix;

pub use backoff::Backoff;
pub use link::{Facts, Interest, Kind, Link, Peer};
pub use memory::MemoryLink;
pub use spin::Spin;
pub use target::{ConnectError, Target, TargetError};
pub use tcp::{TcpBindError, TcpLink, TcpListen, is_loopback_only};
pub use unix::{UnixBindError, UnixLink, UnixListen};
