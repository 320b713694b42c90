//! The node: what answers.
//!
//! [`host`] is what all connections share: engines, catalog, records, changes. [`visitor`] is one connection's view of
//! it and answers what the other end asks. `grid` is one grid: its blocks, `records` (names and whose blocks are
//! whose), `reservation` (blocks set aside), `changes` (for those who follow). `catalog` and `names` are the formats of
//! what a node remembers of itself.

mod catalog;
mod changes;
mod chores;
mod follow;
mod grid;
pub mod host;
mod names;
mod open;
mod owners;
mod records;
mod refusal;
mod reservation;
mod status;
mod stores;
pub mod visitor;

pub use catalog::CatalogError;
pub use host::{DEFAULT_GRID, EngineKind, Facts, Host, HostSettings, OpenError, Opened};
pub use refusal::Refusal;
pub use stores::{Opener, Stores};
pub use visitor::{AskError, PatientVisitor, Visitor};
