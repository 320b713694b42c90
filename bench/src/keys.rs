//! What keys cost: data keys wrapped and unwrapped, files encrypted and decrypted, a passphrase stretched.
//!
//! All of it is one thread's work, so its processor time is measured: other programs on the machine do not count.

use crate::options::Options;
use crate::sample::median;
use crate::table::{Table, amount, bytes};
use okapi_seal::rsa::{RsaPrivateKey, RsaSize};
use okapi_seal::sealed_file::{SealedFile, SealedWriter};
use okapi_seal::{Context, DataKey, Envelope, MemberKey, MemberSecret, Passphrase, Recipient, RecipientKey};
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read, Write};
use std::time::Duration;

/// Bytes of the file that is encrypted, in memory.
const FILE_BYTES: usize = 64 << 20;
const ROUNDS: usize = 5;
/// How long a round works at least, for what is done many times.
const ROUND: Duration = Duration::from_millis(300);

/// Runs the bench of keys and prints its table.
pub(crate) fn run(options: &Options) {
    let rounds = if options.quick { 1 } else { ROUNDS };
    let mut table = Table::new(&["what, in one thread's processor time", "", "a second", "each"]);
    let rsa = |size| RecipientKey::Rsa(RsaPrivateKey::generate(size));
    let keys = [
        ("X25519", MemberSecret::random().recipient_key()),
        ("RSA 2048", rsa(RsaSize::Bits2048)),
        ("RSA 3072", rsa(RsaSize::Bits3072)),
        ("RSA 4096", rsa(RsaSize::Bits4096)),
    ];
    let context = Context::of_grid(b"bench");
    for (name, key) in keys {
        let recipients = [key.recipient()];
        let sealed = wrap(&recipients, &context);
        let wraps = often(rounds, || drop(wrap(&recipients, &context)));
        let opens = often(rounds, || {
            let envelope = Envelope::parse(&sealed).expect("it was just made");
            envelope.open_with(&key, &context).expect("it is for this key");
        });
        table.row(row(&format!("wrap a data key, {name}"), wraps));
        table.row(row(&format!("unwrap it, {name}"), opens));
    }
    let key = MemberSecret::random().recipient_key();
    let sealed = encrypt(&key);
    let seconds = |job: &dyn Fn()| median((0..rounds).map(|_| timed(job)).collect());
    let encrypting = seconds(&|| drop(encrypt(&key)));
    let decrypting = seconds(&|| decrypt(&sealed, &key));
    for (what, seconds) in [("encrypt a file", encrypting), ("decrypt a file", decrypting)] {
        table.row([what.to_owned(), String::new(), bytes(FILE_BYTES as f64 / seconds), each(seconds)]);
    }
    let passphrase = Passphrase::new("correct horse".to_owned()).expect("it is one");
    let member = MemberKey::new(&MemberSecret::random(), Some(&passphrase));
    let unlocking = seconds(&|| drop(member.unlock(Some(&passphrase)).expect("it is its passphrase")));
    table.row(row("unlock a member key (Argon2id)", 1.0 / unlocking));
    table.print();
}

fn wrap(recipients: &[Recipient], context: &Context) -> Vec<u8> {
    DataKey::random().seal_to(recipients, context).expect("these are good keys")
}

fn encrypt(key: &RecipientKey) -> Vec<u8> {
    let out = Vec::with_capacity(FILE_BYTES + (1 << 20));
    let mut writer = SealedWriter::seal_to(out, &[key.recipient()]).expect("memory takes it");
    let piece = vec![7; 256 << 10];
    for _ in 0..FILE_BYTES / piece.len() {
        writer.write_all(&piece).expect("memory takes it");
    }
    writer.finish().expect("memory takes it")
}

fn decrypt(sealed: &[u8], key: &RecipientKey) {
    let file = SealedFile::open(sealed).expect("it was just made");
    let mut reader = file.open_with(key).expect("it is for this key");
    let mut piece = vec![0; 256 << 10];
    while reader.read(&mut piece).expect("it is whole") > 0 {}
}

fn timed(job: &dyn Fn()) -> f64 {
    let start = used();
    job();
    (used() - start).as_secs_f64()
}

/// Processor time that this thread has used.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs().try_into().expect("below a second"))
}

/// How often a second something can be done: the median of the rounds.
fn often(rounds: usize, job: impl Fn()) -> f64 {
    let round = || {
        let (start, mut count) = (used(), 0u32);
        while used() - start < ROUND {
            job();
            count += 1;
        }
        f64::from(count) / (used() - start).as_secs_f64()
    };
    median((0..rounds).map(|_| round()).collect())
}

fn row(what: &str, a_second: f64) -> [String; 4] {
    [what.to_owned(), String::new(), amount(a_second), each(1.0 / a_second)]
}

fn each(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s => format!("{:.1} ms", s * 1e3),
    }
}
