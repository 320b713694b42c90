//! The node: what answers.
//!
//! [`host`] is what all connections share: engines, catalog, records, changes. [`visitor`] is one connection's view of
//! it and answers what the other end asks.

mod budget;
mod connection;
mod disk_workers;
pub mod host;
mod listen;
pub mod lock;
mod mailbox;
pub mod node;
mod reactor;
mod seam;
pub mod settings;
mod shared;
mod spin;
#[cfg(test)]
mod toy;
pub mod visitor;

pub use host::{EngineKind, Host, HostSettings, Opened};
pub use lock::{Holder, LockError};
pub use node::{Node, StartError, StopError};
pub use settings::NodeSettings;
pub use visitor::{PatientVisitor, Visitor};
