//! RSA keys for others' programs, and short secrets sealed to them just as openssl does it.

use super::ring::{Own, Ring};
use super::{Home, at, give};
use crate::failure::Failure;
use crate::passphrase;
use crate::session::Session;
use crate::transfer::{Sink, Source, fill};
use crate::view::hex;
use okapi_seal::rsa::{RsaPrivateKey, RsaSize};
use okapi_seal::{Recipient, RecipientKey, key_file};
use serde_json::json;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes read of what is to be wrapped or unwrapped: one more than any RSA key takes.
const SECRET_MAX: usize = 513;

/// Make an RSA key
///
/// The private key as PEM. Nothing of it is kept: `okapi key import` takes it in. Members have X25519 keys, which are
/// shorter and faster; an RSA key is for programs that know nothing else.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi key rsa -o rsa.pem                        the private key
  okapi key export --key rsa.pem -o public.pem    its public half")]
pub(super) struct Rsa {
    /// Its length in bits: 2048, 3072 or 4096
    #[arg(long, value_name = "BITS", default_value = "3072", value_parser = size, hide_possible_values = true)]
    bits: RsaSize,

    /// Write to this file, which only you can read and which must not be there yet
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

fn size(text: &str) -> Result<RsaSize, String> {
    match text {
        "2048" => Ok(RsaSize::Bits2048),
        "3072" => Ok(RsaSize::Bits3072),
        "4096" => Ok(RsaSize::Bits4096),
        _ => Err("an RSA key has 2048, 3072 or 4096 bits".to_owned()),
    }
}

/// Encrypt a short secret with an RSA key, as openssl does
///
/// RSA-OAEP with SHA-256, nothing around it: the bytes that `openssl pkeyutl -decrypt` takes with -pkeyopt
/// rsa_padding_mode:oaep, rsa_oaep_md:sha256 and rsa_mgf1_md:sha256. At most 190 bytes with 2048 bits, 318 with 3072, 446
/// with 4096. For files there is `okapi key encrypt`.
#[derive(Debug, clap::Args)]
pub(super) struct Wrap {
    /// The public key: a file with PEM, or the name of an imported key
    #[arg(long, value_name = "KEY")]
    to: String,

    /// A file with the secret; `-`: standard input
    #[arg(value_name = "FILE", default_value = "-")]
    from: PathBuf,

    /// Write to this file
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    home: Home,
}

/// Decrypt a short secret with an RSA key, as openssl does
///
/// What `okapi key wrap` or `openssl pkeyutl -encrypt` made, with -pkeyopt rsa_padding_mode:oaep, rsa_oaep_md:sha256 and
/// rsa_mgf1_md:sha256.
#[derive(Debug, clap::Args)]
pub(super) struct Unwrap {
    /// The private key: a file with PEM, or the name of an imported key
    #[arg(long, value_name = "KEY")]
    key: String,

    /// A file with what was wrapped; `-`: standard input
    #[arg(value_name = "FILE", default_value = "-")]
    from: PathBuf,

    /// Write to this file, which only you can read and which must not be there yet
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    passphrase: passphrase::Source,
}

impl Rsa {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let key = RsaPrivateKey::generate(self.bits);
        let bits = key.public().bits();
        let pem = RecipientKey::Rsa(key).to_pem();
        give(session, &pem, true, self.output.as_deref(), json!({"bits": bits, "private": true}))
    }
}

impl Wrap {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let home = self.home.path(session)?;
        let Recipient::Rsa(key) = Ring::beside(&home).recipient(&self.to, &home)? else {
            return Err(only_rsa(&self.to, "encrypt"));
        };
        let sealed = key.seal(&read(&self.from)?)?;
        let view = &mut session.view;
        let output = self.output.as_deref();
        if view.json && output.is_none() {
            return view.json(&json!({"wrapped": hex(&sealed)}));
        }
        let mut sink = Sink::open(output, "wrapped", view)?;
        sink.take(&sealed)?;
        let path = sink.finish()?;
        done(session, path.as_deref())
    }
}

impl Unwrap {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let home = self.home.path(session)?;
        let own = Ring::beside(&home).own(&self.key, &home, &self.passphrase)?;
        let Own::Recipient(RecipientKey::Rsa(key)) = own else { return Err(only_rsa(&self.key, "decrypt")) };
        let label = Source::from_word(&self.from.to_string_lossy()).label();
        let secret = key.open(&read(&self.from)?).map_err(at(label))?;
        let view = &mut session.view;
        match self.output.as_deref().filter(|path| *path != Path::new("-")) {
            Some(path) => {
                key_file::create(path, &secret)?;
                done(session, Some(path))
            }
            None if view.json => view.json(&json!({"secret": hex(&secret)})),
            None => {
                let mut sink = Sink::open(self.output.as_deref(), "secret", view)?;
                sink.take(&secret)?;
                sink.finish().map(|_| ())
            }
        }
    }
}

fn only_rsa(word: &str, instead: &str) -> Failure {
    Failure::of("not-a-key", format!("`{word}` is no RSA key, and this is for RSA alone; use `okapi key {instead}`"))
}

fn read(from: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let source = Source::from_word(&from.to_string_lossy());
    let (mut input, _) = source.open()?;
    let mut bytes = Zeroizing::new(vec![0; SECRET_MAX]);
    let length = fill(&mut *input, &source.label(), &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn done(session: &mut Session, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let json = json!({"file": path.display().to_string()});
    session.view.report(format_args!("written to {}", path.display()), &json)
}
