//! How a member has behaved, window by window.

use super::{Grade, PART_START, PART_STEP, PART_WHOLE, Standing};
use crate::contract::SKEW_MAX_MS;
use crate::stamp::{DAY_MS, stamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::MemberId;
use okapi_base::machine::Moment;
use okapi_wire::{BodyError, BodyReader, BodyWriter, Message};

/// One window, in milliseconds: 30 days, counted from 1970-01-01 UTC.
pub const WINDOW_MS: u64 = 30 * DAY_MS;
/// Windows in which words are still taken in, the present one among them. After that a window's verdict is final.
pub const WINDOWS_OPEN: u32 = 3;
/// Probes that a member must have sent in a window for its word to count in it.
pub const PROBES_MIN: u32 = 8;
/// Members whose words are kept in one window.
pub const VOICES_MAX: usize = 1024;
/// Up to one failure in so many probes a window is good.
const GOOD: u64 = 64;
/// Up to one failure in so many probes a window is fair: it changes nothing.
const FAIR: u64 = 16;
/// Beyond one failure in so many probes a window is gross: it costs two steps.
const GROSS: u64 = 2;

/// The first byte of the durable form.
const VERSION: u8 = 1;

/// How a member has behaved, by what all whose shards it holds have attested: probes answered and failed.
///
/// Each of them has one voice in a window, and the middle one counts (of an even number the worse of the two), so
/// that neither one liar nor one flatterer moves a standing in a group of three or more. What one has seen oneself is
/// better kept in a `Conduct` of its own and combined by [`Standing::worse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conduct {
    /// The standing at the beginning of window `from`.
    base: Standing,
    from: u32,
    windows: BTreeMap<u32, BTreeMap<MemberId, Probes>>,
}

/// Probes that one member sent in one window, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Probes {
    answered: u32,
    failed: u32,
}

/// Why a word is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is about a window that is closed.
    #[error("the attestation is older than {WINDOWS_OPEN} windows of 30 days")]
    Old,
    /// It is from the future.
    #[error("the attestation is from the future; check the clocks")]
    Future,
    /// The window has all the voices it keeps.
    #[error("the window has {VOICES_MAX} voices already")]
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Good,
    Fair,
    Bad,
    Gross,
}

impl Conduct {
    /// A newcomer's.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { base: Standing::NEW, from: window(stamp(now)), windows: BTreeMap::new() }
    }

    /// Takes in a verified word of member `by`: how many probes it has sent, since the beginning of the 30-day window
    /// in which `stamped` lies, that were `answered` and that `failed`. Words come in any order, and repeatedly: the
    /// highest counts of each window stay.
    ///
    /// # Errors
    /// [`NoteError`]; nothing is changed then.
    pub fn note(
        &mut self,
        now: Moment,
        by: MemberId,
        stamped: u64,
        answered: u32,
        failed: u32,
    ) -> Result<(), NoteError> {
        self.close(now);
        if stamped > stamp(now).saturating_add(SKEW_MAX_MS) {
            return Err(NoteError::Future);
        }
        let at = window(stamped);
        if at < self.from {
            return Err(NoteError::Old);
        }
        let voices = self.windows.entry(at).or_default();
        if voices.len() >= VOICES_MAX && !voices.contains_key(&by) {
            return Err(NoteError::Full);
        }
        let probes = voices.entry(by).or_default();
        *probes = Probes { answered: probes.answered.max(answered), failed: probes.failed.max(failed) };
        Ok(())
    }

    /// The standing now. A window raises it only when it is over; failures count as soon as they are known.
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        let present = window(stamp(now));
        let past = self.windows.range(..present).fold(self.base, |standing, (_, voices)| after(standing, voices));
        let running = self.windows.range(present..).map(|(_, voices)| after(past, voices));
        running.fold(past, Standing::worse)
    }

    /// Makes the verdicts of old windows final and forgets their words.
    fn close(&mut self, now: Moment) {
        let oldest = (window(stamp(now)) + 1).saturating_sub(WINDOWS_OPEN);
        if oldest <= self.from {
            return;
        }
        let open = self.windows.split_off(&oldest);
        self.base = self.windows.values().fold(self.base, after);
        self.windows = open;
        self.from = oldest;
    }
}

fn window(stamp: u64) -> u32 {
    u32::try_from(stamp / WINDOW_MS).unwrap_or(u32::MAX - 1)
}

/// The standing that a window leaves behind.
fn after(standing: Standing, voices: &BTreeMap<MemberId, Probes>) -> Standing {
    let mut verdicts: Vec<Verdict> = voices.values().filter_map(|probes| verdict(*probes)).collect();
    verdicts.sort_unstable();
    let Some(verdict) = verdicts.get(verdicts.len() / 2) else { return standing };
    let Standing { grade, part } = standing;
    match verdict {
        Verdict::Fair => standing,
        Verdict::Good if grade == Grade::Full => Standing { grade, part: (part + PART_STEP).min(PART_WHOLE) },
        Verdict::Good => match better(grade) {
            Grade::Full => Standing::NEW,
            grade => Standing { grade, part },
        },
        Verdict::Bad => fallen(worse(grade), part),
        Verdict::Gross => fallen(worse(worse(grade)), part),
    }
}

fn fallen(grade: Grade, part: u16) -> Standing {
    let part = if grade == Grade::NoNewData { (part / 2).min(PART_START) } else { 0 };
    Standing { grade, part }
}

fn verdict(probes: Probes) -> Option<Verdict> {
    let (failed, sent) = (u64::from(probes.failed), u64::from(probes.answered) + u64::from(probes.failed));
    if sent < u64::from(PROBES_MIN) {
        return None;
    }
    Some(match failed {
        _ if failed * GOOD <= sent => Verdict::Good,
        _ if failed * FAIR <= sent => Verdict::Fair,
        _ if failed * GROSS <= sent => Verdict::Bad,
        _ => Verdict::Gross,
    })
}

fn worse(grade: Grade) -> Grade {
    match grade {
        Grade::Full => Grade::NoNewData,
        Grade::NoNewData => Grade::Drain,
        Grade::Drain | Grade::Out => Grade::Out,
    }
}

fn better(grade: Grade) -> Grade {
    match grade {
        Grade::Full | Grade::NoNewData => Grade::Full,
        Grade::Drain => Grade::NoNewData,
        Grade::Out => Grade::Drain,
    }
}

/// One voice in one window. Body: window u32, member (32 bytes), answered u32, failed u32.
struct Voice(u32, MemberId, Probes);

impl Message for Voice {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(self.0);
        body.bytes(&self.1.0);
        body.u32(self.2.answered);
        body.u32(self.2.failed);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (window, by) = (body.u32()?, MemberId(body.array()?));
        Ok(Self(window, by, Probes { answered: body.u32()?, failed: body.u32()? }))
    }
}

/// The durable form. Body: version u8, from u32, grade u8 (0 full to 3 out), part u16, list of voices by window and
/// member.
impl Message for Conduct {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(VERSION);
        body.u32(self.from);
        body.u8(self.base.grade as u8);
        body.u16(self.base.part);
        let voices = |(at, voices): (&u32, &BTreeMap<MemberId, Probes>)| -> Vec<Voice> {
            voices.iter().map(|(by, probes)| Voice(*at, *by, *probes)).collect()
        };
        body.list(&self.windows.iter().flat_map(voices).collect::<Vec<_>>());
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != VERSION {
            return Err(BodyError::BadValue { field: "version" });
        }
        let from = body.u32()?;
        let grade = match body.u8()? {
            0 => Grade::Full,
            1 => Grade::NoNewData,
            2 => Grade::Drain,
            3 => Grade::Out,
            _ => return Err(BodyError::BadValue { field: "grade" }),
        };
        let part = body.u16()?;
        if part > PART_WHOLE {
            return Err(BodyError::BadValue { field: "part" });
        }
        let mut windows: BTreeMap<u32, BTreeMap<MemberId, Probes>> = BTreeMap::new();
        let mut last = None;
        for Voice(at, by, probes) in body.list::<Voice>(VOICES_MAX * WINDOWS_OPEN as usize)? {
            if at < from || last >= Some((at, by)) {
                return Err(BodyError::BadValue { field: "voice" });
            }
            last = Some((at, by));
            windows.entry(at).or_default().insert(by, probes);
        }
        Ok(Self { base: Standing { grade, part }, from, windows })
    }
}
