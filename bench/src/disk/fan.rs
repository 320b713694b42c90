//! 254 machines from one image: made, each with its address burned in, and served.

use super::served::{okapi_node, run as succeed};
use crate::goal::Goal;
use crate::options::Options;
use crate::sample::median;
use crate::server::Server;
use crate::table::Table;
use crate::{Fault, random};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const IMAGE: usize = 64 << 20;
const MACHINES: usize = 254;
const ROUNDS: usize = 5;
const MIB: f64 = 1_048_576.0;
const TEMPLATE: &str =
    "offset = \"1M\"\nsize = 512\ntext = \"ip={ip}/{prefix} gateway={gateway} dns={dns} name={name}\"\n";

/// What making them took, round by round.
#[derive(Default)]
struct Made {
    seconds: Vec<f64>,
    bytes: Vec<f64>,
}

/// Runs this part and prints its table.
pub(super) fn run(options: &Options) -> Result<(), Fault> {
    let folder = options.folder()?;
    let (image, template) = (folder.path().join("image.raw"), folder.path().join("template.toml"));
    let mut content = vec![0; IMAGE];
    random::fill(2, &mut content);
    std::fs::write(&image, content)?;
    std::fs::write(&template, TEMPLATE)?;
    let data = folder.path().join("data");
    let (okapi, _node) = okapi_node(&data)?;
    succeed(okapi().args(["image", "import", "--quiet"]).arg(&image).arg("base"))?;
    println!("\n{MACHINES} machines from one image of {} MiB, each with its address burned in, durable", IMAGE >> 20);
    let (mut ours, mut qcow, mut copies) = (Made::default(), Made::default(), Made::default());
    let rounds = if options.quick { 1 } else { ROUNDS };
    for round in 0..rounds {
        let net = format!("10.1.{round}.0/24");
        let name = format!("m{round}-{{host}}");
        ours.measure(&data, || {
            let mut fan = okapi();
            fan.args(["image", "fan", "base", "--quiet", "--net", &net, "--name", &name, "--dns", "9.9.9.9"]);
            succeed(fan.arg("--template").arg(&template))
        })?;
        let its = folder.path().join(format!("qcow-{round}"));
        std::fs::create_dir(&its)?;
        qcow.measure(&its, || {
            each(|number| {
                let mut create = Command::new("qemu-img");
                create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&image);
                succeed(create.arg(its.join(format!("{number}.qcow2"))))
            })
            .and_then(|()| settle(&its))
        })?;
        let its = folder.path().join(format!("copies-{round}"));
        std::fs::create_dir(&its)?;
        let copied = copies.measure(&its, || {
            each(|number| {
                succeed(Command::new("cp").arg("--reflink=always").arg(&image).arg(its.join(format!("{number}.raw"))))
            })
            .and_then(|()| settle(&its))
        });
        if let Err(why) = copied {
            println!("copies by reference are left out: {}", why.to_string().lines().next().unwrap_or_default());
        }
    }
    show(&[
        ("okapi image fan", &ours),
        ("qemu-img create -b, without addresses", &qcow),
        ("cp --reflink, without addresses", &copies),
    ]);
    serve(&okapi, folder.path(), rounds)
}

/// All of them served: the first block of each is read, and all stay connected.
fn serve(okapi: &dyn Fn() -> Command, folder: &Path, rounds: usize) -> Result<(), Fault> {
    let (mut seconds, mut resident) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let socket = folder.join("nbd.sock");
        let listen = format!("unix:{}", socket.display());
        let server = Server::start(okapi().args(["nbd", "--listen", &listen]), || UnixStream::connect(&socket))?;
        let begun = Instant::now();
        let mut guests = Vec::with_capacity(MACHINES);
        for number in 1..=MACHINES {
            guests.push(first_read(&socket, &format!("m{round}-{number}"))?);
        }
        seconds.push(begun.elapsed().as_secs_f64());
        let memory = std::fs::read_to_string(format!("/proc/{}/status", server.id()))?;
        let line = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        resident.push(kib * 1024.0);
    }
    let verdict = |value: f64, most: f64, text: &dyn Fn(f64) -> String| {
        let [wanted, verdict] = Goal::AtMost(most).judge(Some(value), |_| None, text);
        format!("{} ({wanted}: {verdict})", text(value))
    };
    println!(
        "all {MACHINES} served, the first block of each read: {}",
        verdict(median(seconds), 0.15, &|s| format!("{s:.3} s"))
    );
    println!(
        "memory of the server then: {}",
        verdict(median(resident), 80.0 * MIB, &|b| format!("{:.1} MiB", b / MIB))
    );
    Ok(())
}

fn first_read(socket: &PathBuf, export: &str) -> Result<UnixStream, Fault> {
    let mut stream = UnixStream::connect(socket)?;
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend(b"IHAVEOPT\0\0\0\x01");
    said.extend((export.len() as u32).to_be_bytes());
    said.extend(export.as_bytes());
    let mut request = [0; 28];
    request[..4].copy_from_slice(&0x2560_9513u32.to_be_bytes());
    request[24..].copy_from_slice(&4096u32.to_be_bytes());
    said.extend(request);
    stream.write_all(&said)?;
    stream.read_exact(&mut [0; 28 + 16 + 4096])?;
    Ok(stream)
}

impl Made {
    /// Measures a job that puts what it makes below a folder.
    fn measure(&mut self, folder: &Path, job: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let (before, begun) = (taken(folder)?, Instant::now());
        job()?;
        self.seconds.push(begun.elapsed().as_secs_f64());
        self.bytes.push(taken(folder)? - before);
        Ok(())
    }
}

fn each(mut make: impl FnMut(usize) -> Result<(), Fault>) -> Result<(), Fault> {
    (1..=MACHINES).try_for_each(&mut make)
}

/// Waits until the file system has all of it.
fn settle(folder: &Path) -> Result<(), Fault> {
    succeed(Command::new("sync").arg("--file-system").arg(folder))
}

/// Bytes that files below a folder take on the disk.
fn taken(folder: &Path) -> Result<f64, Fault> {
    let mut bytes = 0.0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() { taken(&entry.path())? } else { (facts.blocks() * 512) as f64 };
    }
    Ok(bytes)
}

fn show(all: &[(&str, &Made)]) {
    let mut table = Table::new(&["", "", "seconds", "MiB on the disk"]);
    for (name, made) in all.iter().filter(|(_, made)| !made.seconds.is_empty()) {
        let seconds = format!("{:.3}", median(made.seconds.clone()));
        table.row([(*name).to_owned(), String::new(), seconds, format!("{:.2}", median(made.bytes.clone()) / MIB)]);
    }
    table.print();
    let ours = all[0].1;
    for (what, value, most) in
        [("seconds", median(ours.seconds.clone()), 0.05), ("MiB on the disk", median(ours.bytes.clone()) / MIB, 1.6)]
    {
        let [wanted, verdict] = Goal::AtMost(most).judge(Some(value), |_| None, |value| format!("{value:.3}"));
        println!("  {what} {wanted}: {verdict}");
    }
}
