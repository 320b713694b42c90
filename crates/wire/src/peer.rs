//! What nodes of a group say to each other: letters, and the signed records in them.
//!
//! Everything here is bytes only. What a signature covers is given as bytes (`signed_bytes`, [`shard::Signed`]); under
//! which context they are hashed, and who checks what, is told where the record is used.

pub mod announce;
pub mod contract;
pub mod entry;
pub mod letter;
pub mod link;
pub mod member;
pub mod shard;
pub mod ticket;

/// An Ed25519 signature, not yet checked.
pub type SignatureBytes = [u8; 64];

pub(crate) fn encoded(write: impl FnOnce(&mut crate::body::BodyWriter<'_>)) -> alloc::vec::Vec<u8> {
    let mut bytes = alloc::vec::Vec::new();
    write(&mut crate::body::BodyWriter::new(&mut bytes));
    bytes
}
