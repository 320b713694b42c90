//! The tour: a node of its own, a real file put, listed, sliced, got back and compared, with what a person would see.

use crate::{debian, repository};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Bytes of the file that is made where none is given.
const MADE_BYTES: u64 = 500 << 20;

/// Builds the command, and has it show what a group of machines does.
pub(crate) fn demo(words: &[&str]) -> Result<(), String> {
    let (okapi, _) = built()?;
    repository::succeed(Command::new(okapi).arg("demo").args(words))
}

/// The command, and the directory it was built in.
fn built() -> Result<(PathBuf, PathBuf), String> {
    debian::install(&[("cc", "gcc libc6-dev")])?;
    let mut build = repository::cargo();
    build.args(["build", "--release", "--locked", "--package", "okapi"]);
    repository::succeed(&mut build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository::root().join("target"), PathBuf::from);
    Ok((target.join("release/okapi"), target))
}

/// Builds the command and shows what it does with the file in `words`, or with one made for it.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let (okapi, target) = built()?;
    let place = target.join("tour");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).map_err(|why| format!("{}: {why}", place.display()))?;
    let file = match words {
        [] => made(&place)?,
        [file] => std::path::absolute(file).map_err(|why| format!("{file}: {why}"))?,
        _ => return Err("the tour takes one file, or none".to_owned()),
    };
    let node = Node::start(&okapi, &place)?;
    let shown = walk(&okapi, &place, &file);
    drop(node);
    let _ = std::fs::remove_dir_all(&place);
    shown?;
    println!("\nThe tour's node is stopped and its data removed. For one of your own:\n\n    {} up\n", okapi.display());
    Ok(())
}

fn walk(okapi: &Path, place: &Path, file: &Path) -> Result<(), String> {
    let show = |words: &[&str]| show(okapi, place, words);
    let path = file.to_str().ok_or("the file's path is not UTF-8")?;
    let bytes = std::fs::metadata(file).map_err(|why| format!("{path}: {why}"))?.len();
    show(&["put", path, "tour/file"])?;
    show(&["ls", "-l"])?;
    let middle = format!("{}+65536", bytes / 2);
    show(&["get", "tour/file", "--range", &middle, "-o", "slice.bin"])?;
    show(&["get", "tour/file", "-o", "back.bin"])?;
    show(&["map"])?;
    same(file, 0, &place.join("back.bin"))?;
    same(file, bytes / 2, &place.join("slice.bin"))?;
    println!("\nback.bin is the file, byte for byte; slice.bin is its middle.");
    Ok(())
}

fn show(okapi: &Path, place: &Path, words: &[&str]) -> Result<(), String> {
    println!("\n$ okapi {}", words.join(" "));
    let mut command = Command::new(okapi);
    repository::succeed(
        command.args(words).env("OKAPI_DATA", place.join("data")).env("OKAPI_SOCKET", socket()).current_dir(place),
    )
}

/// A short path: a unix socket's may have 107 bytes, and the repository may lie deep.
fn socket() -> PathBuf {
    std::env::temp_dir().join(format!("okapi-tour-{}.sock", std::process::id()))
}

/// A running node; stopped as a person would when this is dropped.
struct Node(Child);

impl Node {
    fn start(okapi: &Path, place: &Path) -> Result<Self, String> {
        println!("\n$ okapi up &");
        let mut command = Command::new(okapi);
        command
            .arg("up")
            .env("OKAPI_DATA", place.join("data"))
            .env("OKAPI_SOCKET", socket())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|why| format!("{}: {why}", okapi.display()))?;
        let said = child.stdout.take().expect("standard output is piped");
        let node = Self(child);
        for line in BufReader::new(said).lines() {
            let line = line.map_err(|why| why.to_string())?;
            println!("{line}");
            if line.contains("try next") {
                return Ok(node);
            }
        }
        Err("the node stopped before it could be reached".to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let stop = Command::new("kill").arg(self.0.id().to_string()).status();
        if !stop.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// A file that no compression could make smaller.
fn made(place: &Path) -> Result<PathBuf, String> {
    let path = place.join("file.bin");
    println!("\nNo file was given (cargo xtask tour FILE): taking {} MiB of random bytes.", MADE_BYTES >> 20);
    let from = File::open("/dev/urandom").map_err(|why| format!("/dev/urandom: {why}"))?;
    let copy = File::create(&path).and_then(|mut to| std::io::copy(&mut from.take(MADE_BYTES), &mut to));
    copy.map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(path)
}

/// Complains unless `part` is what `whole` has from `offset` on.
fn same(whole: &Path, offset: u64, part: &Path) -> Result<(), String> {
    use std::os::unix::fs::FileExt;
    let open = |path: &Path| File::open(path).map_err(|why| format!("{}: {why}", path.display()));
    let (whole, mut from) = (open(whole)?, open(part)?);
    let (mut got, mut expected, mut at) = (vec![0; 1 << 20], vec![0; 1 << 20], offset);
    loop {
        let count = from.read(&mut got).map_err(|why| why.to_string())?;
        if count == 0 {
            return std::io::stdout().flush().map_err(|why| why.to_string());
        }
        whole.read_exact_at(&mut expected[..count], at).map_err(|why| format!("what came back is longer: {why}"))?;
        if got[..count] != expected[..count] {
            return Err(format!("{} differs from byte {at} on", part.display()));
        }
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_seen() {
        let folder = std::env::temp_dir().join(format!("okapi-tour-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (whole, part) = (folder.join("whole"), folder.join("part"));
        std::fs::write(&whole, b"0123456789").unwrap();
        for (offset, bytes, alike) in
            [(0, &b"0123456789"[..], true), (3, b"345", true), (3, b"344", false), (9, b"90", false)]
        {
            std::fs::write(&part, bytes).unwrap();
            assert_eq!(same(&whole, offset, &part).is_ok(), alike, "{offset} {bytes:?}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
