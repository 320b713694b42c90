//! Every byte of the block protocol: frames, descriptors and messages.
//!
//! Little endian, fixed widths, no padding but what is named. `docs/format/wire.md` describes the same byte by byte;
//! `tests/golden` holds frames that must never change. Nothing here does IO.
#![no_std]

extern crate alloc;

pub mod body;
pub mod descriptor;
pub mod frame;
pub mod hello;
pub mod message;
pub mod op;
pub mod peer;
pub mod status;

pub use body::{BodyError, BodyReader, BodyWriter, Message};
pub use descriptor::{GetAsk, ListAsk, Listed, Outcome, PutAsk, PutKind, Run};
pub use frame::{Frame, FrameError, HEADER_BYTES, Header, flags};
pub use hello::{Hello, Limits, Token, Welcome};
pub use op::Op;
pub use status::Status;
