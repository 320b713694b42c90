//! Writers write, and machines fail, by a seed: whatever was acknowledged is there in the end, on its machine, and on a
//! new one if the machine is lost.

use crate::lab::{Lab, lock};
use crate::machine::{Machine, group, is_complete, is_safe};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long it goes on, unless `OKAPI_SOAK` says how many seconds.
const SECONDS: u64 = 60;
/// What comes to pass, unless `OKAPI_SEED` says so.
const SEED: u64 = 7;
/// Machines; the first few of them write.
const MACHINES: usize = 7;
const WRITERS: usize = 3;
/// Members that read what the last of the writers wrote.
const READERS: usize = 3;
/// Machines that may be down or cut off at a time.
const FAULTS: usize = 2;
/// How long a writer waits for the others before it goes on.
const SAFE_PATIENCE: Duration = Duration::from_secs(15);
/// The longest record, in bytes.
const RECORD_MAX: u64 = 3 << 20;

/// Numbers that follow from a seed.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(seed: u64, whose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(whose.as_bytes());
        Self(hasher.finalize_xof())
    }

    fn below(&mut self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) % limit
    }
}

/// What a writer was told is stored: by name, what it was made from and how long it is.
type Acknowledged = BTreeMap<String, u64>;

#[test]
fn whatever_was_acknowledged_is_there_in_the_end() {
    let Some(lab) = Lab::new() else { return };
    let (seconds, seed) = (from_environment("OKAPI_SOAK", SECONDS), from_environment("OKAPI_SEED", SEED));
    println!("{seconds} seconds of seed {seed}");
    let machines = group(&lab, MACHINES);
    let (readers, last) = (&machines[WRITERS..][..READERS], &machines[WRITERS - 1]);
    for reader in readers {
        last.ok(&format!("grant main {} read", reader.name));
    }
    let over = AtomicBool::new(false);
    let kept: Vec<Mutex<Kept>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for (machine, kept) in machines.iter().zip(&kept) {
            let over = &over;
            scope.spawn(move || write(machine, seed, kept, over));
        }
        let _ends = EndWith(&over);
        trouble(&machines, Duration::from_secs(seconds), seed);
    });
    lab.heal(None);

    for machine in &machines {
        machine.until("all are back", |status| is_complete(status, MACHINES));
    }
    for (writer, kept) in machines.iter().zip(&kept) {
        let kept = lock(kept);
        println!("{}: {} records, {} of them safe at once", writer.name, kept.all.len(), kept.safe.len());
        assert!(!kept.all.is_empty() && !kept.safe.is_empty(), "{} got nothing done", writer.name);
        verify(writer, &kept.all);
        writer.until("all is safe", is_safe);
    }
    // Three members read what another one wrote: from its node, and once that is away from the shards that all hold.
    let records = &lock(&kept[WRITERS - 1]).all;
    for from in ["its node", "the shards"] {
        if from == "the shards" {
            last.kill();
        }
        for reader in readers {
            println!("{} reads {} of {}, from {from}", reader.name, records.len(), last.name);
            verify_from(reader, last, records);
        }
    }
    last.start();
    // Machines are lost, one after the other, and what they had is had from those who are left.
    for (writer, kept) in machines.iter().zip(&kept).take(2) {
        writer.wipe();
        writer.adopt(writer.restore(&writer.phrase, &machines[MACHINES - 1].member_address().to_string()).finish());
        verify(writer, &lock(kept).all);
        writer.until("all are back", |status| is_complete(status, MACHINES));
    }
    for machine in &machines {
        assert!(!machine.whole_log().contains("two logs are signed"), "{}", machine.log());
    }
}

/// What a writer was told.
#[derive(Default)]
struct Kept {
    all: Acknowledged,
    /// Those that were safe when the program returned.
    safe: Acknowledged,
}

/// Tells the others when whoever holds it ends, even by a panic.
struct EndWith<'o>(&'o AtomicBool);

impl Drop for EndWith<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Puts one record after the other.
fn write(machine: &Machine, seed: u64, kept: &Mutex<Kept>, over: &AtomicBool) {
    let mut dice = Dice::new(seed, &machine.name);
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let (name, length) = (format!("{}/{number}", machine.name), dice.below(RECORD_MAX));
        let path = machine.house.file("content", content(&name, length));
        let is_safe = dice.below(3) == 0;
        let line = format!("put {path} {name} -q{}", if is_safe { " --safe" } else { "" });
        if machine.run_for(SAFE_PATIENCE, &line) == Some(0) {
            let mut kept = lock(kept);
            kept.all.insert(name.clone(), length);
            if is_safe {
                kept.safe.insert(name, length);
            }
        }
    }
}

/// Lets machines fail and come back.
fn trouble(machines: &[Machine], time: Duration, seed: u64) {
    let mut dice = Dice::new(seed, "trouble");
    let (begun, mut down, mut cut) = (Instant::now(), Vec::new(), Vec::new());
    while begun.elapsed() < time {
        let machine = &machines[dice.below(machines.len() as u64) as usize];
        let is_down = down.iter().position(|one: &&Machine| one.id == machine.id);
        let is_cut = cut.iter().position(|one: &&Machine| one.id == machine.id);
        let may_fail = down.len() + cut.len() < FAULTS;
        match (is_down, is_cut) {
            (Some(at), _) => down.swap_remove(at).start(),
            (_, Some(at)) => machine.lab.heal(Some(cut.swap_remove(at).address)),
            _ if !may_fail => {}
            _ if dice.below(2) == 0 => {
                machine.kill();
                down.push(machine);
            }
            _ => {
                machine.lab.cut(machine.address);
                cut.push(machine);
            }
        }
        // A while passes in which something can be done, long or short.
        let until = Instant::now() + Duration::from_millis(200 + dice.below(2500));
        while Instant::now() < until {
            std::thread::park_timeout(until - Instant::now());
        }
    }
    down.into_iter().for_each(Machine::start);
}

/// All of it is there, as it was.
fn verify(machine: &Machine, records: &Acknowledged) {
    for (name, length) in records {
        assert!(machine.get(name) == content(name, *length), "{}: {name} of {length} bytes", machine.name);
    }
}

/// All of it is there for a member that was granted it.
fn verify_from(reader: &Machine, owner: &Machine, records: &Acknowledged) {
    for (name, length) in records {
        let got = reader.run(&format!("--member {} get {name} -q", owner.name));
        assert_eq!(got.code, 0, "{}: {name} of {}: {}", reader.name, owner.name, got.err);
        assert!(got.out == content(name, *length), "{}: {name} of {}, {length} bytes", reader.name, owner.name);
    }
}

/// What a record of this name and length holds.
fn content(name: &str, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
