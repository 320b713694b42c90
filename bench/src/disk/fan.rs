//! 254 machines from one image: made, each with its address burned in, and served.

use super::guest;
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
use std::path::Path;
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
    let (okapi, _node) = okapi_node(&folder.path().join("data"))?;
    succeed(okapi().args(["image", "import", "--quiet"]).arg(&image).arg("base"))?;
    println!("\n{MACHINES} machines from one image of {} MiB, each with its address burned in, durable", IMAGE >> 20);
    let (mut ours, mut qcow, mut copies) = (Made::default(), Made::default(), Made::default());
    let mut served = Served::default();
    let mut no_copies = None;
    for round in 0..if options.quick { 1 } else { ROUNDS } {
        let names: Vec<String> = (1..=MACHINES).map(|host| format!("m{round}-{host}")).collect();
        let mut fan = okapi();
        fan.args(["image", "fan", "base", "--quiet", "--net", &format!("10.1.{round}.0/24")]);
        fan.args(["--name", &format!("m{round}-{{host}}"), "--gateway", "10.0.0.1", "--dns", "9.9.9.9", "--template"]);
        ours.measure(|| written(&okapi), || succeed(fan.arg(&template)))?;
        served.measure(&okapi, &folder.path().join("nbd.sock"), &names)?;
        succeed(okapi().args(["image", "rm", "--quiet"]).args(&names))?;

        let its = folder.path().join(format!("qcow-{round}"));
        std::fs::create_dir(&its)?;
        let create = |number| {
            let mut create = Command::new("qemu-img");
            create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&image);
            succeed(create.arg(its.join(format!("{number}.qcow2"))))
        };
        qcow.measure(|| taken(&its), || (1..=MACHINES).try_for_each(create).and_then(|()| settle(&its)))?;
        let its = folder.path().join(format!("copies-{round}"));
        std::fs::create_dir(&its)?;
        let copy = |number| {
            let to = its.join(format!("{number}.raw"));
            succeed(Command::new("cp").arg("--reflink=always").arg(&image).arg(to))
        };
        let copied = copies.measure(|| taken(&its), || (1..=MACHINES).try_for_each(copy).and_then(|()| settle(&its)));
        no_copies = copied.err();
    }
    if no_copies.is_some() {
        println!("cp --reflink is left out: the file system of {} has no copies by reference", folder.path().display());
    }
    show(&[
        ("okapi image fan", &ours),
        ("qemu-img create -b, without addresses", &qcow),
        ("cp --reflink, without addresses", &copies),
    ]);
    served.show();
    Ok(())
}

/// All of them served, round by round: each time by a server that has opened none yet.
#[derive(Default)]
struct Served {
    /// Seconds, each machine coming when the one before it has been served.
    in_turn: Vec<f64>,
    /// Seconds, all of them coming together.
    at_once: Vec<f64>,
    /// Bytes of the server's memory.
    resident: Vec<f64>,
}

impl Served {
    /// The first block of each is read, and all stay connected.
    fn measure(&mut self, okapi: &impl Fn() -> Command, socket: &Path, names: &[String]) -> Result<(), Fault> {
        let listen = format!("unix:{}", socket.display());
        for together in [false, true] {
            let mut command = okapi();
            command.args(["nbd", "--listen", &listen]);
            let server = Server::start(&mut command, || UnixStream::connect(socket))?;
            let begun = Instant::now();
            let come = names.iter().map(|name| FirstRead::ask(socket, name));
            let guests: Vec<FirstRead> = if together {
                let all: Result<Vec<FirstRead>, Fault> = come.collect();
                all?.into_iter().map(FirstRead::done).collect::<Result<_, _>>()?
            } else {
                come.map(|guest| guest?.done()).collect::<Result<_, _>>()?
            };
            let seconds = begun.elapsed().as_secs_f64();
            if together { &mut self.at_once } else { &mut self.in_turn }.push(seconds);
            let memory = std::fs::read_to_string(format!("/proc/{}/status", server.id()))?;
            let line = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
            let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
            self.resident.push(kib * 1024.0);
            drop(guests);
        }
        Ok(())
    }

    fn show(&self) {
        let line = |what: &str, values: &[f64], most: f64, text: &dyn Fn(f64) -> String| {
            let value = median(values.to_vec());
            let [wanted, verdict] = Goal::AtMost(most).judge(Some(value), |_| None, text);
            println!("{what}: {} ({wanted}: {verdict})", text(value));
        };
        let seconds = |seconds| format!("{seconds:.3} s");
        line("all served, the first block of each read, all at once", &self.at_once, 0.15, &seconds);
        line("the same, one after the other", &self.in_turn, 0.15, &seconds);
        line("memory of the server then", &self.resident, 80.0 * MIB, &|bytes| format!("{:.1} MiB", bytes / MIB));
    }
}

/// A machine that reads its first block and stays.
struct FirstRead(UnixStream);

impl FirstRead {
    /// Comes and asks, without waiting for answers.
    fn ask(socket: &Path, export: &str) -> Result<Self, Fault> {
        let mut stream = guest::come(socket, export)?;
        let mut request = [0; 28];
        request[..4].copy_from_slice(&0x2560_9513u32.to_be_bytes());
        request[24..].copy_from_slice(&4096u32.to_be_bytes());
        stream.write_all(&request)?;
        Ok(Self(stream))
    }

    /// Waits for them.
    fn done(mut self) -> Result<Self, Fault> {
        guest::welcomed(&mut self.0)?;
        self.0.read_exact(&mut [0; 16 + 4096])?;
        Ok(self)
    }
}

impl Made {
    /// Measures a job; `bytes` says how many there are on the disk.
    fn measure(
        &mut self,
        bytes: impl Fn() -> Result<f64, Fault>,
        job: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (before, begun) = (bytes()?, Instant::now());
        job()?;
        self.seconds.push(begun.elapsed().as_secs_f64());
        self.bytes.push(bytes()? - before);
        Ok(())
    }
}

/// Waits until the file system has all of it.
fn settle(folder: &Path) -> Result<(), Fault> {
    succeed(Command::new("sync").arg("--file-system").arg(folder))
}

/// Bytes that a node has written to its log.
fn written(okapi: &impl Fn() -> Command) -> Result<f64, Fault> {
    let output = okapi().args(["--json", "status"]).output()?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let bytes = told["facts"]["log.written_bytes"].as_str().and_then(|bytes| bytes.parse().ok());
    bytes.ok_or_else(|| "the node does not say how much it has written".into())
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
