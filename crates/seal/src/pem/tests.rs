//! Keys as PEM: those that `openssl` wrote, and what is none. The command's own tests run `openssl` itself.

use super::*;
use crate::hpke;
use crate::rsa::RsaSize;

const RSA_PRIVATE_PEM: &str = include_str!("../../testdata/rsa-2048.pem");
/// Of RFC 8410, 10.3 and 10.1: `openssl pkey` writes these very bytes.
const ED25519_PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const ED25519_PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";

fn parse(text: &str) -> Result<PemKey, PemError> {
    PemKey::parse(text.as_bytes())
}

fn recipient_key(text: &str) -> RecipientKey {
    match parse(text).unwrap() {
        PemKey::RecipientKey(key) => key,
        other => panic!("{other:?}"),
    }
}

fn recipient(text: &str) -> Recipient {
    match parse(text).unwrap() {
        PemKey::Recipient(key) => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_key_comes_back_from_its_pem() {
    let keys = [RecipientKey::X25519(Secret::random()), RecipientKey::Rsa(RsaPrivateKey::generate(RsaSize::Bits2048))];
    for key in keys {
        let again = recipient_key(&key.to_pem());
        assert_eq!(again.recipient().id(), key.recipient().id());
        assert_eq!(again.to_pem(), key.to_pem());
        let public = key.recipient();
        assert_eq!(recipient(&public.to_pem()).id(), public.id());
    }
    let signing = SigningKey::from_secret(&Secret::random());
    let PemKey::Signing(again) = parse(&signing.to_pem()).unwrap() else { panic!("it signs") };
    assert_eq!(again.public(), signing.public());
    let PemKey::Verifying(public) = parse(&verifying_pem(&signing.public())).unwrap() else { panic!("it verifies") };
    assert_eq!(public, signing.public());
}

#[test]
fn the_standard_agrees() {
    let PemKey::Signing(signing) = parse(ED25519_PRIVATE_PEM).unwrap() else { panic!("it signs") };
    assert_eq!(signing.to_pem().as_str(), ED25519_PRIVATE_PEM);
    assert_eq!(verifying_pem(&signing.public()), ED25519_PUBLIC_PEM);
    let key = recipient_key(RSA_PRIVATE_PEM);
    assert_eq!(key.to_pem().as_str(), RSA_PRIVATE_PEM);
    let x25519 = RecipientKey::X25519(Secret::from_bytes([2; 32]));
    let Recipient::X25519(public) = recipient(&x25519.recipient().to_pem()) else { panic!("it is X25519") };
    assert_eq!(public, hpke::public(&Secret::from_bytes([2; 32])));
}

#[test]
fn the_older_form_of_rsa_keys_is_read() {
    let RecipientKey::Rsa(key) = recipient_key(RSA_PRIVATE_PEM) else { panic!("it is RSA") };
    let (private, public) = (key.pkcs8(), key.public().spki());
    // What PKCS#8 and SubjectPublicKeyInfo put around it is 26 and 24 bytes here.
    let older = write(RSA_PRIVATE, &private.as_ref()[26..]);
    assert_eq!(recipient_key(&older).to_pem().as_str(), RSA_PRIVATE_PEM);
    let older = write(RSA_PUBLIC, &public.as_ref()[24..]);
    assert_eq!(recipient(&older).id(), Recipient::Rsa(key.public()).id());
    for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x3000] {
        let bytes = element(OCTET_STRING, &[&vec![7; length]]);
        let head = bytes.len() - length;
        assert_eq!(head, [2, 3, 4][usize::from(length > 0x7f) + usize::from(length > 0xff)], "{length}");
    }
}

#[test]
fn text_around_it_and_other_line_ends_do_not_matter() {
    let id = recipient_key(RSA_PRIVATE_PEM).recipient().id();
    for text in [
        format!("Bag Attributes\n    friendlyName: x\n{RSA_PRIVATE_PEM}\n\n"),
        RSA_PRIVATE_PEM.replace('\n', "\r\n"),
        RSA_PRIVATE_PEM.trim_end().to_owned(),
    ] {
        assert_eq!(recipient_key(&text).recipient().id(), id, "{text}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let error = |text: &str| parse(text).unwrap_err();
    assert_eq!(error(""), PemError::NotPem);
    assert_eq!(error("hello"), PemError::NotPem);
    assert_eq!(error(&"x".repeat(PEM_MAX + 1)), PemError::TooLong);
    assert_eq!(error(&format!("{ED25519_PUBLIC_PEM}{ED25519_PRIVATE_PEM}")), PemError::Several);
    assert!(matches!(error(&RSA_PRIVATE_PEM[..400]), PemError::Damaged { .. }));
    assert!(matches!(error(&ED25519_PUBLIC_PEM.replace("MCow", "*Cow")), PemError::Damaged { .. }));
    let certificate = ED25519_PUBLIC_PEM.replace("PUBLIC KEY", "CERTIFICATE");
    assert_eq!(error(&certificate), PemError::Label { label: "CERTIFICATE".to_owned() });
    let encrypted = ED25519_PRIVATE_PEM.replace("PRIVATE", "ENCRYPTED PRIVATE");
    assert_eq!(error(&encrypted), PemError::Encrypted);
    assert!(PemError::Encrypted.to_string().contains("`openssl pkey -in FILE -out PLAIN.pem`"));
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(error(older), PemError::Encrypted);
    let curve = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAAAA\n-----END PUBLIC KEY-----\n";
    assert_eq!(error(curve), PemError::Kind { what: "an elliptic-curve key" });
    let other = write(PRIVATE, &[0x30, 0x03, 1, 2, 3]);
    assert_eq!(error(&other), PemError::Kind { what: "of another kind" });
}

#[test]
fn no_text_makes_it_panic() {
    let mut dice = crate::dice::Dice::new(0x9e3);
    for round in 0..4_000 {
        let text = [RSA_PRIVATE_PEM, ED25519_PRIVATE_PEM, ED25519_PUBLIC_PEM][round % 3];
        let mut bytes = text.as_bytes().to_vec();
        dice.spoil(&mut bytes);
        drop(PemKey::parse(&bytes));
    }
    // Under the right words, any bytes.
    for round in 0..4_000 {
        let mut der = [&ED25519_PKCS8[..], &X25519_SPKI[..], &RSA_ALGORITHM[..]][round % 3].to_vec();
        der.extend((0..dice.roll(60)).map(|_| dice.roll(256) as u8));
        dice.spoil(&mut der);
        let label = [PUBLIC, PRIVATE, RSA_PUBLIC, RSA_PRIVATE][round % 4];
        drop(parse(&write(label, &der)));
    }
}
