//! Streams over QUIC by iroh: through NAT, and by a relay of one's own where nothing else gets through.
//!
//! iroh's names are Ed25519 keys as well, so a node is the same on both carriers. None of its presets is used: they would
//! publish where this node is and let relays of third parties carry its bytes. Here nothing is published or looked up
//! anywhere, there is no relay but the one that is named, and no name server but the system's own. Addresses travel in
//! announcements like all others: `iroh://192.0.2.1:7073` is a place, `iroh+https://relay.example.org` a relay.

use super::carrier::{Carried, Carrier, Closing, DialError, Dialling, Protocol, Taker};
use super::identity::provider;
use super::settings::{Settings, StartError};
use iroh::dns::DnsResolver;
use iroh::endpoint::{Connection, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, PublicKey, RelayMode, RelayUrl, SecretKey};
use okapi_base::NodeId;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// Where a place begins.
const PLACE: &str = "iroh://";
/// Where a relay begins; what follows is its address for the web.
const RELAY: &str = "iroh+";

/// What a node that is to be reached through NAT needs.
#[derive(Debug, Clone, Default)]
pub struct Wan {
    /// Where to receive UDP; nothing stands for any port of every interface.
    pub bind: Vec<SocketAddr>,
    /// The address of a relay of one's own, `https://relay.example.org`. Without one, one end at least must be reachable.
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
        let error = |why: String| StartError::Wan(why);
        let relay = wan
            .relay
            .as_deref()
            .map(|relay| relay.parse::<RelayUrl>().map_err(|why| error(format!("`{relay}`: {why}"))));
        let relay = relay.transpose()?;
        let names = DnsResolver::builder().with_system_defaults().disable_fallback().build();
        let mut builder = Endpoint::builder(presets::Empty)
            .crypto_provider(provider())
            .secret_key(SecretKey::from_bytes(&settings.seed))
            .alpns(Protocol::ALL.map(|protocol| protocol.name().to_vec()).to_vec())
            .dns_resolver(names)
            .max_tls_tickets(0)
            .relay_mode(relay.clone().map_or(RelayMode::Disabled, |relay| RelayMode::custom([relay])));
        if !wan.bind.is_empty() {
            builder = builder.clear_ip_transports();
            for address in &wan.bind {
                builder = builder.bind_addr(*address).map_err(|why| error(format!("{address}: {why}")))?;
            }
        }
        let endpoint = builder.bind().await.map_err(|why| error(why.to_string()))?;
        Ok(Self { endpoint, relay, patience })
    }

    /// How others can reach it: by the relay, and where it receives, as far as that names a place.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let relay = self.relay.iter().map(|relay| format!("{RELAY}{}", relay.as_str().trim_end_matches('/')));
        let bound = self.endpoint.bound_sockets().into_iter().filter(|bound| !bound.ip().is_unspecified());
        relay.chain(bound.map(|bound| format!("{PLACE}{bound}"))).collect()
    }
}

impl Carrier for Iroh {
    fn takes(&self, address: &str) -> bool {
        address.starts_with(PLACE) || address.starts_with(RELAY)
    }

    fn dial(&self, address: String, wanted: Option<NodeId>, protocol: Protocol) -> Dialling {
        let (endpoint, patience) = (self.endpoint.clone(), self.patience);
        Box::pin(async move {
            let target = wanted.and_then(|wanted| target(&address, wanted));
            // Whoever is dialled by its key must be known by it.
            let target = target.ok_or_else(|| DialError::Address(address.clone()))?;
            let unreachable = |why: String| DialError::Unreachable { address: address.clone(), why };
            let connecting = async {
                let connection =
                    endpoint.connect(target, protocol.name()).await.map_err(|why| unreachable(why.to_string()))?;
                let (send, receive) = connection.open_bi().await.map_err(|why| unreachable(why.to_string()))?;
                carried(connection, send, receive, address.clone())
                    .ok_or_else(|| unreachable("it speaks differently".to_owned()))
            };
            timeout(patience, connecting)
                .await
                .unwrap_or_else(|_| Err(unreachable(format!("no connection within {patience:?}"))))
        })
    }

    fn serve(&self, taker: Taker) {
        let (endpoint, patience) = (self.endpoint.clone(), self.patience);
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let taker = taker.clone();
                tokio::spawn(async move {
                    let accepting = async {
                        let connection = incoming.accept().ok()?.await.ok()?;
                        // The stream is there when the other end has said something on it, which it does at once.
                        let (send, receive) = connection.accept_bi().await.ok()?;
                        let address = format!("iroh:{}", connection.remote_id().fmt_short());
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

/// What to dial.
fn target(address: &str, wanted: NodeId) -> Option<EndpointAddr> {
    let whom = EndpointAddr::new(PublicKey::from_bytes(&wanted.0).ok()?);
    match address.strip_prefix(PLACE) {
        Some(place) => Some(whom.with_ip_addr(place.parse().ok()?)),
        None => Some(whom.with_relay_url(address.strip_prefix(RELAY)?.parse().ok()?)),
    }
}

fn carried(connection: Connection, send: SendStream, receive: RecvStream, address: String) -> Option<Carried> {
    let node = NodeId(*connection.remote_id().as_bytes());
    let protocol = Protocol::named(connection.alpn())?;
    let stream = Box::new(Both { send, receive, _connection: connection });
    Some(Carried { stream, node, protocol, address, kind: "iroh" })
}

/// Both directions of a stream. The connection is there for this one stream and ends with it.
struct Both {
    send: SendStream,
    receive: RecvStream,
    _connection: Connection,
}

impl AsyncRead for Both {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().receive).poll_read(cx, into)
    }
}

impl AsyncWrite for Both {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.get_mut().send), cx, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(Pin::new(&mut self.get_mut().send), cx, from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.get_mut().send), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.get_mut().send), cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::tests::{Node, pattern};

    /// A node that can only be reached by iroh.
    fn node(seed: u8) -> Node {
        Node::with(seed, |settings, _| {
            settings.listen.clear();
            settings.wan = Some(Wan { bind: vec!["127.0.0.1:0".parse().unwrap()], relay: None });
        })
    }

    #[test]
    fn letters_and_payloads_pass_as_on_any_carrier() {
        let (one, other) = (node(1), node(2));
        one.knows(&other);
        one.links.send(other.id(), b"large".to_vec(), pattern(3 << 20));
        assert_eq!(other.letter(&one).1, pattern(3 << 20));
        other.links.send(one.id(), b"back".to_vec(), pattern(1 << 20));
        assert_eq!(one.letter(&other).0, b"back");
        assert!(one.host.up(other.id()).starts_with("iroh://127.0.0.1:"));
        let view = one.links.views().remove(0);
        assert_eq!(view.connection.unwrap().kind, "iroh");
        one.links.stop();
        assert_eq!(other.host.down(one.id()), "the other node stops");
    }

    #[test]
    fn addresses_are_places_or_relays_of_ones_own() {
        let node = NodeId(*SecretKey::from_bytes(&[1; 32]).public().as_bytes());
        let place = target("iroh://192.0.2.1:7073", node).unwrap();
        assert_eq!(place.ip_addrs().count(), 1);
        let relay = target("iroh+https://relay.example.org", node).unwrap();
        assert_eq!(relay.relay_urls().count(), 1);
        for address in ["iroh://192.0.2.1", "iroh://name:1", "tcp://192.0.2.1:1"] {
            assert!(target(address, node).is_none(), "{address}");
        }
    }
}
