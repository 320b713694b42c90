//! Disks for whoever speaks NBD (qemu, libnbd, the Linux kernel): fixed newstyle, structured replies, extended
//! headers, block status, TLS.
//!
//! One thread serves one connection: it takes all requests that have come, answers them in order into one buffer, and
//! sends that at once. What it holds is bounded whatever the other end says: a write is passed on as it comes, a read is
//! sent as it is read, and whoever does not read is not read from.

mod handshake;
mod input;
mod listen;
mod serve;
#[cfg(test)]
mod tests;
mod tls;
mod wait;
mod wire;
mod writers;

pub use listen::{ListenError, Options, SPIN, Server, uri};
pub use tls::{Tls, TlsError};
