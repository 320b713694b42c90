//! Keys by their names: `me`, those imported, and files with PEM.

use super::keeping::unlock;
use super::private_folder;
use crate::command::key::at;
use crate::failure::Failure;
use crate::passphrase;
use crate::place::is_grid_name;
use okapi_seal::pem::{PEM_MAX, PemKey};
use okapi_seal::sealed_file::{SealedFile, SealedWriter};
use okapi_seal::{KeyError, MemberKey, MemberSecret, Passphrase, Recipient, RecipientKey, SigningKey, key_file};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of the file of an imported key, at most: a sealed PEM.
const KEY_MAX: usize = PEM_MAX + 4096;
/// What the name of the member's own key is.
const ME: &str = "me";

/// The imported keys: the folder `recipients` beside the member key. `docs/format/member-key.md` tells what is in it.
pub(super) struct Ring {
    folder: PathBuf,
}

/// A private key of one's own.
pub(super) enum Own {
    /// The member's secret.
    Member(MemberSecret),
    /// A key to which something can be sealed.
    Recipient(RecipientKey),
    /// An Ed25519 key.
    Signing(SigningKey),
}

impl Own {
    /// The key that opens what is sealed to it.
    pub(super) fn recipient_key(self) -> Result<RecipientKey, Failure> {
        match self {
            Self::Member(secret) => Ok(secret.recipient_key()),
            Self::Recipient(key) => Ok(key),
            Self::Signing(_) => Err(Failure::of("not-a-key", "an Ed25519 key signs, and opens nothing")),
        }
    }
}

impl Ring {
    /// The keys imported beside this member key.
    pub(super) fn beside(member_key: &Path) -> Self {
        Self { folder: member_key.with_file_name("recipients") }
    }

    /// All of them, by name.
    pub(super) fn list(&self) -> Result<Vec<(String, Recipient)>, Failure> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::io(self.folder.display(), &error)),
        };
        let mut list = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| Failure::io(self.folder.display(), &error))?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            if let (Some(name), Some("pub")) = (name, path.extension().and_then(|end| end.to_str())) {
                list.push((name.to_owned(), public_file(&path)?));
            }
        }
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(list)
    }

    /// Whether a key can have this name.
    pub(super) fn check_free(&self, name: &str) -> Result<(), Failure> {
        if !is_grid_name(name) || name == ME {
            return Err(Failure::usage(format!(
                "`{name}` cannot be the name of a key: it has 1 to 64 letters, digits, `.`, `_` or `-`, begins with none \
                 of `.` and `-`, and is not `{ME}`; say --name NAME"
            )));
        }
        match self.file(name, "key") {
            path if path.symlink_metadata().is_ok() => Err(KeyError::Exists { path }.into()),
            _ => Ok(()),
        }
    }

    /// Takes a key in; where its private half lies.
    pub(super) fn add(
        &self,
        name: &str,
        key: &RecipientKey,
        passphrase: Option<&Passphrase>,
    ) -> Result<PathBuf, Failure> {
        private_folder(&self.folder)?;
        let (public, private) = (self.file(name, "pub"), self.file(name, "key"));
        let pem = key.to_pem();
        let bytes = match passphrase {
            None => Zeroizing::new(pem.as_bytes().to_vec()),
            Some(passphrase) => {
                let sealed = SealedWriter::seal_to_passphrase(Vec::new(), passphrase).and_then(|mut writer| {
                    writer.write_all(pem.as_bytes())?;
                    writer.finish()
                });
                Zeroizing::new(sealed.expect("writing to memory"))
            }
        };
        key_file::create(&private, &bytes)?;
        if let Err(error) = key_file::create(&public, key.recipient().to_pem().as_bytes()) {
            // Half a key would only be in the way.
            let _ = std::fs::remove_file(&private);
            return Err(error.into());
        }
        Ok(private)
    }

    /// The public key that `word` names: `me`, a file with PEM, or an imported one.
    pub(super) fn recipient(&self, word: &str, member_key: &Path) -> Result<Recipient, Failure> {
        if word == ME {
            return Ok(MemberKey::load(member_key)?.recipient());
        }
        if Path::new(word).exists() {
            return public_file(Path::new(word));
        }
        match self.file(word, "pub") {
            path if is_grid_name(word) && path.exists() => public_file(&path),
            _ => Err(unknown(word)),
        }
    }

    /// The private key that `word` names: `me`, a file with PEM, or an imported one.
    pub(super) fn own(&self, word: &str, member_key: &Path, source: &passphrase::Source) -> Result<Own, Failure> {
        if word == ME {
            return unlock(&MemberKey::load(member_key)?, source).map(Own::Member);
        }
        if Path::new(word).exists() {
            return private_pem(&key_file::read(Path::new(word), PEM_MAX)?, word);
        }
        match self.file(word, "key") {
            path if is_grid_name(word) && path.exists() => self.imported(word, source),
            _ => Err(unknown(word)),
        }
    }

    /// An imported private key.
    pub(super) fn imported(&self, name: &str, source: &passphrase::Source) -> Result<Own, Failure> {
        let path = self.file(name, "key");
        let bytes = key_file::read(&path, KEY_MAX)?;
        if bytes.starts_with(b"-----BEGIN ") {
            return private_pem(&bytes, path.display());
        }
        let sealed = SealedFile::open(bytes.as_slice()).map_err(at(path.display()))?;
        let passphrase = source.known(&format!("key `{name}`"))?;
        let mut reader = sealed.open_with_passphrase(&passphrase).map_err(at(format!("key `{name}`")))?;
        // Never grown: that would leave copies behind.
        let mut pem = Zeroizing::new(Vec::with_capacity(KEY_MAX));
        reader.read_to_end(&mut pem).map_err(|error| crate::transfer::from_io(error, &path.display().to_string()))?;
        private_pem(&pem, path.display())
    }

    fn file(&self, name: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{name}.{end}"))
    }
}

fn unknown(word: &str) -> Failure {
    Failure::not_found(format!(
        "`{word}` is neither a file nor a key that was imported; `okapi key show` lists those, and `{ME}` is your own"
    ))
}

/// A public key from a file, which everybody may read.
fn public_file(path: &Path) -> Result<Recipient, Failure> {
    let io = |error| Failure::io(path.display(), &error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(PEM_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    let bytes = Zeroizing::new(bytes);
    match PemKey::parse(&bytes).map_err(at(path.display()))? {
        PemKey::Recipient(recipient) => Ok(recipient),
        PemKey::RecipientKey(_) => Err(Failure::of(
            "not-a-key",
            format!(
                "{}: that is a private key; nobody but its owner needs it. Take its public half: `okapi key export --key {}`",
                path.display(),
                path.display()
            ),
        )),
        PemKey::Verifying(_) | PemKey::Signing(_) => Err(Failure::of(
            "not-a-key",
            format!("{}: that is an Ed25519 key, which signs; nothing can be encrypted to it", path.display()),
        )),
    }
}

fn private_pem(bytes: &[u8], label: impl std::fmt::Display) -> Result<Own, Failure> {
    match PemKey::parse(bytes).map_err(at(&label))? {
        PemKey::RecipientKey(key) => Ok(Own::Recipient(key)),
        PemKey::Signing(key) => Ok(Own::Signing(key)),
        PemKey::Recipient(_) | PemKey::Verifying(_) => {
            Err(Failure::of("not-a-key", format!("{label}: that is a public key; the private one is needed")))
        }
    }
}
