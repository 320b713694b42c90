//! Conversations over plain memory: as they should be, and as they should not.

use super::handshake::{Secrecy, greet, haggle, until_tls};
use super::input::Input;
use super::serve::{INPUT, PIECE, serve};
use super::wait::Wait;
use super::wire::{GREETING, OPTION, command, flag, info, option, reply};
use crate::catalog::{Catalog, Refused};
use crate::device::{Device, Trouble};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SIZE: usize = 3 << 20;

/// A disk in memory, half of which is zeros.
struct Memory {
    bytes: Mutex<Vec<u8>>,
    flushed: AtomicUsize,
    /// From where on nothing can be read.
    broken: AtomicUsize,
}

impl Device for Memory {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Trouble> {
        if offset as usize + into.len() > self.broken.load(Ordering::Relaxed) {
            return Err(Trouble::new(Trouble::IO, "broken"));
        }
        into.copy_from_slice(&self.bytes.lock()[offset as usize..offset as usize + into.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8], _: bool) -> Result<(), Trouble> {
        self.bytes.lock()[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, _: bool) -> Result<(), Trouble> {
        self.bytes.lock()[offset as usize..(offset + length) as usize].fill(0);
        Ok(())
    }

    fn flush(&self) -> Result<(), Trouble> {
        self.flushed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn is_zero(&self, offset: u64, length: u64) -> Result<(bool, u64), Trouble> {
        let half = SIZE as u64 / 2;
        Ok(if offset < half { (false, length.min(half - offset)) } else { (true, length) })
    }
}

impl Catalog for Arc<Memory> {
    fn list(&self) -> Result<Vec<String>, Refused> {
        Ok(vec!["disk".to_owned()])
    }

    fn open(&self, name: &str) -> Result<(String, Arc<dyn Device>), Refused> {
        match name {
            "" | "disk" => Ok(("disk".to_owned(), self.clone())),
            _ => Err(Refused::Unknown("no such".to_owned())),
        }
    }
}

fn memory() -> Arc<Memory> {
    let mut bytes: Vec<u8> = (0..SIZE).map(|at| ((at * 31) >> 3) as u8 | 1).collect();
    bytes[SIZE / 2..].fill(0);
    Arc::new(Memory { bytes: Mutex::new(bytes), flushed: AtomicUsize::new(0), broken: AtomicUsize::new(SIZE) })
}

/// What the server says to a client that says all this at once.
fn talk(disk: &Arc<Memory>, said: &[u8]) -> (io::Result<()>, Vec<u8>) {
    let mut output = Vec::new();
    let mut input = Input::new(said, INPUT);
    let greeted = greet(&mut input, &mut output);
    let agreed = greeted.and_then(|greeted| haggle(&mut input, &mut output, disk, greeted, Secrecy::Plain));
    let done = agreed.and_then(|agreed| match agreed {
        Some(agreed) => serve(&mut input, &mut output, &agreed, Wait::new(&|| false, Duration::ZERO)),
        None => Ok(()),
    });
    (done, output)
}

fn ask(option: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION.to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// A request up to its length, which has a size of its own in each dialect.
fn begun(magic: u32, flags: u16, command: u16, cookie: u64, offset: u64) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes
}

fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    [&begun(0x2560_9513, flags, command, cookie, offset)[..], &length.to_be_bytes()].concat()
}

/// The same with extended headers.
fn extended(flags: u16, command: u16, cookie: u64, offset: u64, length: u64) -> Vec<u8> {
    [&begun(0x21E4_1C71, flags, command, cookie, offset)[..], &length.to_be_bytes()].concat()
}

/// Takes a chunk with this head, and gives its data.
fn chunk<'a>(answers: &mut &'a [u8], flags: u16, kind: u16, cookie: u64, length: usize) -> &'a [u8] {
    let mut expected = 0x668E_33EFu32.to_be_bytes().to_vec();
    expected.extend(flags.to_be_bytes());
    expected.extend(kind.to_be_bytes());
    expected.extend(cookie.to_be_bytes());
    expected.extend((length as u32).to_be_bytes());
    taken(answers, &expected, length)
}

/// The same with extended headers: the chunk is of the request for `offset`.
fn extended_chunk<'a>(answers: &mut &'a [u8], kind: u16, cookie: u64, offset: u64, length: usize) -> &'a [u8] {
    let mut expected = b"\x6E\x8A\x27\x8C\0\x01".to_vec();
    expected.extend(kind.to_be_bytes());
    expected.extend(cookie.to_be_bytes());
    expected.extend(offset.to_be_bytes());
    expected.extend((length as u64).to_be_bytes());
    taken(answers, &expected, length)
}

fn taken<'a>(answers: &mut &'a [u8], head: &[u8], length: usize) -> &'a [u8] {
    let (found, rest) = answers.split_at(head.len());
    assert_eq!(found, head);
    let (data, rest) = rest.split_at(length);
    *answers = rest;
    data
}

/// Flags, then structured replies, block status and the export.
fn begin() -> Vec<u8> {
    begin_by(option::STRUCTURED_REPLY)
}

fn begin_by(headers: u32) -> Vec<u8> {
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend(ask(headers, b""));
    said.extend(ask(option::SET_META_CONTEXT, b"\0\0\0\x04disk\0\0\0\x01\0\0\0\x0fbase:allocation"));
    said.extend(ask(option::GO, b"\0\0\0\x04disk\0\0"));
    said
}

#[test]
fn the_oldest_client_is_told_size_and_flags() {
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend(ask(option::EXPORT_NAME, b"disk"));
    said.extend(request(0, command::READ, 7, 1, 3));
    said.extend(request(0, command::READ, 8, SIZE as u64, 1));
    said.extend(request(0, command::DISC, 0, 0, 0));
    let (done, output) = talk(&memory(), &said);
    done.unwrap();
    let mut expected = GREETING.to_vec();
    expected.extend(b"IHAVEOPT\0\x03");
    expected.extend((SIZE as u64).to_be_bytes());
    expected.extend(0x0D6Du16.to_be_bytes());
    expected.extend(b"\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\x07");
    expected.extend(&memory().bytes.lock()[1..4]);
    expected.extend(b"\x67\x44\x66\x98\0\0\0\x16\0\0\0\0\0\0\0\x08");
    assert_eq!(output, expected);
}

#[test]
fn structured_replies_say_what_and_where() {
    let disk = memory();
    let mut said = begin();
    let before = talk(&disk, &said).1.len();
    said.extend(request(flag::FUA, command::WRITE, 1, 2, 3));
    said.extend(b"abc");
    said.extend(request(0, command::READ, 2, 1, 5));
    said.extend(request(0, command::BLOCK_STATUS, 3, SIZE as u64 / 2 - 16, 32));
    said.extend(request(0, command::WRITE_ZEROES, 4, 0, SIZE as u32 + 1));
    said.extend(request(0, 99, 5, 0, 0));
    said.extend(request(0, command::FLUSH, 6, 0, 0));
    let (done, output) = talk(&disk, &said);
    done.unwrap();
    let mut answers = &output[before..];
    let mut next = |flags, kind, cookie, length| chunk(&mut answers, flags, kind, cookie, length);
    let data = next(1, 1, 2, 13);
    assert_eq!((&data[..8], &data[9..12]), (&[0, 0, 0, 0, 0, 0, 0, 1][..], &b"abc"[..]));
    assert_eq!(next(1, 5, 3, 20), b"\0\0\0\x01\0\0\0\x10\0\0\0\0\0\0\0\x10\0\0\0\x03");
    let past = b"\0\0\0\x1c\0\x17it reaches past the end";
    assert_eq!(next(1, 0x8001, 4, past.len()), past);
    let unknown = b"\0\0\0\x16\0\x1ccommand 99 is not known here";
    assert_eq!(next(1, 0x8001, 5, unknown.len()), unknown);
    // What came together is flushed together, and answered then.
    assert_eq!((next(1, 0, 1, 0), next(1, 0, 6, 0)), (&b""[..], &b""[..]));
    assert!(answers.is_empty());
    assert_eq!(disk.flushed.load(Ordering::Relaxed), 1);
}

#[test]
fn large_requests_go_in_pieces() {
    let disk = memory();
    let mut said = begin();
    let before = talk(&disk, &said).1.len();
    said.extend(request(0, command::WRITE, 1, 0, SIZE as u32));
    said.extend(vec![9; SIZE]);
    said.extend(request(0, command::READ, 2, 0, SIZE as u32));
    said.extend(request(flag::DF, command::READ, 3, 0, SIZE as u32));
    said.extend(request(0, command::READ, 4, 0, 65 << 20));
    said.extend(request(0, command::READ, 5, 0, 0));
    let (done, output) = talk(&disk, &said);
    done.unwrap();
    let mut answers = &output[before..];
    for at in (0..SIZE).step_by(PIECE) {
        let flags = u16::from(at + PIECE == SIZE);
        let data = chunk(&mut answers, flags, 1, 2, 8 + PIECE);
        assert_eq!(data[..8], (at as u64).to_be_bytes());
        assert!(data[8..].iter().all(|byte| *byte == 9));
    }
    // In one piece if that was asked for, and only then it is said that all went well.
    let data = chunk(&mut answers, 0, 1, 3, 8 + SIZE);
    assert!(data[..8] == [0; 8] && data[8..].iter().all(|byte| *byte == 9));
    chunk(&mut answers, 1, 0, 3, 0);
    let past = b"\0\0\0\x16\0\x17it reaches past the end";
    assert_eq!(chunk(&mut answers, 1, 0x8001, 4, past.len()), past);
    assert_eq!(chunk(&mut answers, 1, 0, 5, 0), b"", "a chunk is of a byte at least");
    // The write was handed over when all else had been answered.
    assert_eq!(chunk(&mut answers, 1, 0, 1, 0), b"");
    assert!(answers.is_empty());
}

#[test]
fn what_breaks_in_the_middle_of_one_piece_is_said_at_its_end() {
    let disk = memory();
    disk.broken.store(SIZE / 2, Ordering::Relaxed);
    let mut said = begin();
    let before = talk(&disk, &said).1.len();
    said.extend(request(flag::DF, command::READ, 1, 0, SIZE as u32));
    said.extend(request(0, command::READ, 2, 1, 3));
    let (done, output) = talk(&disk, &said);
    done.unwrap();
    let mut answers = &output[before..];
    let data = chunk(&mut answers, 0, 1, 1, 8 + SIZE);
    // All pieces before the one that broke.
    let good = SIZE / 2 / PIECE * PIECE;
    assert!(data[8..8 + good] == memory().bytes.lock()[..good]);
    assert!(data[8 + good..].iter().all(|byte| *byte == 0));
    assert_eq!(chunk(&mut answers, 1, 0x8001, 1, 12), b"\0\0\0\x05\0\x06broken");
    assert_eq!(chunk(&mut answers, 1, 1, 2, 11)[8..], memory().bytes.lock()[1..4]);
    // Without chunks there is no other way to say it than to go.
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend(ask(option::EXPORT_NAME, b"disk"));
    said.extend(request(0, command::READ, 1, 0, SIZE as u32));
    assert!(talk(&disk, &said).0.is_err());
}

#[test]
fn extended_headers_have_lengths_of_64_bits() {
    let disk = memory();
    let mut said = begin_by(option::EXTENDED_HEADERS);
    let before = talk(&disk, &said).1.len();
    let size = SIZE as u64;
    said.extend(extended(flag::PAYLOAD | flag::FUA, command::WRITE, 1, 2, 3));
    said.extend(b"abc");
    said.extend(extended(flag::DF, command::READ, 2, 1, 5));
    said.extend(extended(0, command::BLOCK_STATUS, 3, size / 2 - 16, size / 2 + 16));
    said.extend(extended(0, command::WRITE_ZEROES, 4, 4096, 1 << 40));
    said.extend(extended(0, command::TRIM, 5, 1, u64::MAX));
    said.extend(extended(0, command::CACHE, 6, 0, size));
    // Data where none belongs is skipped, and a write without any is none.
    said.extend(extended(flag::PAYLOAD, command::BLOCK_STATUS, 7, 0, 12));
    said.extend(b"twelve bytes");
    said.extend(extended(0, command::WRITE, 8, 0, 512));
    said.extend(extended(0, command::READ, 9, 0, 1 << 33));
    said.extend(extended(0, command::WRITE_ZEROES, 10, 4096, 8192));
    let (done, output) = talk(&disk, &said);
    done.unwrap();
    let mut answers = &output[before..];
    let mut next = |kind, cookie, offset, length| extended_chunk(&mut answers, kind, cookie, offset, length);
    let data = next(1, 2, 1, 13);
    assert_eq!((&data[..8], &data[9..12]), (&[0, 0, 0, 0, 0, 0, 0, 1][..], &b"abc"[..]));
    let mut runs = b"\0\0\0\x01\0\0\0\x02".to_vec();
    runs.extend([16, 0, size / 2, 3].map(u64::to_be_bytes).concat());
    assert_eq!(next(6, 3, size / 2 - 16, 40), runs);
    let past = b"\0\0\0\x1c\0\x17it reaches past the end";
    assert_eq!(next(0x8001, 4, 4096, past.len()), past);
    assert_eq!(next(0x8001, 5, 1, past.len())[..4], [0, 0, 0, 22]);
    assert_eq!(next(0, 6, 0, 0), b"");
    let placed = b"\0\0\0\x16\0\x12this takes no data";
    assert_eq!(next(0x8001, 7, 0, placed.len()), placed);
    let bare = b"\0\0\0\x16\0\x2ea write must say that its data comes with it";
    assert_eq!(next(0x8001, 8, 0, bare.len())[8..], bare[8..]);
    assert_eq!(next(0x8001, 9, 0, past.len())[..4], [0, 0, 0, 22]);
    assert_eq!((next(0, 1, 2, 0), next(0, 10, 4096, 0)), (&b""[..], &b""[..]));
    assert!(answers.is_empty());
    assert!(disk.bytes.lock()[4096..12_288].iter().all(|byte| *byte == 0));
}

#[test]
fn extended_headers_are_the_last_word() {
    let disk = memory();
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend(ask(option::STRUCTURED_REPLY, b""));
    said.extend(ask(option::EXTENDED_HEADERS, b"x"));
    said.extend(ask(option::EXTENDED_HEADERS, b""));
    said.extend(ask(option::STRUCTURED_REPLY, b""));
    let (_, output) = talk(&disk, &said);
    let expected = [
        (option::STRUCTURED_REPLY, reply::ACK),
        (option::EXTENDED_HEADERS, reply::ERR_INVALID),
        (option::EXTENDED_HEADERS, reply::ACK),
        (option::STRUCTURED_REPLY, reply::ERR_EXT_HEADER_REQD),
    ];
    assert_eq!(replies(&output).map(|(asked, kind, _)| (asked, kind)).collect::<Vec<_>>(), expected);
    let old = [&said[..], &ask(option::EXPORT_NAME, b"disk")].concat();
    assert_eq!(talk(&disk, &old).0.unwrap_err().kind(), io::ErrorKind::InvalidData);
    // Requests of the other kind are none.
    let mixed = [&begin_by(option::EXTENDED_HEADERS)[..], &request(0, command::FLUSH, 1, 0, 0), &[0; 4]].concat();
    assert!(talk(&disk, &mixed).0.is_err());
    let mixed = [&begin()[..], &extended(0, command::FLUSH, 1, 0, 0)].concat();
    assert!(talk(&disk, &mixed).0.is_err());
}

/// What was answered to options: which, how, and what about it.
fn replies(output: &[u8]) -> impl Iterator<Item = (u32, u32, &[u8])> {
    let mut rest = &output[18..];
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(20)?;
        assert_eq!(head[..8], 0x0003_E889_0455_65A9u64.to_be_bytes());
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let (data, after) = after.split_at(number(16) as usize);
        rest = after;
        Some((number(8), number(12), data))
    })
}

#[test]
fn what_is_told_of_an_export_is_true_whatever_is_asked() {
    let disk = memory();
    let told = |headers: Option<u32>, data: &[u8]| {
        let mut said = 3u32.to_be_bytes().to_vec();
        said.extend(headers.map_or(Vec::new(), |headers| ask(headers, b"")));
        said.extend(ask(option::INFO, data));
        let (_, output) = talk(&disk, &said);
        let found = replies(&output).filter(|(asked, ..)| *asked == option::INFO);
        found.map(|(_, kind, data)| (kind, data.to_vec())).collect::<Vec<_>>()
    };
    let export = |flags: u16| {
        let size = (SIZE as u64).to_be_bytes();
        (reply::INFO, [&info::EXPORT.to_be_bytes()[..], &size, &flags.to_be_bytes()].concat())
    };
    let sizes = (reply::INFO, b"\0\x03\0\0\0\x01\0\0\x10\0\x04\0\0\0".to_vec());
    let name = (reply::INFO, b"\0\x01disk".to_vec());
    let end = (reply::ACK, Vec::new());
    // Of kinds of information that are not known nothing is said.
    let asked = b"\0\0\0\0\0\x04\x12\x34\0\x01\0\x02\xFF\xFF";
    let without_chunks = [export(0x0D6D), sizes.clone(), name, end.clone()];
    assert_eq!(told(None, asked), without_chunks);
    for headers in [option::STRUCTURED_REPLY, option::EXTENDED_HEADERS] {
        assert_eq!(told(Some(headers), b"\0\0\0\0\0\0"), [export(0x0DED), sizes.clone(), end.clone()]);
    }
    // The longest name there may be, and one that is longer.
    for (length, answer) in [(4096u32, reply::ERR_UNKNOWN), (4097, reply::ERR_INVALID)] {
        let data = [&length.to_be_bytes()[..], &vec![b'x'; length as usize], b"\0\0"].concat();
        let answered = told(None, &data);
        assert!(matches!(&answered[..], [(kind, _)] if *kind == answer), "{answered:?}");
    }
}

#[test]
fn whoever_lies_costs_nothing_and_is_hung_up_on() {
    let disk = memory();
    let said = |more: &[u8]| [&begin()[..], more].concat();
    for lie in [
        said(&[&request(0, command::WRITE, 1, 0, 64 << 20)[..], b"short"].concat()),
        said(&request(0, command::WRITE, 1, 0, u32::MAX)),
        said(&[7; 28]),
        [&begin_by(option::EXTENDED_HEADERS)[..], &extended(flag::PAYLOAD, command::READ, 1, 0, 65 << 20)].concat(),
        [&begin_by(option::EXTENDED_HEADERS)[..], &extended(flag::PAYLOAD, command::WRITE, 1, 0, u64::MAX)].concat(),
        [&3u32.to_be_bytes()[..], OPTION, &[0, 0, 0, 7, 0xFF, 0xFF, 0xFF, 0xFF]].concat(),
        [&3u32.to_be_bytes()[..], b"NOT AN OPTION AT ALL"].concat(),
        b"\xFF\xFF\xFF\xFF".to_vec(),
        [&3u32.to_be_bytes()[..], &ask(option::LIST, b"").repeat(10_000)].concat(),
        [&3u32.to_be_bytes()[..], &ask(option::EXPORT_NAME, b"no")].concat(),
    ] {
        let (done, output) = talk(&disk, &lie);
        assert!(done.is_err(), "{:?}", &lie[..40.min(lie.len())]);
        assert!(output.len() < 64 << 10, "{}", output.len());
    }
}

#[test]
fn nothing_that_is_said_makes_it_panic() {
    let disk = memory();
    let (mut whole, mut long) = (begin(), begin_by(option::EXTENDED_HEADERS));
    for (at, asked) in [0, 1, 3, 4, 5, 6, 7, command::DISC].into_iter().enumerate() {
        let (cookie, offset) = (at as u64, at as u64 * 4096);
        let data: &[u8] = if asked == command::WRITE { &[5; 512] } else { &[] };
        let flags = if data.is_empty() { 0 } else { flag::PAYLOAD };
        whole.extend(request(0, asked, cookie, offset, 512));
        long.extend(extended(flags, asked, cookie, offset, 512));
        whole.extend(data);
        long.extend(data);
    }
    let mut dice = 9u64;
    let mut draw = |below: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as usize % below
    };
    for round in 0..20_000 {
        let mut said = if round % 2 == 0 { whole.clone() } else { long.clone() };
        for _ in 0..1 + draw(4) {
            let at = draw(said.len());
            match draw(4) {
                0 => said[at] ^= 1 << draw(8),
                1 => said[at] = [0, 1, 0x7F, 0x80, 0xFF][draw(5)],
                2 => said.truncate(at + 1),
                _ => drop(said.splice(at..(at + draw(40)).min(said.len()), [])),
            }
            if said.is_empty() {
                break;
            }
        }
        let (_, output) = talk(&disk, &said);
        assert!(output.len() < 70 << 20);
        assert!(talk_before_tls(&said).1.len() < 1 << 20);
    }
}

/// What comes of a client that says all this where TLS is needed, and whether it may begin it.
fn talk_before_tls(said: &[u8]) -> (io::Result<bool>, Vec<u8>) {
    let mut output = Vec::new();
    let mut input = Input::new(said, INPUT);
    let greeted = greet(&mut input, &mut output);
    let done = greeted.and_then(|greeted| until_tls(&mut input, &mut output, greeted));
    (done, output)
}

#[test]
fn before_tls_nothing_else_is_answered() {
    let mut said = 3u32.to_be_bytes().to_vec();
    let refused =
        [option::LIST, option::INFO, option::GO, option::STRUCTURED_REPLY, option::EXTENDED_HEADERS, 77, u32::MAX];
    for asked in refused {
        said.extend(ask(asked, b"\0\0\0\0\0\0"));
    }
    said.extend(ask(option::STARTTLS, b"x"));
    let begun = [&said[..], &ask(option::STARTTLS, b"")].concat();
    let (done, output) = talk_before_tls(&begun);
    assert!(done.unwrap());
    let mut expected: Vec<_> = refused.map(|asked| (asked, reply::ERR_TLS_REQD)).to_vec();
    expected.extend([(option::STARTTLS, reply::ERR_INVALID), (option::STARTTLS, reply::ACK)]);
    assert_eq!(replies(&output).map(|(asked, kind, _)| (asked, kind)).collect::<Vec<_>>(), expected);
    let left = [&said[..], &ask(option::ABORT, b"")].concat();
    assert!(!talk_before_tls(&left).0.unwrap());
    // What comes before the answer may be from somebody between, and is never taken for what TLS brought.
    let injected = [&begun[..], &ask(option::LIST, b"")].concat();
    let (done, output) = talk_before_tls(&injected);
    assert_eq!(done.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(replies(&output).all(|(_, kind, _)| kind != reply::ACK));
    // The old way to ask has no way to be refused, and who does not take answers cannot be told anything.
    assert!(talk_before_tls(&[&said[..], &ask(option::EXPORT_NAME, b"disk")].concat()).0.is_err());
    assert!(talk_before_tls(&[&2u32.to_be_bytes()[..], &ask(option::STARTTLS, b"")].concat()).0.is_err());
    assert!(talk_before_tls(&[&said[..4], &ask(option::LIST, b"").repeat(10_000)].concat()).0.is_err());
    // Where there is none, that is said.
    let (_, output) = talk(&memory(), &[&said[..4], &ask(option::STARTTLS, b"")].concat());
    assert!(replies(&output).eq([(option::STARTTLS, reply::ERR_POLICY, &b"there is no TLS here"[..])]));
}
