//! How fast links carry the answers of multi-gets: `cargo run --release -p okapi-link --example throughput`.
//!
//! One thread asks (4 frames in flight), the other answers each ask with a header, 16 descriptors and 16 payloads in
//! one send. Payloads come from 64 MiB of memory; nothing is checked. Medians of 5, kinds interleaved.
#![allow(missing_docs, clippy::print_stdout, reason = "a measuring program")]

use okapi_link::{Interest, Link, TcpLink, TcpListen, UnixLink, memory};
use std::io::{ErrorKind, IoSlice};
use std::time::{Duration, Instant};

const ASK: usize = 32 + 16 * 16;
const IN_FLIGHT: usize = 4;
const KEYS: usize = 16;
const ROUNDS: usize = 5;

type Pair = (Box<dyn Link>, Box<dyn Link>);

fn unix(buffer: usize) -> Pair {
    let (one, other) = UnixLink::pair().unwrap();
    for link in [&one, &other] {
        if buffer > 0 {
            rustix::net::sockopt::set_socket_send_buffer_size(link.fd(), buffer).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(link.fd(), buffer).unwrap();
        }
    }
    (Box::new(one), Box::new(other))
}

fn tcp(_: usize) -> Pair {
    let mut listen = TcpListen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let one = TcpLink::connect(&listen.local_addr(), Duration::from_secs(10)).unwrap();
    (Box::new(one), Box::new(listen.accept().unwrap()))
}

fn in_memory(capacity: usize) -> Pair {
    let (one, other) = memory::pair(capacity).unwrap();
    (Box::new(one), Box::new(other))
}

fn receive_some(link: &mut dyn Link, into: &mut [u8], spin: Duration) -> usize {
    let mut since = None;
    loop {
        match link.receive(into) {
            Ok(count) => return count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !spin.is_zero() && since.get_or_insert_with(Instant::now).elapsed() < spin {
                    std::hint::spin_loop();
                } else {
                    link.wait(Interest::Receive, None).unwrap();
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn receive_all(link: &mut dyn Link, count: usize, into: &mut [u8], spin: Duration) -> bool {
    let mut left = count;
    while left > 0 {
        let room = left.min(into.len());
        match receive_some(link, &mut into[..room], spin) {
            0 => return false,
            got => left -= got,
        }
    }
    true
}

fn send_all(link: &mut dyn Link, mut parts: &mut [IoSlice<'_>]) {
    loop {
        match link.send(parts) {
            Ok(count) => IoSlice::advance_slices(&mut parts, count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                link.wait(Interest::Send, None).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        if parts.is_empty() {
            return;
        }
    }
}

fn answer(link: &mut dyn Link, payload: usize, keys: usize, spin: Duration) {
    let store = vec![7u8; 64 << 20];
    let head = vec![1u8; 32 + keys * 16];
    let mut ask = vec![0; ASK];
    let mut at = 0;
    while receive_all(link, ASK, &mut ask, spin) {
        let mut parts = [IoSlice::new(&head); KEYS + 1];
        for part in &mut parts[1..=keys] {
            *part = IoSlice::new(&store[at..at + payload]);
            // A stride that no cache line or prefetcher likes.
            at = (at + payload + 7 * 4096) % (store.len() - payload);
        }
        send_all(link, &mut parts[..=keys]);
    }
}

/// Seconds a frame takes.
fn measure(
    (mut one, mut other): Pair,
    payload: usize,
    keys: usize,
    in_flight: usize,
    spin: Duration,
    frames: usize,
) -> f64 {
    std::thread::scope(|scope| {
        scope.spawn(move || answer(&mut *other, payload, keys, spin));
        let mut into = vec![0; 1 << 20];
        let reply = 32 + keys * (16 + payload);
        let ask = [0; ASK];
        for _ in 0..in_flight {
            send_all(&mut *one, &mut [IoSlice::new(&ask)]);
        }
        let mut started = Instant::now();
        for frame in 0..frames {
            if frame == frames / 10 {
                started = Instant::now();
            }
            assert!(receive_all(&mut *one, reply, &mut into, spin));
            if frame + in_flight < frames {
                send_all(&mut *one, &mut [IoSlice::new(&ask)]);
            }
        }
        let took = started.elapsed().as_secs_f64() / (frames - frames / 10) as f64;
        one.close();
        took
    })
}

type Make = fn(usize) -> Pair;

/// One of the columns: seconds a frame takes, and seconds of processor.
fn column(number: usize, pair: Pair) -> (f64, f64) {
    let spin = Duration::from_micros(50);
    let before = processor();
    let (took, frames) = match number {
        0 => (measure(pair, 64 << 10, KEYS, IN_FLIGHT, Duration::ZERO, 800), 800),
        1 => (measure(pair, 64 << 10, KEYS, IN_FLIGHT, spin, 800), 800),
        2 => (measure(pair, 64, 1, 1, Duration::ZERO, 5000), 5000),
        _ => (measure(pair, 64, 1, 1, spin, 5000), 5000),
    };
    (took, (processor() - before) / f64::from(frames))
}

/// Seconds of processor that this process has used.
fn processor() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let mut kinds: Vec<(&str, Make, usize)> = vec![
        ("unix, as it comes", unix, 0),
        ("unix 104 KiB (the kernel's default)", unix, 104 << 10),
        ("unix 208 KiB (the usual limit)", unix, 208 << 10),
        ("unix 512 KiB", unix, 512 << 10),
        ("unix 1 MiB", unix, 1 << 20),
        ("unix 2 MiB", unix, 2 << 20),
        ("unix 4 MiB", unix, 4 << 20),
        ("tcp", tcp, 0),
        ("memory 64 KiB", in_memory, 64 << 10),
        ("memory 512 KiB", in_memory, 512 << 10),
        ("memory 1 MiB", in_memory, 1 << 20),
        ("memory 2 MiB", in_memory, 2 << 20),
        ("memory 4 MiB", in_memory, 4 << 20),
    ];
    kinds.retain(|(name, ..)| name.starts_with(&only));
    let mut figures = vec![[const { Vec::new() }; 4]; kinds.len()];
    for _ in 0..ROUNDS {
        for number in 0..4 {
            for ((_, make, size), figures) in kinds.iter().zip(&mut figures) {
                figures[number].push(column(number, make(*size)));
            }
        }
    }
    println!("{:36} {:>22} {:>22} {:>16}", "", "16 x 64 KiB GB/s, s/GB", "spinning", "64 B us, spinning");
    for ((name, ..), figures) in kinds.iter().zip(figures) {
        let rows = figures.map(|figures| {
            let (took, processor): (Vec<f64>, Vec<f64>) = figures.into_iter().unzip();
            (median(took), median(processor))
        });
        let gigabyte = (KEYS << 16) as f64 / 1e9;
        print!("{name:36}");
        for (took, processor) in &rows[..2] {
            print!(" {:14.2} {:7.3}", gigabyte / took, processor / gigabyte);
        }
        println!(" {:8.2} {:8.2}", rows[2].0 * 1e6, rows[3].0 * 1e6);
    }
}
