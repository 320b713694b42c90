//! Conversations over plain memory: as they should be, and as they should not.

use super::handshake::shake;
use super::input::Input;
use super::serve::{INPUT, PIECE, serve};
use super::wire::{GREETING, OPTION, command, flag, option};
use crate::catalog::{Catalog, Refused};
use crate::device::{Device, Trouble};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIZE: usize = 3 << 20;

/// A disk in memory, half of which is zeros, and how often it was flushed.
struct Memory(Mutex<Vec<u8>>, AtomicUsize);

impl Device for Memory {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Trouble> {
        into.copy_from_slice(&self.0.lock()[offset as usize..offset as usize + into.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8], _: bool) -> Result<(), Trouble> {
        self.0.lock()[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, _: bool) -> Result<(), Trouble> {
        self.0.lock()[offset as usize..(offset + length) as usize].fill(0);
        Ok(())
    }

    fn flush(&self) -> Result<(), Trouble> {
        self.1.fetch_add(1, Ordering::Relaxed);
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
    Arc::new(Memory(Mutex::new(bytes), AtomicUsize::new(0)))
}

/// What the server says to a client that says all this at once.
fn talk(disk: &Arc<Memory>, said: &[u8]) -> (io::Result<()>, Vec<u8>) {
    let mut output = Vec::new();
    let mut input = Input::new(said, INPUT);
    let done = shake(&mut input, &mut output, disk).and_then(|agreed| match agreed {
        Some(agreed) => serve(&mut input, &mut output, &agreed),
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

fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

/// Flags, then structured replies, block status and the export.
fn begin() -> Vec<u8> {
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend(ask(option::STRUCTURED_REPLY, b""));
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
    expected.extend(0x0DEDu16.to_be_bytes());
    expected.extend(b"\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\x07");
    expected.extend(&memory().0.lock()[1..4]);
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
    let mut next = |flags: u16, kind: u16, cookie: u64, length: usize| {
        let (head, rest) = answers.split_at(20);
        let mut expected = 0x668E_33EFu32.to_be_bytes().to_vec();
        expected.extend(flags.to_be_bytes());
        expected.extend(kind.to_be_bytes());
        expected.extend(cookie.to_be_bytes());
        expected.extend((length as u32).to_be_bytes());
        assert_eq!(head, expected);
        let (data, rest) = rest.split_at(length);
        answers = rest;
        data
    };
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
    assert_eq!(disk.1.load(Ordering::Relaxed), 1);
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
    let (done, output) = talk(&disk, &said);
    done.unwrap();
    let answers = &output[before..];
    assert_eq!(answers.iter().filter(|byte| **byte == 9).count(), SIZE);
    let chunks = answers.windows(4).filter(|four| **four == 0x668E_33EFu32.to_be_bytes()).count();
    assert_eq!(chunks, 1 + SIZE.div_ceil(PIECE) + 1 + 1);
}

#[test]
fn whoever_lies_costs_nothing_and_is_hung_up_on() {
    let disk = memory();
    let said = |more: &[u8]| [&begin()[..], more].concat();
    for lie in [
        said(&[&request(0, command::WRITE, 1, 0, 64 << 20)[..], b"short"].concat()),
        said(&request(0, command::WRITE, 1, 0, u32::MAX)),
        said(&[7; 28]),
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
    let mut whole = begin();
    for (at, asked) in (0..8).enumerate() {
        whole.extend(request(0, asked, at as u64, at as u64 * 4096, 512));
        if asked == command::WRITE {
            whole.extend([5; 512]);
        }
    }
    let mut dice = 9u64;
    let mut draw = |below: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let mut said = whole.clone();
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
    }
}
