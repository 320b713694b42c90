//! Which grids there are: the node's memory of itself, in grid 0 of the log.
//!
//! Block 0 is the head, block `n` the definition of grid `n`. `docs/format/catalog.md` has every byte.

use crate::refusal::Refusal;
use okapi_base::limits::{GRID_NAME_MAX, GRIDS_MAX};
use okapi_base::{BlockSize, Durability, GridId, Index, crc32c};
use okapi_store::{Blocks, Change, Edit, Engine, Got, Patience, Placed, ReadError, Shape, WriteError};
use okapi_wire::{Status, Token};
use std::sync::Arc;

/// The grid the catalog is in.
const CATALOG: GridId = GridId(0);
/// The bit of a grid's number that makes it the companion, with the names, of the grid without it.
pub(crate) const COMPANION: u32 = 1 << 31;
const MAGIC: [u8; 8] = *b"OKAPICAT";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 32;
const DEFINITION_BYTES: usize = 128;
const LIVE: u8 = 1;
const DROPPING: u8 = 2;

/// The head: what is told of the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Which node this is.
    pub(crate) node: [u8; 16],
    /// The number of the next grid to be made.
    pub(crate) next: u32,
}

/// Which engine holds a grid. The number is that of the catalog and of [`okapi_grid::Hold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Home {
    Log = 0,
    Memory = 1,
    Fjall = 2,
}

impl Home {
    pub(crate) const ALL: [Self; 3] = [Self::Log, Self::Memory, Self::Fjall];

    /// The word people write for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Memory => "memory",
            Self::Fjall => "fjall",
        }
    }
}

/// The definition of a grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) id: GridId,
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) public: bool,
    pub(crate) home: Home,
    pub(crate) token: Token,
    /// When it was made, in milliseconds since 1970.
    pub(crate) made: u64,
    /// It is being dropped, and must be gone before the node is open.
    pub(crate) dropping: bool,
}

/// Why the catalog could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The store failed.
    #[error("the catalog of grids cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The store failed.
    #[error("the catalog of grids cannot be written: {0}")]
    Write(#[from] WriteError),
    /// A block is not what this version writes.
    #[error("block {index} of the catalog of grids cannot be understood: {what}; was it written by a newer okapi?")]
    Strange {
        /// Which block.
        index: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The catalog's blocks.
pub(crate) struct Catalog {
    blocks: Arc<dyn Blocks>,
}

impl Catalog {
    /// Opens the catalog and reads all of it. Without a head there has never been one: the head is then made, with
    /// `node` for the node.
    pub(crate) fn open(
        engine: &dyn Engine,
        node: [u8; 16],
    ) -> Result<(Self, Option<Head>, Vec<Definition>), CatalogError> {
        let block_size = BlockSize::new(512).expect("512 is a block size");
        let blocks = engine.open_grid(CATALOG, Shape { block_size, durability: Durability::Always })?;
        let catalog = Self { blocks };
        let mut found = Vec::new();
        catalog.blocks.list(Index::MIN, GRIDS_MAX * 2, false, &mut found)?;
        let (mut head, mut definitions) = (None, Vec::new());
        for listed in found {
            let index = listed.index.get();
            let Got::Block(block) = catalog.blocks.get(listed.index, Patience::Waiting)? else { continue };
            let strange = |what| CatalogError::Strange { index, what };
            if index == 0 {
                head = Some(decode_head(block.payload.as_ref()).map_err(strange)?);
            } else {
                let definition = decode_definition(block.payload.as_ref()).map_err(strange)?;
                if u64::from(definition.id.0) != index {
                    return Err(strange("it tells of another grid"));
                }
                definitions.push(definition);
            }
        }
        if head.is_none() {
            if !definitions.is_empty() {
                return Err(CatalogError::Strange { index: 0, what: "the head is missing, and grids are there" });
            }
            catalog.write_head(&Head { node, next: 1 })?;
        }
        Ok((catalog, head, definitions))
    }

    /// Writes the head.
    pub(crate) fn write_head(&self, head: &Head) -> Result<Placed, WriteError> {
        self.write(0, &encode_head(head))
    }

    /// Writes a definition.
    pub(crate) fn write_definition(&self, definition: &Definition) -> Result<Placed, WriteError> {
        self.write(u64::from(definition.id.0), &encode_definition(definition))
    }

    /// Forgets a grid.
    pub(crate) fn forget(&self, id: GridId) -> Result<Placed, WriteError> {
        self.write(u64::from(id.0), &[])
    }

    fn write(&self, index: u64, bytes: &[u8]) -> Result<Placed, WriteError> {
        let index = Index::new(index).expect("grid numbers have 32 bits");
        let edit = Edit::Whole { bytes, crc: crc32c(bytes) };
        self.blocks.put(index, &Change { edit, expect: None, relaxed: false })
    }
}

/// Makes sure that a grid may have this name.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > GRID_NAME_MAX || !name.bytes().all(legal) || name.starts_with(['.', '-']) {
        let text = "a grid's name has 1 to 64 letters, digits, dots, dashes and underscores, and does not begin with a \
                    dot or a dash";
        return Err(Refusal::new(Status::BadName, text));
    }
    Ok(())
}

pub(crate) fn encode_head(head: &Head) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = VERSION;
    bytes[12..16].copy_from_slice(&head.next.to_le_bytes());
    bytes[16..].copy_from_slice(&head.node);
    bytes
}

fn decode_head(bytes: &[u8]) -> Result<Head, &'static str> {
    let bytes: &[u8; HEAD_BYTES] = bytes.try_into().map_err(|_| "the head has not 32 bytes")?;
    if bytes[..8] != MAGIC {
        return Err("the head does not begin with OKAPICAT");
    }
    if bytes[8] != VERSION {
        return Err("its version is not 1");
    }
    let mut node = [0; 16];
    node.copy_from_slice(&bytes[16..]);
    let next = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    if next == 0 || next > COMPANION { Err("the next number is out of range") } else { Ok(Head { node, next }) }
}

pub(crate) fn encode_definition(definition: &Definition) -> [u8; DEFINITION_BYTES] {
    let mut bytes = [0; DEFINITION_BYTES];
    bytes[0] = VERSION;
    bytes[1] = if definition.dropping { DROPPING } else { LIVE };
    bytes[2] = definition.shape.durability.code();
    bytes[3] = u8::from(definition.public);
    bytes[4..8].copy_from_slice(&definition.shape.block_size.bytes().to_le_bytes());
    bytes[8..12].copy_from_slice(&definition.id.0.to_le_bytes());
    bytes[12] = definition.home as u8;
    bytes[13] = u8::try_from(definition.name.len()).expect("a grid's name has at most 64 bytes");
    bytes[16..24].copy_from_slice(&definition.made.to_le_bytes());
    bytes[24..56].copy_from_slice(&definition.token.0);
    bytes[64..64 + definition.name.len()].copy_from_slice(definition.name.as_bytes());
    bytes
}

fn decode_definition(bytes: &[u8]) -> Result<Definition, &'static str> {
    let bytes: &[u8; DEFINITION_BYTES] = bytes.try_into().map_err(|_| "a definition has not 128 bytes")?;
    if bytes[0] != VERSION {
        return Err("its version is not 1");
    }
    let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let dropping = match bytes[1] {
        LIVE => false,
        DROPPING => true,
        _ => return Err("its state means nothing"),
    };
    let durability = Durability::from_code(bytes[2]).ok_or("its durability means nothing")?;
    let public = match bytes[3] {
        public @ (0 | 1) => public == 1,
        _ => return Err("it is neither public nor private"),
    };
    let block_size = BlockSize::new(four(4)).ok_or("its block size is none")?;
    let id = GridId(four(8));
    let home = Home::ALL.into_iter().find(|home| *home as u8 == bytes[12]).ok_or("its engine is not known")?;
    let name = bytes.get(64..64 + usize::from(bytes[13])).ok_or("its name is too long")?;
    let name = str::from_utf8(name).map_err(|_| "its name is not text")?;
    check_name(name).map_err(|_| "its name breaks the rules")?;
    let mut token = Token::NONE;
    token.0.copy_from_slice(&bytes[24..56]);
    let made = u64::from(four(16)) | u64::from(four(20)) << 32;
    let shape = Shape { block_size, durability };
    Ok(Definition { id, name: name.to_owned(), shape, public, home, token, made, dropping })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Definition {
        Definition {
            id: GridId(7),
            name: "photos.2026".to_owned(),
            shape: Shape { block_size: BlockSize::DEFAULT, durability: Durability::Interval },
            public: true,
            home: Home::Fjall,
            token: Token([0xAB; 32]),
            made: 0x0000_0198_0102_0304,
            dropping: false,
        }
    }

    #[test]
    fn the_blocks_are_as_they_have_always_been() {
        let head = Head { node: *b"0123456789abcdef", next: 9 };
        assert_eq!(encode_head(&head), *include_bytes!("../testdata/catalog-head.bin"));
        assert_eq!(decode_head(include_bytes!("../testdata/catalog-head.bin")), Ok(head));
        let golden = include_bytes!("../testdata/catalog-grid.bin");
        assert_eq!(encode_definition(&example()), *golden);
        assert_eq!(decode_definition(golden), Ok(example()));
    }

    #[test]
    fn a_damaged_block_never_panics_and_what_is_understood_is_written_the_same() {
        let good = encode_definition(&example());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good;
                bytes[at] ^= 1 << bit;
                if let Ok(definition) = decode_definition(&bytes) {
                    let again = encode_definition(&definition);
                    assert_eq!(decode_definition(&again), Ok(definition), "byte {at}, bit {bit}");
                }
            }
            assert!(decode_definition(&good[..at]).is_err(), "{at} bytes");
        }
        let head = encode_head(&Head { node: [1; 16], next: 1 });
        for at in 0..head.len() {
            assert!(decode_head(&head[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn names_are_plain() {
        for name in ["a", "main", "A.b_c-9", &"x".repeat(64)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".a", "-a", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
