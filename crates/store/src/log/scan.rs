//! Finding the records of a segment without its footer.

use super::disk::read_to_end;
use super::format::{FIRST_RECORD, HEADER, Header, UNIT, peek_header, record_nonce};
use super::index::SEGMENT_BYTES_MAX;
use super::shelf::SegmentFile;
use std::io;

/// A record found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) header: Header,
    /// It is authentic. If not, its header seems whole (by its checksum) but something in the record is not.
    pub(super) good: bool,
}

/// What a segment's file contains.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By ascending offset, never overlapping.
    pub(super) found: Vec<Found>,
}

/// Reads the whole file and looks for records at every place where one can begin.
///
/// Where a record's end is known only from its sealed header, and a header may be damaged: so each header is looked
/// at unauthenticated to learn the length, and then the whole record is authenticated. Where nothing sensible is
/// found the search goes on 64 bytes further: one bad record hides no other.
pub(super) fn scan(segment: &SegmentFile) -> io::Result<Scan> {
    let bytes = read_to_end(&*segment.file, 0, SEGMENT_BYTES_MAX.into())?;
    let end = bytes.len() as u32;
    let mut plain = Vec::new();
    let mut scan = Scan::default();
    let mut at = FIRST_RECORD;
    while at + UNIT <= end {
        let header = match bytes[at as usize..(at + UNIT) as usize] == [0; UNIT as usize] {
            // What was never written; a sealed header is all zeros once in 2^384.
            true => None,
            false => peek_header(&segment.keys, &bytes, at, end),
        };
        let Some(header) = header else {
            at += UNIT;
            continue;
        };
        let sealed = &bytes[at as usize..(at + header.entry.bytes()) as usize];
        plain.resize(sealed.len() - okapi_seal::TAG_BYTES, 0);
        let key = segment.keys.of(header.entry.grid);
        let opened = key.sealer.open(record_nonce(at), sealed, &mut plain).is_ok();
        let good = opened
            && plain.first_chunk::<HEADER>().is_some_and(|head| Header::read(head, at, end, key) == Some(header));
        scan.found.push(Found { header, good });
        at += header.entry.bytes();
    }
    Ok(scan)
}
