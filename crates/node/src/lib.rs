//! The node: what answers.
//!
//! [`host`] is what all connections share: engines, catalog, records, changes. [`visitor`] is one connection's view of
//! it and answers what the other end asks.

pub mod host;
pub mod visitor;

pub use host::{EngineKind, Host, HostSettings, Opened};
pub use visitor::{PatientVisitor, Visitor};
