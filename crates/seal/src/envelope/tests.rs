//! Envelopes against their golden bytes, and against everything that is not one.

use super::*;
use crate::pem::PemKey;
use crate::rsa::{RsaPrivateKey, RsaSize};

const RSA_PEM: &[u8] = include_bytes!("../../testdata/rsa-2048.pem");
/// The key `[1; 32]` for grid `golden`, sealed to the X25519 key `[2; 32]` and to the RSA key above.
const GOLDEN: &[u8] = include_bytes!("../../testdata/envelope.bin");
/// The same key, sealed to the passphrase `golden`.
const GOLDEN_PASSPHRASE: &[u8] = include_bytes!("../../testdata/envelope-passphrase.bin");

fn x25519(byte: u8) -> RecipientKey {
    RecipientKey::X25519(Secret::from_bytes([byte; 32]))
}

fn rsa() -> RecipientKey {
    match PemKey::parse(RSA_PEM).unwrap() {
        PemKey::RecipientKey(key) => key,
        other => panic!("{other:?}"),
    }
}

fn grid(name: &str) -> Context {
    Context::of_grid(name.as_bytes())
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn opens(bytes: &[u8], key: &RecipientKey, context: &Context) -> Result<[u8; 32], OpenError> {
    Envelope::parse(bytes).unwrap().open_with(key, context).map(|key| *key.secret().bytes())
}

#[test]
fn the_golden_bytes_open() {
    assert_eq!(opens(GOLDEN, &x25519(2), &grid("golden")), Ok([1; 32]));
    assert_eq!(opens(GOLDEN, &rsa(), &grid("golden")), Ok([1; 32]));
    let envelope = Envelope::parse(GOLDEN_PASSPHRASE).unwrap();
    let key = envelope.open_with_passphrase(&passphrase("golden"), &grid("golden")).unwrap();
    assert_eq!(key.secret().bytes(), &[1; 32]);
}

/// Byte by byte as `docs/format/envelope.md` has it.
#[test]
fn the_bytes_are_where_the_format_says() {
    assert_eq!(GOLDEN[..8], *b"OKEV\x01\x01\x02\x00");
    assert_eq!(GOLDEN[8..12], [2, 0, 80, 0]);
    assert_eq!(GOLDEN[12..44], x25519(2).recipient().id().0);
    assert_eq!(GOLDEN[124..128], [3, 0, 0, 1]);
    assert_eq!(GOLDEN[128..160], rsa().recipient().id().0);
    assert_eq!(GOLDEN.len(), 160 + 256);
    let RecipientKey::Rsa(private) = rsa() else { panic!("it is RSA") };
    let inner = private.open(&GOLDEN[160..]).unwrap();
    assert_eq!(inner[..32], [1; 32], "the data key comes first: openssl finds it there");
    assert_eq!(inner[32..], grid("golden").0.0);
    assert_eq!(GOLDEN_PASSPHRASE[..12], *b"OKEV\x01\x01\x01\x00\x04\x00\x4c\x00");
    assert_eq!(GOLDEN_PASSPHRASE[12..44], [0; 32]);
    assert_eq!(GOLDEN_PASSPHRASE[44..72], Stretch::quick([3; 16]).bytes());
    let made =
        DataKey::from_bytes([1; 32]).seal_stretched(&passphrase("golden"), &Stretch::quick([3; 16]), &grid("golden"));
    assert_eq!(made, GOLDEN_PASSPHRASE);
}

#[test]
fn each_recipient_opens_it_and_nobody_else() {
    let keys = [x25519(1), rsa(), x25519(2)];
    let recipients = keys.each_ref().map(RecipientKey::recipient);
    let key = DataKey::random();
    let sealed = key.seal_to(&recipients, &grid("one")).unwrap();
    for recipient in &keys {
        assert_eq!(opens(&sealed, recipient, &grid("one")).unwrap(), *key.secret().bytes());
        assert_eq!(opens(&sealed, recipient, &grid("two")), Err(OpenError::Forged), "another grid");
    }
    assert_eq!(opens(&sealed, &x25519(3), &grid("one")), Err(OpenError::NotForThisKey));
    let envelope = Envelope::parse(&sealed).unwrap();
    assert!(envelope.recipients().eq(recipients.iter().map(Recipient::id)) && !envelope.takes_passphrase());
    let refused = envelope.open_with_passphrase(&passphrase("x"), &grid("one")).unwrap_err();
    assert_eq!(refused, OpenError::NoPassphrase);
}

#[test]
fn only_the_passphrase_opens_it() {
    let key = DataKey::random();
    let sealed = key.seal_stretched(&passphrase("one"), &Stretch::quick([1; 16]), &grid("one"));
    let envelope = Envelope::parse(&sealed).unwrap();
    assert!(envelope.takes_passphrase() && envelope.recipients().count() == 0);
    let with = |text: &str, name: &str| envelope.open_with_passphrase(&passphrase(text), &grid(name)).map(|_| ());
    assert_eq!(with("one", "one"), Ok(()));
    assert_eq!(with("two", "one"), Err(OpenError::WrongPassphrase));
    assert_eq!(with("one", "two"), Err(OpenError::WrongPassphrase));
    assert_eq!(opens(&sealed, &x25519(1), &grid("one")), Err(OpenError::NotForThisKey));
    let mut greedy = sealed.clone();
    greedy[47] = 0xff;
    let refused = Envelope::parse(&greedy).unwrap().open_with_passphrase(&passphrase("one"), &grid("one"));
    assert_eq!(refused.unwrap_err(), OpenError::TooMuch);
}

#[test]
fn a_deed_has_room_for_the_longest_to_one_recipient() {
    let longest = RecipientKey::Rsa(RsaPrivateKey::generate(RsaSize::Bits4096));
    let sealed = DataKey::random().seal_to(&[longest.recipient()], &grid("one")).unwrap();
    assert!(sealed.len() <= ONE_RECIPIENT_MAX, "{}", sealed.len());
    let sealed = DataKey::random().seal_to(&vec![longest.recipient(); 16], &grid("one")).unwrap();
    assert!(sealed.len() <= ENVELOPE_MAX);
    for count in [0, 17, 256, 257] {
        let refused = DataKey::random().seal_to(&vec![x25519(1).recipient(); count], &grid("one")).unwrap_err();
        assert_eq!(refused, SealError::Recipients { count });
    }
    let nobody = Recipient::X25519([0; 32]);
    assert_eq!(DataKey::random().seal_to(&[nobody], &grid("one")).unwrap_err(), SealError::NoKey);
}

#[test]
fn algorithms_of_later_versions_are_passed_over() {
    let mut sealed = GOLDEN.to_vec();
    sealed[8] = 99;
    assert_eq!(opens(&sealed, &rsa(), &grid("golden")), Ok([1; 32]));
    assert_eq!(opens(&sealed, &x25519(2), &grid("golden")), Err(OpenError::Algorithm { algorithm: 99 }));
    let mut swapped = GOLDEN.to_vec();
    swapped[12..44].copy_from_slice(&rsa().recipient().id().0);
    assert_eq!(opens(&swapped, &rsa(), &grid("golden")), Err(OpenError::Algorithm { algorithm: 2 }));
}

#[test]
fn what_is_wrong_is_named() {
    let parse = |bytes: &[u8]| Envelope::parse(bytes).map(|_| ()).unwrap_err();
    for at in 0..GOLDEN.len() {
        assert_eq!(parse(&GOLDEN[..at]), EnvelopeError::Cut, "cut at {at}");
    }
    assert_eq!(parse(&[GOLDEN, &[0]].concat()), EnvelopeError::Nonsense { what: "its end" });
    let with = |at: usize, byte: u8| {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] = byte;
        parse(&bytes)
    };
    assert_eq!(with(0, b'X'), EnvelopeError::NotOne);
    assert_eq!(with(4, 2), EnvelopeError::Newer { version: 2, algorithm: 1 });
    assert_eq!(with(5, 9), EnvelopeError::Newer { version: 1, algorithm: 9 });
    for (at, byte) in [(6, 0), (6, 17), (7, 1)] {
        assert_eq!(with(at, byte), EnvelopeError::Nonsense { what: "its number of recipients" });
    }
    for (at, byte) in [(9, 1), (10, 81), (11, 1), (124, 2)] {
        assert_eq!(with(at, byte), EnvelopeError::Nonsense { what: "one of its recipients" });
    }
}

/// Whatever is changed: it is refused, or a recipient that was left alone still finds the very key.
#[test]
fn no_changed_byte_opens_to_another_key() {
    let (mut dice, keys) = (crate::dice::Dice::new(0xe0e1), [x25519(2), rsa()]);
    for round in 0..6_000 {
        let mut bytes = GOLDEN.to_vec();
        dice.spoil(&mut bytes);
        let Ok(envelope) = Envelope::parse(&bytes) else { continue };
        // RSA is slow: now and then is enough.
        let key = &keys[usize::from(round % 32 == 0)];
        if let Ok(key) = envelope.open_with(key, &grid("golden")) {
            assert_eq!(key.secret().bytes(), &[1; 32], "round {round}");
        }
    }
}
