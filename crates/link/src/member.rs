//! Links between the nodes of a group: everything that moves letters from one to another.
//!
//! Above them is a machine that thinks (`okapi_peers::Peer`), to which letters may be lost, doubled or reordered; below
//! are streams of bytes, TCP inside TLS 1.3, whose ends prove the Ed25519 keys that are their names. Between any two
//! nodes there is one connection for letters, made when the first letter waits and kept as long as both are there.
//! `docs/format/member-link.md` describes what passes on it.
//!
//! ```text
//! MemberLinks::send -> correspondent: queue -> connection::writer -> carrier (tcp: TLS 1.3) -> the other node
//! Host::happened    <- connection::reader, when there is room (Room) <- the other node
//! ```
//!
//! Payloads travel in pieces between which letters pass, on the same connection. A second connection for payloads was
//! considered: it needs a second set of rules for who dials, whom to close and what a twin is, a node that cannot be
//! dialled could not be sent payloads without the pieces anyway, and a payload would not come faster.

mod arrive;
mod book;
mod carrier;
mod connection;
mod correspondent;
mod dial;
mod first;
mod frames;
mod greet;
mod grid;
mod host;
mod hub;
mod identity;
mod live;
#[cfg(feature = "mdns")]
mod local;
mod queue;
mod rate;
mod reach;
mod settings;
mod tcp;
mod tls;
mod view;
#[cfg(feature = "wan")]
mod wan;

pub use book::LearnError;
pub use carrier::DialError;
pub use dial::ProbeError;
pub use host::{Event, Host, Room, Standing};
pub use okapi_base::NodeId;
pub use okapi_wire::peer::announce::Announcement;
pub use reach::{ReachError, Reached};
pub use settings::{Settings, StartError};
pub use view::{ConnectionView, LinkView};
#[cfg(feature = "wan")]
pub use wan::Wan;

use crate::link::Link;
use carrier::{Carrier, Protocol};
use hub::Hub;
use identity::Identity;
use okapi_wire::peer::announce::{ADDRESSES_MAX, is_address, is_name};
use okapi_wire::peer::link::{LETTER_MAX, PAYLOAD_MAX};
use parking_lot::Mutex;
use settings::Tuning;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tcp::Tcp;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How long connections may take to say goodbye when all of them stop.
const GOODBYES: Duration = Duration::from_secs(1);

/// All links of a node to the others, with threads of their own.
pub struct MemberLinks {
    hub: Arc<Hub>,
    targets: Vec<SocketAddr>,
    wan_targets: Vec<SocketAddr>,
    /// The address under which its relay knows it.
    relayed: Option<String>,
    /// There until it stops.
    runtime: Mutex<Option<Runtime>>,
    #[cfg(feature = "mdns")]
    local: Mutex<Option<local::Local>>,
}

impl MemberLinks {
    /// Listens, and is ready to dial.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: Settings, host: Arc<dyn Host>) -> Result<Self, StartError> {
        Self::start_tuned(settings, host, Tuning::default())
    }

    fn start_tuned(settings: Settings, host: Arc<dyn Host>, tuning: Tuning) -> Result<Self, StartError> {
        if !is_name(&settings.name) {
            return Err(StartError::Name(settings.name));
        }
        check_addresses(&settings.advertise)?;
        let identity = Identity::from_seed(&settings.seed)?;
        let runtime = runtime(settings.threads).map_err(StartError::Threads)?;
        let _inside = runtime.enter();
        let tcp = Arc::new(Tcp::bind(&identity, &settings.listen, tuning.handshake)?);
        let targets = tcp.listening();
        #[cfg_attr(not(feature = "wan"), expect(unused_mut, reason = "there is no other carrier"))]
        let mut carriers: Vec<Arc<dyn Carrier>> = vec![tcp];
        #[cfg_attr(not(feature = "wan"), expect(unused_mut, reason = "there is no other carrier"))]
        let (mut wan_targets, mut relayed) = (Vec::new(), None);
        #[cfg(feature = "wan")]
        if let Some(wan) = &settings.wan {
            let iroh = runtime.block_on(wan::Iroh::bind(&settings, wan, tuning.handshake))?;
            (wan_targets, relayed) = (iroh.receiving(), iroh.relayed());
            carriers.push(Arc::new(iroh));
        }
        let told = &settings.advertise;
        let addresses = if told.is_empty() { places(&targets, &wan_targets) } else { told.clone() };
        let addresses = with_relay(addresses, relayed.as_ref());
        let hub = Arc::new(Hub::new(identity, settings, tuning, host, carriers, addresses));
        for carrier in &hub.carriers {
            let hub = hub.clone();
            carrier.serve(Arc::new(move |carried| drop(hub.runtime.spawn(arrive::take(hub.clone(), carried)))));
        }
        Ok(Self {
            #[cfg(feature = "mdns")]
            local: Mutex::new(local::Local::start(&hub, &targets)?),
            hub,
            targets,
            wan_targets,
            relayed,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// This node's name: the public half of its key.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.hub.me()
    }

    /// Where it listens, with the ports it got.
    #[must_use]
    pub fn targets(&self) -> Vec<SocketAddr> {
        self.targets.clone()
    }

    /// Where it receives UDP for iroh, with the ports it got; nowhere unless the settings say so.
    #[must_use]
    pub fn wan_targets(&self) -> Vec<SocketAddr> {
        self.wan_targets.clone()
    }

    /// Sends a letter, once. Never waits: the letter is queued, and a node to which there is no connection is dialled. It
    /// is dropped if too many bytes wait for that node or for all, if it has waited for a minute, or when a connection
    /// breaks after it was written.
    ///
    /// # Panics
    /// If the letter has more than 256 KiB or the payload more than 16 MiB.
    pub fn send(&self, to: NodeId, letter: Vec<u8>, payload: Arc<[u8]>) {
        assert!(letter.len() <= LETTER_MAX, "a letter of {} bytes", letter.len());
        assert!(payload.len() <= PAYLOAD_MAX, "a payload of {} bytes", payload.len());
        self.hub.send(to, letter, payload);
    }

    /// Takes in what the host has kept of another node's announcements.
    ///
    /// # Errors
    /// [`LearnError`].
    pub fn learn(&self, announcement: Announcement) -> Result<(), LearnError> {
        self.hub.learn(announcement, None)
    }

    /// What this node announces now.
    #[must_use]
    pub fn announcement(&self) -> Announcement {
        self.hub.announced(&self.hub.me()).expect("a node always knows its own")
    }

    /// Announces other addresses of this node from now on, instead of those in the settings. Its own relay is told
    /// besides, if there is one and room for it.
    ///
    /// # Errors
    /// [`StartError::Addresses`] or [`StartError::Address`].
    pub fn advertise(&self, addresses: Vec<String>) -> Result<(), StartError> {
        check_addresses(&addresses)?;
        self.hub.announce(with_relay(addresses, self.relayed.as_ref()));
        Ok(())
    }

    /// Addresses at which a node may be, from a ticket or the like. Whoever answers there must still prove its key.
    pub fn hint(&self, node: NodeId, addresses: &[String]) {
        let whom = self.hub.correspondent(node);
        addresses.iter().filter(|address| is_address(address)).for_each(|address| whom.hint(address));
    }

    /// Forgets a node: its addresses, its letters, and the connection.
    pub fn forget(&self, node: NodeId) {
        self.hub.forget(&node);
    }

    /// To be called when nodes joined or parted: their connections get or lose the rights of members at once, and
    /// addresses are exchanged anew. Tells what the members known by then have said of themselves.
    pub fn review(&self) -> Vec<Announcement> {
        self.hub.review();
        self.hub.members_known().iter().filter_map(|node| self.hub.announced(node)).collect()
    }

    /// Who is at an address, and its name for people. Waits for the answer; not to be called from the links' own threads.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn probe(&self, address: &str) -> Result<(NodeId, String), ProbeError> {
        let (node, hello) = self.hub.runtime.block_on(dial::look(&self.hub, address.to_owned()))?;
        Ok((node, hello.announcement.name))
    }

    /// A stream of the block protocol to a node. Waits until it is there; not to be called from the links' own threads.
    ///
    /// # Errors
    /// [`DialError`].
    pub fn open_grid(&self, to: NodeId) -> Result<Box<dyn Link>, DialError> {
        let addresses = self.hub.addresses(&to);
        let _inside = self.hub.runtime.enter();
        let carried = self.hub.runtime.block_on(dial::dial(&self.hub, to, addresses, Protocol::Grid))?;
        let address = carried.address.clone();
        let link = grid::bridged(carried);
        Ok(Box::new(link.map_err(|why| DialError::Unreachable { address, why: why.to_string() })?))
    }

    /// Dials a node for the block protocol, at most for so long, and calls `then` on a thread of the links.
    pub fn reach(&self, to: NodeId, within: Duration, then: impl FnOnce(Result<Reached, ReachError>) + Send + 'static) {
        let hub = self.hub.clone();
        self.hub.runtime.spawn(async move { then(reach::reach(hub, to, within).await) });
    }

    /// How things are with every node of which anything is known.
    #[must_use]
    pub fn views(&self) -> Vec<LinkView> {
        view::views(&self.hub)
    }

    /// From now on sends and receives so many bytes a second at most, over all links; 0 for no limit.
    pub fn limit(&self, upload: u64, download: u64) {
        self.hub.upload.set(upload);
        self.hub.download.set(download);
    }

    /// Says goodbye to all and stops, within a few seconds. Nothing happens here any more afterwards. Not to be called
    /// from the links' own threads.
    pub fn stop(&self) {
        self.hub.stop();
        #[cfg(feature = "mdns")]
        drop(self.local.lock().take());
        let Some(runtime) = self.runtime.lock().take() else { return };
        let mut connections = self.hub.connections.subscribe();
        runtime.block_on(async {
            let _ = timeout(GOODBYES, connections.wait_for(|count| *count == 0)).await;
            for carrier in &self.hub.carriers {
                let _ = timeout(GOODBYES, carrier.close()).await;
            }
        });
        runtime.shutdown_timeout(GOODBYES);
    }
}

impl Drop for MemberLinks {
    fn drop(&mut self) {
        // Whoever drops it may be anybody, also a thread of its own, so nothing is waited for.
        if let Some(runtime) = self.runtime.lock().take() {
            self.hub.stop();
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for MemberLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberLinks")
            .field("node", &self.node())
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    let number = AtomicUsize::new(0);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        // Only names of hosts are looked up there.
        .max_blocking_threads(4)
        .thread_name_fn(move || format!("okapi-link-{}", number.fetch_add(1, Ordering::Relaxed)))
        .enable_io()
        .enable_time()
        .build()
}

/// The addresses among these that name a place, and not all of a machine's at once.
fn places(targets: &[SocketAddr], wan_targets: &[SocketAddr]) -> Vec<String> {
    let places = |targets: &[SocketAddr], scheme: &str| -> Vec<String> {
        let places = targets.iter().filter(|target| !target.ip().is_unspecified());
        places.map(|target| format!("{scheme}://{target}")).collect()
    };
    let mut places = [places(targets, "tcp"), places(wan_targets, "iroh")].concat();
    places.truncate(ADDRESSES_MAX);
    places
}

/// These addresses and that of the relay, which is tried when none of them gets through.
fn with_relay(mut addresses: Vec<String>, relayed: Option<&String>) -> Vec<String> {
    if let Some(relayed) = relayed.filter(|relayed| !addresses.contains(relayed)) {
        addresses.truncate(ADDRESSES_MAX - 1);
        addresses.push(relayed.clone());
    }
    addresses
}

fn check_addresses(addresses: &[String]) -> Result<(), StartError> {
    if addresses.len() > ADDRESSES_MAX {
        return Err(StartError::Addresses(addresses.len()));
    }
    match addresses.iter().find(|address| !is_address(address)) {
        Some(address) => Err(StartError::Address(address.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
