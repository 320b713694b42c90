use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;

fn announcement() -> Announcement {
    Announcement {
        node: NodeId([0x11; 32]),
        stamp: 1_800_000_000_000,
        name: "ada's NAS ö".to_string(),
        addresses: vec!["tcp://192.0.2.1:7072".to_string(), "tcp://[2001:db8::1]:7072".to_string()],
        signature: [0x22; 64],
    }
}

fn bytes_of(announcement: &Announcement) -> Vec<u8> {
    encoded(|body| announcement.encode(body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes() {
    let head = format!("01{}00505c18a3010000", "11".repeat(32));
    let name = "0c006164612773204e415320c3b6";
    let first = "14007463703a2f2f3139322e302e322e313a37303732";
    let second = "18007463703a2f2f5b323030313a6462383a3a315d3a37303732";
    let unsigned = format!("{head}{name}02{first}{second}");
    assert_eq!(hex(&announcement().signed_bytes()), unsigned);
    assert_eq!(hex(&bytes_of(&announcement())), format!("{unsigned}{}", "22".repeat(64)));
}

#[test]
fn all_comes_back_and_no_part_is_taken_for_the_whole() {
    let bare = Announcement { name: String::new(), addresses: Vec::new(), ..announcement() };
    let full = Announcement {
        name: "n".repeat(NAME_MAX),
        addresses: vec!["a".repeat(ADDRESS_MAX); ADDRESSES_MAX],
        ..announcement()
    };
    assert_eq!(bytes_of(&full).len(), ANNOUNCEMENT_BYTES_MAX);
    for announcement in [announcement(), bare, full] {
        let bytes = bytes_of(&announcement);
        assert_eq!(Announcement::parse(&bytes), Ok(announcement));
        for length in 0..bytes.len() {
            assert_eq!(Announcement::parse(&bytes[..length]), Err(BodyError::Short), "{length} bytes");
        }
    }
}

#[test]
fn what_nobody_could_show_or_dial_is_refused() {
    let parse = |name: &str, address: &str| {
        let mut bytes = bytes_of(&Announcement { name: String::new(), addresses: Vec::new(), ..announcement() });
        bytes.truncate(41);
        let mut body = BodyWriter::new(&mut bytes);
        body.text(name);
        body.u8(1);
        body.text(address);
        body.bytes(&[0x22; 64]);
        Announcement::parse(&bytes)
    };
    assert!(parse("ada", "tcp://a:1").is_ok());
    assert_eq!(parse("\u{1b}[2J", "tcp://a:1"), Err(BodyError::BadValue { field: "node name" }));
    assert_eq!(parse(&"n".repeat(65), "tcp://a:1"), Err(BodyError::TooLong { length: 65, most: 64 }));
    for address in ["", "tcp://a:1\n", "tcp://a b:1", "tcp://ä:1"] {
        assert_eq!(parse("ada", address), Err(BodyError::BadValue { field: "address" }), "{address:?}");
    }
    assert_eq!(parse("ada", &"a".repeat(129)), Err(BodyError::TooLong { length: 129, most: 128 }));

    let mut bytes = bytes_of(&announcement());
    bytes[0] = 2;
    assert_eq!(Announcement::parse(&bytes), Err(BodyError::BadValue { field: "announcement version" }));
    let mut bytes = bytes_of(&announcement());
    bytes[33..41].copy_from_slice(&(STAMP_MAX + 1).to_le_bytes());
    assert_eq!(Announcement::parse(&bytes), Err(BodyError::BadValue { field: "announcement stamp" }));
}
