//! Disks for virtual machines that share their memory: vhost-user-blk, as qemu and cloud-hypervisor speak it.
//!
//! The machine sees an ordinary virtio disk. Its requests lie in queues in its own memory, which its monitor (qemu, say)
//! hands us over a unix socket, and neither requests nor data go through that socket. Every queue has a thread.
//!
//! What the machine says is not believed: the memory it names is looked up, lengths are limited, and a request that cannot
//! be understood fails alone. Its monitor is believed in one thing only, that it does not take away memory it has handed
//! over; it runs as the same user, as the socket is open to nobody else.
//!
//! Data is copied once, between a buffer of the thread and the machine's memory. Reading right into that would need a slice
//! of memory that the machine may change at any time, and there is no safe one.

mod backend;
mod chain;
mod listen;
mod told;
mod worker;

#[cfg(test)]
mod tests;

pub use listen::{ListenError, Port, Server};
pub use told::QUEUES_MAX;
