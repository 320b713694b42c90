//! One engine's life in a process of its own, so that what it writes and uses is its own too.

use super::engine::{self, Engine, Put, Safety};
use crate::random::Random;
use crate::{Fault, random, server};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Blocks put at a time: one frame's worth.
const BATCH: u64 = 16;
/// Contents are slices of one pool, so that making them up costs the bench next to nothing.
const POOL_BYTES: usize = 16 << 20;

/// An engine that has written nothing for so long has tidied up.
const QUIET: Duration = Duration::from_secs(2);
/// No engine is given more time than this to do so.
const SETTLED: Duration = Duration::from_secs(30);

/// What is done in one life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// Bytes of a block.
    pub(super) size: usize,
    /// How many blocks.
    pub(super) blocks: u64,
    /// How many are read back at random.
    pub(super) reads: u64,
    /// How many are overwritten at random.
    pub(super) overwrites: u64,
    /// When a put has to have reached the disk.
    pub(super) safety: Safety,
}

/// What one life has shown, by name.
pub(super) type Figures = BTreeMap<String, f64>;

/// Lives a life in a child process: fill in order, read at random, overwrite at random, close, and then, in a second
/// process, open again.
pub(super) fn live_apart(name: &str, dir: &Path, life: &Life) -> Result<Figures, Fault> {
    let mut figures = apart("write", name, dir, life)?;
    figures.insert("space".to_owned(), bytes_in(dir)? as f64);
    figures.extend(apart("reopen", name, dir, life)?);
    Ok(figures)
}

fn apart(part: &str, name: &str, dir: &Path, life: &Life) -> Result<Figures, Fault> {
    let safety = if life.safety == Safety::EveryBatch { 1 } else { 0 };
    let numbers = [life.size as u64, life.blocks, life.reads, life.overwrites, safety];
    let mut command = Command::new(std::env::current_exe()?);
    command.args([super::LIFE, part, name]).arg(dir).args(numbers.map(|number| number.to_string()));
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{name} ended with {}", output.status).into());
    }
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(figure).collect())
}

/// The child's side of [`live_apart`].
pub(super) fn live(words: &[String]) -> Result<(), Fault> {
    let [part, name, dir, numbers @ ..] = words else { return Err("a life needs more words".into()) };
    let numbers = numbers.iter().map(|word| word.parse()).collect::<Result<Vec<u64>, _>>()?;
    let &[size, blocks, reads, overwrites, safety] = numbers.as_slice() else {
        return Err("a life has five numbers".into());
    };
    let safety = if safety == 1 { Safety::EveryBatch } else { Safety::AtTheEnd };
    let life = Life { size: size as usize, blocks, reads, overwrites, safety };
    let figures = match part.as_str() {
        "write" => write(name, Path::new(dir), &life)?,
        _ => reopen(name, Path::new(dir), &life)?,
    };
    for (name, value) in figures {
        println!("{name} {value}");
    }
    Ok(())
}

fn write(name: &str, dir: &Path, life: &Life) -> Result<Figures, Fault> {
    let mut figures = Figures::new();
    let pool = Pool::new(life.size);
    let mut versions = vec![0u8; life.blocks as usize];
    let mut engine = engine::open(name, dir, life.size, life.safety)?;
    let order = 0..life.blocks;
    figures.extend(put_all("fill", &mut *engine, &pool, life, order, &mut versions)?);
    figures.extend(read_all(&mut *engine, &pool, life, &versions)?);
    let mut random = Random::new(5);
    let order = (0..life.overwrites).map(|_| random.below(life.blocks));
    let before = written()?;
    let start = Instant::now();
    figures.extend(put_all("overwrite", &mut *engine, &pool, life, order, &mut versions)?);
    check(&mut *engine, &pool, life, &versions)?;
    if life.overwrites > 0 {
        settle()?;
    }
    drop(engine);
    // Closing belongs to it: whoever tidies up in the background has to be done by then.
    figures.insert("overwrite_closed".to_owned(), start.elapsed().as_secs_f64());
    figures.insert("overwrite_written".to_owned(), (written()? - before) as f64);
    Ok(figures)
}

/// Puts the blocks of `order`, batch by batch, and then syncs.
fn put_all(
    what: &str,
    engine: &mut dyn Engine,
    pool: &Pool,
    life: &Life,
    mut order: impl Iterator<Item = u64>,
    versions: &mut [u8],
) -> Result<Vec<(String, f64)>, Fault> {
    let (before, cpu, start) = (written()?, server::own_cpu(), Instant::now());
    let mut batch: Vec<Put<'_>> = Vec::with_capacity(BATCH as usize);
    let mut count = 0;
    loop {
        batch.clear();
        for index in order.by_ref().take(BATCH as usize) {
            let version = &mut versions[index as usize];
            *version = version.wrapping_add(1);
            batch.push((index, pool.content(index, *version)));
        }
        if batch.is_empty() {
            break;
        }
        engine.put(&batch)?;
        count += batch.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    engine.sync()?;
    let synced = start.elapsed().as_secs_f64();
    let figures = [
        ("ops", count as f64 / seconds),
        ("bytes", (count * life.size) as f64 / seconds),
        ("synced_bytes", (count * life.size) as f64 / synced),
        ("cpu", (server::own_cpu() - cpu) * 1e6 / count.max(1) as f64),
        ("written", (written()? - before) as f64),
    ];
    Ok(figures.map(|(name, value)| (format!("{what}_{name}"), value)).to_vec())
}

fn read_all(engine: &mut dyn Engine, pool: &Pool, life: &Life, versions: &[u8]) -> Result<Vec<(String, f64)>, Fault> {
    let mut random = Random::new(9);
    let mut into = Vec::with_capacity(life.size);
    let (cpu, start) = (server::own_cpu(), Instant::now());
    for _ in 0..life.reads {
        let index = random.below(life.blocks);
        let there = engine.get(index, &mut into)?;
        let expected = pool.content(index, versions[index as usize]);
        if !there || into.len() != expected.len() || into[..16] != expected[..16] {
            return Err(format!("block {index} came back different").into());
        }
    }
    let ops = life.reads as f64 / start.elapsed().as_secs_f64();
    let cpu = (server::own_cpu() - cpu) * 1e6 / life.reads.max(1) as f64;
    Ok(vec![("read_ops".to_owned(), ops), ("read_cpu".to_owned(), cpu)])
}

/// Gives an engine time to tidy up in the background: until it has written nothing for a while.
fn settle() -> Result<(), Fault> {
    let (mut before, mut since) = (written()?, Instant::now());
    let start = Instant::now();
    while since.elapsed() < QUIET && start.elapsed() < SETTLED {
        std::thread::sleep(QUIET / 20);
        let now = written()?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// Compares some blocks whole.
fn check(engine: &mut dyn Engine, pool: &Pool, life: &Life, versions: &[u8]) -> Result<(), Fault> {
    let mut into = Vec::new();
    for index in (0..life.blocks).step_by((life.blocks / 256).max(1) as usize) {
        if !engine.get(index, &mut into)? || into != pool.content(index, versions[index as usize]) {
            return Err(format!("block {index} is not what was put last").into());
        }
    }
    Ok(())
}

/// Opens again and reads one block.
fn reopen(name: &str, dir: &Path, life: &Life) -> Result<Figures, Fault> {
    let start = Instant::now();
    let mut engine = engine::open(name, dir, life.size, life.safety)?;
    let mut into = Vec::new();
    if !engine.get(life.blocks / 2, &mut into)? {
        return Err("a block is gone".into());
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok([("reopen".to_owned(), seconds)].into())
}

/// Contents for blocks: not compressible, different for each index and version.
struct Pool {
    bytes: Vec<u8>,
    size: usize,
}

impl Pool {
    fn new(size: usize) -> Self {
        let mut bytes = vec![0; POOL_BYTES + size];
        random::fill(1, &mut bytes);
        Self { bytes, size }
    }

    fn content(&self, index: u64, version: u8) -> &[u8] {
        let from = Random::new(index << 8 | u64::from(version)).below(POOL_BYTES as u64 / 64) as usize * 64;
        &self.bytes[from..from + self.size]
    }
}

/// Bytes this process has written to files so far: handed to the kernel, or dirtied through a map if that is more.
fn written() -> Result<u64, Fault> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    match (field("wchar:"), field("write_bytes:")) {
        (Some(handed), Some(dirtied)) => Ok(handed.max(dirtied)),
        _ => Err("/proc/self/io does not say what was written".into()),
    }
}

/// Bytes of disk that the files of a folder take.
fn bytes_in(dir: &Path) -> Result<u64, Fault> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() { bytes_in(&entry.path())? } else { facts.blocks() * 512 };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_finds_a_block_that_is_not_what_was_put() {
        let dir = tempfile::tempdir().unwrap();
        let life = Life { size: 512, blocks: 64, reads: 64, overwrites: 64, safety: Safety::AtTheEnd };
        let figures = write("redb", dir.path(), &life).unwrap();
        assert!(figures["fill_written"] >= 32_768.0, "{figures:?}");
        assert!(reopen("redb", dir.path(), &life).unwrap()["reopen"] > 0.0);
        let mut engine = engine::open("redb", dir.path(), 512, Safety::AtTheEnd).unwrap();
        let pool = Pool::new(512);
        assert!(check(&mut *engine, &pool, &life, &[77; 64]).is_err());
        assert!(read_all(&mut *engine, &pool, &life, &[77; 64]).is_err());
    }
}
