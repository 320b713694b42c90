//! What members say to each other and sign: the records of the member list, of the timelines, of segments and shards.
//!
//! Everything here is bytes only. What a signature covers is given as bytes (`signed_bytes`); under which context they
//! are hashed, and who checks what, is told where the record is used.

pub mod entry;
pub mod member;

/// An Ed25519 signature, not yet checked.
pub type SignatureBytes = [u8; 64];

pub(crate) fn encoded(write: impl FnOnce(&mut crate::body::BodyWriter<'_>)) -> alloc::vec::Vec<u8> {
    let mut bytes = alloc::vec::Vec::new();
    write(&mut crate::body::BodyWriter::new(&mut bytes));
    bytes
}
