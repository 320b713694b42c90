//! The file `store`: which store this is, in which format, and under which key.
//!
//! Two copies of 128 bytes, at 0 and at 4096, so that one damaged sector never takes the store with it.

use super::disk::Disk;
use super::format::{StoreId, array_at, crc_matches, seal_with_crc, u16_at};
use super::{OpenError, damage};
use crate::engine::Damage;
use okapi_seal::{NodeKey, Sealer, TAG_BYTES};
use std::io;

pub(super) const NAME: &str = "store";
const NEW_NAME: &str = "store.new";
const MAGIC: [u8; 8] = *b"OKAPISTO";
/// The version of the whole directory's format, as long as no segment has more.
const VERSION: u16 = 1;
/// The same once there can be segments of version 2.
const VERSION_WITH_PARTS: u16 = 2;
const COPY: usize = 128;
const COPIES_AT: [usize; 2] = [0, 4096];
const FILE_BYTES: usize = 8192;
const CHECK: [u8; 32] = *b"this store was made with the key";

/// Makes the file of a new store.
pub(super) fn create(disk: &dyn Disk, key: &NodeKey) -> io::Result<StoreId> {
    let mut id = [0; 16];
    okapi_seal::random(&mut id);
    write(disk, key, id, false)?;
    Ok(id)
}

/// Says, before there is such a segment, that there can be segments of version 2: a program that does not know them
/// would take them for torn ones.
pub(super) fn raise(disk: &dyn Disk, key: &NodeKey, id: StoreId) -> io::Result<()> {
    let mut version = [0; 2];
    disk.open(NAME)?.read_at(&mut version, 8, false)?;
    if version == VERSION.to_le_bytes() { write(disk, key, id, true) } else { Ok(()) }
}

/// Reads the file of a store, checks the key against it, and mends it where one copy is damaged.
pub(super) fn read(disk: &dyn Disk, key: &NodeKey, damages: &mut Vec<Damage>) -> Result<StoreId, OpenError> {
    let mut bytes = vec![0; FILE_BYTES];
    let io_error = |source| OpenError::Io { what: "reading the file `store`".to_owned(), source };
    let filled = disk.open(NAME).and_then(|file| file.read_at(&mut bytes, 0, false)).map_err(io_error)?;
    let copies = COPIES_AT.map(|at| bytes.get(at..at + COPY).filter(|copy| copy[..8] == MAGIC && crc_matches(copy)));
    let whole = copies.iter().flatten().next().ok_or(OpenError::NoIdentity)?;
    let version = u16_at(whole, 8);
    if !(VERSION..=VERSION_WITH_PARTS).contains(&version) {
        return Err(OpenError::NewerFormat { found: version, known: VERSION_WITH_PARTS });
    }
    let id: StoreId = array_at(whole, 16);
    let mut check = [0; CHECK.len()];
    sealer(key, &id)
        .open([0; 12], &whole[32..32 + CHECK.len() + TAG_BYTES], &mut check)
        .map_err(|_| OpenError::WrongKey)?;

    let expected = file_bytes(key, id, version);
    if filled != FILE_BYTES || bytes != expected {
        let offset = bytes.iter().zip(&expected).position(|(is, should)| is != should).unwrap_or(filled);
        damages.push(damage(
            format!("{NAME}+{offset}"),
            "a part of the store's identity was damaged; mended from its copy",
        ));
        write(disk, key, id, version == VERSION_WITH_PARTS)
            .map_err(|source| OpenError::Io { what: "mending the file `store`".to_owned(), source })?;
    }
    Ok(id)
}

/// What is wrong with the file of an open store, as an offset.
pub(super) fn verify(disk: &dyn Disk, key: &NodeKey, id: StoreId) -> io::Result<Option<usize>> {
    let mut bytes = vec![0; FILE_BYTES];
    let filled = disk.open(NAME)?.read_at(&mut bytes, 0, false)?;
    let version = if u16_at(&bytes, 8) == VERSION_WITH_PARTS { VERSION_WITH_PARTS } else { VERSION };
    let expected = file_bytes(key, id, version);
    if filled != FILE_BYTES {
        return Ok(Some(filled));
    }
    Ok(bytes.iter().zip(&expected).position(|(is, should)| is != should))
}

pub(super) fn write(disk: &dyn Disk, key: &NodeKey, id: StoreId, with_parts: bool) -> io::Result<()> {
    let version = if with_parts { VERSION_WITH_PARTS } else { VERSION };
    match disk.remove(NEW_NAME) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(NEW_NAME, 0)?;
    file.write_at(&file_bytes(key, id, version), 0)?;
    file.sync()?;
    disk.rename(NEW_NAME, NAME)?;
    disk.sync_dir()
}

fn file_bytes(key: &NodeKey, id: StoreId, version: u16) -> Vec<u8> {
    let mut bytes = vec![0; FILE_BYTES];
    for at in COPIES_AT {
        let copy = &mut bytes[at..at + COPY];
        copy[..8].copy_from_slice(&MAGIC);
        copy[8..10].copy_from_slice(&version.to_le_bytes());
        copy[10] = okapi_seal::ALGORITHM_AES_256_GCM;
        copy[16..32].copy_from_slice(&id);
        copy[32..32 + CHECK.len()].copy_from_slice(&CHECK);
        // The key is derived for this one message, so a fixed nonce is used once.
        sealer(key, &id).seal_in_place([0; 12], &mut copy[32..32 + CHECK.len() + TAG_BYTES]);
        seal_with_crc(copy);
    }
    bytes
}

fn sealer(key: &NodeKey, id: &StoreId) -> Sealer {
    Sealer::new(&key.derive("okapi 2026 segment log: check of the store's key", id))
}
