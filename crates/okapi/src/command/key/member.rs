//! The member key: made, shown, printed as words, brought back, handed out.

use super::keeping::{Protection, keep, show_phrase, typed, unlock};
use super::ring::{Own, Ring};
use super::{Home, at, give, recipient_json};
use crate::failure::Failure;
use crate::passphrase;
use crate::session::Session;
use crate::view::columns;
use okapi_seal::pem::{self, PemKey};
use okapi_seal::{MemberKey, MemberSecret, RecoveryPhrase};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Make your member key
///
/// Prints the 24 words that bring it back. Write them on paper and keep that where no fire and no thief finds it: whoever
/// has the words is you. `okapi key phrase` prints them again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi key new                               asks for a passphrase
  okapi key new --passphrase-file pass.txt    for scripts
  okapi key new --no-passphrase               whoever can read the file is you")]
pub(super) struct New {
    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    protection: Protection,
}

/// Show the public half of your member key, and the keys imported
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    home: Home,

    /// Only the public key to which others encrypt, as PEM
    #[arg(long)]
    pem: bool,
}

/// Print the 24 words of your member key again
#[derive(Debug, clap::Args)]
pub(super) struct Phrase {
    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    passphrase: passphrase::Source,
}

/// Bring your member key back from its words, or take in a private key
///
/// Without a file the 24 words are read from standard input. A PEM private key (RSA or X25519) becomes one more key that
/// opens what is encrypted to it; `okapi key show` lists those.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi key import                           type the words
  okapi key import < words.txt
  okapi key import old.pem --name old        what is encrypted to that key opens too

A private key that openssl encrypted is decrypted first:
  openssl pkey -in old.pem -out plain.pem")]
pub(super) struct Import {
    /// A file with the words or a PEM private key; `-`: standard input
    #[arg(value_name = "FILE", default_value = "-")]
    from: PathBuf,

    /// What to call a PEM key [default: the name of its file]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    protection: Protection,
}

/// Write a key as PEM
///
/// The public key to which others encrypt, unless you ask for another.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi key export -o me.pem                     for those who encrypt to you
  okapi key export --signing                     for those who verify what you sign
  okapi key export --private -o secret.pem       for `openssl pkeyutl` and others
  okapi key export --key rsa.pem -o public.pem   the public half of a private key")]
pub(super) struct Export {
    /// Another key: the name of an imported one, or a file with a PEM private key
    #[arg(long, value_name = "KEY", default_value = "me")]
    key: String,

    /// The private key. Whoever has it can open what is encrypted to it, or sign in its place
    #[arg(long)]
    private: bool,

    /// The member's Ed25519 key, which signs, instead of the X25519 key
    #[arg(long)]
    signing: bool,

    /// Write to this file
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    passphrase: passphrase::Source,
}

impl New {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let path = self.home.place(session)?;
        let secret = MemberSecret::random();
        let protected = keep(session, &path, &secret, &self.protection)?;
        let phrase = secret.phrase();
        let mut json = facts_json(&path, &secret, protected);
        json["phrase"] = phrase.as_str().into();
        if session.view.json {
            return session.view.json(&json);
        }
        kept(session, &path, &secret, protected)?;
        if !session.view.quiet {
            session
                .view
                .line("write down these words; whoever has them is you, and nothing else brings the key back:")?;
        }
        show_phrase(&mut session.view, &phrase)
    }
}

fn kept(session: &mut Session, path: &Path, secret: &MemberSecret, protected: bool) -> Result<(), Failure> {
    if session.view.quiet {
        return Ok(());
    }
    let kept = format!("{}, {}", path.display(), Protection::words(protected));
    session.view.facts(&[("member", secret.id().to_string()), ("kept in", kept)])
}

fn facts_json(path: &Path, secret: &MemberSecret, protected: bool) -> serde_json::Value {
    json!({
        "member": secret.id().to_string(),
        "recipient": recipient_json(&secret.recipient_key().recipient()),
        "file": path.display().to_string(),
        "protected": protected,
    })
}

impl Show {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let path = self.home.path(session)?;
        let key = MemberKey::load(&path)?;
        let recipient = key.recipient();
        if self.pem && !session.view.json {
            return session.view.line(recipient.to_pem().trim_end());
        }
        let imported = Ring::beside(&path).list()?;
        let view = &mut session.view;
        if view.json {
            let imported: Vec<_> = imported
                .iter()
                .map(|(name, recipient)| {
                    let mut json = recipient_json(recipient);
                    json["name"] = name.as_str().into();
                    json
                })
                .collect();
            return view.json(&json!({
                "member": key.id().to_string(),
                "recipient": recipient_json(&recipient),
                "signing_pem": pem::verifying_pem(&key.id().0),
                "file": path.display().to_string(),
                "protected": key.is_protected(),
                "imported": imported,
            }));
        }
        view.facts(&[
            ("member", key.id().to_string()),
            ("recipient", format!("{} {}", recipient.kind(), recipient.id())),
            ("kept in", format!("{}, {}", path.display(), Protection::words(key.is_protected()))),
        ])?;
        let rows: Vec<Vec<String>> = imported
            .iter()
            .map(|(name, recipient)| {
                vec!["imported".to_owned(), format!("{name}  {} {}", recipient.kind(), recipient.id())]
            })
            .collect();
        columns(&rows, &[]).iter().try_for_each(|row| view.line(row))
    }
}

impl Phrase {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let secret = unlock(&self.home.key(session)?, &self.passphrase)?;
        let phrase = secret.phrase();
        let view = &mut session.view;
        if view.json {
            return view.json(&json!({"member": secret.id().to_string(), "phrase": phrase.as_str()}));
        }
        show_phrase(view, &phrase)
    }
}

impl Import {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let bytes = typed(&self.from)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Failure::of("not-a-key", "that is no text"))?;
        if text.contains("-----BEGIN ") {
            return self.take_in(session, text);
        }
        let phrase = RecoveryPhrase::parse(text)?;
        if self.name.is_some() {
            return Err(Failure::usage("--name is for PEM keys; the member key has no name but `me`"));
        }
        let path = self.home.place(session)?;
        let secret = MemberSecret::from_phrase(&phrase);
        let protected = keep(session, &path, &secret, &self.protection)?;
        if session.view.json {
            return session.view.json(&facts_json(&path, &secret, protected));
        }
        kept(session, &path, &secret, protected)
    }

    fn take_in(self, session: &mut Session, text: &str) -> Result<(), Failure> {
        let key = match PemKey::parse(text.as_bytes()).map_err(at(self.from.display()))? {
            PemKey::RecipientKey(key) => key,
            PemKey::Recipient(_) | PemKey::Verifying(_) => {
                return Err(Failure::of(
                    "not-a-key",
                    "that is a public key; only private keys are taken in. To encrypt to it: `okapi key encrypt --to FILE`",
                ));
            }
            PemKey::Signing(_) => {
                return Err(Failure::of(
                    "not-a-key",
                    "that is an Ed25519 key, which signs; nothing can be encrypted to it",
                ));
            }
        };
        let stem = || self.from.file_stem().filter(|_| self.from != Path::new("-"))?.to_str();
        let Some(name) = self.name.as_deref().or_else(stem) else {
            return Err(Failure::usage("a key needs a name: say --name NAME"));
        };
        let ring = Ring::beside(&self.home.path(session)?);
        ring.check_free(name)?;
        let what = format!("key `{name}`");
        let warning = format_args!("{what} has no passphrase: whoever can read its file has it");
        let passphrase = self.protection.chosen(session, &what, warning)?;
        let path = ring.add(name, &key, passphrase.as_ref())?;
        let mut json = recipient_json(&key.recipient());
        json["name"] = name.into();
        json["file"] = path.display().to_string().into();
        json["protected"] = passphrase.is_some().into();
        let kind = key.recipient().kind();
        session.view.report(format_args!("imported {name}  {kind}  {}", key.recipient().id()), &json)
    }
}

impl Export {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let path = self.home.path(session)?;
        // What is public of the member needs no passphrase.
        if self.key == "me" && !self.private {
            let key = MemberKey::load(&path)?;
            let text = if self.signing { pem::verifying_pem(&key.id().0) } else { key.recipient().to_pem() };
            return give(session, &text, false, self.output.as_deref(), json!({"private": false}));
        }
        let own = Ring::beside(&path).own(&self.key, &path, &self.passphrase)?;
        let json = json!({"private": self.private});
        let output = self.output.as_deref();
        let mut public = |text: String| give(session, &text, false, output, json.clone());
        let text = match own {
            Own::Member(secret) if self.signing => secret.signing_key().to_pem(),
            Own::Member(secret) => secret.recipient_key().to_pem(),
            Own::Recipient(key) if !self.private => return public(key.recipient().to_pem()),
            Own::Signing(key) if !self.private => return public(pem::verifying_pem(&key.public())),
            Own::Recipient(key) => key.to_pem(),
            Own::Signing(key) => key.to_pem(),
        };
        give(session, &text, true, output, json)
    }
}
