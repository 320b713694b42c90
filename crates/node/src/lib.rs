//! The node: what serves, and what answers.
//!
//! [`node`] starts and stops. `reactor` is a thread that serves connections, `connection` one of them: it moves bytes
//! between a link and the block protocol's boxes. `disk_workers` wait for disks so that reactors need not, `budget`
//! bounds the memory, `mailbox` is how threads talk to a reactor, `seam` what serving needs of answering.
//!
//! [`host`] is what all connections share: engines, catalog, records, changes. [`visitor`] is one connection's view of
//! it and answers what the other end asks. `grid` is one grid: its blocks, `records` (names and whose blocks are
//! whose), `reservation` (blocks set aside), `changes` (for those who follow). `catalog` and `names` are the formats of
//! what a node remembers of itself, `grants` and `received` of whom it lets read and who lets it; `giving` hands over the
//! keys for that, and `away` reads by them; `preview` reads what is this node's own and comes back. [`group`] is what visitors may ask of the node's membership.

mod absence;
mod away;
mod budget;
mod catalog;
mod changes;
mod chores;
mod connection;
mod disk_workers;
mod follow;
mod giving;
mod grants;
mod grid;
pub mod group;
pub mod host;
mod listen;
pub mod lock;
mod mailbox;
mod names;
pub mod node;
mod open;
mod owners;
mod preview;
mod reactor;
mod received;
mod records;
mod refusal;
mod reservation;
mod rights;
mod seam;
pub mod settings;
mod shared;
mod status;
mod stores;
#[cfg(test)]
mod toy;
mod trim;
pub mod visitor;

pub use catalog::CatalogError;
pub use group::GroupDoor;
pub use host::{DEFAULT_GRID, EngineKind, Facts, Host, HostSettings, OpenError, Opened};
pub use lock::{Holder, LockError, check_free};
pub use node::{Node, StartError, StopError};
#[cfg(feature = "wan")]
pub use okapi_link::member::Wan;
pub use preview::Readable;
pub use refusal::Refusal;
pub use settings::{GroupSettings, NodeSettings};
pub use stores::{Opener, Stores};
pub use visitor::{AskError, PatientVisitor, Visitor};
