//! Member keys on the disk.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// The member `[1; 32]` without a passphrase, and under the passphrase `golden`.
const GOLDEN: [&[u8]; 2] =
    [include_bytes!("../../testdata/member-key.bin"), include_bytes!("../../testdata/member-key-protected.bin")];

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn member() -> MemberSecret {
    MemberSecret::from_bytes([1; 32])
}

fn protected() -> MemberKey {
    MemberKey::with(&member(), Some((&passphrase("golden"), &Stretch::quick([3; 16]))))
}

/// With a checksum that is right again.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn the_golden_bytes_are_written_and_read() {
    assert_eq!(MemberKey::with(&member(), None).bytes.as_slice(), GOLDEN[0]);
    assert_eq!(protected().bytes.as_slice(), GOLDEN[1]);
    for golden in GOLDEN {
        let key = MemberKey::parse(golden).unwrap();
        assert_eq!(key.id(), member().id());
        assert_eq!(key.recipient().id(), member().recipient_key().recipient().id());
        assert_eq!(key.unlock(Some(&passphrase("golden"))).unwrap().id(), member().id());
    }
    assert_eq!(GOLDEN[0][..12], *b"OKAPIMEM\x01\x00\x00\x00");
    assert_eq!(GOLDEN[0][12..40], [0; 28]);
    assert_eq!(GOLDEN[0][104..136], [1; 32], "the secret stands there as it is");
    assert_eq!(GOLDEN[0][136..152], [0; 16]);
    assert_eq!(GOLDEN[1][..12], *b"OKAPIMEM\x01\x00\x04\x00");
    assert_eq!(GOLDEN[1][40..104], GOLDEN[0][40..104], "what is public is the same");
}

#[test]
fn a_key_comes_back_from_its_file_and_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("member.key");
    let error = MemberKey::load(&path).unwrap_err();
    assert!(matches!(error, MemberKeyError::Missing { .. }) && error.to_string().contains("okapi key new"), "{error}");
    let secret = MemberSecret::random();
    MemberKey::new(&secret, Some(&passphrase("one"))).create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let key = MemberKey::load(&path).unwrap();
    assert!(key.is_protected());
    assert_eq!(key.unlock(Some(&passphrase("one"))).unwrap().phrase().as_str(), secret.phrase().as_str());
    assert_eq!(key.unlock(Some(&passphrase("two"))).unwrap_err(), UnlockError::WrongPassphrase);
    assert_eq!(key.unlock(None).unwrap_err(), UnlockError::NeedsPassphrase);
    let other = MemberKey::new(&MemberSecret::random(), None);
    assert!(matches!(other.create(&path), Err(KeyError::Exists { .. })));
    assert_eq!(MemberKey::load(&path).unwrap().id(), secret.id());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(MemberKey::load(&path), Err(MemberKeyError::File(KeyError::TooOpen { .. }))));
}

#[test]
fn any_flipped_or_missing_byte_is_noticed() {
    for golden in GOLDEN {
        for at in 0..golden.len() {
            let mut bad = golden.to_vec();
            bad[at] ^= 1;
            assert!(MemberKey::parse(&bad).is_err(), "byte {at}");
            assert!(MemberKey::parse(&golden[..at]).is_err(), "cut at {at}");
        }
        assert!(MemberKey::parse(&[golden, &[0]].concat()).is_err());
    }
}

/// Somebody who can write the file and mend its checksum cannot make a member use other keys than its own.
#[test]
fn a_forged_public_half_does_not_unlock() {
    for (golden, error) in GOLDEN.into_iter().zip([UnlockError::OtherMember, UnlockError::WrongPassphrase]) {
        for at in [40, 72, 103] {
            let mut bad = golden.to_vec();
            bad[at] ^= 1;
            let key = MemberKey::parse(&mended(bad)).unwrap();
            assert_eq!(key.unlock(Some(&passphrase("golden"))).unwrap_err(), error, "byte {at}");
        }
    }
}

#[test]
fn nothing_secret_is_in_a_protected_file_or_shown() {
    let key = protected();
    assert!(!key.bytes.windows(32).any(|window| window == [1; 32]));
    assert_eq!(format!("{key:?}"), format!("MemberKey(of {:?})", member().id()));
}

#[test]
fn spoiled_files_are_refused() {
    let mut dice = crate::dice::Dice::new(0x3e3);
    for round in 0..20_000 {
        let mut bytes = GOLDEN[round % 2].to_vec();
        dice.spoil(&mut bytes);
        // Half of them with the right length and checksum, so that what comes after these is looked at too.
        if round % 4 < 2 {
            bytes.resize(FILE_BYTES, 0);
            bytes = mended(bytes);
        }
        let Ok(key) = MemberKey::parse(&bytes) else { continue };
        // Not under a passphrase: what it asks for is bounded, but many rounds of it are long.
        if !key.is_protected()
            && let Ok(secret) = key.unlock(None)
        {
            assert_eq!(secret.id(), key.id(), "round {round}");
        }
    }
}
