//! What nodes of a group say to each other: letters, and the signed records in them.

pub mod letter;
pub mod shard;
