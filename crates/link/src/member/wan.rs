//! Streams over QUIC by iroh: through NAT, and by a relay of one's own where nothing else gets through.
//!
//! iroh's names are Ed25519 keys as well, so a node is the same on both carriers. None of its presets is used: they would
//! publish where this node is and let relays of third parties carry its bytes. Here nothing is published or looked up
//! anywhere, no router is asked for anything, there is no relay but the one in this node's settings, whatever others
//! announce, and no name server but the system's own. Addresses travel in announcements like all others:
//! `iroh://host:port` is a place, `iroh:https://relay.example.org` a relay.

use super::carrier::{Carried, Carrier, Closing, DialError, Dialling, Protocol, Taker};
use super::identity::provider;
use super::settings::{HANDSHAKES_MAX, Settings, StartError};
use iroh::dns::DnsResolver;
use iroh::endpoint::{
    Builder, Connection, NetReportConfig, PortmapperConfig, QuicTransportConfig, RecvStream, SendStream, VarInt,
    presets,
};
use iroh::{Endpoint, EndpointAddr, PublicKey, RelayMode, RelayUrl, SecretKey};
use okapi_base::NodeId;
use okapi_wire::peer::announce::is_address;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::lookup_host;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Where an address for iroh begins; a relay's address for the web follows.
const RELAY: &str = "iroh:";
/// Where a place begins.
const PLACE: &str = "iroh://";
/// Bytes on their way on a connection, in each direction: letters wait behind what was sent before them.
const WINDOW: u32 = 2 << 20;
/// How long what was said last may take to get there after a stream was closed.
const LINGER: Duration = Duration::from_secs(2);

/// What a node that is to be reached through NAT needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wan {
    /// Where to receive UDP, one address of each family at most; nothing stands for any port of every interface.
    pub bind: Vec<SocketAddr>,
    /// A relay of one's own, `https://relay.example.org`, which others of the group name in their settings as well.
    /// Without one, one of two ends must be reachable.
    pub relay: Option<String>,
}

/// Streams by iroh.
pub(crate) struct Iroh {
    endpoint: Endpoint,
    relay: Option<RelayUrl>,
    patience: Duration,
}

impl Iroh {
    pub(crate) async fn bind(settings: &Settings, wan: &Wan, patience: Duration) -> Result<Self, StartError> {
        let relay = wan.relay.as_deref().map(own_relay).transpose()?;
        let mut builder = secluded()
            .secret_key(SecretKey::from_bytes(&settings.seed))
            .alpns(Protocol::ALL.map(|protocol| protocol.name().to_vec()).to_vec())
            .relay_mode(relay.clone().map_or(RelayMode::Disabled, |relay| RelayMode::custom([relay])));
        if !wan.bind.is_empty() {
            builder = builder.clear_ip_transports();
        }
        for address in &wan.bind {
            builder = builder.bind_addr(*address).map_err(|why| StartError::Wan(format!("{address}: {why}")))?;
        }
        let endpoint = builder.bind().await.map_err(|why| StartError::Wan(why.to_string()))?;
        Ok(Self { endpoint, relay, patience })
    }

    /// Where it receives, with the ports it got.
    pub(crate) fn receiving(&self) -> Vec<SocketAddr> {
        self.endpoint.bound_sockets()
    }

    /// How it is reached by its relay.
    pub(crate) fn relayed(&self) -> Option<String> {
        self.relay.as_ref().map(|relay| format!("{RELAY}{}", trimmed(relay)))
    }
}

/// An endpoint that talks to nobody but those it is told to.
fn secluded() -> Builder {
    let names = DnsResolver::builder().with_system_defaults().disable_fallback().build();
    let transport = QuicTransportConfig::builder()
        // A connection is there for one stream.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW));
    Endpoint::builder(presets::Empty)
        .crypto_provider(provider())
        .transport_config(transport.build())
        // A resumed session would not prove the key again.
        .max_tls_tickets(0)
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .dns_resolver(names)
}

fn own_relay(text: &str) -> Result<RelayUrl, StartError> {
    let wrong = |why: String| StartError::Relay { relay: text.to_owned(), why };
    let relay: RelayUrl = text.parse().map_err(|why| wrong(format!("{why}")))?;
    match relay.scheme() {
        _ if !is_address(&format!("{RELAY}{}", trimmed(&relay))) => Err(wrong("it is too long".to_owned())),
        "https" | "http" => Ok(relay),
        other => Err(wrong(format!("nothing is known of `{other}`"))),
    }
}

fn trimmed(relay: &RelayUrl) -> &str {
    relay.as_str().trim_end_matches('/')
}

impl Carrier for Iroh {
    fn takes(&self, address: &str) -> bool {
        address.starts_with(RELAY)
    }

    fn dial(&self, address: String, wanted: Option<NodeId>, protocol: Protocol) -> Dialling {
        let (endpoint, relay, patience) = (self.endpoint.clone(), self.relay.clone(), self.patience);
        Box::pin(async move {
            let unreachable = |why: String| DialError::Unreachable { address: address.clone(), why };
            let connecting = async {
                // Here nobody can be dialled without knowing who it is.
                let wanted = wanted.ok_or_else(|| DialError::Nameless(address.clone()))?;
                let target = target(&address, wanted, relay.as_ref()).await?;
                let connection = endpoint.connect(target, protocol.name()).await;
                let connection = connection.map_err(|why| unreachable(format!("{why:#}")))?;
                let stream = connection.open_bi().await;
                let (send, receive) = stream.map_err(|why| unreachable(why.to_string()))?;
                let speaks = || DialError::Foreign { address: address.clone(), why: "another protocol".to_owned() };
                carried(connection, send, receive, address.clone()).ok_or_else(speaks)
            };
            let late = || Err(unreachable(format!("no connection within {patience:?}")));
            timeout(patience, connecting).await.unwrap_or_else(|_| late())
        })
    }

    fn serve(&self, taker: Taker) {
        let (endpoint, patience) = (self.endpoint.clone(), self.patience);
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        tokio::spawn(async move {
            loop {
                let permit = handshakes.clone().acquire_owned().await.expect("nobody closes it");
                let Some(incoming) = endpoint.accept().await else { return };
                let taker = taker.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    let accepting = async {
                        let connection = incoming.accept().ok()?.await.ok()?;
                        // The stream is there when the other end has said something on it, which it does at once.
                        let (send, receive) = connection.accept_bi().await.ok()?;
                        let address = format!("{RELAY}{}", NodeId(*connection.remote_id().as_bytes()));
                        carried(connection, send, receive, address)
                    };
                    if let Ok(Some(carried)) = timeout(patience, accepting).await {
                        taker(carried);
                    }
                });
            }
        });
    }

    fn close(&self) -> Closing {
        let endpoint = self.endpoint.clone();
        Box::pin(async move { endpoint.close().await })
    }
}

/// What to dial. A relay that others name would see who talks to whom, so none will do but this node's own.
async fn target(address: &str, wanted: NodeId, relay: Option<&RelayUrl>) -> Result<EndpointAddr, DialError> {
    let wrong = || DialError::Address(address.to_owned());
    let whom = EndpointAddr::new(PublicKey::from_bytes(&wanted.0).map_err(|_| wrong())?);
    let Some(place) = address.strip_prefix(PLACE) else {
        let named: RelayUrl = address.strip_prefix(RELAY).and_then(|url| url.parse().ok()).ok_or_else(wrong)?;
        return match relay.filter(|own| **own == named) {
            Some(own) => Ok(whom.with_relay_url(own.clone())),
            None => Err(DialError::OtherRelay(address.to_owned())),
        };
    };
    let unreachable = |why: io::Error| DialError::Unreachable { address: address.to_owned(), why: why.to_string() };
    let places = match place.parse::<SocketAddr>() {
        Ok(place) => vec![place],
        Err(_) if place.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) => return Err(wrong()),
        Err(_) => lookup_host(place).await.map_err(unreachable)?.collect(),
    };
    Ok(places.into_iter().fold(whom, EndpointAddr::with_ip_addr))
}

fn carried(connection: Connection, send: SendStream, receive: RecvStream, address: String) -> Option<Carried> {
    let node = NodeId(*connection.remote_id().as_bytes());
    let protocol = Protocol::named(connection.alpn())?;
    let ends = Some((connection, send));
    let stream = Box::new(Both { ends, receive, runtime: Handle::current() });
    Some(Carried { stream, node, protocol, address, kind: "iroh" })
}

/// Both directions of a stream. The connection is there for this one stream and ends with it.
struct Both {
    /// There until it is dropped.
    ends: Option<(Connection, SendStream)>,
    receive: RecvStream,
    runtime: Handle,
}

impl Both {
    fn send(self: Pin<&mut Self>) -> Pin<&mut SendStream> {
        Pin::new(&mut self.get_mut().ends.as_mut().expect("it is there until it is dropped").1)
    }
}

impl AsyncRead for Both {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().receive).poll_read(cx, into)
    }
}

impl AsyncWrite for Both {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self.send(), cx, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self.send(), cx, from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(self.send(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(self.send(), cx)
    }
}

impl Drop for Both {
    /// The end of a connection overtakes what is on its way, and so destroys it: unlike TCP, nobody but this end sends
    /// it again.
    fn drop(&mut self) {
        let Some((connection, mut send)) = self.ends.take() else { return };
        self.runtime.spawn(async move {
            let _ = send.finish();
            let _ = timeout(LINGER, send.stopped()).await;
            drop(connection);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::Watcher as _;

    const BIND: &str = "127.0.0.1:0";

    #[test]
    fn nobody_else_is_asked_or_told_anything() {
        let (one, other) = (bound(1, None), bound(2, None));
        let runtime = &one.0;
        let connection = runtime.block_on(async {
            let target = EndpointAddr::new(other.1.endpoint.id()).with_ip_addr(other.1.receiving()[0]);
            let accepted = other.0.spawn({
                let endpoint = other.1.endpoint.clone();
                async move { endpoint.accept().await.unwrap().accept().unwrap().await.unwrap() }
            });
            (one.1.endpoint.connect(target, Protocol::Member.name()).await.unwrap(), accepted.await.unwrap())
        });
        assert_eq!(connection.0.remote_id(), other.1.endpoint.id());
        for (_, Iroh { endpoint, .. }) in [&one, &other] {
            assert!(endpoint.address_lookup().unwrap().is_empty(), "nowhere is anything published or looked up");
            assert!(endpoint.home_relay_status().get().is_empty(), "there is no relay");
            assert!(endpoint.bound_sockets().iter().all(|bound| bound.ip().is_loopback()));
        }
    }

    #[test]
    fn the_only_relay_is_ones_own() {
        let url = "https://relay.example.org";
        let (_runtime, iroh) = bound(1, Some(url));
        assert_eq!(iroh.relayed().as_deref(), Some("iroh:https://relay.example.org"));
        let relays: Vec<_> = iroh.endpoint.home_relay_status().get().iter().map(|one| one.url().to_string()).collect();
        assert!(relays.iter().all(|relay| relay.starts_with(url)), "{relays:?}");
        for wrong in ["", "relay.example.org", "ftp://relay.example.org", &format!("{url}/{}", "x".repeat(120))] {
            let refused = own_relay(wrong).unwrap_err();
            assert!(refused.to_string().contains("no relay"), "{refused}");
        }
    }

    #[test]
    fn addresses_are_places_or_ones_own_relay() {
        let runtime = runtime();
        let node = NodeId(*SecretKey::from_bytes(&[1; 32]).public().as_bytes());
        let own = own_relay("https://relay.example.org/").unwrap();
        let target = |address: &str, relay| runtime.block_on(target(address, node, relay));
        let place = target("iroh://192.0.2.1:7073", None).unwrap();
        assert_eq!(place.ip_addrs().collect::<Vec<_>>(), [&"192.0.2.1:7073".parse::<SocketAddr>().unwrap()]);
        assert!(target("iroh://localhost:7073", None).unwrap().ip_addrs().all(|place| place.ip().is_loopback()));
        let relayed = target("iroh:https://relay.example.org", Some(&own)).unwrap();
        assert_eq!(relayed.relay_urls().collect::<Vec<_>>(), [&own]);
        let relay = own_relay("https://relay.example.net").unwrap();
        for other in ["iroh:https://relay.example.org", "iroh:https://relay.example.com"] {
            assert!(matches!(target(other, None), Err(DialError::OtherRelay(_))));
            assert!(matches!(target(other, Some(&relay)), Err(DialError::OtherRelay(_))));
        }
        for wrong in ["iroh://192.0.2.1", "iroh://name:port", "iroh:", "iroh:relay", "tcp://192.0.2.1:1"] {
            assert!(matches!(target(wrong, Some(&own)), Err(DialError::Address(_))), "{wrong}");
        }
    }

    fn bound(seed: u8, relay: Option<&str>) -> (tokio::runtime::Runtime, Iroh) {
        let runtime = runtime();
        let settings = Settings::new(zeroize::Zeroizing::new([seed; 32]), [seed; 16]);
        let wan = Wan { bind: vec![BIND.parse().unwrap()], relay: relay.map(str::to_owned) };
        let iroh = runtime.block_on(Iroh::bind(&settings, &wan, Duration::from_secs(10))).unwrap();
        (runtime, iroh)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }
}
