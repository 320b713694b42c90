//! What members of a group say to each other, and the signed records they keep.

pub mod contract;
