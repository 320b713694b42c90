//! Bytes that no client of ours sends: the node says what is wrong with them, and goes on.

use crate::house::House;
use okapi_wire::{BodyWriter, Frame, Header, Hello, Limits, Message, Op, Status, Token, frame};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// A frame with a right checksum.
fn signed(header: Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = Header { body: u32::try_from(body.len()).unwrap(), ..header }.encode().to_vec();
    bytes.extend_from_slice(body);
    let described = 32 + header_described(&bytes);
    let (head, _) = bytes.split_at_mut(described);
    frame::sign(head);
    bytes
}

fn header_described(bytes: &[u8]) -> usize {
    let (count, body) = (u16::from_le_bytes([bytes[12], bytes[13]]) as usize, bytes.len() - 32);
    let each = Op::from_code(bytes[9]).map_or(0, Op::ask_bytes);
    if each == 0 || count == 0 { body } else { (each * count).min(body) }
}

fn hello(oldest: u8, newest: u8) -> Vec<u8> {
    let hello = Hello { oldest, newest, limits: Limits::default(), token: Token::NONE };
    let mut body = Vec::new();
    hello.encode(&mut BodyWriter::new(&mut body));
    signed(Header::ask(Op::Hello, 7, 0), &body)
}

/// What the node answers, frame by frame, until it hangs up: operation, status and text.
fn answers(socket: &mut UnixStream) -> Vec<(u8, Status, String)> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    let mut answers = Vec::new();
    let mut rest = &bytes[..];
    while let Some((frame, length)) = Frame::parse(rest, 1 << 24).expect("whole frames") {
        let text =
            if frame.header.status == 0 { String::new() } else { String::from_utf8_lossy(frame.descriptors).into() };
        answers.push((frame.header.op, Status::from_code(frame.header.status), text));
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    answers
}

/// Sends these bytes on a connection of their own, and gives the last thing the node says before it hangs up.
fn last_words(house: &House, parts: &[&[u8]]) -> (u8, Status, String) {
    let mut socket = UnixStream::connect(house.path("data/okapi.sock")).unwrap();
    for part in parts {
        socket.write_all(part).unwrap();
    }
    answers(&mut socket).pop().expect("it says why")
}

#[test]
fn malformed_frames_are_told_what_is_wrong_and_end_only_their_connection() {
    let house = House::new();
    let _node = house.up(&[]);
    house.ok("put -i1 --text unharmed -q");
    let (goodbye, welcome) = (Op::Goodbye as u8, hello(1, 1));
    let ping = signed(Header::ask(Op::Ping, 1, 0), &[]);
    let twisted = |at: usize| {
        let mut bytes = ping.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let get = |count: u16, body: &[u8]| signed(Header { count, ..Header::ask(Op::Get, 1, 0) }, body);
    let long = Header { body: 1 << 30, ..Header::ask(Op::Put, 1, 0) }.encode();
    for (what, bytes, status, text) in [
        ("another protocol", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), Status::Malformed, "OKPI"),
        ("a wrong magic", twisted(0), Status::Malformed, "OKPI"),
        ("a wrong checksum", twisted(17), Status::Malformed, "checksum"),
        ("a newer version", twisted(8), Status::Malformed, "version 65"),
        ("more than a frame may have", long.to_vec(), Status::Malformed, "1073741824"),
        ("more descriptors than allowed", get(1025, &[0; 16]), Status::Malformed, "1025"),
        ("descriptors that are not there", get(3, &[0; 16]), Status::Malformed, "descriptors"),
    ] {
        let (op, said, words) = last_words(&house, &[&welcome, &bytes]);
        assert!((op, said) == (goodbye, status) && words.contains(text), "{what}: {op:x} {said:?} {words}");
    }
    assert_eq!(house.ok("get #1"), "unharmed");
}

#[test]
fn a_wrong_version_or_no_hello_at_all_is_refused_in_words() {
    let house = House::new();
    let _node = house.up(&[]);
    let (op, status, text) = last_words(&house, &[&hello(9, 12)]);
    assert!((op & !Op::REPLY, status) == (Op::Hello as u8, Status::WrongVersion), "{op:x} {status:?} {text}");
    assert!(text.contains("9 to 12") && text.contains('1'), "{text}");
    let mut socket = UnixStream::connect(house.path("data/okapi.sock")).unwrap();
    socket.write_all(&signed(Header::ask(Op::Ping, 1, 0), &[])).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let (_, status, text) = &answers(&mut socket)[0];
    assert!(*status == Status::NoHello && text.contains("must begin with a hello"), "{status:?} {text}");
    // One that speaks ours too is welcome.
    let mut socket = UnixStream::connect(house.path("data/okapi.sock")).unwrap();
    socket.write_all(&hello(1, 200)).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(answers(&mut socket)[0].1, Status::Ok);
}
