//! The block protocol, both halves, without IO.
//!
//! One end of a connection is an [`Inbox`] (bytes in, frames out), an [`Outbox`] (frames in, bytes out) and, for what
//! the other end asks, a [`Backend`] that [`answer`] puts the frames to. The same code answers on both ends. Whoever
//! drives it moves bytes between a link and the boxes, and knows nothing of frames.
//!
//! [`ask`] has the other half: it writes asks and reads replies.
#![no_std]

extern crate alloc;

pub mod answer;
pub mod ask;
pub mod backend;
pub mod inbox;
pub mod outbox;

pub use answer::{Answered, answer, look_ahead};
pub use backend::{Backend, Control, Fetched, Reply, Stored};
pub use inbox::Inbox;
pub use outbox::{Draft, Hold, Outbox};
