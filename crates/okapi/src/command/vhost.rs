//! `okapi vhost`: serves disks to virtual machines through memory that they share.

use crate::command::image::disks;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::settings::Effective;
use crate::size::counted;
use crate::view::Tone;
use okapi_gate::vhost::{Port, QUEUES_MAX, Server};
use okapi_gate::{Catalog, DiskCatalog};
use okapi_volume::Access;
use serde_json::json;
use std::collections::HashSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// Queues of a disk unless somebody knows better: as many as a small machine has processors.
const QUEUES: u16 = 4;

/// Serve disks over vhost-user, to qemu or cloud-hypervisor
///
/// Serves until Ctrl-C, and prints what to paste into a machine's command line: each disk has a socket of its own. The
/// machine shares its memory, and requests and data lie there: that is faster than NBD, which machines on other hosts and
/// those that do not share memory need. A disk is opened when the machine comes, and nobody else can write to it until it
/// goes. Images with clones are served for reading.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi vhost                                 all disks, in the directory `vhost` beside the node's socket
  okapi vhost web-01 web-02                   only these
  okapi vhost --socket /run/web-01.sock web-01

  qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=mem,size=1G,share=on -machine q35,memory-backend=mem
    -chardev socket,id=okapi0,path=/run/web-01.sock -device vhost-user-blk-pci,chardev=okapi0,num-queues=4
  cloud-hypervisor --memory size=1G,shared=on --disk vhost_user=true,socket=/run/web-01.sock,num_queues=4

With `reconnect=1` after a chardev's path a machine waits while `okapi vhost` is away, and loses nothing.")]
pub(crate) struct Args {
    /// The disks [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// The directory where each disk has a socket, NAME.sock [default: `vhost` beside the node's socket]
    #[arg(long, value_name = "DIR")]
    socket_dir: Option<PathBuf>,

    /// The socket itself, of the only disk that is served
    #[arg(long, value_name = "PATH", conflicts_with = "socket_dir")]
    socket: Option<PathBuf>,

    /// Queues that a disk may have, each with a thread
    #[arg(long, value_name = "COUNT", default_value_t = QUEUES, value_parser = clap::value_parser!(u16).range(1..=i64::from(QUEUES_MAX)))]
    queues: u16,

    /// Nobody may write
    #[arg(long)]
    read_only: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let disks = disks(session, false)?;
        for name in &self.names {
            disks.find(name)?;
        }
        let mut names = match self.names.is_empty() {
            false => self.names.clone(),
            true => disks.names()?,
        };
        if names.is_empty() {
            return Err(Failure::not_found("there are no disks yet; make one with `okapi image import` or `create`"));
        }
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let ports = self.ports(session, names)?;
        let access = if self.read_only { Access::Read } else { Access::Write };
        let catalog: Arc<dyn Catalog> = Arc::new(DiskCatalog::new(disks, None, access));
        let stop = interrupt::watch()?;
        let server = Server::start(&ports, &catalog, self.queues).map_err(|error| Failure::new(error.to_string()))?;
        self.show(session, &ports)?;
        while !stop.is_set() {
            std::thread::sleep(LOOK);
        }
        drop(server);
        Ok(())
    }

    /// Where each disk is served.
    fn ports(&self, session: &Session, names: Vec<String>) -> Result<Vec<Port>, Failure> {
        if let Some(socket) = &self.socket {
            let socket = std::path::absolute(socket).map_err(|error| Failure::io(socket.display(), &error))?;
            let [disk] = <[String; 1]>::try_from(names).map_err(|names| {
                let count = counted(names.len() as u64, "disk");
                Failure::usage(format!("--socket is for one disk, and these are {count}; use --socket-dir"))
            })?;
            return Ok(vec![Port { disk, socket }]);
        }
        let folder = match &self.socket_dir {
            Some(folder) => std::path::absolute(folder).map_err(|error| Failure::io(folder.display(), &error))?,
            None => Effective::for_clients(&session.global)?.socket()?.with_file_name("vhost"),
        };
        if !folder.is_dir() {
            let made = DirBuilder::new().mode(0o700).create(&folder);
            made.map_err(|error| Failure::io(folder.display(), &error))?;
        }
        // No name has a `%` in it, so that no two disks have one socket.
        let socket = |disk: &str| folder.join(format!("{}.sock", disk.replace('/', "%2F")));
        Ok(names.into_iter().map(|disk| Port { socket: socket(&disk), disk }).collect())
    }

    /// Says what to paste into the command lines of machines.
    fn show(&self, session: &mut Session, ports: &[Port]) -> Result<(), Failure> {
        let (view, queues) = (&mut session.view, self.queues);
        if view.json {
            let shown = ports.iter().enumerate().map(|(number, port)| {
                let socket = port.socket.display().to_string();
                json!({"name": port.disk, "socket": socket, "qemu": qemu(number, &port.socket, queues)})
            });
            view.json(&json!({"queues": queues, "qemu": SHARED, "disks": shown.collect::<Vec<_>>()}))?;
            return view.flush();
        }
        let count = view.paint(Tone::Strong, counted(ports.len() as u64, "disk"));
        view.line(format_args!("serving {count}, each with up to {}", counted(queues.into(), "queue")))?;
        for (number, port) in ports.iter().enumerate() {
            view.line(format_args!("  {}", view.paint(Tone::Strong, &port.disk)))?;
            view.line(format_args!("    {}", qemu(number, &port.socket, queues).join(" ")))?;
        }
        view.line(format_args!("every machine shares its memory, as large as its -m says:"))?;
        view.line(format_args!("    {}", SHARED.join(" ")))?;
        view.flush()
    }
}

/// What makes a machine of qemu share its memory.
const SHARED: [&str; 4] =
    ["-object", "memory-backend-memfd,id=okapi-mem,size=1G,share=on", "-machine", "memory-backend=okapi-mem"];

/// What gives a machine of qemu a disk. qemu takes two commas for one that is no end.
fn qemu(number: usize, socket: &Path, queues: u16) -> [String; 4] {
    let path = socket.display().to_string().replace(',', ",,");
    [
        "-chardev".to_owned(),
        format!("socket,id=okapi{number},path={path}"),
        "-device".to_owned(),
        format!("vhost-user-blk-pci,chardev=okapi{number},num-queues={queues}"),
    ]
}
