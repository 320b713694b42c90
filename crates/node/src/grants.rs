//! What other members may do with this node's grids.
//!
//! One block for each grid of which something was granted, in the companion of the catalog: a grid of the log that no
//! version before grants has ever looked at. It comes back in a restore like all else. `docs/format/catalog.md` has
//! every byte.

use crate::catalog::COMPANION;
use crate::refusal::Refusal;
use okapi_base::{BlockSize, Durability, GridId, Index, MemberId, crc32c};
use okapi_seal::{GridKey, KEY_NUMBER_MAX};
use okapi_store::{Blocks, Change, Edit, Engine, Got, Patience, ReadError, Shape, WriteError};
use okapi_wire::Status;
use okapi_wire::message::Right;
use okapi_wire::message::grant::{GRANTS_GRID_MAX, GRANTS_NODE_MAX};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The companion of grid 0.
const GRANTS: GridId = GridId(COMPANION);
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 16;
const GRANT_BYTES: usize = 48;
/// Blocks read at a time.
const PAGE: usize = 1024;

/// A right that a member has on a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) member: MemberId,
    pub(crate) right: Right,
    /// When it was granted, in milliseconds since 1970.
    pub(crate) since: u64,
}

/// All grants of a node.
pub(crate) struct Grants {
    engine: Arc<dyn Engine>,
    blocks: Arc<dyn Blocks>,
    sheets: RwLock<BTreeMap<GridId, Sheet>>,
    /// Keys by which those who may read a grid can do so while this node is away.
    keys: RwLock<BTreeMap<GridId, GridKey>>,
    /// Held while one is changed.
    changing: Mutex<()>,
    /// How often anything has changed.
    changes: AtomicU64,
}

/// What was granted on one grid.
enum Sheet {
    /// Ordered by member; and the number of the grid's key, 0 where it has none.
    Known(Vec<Grant>, u16),
    /// A newer version has written it: nobody is let in by it, and it is not written over.
    Strange(&'static str),
}

impl Grants {
    /// Reads all grants; those of grids for which `is_live` says no are forgotten.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn open(engine: &Arc<dyn Engine>, is_live: &dyn Fn(GridId) -> bool) -> Result<Self, Refusal> {
        let blocks = engine.open_grid(GRANTS, Shape { block_size: block_size(), durability: Durability::Always })?;
        let this = Self {
            engine: Arc::clone(engine),
            blocks,
            sheets: RwLock::default(),
            keys: RwLock::default(),
            changing: Mutex::default(),
            changes: AtomicU64::new(0),
        };
        let mut next = Some(Index::MIN);
        while let Some(from) = next {
            let mut found = Vec::new();
            this.blocks.list(from, PAGE, false, &mut found)?;
            next = found.last().and_then(|last| last.index.next()).filter(|next| next.get() < crate::received::FROM);
            for listed in found.iter().filter(|listed| listed.index.get() < crate::received::FROM) {
                this.load(listed.index, is_live)?;
            }
        }
        this.load_keys();
        Ok(this)
    }

    /// Has the engine seal what is put into granted grids under their keys again.
    fn load_keys(&self) {
        let numbered = |(grid, sheet): (&GridId, &Sheet)| match sheet {
            Sheet::Known(_, number) if *number > 0 => Some((*grid, *number)),
            _ => None,
        };
        let numbers: Vec<(GridId, u16)> = self.sheets.read().iter().filter_map(numbered).collect();
        for (grid, number) in numbers {
            self.give_key(grid, number);
        }
    }

    /// Gives a grid a key with at least this number. Where that cannot be its members read it while this node is here,
    /// and only then.
    fn give_key(&self, grid: GridId, at_least: u16) -> u16 {
        match self.engine.give_key(grid, at_least) {
            Ok(None) => 0,
            Ok(Some(key)) => {
                let number = key.number();
                self.keys.write().insert(grid, key);
                number
            }
            Err(error) => {
                tracing::warn!("grid {} gets no further key of its own: {error}", grid.0);
                self.keys.write().remove(&grid);
                at_least.saturating_sub(1)
            }
        }
    }

    /// The key of a grid, for those who may read it.
    pub(crate) fn key(&self, grid: GridId) -> Option<GridKey> {
        self.keys.read().get(&grid).cloned()
    }

    /// Whether any grid has a key that could be given.
    pub(crate) fn has_keys(&self) -> bool {
        !self.keys.read().is_empty()
    }

    fn load(&self, index: Index, is_live: &dyn Fn(GridId) -> bool) -> Result<(), Refusal> {
        let grid = u32::try_from(index.get()).ok().map(GridId).filter(|grid| is_live(*grid));
        let Some(grid) = grid else {
            // Whoever dropped the grid knew nothing of grants.
            self.write(index, &[])?;
            return Ok(());
        };
        let sheet = match self.blocks.get(index, Patience::Waiting) {
            Ok(Got::Block(block)) => decode(block.payload.as_ref(), grid)
                .map_or_else(Sheet::Strange, |(grants, key)| Sheet::Known(grants, key)),
            Ok(_) => return Ok(()),
            Err(ReadError::Corrupted { place, what, .. }) => {
                tracing::error!("what was granted on grid {} is lost ({place}: {what}); grant it again", grid.0);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if let Sheet::Strange(why) = sheet {
            tracing::error!("what was granted on grid {} cannot be understood, and is not in force: {why}", grid.0);
        }
        self.sheets.write().insert(grid, sheet);
        Ok(())
    }

    /// A number that changes whenever a grant does.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What a member was granted on a grid.
    pub(crate) fn right(&self, grid: GridId, member: MemberId) -> Right {
        let sheets = self.sheets.read();
        let Some(Sheet::Known(grants, _)) = sheets.get(&grid) else { return Right::None };
        grants.binary_search_by_key(&member, |grant| grant.member).map_or(Right::None, |at| grants[at].right)
    }

    /// What was granted on a grid, ordered by member.
    pub(crate) fn of(&self, grid: GridId) -> Vec<Grant> {
        match self.sheets.read().get(&grid) {
            Some(Sheet::Known(grants, _)) => grants.clone(),
            _ => Vec::new(),
        }
    }

    /// Gives a member a right on a grid, in place of what it had. Durable, and then in force, when this returns; if a right
    /// is taken away, all that is put from then on lies under another key. A grid that is not in this engine gets none.
    pub(crate) fn set(&self, grid: GridId, grant: Grant, has_key: bool) -> Result<(), Refusal> {
        let _changing = self.changing.lock();
        let (mut grants, mut key) = match self.sheets.read().get(&grid) {
            None => (Vec::new(), 0),
            Some(Sheet::Known(grants, key)) => (grants.clone(), *key),
            Some(Sheet::Strange(why)) => {
                let text =
                    format!("a newer okapi has written what was granted on this grid ({why}); bring this up to date");
                return Err(Refusal::new(Status::WrongVersion, text));
            }
        };
        // The store knows better, where the last change was lost and what lies under its key was not.
        let known = self.keys.read().get(&grid).map_or(0, GridKey::number);
        key = key.max(known);
        match (grants.binary_search_by_key(&grant.member, |grant| grant.member), grant.right) {
            (Err(_), Right::None) => return Ok(()),
            (Ok(at), _) if grants[at].right == grant.right => return Ok(()),
            (Ok(at), Right::None) => {
                grants.remove(at);
                key += u16::from(key > 0);
            }
            (Ok(at), _) => grants[at] = grant,
            (Err(at), _) => {
                self.room_for_one(grants.len())?;
                // Each of them must be able to lose the right again.
                if usize::from(KEY_NUMBER_MAX - key) <= grants.len() {
                    let text = format!("rights on this grid were taken away {key} times, and that is nearly the limit");
                    return Err(Refusal::new(Status::Full, text));
                }
                grants.insert(at, grant);
            }
        }
        if has_key && grant.right != Right::None {
            key = key.max(1);
        }
        // First: a key that nobody is given harms nobody, should the rest not be written any more.
        if key > known {
            key = self.give_key(grid, key);
        }
        let bytes = if grants.is_empty() && key == 0 { Vec::new() } else { encode(grid, &grants, key) };
        self.write(Index::new(u64::from(grid.0)).expect("grid numbers have 32 bits"), &bytes)?;
        self.engine.flush()?;
        self.put_in_force(grid, grants, key);
        Ok(())
    }

    fn room_for_one(&self, on_grid: usize) -> Result<(), Refusal> {
        if on_grid >= GRANTS_GRID_MAX {
            let text =
                format!("{GRANTS_GRID_MAX} members have rights on this grid, and that is the limit; revoke some");
            return Err(Refusal::new(Status::Full, text));
        }
        let known = |sheet: &Sheet| if let Sheet::Known(grants, _) = sheet { grants.len() } else { 0 };
        if self.sheets.read().values().map(known).sum::<usize>() >= GRANTS_NODE_MAX {
            let text = format!("the node has given {GRANTS_NODE_MAX} grants, and that is the limit; revoke some");
            return Err(Refusal::new(Status::Full, text));
        }
        Ok(())
    }

    /// Forgets a grid that is being dropped.
    pub(crate) fn forget(&self, grid: GridId) -> Result<(), Refusal> {
        let _changing = self.changing.lock();
        if self.sheets.read().contains_key(&grid) {
            self.write(Index::new(u64::from(grid.0)).expect("grid numbers have 32 bits"), &[])?;
            self.keys.write().remove(&grid);
            self.put_in_force(grid, Vec::new(), 0);
        }
        Ok(())
    }

    fn put_in_force(&self, grid: GridId, grants: Vec<Grant>, key: u16) {
        let mut sheets = self.sheets.write();
        if grants.is_empty() && key == 0 {
            sheets.remove(&grid);
        } else {
            sheets.insert(grid, Sheet::Known(grants, key));
        }
        drop(sheets);
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn write(&self, index: Index, bytes: &[u8]) -> Result<(), WriteError> {
        let edit = Edit::Whole { bytes, crc: crc32c(bytes) };
        self.blocks.put(index, &Change { edit, expect: None, relaxed: false }).map(drop)
    }
}

fn block_size() -> BlockSize {
    const BYTES: u32 = 16 << 10;
    const _: () = assert!(HEAD_BYTES + GRANTS_GRID_MAX * GRANT_BYTES <= BYTES as usize);
    BlockSize::new(BYTES).expect("16 KiB is a block size")
}

fn encode(grid: GridId, grants: &[Grant], key: u16) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    bytes[0] = VERSION;
    bytes[2..4].copy_from_slice(&u16::try_from(grants.len()).expect("grants of a grid are few").to_le_bytes());
    bytes[4..8].copy_from_slice(&grid.0.to_le_bytes());
    bytes[8..10].copy_from_slice(&key.to_le_bytes());
    for grant in grants {
        bytes.extend_from_slice(&grant.member.0);
        bytes.extend_from_slice(&[grant.right as u8, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&grant.since.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8], grid: GridId) -> Result<(Vec<Grant>, u16), &'static str> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or("it has fewer than 16 bytes")?;
    if head[0] != VERSION {
        return Err("its version is not 1");
    }
    if head[4..8] != grid.0.to_le_bytes() {
        return Err("it tells of another grid");
    }
    let (grants, []) = rest.as_chunks::<GRANT_BYTES>() else { return Err("its length fits no number of grants") };
    if grants.len() != usize::from(u16::from_le_bytes([head[2], head[3]])) || grants.len() > GRANTS_GRID_MAX {
        return Err("it has not as many grants as it says");
    }
    let grants: Option<Vec<Grant>> = grants.iter().map(decode_grant).collect();
    let grants = grants.ok_or("a right means nothing")?;
    let key = u16::from_le_bytes([head[8], head[9]]);
    if key > KEY_NUMBER_MAX {
        return Err("there is no key of that number");
    }
    if grants.is_sorted_by(|one, next| one.member < next.member) {
        Ok((grants, key))
    } else {
        Err("its members are not in order")
    }
}

fn decode_grant(bytes: &[u8; GRANT_BYTES]) -> Option<Grant> {
    let (member, rest) = bytes.split_first_chunk::<32>()?;
    let right = Right::from_code(rest[0]).filter(|right| *right != Right::None)?;
    Some(Grant { member: MemberId(*member), right, since: u64::from_le_bytes(*rest.last_chunk()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Grant> {
        vec![
            Grant { member: MemberId([0x11; 32]), right: Right::Read, since: 0x0000_0198_0102_0304 },
            Grant { member: MemberId([0x22; 32]), right: Right::Own, since: 7 },
        ]
    }

    #[test]
    fn the_block_is_as_it_has_always_been() {
        let golden = include_bytes!("../testdata/catalog-grants.bin");
        assert_eq!(encode(GridId(7), &example(), 0), golden);
        assert_eq!(decode(golden, GridId(7)), Ok((example(), 0)));
        let golden = include_bytes!("../testdata/catalog-grants-key.bin");
        assert_eq!(encode(GridId(7), &example(), 0x0203), golden);
        assert_eq!(decode(golden, GridId(7)), Ok((example(), 0x0203)));
        assert!(decode(golden, GridId(8)).is_err());
    }

    #[test]
    fn a_damaged_block_never_panics_and_what_is_understood_is_written_the_same() {
        let good = encode(GridId(7), &example(), 3);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                if let Ok((grants, key)) = decode(&bytes, GridId(7)) {
                    let again = decode(&encode(GridId(7), &grants, key), GridId(7));
                    assert_eq!(again, Ok((grants, key)), "byte {at}, bit {bit}");
                }
            }
            assert!(decode(&good[..at], GridId(7)).is_err(), "{at} bytes");
        }
        let twice = [example()[0], example()[0]];
        assert!(decode(&encode(GridId(7), &twice, 0), GridId(7)).is_err());
    }
}
