//! Where blocks lie: one small trait, several engines.
//!
//! [`Engine`] is a whole store, [`Blocks`] one grid in it. Engines: [`memory`] (an arena, optionally shared with other
//! processes), [`log`] (the durable segment log), [`fjall`](mod@fjall) (an LSM tree, for comparison and for small hot sets).

mod edit;
pub mod engine;
#[cfg(feature = "fjall")]
pub mod fjall;
pub mod log;
pub mod memory;
pub mod payload;

pub use engine::*;
pub use log::Log;
pub use payload::{Buffers, Lent, Payload};
