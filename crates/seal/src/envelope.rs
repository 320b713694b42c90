//! Envelopes: a data key, sealed to one or several recipients. `docs/format/envelope.md` has the bytes.
//!
//! An envelope is bound to a [`Context`], what the key is for: that of one grid is not taken for another's. It says
//! nothing about who made it; whoever knows a recipient can.

use crate::passphrase::{Passphrase, STRETCH_BYTES, Stretch};
use crate::recipient::{Recipient, RecipientKey};
use crate::{ALGORITHM_AES_256_GCM, Hasher, Sealer, Secret, TAG_BYTES, hpke, rsa};
use okapi_base::Digest;
use zeroize::Zeroizing;

/// Bytes of an envelope to one recipient, at most: what a deed has room for.
pub const ONE_RECIPIENT_MAX: usize = 1024;
/// Recipients of an envelope, at most.
pub const RECIPIENTS_MAX: usize = 16;
/// Bytes of any envelope, at most.
pub const ENVELOPE_MAX: usize = HEAD_BYTES + RECIPIENTS_MAX * (ENTRY_BYTES + BODY_MAX);

/// X25519 by HPKE.
pub const ALGORITHM_HPKE_X25519: u8 = 2;
/// RSA-OAEP with SHA-256.
pub const ALGORITHM_RSA_OAEP_SHA256: u8 = 3;
/// A passphrase, by Argon2id.
pub const ALGORITHM_ARGON2ID: u8 = 4;

const MAGIC: [u8; 4] = *b"OKEV";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 36;
const KEY_BYTES: usize = 32;
/// Bytes that one recipient's way to the key takes, at most. Today's ways take 76 to 512.
const BODY_MAX: usize = 952;
const HPKE_BYTES: usize = hpke::PUBLIC_BYTES + KEY_BYTES + TAG_BYTES;
const PASSPHRASE_BYTES: usize = STRETCH_BYTES + KEY_BYTES + TAG_BYTES;
const HPKE_INFO: &[u8] = b"okapi 2026 envelope";
const PASSPHRASE_KEY: &str = "okapi 2026 envelope: key of a passphrase";

const _: () = assert!(HEAD_BYTES + ENTRY_BYTES + BODY_MAX <= ONE_RECIPIENT_MAX);
const _: () = assert!(*rsa::SEALED_BYTES.end() <= BODY_MAX);

/// A key for data: 32 bytes, wiped when dropped, never shown.
#[derive(Debug, Clone)]
pub struct DataKey(Secret);

/// What a data key is for. Its envelope opens only under the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context(Digest);

/// An envelope whose bytes make sense. Nobody knows yet whether it opens.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    entries: &'a [u8],
}

/// One recipient of an envelope.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    algorithm: u8,
    id: Digest,
    body: &'a [u8],
}

impl Context {
    /// The context of the thing that `name` names, of the kind that `kind` names: a fixed text, unique in the world,
    /// never changed.
    #[must_use]
    pub fn new(kind: &'static str, name: &[u8]) -> Self {
        Self(Hasher::new(kind).add(name).digest())
    }

    /// The context of a grid's data key; `name` tells the grid from all others.
    #[must_use]
    pub fn of_grid(name: &[u8]) -> Self {
        Self::new("okapi 2026 envelope: data key of grid", name)
    }
}

impl DataKey {
    /// A new random key.
    #[must_use]
    pub fn random() -> Self {
        Self(Secret::random())
    }

    /// A key of given bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    pub(crate) const fn from_secret(secret: Secret) -> Self {
        Self(secret)
    }

    /// The key as a secret, from which others can be derived.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The envelope of this key, which any of the recipients can open.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_to(&self, recipients: &[Recipient], context: &Context) -> Result<Vec<u8>, SealError> {
        let mut envelope = begin(recipients.len())?;
        for recipient in recipients {
            let (algorithm, body) = match recipient {
                Recipient::X25519(public) => {
                    let sealed = hpke::seal(public, HPKE_INFO, &context.0.0, self.0.bytes());
                    (ALGORITHM_HPKE_X25519, sealed.ok_or(SealError::NoKey)?)
                }
                Recipient::Rsa(public) => {
                    // The label of OAEP stays empty, so that openssl opens it; the context goes along inside.
                    let mut inner = Zeroizing::new([0; 2 * KEY_BYTES]);
                    inner[..KEY_BYTES].copy_from_slice(self.0.bytes());
                    inner[KEY_BYTES..].copy_from_slice(&context.0.0);
                    let sealed = public.seal(inner.as_slice()).expect("64 bytes fit any RSA key");
                    (ALGORITHM_RSA_OAEP_SHA256, sealed)
                }
            };
            Entry { algorithm, id: recipient.id(), body: &body }.append_to(&mut envelope);
        }
        Ok(envelope)
    }

    /// The envelope of this key, which the passphrase opens.
    #[must_use]
    pub fn seal_to_passphrase(&self, passphrase: &Passphrase, context: &Context) -> Vec<u8> {
        self.seal_stretched(passphrase, &Stretch::random(), context)
    }

    fn seal_stretched(&self, passphrase: &Passphrase, stretch: &Stretch, context: &Context) -> Vec<u8> {
        let mut body = [0; PASSPHRASE_BYTES];
        body[..STRETCH_BYTES].copy_from_slice(&stretch.bytes());
        body[STRETCH_BYTES..][..KEY_BYTES].copy_from_slice(self.0.bytes());
        // The salt makes it a key of this one use, so its one nonce may be zero.
        passphrase_sealer(passphrase, stretch, context).seal_in_place([0; 12], &mut body[STRETCH_BYTES..]);
        let mut envelope = begin(1).expect("one is enough and not too many");
        Entry { algorithm: ALGORITHM_ARGON2ID, id: Digest([0; 32]), body: &body }.append_to(&mut envelope);
        envelope
    }
}

fn passphrase_sealer(passphrase: &Passphrase, stretch: &Stretch, context: &Context) -> Sealer {
    Sealer::new(&stretch.key(passphrase).derive(PASSPHRASE_KEY, &context.0.0))
}

fn begin(recipients: usize) -> Result<Vec<u8>, SealError> {
    let count = u8::try_from(recipients).ok().filter(|count| (1..=RECIPIENTS_MAX).contains(&usize::from(*count)));
    let count = count.ok_or(SealError::Recipients { count: recipients })?;
    Ok([MAGIC.as_slice(), &[VERSION, ALGORITHM_AES_256_GCM, count, 0]].concat())
}

impl Entry<'_> {
    fn append_to(&self, envelope: &mut Vec<u8>) {
        let length = u16::try_from(self.body.len()).expect("no way to a key is that long");
        envelope.extend_from_slice(&[self.algorithm, 0]);
        envelope.extend_from_slice(&length.to_le_bytes());
        envelope.extend_from_slice(&self.id.0);
        envelope.extend_from_slice(self.body);
    }
}

impl<'a> Envelope<'a> {
    /// Reads an envelope.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let (head, entries) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(EnvelopeError::Cut)?;
        if head[..4] != MAGIC {
            return Err(EnvelopeError::NotOne);
        }
        if head[4] != VERSION || head[5] != ALGORITHM_AES_256_GCM {
            return Err(EnvelopeError::Newer { version: head[4], algorithm: head[5] });
        }
        if head[7] != 0 || !(1..=RECIPIENTS_MAX).contains(&usize::from(head[6])) {
            return Err(EnvelopeError::Nonsense { what: "its number of recipients" });
        }
        let mut rest = entries;
        for _ in 0..head[6] {
            (_, rest) = take_entry(rest)?;
        }
        if rest.is_empty() { Ok(Self { entries }) } else { Err(EnvelopeError::Nonsense { what: "its end" }) }
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut rest = self.entries;
        std::iter::from_fn(move || {
            let entry;
            (entry, rest) = take_entry(rest).ok()?;
            Some(entry)
        })
    }

    /// The names of the keys that it is sealed to.
    pub fn recipients(&self) -> impl Iterator<Item = Digest> + use<'a> {
        self.entries().filter(|entry| entry.algorithm != ALGORITHM_ARGON2ID).map(|entry| entry.id)
    }

    /// Whether a passphrase opens it.
    #[must_use]
    pub fn takes_passphrase(&self) -> bool {
        self.entries().any(|entry| entry.algorithm == ALGORITHM_ARGON2ID)
    }

    /// The data key, if this is the key of one of the recipients and the context is the same.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with(&self, key: &RecipientKey, context: &Context) -> Result<DataKey, OpenError> {
        let id = key.recipient().id();
        let entry = self.entries().find(|entry| entry.id == id).ok_or(OpenError::NotForThisKey)?;
        let opened = match (key, entry.algorithm) {
            (RecipientKey::X25519(private), ALGORITHM_HPKE_X25519) => {
                hpke::open(private, HPKE_INFO, &context.0.0, entry.body).ok_or(OpenError::Forged)?
            }
            (RecipientKey::Rsa(private), ALGORITHM_RSA_OAEP_SHA256) => {
                let mut inner = private.open(entry.body).map_err(|_| OpenError::Forged)?;
                if inner.len() != 2 * KEY_BYTES || inner[KEY_BYTES..] != context.0.0 {
                    return Err(OpenError::Forged);
                }
                inner.truncate(KEY_BYTES);
                inner
            }
            (_, algorithm) => return Err(OpenError::Algorithm { algorithm }),
        };
        if opened.len() == KEY_BYTES { Ok(DataKey(Secret::copy_of(&opened))) } else { Err(OpenError::Forged) }
    }

    /// The data key, if this is the passphrase and the context is the same.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with_passphrase(&self, passphrase: &Passphrase, context: &Context) -> Result<DataKey, OpenError> {
        let entry = self.entries().find(|entry| entry.algorithm == ALGORITHM_ARGON2ID);
        let entry = entry.ok_or(OpenError::NoPassphrase)?;
        let (stretch, sealed) = entry.body.split_first_chunk().expect("its length was checked");
        let stretch = Stretch::parse(stretch).ok_or(OpenError::TooMuch)?;
        let sealer = passphrase_sealer(passphrase, &stretch, context);
        let mut opened = Ok(());
        let key = Secret::made_by(|key| opened = sealer.open([0; 12], sealed, key));
        opened.map_err(|_| OpenError::WrongPassphrase)?;
        Ok(DataKey(key))
    }
}

/// The first recipient and what comes after. Algorithms of later versions are passed over: another recipient may do.
fn take_entry(bytes: &[u8]) -> Result<(Entry<'_>, &[u8]), EnvelopeError> {
    let (head, rest) = bytes.split_first_chunk::<ENTRY_BYTES>().ok_or(EnvelopeError::Cut)?;
    let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let fits = match head[0] {
        ALGORITHM_HPKE_X25519 => length == HPKE_BYTES,
        ALGORITHM_RSA_OAEP_SHA256 => rsa::SEALED_BYTES.contains(&length),
        ALGORITHM_ARGON2ID => length == PASSPHRASE_BYTES && head[4..] == [0; 32],
        _ => length <= BODY_MAX,
    };
    if !fits || head[1] != 0 {
        return Err(EnvelopeError::Nonsense { what: "one of its recipients" });
    }
    let (body, rest) = rest.split_at_checked(length).ok_or(EnvelopeError::Cut)?;
    let id = Digest(head[4..].try_into().expect("32 bytes are left"));
    Ok((Entry { algorithm: head[0], id, body }, rest))
}

/// Why a key could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is nobody to seal it to, or there are too many.
    #[error("an envelope has 1 to {RECIPIENTS_MAX} recipients, and here are {count}")]
    Recipients {
        /// How many were named.
        count: usize,
    },
    /// An X25519 key is one of the few that share no secret.
    #[error("the X25519 key is no key that anyone can own; get the public key anew from its owner")]
    NoKey,
}

/// Why bytes are no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// They begin otherwise.
    #[error("it does not begin as an envelope does")]
    NotOne,
    /// They end too early.
    #[error("the envelope is cut short; get it anew")]
    Cut,
    /// A later version made them.
    #[error(
        "the envelope has version {version} for algorithm {algorithm}, which this version of okapi does not know; use a newer one"
    )]
    Newer {
        /// Its version.
        version: u8,
        /// What its key is for.
        algorithm: u8,
    },
    /// They cannot mean anything.
    #[error("the envelope is damaged: {what} makes no sense; get it anew")]
    Nonsense {
        /// What makes no sense.
        what: &'static str,
    },
}

/// Why an envelope does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is sealed to other keys.
    #[error("it is not sealed to this key; use the private key of one of its recipients")]
    NotForThisKey,
    /// No passphrase opens it.
    #[error("no passphrase opens it; it is sealed to keys")]
    NoPassphrase,
    /// It is for this key, but has been changed, or belongs to something else.
    #[error("it was sealed to this key, but has been changed since, or is for something else")]
    Forged,
    /// Another passphrase, or a changed envelope: nobody can tell these apart.
    #[error("the passphrase is wrong, or what was sealed has been changed; try again")]
    WrongPassphrase,
    /// It asks for more memory or time than it should.
    #[error("it asks for more memory or time than any passphrase should need; it is damaged, or made to do harm")]
    TooMuch,
    /// It is sealed to this key in a way that is not known, or not of this kind of key.
    #[error(
        "it is sealed to this key by algorithm {algorithm}, which this version of okapi does not use with such keys"
    )]
    Algorithm {
        /// The algorithm.
        algorithm: u8,
    },
}

#[cfg(test)]
mod tests;
