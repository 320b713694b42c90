//! `okapi nbd`: serves disks to qemu and others.

use crate::command::image::{GRID, disks};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::settings::Effective;
use crate::size::counted;
use crate::view::Tone;
use okapi_client::{Client, Settings, Target};
use okapi_gate::nbd::{ListenError, Options, SPIN, Server, Tls};
use okapi_gate::{Catalog, DiskCatalog};
use okapi_node::Node;
use okapi_volume::limits::CACHE_DEFAULT;
use okapi_volume::{Access, Disks};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Serve disks over NBD, to qemu, libnbd or the kernel
///
/// Serves until Ctrl-C, and prints what to give to a client. A disk is opened when the first client asks for it, and
/// nobody else can write to it until the last is gone. Images with clones are served for reading.
///
/// Over TCP anybody at this machine is served, and nobody from elsewhere. With --tls-cert and --tls-key whoever comes over
/// TCP must speak TLS (1.3); with --tls-client-ca also prove by a certificate of that authority that they may, and then
/// they may come from other machines. Whoever has such a certificate gets all that is served.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi nbd                                   all disks, on a unix socket beside the node's
  okapi nbd web-01 web-02                     only these
  okapi nbd --read-only --listen tcp://127.0.0.1:10809 debian
  okapi nbd --listen tcp://10.0.0.1:10809 --tls-cert c.pem --tls-key k.pem --tls-client-ca ca.pem

  qemu-system-x86_64 -drive file='nbd+unix:///web-01?socket=/tmp/nbd.sock',format=raw,if=virtio
  nbdcopy 'nbd+unix:///web-01?socket=/tmp/nbd.sock' web-01.raw")]
pub(crate) struct Args {
    /// The disks [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Where: unix:PATH, or tcp://HOST:PORT; may be given several times
    #[arg(long, value_name = "TARGET")]
    listen: Vec<Target>,

    /// Nobody may write
    #[arg(long)]
    read_only: bool,

    /// Leave writes in memory until a flush: faster, but what was not flushed is lost if this program is killed
    #[arg(long, conflicts_with = "read_only")]
    write_back: bool,

    /// Several machines may write to one disk at a time, as only file systems made for that bear it
    ///
    /// Otherwise who comes while another writes may only read. Connections are told apart by the process at the other end, or
    /// over TCP by its address.
    #[arg(long, conflicts_with = "read_only")]
    shared: bool,

    /// Microseconds for which a thread looks for more work before it sleeps, while that pays off; 0: never
    #[arg(long, env = "OKAPI_SPIN", value_name = "MICROSECONDS", default_value_t = SPIN.as_micros() as u64, value_parser = clap::value_parser!(u64).range(..=10_000))]
    spin: u64,

    #[command(flatten)]
    tls: TlsFiles,
}

/// Where keys and certificates are.
#[derive(Debug, clap::Args)]
struct TlsFiles {
    /// TLS over TCP: the server's certificate, and those between it and its authority (PEM)
    #[arg(long = "tls-cert", value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,

    /// The key of that certificate (PEM)
    #[arg(long = "tls-key", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,

    /// Only clients with a certificate of this authority (PEM), also from other machines
    #[arg(long = "tls-client-ca", value_name = "FILE", requires = "certificate")]
    authority: Option<PathBuf>,
}

impl TlsFiles {
    /// What they say, if any are given.
    fn load(&self) -> Result<Option<Tls>, Failure> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else { return Ok(None) };
        let read = |path: &Path| std::fs::read(path).map_err(|error| Failure::io(path.display(), &error));
        let authority = self.authority.as_deref().map(read).transpose()?;
        let tls = Tls::new(&read(certificate)?, &Zeroizing::new(read(key)?), authority.as_deref());
        tls.map(Some).map_err(|error| Failure::of("certificate", error.to_string()))
    }
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let tls = self.tls.load()?;
        if tls.is_some() && !self.listen.iter().any(|target| matches!(target, Target::Tcp { .. })) {
            return Err(Failure::usage(
                "TLS is for TCP; name an address of this machine with --listen tcp://HOST:PORT",
            ));
        }
        let disks = disks(session, false)?;
        for name in &self.names {
            disks.find(name)?;
        }
        let listen = match self.listen.is_empty() {
            false => self.listen,
            true => vec![Effective::for_clients(&session.global)?.nbd_socket()?],
        };
        let access = if self.read_only { Access::Read } else { Access::Write };
        let names = Some(self.names).filter(|names| !names.is_empty());
        let catalog: Arc<dyn Catalog> =
            Arc::new(DiskCatalog::new(disks.clone(), names.clone(), access).with_write_back(self.write_back));
        let stop = interrupt::watch()?;
        let server = Server::start_with(
            &listen,
            &catalog,
            Options { tls, spin: Duration::from_micros(self.spin), shared: self.shared },
        )
        .map_err(|error| refused(&error))?;
        let shown = match names {
            Some(names) => names,
            None => disks.names()?,
        };
        let view = &mut session.view;
        for address in server.addresses() {
            if view.json {
                let exports: Vec<_> =
                    shown.iter().map(|name| json!({"name": name, "uri": server.uri(address, name)})).collect();
                view.json(&json!({"listen": address.to_string(), "exports": exports}))?;
                continue;
            }
            let count = counted(shown.len() as u64, "disk");
            view.line(format_args!("serving {count} at {}", view.paint(Tone::Strong, address)))?;
            shown.iter().try_for_each(|name| view.line(format_args!("  {}", server.uri(address, name))))?;
        }
        view.flush()?;
        while !stop.is_set() {
            std::thread::sleep(LOOK);
        }
        drop(server);
        Ok(())
    }
}

/// Serves all disks of the node that this very process is.
pub(crate) fn serve_own(node: &Node, target: Target, spin: Duration) -> Result<Server, Failure> {
    let client = Client::connect(&node.targets()[0], Settings::default())?;
    let disks = Disks::open_or_make(&client, GRID, None, CACHE_DEFAULT)?;
    let catalog: Arc<dyn Catalog> = Arc::new(DiskCatalog::new(disks, None, Access::Write));
    Server::start_with(&[target], &catalog, Options { spin, ..Options::default() })
        .map_err(|error| Failure::of("cannot-listen", error.to_string()))
}

/// Why it does not listen, and which flag is missing.
fn refused(error: &ListenError) -> Failure {
    let flags = match error {
        ListenError::BeyondLoopback(_) => " (--tls-cert, --tls-key, --tls-client-ca)",
        ListenError::Unproven(_) => " (--tls-client-ca)",
        _ => return Failure::new(error.to_string()),
    };
    Failure::new(format!("{error}{flags}"))
}
