//! Keys of grids that others may read: numbered, so that whoever ceases to may not read what comes later.
//!
//! The keys of one grid are a chain that is walked backwards: from each follow all with lower numbers, and from none
//! those with higher ones. So a reader is given one key, however often it was changed before, and the owner keeps none:
//! the last of the chain follows from the node's key, which a restore brings back.

use crate::{NodeKey, Secret};
use okapi_base::GridId;

/// How often the key of one grid can be changed.
pub const KEY_NUMBER_MAX: u16 = 4096;

/// One key of one grid.
#[derive(Debug, Clone)]
pub struct GridKey {
    secret: Secret,
    number: u16,
}

impl NodeKey {
    /// Key `number` of a grid of this node.
    ///
    /// # Panics
    /// If there is no such number: from 1 to [`KEY_NUMBER_MAX`].
    #[must_use]
    pub fn grid_key(&self, grid: GridId, number: u16) -> GridKey {
        assert!((1..=KEY_NUMBER_MAX).contains(&number), "keys are numbered from 1 to 4096");
        let secret = self.derive("okapi 2026 grid key: the last of a grid", &grid.0.to_le_bytes());
        GridKey { secret, number: KEY_NUMBER_MAX }.before(number).expect("none is above the last")
    }
}

impl GridKey {
    /// A key that was given by its owner; none if there is no such number.
    #[must_use]
    pub fn from_bytes(number: u16, bytes: &[u8; 32]) -> Option<Self> {
        let key = Self { secret: Secret::copy_of(bytes), number };
        (1..=KEY_NUMBER_MAX).contains(&number).then_some(key)
    }

    /// Its bytes, for whoever may read the grid.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        self.secret.bytes()
    }

    /// Which of the grid's keys it is.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// The key with a number up to its own; none for others.
    #[must_use]
    pub fn before(&self, number: u16) -> Option<Self> {
        if number == 0 || number > self.number {
            return None;
        }
        let step = |secret: Secret, _| secret.derive("okapi 2026 grid key: the one before", &[]);
        Some(Self { secret: (number..self.number).fold(self.secret.clone(), step), number })
    }

    /// The secret that `context` and `salt` make of this key.
    #[must_use]
    pub fn derive(&self, context: &'static str, salt: &[u8]) -> Secret {
        self.secret.derive(context, salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_numbers_follow_and_higher_ones_do_not() {
        let node = NodeKey::from_bytes([7; 32]);
        let all: Vec<GridKey> = [1, 2, 3, 4095, 4096].map(|number| node.grid_key(GridId(9), number)).into();
        for (at, key) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                let found = key.before(other.number());
                assert_eq!(found.map(|key| *key.bytes()), (other_at <= at).then(|| *other.bytes()));
                assert_eq!(key.bytes() == other.bytes(), at == other_at);
            }
            let again = GridKey::from_bytes(key.number(), key.bytes()).unwrap();
            assert_eq!(again.before(1).unwrap().bytes(), all[0].bytes());
            assert_ne!(key.bytes(), node.grid_key(GridId(10), key.number()).bytes());
        }
        assert!(all[0].before(0).is_none());
        assert!(GridKey::from_bytes(0, &[1; 32]).is_none() && GridKey::from_bytes(4097, &[1; 32]).is_none());
        assert_eq!(format!("{:?}", all[0]), "GridKey { secret: Secret(not shown), number: 1 }");
    }

    #[test]
    fn the_keys_are_as_they_have_always_been() {
        let context = "okapi 2026 grid key: the last of a grid";
        let mut last = blake3::Hasher::new_derive_key(context);
        last.update(&[7; 32]).update(&9u32.to_le_bytes());
        let last = *last.finalize().as_bytes();
        let node = NodeKey::from_bytes([7; 32]);
        assert_eq!(*node.grid_key(GridId(9), 4096).bytes(), last);
        let before = blake3::derive_key("okapi 2026 grid key: the one before", &last);
        assert_eq!(*node.grid_key(GridId(9), 4095).bytes(), before);
    }
}
