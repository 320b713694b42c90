//! Sealed files: what goes in comes out, and anything changed, moved or missing is found.

use super::*;
use crate::Secret;

/// `okapi\n`, sealed to the X25519 key `[2; 32]`.
const GOLDEN: &[u8] = include_bytes!("../../testdata/sealed-file.bin");

fn key() -> RecipientKey {
    RecipientKey::X25519(Secret::from_bytes([2; 32]))
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    let mut writer = SealedWriter::seal_to(Vec::new(), &[key().recipient()]).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

/// What comes out before the end or the first error.
fn opened(bytes: &[u8]) -> (Vec<u8>, Result<(), FileError>) {
    let file = match SealedFile::open(bytes) {
        Ok(file) => file,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut reader = file.open_with(&key()).expect("it is for us");
    let mut plain = Vec::new();
    match reader.read_to_end(&mut plain) {
        Ok(_) => (plain, Ok(())),
        Err(error) => (plain, Err(error.downcast::<FileError>().unwrap())),
    }
}

fn plain(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"plain").finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn what_goes_in_comes_out_at_every_length_that_matters() {
    let around = |length: usize| [length - 1, length, length + 1];
    for length in [vec![0, 1, 6], around(CHUNK_BYTES).to_vec(), around(3 * CHUNK_BYTES).to_vec()].concat() {
        let bytes = sealed(&plain(length));
        let chunks = length.div_ceil(CHUNK_BYTES).max(1);
        assert_eq!(bytes.len(), HEAD_BYTES + 124 + length + chunks * TAG_BYTES, "{length}");
        let (out, ended) = opened(&bytes);
        assert!(ended.is_ok() && out == plain(length), "{length}: {ended:?}");
    }
}

#[test]
fn how_it_is_written_and_read_does_not_matter() {
    let whole = plain(2 * CHUNK_BYTES + 77);
    let mut writer = SealedWriter::seal_to(Vec::new(), &[key().recipient()]).unwrap();
    for piece in whole.chunks(999) {
        assert_eq!(writer.write(&[]).unwrap(), 0);
        writer.write_all(piece).unwrap();
        writer.flush().unwrap();
    }
    let bytes = writer.finish().unwrap();
    /// Gives one byte, then two, then three.
    struct Trickle<'a>(&'a [u8], usize);
    impl Read for Trickle<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 % 3 + 1;
            let count = bytes.len().min(self.1);
            self.0.read(&mut bytes[..count])
        }
    }
    let mut reader = SealedFile::open(Trickle(&bytes, 0)).unwrap().open_with(&key()).unwrap();
    let mut out = Vec::new();
    reader.read_to_end(&mut out).unwrap();
    assert!(out == whole);
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0, "the end stays the end");
}

#[test]
fn the_golden_bytes_open_and_lie_where_the_format_says() {
    let (out, ended) = opened(GOLDEN);
    assert!(ended.is_ok());
    assert_eq!(out, b"okapi\n");
    assert_eq!(GOLDEN[..12], *b"OKAPISLD\x01\x00\x01\x00");
    assert_eq!(GOLDEN[12..20], [0, 0, 1, 0, 124, 0, 0, 0]);
    assert_eq!(GOLDEN.len(), 20 + 124 + 6 + 16);
    assert!(Envelope::parse(&GOLDEN[20..144]).unwrap().recipients().eq([key().recipient().id()]));
}

#[test]
fn a_cut_file_is_found_wherever_it_was_cut() {
    let whole = plain(2 * CHUNK_BYTES + 100);
    let bytes = sealed(&whole);
    let begin = HEAD_BYTES + 124;
    let borders = [0, 1, 2].map(|chunk| begin + chunk * SEALED_CHUNK_BYTES);
    let near = borders.iter().flat_map(|border| border.saturating_sub(2)..border + 20);
    for at in (0..200).chain(near).chain([bytes.len() - 1]) {
        let (out, ended) = opened(&bytes[..at]);
        let error = ended.expect_err("it is cut");
        assert!(whole.starts_with(&out), "nothing else came out");
        let cut = match error {
            FileError::Cut => true,
            FileError::NotOne => at == 0,
            FileError::Damaged { last, .. } => last,
            _ => false,
        };
        assert!(cut, "cut at {at}: {error:?}");
    }
    for border in &borders[1..] {
        let error = opened(&bytes[..*border]).1.unwrap_err();
        assert_eq!(error.to_string(), "it is cut short: its end is missing; get it anew");
    }
}

#[test]
fn moved_repeated_and_added_chunks_are_found() {
    let bytes = sealed(&plain(3 * CHUNK_BYTES + 100));
    let (head, chunks) = bytes.split_at(HEAD_BYTES + 124);
    let chunks: Vec<&[u8]> = chunks.chunks(SEALED_CHUNK_BYTES).collect();
    let of = |order: &[usize]| [head, &order.iter().flat_map(|at| chunks[*at]).copied().collect::<Vec<u8>>()].concat();
    assert!(opened(&of(&[0, 1, 2, 3])).1.is_ok());
    let bad_at = |order: &[usize]| match opened(&of(order)) {
        (out, Err(FileError::Damaged { chunk, .. })) => (out.len() / CHUNK_BYTES, chunk),
        other => panic!("{order:?}: {:?}", other.1),
    };
    for (order, first_bad) in [
        (&[1, 0, 2, 3][..], 0),
        (&[0, 2, 1, 3], 1),
        (&[0, 0, 1, 2, 3], 1),
        (&[0, 2, 3], 1),
        (&[0, 1, 3], 2),
        (&[3, 0, 1, 2], 0),
        (&[0, 1, 2, 3, 3], 3),
    ] {
        assert_eq!(bad_at(order), (first_bad, first_bad as u64), "{order:?}");
    }
    let (other_head, _) = GOLDEN.split_at(HEAD_BYTES + 124);
    assert!(opened(&[other_head, chunks[0]].concat()).1.is_err(), "chunks of another file");
}

#[test]
fn every_changed_byte_is_found() {
    for at in 0..GOLDEN.len() {
        for bit in 0..8 {
            let mut bad = GOLDEN.to_vec();
            bad[at] ^= 1 << bit;
            let Ok(file) = SealedFile::open(bad.as_slice()) else { continue };
            let Ok(mut reader) = file.open_with(&key()) else { continue };
            assert!(reader.read_to_end(&mut Vec::new()).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let error = |bytes: &[u8]| opened(bytes).1.unwrap_err();
    assert!(matches!(error(b""), FileError::NotOne));
    assert!(matches!(error(b"hello"), FileError::NotOne));
    assert!(matches!(error(b"OKAPI"), FileError::Cut));
    let with = |at: usize, byte: u8| {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] = byte;
        error(&bytes)
    };
    assert!(matches!(with(8, 2), FileError::Newer { version: 2, algorithm: 1 }));
    assert!(matches!(with(10, 7), FileError::Newer { version: 1, algorithm: 7 }));
    assert!(matches!(with(14, 2), FileError::Header));
    assert!(matches!(with(18, 1), FileError::Header), "an envelope of 64 KiB");
    assert!(matches!(with(20, b'X'), FileError::Envelope(EnvelopeError::NotOne)));
    let refused = SealedFile::open(GOLDEN).unwrap().open_with(&RecipientKey::X25519(Secret::random()));
    assert_eq!(refused.err(), Some(OpenError::NotForThisKey));
}

#[test]
fn a_passphrase_opens_it() {
    let passphrase = |text: &str| Passphrase::new(Zeroizing::new(text.to_owned())).unwrap();
    let mut writer = SealedWriter::seal_to_passphrase(Vec::new(), &passphrase("one")).unwrap();
    writer.write_all(b"okapi").unwrap();
    let bytes = writer.finish().unwrap();
    let file = || SealedFile::open(bytes.as_slice()).unwrap();
    assert!(file().envelope().takes_passphrase());
    let mut out = String::new();
    file().open_with_passphrase(&passphrase("one")).unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "okapi");
    assert_eq!(file().open_with_passphrase(&passphrase("two")).err(), Some(OpenError::WrongPassphrase));
}

/// Whatever is changed: it ends in an error, and what came out before is the beginning of what went in.
#[test]
fn no_spoiled_file_gives_other_bytes() {
    let mut dice = crate::dice::Dice::new(0x5ea1);
    let whole = plain(CHUNK_BYTES + 1000);
    let good = sealed(&whole);
    for round in 0..400 {
        let mut bytes = if round % 4 == 0 { good.clone() } else { GOLDEN.to_vec() };
        dice.spoil(&mut bytes);
        let Ok(file) = SealedFile::open(bytes.as_slice()) else { continue };
        let Ok(mut reader) = file.open_with(&key()) else { continue };
        let mut out = Vec::new();
        let ended = reader.read_to_end(&mut out);
        let begin: &[u8] = if round % 4 == 0 { &whole } else { b"okapi\n" };
        assert!(begin.starts_with(&out), "round {round}");
        assert!(ended.is_err() || bytes == good || bytes == GOLDEN, "round {round}");
    }
}
