//! GlusterFS: one volume, dispersed over six bricks of which any four suffice, and mounted by FUSE. It neither encrypts
//! nor signs; its six bricks hold 1.5 times the data.

use super::pool::{Figures, Payload, Pool, SMALL_BYTES, Step, said, until};
use super::processes;
use crate::sample::Latencies;
use crate::server::Server;
use crate::{Fault, random};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const BRICKS: usize = 6;
/// Bricks that are lost.
const LOST: [usize; 2] = [5, 6];
const VOLUME: &str = "bench";
/// How often a small file is put and got.
const SMALL_COUNT: u64 = 200;
/// How long the manager may take until it makes a volume.
const START_MAX: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(600);

/// A running volume.
pub(super) struct Gluster {
    folder: PathBuf,
    /// All listen there and nowhere else: an address of loopback that is this run's own, for their port is fixed.
    address: String,
    /// Its manager; what that starts is ended with everything else.
    _manager: Server,
}

impl Gluster {
    /// Starts the servers, makes the volume and mounts it.
    pub(super) fn start(folder: &Path) -> Result<Self, Fault> {
        for place in ["work", "run", "mount", "log"] {
            std::fs::create_dir_all(folder.join(place))?;
        }
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = format!("127.61.{high}.{}", low.max(1));
        let settings = folder.join("glusterd.vol");
        std::fs::write(&settings, manager_settings(folder, &address))?;
        let mut manager = Command::new("glusterd");
        manager.arg("-N").arg("-f").arg(&settings);
        manager.arg("-l").arg(folder.join("log/glusterd.log")).arg("-p").arg(folder.join("run/glusterd.pid"));
        let socket = folder.join("run/glusterd.socket");
        let reach = || std::os::unix::net::UnixStream::connect(&socket);
        let manager = Server::start(&mut manager, reach)?;
        let gluster = Self { folder: folder.to_owned(), address, _manager: manager };
        let mut create = gluster.tell(&["volume", "create", VOLUME, "disperse", "6", "redundancy", "2"]);
        for number in 1..=BRICKS {
            std::fs::create_dir_all(gluster.brick(number))?;
            create.arg(gluster.brick_name(number));
        }
        // Bricks on the disk of the system are wanted here.
        create.arg("force");
        let begun = Instant::now();
        while let Err(why) = said(&mut create) {
            // A manager that has just begun refuses for a moment.
            if begun.elapsed() > START_MAX {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        said(&mut gluster.tell(&["volume", "start", VOLUME]))?;
        gluster.mount()?;
        Ok(gluster)
    }

    fn tell(&self, words: &[&str]) -> Command {
        let mut command = Command::new("gluster");
        command.arg(format!("--glusterd-sock={}", self.folder.join("run/glusterd.socket").display()));
        command.arg(format!("--log-file={}", self.folder.join("log/cli.log").display()));
        command.arg("--mode=script").args(words);
        command
    }

    fn brick(&self, number: usize) -> PathBuf {
        self.folder.join(format!("brick-{number}"))
    }

    fn brick_name(&self, number: usize) -> String {
        format!("{}:{}", self.address, self.brick(number).display())
    }

    fn mounted(&self) -> PathBuf {
        self.folder.join("mount")
    }

    fn mount(&self) -> Result<(), Fault> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "glusterfs", "-o"]).arg(format!("log-file={}", self.folder.join("log/mount.log").display()));
        said(mount.arg(format!("{}:/{VOLUME}", self.address)).arg(self.mounted()))?;
        Ok(())
    }

    /// Mounted anew, nothing of it is in the page cache of this machine any more; the bricks' files still are.
    fn forget(&self) -> Result<(), Fault> {
        said(Command::new("umount").arg(self.mounted()))?;
        self.mount()
    }

    /// Kills two bricks and removes their disks.
    fn lose(&self) -> Result<(), Fault> {
        for number in LOST {
            let its = self.brick(number);
            let serves = |line: &[u8]| line.windows(9).any(|word| word == b"glusterfs");
            for process in processes::of_folder(&its) {
                let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
                if serves(&line) {
                    processes::kill(process);
                }
            }
            until("the end of a brick", PATIENCE, || Ok(processes::of_folder(&its).is_empty()))?;
            std::fs::remove_dir_all(its)?;
        }
        Ok(())
    }

    /// Puts empty bricks in their places, and waits until they are full again.
    fn repair(&self, payload: &Payload) -> Result<(), Fault> {
        for number in LOST {
            let name = self.brick_name(number);
            said(&mut self.tell(&["volume", "reset-brick", VOLUME, &name, "start"]))?;
            std::fs::create_dir_all(self.brick(number))?;
            said(&mut self.tell(&["volume", "reset-brick", VOLUME, &name, &name, "commit", "force"]))?;
        }
        said(&mut self.tell(&["volume", "heal", VOLUME, "full"]))?;
        let part = payload.bytes / (BRICKS - LOST.len()) as u64;
        let healed = |number: &usize| self.is_on_disk(*number, part) && self.version(*number) == self.version(1);
        until("the repair", PATIENCE, || Ok(LOST.iter().all(healed)))
    }

    /// Whether a brick has its part of the file: the length is there at once, what counts is what lies on the disk.
    fn is_on_disk(&self, number: usize, part: u64) -> bool {
        self.brick(number).join("payload").metadata().is_ok_and(|file| file.blocks() * 512 >= part)
    }

    /// How often the file was written, as a brick notes it once it has all of that. (`heal info` tells it, too, but only
    /// for a manager at its usual socket.)
    fn version(&self, number: usize) -> Option<[u8; 16]> {
        let mut version = [0; 16];
        let path = self.brick(number).join("payload");
        let length = rustix::fs::getxattr(path, "trusted.ec.version", &mut version[..]).ok()?;
        (length == version.len()).then_some(version)
    }

    /// Small files, each synced.
    fn small(&self) -> Result<Figures, Fault> {
        let (mut puts, mut gets) = (Latencies::when(true)?, Latencies::when(true)?);
        let mut bytes = vec![0; SMALL_BYTES];
        let path = |number: u64| self.mounted().join(format!("small-{number}"));
        for number in 0..SMALL_COUNT {
            random::fill(number, &mut bytes);
            let start = Instant::now();
            let mut file = File::create(path(number))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            puts.record(start.elapsed());
        }
        self.forget()?;
        for number in 0..SMALL_COUNT {
            random::fill(number, &mut bytes);
            let start = Instant::now();
            let found = std::fs::read(path(number))?;
            gets.record(start.elapsed());
            if found != bytes {
                return Err("a small file came back different".into());
            }
        }
        Ok(Figures::from([("small.put".to_owned(), puts.p50()), ("small.get".to_owned(), gets.p50())]))
    }
}

impl Pool for Gluster {
    fn name(&self) -> &'static str {
        super::GLUSTER
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn prepare(&mut self, step: Step) -> Result<bool, Fault> {
        match step {
            Step::Get => self.forget()?,
            Step::Repair => self.lose()?,
            Step::Restore => return Ok(false),
            Step::Put | Step::Small | Step::Idle => {}
        }
        Ok(true)
    }

    fn take(&mut self, step: Step, payload: &Payload) -> Result<Figures, Fault> {
        let inside = self.mounted().join("payload");
        match step {
            Step::Put => copy(&payload.path, &inside, true)?,
            Step::Get => copy(&inside, &payload.back, false)?,
            Step::Small => return self.small(),
            Step::Repair => self.repair(payload)?,
            Step::Idle | Step::Restore => {}
        }
        Ok(Figures::new())
    }

    fn check(&mut self, step: Step, payload: &Payload) -> Result<(), Fault> {
        if step == Step::Get { payload.check() } else { Ok(()) }
    }

    fn nodes(&self) -> Vec<u32> {
        processes::of_folder(&self.folder)
    }
}

fn copy(from: &Path, to: &Path, sync: bool) -> Result<(), Fault> {
    let mut dd = Command::new("dd");
    let word = |key: &str, path: &Path| {
        let mut word = std::ffi::OsString::from(key);
        word.push(path);
        word
    };
    dd.arg(word("if=", from)).arg(word("of=", to)).args(["bs=1M", "status=none"]);
    if sync {
        dd.arg("conv=fsync");
    }
    said(&mut dd).map(drop)
}

fn manager_settings(folder: &Path, address: &str) -> String {
    let folder = folder.display();
    format!(
        "volume management\n    type mgmt/glusterd\n    option working-directory {folder}/work\n    \
         option run-directory {folder}/run\n    option glusterd-sockfile {folder}/run/glusterd.socket\n    \
         option transport-type socket\n    option transport.address-family inet\n    \
         option transport.socket.bind-address {address}\n    option ping-timeout 0\n    option event-threads 1\n    \
         option base-port 49152\n    option max-port 60999\nend-volume\n"
    )
}
