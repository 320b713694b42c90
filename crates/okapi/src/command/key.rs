//! `okapi key`: a member's key, keys from elsewhere, and files sealed to them.

pub(super) mod keeping;
mod member;
mod ring;
mod rsa;
mod sealing;

use crate::failure::Failure;
use crate::session::Session;
use crate::settings::Effective;
use crate::transfer::Sink;
use okapi_seal::envelope::{OpenError, SealError};
use okapi_seal::member_key::{MemberKeyError, UnlockError};
use okapi_seal::pem::PemError;
use okapi_seal::phrase::PhraseError;
use okapi_seal::rsa::RsaError;
use okapi_seal::sealed_file::{BeginError, FileError};
use okapi_seal::{KeyError, MemberKey};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Make and keep keys, and encrypt files with them
///
/// The member key says who you are. It is one secret, which is also 24 words on paper: with these everything comes back
/// on another machine. It lies in the data directory beside the node's key, under a passphrase. Passphrases are asked
/// for on the terminal, or come from --passphrase-file or the variable OKAPI_PASSPHRASE.
///
/// Files can be encrypted to public keys and passphrases without any node. Keys are PEM, as openssl has them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi key new                                      makes your member key, and prints its words
  okapi key show --pem > me.pem                      what others need to encrypt something to you
  okapi key encrypt --to her.pem taxes.pdf -o out    only she can read it
  okapi key decrypt out -o taxes.pdf                 what was encrypted to you")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(member::New),
    Show(member::Show),
    Phrase(member::Phrase),
    Import(member::Import),
    Export(member::Export),
    Rsa(rsa::Rsa),
    Encrypt(sealing::Encrypt),
    Decrypt(sealing::Decrypt),
    Wrap(rsa::Wrap),
    Unwrap(rsa::Unwrap),
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self.command {
            Command::New(args) => args.run(session),
            Command::Show(args) => args.run(session),
            Command::Phrase(args) => args.run(session),
            Command::Import(args) => args.run(session),
            Command::Export(args) => args.run(session),
            Command::Rsa(args) => args.run(session),
            Command::Encrypt(args) => args.run(session),
            Command::Decrypt(args) => args.run(session),
            Command::Wrap(args) => args.run(session),
            Command::Unwrap(args) => args.run(session),
        }
    }
}

/// Which file holds the member key.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Home {
    /// The file of the member key [default: member.key in the data directory]
    #[arg(long, value_name = "FILE", env = "OKAPI_MEMBER_KEY")]
    file: Option<PathBuf>,
}

impl Home {
    pub(super) fn path(&self, session: &Session) -> Result<PathBuf, Failure> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => Ok(Effective::for_clients(&session.global)?.data.join("member.key")),
        }
    }

    /// The place of a file that is to be made, in its directory if that can be made too.
    pub(super) fn place(&self, session: &Session) -> Result<PathBuf, Failure> {
        let path = self.path(session)?;
        if path.symlink_metadata().is_ok() {
            // Before anybody types a passphrase for nothing.
            return Err(KeyError::Exists { path }.into());
        }
        if let (None, Some(data)) = (&self.file, path.parent()) {
            private_folder(data)?;
        }
        Ok(path)
    }

    pub(super) fn key(&self, session: &Session) -> Result<MemberKey, Failure> {
        Ok(MemberKey::load(&self.path(session)?)?)
    }
}

/// Makes a directory that is its owner's alone, if there is none.
fn private_folder(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::io(path.display(), &error))
}

/// Shows text that is a whole file, such as a PEM, or writes it to one: a secret one to a new file of its own.
fn give(
    session: &mut Session,
    text: &str,
    secret: bool,
    output: Option<&Path>,
    mut json: Value,
) -> Result<(), Failure> {
    let view = &mut session.view;
    let Some(path) = output.filter(|path| *path != Path::new("-")) else {
        json["pem"] = text.into();
        return if view.json { view.json(&json) } else { view.line(text.trim_end()) };
    };
    json["file"] = path.display().to_string().into();
    if secret {
        okapi_seal::key_file::create(path, text.as_bytes())?;
    } else {
        let mut sink = Sink::open(Some(path), "key.pem", view)?;
        sink.take(text.as_bytes())?;
        sink.finish()?;
    }
    let note = if secret { ", which only you can read" } else { "" };
    session.view.report(format_args!("written to {}{note}", path.display()), &json)
}

/// What failed is about this place.
fn at<E: Into<Failure>>(place: impl std::fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| error.into().at(place)
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let text = crate::failure::without_code(&error.to_string());
        match error {
            KeyError::Missing { path } => Self::not_found(format!("{}: there is no such file", path.display())),
            KeyError::Exists { .. } => Self::of("exists", text),
            KeyError::TooOpen { .. } => Self::of("too-open", text),
            KeyError::Damaged { .. } => Self::of("corrupted", text),
            KeyError::Io { path, source } => Self::io(path.display(), &source),
        }
    }
}

impl From<MemberKeyError> for Failure {
    fn from(error: MemberKeyError) -> Self {
        match error {
            MemberKeyError::Missing { .. } => Self::not_found(error.to_string()),
            MemberKeyError::File(error) => error.into(),
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let kind = match &error {
            FileError::NotOne => "not-encrypted",
            FileError::Newer { .. } => "newer",
            FileError::Io(error) => return Self::io("reading", error),
            _ => "corrupted",
        };
        Self::of(kind, error.to_string())
    }
}

impl From<BeginError> for Failure {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Seal(error) => error.into(),
            BeginError::Io(error) => Self::io("writing", &error),
        }
    }
}

macro_rules! failures {
    ($($error:ty: $kind:expr;)*) => { $(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let kind: fn(&$error) -> &'static str = $kind;
                Self::of(kind(&error), error.to_string())
            }
        }
    )* };
}

failures! {
    UnlockError: |error| match error {
        UnlockError::NeedsPassphrase => "no-passphrase",
        UnlockError::WrongPassphrase => "wrong-passphrase",
        UnlockError::OtherMember => "corrupted",
    };
    OpenError: |error| match error {
        OpenError::NotForThisKey | OpenError::NoPassphrase | OpenError::Algorithm { .. } => "wrong-key",
        OpenError::WrongPassphrase => "wrong-passphrase",
        OpenError::Forged | OpenError::TooMuch => "corrupted",
    };
    PhraseError: |_| "wrong-phrase";
    PemError: |_| "not-a-key";
    RsaError: |error| match error {
        RsaError::Malformed | RsaError::Bits { .. } => "not-a-key",
        RsaError::TooLong { .. } => "too-long",
        RsaError::Length { .. } | RsaError::NotForThisKey => "wrong-key",
    };
    SealError: |_| "not-a-key";
}

/// A public key as scripts see it.
fn recipient_json(recipient: &okapi_seal::Recipient) -> Value {
    json!({"kind": recipient.kind(), "id": recipient.id().to_string(), "pem": recipient.to_pem()})
}
