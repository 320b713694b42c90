//! placeholder
/// A place in the arena.
#[derive(Debug)]
pub struct Slot;
impl AsRef<[u8]> for Slot {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}
/// What another process needs to read a grid.
#[derive(Debug)]
pub struct SharedMap;
