//! The handle that programs hold: a node's grids, blocks and records, over any link.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use okapi_client::{Client, Index, Settings, Target};
//!
//! let client = Client::connect(&"unix:/run/okapi/node.sock".parse::<Target>()?, Settings::default())?;
//! let grid = client.grid("main", None)?;
//! grid.put(Index::new(7).unwrap(), b"seven")?;
//! assert_eq!(grid.get(Index::new(7).unwrap())?.unwrap().bytes, b"seven");
//! # Ok(()) }
//! ```
//!
//! Everything blocks its thread, and every handle may be cloned and used from many threads. Asks share a pool of
//! connections; record writers, readers, pipelines and followers have one each. A broken connection is made anew with
//! growing delays; what can be asked twice without harm is asked again, the rest fails with [`Fault::Interrupted`].

pub mod client;
mod connection;
pub mod fault;
pub mod grant;
pub mod grid;
pub mod group;
pub mod list;
pub mod map;
pub mod pipeline;
mod pool;
pub mod record;
pub mod replicate;
pub mod settings;

pub use client::{Client, Dial};
pub use fault::{BlockError, ConnectError, Fault, GridError, NodeError, RecordError};
pub use grid::{Block, Got, Grid, Placed};
pub use list::{Blocks, Records, Runs};
pub use map::MapGets;
pub use okapi_base::{BlockSize, Durability, Generation, Index, Slice};
pub use okapi_link::{Spin, Target, TargetError};
pub use okapi_wire::message::{
    CompactReport, DamageReport, GridCreate, GridCreated, GridInfo, Mark, NodeStatus, RecordInfo, VerifyReport,
};
pub use okapi_wire::{GetAsk, Listed, Outcome, PutAsk, PutKind, Run, Status, Token, Welcome, flags};
pub use pipeline::{Pipeline, Ticket};
pub use record::{RecordReader, RecordWriter};
pub use settings::{Reconnect, Settings, Whom};
