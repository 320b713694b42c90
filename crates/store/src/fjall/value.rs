//! What the LSM tree is given to keep: sealed values under plain keys. `docs/format/fjall.md` draws the bytes.

use okapi_base::{Generation, GridId, Index};
use okapi_seal::{ALGORITHM_AES_256_GCM, NONCE_BYTES, NodeKey, Nonce, Sealer, TAG_BYTES};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 12;
/// Bytes of a value besides its payload.
pub(super) const OVERHEAD: usize = OPEN_BYTES + HEAD_BYTES + TAG_BYTES;
/// Bytes that are not sealed.
const OPEN_BYTES: usize = 36;
/// Sealed bytes before the payload.
pub(super) const HEAD_BYTES: usize = 24;
/// Bytes of a session's salt.
const SALT_BYTES: usize = 24;
/// The version of the layout.
const VERSION: u8 = 1;
/// What keys are derived for. Never used for anything else.
const CONTEXT: &str = "okapi store fjall 2026 values of one session";
/// Sealers of earlier sessions kept at a time.
const SEALERS_MAX: usize = 1024;

/// The key under which a block is kept: keys are in the order of grids and blocks.
pub(super) fn key(grid: GridId, index: Index) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..4].copy_from_slice(&grid.0.to_be_bytes());
    key[4..].copy_from_slice(&index.get().to_be_bytes());
    key
}

/// The block whose key this is.
pub(super) fn block_of(key: &[u8]) -> Option<(GridId, Index)> {
    let (grid, index) = key.split_first_chunk::<4>()?;
    let index = u64::from_be_bytes(index.try_into().ok()?);
    Some((GridId(u32::from_be_bytes(*grid)), Index::new(index)?))
}

/// What is known of a block besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) generation: Generation,
    pub(super) crc: u32,
}

/// Seals and opens values.
///
/// Each time a store is opened is a session, with a random salt and a key derived from it; within it nonces count.
pub(super) struct Vault {
    node_key: NodeKey,
    salt: [u8; SALT_BYTES],
    sealer: Sealer,
    nonces: AtomicU64,
    /// Of earlier sessions.
    sealers: RwLock<HashMap<[u8; SALT_BYTES], Arc<Sealer>>>,
}

impl Vault {
    pub(super) fn new(node_key: NodeKey) -> Self {
        let mut salt = [0; SALT_BYTES];
        okapi_seal::random(&mut salt);
        Self::with_salt(node_key, salt)
    }

    fn with_salt(node_key: NodeKey, salt: [u8; SALT_BYTES]) -> Self {
        let sealer = Sealer::new(&node_key.derive(CONTEXT, &salt));
        Self { node_key, salt, sealer, nonces: AtomicU64::new(0), sealers: RwLock::default() }
    }

    /// The value to keep for a block.
    pub(super) fn seal(&self, grid: GridId, index: Index, head: Head, payload: &[u8]) -> Vec<u8> {
        let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
        let mut value = vec![0; OVERHEAD + payload.len()];
        let (open, sealed) = value.split_at_mut(OPEN_BYTES);
        open[0] = ALGORITHM_AES_256_GCM;
        open[1] = VERSION;
        open[4..28].copy_from_slice(&self.salt);
        open[28..36].copy_from_slice(&nonce.to_le_bytes());
        let (start, rest) = sealed.split_at_mut(HEAD_BYTES);
        start[..4].copy_from_slice(&grid.0.to_le_bytes());
        start[4..8].copy_from_slice(&head.crc.to_le_bytes());
        start[8..16].copy_from_slice(&index.get().to_le_bytes());
        start[16..24].copy_from_slice(&head.generation.0.to_le_bytes());
        self.sealer.seal(nonce_of(nonce), start, payload, rest);
        value
    }

    /// Opens the value kept for a block into `room`: [`HEAD_BYTES`], then the payload, of which the length is
    /// returned. Says what is wrong if it is not what was sealed for this block.
    pub(super) fn open(
        &self,
        grid: GridId,
        index: Index,
        value: &[u8],
        room: &mut [u8],
    ) -> Result<(Head, usize), String> {
        let length = value.len().checked_sub(OVERHEAD).ok_or_else(|| format!("it has only {} bytes", value.len()))?;
        let (open, sealed) = value.split_at(OPEN_BYTES);
        if open[..4] != [ALGORITHM_AES_256_GCM, VERSION, 0, 0] {
            return Err(format!("its first bytes are {:02x?}", &open[..4]));
        }
        let plain = room.get_mut(..HEAD_BYTES + length).ok_or_else(|| format!("it has {length} bytes of payload"))?;
        let salt = open[4..28].try_into().expect("24 bytes");
        let nonce = nonce_of(u64::from_le_bytes(open[28..36].try_into().expect("8 bytes")));
        let opened = if salt == self.salt {
            self.sealer.open(nonce, sealed, plain)
        } else {
            self.sealer_of(salt).open(nonce, sealed, plain)
        };
        opened.map_err(|forged| forged.to_string())?;
        let word = |at: usize| u32::from_le_bytes(plain[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_le_bytes(plain[at..at + 8].try_into().expect("8 bytes"));
        if (word(0), long(8)) != (grid.0, index.get()) {
            return Err(format!("it is block {} of grid {}", long(8), word(0)));
        }
        Ok((Head { generation: Generation(long(16)), crc: word(4) }, length))
    }

    fn sealer_of(&self, salt: [u8; SALT_BYTES]) -> Arc<Sealer> {
        if let Some(sealer) = self.sealers.read().get(&salt) {
            return Arc::clone(sealer);
        }
        let sealer = Arc::new(Sealer::new(&self.node_key.derive(CONTEXT, &salt)));
        let mut sealers = self.sealers.write();
        if sealers.len() >= SEALERS_MAX {
            sealers.clear();
        }
        sealers.insert(salt, Arc::clone(&sealer));
        sealer
    }
}

fn nonce_of(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&counter.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { generation: Generation(0x0807_0605_0403_0201), crc: 0xE306_9283 };

    fn vault(salt: u8) -> Vault {
        Vault::with_salt(NodeKey::from_bytes([7; 32]), [salt; SALT_BYTES])
    }

    fn at(index: u64) -> Index {
        Index::new(index).expect("below 2^48")
    }

    #[test]
    fn the_bytes_of_a_value_are_fixed() {
        let golden = include_bytes!("../../testdata/fjall_value_1.bin");
        assert_eq!(vault(9).seal(GridId(3), at(5), HEAD, b"123456789"), golden);
        assert_eq!(key(GridId(3), at(0x0102_0304_0506)), [0, 0, 0, 3, 0, 0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn values_come_back_in_this_session_and_the_next() {
        for length in [1, 9, 4096] {
            let payload = vec![0x5A; length];
            let vault = vault(1);
            let value = vault.seal(GridId(3), at(5), HEAD, &payload);
            assert_eq!(value.len(), length + OVERHEAD);
            for vault in [vault, self::vault(2)] {
                let mut room = vec![0; HEAD_BYTES + 4096];
                assert_eq!(vault.open(GridId(3), at(5), &value, &mut room), Ok((HEAD, length)));
                assert_eq!(room[HEAD_BYTES..][..length], payload);
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let vault = vault(1);
        let value = vault.seal(GridId(3), at(5), HEAD, b"123456789");
        let mut room = [0; HEAD_BYTES + 9];
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(vault.open(GridId(3), at(5), &bad, &mut room).is_err(), "bit {bit}");
        }
        for cut in 0..value.len() {
            assert!(vault.open(GridId(3), at(5), &value[..cut], &mut room).is_err(), "cut at {cut}");
        }
        assert!(vault.open(GridId(3), at(6), &value, &mut room).is_err(), "another block's value");
        assert!(vault.open(GridId(2), at(5), &value, &mut room).is_err(), "another grid's value");
        assert!(vault.open(GridId(3), at(5), &value, &mut room[1..]).is_err(), "longer than a block");
        let other = Vault::with_salt(NodeKey::from_bytes([8; 32]), [1; SALT_BYTES]);
        assert!(other.open(GridId(3), at(5), &value, &mut room).is_err(), "another node's key");
    }

    #[test]
    fn keys_are_in_order_and_come_back() {
        let blocks = [(0, 0), (0, 1), (0, 256), (0, (1 << 48) - 1), (1, 0), (256, 7), (u32::MAX, 0)];
        let keys: Vec<_> = blocks.iter().map(|(grid, index)| key(GridId(*grid), at(*index))).collect();
        assert!(keys.is_sorted());
        for (key, (grid, index)) in keys.iter().zip(blocks) {
            assert_eq!(block_of(key), Some((GridId(grid), at(index))));
        }
        assert_eq!(block_of(&[0; 11]), None);
        assert_eq!(block_of(&[0xFF; 12]), None);
    }
}
