//! The bytes of a segment, for ever; and parsers fed with anything.

use super::super::format::*;
use super::super::keys::{PartKey, Ring, SegmentKeys, keys_with, record_sealer};
use super::super::parts::{TABLE, TABLE_AT, Told, find, open_table, tail};
use super::pretend::Dice;
use super::*;
use okapi_seal::GridKey;
use std::io::Write;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/log/tests/golden/segment.bin");

fn label() -> Label {
    Label { version: VERSION, number: 5, store: [0x11; 16], salt: [0x22; 32] }
}

fn entries() -> Vec<Entry> {
    let entry = |kind, index, generation, length, crc| Entry {
        kind,
        grid: GRID,
        index: at(index),
        generation: Generation(generation),
        length,
        crc,
        offset: 0,
    };
    let mut all = vec![
        entry(Kind::Put, 3, 1, 64, crc32c(&[7; 64])),
        entry(Kind::Put, 0xffff_ffff_ffff, 2, 5, crc32c(b"hello")),
        entry(Kind::Tombstone, 3, 3, 0, 5),
        entry(Kind::GridDrop, 0, 4, 0, 5),
        entry(Kind::Released, 2, 0, 0, 0),
    ];
    let mut offset = FIRST_RECORD;
    for entry in &mut all {
        entry.offset = offset;
        offset += entry.bytes();
    }
    all
}

fn segment() -> Vec<u8> {
    let keys = SegmentKeys::new(&label(), &Ring::new(&KEY));
    let mut bytes = vec![0; FIRST_RECORD as usize];
    label().write_page(None, &mut bytes);
    for (at, entry) in entries().into_iter().enumerate() {
        let previous = at.checked_sub(1).map(|before| {
            let Entry { kind, grid, index, .. } = entries()[before];
            Name { kind, grid, index }
        });
        let header = Header { entry, sequence: 40 + at as u64, synced: 39, previous };
        let payload: &[u8] = match at {
            0 => &[7; 64],
            1 => b"hello",
            _ => &[],
        };
        let from = bytes.len();
        bytes.resize(from + entry.bytes() as usize, 0);
        seal_record(&keys, &header, payload, &mut bytes[from..]);
    }
    let footer = Footer { first: 40, last: 44, synced: 42, entries: Arc::new(entries()) };
    let mut end = Vec::new();
    footer.write((&label(), &keys), bytes.len() as u32, [0x33; 12], &[], &mut end);
    bytes.extend_from_slice(&end);
    bytes
}

#[test]
fn a_segment_has_the_same_bytes_for_ever() {
    let made = segment();
    if std::env::var_os("OKAPI_WRITE_GOLDEN").is_some() {
        std::fs::File::create_new(GOLDEN).unwrap().write_all(&made).unwrap();
    }
    let golden = std::fs::read(GOLDEN).unwrap();
    assert!(made == golden, "first difference at {:?}", made.iter().zip(&golden).position(|(a, b)| a != b));

    let keys = SegmentKeys::new(&label(), &Ring::new(&KEY));
    assert_eq!(Label::read(&golden), Some(label()));
    assert_eq!(Label::read(&golden[LABEL_COPY..]), Some(label()));
    let trailer = Trailer::read(&golden, golden.len() as u64).unwrap();
    let mut sealed = golden[trailer.footer_at as usize..][..trailer.footer_bytes as usize].to_vec();
    let footer = trailer.open(&keys, &mut sealed).unwrap();
    assert_eq!((*footer.entries).clone(), entries());
    assert_eq!((footer.first, footer.last, footer.synced), (40, 44, 42));
    for (at, entry) in entries().into_iter().enumerate() {
        let header = peek_header(&keys, &golden, entry.offset, golden.len() as u32).unwrap();
        assert_eq!(header.entry, entry);
        assert_eq!((header.sequence, header.synced), (40 + at as u64, 39));
        let before = at.checked_sub(1).map(|before| entries()[before]);
        assert_eq!(header.previous, before.map(|Entry { kind, grid, index, .. }| Name { kind, grid, index }));
    }
}

#[test]
fn what_was_durable_is_told_exactly_or_a_little_older() {
    let entry = entries()[0];
    let told = |sequence, synced| {
        let mut bytes = [0; HEADER];
        Header { entry, sequence, synced, previous: None }.write(None, &mut bytes);
        let keys = SegmentKeys::new(&label(), &Ring::new(&KEY));
        let header = Header::read(&bytes, entry.offset, 1 << 20, keys.of(entry.grid)).unwrap();
        assert_eq!((header.entry, header.sequence, header.previous), (entry, sequence, None));
        header.synced
    };
    for ago in [1, 2, 1000, 32_766, 32_767] {
        assert_eq!(told(SEQUENCE_MAX, SEQUENCE_MAX - ago), SEQUENCE_MAX - ago);
    }
    for ago in [32_768, 32_769, 1_000_000, 33_000_000] {
        let synced = told(SEQUENCE_MAX, SEQUENCE_MAX - ago);
        assert!((SEQUENCE_MAX - ago - 1023..=SEQUENCE_MAX - ago).contains(&synced), "{ago}");
    }
    assert_eq!(told(1 << 40, 5), 0);
    assert_eq!(told(32_768, 0), 0);
}

#[test]
fn parsers_take_anything() {
    let good = segment();
    let keys = SegmentKeys::new(&label(), &Ring::new(&KEY));
    let disk_key = KEY;
    for seed in 0..4000 {
        let dice = &mut Dice(seed);
        let mut bytes = match seed % 4 {
            0 => (0..dice.below(600)).map(|_| dice.next() as u8).collect(),
            _ => good.clone(),
        };
        for _ in 0..dice.below(6) {
            if !bytes.is_empty() {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] = dice.next() as u8;
            }
        }
        if dice.chance(50) {
            bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize);
        }
        let end = bytes.len() as u32;
        let _ = Label::read(&bytes);
        if let Some(trailer) = Trailer::read(&bytes, bytes.len() as u64) {
            let mut sealed = bytes[trailer.footer_at as usize..][..trailer.footer_bytes as usize].to_vec();
            let _ = trailer.open(&keys, &mut sealed);
        }
        for offset in (0..end).step_by(UNIT as usize) {
            if let Some(header) = peek_header(&keys, &bytes, offset, end) {
                assert!(header.entry.offset + header.entry.bytes() <= end, "seed {seed}");
            }
        }
        if let Some(head) = bytes.first_chunk() {
            let _ = Header::read(head, FIRST_RECORD, end, keys.of(GRID));
        }
        assert!(super::super::checkpoint::parse(bytes, &disk_key, &[0x11; 16]).is_err(), "seed {seed}");
    }
}

const GOLDEN_WITH_PARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/log/tests/golden/segment-2.bin");

fn segment_with_parts() -> Vec<u8> {
    let label = Label { version: VERSION_WITH_PARTS, ..label() };
    let (keys, table) = keys_with(&label, &Ring::new(&KEY), &[(GridId(3), 1), (GRID, 2)]);
    let table = table.unwrap();
    let mut bytes = vec![0; FIRST_RECORD as usize];
    label.write_page(Some(&table), &mut bytes);
    for entry in &entries()[..2] {
        let previous = Some(Name { kind: Kind::Put, grid: GridId(99), index: at(0x0605_0403_0201) });
        let header = Header { entry: *entry, sequence: 40, synced: 39, previous };
        let payload: &[u8] = if entry.length == 64 { &[7; 64] } else { b"hello" };
        let from = bytes.len();
        bytes.resize(from + entry.bytes() as usize, 0);
        seal_record(&keys, &header, payload, &mut bytes[from..]);
    }
    let footer = Footer { first: 40, last: 41, synced: 41, entries: Arc::new(entries()[..2].to_vec()) };
    let told = |grid| (grid == GRID).then(|| Told { whole: true, homes: vec![(1, 3), (5, 5)] });
    let tail = tail(&table, &keys, &footer.entries, told);
    let mut end = Vec::new();
    footer.write((&label, &keys), bytes.len() as u32, [0x33; 12], &tail, &mut end);
    bytes.extend_from_slice(&end);
    bytes
}

#[test]
fn a_segment_with_parts_is_read_for_ever() {
    // Tables and parts have random nonces, so that what is made differs each time.
    let made = segment_with_parts();
    if std::env::var_os("OKAPI_WRITE_GOLDEN").is_some() {
        std::fs::File::create_new(GOLDEN_WITH_PARTS).unwrap().write_all(&made).unwrap();
    }
    let golden = std::fs::read(GOLDEN_WITH_PARTS).unwrap();
    let same = |range: std::ops::Range<usize>| assert_eq!(made[range.clone()], golden[range]);
    same(0..TABLE_AT);
    let trailer = Trailer::read(&golden, golden.len() as u64).unwrap();
    assert_eq!(Label { version: VERSION_WITH_PARTS, ..label() }, trailer.label);
    same(FIRST_RECORD as usize..(trailer.footer_at + trailer.footer_bytes) as usize);
    same(golden.len() - TRAILER..golden.len());

    let mut keys = SegmentKeys::new(&trailer.label, &Ring::new(&KEY));
    let parts_at = (trailer.footer_at + trailer.footer_bytes) as usize;
    for at in [TABLE_AT, LABEL_COPY + TABLE_AT, parts_at] {
        let table = golden[at..].first_chunk::<TABLE>().unwrap();
        assert_eq!(open_table(table, &keys.footers), Some(vec![(GridId(3), 1), (GRID, 2)]));
    }
    keys.give(&[(GridId(3), 1), (GRID, 2)]);
    let parts = &golden[parts_at + TABLE..][..trailer.tail_bytes as usize - TABLE];
    let key = KEY.grid_key(GRID, 2);
    let find = |key: &GridKey| {
        find(parts, trailer.footer_at, |number| Some(PartKey::new(&key.before(number)?, &trailer.label.salt))).unwrap()
    };
    let (number, part) = find(&key).unwrap();
    assert_eq!((number, &part.entries[..]), (2, &entries()[..2]));
    assert_eq!(part.told, Some(Told { whole: true, homes: vec![(1, 3), (5, 5)] }));
    assert_eq!(find(&key.before(1).unwrap()), None);
    assert_eq!(find(&KEY.grid_key(GridId(3), 1)), None);
    for entry in &entries()[..2] {
        let header = peek_header(&keys, &golden, entry.offset, golden.len() as u32).unwrap();
        assert_eq!((header.entry, header.previous.unwrap().grid), (*entry, GridId(99)));
        // Whoever has the grid's key alone learns nothing of the record before.
        let mut sealed = golden[entry.offset as usize..][..entry.bytes() as usize].to_vec();
        let sealer = record_sealer(&key, &trailer.label.salt);
        let plain = sealer.open_in_place(record_nonce(entry.offset), &mut sealed).unwrap();
        assert_ne!(plain[38..48], [1, 2, 3, 4, 5, 6, 99, 0, 0, 0]);
        assert_eq!(plain[HEADER..][..5], if entry.length == 64 { [7; 5] } else { *b"hello" });
    }
}

#[test]
fn damaged_tables_and_parts_are_refused_and_never_panic() {
    let good = segment_with_parts();
    let trailer = Trailer::read(&good, good.len() as u64).unwrap();
    let keys = SegmentKeys::new(&trailer.label, &Ring::new(&KEY));
    let parts_at = (trailer.footer_at + trailer.footer_bytes) as usize;
    let key = KEY.grid_key(GRID, 2);
    let keyed = |number| Some(PartKey::new(&key.before(number)?, &trailer.label.salt));
    let whole = find(&good[parts_at + TABLE..][..trailer.tail_bytes as usize - TABLE], trailer.footer_at, keyed);
    let whole = whole.unwrap();
    for at in 0..trailer.tail_bytes as usize {
        let mut tail = good[parts_at..][..trailer.tail_bytes as usize].to_vec();
        tail[at] ^= 0x11;
        let table = open_table(tail.first_chunk().unwrap(), &keys.footers);
        assert_eq!(table.is_some(), at >= TABLE, "byte {at}");
        if let Ok(found) = find(&tail[TABLE..], trailer.footer_at, keyed) {
            assert!(found.is_none() || found == whole, "byte {at}");
        }
        let _ = find(&tail[TABLE..at.max(TABLE)], trailer.footer_at, keyed);
    }
}
