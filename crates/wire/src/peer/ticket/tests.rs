use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;

fn ticket() -> Ticket {
    Ticket {
        group: GroupId(core::array::from_fn(|at| at as u8)),
        via: NodeId([0x22; 32]),
        secret: core::array::from_fn(|at| 0xFF - at as u8),
        expires: 1_800_000_000_000,
        addresses: vec!["192.168.1.20:7072".into(), "okapi.example.org:7072".into()],
    }
}

/// Everybody's tickets hang on this.
const GOLDEN: &str = include_str!("golden.txt");

fn golden() -> &'static str {
    GOLDEN.trim()
}

#[test]
fn the_text_is_for_ever() {
    assert_eq!(ticket().to_text(), golden());
    assert_eq!(Ticket::parse(golden()), Ok(ticket()));
    assert_eq!(format!("{:?}", ticket()), "Ticket(GroupId(00010203) via NodeId(22222222), not shown)");
}

#[test]
fn how_it_is_typed_does_not_matter() {
    let text = golden();
    let body = text.strip_prefix(PREFIX).unwrap();
    for typed in [
        text.to_lowercase(),
        text.to_uppercase(),
        format!("  \n{text}\r\n"),
        text.replace("-", "-\n  "),
        format!("{PREFIX}{}", body.replace('-', "")),
        format!("{PREFIX}{}", body.replace('-', " ")),
        format!("{PREFIX}{}", body.replace('0', "o").replace('1', "I")),
        format!("{PREFIX}{}", body.replace('0', "O").replace('1', "l")),
    ] {
        assert_eq!(Ticket::parse(&typed), Ok(ticket()), "{typed}");
    }
}

#[test]
fn the_longest_and_the_shortest_come_back() {
    let longest = Ticket { addresses: vec!["x".repeat(ADDRESS_MAX); ADDRESSES_MAX], ..ticket() };
    assert_eq!(longest.to_text().len(), TEXT_MAX);
    assert_eq!(Ticket::parse(&longest.to_text()), Ok(longest));
    let shortest = Ticket { addresses: vec![], ..ticket() };
    assert_eq!(Ticket::parse(&shortest.to_text()), Ok(shortest));
    assert!(is_address("[fe80::1]:7072") && !is_address("") && !is_address("a b") && !is_address("a\n"));
}

#[test]
fn every_wrong_character_is_found_in_its_group() {
    let text = golden();
    for (at, was) in text.char_indices().skip(PREFIX.len()).filter(|(_, c)| *c != '-') {
        let group = text[PREFIX.len()..at].matches('-').count() + 1;
        for other in "0123456789ABCDEFGHJKMNPQRSTVWXYZU!ß".chars().filter(|other| *other != was) {
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            let found = match Ticket::parse(&changed).unwrap_err() {
                TicketError::Group { group, .. } | TicketError::Character { group, .. } => group,
                error => panic!("{at} {other}: {error}"),
            };
            assert_eq!(found, group, "{at} {other}");
        }
    }
    for at in 0..PREFIX.len() {
        let changed = format!("{}x{}", &text[..at], &text[at + 1..]);
        assert_eq!(Ticket::parse(&changed), Err(TicketError::NoTicket));
    }
}

#[test]
fn every_cut_is_told_as_one() {
    let text = golden();
    let letters = |text: &str| text.chars().filter(|c| *c != '-').count();
    for cut in 0..text.len() {
        let error = Ticket::parse(&text[..cut]).unwrap_err();
        let there = cut.saturating_sub(PREFIX.len());
        let expected = match there {
            _ if cut < PREFIX.len() => TicketError::NoTicket,
            0..8 => TicketError::OnlyBegun,
            _ => TicketError::CutOff { found: letters(&text[..cut]), whole: letters(text) },
        };
        assert_eq!(error, expected, "cut at {cut}");
    }
    assert_eq!(Ticket::parse(""), Err(TicketError::NoTicket));
}

#[test]
fn letters_too_many_too_few_and_in_each_others_place_are_found() {
    let text = golden();
    for at in (PREFIX.len()..text.len()).filter(|at| text.as_bytes()[*at] != b'-') {
        let group = text[PREFIX.len()..at].matches('-').count() + 1;
        let last = !text[at..].contains('-');
        let without = format!("{}{}", &text[..at], &text[at + 1..]);
        let error = Ticket::parse(&without).unwrap_err();
        if !last {
            assert_eq!(error, TicketError::GroupLength { group, length: 7 }, "without {at}");
        }
        let doubled = format!("{}7{}", &text[..at], &text[at..]);
        let error = Ticket::parse(&doubled).unwrap_err();
        if !last {
            assert_eq!(error, TicketError::GroupLength { group, length: 9 }, "more at {at}");
        }
        let mut bytes = text.as_bytes().to_vec();
        if bytes.get(at + 1).is_some_and(|next| *next != b'-' && *next != bytes[at]) {
            bytes.swap(at, at + 1);
            let swapped = String::from_utf8(bytes).unwrap();
            assert!(matches!(Ticket::parse(&swapped), Err(TicketError::Group { group: found, .. }) if found == group));
        }
    }
    let mut groups: Vec<&str> = text[PREFIX.len()..].split('-').collect();
    groups.swap(3, 4);
    let swapped = format!("{PREFIX}{}", groups.join("-"));
    assert!(matches!(Ticket::parse(&swapped), Err(TicketError::Group { group: 4, .. })));
    assert_eq!(Ticket::parse(&format!("{text}-00")), Err(TicketError::TooLong { more: 2 }));
}

/// A text of these bytes with the right check letters.
fn text_of(bytes: &[u8]) -> String {
    let mut text = PREFIX.to_string();
    letters::write(bytes, &mut text);
    text
}

fn bytes_of(ticket: &Ticket) -> Vec<u8> {
    letters::read(&ticket.to_text()[PREFIX.len()..], announced).unwrap()
}

#[test]
fn what_means_nothing_is_refused() {
    let good = bytes_of(&ticket());
    assert_eq!(text_of(&good), golden());
    let with = |at: usize, byte: u8, honest: bool| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        if honest {
            let length = bytes.len() - CRC_BYTES;
            let crc = crc32c(&bytes[..length]);
            bytes[length..].copy_from_slice(&crc.to_le_bytes());
        }
        Ticket::parse(&text_of(&bytes)).unwrap_err()
    };
    assert_eq!(with(0, 2, true), TicketError::Newer { version: 2 });
    assert_eq!(with(50, 0x99, false), TicketError::Checksum);
    assert_eq!(with(HEAD_BYTES - 1, 1, true), TicketError::Malformed, "bytes are left");
    assert_eq!(with(HEAD_BYTES - 1, 9, true), TicketError::Malformed, "too many addresses");
    assert_eq!(with(HEAD_BYTES, 250, true), TicketError::Malformed, "an address past the end");
    assert_eq!(with(HEAD_BYTES + 3, b' ', true), TicketError::Malformed, "a blank in an address");
    assert_eq!(with(HEAD_BYTES + 3, 0xFF, true), TicketError::Malformed, "no text");
    assert!(matches!(with(1, 0, true), TicketError::Malformed | TicketError::TooLong { .. }), "too short");
}

proptest! {
    #![proptest_config(Config { cases: 3000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "(okapi-)?[-0-9A-Za-z \nß]{0,80}") {
        let _ = Ticket::parse(&text);
    }

    #[test]
    fn any_bytes_with_the_right_letters_are_an_error_or_come_back(mut bytes in proptest::collection::vec(any::<u8>(), 3..300)) {
        bytes[0] = VERSION;
        let length = (bytes.len() + CRC_BYTES) as u16;
        bytes[1..3].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        if let Ok(ticket) = Ticket::parse(&text_of(&bytes)) {
            proptest::prop_assert_eq!(ticket.to_text(), text_of(&bytes));
        }
    }
}
