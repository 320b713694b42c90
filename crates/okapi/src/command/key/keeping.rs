//! How a member key is kept: under a passphrase in its file, and as words on paper.

use crate::failure::Failure;
use crate::passphrase;
use crate::session::Session;
use crate::transfer::fill;
use crate::view::{Tone, View, columns};
use okapi_seal::{MemberKey, MemberSecret, Passphrase, RecoveryPhrase, key_file, pem};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a typed phrase or a PEM, at most.
const TYPED_MAX: usize = pem::PEM_MAX;
/// Words of a phrase side by side.
const WORDS_IN_A_ROW: usize = 4;

/// What protects the file of a key that is made or taken in.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct Protection {
    #[command(flatten)]
    pub(in crate::command) passphrase: passphrase::Source,

    /// Keep it without a passphrase, only in a file that nobody else may read
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
}

impl Protection {
    /// The passphrase for `what`; none if there is to be none, which `warning` then tells.
    pub(super) fn chosen(
        &self,
        session: &Session,
        what: &str,
        warning: impl std::fmt::Display,
    ) -> Result<Option<Passphrase>, Failure> {
        if self.no_passphrase {
            session.view.aside(format_args!("warning: {warning}"));
            return Ok(None);
        }
        self.passphrase.chosen(what).map(Some)
    }

    /// How people read it.
    pub(in crate::command) const fn words(protected: bool) -> &'static str {
        if protected { "under its passphrase" } else { "without a passphrase" }
    }
}

/// Writes the key file; whether a passphrase protects it.
pub(in crate::command) fn keep(
    session: &Session,
    path: &Path,
    secret: &MemberSecret,
    protection: &Protection,
) -> Result<bool, Failure> {
    let warning =
        format_args!("{} has no passphrase: whoever can read the file, or a copy of the disk, is you", path.display());
    let passphrase = protection.chosen(session, "the member key", warning)?;
    MemberKey::new(secret, passphrase.as_ref()).create(path)?;
    Ok(passphrase.is_some())
}

/// The secret of a member key; the passphrase is asked for only if there is one.
pub(in crate::command) fn unlock(key: &MemberKey, source: &passphrase::Source) -> Result<MemberSecret, Failure> {
    let passphrase = if key.is_protected() { Some(source.known("the member key")?) } else { None };
    Ok(key.unlock(passphrase.as_ref())?)
}

/// For people numbered and in rows, for everything else on one line.
pub(super) fn show_phrase(view: &mut View, phrase: &RecoveryPhrase) -> Result<(), Failure> {
    if view.quiet || !view.is_terminal() {
        return view.line(phrase.as_str());
    }
    phrase_rows(phrase).iter().try_for_each(|row| view.line(view.paint(Tone::Strong, format_args!("  {row}"))))
}

/// The words numbered and in rows.
pub(in crate::command) fn phrase_rows(phrase: &RecoveryPhrase) -> Vec<String> {
    let numbered: Vec<String> = (1..).zip(phrase.words()).map(|(at, word)| format!("{at:>2} {word}")).collect();
    let rows: Vec<Vec<String>> = numbered.chunks(WORDS_IN_A_ROW).map(<[String]>::to_vec).collect();
    columns(&rows, &[])
}

/// The bytes of a phrase or a PEM: of a file, or of standard input (`-`), where people are told what to type.
pub(in crate::command) fn typed(from: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if from != Path::new("-") {
        return Ok(key_file::read(from, TYPED_MAX)?);
    }
    let mut bytes = Zeroizing::new(vec![0; TYPED_MAX]);
    let length = if io::stdin().is_terminal() {
        let _ = writeln!(io::stderr(), "type the 24 words, and Enter after the last:");
        let mut line = Zeroizing::new(String::with_capacity(TYPED_MAX));
        io::stdin().read_line(&mut line).map_err(|error| Failure::io("standard input", &error))?;
        let length = line.len().min(TYPED_MAX);
        bytes[..length].copy_from_slice(&line.as_bytes()[..length]);
        length
    } else {
        fill(&mut io::stdin().lock(), "standard input", &mut bytes)?
    };
    bytes.truncate(length);
    Ok(bytes)
}
