//! Links between members beside the bare stream they are made of: TLS 1.3 over TCP by tokio-rustls, on loopback.
//!
//! All ends are in this process, in turn, so the processor time of a round is that of both ends.

mod member;
pub(crate) mod raw;

use crate::Fault;
use crate::options::Options;
use crate::sample::median;
use crate::server::own_cpu;
use crate::table::{Table, amount, bytes};
use std::time::Instant;

const MIB: usize = 1 << 20;
/// What one round moves, in bytes.
const ROUND_BYTES: usize = 2 << 30;
const ROUNDS: usize = 7;
/// Round trips of small letters in one round.
const TRIPS: usize = 20_000;

/// What moving bytes took.
#[derive(Debug, Clone, Copy)]
struct Moved {
    /// Bytes a second.
    rate: f64,
    /// Seconds of processor time for a gigabyte, both ends.
    cpu: f64,
}

impl Moved {
    /// Measures a job that moves so many bytes.
    fn by(total: usize, job: impl FnOnce() -> Result<(), Fault>) -> Result<Self, Fault> {
        let (cpu, begun) = (own_cpu(), Instant::now());
        job()?;
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), own_cpu() - cpu);
        Ok(Self { rate: total as f64 / seconds, cpu: cpu / total as f64 * 1e9 })
    }
}

/// Runs the bench of links and prints its table.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let rounds = if options.quick { 1 } else { ROUNDS };
    let total = if options.quick { ROUND_BYTES / 4 } else { ROUND_BYTES };
    let raw = raw::Pair::new()?;
    let pair = member::Pair::new()?;
    let mut table = Table::new(&["moving", "by", "a second", "cpu s/GB", "x raw"]);
    for size in [8 * MIB, 2 * MIB] {
        let (mut bare, mut letters) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            bare.push(Moved::by(total, || raw.move_buffers(size, total / size))?);
            letters.push(Moved::by(total, || pair.move_payloads(size, total / size))?);
        }
        let of = |moved: &[Moved], pick: fn(&Moved) -> f64| median(moved.iter().map(pick).collect());
        let ratios = bare.iter().zip(&letters).map(|(bare, letter)| letter.rate / bare.rate).collect();
        for (by, moved, ratio) in [("raw TLS", &bare, None), ("member link", &letters, Some(median(ratios)))] {
            table.row([
                format!("{} MiB", size / MIB),
                by.to_owned(),
                bytes(of(moved, |moved| moved.rate)),
                format!("{:.2}", of(moved, |moved| moved.cpu)),
                ratio.map_or(String::new(), |ratio| format!("{ratio:.2}, goal 0.9: {}", verdict(ratio >= 0.9))),
            ]);
        }
        table.gap();
    }
    for (depth, busy) in [(1, false), (64, false), (1, true)] {
        let mut taken = Vec::new();
        for _ in 0..rounds {
            taken.push(pair.trips(
                if options.quick || busy { TRIPS / 10 } else { TRIPS * depth.min(10) },
                depth,
                busy,
            )?);
        }
        let of = |pick: fn(&member::Trips) -> f64| median(taken.iter().map(pick).collect());
        table.row([
            format!(
                "64 B there and back, {depth} at a time{}",
                if busy { ", while payloads of 8 MiB flow" } else { "" }
            ),
            "member link".to_owned(),
            amount(of(|trips| trips.rate)),
            String::new(),
            format!("p50 {:.0} us, p99 {:.0} us", of(|trips| trips.p50), of(|trips| trips.p99)),
        ]);
    }
    table.print();
    Ok(())
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
