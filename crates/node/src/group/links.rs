//! The real carrier: links between members, as the group uses them.

use super::Onward;
use super::carrier::{Carrier, LinkFacts};
use super::driver::{Event, short};
use super::founding::Gift;
use super::running::{Hook, Seat};
use crate::settings::GroupSettings;
use okapi_base::NodeId;
use okapi_link::member::{self, Announcement, LinkView, MemberLinks, ReachError, Reached, Standing};
use okapi_peers::{Blob, Input};
use okapi_seal::Hasher;
use okapi_wire::Message as _;
use okapi_wire::peer::announce::ADDRESSES_MAX;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Addresses for iroh that are announced even if those of TCP would fill the list.
const WAN_PLACES: usize = 2;
/// How long dialling a member may take for a program that waits: less than programs wait for a connection.
const ROUTE_PATIENCE: Duration = Duration::from_secs(4);

/// What whoever serves members does when something of theirs comes.
pub(crate) struct Streams {
    /// A stream.
    pub(crate) stream: Box<dyn Fn(NodeId, Box<dyn okapi_link::Link>) + Send + Sync>,
    /// The first connection for letters: the member is here. On a thread of the links: it must be quick.
    pub(crate) here: Box<dyn Fn(NodeId) + Send + Sync>,
}

/// The links of a node.
pub(crate) struct Links {
    links: Mutex<Option<Arc<MemberLinks>>>,
}

/// Hears what happens on the links.
struct Ears {
    hook: Hook,
    streams: Arc<Mutex<Option<Streams>>>,
}

impl Links {
    /// Starts listening, and takes in what is remembered of the others.
    pub(crate) fn start(seat: &Seat, hook: Hook, streams: &Arc<Mutex<Option<Streams>>>) -> Result<Arc<Self>, String> {
        let listen = listening(&seat.gift, &seat.settings);
        let mut run = [0; 16];
        okapi_seal::random(&mut run);
        let mut settings = member::Settings::new(seat.identity.seed(), run);
        settings.listen.clone_from(&listen);
        settings.name.clone_from(&seat.gift.name);
        settings.advertise = seat.gift.advertise.iter().map(|address| with_scheme(address)).collect();
        (settings.upload, settings.download) = (seat.settings.upload_rate, seat.settings.download_rate);
        settings.local_network = seat.settings.local_network.then(|| local_tag(&hook));
        #[cfg(feature = "wan")]
        settings.wan.clone_from(&seat.settings.wan);
        let book = hook.records.book().map_err(|error| error.to_string())?;
        let roster = Arc::clone(&hook.roster);
        let ears = Arc::new(Ears { hook, streams: Arc::clone(streams) });
        let links = MemberLinks::start(settings, ears).map_err(|error| error.to_string())?;
        if seat.gift.advertise.is_empty() {
            let addresses = reachable(&links.targets(), &links.wan_targets());
            links.advertise(addresses).map_err(|error| error.to_string())?;
        }
        for (node, said) in book {
            let known = Announcement::parse(&said).map_err(|error| error.to_string());
            let known = known.inspect(|said| roster.call(node, &said.name));
            if let Err(error) = known.and_then(|said| links.learn(said).map_err(|error| error.to_string())) {
                tracing::warn!("how {} is reached was forgotten: {error}", short(&node.0));
            }
        }
        Ok(Arc::new(Self { links: Mutex::new(Some(Arc::new(links))) }))
    }

    /// The same, as any carrier.
    pub(crate) fn start_dyn(
        seat: &Seat,
        hook: Hook,
        streams: &Arc<Mutex<Option<Streams>>>,
    ) -> Result<Arc<dyn Carrier>, String> {
        Ok(Self::start(seat, hook, streams)?)
    }

    fn with<T>(&self, ask: impl FnOnce(&MemberLinks) -> T) -> Option<T> {
        let links = self.links.lock().clone();
        links.map(|links| ask(&links))
    }
}

impl Carrier for Links {
    fn send(&self, to: NodeId, letter: Vec<u8>, payload: Blob) {
        self.with(|links| links.send(to, letter, payload));
    }

    fn hint(&self, node: NodeId, addresses: &[String]) {
        let addresses: Vec<String> = addresses.iter().map(|address| with_scheme(address)).collect();
        self.with(|links| links.hint(node, &addresses));
    }

    fn review(&self) -> Vec<Announcement> {
        self.with(MemberLinks::review).unwrap_or_default()
    }

    fn probe(&self, address: &str) -> Result<NodeId, String> {
        let found = self.with(|links| links.probe(&with_scheme(address)));
        let found = found.ok_or("the node is stopping".to_owned())?;
        found.map(|(node, _)| node).map_err(|error| error.to_string())
    }

    fn addresses(&self) -> Vec<String> {
        self.with(|links| links.announcement().addresses).unwrap_or_default()
    }

    fn links(&self) -> BTreeMap<NodeId, LinkFacts> {
        let views = self.with(MemberLinks::views).unwrap_or_default();
        views.into_iter().map(|view| (view.node, facts(view))).collect()
    }

    fn reach(&self, to: NodeId, then: Box<dyn FnOnce(Result<Onward, String>) + Send>) {
        let onward = |reached: Reached| -> Onward {
            Box::new(move |link, early, held| {
                if let Err(error) = reached.join(link, early, held) {
                    tracing::warn!("a program could not be joined to another member's node: {error}");
                }
            })
        };
        let told = move |reached: Result<Reached, ReachError>| then(reached.map(onward).map_err(|why| why.to_string()));
        // Where the links have stopped it is dropped, and that is an answer too.
        self.with(|links| links.reach(to, ROUTE_PATIENCE, told));
    }

    fn open(&self, to: NodeId) -> Result<Box<dyn okapi_link::Link>, String> {
        let opened = self.with(|links| links.open_grid(to)).ok_or("the node is stopping")?;
        opened.map_err(|error| error.to_string())
    }

    fn stop(&self) {
        let links = self.links.lock().take();
        if let Some(links) = links {
            links.stop();
        }
    }
}

impl member::Host for Ears {
    fn standing(&self, node: &NodeId) -> Standing {
        match self.hook.roster.get(node).map(|enrolled| enrolled.takes_part) {
            Some(true) => Standing::Member,
            Some(false) => Standing::Parted,
            None => Standing::Stranger,
        }
    }

    fn happened(&self, event: member::Event) {
        let told = match event {
            member::Event::Letter { from, letter, payload, room } => {
                Event::Letter { input: Input::Received { from, letter, payload }, room: Box::new(room) }
            }
            member::Event::Up { node, .. } => {
                if let Some(streams) = &*self.streams.lock() {
                    (streams.here)(node);
                }
                Event::Linked(Some(node))
            }
            member::Event::Down { .. } => Event::Linked(None),
            member::Event::Announced(said) => {
                self.hook.roster.call(said.node, &said.name);
                Event::Announced(said)
            }
            member::Event::Twin { said, .. } => Event::Halt(said),
            member::Event::Refused { node, address, why } => {
                Event::Note(format!("{} at {address}: {why}", short(&node.0)))
            }
            member::Event::ClockOff { node, milliseconds } => Event::Note(clock_off(node, milliseconds)),
            member::Event::Grid { from, link } => {
                if let Some(streams) = &*self.streams.lock()
                    && member::Host::standing(self, &from) == Standing::Member
                {
                    (streams.stream)(from, Box::new(link));
                }
                return;
            }
            _ => return,
        };
        let _ = self.hook.events.send(told);
    }
}

fn clock_off(node: NodeId, milliseconds: i64) -> String {
    let (seconds, way) = (milliseconds.unsigned_abs() / 1000, if milliseconds > 0 { "ahead of" } else { "behind" });
    let node = short(&node.0);
    format!("the clock of {node} is {seconds} seconds {way} this machine's; letters are refused until both are right")
}

fn facts(view: LinkView) -> LinkFacts {
    let (connected, failed) = (view.connection.is_some(), view.failure.is_some());
    let (sent, received) = view.connection.as_ref().map_or((0, 0), |link| (link.sent, link.received));
    let round_trip = view.connection.as_ref().and_then(|link| link.round_trip).unwrap_or(0);
    let address = match (view.connection, view.failure) {
        (Some(link), _) => link.address,
        (None, Some(failure)) => failure,
        (None, None) => view.addresses.into_iter().next().unwrap_or_default(),
    };
    let round_trip_us = u32::try_from(round_trip).unwrap_or(u32::MAX);
    LinkFacts { name: view.name.unwrap_or_default(), address, connected, failed, round_trip_us, sent, received }
}

/// What stands for the group on a local network: it says nothing to those who are not in it.
fn local_tag(hook: &Hook) -> [u8; 16] {
    let digest = Hasher::new("okapi 2026 group on a local network").add(&hook.group.0).digest();
    *digest.0.first_chunk().expect("a digest has more")
}

/// Where the node listens for members.
fn listening(gift: &Gift, settings: &GroupSettings) -> Vec<SocketAddr> {
    if settings.listen.is_empty() { gift.listen.clone() } else { settings.listen.clone() }
}

fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("tcp://{address}") }
}

/// Addresses of this machine under which others may reach what it listens on: by TCP, and where there is room by iroh.
fn reachable(targets: &[SocketAddr], wan_targets: &[SocketAddr]) -> Vec<String> {
    let own: Vec<IpAddr> = if_addrs::get_if_addrs()
        .map(|all| all.into_iter().filter(|one| !one.is_loopback()).map(|one| one.ip()).collect())
        .unwrap_or_default();
    let text = |scheme: &str, targets: &[SocketAddr]| -> Vec<String> {
        places(targets, &own).iter().map(|place| format!("{scheme}://{place}")).collect()
    };
    let (mut tcp, wan) = (text("tcp", targets), text("iroh", wan_targets));
    tcp.truncate(ADDRESSES_MAX - wan.len().min(WAN_PLACES));
    tcp.into_iter().chain(wan).take(ADDRESSES_MAX).collect()
}

/// The places among these, and on a machine of these addresses.
fn places(targets: &[SocketAddr], own: &[IpAddr]) -> Vec<SocketAddr> {
    let mut places = Vec::new();
    for target in targets {
        if target.ip().is_unspecified() {
            let fits = own.iter().filter(|ip| ip.is_ipv4() == target.is_ipv4() || target.is_ipv6());
            places.extend(fits.map(|ip| SocketAddr::new(*ip, target.port())));
        } else {
            places.push(*target);
        }
    }
    // Addresses that only make sense on one wire cannot be dialled without naming it.
    let is_link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    places.retain(|place| !is_link_local(place.ip()));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_dialled() {
        assert_eq!(with_scheme("home.example:7072"), "tcp://home.example:7072");
        assert_eq!(with_scheme("tcp://home.example:7072"), "tcp://home.example:7072");
        let some = ["127.0.0.1:5".parse().unwrap(), "[::1]:6".parse().unwrap()];
        assert_eq!(reachable(&some, &some[..1]), ["tcp://127.0.0.1:5", "tcp://[::1]:6", "iroh://127.0.0.1:5"]);
        let many: Vec<SocketAddr> = (1..20).map(|port| SocketAddr::new(some[0].ip(), port)).collect();
        let full = reachable(&many, &many);
        assert_eq!((full.len(), full[5].as_str(), full[6].as_str()), (8, "tcp://127.0.0.1:6", "iroh://127.0.0.1:1"));
        let all = reachable(&["0.0.0.0:7".parse().unwrap()], &[]);
        assert!(all.iter().all(|place| place.ends_with(":7") && !place.contains("0.0.0.0")), "{all:?}");
    }

    #[test]
    fn clocks_that_differ_are_told_in_words() {
        let text = clock_off(NodeId([0xab; 32]), -7_200_000);
        assert!(text.contains("abababab") && text.contains("7200 seconds behind"), "{text}");
    }
}
