//! The blocks of a grid's companion: one for each record's name, one for each run of blocks that is not yet, or no
//! longer, a record's. `docs/format/catalog.md` has every byte.

use okapi_base::limits::{CONTENT_TYPE_MAX, EXTENTS_MAX, RECORD_NAME_MAX};
use okapi_base::{BlockSize, Generation};
use okapi_wire::Run;
use okapi_wire::message::RecordInfo;

const VERSION: u8 = 1;
const RECORD: u8 = 1;
const MARK: u8 = 2;
const RECORD_BYTES: usize = 64;
const MARK_BYTES: usize = 8;
/// Bytes of the longest block.
const LONGEST: usize = RECORD_BYTES + EXTENTS_MAX * Run::BYTES + RECORD_NAME_MAX + CONTENT_TYPE_MAX;

/// The block size of companions.
pub(crate) fn companion_block() -> BlockSize {
    const BYTES: u32 = 128 << 10;
    const _: () = assert!(LONGEST <= BYTES as usize);
    BlockSize::new(BYTES).expect("128 KiB is a block size")
}

/// What a block of a companion says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A record. Its generation is the block's own, and 0 here.
    Record(RecordInfo),
    /// Blocks set aside or doomed: what of them is in no record when the node starts is deleted.
    Mark(Vec<Run>),
}

/// The bytes of a record.
pub(crate) fn encode_record(info: &RecordInfo) -> Vec<u8> {
    let mut bytes = vec![0; RECORD_BYTES];
    bytes[0] = VERSION;
    bytes[1] = RECORD;
    bytes[4..8].copy_from_slice(&count(&info.extents));
    bytes[8..16].copy_from_slice(&info.length.to_le_bytes());
    bytes[16..24].copy_from_slice(&info.modified.to_le_bytes());
    bytes[24..56].copy_from_slice(&info.blake3);
    let length = |text: &str| u16::try_from(text.len()).expect("checked against its limit").to_le_bytes();
    bytes[56..58].copy_from_slice(&length(&info.name));
    bytes[58..60].copy_from_slice(&length(&info.content_type));
    info.extents.iter().for_each(|run| bytes.extend_from_slice(&run.encode()));
    bytes.extend_from_slice(info.name.as_bytes());
    bytes.extend_from_slice(info.content_type.as_bytes());
    bytes
}

/// The bytes of a mark.
pub(crate) fn encode_mark(extents: &[Run]) -> Vec<u8> {
    let mut bytes = vec![VERSION, MARK, 0, 0];
    bytes.extend_from_slice(&count(extents));
    extents.iter().for_each(|run| bytes.extend_from_slice(&run.encode()));
    bytes
}

fn count(extents: &[Run]) -> [u8; 4] {
    u32::try_from(extents.len()).expect("extents are few").to_le_bytes()
}

/// What a block says, or what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Entry, &'static str> {
    let (head, _) = bytes.split_first_chunk::<MARK_BYTES>().ok_or("it has fewer than 8 bytes")?;
    if head[0] != VERSION {
        return Err("its version is not 1");
    }
    let count = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    match head[1] {
        RECORD => decode_record(bytes, count).map(Entry::Record),
        MARK => match extents(&bytes[MARK_BYTES..], count)? {
            (extents, []) => Ok(Entry::Mark(extents)),
            _ => Err("bytes are left after its end"),
        },
        _ => Err("it is neither a record nor a mark"),
    }
}

fn decode_record(bytes: &[u8], count: usize) -> Result<RecordInfo, &'static str> {
    let (head, rest) = bytes.split_first_chunk::<RECORD_BYTES>().ok_or("a record has at least 64 bytes")?;
    let eight = |at: usize| head[at..at + 8].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let two = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let mut blake3 = [0; 32];
    blake3.copy_from_slice(&head[24..56]);
    let (extents, rest) = extents(rest, count)?;
    let (name, content_type) = rest.split_at_checked(two(56)).ok_or("its name is cut off")?;
    if name.is_empty() || name.len() > RECORD_NAME_MAX || content_type.len() > CONTENT_TYPE_MAX {
        return Err("a text is longer than its limit");
    }
    if content_type.len() != two(58) {
        return Err("its length is not what its fields say");
    }
    let text = |bytes: &[u8]| str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a text is not UTF-8");
    let (name, content_type) = (text(name)?, text(content_type)?);
    let (length, modified) = (eight(8), eight(16));
    Ok(RecordInfo { name, length, modified, generation: Generation::ABSENT, blake3, content_type, extents })
}

fn extents(bytes: &[u8], count: usize) -> Result<(Vec<Run>, &[u8]), &'static str> {
    if count > EXTENTS_MAX {
        return Err("it has more than 4,096 extents");
    }
    let (runs, rest) = bytes.split_at_checked(count * Run::BYTES).ok_or("its extents are cut off")?;
    let (runs, _) = runs.as_chunks::<{ Run::BYTES }>();
    let runs: Result<Vec<Run>, _> = runs.iter().map(Run::decode).collect();
    Ok((runs.map_err(|_| "an extent reaches past the last index")?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owners::run;

    fn example() -> RecordInfo {
        RecordInfo {
            name: "photos/ä.jpg".to_owned(),
            length: 150_000,
            modified: 0x0198_0102_0304,
            generation: Generation::ABSENT,
            blake3: core::array::from_fn(|at| at as u8),
            content_type: "image/jpeg".to_owned(),
            extents: vec![run(1 << 40, (1 << 40) + 2), run(5, 6)],
        }
    }

    #[test]
    fn the_blocks_are_as_they_have_always_been() {
        let golden = include_bytes!("../testdata/record.bin");
        assert_eq!(encode_record(&example()), golden);
        assert_eq!(decode(golden), Ok(Entry::Record(example())));
        let golden = include_bytes!("../testdata/mark.bin");
        assert_eq!(encode_mark(&example().extents), golden);
        assert_eq!(decode(golden), Ok(Entry::Mark(example().extents)));
    }

    #[test]
    fn damaged_blocks_never_panic_and_what_is_understood_is_written_the_same() {
        for good in [encode_record(&example()), encode_mark(&example().extents)] {
            for at in 0..good.len() {
                assert!(decode(&good[..at]).is_err(), "{at} bytes");
                for bit in 0..8 {
                    let mut bytes = good.clone();
                    bytes[at] ^= 1 << bit;
                    match decode(&bytes) {
                        Ok(Entry::Record(info)) => {
                            assert_eq!(decode(&encode_record(&info)), Ok(Entry::Record(info)), "byte {at}, bit {bit}");
                        }
                        Ok(Entry::Mark(runs)) => assert_eq!(decode(&encode_mark(&runs)), Ok(Entry::Mark(runs))),
                        Err(_) => {}
                    }
                }
            }
        }
    }
}
