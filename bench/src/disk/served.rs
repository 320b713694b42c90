//! Those who serve.

use super::{BACK, COW, Disk, IMAGE, MEMORY, OKAPI, QEMU, STILL, fio};
use crate::Fault;
use crate::server::Server;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

/// One contender and its disks.
pub(super) struct Served {
    pub(super) name: &'static str,
    socket: PathBuf,
    /// Its disks, and the names under which they are exported.
    exports: Vec<(Disk, &'static str)>,
    servers: Vec<Rc<Server>>,
    /// Filled with the image by a copy, as it has no image to begin with.
    fill: Option<PathBuf>,
}

impl Served {
    /// An NBD server of Okapi's, for disks of a node that runs.
    pub(super) fn okapi_nbd(
        name: &'static str,
        okapi: &impl Fn() -> Command,
        socket: PathBuf,
        words: &[&str],
        exports: Vec<(Disk, &'static str)>,
        node: &Rc<Server>,
    ) -> Result<Self, Fault> {
        let mut command = okapi();
        command.args(["nbd", "--listen", &format!("unix:{}", socket.display())]).args(words);
        command.args(exports.iter().map(|(_, export)| export));
        let nbd = Rc::new(Server::start(&mut command, || UnixStream::connect(&socket))?);
        Ok(Self { name, socket, exports, servers: vec![nbd, node.clone()], fill: None })
    }

    pub(super) fn has(&self, disk: Disk) -> bool {
        self.exports.iter().any(|(its, _)| *its == disk)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn export(&self, disk: Disk) -> &'static str {
        self.exports.iter().find(|(its, _)| *its == disk).expect("only what it has is asked for").1
    }

    pub(super) fn uri(&self, disk: Disk) -> String {
        format!("nbd+unix:///{}?socket={}", self.export(disk), self.socket.display())
    }

    /// Seconds of processor time of all that serves, threads that have ended counted too.
    pub(super) fn cpu(&self) -> Result<f64, Fault> {
        self.servers.iter().map(|server| server.whole_cpu()).sum()
    }

    /// Brings its disks to where the bench begins.
    pub(super) fn prepare(&self) -> Result<(), Fault> {
        if let Some(image) = &self.fill {
            for (disk, _) in self.exports.iter().filter(|(disk, _)| *disk != Disk::Diff) {
                run(Command::new("nbdcopy").arg(image).arg(self.uri(*disk)))?;
            }
        }
        if self.has(Disk::Diff) {
            fio::scatter(&self.uri(Disk::Diff), IMAGE / 2)?;
        }
        Ok(())
    }
}

/// A node of its own in a folder, and how it is asked.
pub(super) fn okapi_node(data: &Path) -> Result<(impl Fn() -> Command + use<>, Server), Fault> {
    let (program, data) = (std::env::current_exe()?.with_file_name("okapi"), data.to_owned());
    let socket = data.join("okapi.sock");
    let okapi = move || {
        let mut command = Command::new(&program);
        command.env("OKAPI_DATA", &data).env_remove("OKAPI_SOCKET").env_remove("OKAPI_NODE");
        command
    };
    let node = Server::start(okapi().arg("up"), || UnixStream::connect(&socket))?;
    Ok((okapi, node))
}

/// A node, its images, and its NBD servers: one that hands over what is written at once, one that does not, and one that sleeps at once.
pub(super) fn okapi(folder: &Path, image: &Path) -> Result<Vec<Served>, Fault> {
    let (okapi, node) = okapi_node(&folder.join("data"))?;
    let node = Rc::new(node);
    run(okapi().args(["image", "import", "--quiet"]).arg(image).arg("base"))?;
    run(okapi().args(["image", "clone", "--quiet", "base", "clone", "diff", "own", "back", "still"]))?;
    let exports = vec![(Disk::Base, "clone"), (Disk::Diff, "diff"), (Disk::Own, "own")];
    let back = vec![(Disk::Own, "back")];
    Ok(vec![
        Served::okapi_nbd(OKAPI, &okapi, folder.join("clone.sock"), &[], exports, &node)?,
        Served::okapi_nbd(BACK, &okapi, folder.join("back.sock"), &["--write-back"], back, &node)?,
        Served::okapi_nbd(
            STILL,
            &okapi,
            folder.join("still.sock"),
            &["--spin", "0"],
            vec![(Disk::Base, "still")],
            &node,
        )?,
    ])
}

/// nbdkit with everything in memory.
pub(super) fn memory(folder: &Path, image: &Path) -> Result<Vec<Served>, Fault> {
    let size = IMAGE.to_string();
    let fill = Some(image.to_owned());
    Ok(vec![Served { fill, ..nbdkit(MEMORY, Disk::Own, folder, &["memory", &size])? }])
}

/// nbdkit with a filter that keeps what is written beside the image.
pub(super) fn cow(folder: &Path, image: &Path) -> Result<Vec<Served>, Fault> {
    let file = format!("file={}", image.display());
    Ok(vec![nbdkit(COW, Disk::Diff, folder, &["--filter=cow", "file", &file])?])
}

fn nbdkit(name: &'static str, disk: Disk, folder: &Path, words: &[&str]) -> Result<Served, Fault> {
    let socket = folder.join("nbd.sock");
    let mut command = Command::new("nbdkit");
    command.arg("--foreground").arg("--unix").arg(&socket).args(words);
    let server = Server::start(&mut command, || UnixStream::connect(&socket))?;
    Ok(Served { name, socket, exports: vec![(disk, "")], servers: vec![Rc::new(server)], fill: None })
}

/// qemu-nbd with the image, and with a qcow2 file over it.
pub(super) fn qemu(folder: &Path, image: &Path) -> Result<Vec<Served>, Fault> {
    let copy = folder.join("own.raw");
    std::fs::copy(image, &copy)?;
    let over = folder.join("diff.qcow2");
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(image).arg(&over))?;
    let serve = |disk, format: &str, file: &Path| -> Result<Served, Fault> {
        let socket = folder.join(format!("{format}.sock"));
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--shared=8", "--format", format, "--socket"]).arg(&socket).arg(file);
        let server = Server::start(&mut command, || UnixStream::connect(&socket))?;
        Ok(Served { name: QEMU, socket, exports: vec![(disk, "")], servers: vec![Rc::new(server)], fill: None })
    };
    Ok(vec![serve(Disk::Own, "raw", &copy)?, serve(Disk::Diff, "qcow2", &over)?])
}

/// Runs a command that must end well.
pub(super) fn run(command: &mut Command) -> Result<(), Fault> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|why| format!("{name} does not run: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
