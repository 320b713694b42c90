//! `okapi nbd`: serves disks to qemu and others.

use crate::command::image::disks;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::settings::Effective;
use crate::size::counted;
use crate::view::Tone;
use okapi_client::Target;
use okapi_gate::nbd::{Server, uri};
use okapi_gate::{Catalog, DiskCatalog};
use okapi_volume::Access;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Serve disks over NBD, to qemu, libnbd or the kernel
///
/// Serves until Ctrl-C, and prints what to give to a client. A disk is opened when the first client asks for it, and
/// nobody else can write to it until the last is gone. Images with clones are served for reading.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi nbd                                   all disks, on a unix socket beside the node's
  okapi nbd web-01 web-02                     only these
  okapi nbd --read-only --listen tcp://127.0.0.1:10809 debian

  qemu-system-x86_64 -drive file='nbd+unix:///web-01?socket=/tmp/nbd.sock',format=raw,if=virtio
  nbdcopy 'nbd+unix:///web-01?socket=/tmp/nbd.sock' web-01.raw")]
pub(crate) struct Args {
    /// The disks [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Where: unix:PATH, or tcp://127.0.0.1:PORT; may be given several times
    #[arg(long, value_name = "TARGET")]
    listen: Vec<Target>,

    /// Nobody may write
    #[arg(long)]
    read_only: bool,

    /// Leave writes in memory until a flush: faster, but what was not flushed is lost if this program is killed
    #[arg(long, conflicts_with = "read_only")]
    write_back: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let disks = disks(session, false)?;
        for name in &self.names {
            disks.find(name)?;
        }
        let listen = match self.listen.is_empty() {
            false => self.listen,
            true => {
                vec![Target::Unix(Effective::for_clients(&session.global)?.socket()?.with_file_name("nbd.sock"))]
            }
        };
        let access = if self.read_only { Access::Read } else { Access::Write };
        let names = Some(self.names).filter(|names| !names.is_empty());
        let catalog: Arc<dyn Catalog> =
            Arc::new(DiskCatalog::new(disks.clone(), names.clone(), access).with_write_back(self.write_back));
        let stop = interrupt::watch()?;
        let server = Server::start(&listen, &catalog).map_err(|error| Failure::new(error.to_string()))?;
        let shown = match names {
            Some(names) => names,
            None => disks.names()?,
        };
        let view = &mut session.view;
        for address in server.addresses() {
            if view.json {
                let exports: Vec<_> =
                    shown.iter().map(|name| json!({"name": name, "uri": uri(address, name)})).collect();
                view.json(&json!({"listen": address.to_string(), "exports": exports}))?;
                continue;
            }
            let count = counted(shown.len() as u64, "disk");
            view.line(format_args!("serving {count} at {}", view.paint(Tone::Strong, address)))?;
            shown.iter().try_for_each(|name| view.line(format_args!("  {}", uri(address, name))))?;
        }
        view.flush()?;
        while !stop.is_set() {
            std::thread::sleep(LOOK);
        }
        drop(server);
        Ok(())
    }
}
