//! Disks over vhost-user, beside the daemon of qemu's that does the same, and beside Okapi's own NBD.

use super::fio::Job;
use super::guest;
use super::served::{Served, okapi_node, run as succeed};
use super::sharer::Sharer;
use super::{DAEMON, Disk, OKAPI, Runs, SHARED, SHARING, Scenario, image_in, pace, show};
use crate::Fault;
use crate::goal::Goal;
use crate::options::Options;
use crate::server::Server;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "4 KiB random reads, 32 in flight",
        job: Job { what: "randread", block: 4, depth: 32, flush: false },
        disks: &[(SHARED, Disk::Base), (OKAPI, Disk::Base), (DAEMON, Disk::Own)],
        goals: &[Goal::Beside(OKAPI), Goal::Beside(DAEMON)],
        late: None,
    },
    Scenario {
        name: "128 KiB reads in order, 8 in flight",
        job: Job { what: "read", block: 128, depth: 8, flush: false },
        disks: &[(SHARED, Disk::Base), (OKAPI, Disk::Base), (DAEMON, Disk::Own)],
        goals: &[Goal::Beside(OKAPI), Goal::Beside(DAEMON)],
        late: None,
    },
    Scenario {
        name: "4 KiB random writes, 32 in flight",
        job: Job { what: "randwrite", block: 4, depth: 32, flush: false },
        disks: &[(SHARED, Disk::Own), (OKAPI, Disk::Own), (DAEMON, Disk::Own)],
        goals: &[Goal::Beside(OKAPI), Goal::Beside(DAEMON)],
        late: None,
    },
    Scenario {
        name: "128 KiB writes in order, 8 in flight",
        job: Job { what: "write", block: 128, depth: 8, flush: false },
        disks: &[(SHARED, Disk::Own), (OKAPI, Disk::Own), (DAEMON, Disk::Own)],
        goals: &[Goal::Beside(OKAPI), Goal::Beside(DAEMON)],
        late: None,
    },
];

/// Who serves over vhost-user: a socket for each disk.
struct Sharing {
    name: &'static str,
    sockets: Vec<(Disk, PathBuf)>,
    servers: Vec<Rc<Server>>,
}

/// Runs this part and prints its tables.
pub(super) fn run(options: &Options) -> Result<(), Fault> {
    let folder = options.folder()?;
    let image = image_in(folder.path())?;
    println!("\n{SHARING}: the same image through memory that guest and server share, asked by libblkio.");
    let (okapi, by_nbd) = okapi(folder.path(), &image)?;
    let all = match daemon(folder.path(), &image) {
        Ok(daemon) => vec![okapi, daemon],
        Err(why) => {
            println!("{DAEMON} is left out: {why}");
            vec![okapi]
        }
    };
    let (rounds, seconds) = pace(options);
    for scenario in SCENARIOS {
        let mut runs = Runs::new();
        for _ in 0..rounds {
            for sharing in &all {
                let disk = scenario.disks.iter().find(|(name, _)| *name == sharing.name).expect("each takes part").1;
                runs.entry(sharing.name).or_default().push(sharing.ask(&scenario.job, disk, seconds)?);
            }
            let disk = scenario.disks[1].1;
            runs.entry(OKAPI).or_default().push(guest::run(&scenario.job, &by_nbd, disk, seconds)?);
        }
        show(scenario, &runs, None);
    }
    Ok(())
}

impl Sharing {
    fn ask(&self, job: &Job, disk: Disk, seconds: f64) -> Result<super::fio::Run, Fault> {
        let socket = &self.sockets.iter().find(|(its, _)| *its == disk).expect("only what it has is asked for").1;
        let cpu = || self.servers.iter().map(|server| server.whole_cpu()).sum();
        Sharer::enter(job, socket)?.run(seconds, cpu)
    }
}

/// A node, and its disks both ways.
fn okapi(folder: &Path, image: &Path) -> Result<(Sharing, Served), Fault> {
    let (okapi, node) = okapi_node(&folder.join("data"))?;
    let node = Rc::new(node);
    succeed(okapi().args(["image", "import", "--quiet"]).arg(image).arg("base"))?;
    succeed(okapi().args(["image", "clone", "--quiet", "base", "base-vhost", "own-vhost", "base-nbd", "own-nbd"]))?;
    let socket = |disk: &str| folder.join(format!("{disk}-vhost.sock"));
    let sockets = vec![(Disk::Base, socket("base")), (Disk::Own, socket("own"))];
    let mut command = okapi();
    command.arg("vhost").arg("--socket-dir").arg(folder).args(["base-vhost", "own-vhost"]);
    let vhost = Rc::new(Server::start(&mut command, || UnixStream::connect(&sockets[1].1))?);
    let by_nbd = Served::okapi_nbd(
        OKAPI,
        &okapi,
        folder.join("nbd.sock"),
        &[],
        vec![(Disk::Base, "base-nbd"), (Disk::Own, "own-nbd")],
        &node,
    )?;
    Ok((Sharing { name: SHARED, sockets, servers: vec![vhost, node] }, by_nbd))
}

/// qemu's storage daemon with a copy of the image.
fn daemon(folder: &Path, image: &Path) -> Result<Sharing, Fault> {
    let (copy, socket) = (folder.join("own.raw"), folder.join("daemon.sock"));
    std::fs::copy(image, &copy)?;
    let mut command = Command::new("qemu-storage-daemon");
    command.arg("--blockdev").arg(format!("driver=file,node-name=disk,filename={}", copy.display()));
    let export = "type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix";
    command.arg("--export").arg(format!("{export},addr.path={}", socket.display()));
    let server = Rc::new(Server::start(&mut command, || UnixStream::connect(&socket))?);
    Ok(Sharing { name: DAEMON, sockets: vec![(Disk::Own, socket)], servers: vec![server] })
}
