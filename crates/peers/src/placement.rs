//! placement
use okapi_base::{Digest, MemberId, NodeId, Shape};
/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its node.
    pub node: NodeId,
    /// Its owner.
    pub owner: MemberId,
    /// Its site.
    pub site: u64,
    /// Bytes.
    pub capacity: u64,
}
/// A map.
#[derive(Debug)]
pub struct Map;
impl Map {
    /// Computes.
    #[must_use]
    pub fn new(_places: &[Place], _seed: &Digest, _shape: Shape) -> Self {
        Self
    }
}
