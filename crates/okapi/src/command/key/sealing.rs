//! Files encrypted to public keys or a passphrase, and decrypted again.

use super::ring::Ring;
use super::{Home, at};
use crate::failure::Failure;
use crate::passphrase;
use crate::session::Session;
use crate::size::{Size, lasted, rate};
use crate::transfer::{Sink, Source, pump};
use crate::view::Tone;
use okapi_seal::sealed_file::{SealedFile, SealedReader, SealedWriter};
use okapi_seal::{MemberKey, RecipientKey};
use serde_json::json;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Encrypt a file to public keys or a passphrase
///
/// Any length, to a file or a pipe. Each of the keys opens it, and nobody else does. `me` is your own key; others are
/// PEM files, as `okapi key show --pem` and `openssl pkey -pubout` write them, or names of keys you imported.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi key encrypt --to her.pem taxes.pdf -o taxes.sealed
  okapi key encrypt --to me --to her.pem taxes.pdf -o taxes.sealed    both can read it
  okapi key encrypt --passphrase taxes.pdf -o taxes.sealed            asks for one
  tar c photos | okapi key encrypt --to me - | okapi put - photos.sealed")]
pub(super) struct Encrypt {
    /// Who can open it: me, a file with a public key, or the name of an imported key; may be said several times
    #[arg(long, value_name = "KEY", required_unless_present = "passphrase", conflicts_with = "passphrase")]
    to: Vec<String>,

    /// A passphrase opens it
    #[arg(long = "passphrase")]
    passphrase: bool,

    /// The file; `-`: standard input
    #[arg(value_name = "FILE")]
    from: PathBuf,

    /// Write to this file (or into this directory)
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    source: passphrase::Source,
}

/// Decrypt a file that was encrypted to you, to a key of yours, or with a passphrase
///
/// Finds out by itself which of your keys opens it. A file appears under its name only when all of it has been decrypted
/// and proven; what goes to a pipe is only proven whole when the command ends well.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi key decrypt taxes.sealed -o taxes.pdf
  okapi key decrypt --key rsa.pem taxes.sealed -o taxes.pdf
  okapi get photos.sealed | okapi key decrypt - | tar x")]
pub(super) struct Decrypt {
    /// The private key: me, a file with PEM, or the name of an imported key [default: the one that fits]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// The file; `-`: standard input
    #[arg(value_name = "FILE")]
    from: PathBuf,

    /// Write to this file (or into this directory); `-`: to standard output, whatever it is
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    passphrase: passphrase::Source,
}

/// A sink as the place that a writer writes to.
struct SinkWriter<'a, 'b>(&'a mut Sink<'b>);

impl Write for SinkWriter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The failure has its words already; whoever gets it back takes them out again.
        self.0.take(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sink_failure(error: io::Error) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => failure,
        Err(error) => Failure::io("writing", &error),
    }
}

impl Encrypt {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let home = self.home.path(session)?;
        let ring = Ring::beside(&home);
        let recipients: Vec<_> = self.to.iter().map(|word| ring.recipient(word, &home)).collect::<Result<_, _>>()?;
        let passphrase = match self.passphrase {
            true => Some(self.source.chosen("the file")?),
            false => None,
        };
        let job = Job::begin(session, &self.from, self.output.as_deref())?;
        let (mut input, length) = job.from.open()?;
        let progress = session.view.progress(&job.label, length);
        let mut sink = Sink::open(self.output.as_deref(), &format!("{}.sealed", job.name), &mut session.view)?;
        let mut writer = match &passphrase {
            Some(passphrase) => {
                SealedWriter::seal_to_passphrase(SinkWriter(&mut sink), passphrase).map_err(sink_failure)?
            }
            None => SealedWriter::seal_to(SinkWriter(&mut sink), &recipients)?,
        };
        let bytes = pump(&mut *input, &job.label, &progress, |bytes| writer.write_all(bytes).map_err(sink_failure))?;
        writer.finish().map_err(sink_failure)?;
        let path = sink.finish()?;
        drop(progress);
        job.report(session, path, bytes)
    }
}

impl Decrypt {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let job = Job::begin(session, &self.from, self.output.as_deref())?;
        let (input, length) = job.from.open()?;
        let sealed = SealedFile::open(input).map_err(at(&job.label))?;
        let mut reader = self.open(session, sealed).map_err(at(&job.label))?;
        let progress = session.view.progress(&job.label, length);
        let name = job.name.strip_suffix(".sealed").unwrap_or(&job.name);
        let mut sink = Sink::open(self.output.as_deref(), name, &mut session.view)?;
        let bytes = pump(&mut reader, &job.label, &progress, |bytes| sink.take(bytes))?;
        let path = sink.finish()?;
        drop(progress);
        job.report(session, path, bytes)
    }

    fn open<R: Read>(&self, session: &Session, sealed: SealedFile<R>) -> Result<SealedReader<R>, Failure> {
        let home = self.home.path(session)?;
        let ring = Ring::beside(&home);
        if let Some(word) = &self.key {
            let key = ring.own(word, &home, &self.passphrase)?.recipient_key()?;
            return Ok(sealed.open_with(&key)?);
        }
        if let Some(key) = self.fitting(&home, &ring, &sealed)? {
            return Ok(sealed.open_with(&key)?);
        }
        if sealed.envelope().takes_passphrase() {
            return Ok(sealed.open_with_passphrase(&self.passphrase.known("the file")?)?);
        }
        let count = sealed.envelope().recipients().count();
        let to = if count == 1 { "a key".to_owned() } else { format!("{count} keys") };
        Err(Failure::of("wrong-key", format!("it is encrypted to {to}, none of them yours here; name one with --key")))
    }

    /// The own key to which it is sealed, if there is one.
    fn fitting<R: Read>(
        &self,
        home: &Path,
        ring: &Ring,
        sealed: &SealedFile<R>,
    ) -> Result<Option<RecipientKey>, Failure> {
        let wanted = |id: okapi_seal::Recipient| sealed.envelope().recipients().any(|recipient| recipient == id.id());
        if home.exists() {
            let member = MemberKey::load(home)?;
            if wanted(member.recipient()) {
                return Ok(Some(super::keeping::unlock(&member, &self.passphrase)?.recipient_key()));
            }
        }
        match ring.list()?.into_iter().find(|(_, recipient)| wanted(recipient.clone())) {
            Some((name, _)) => ring.imported(&name, &self.passphrase)?.recipient_key().map(Some),
            None => Ok(None),
        }
    }
}

/// One file on its way.
struct Job {
    from: Source,
    label: String,
    name: String,
    started: Instant,
}

impl Job {
    fn begin(session: &Session, from: &Path, output: Option<&Path>) -> Result<Self, Failure> {
        if session.view.json && output.is_none_or(|path| path == Path::new("-")) {
            return Err(Failure::usage("with --json the bytes go to a file: add -o FILE"));
        }
        let source = Source::from_word(&from.to_string_lossy());
        let label = source.label();
        let name = match from.file_name().and_then(|name| name.to_str()) {
            Some(name) if name != "-" => name.to_owned(),
            _ => "stdin".to_owned(),
        };
        Ok(Self { from: source, label, name, started: Instant::now() })
    }

    /// A file says what became of it; what went to standard output speaks for itself.
    fn report(self, session: &mut Session, path: Option<PathBuf>, bytes: u64) -> Result<(), Failure> {
        let Some(path) = path else { return Ok(()) };
        let took = self.started.elapsed();
        let view = &mut session.view;
        let file = view.paint(Tone::Strong, path.display());
        let line = format!("{} -> {file}  {}  {}  {}", self.label, Size(bytes), lasted(took), rate(bytes, took));
        let json = json!({"file": path.display().to_string(), "bytes": bytes, "seconds": took.as_secs_f64()});
        view.report(line, &json)
    }
}
