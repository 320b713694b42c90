//! Two nodes with member links.

use crate::Fault;
use hdrhistogram::Histogram;
use okapi_link::member::{Event, Host, MemberLinks, NodeId, Settings, Standing};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Bytes of payloads on their way at a time.
const WINDOW: usize = 32 << 20;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const BULK: u8 = 1;
const ASK: u8 = 2;
const ANSWER: u8 = 3;

/// A node that sends, and one that receives or answers.
pub(super) struct Pair {
    near: Arc<MemberLinks>,
    far: NodeId,
    _far: Arc<MemberLinks>,
    /// One for each payload that came.
    bulk: Mutex<Receiver<()>>,
    /// One for each letter that came back.
    back: Mutex<Receiver<()>>,
}

/// How small letters fared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trips {
    /// Round trips a second.
    pub(super) rate: f64,
    /// Microseconds that half of them, and all but one of a hundred, took at most.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// Says what came, and answers where an answer is wanted.
struct Told {
    links: OnceLock<Arc<MemberLinks>>,
    bulk: SyncSender<()>,
    back: SyncSender<()>,
}

impl Host for Told {
    fn standing(&self, _node: &NodeId) -> Standing {
        Standing::Member
    }

    fn happened(&self, event: Event) {
        let Event::Letter { from, letter, .. } = event else { return };
        match letter.first() {
            Some(&ASK) => {
                let links = self.links.get().expect("it is set before anything is sent");
                links.send(from, [&[ANSWER], &letter[1..]].concat(), Arc::default());
            }
            Some(&BULK) => drop(self.bulk.try_send(())),
            _ => drop(self.back.try_send(())),
        }
    }
}

impl Pair {
    pub(super) fn new() -> Result<Self, Fault> {
        let (bulk, bulk_told) = sync_channel(1 << 16);
        let (back, back_told) = sync_channel(1 << 16);
        let near = node(1, bulk.clone(), back.clone())?;
        let far = node(2, bulk, back)?;
        near.learn(far.announcement())?;
        let pair = Self { far: far.node(), near, _far: far, bulk: Mutex::new(bulk_told), back: Mutex::new(back_told) };
        // The connection is there before anything is measured.
        pair.trips(10, 1, false)?;
        Ok(pair)
    }

    pub(super) fn move_payloads(&self, size: usize, count: usize) -> Result<(), Fault> {
        let payload: Arc<[u8]> = vec![7; size].into();
        let told = self.bulk.lock().expect("one thread");
        let window = (WINDOW / size).max(2);
        for number in 0..count + window {
            if number >= window {
                told.recv_timeout(PATIENCE)?;
            }
            if number < count {
                self.near.send(self.far, vec![BULK; 64], payload.clone());
            }
        }
        Ok(())
    }

    /// Sends small letters there and back, so many at a time; with `busy` while payloads flow the same way.
    pub(super) fn trips(&self, count: usize, depth: usize, busy: bool) -> Result<Trips, Fault> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            if busy {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        self.move_payloads(8 << 20, 16).expect("payloads arrive");
                    }
                });
                std::thread::sleep(Duration::from_millis(100));
            }
            let trips = self.trip(count, depth);
            done.store(true, Ordering::Relaxed);
            trips
        })
    }

    fn trip(&self, count: usize, depth: usize) -> Result<Trips, Fault> {
        let mut histogram = Histogram::<u64>::new_with_max(10_000_000_000, 3)?;
        let back = self.back.lock().expect("one thread");
        let mut sent = std::collections::VecDeque::with_capacity(depth);
        let begun = Instant::now();
        for number in 0..count + depth {
            if number >= depth {
                back.recv_timeout(PATIENCE)?;
                let since: Instant = sent.pop_front().expect("as many come back as were sent");
                histogram.saturating_record(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            if number < count {
                sent.push_back(Instant::now());
                self.near.send(self.far, vec![ASK; 64], Arc::default());
            }
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Trips { rate, p50: at(0.5), p99: at(0.99) })
    }
}

fn node(seed: u8, bulk: SyncSender<()>, back: SyncSender<()>) -> Result<Arc<MemberLinks>, Fault> {
    let mut settings = Settings::new(zeroize::Zeroizing::new([seed; 32]), [seed; 16]);
    settings.listen = vec!["127.0.0.1:0".parse()?];
    let host = Arc::new(Told { links: OnceLock::new(), bulk, back });
    let links = Arc::new(MemberLinks::start(settings, host.clone())?);
    // The two keep each other for as long as the bench runs.
    let _ = host.links.set(links.clone());
    Ok(links)
}
