//! Links: byte streams between a client and a node, all behind one trait.
//!
//! [`memory`] joins two ends in one process, [`unix`] and [`tcp`] join processes.

pub mod link;
pub mod map;

pub use link::{Facts, Interest, Kind, Link, Peer};
