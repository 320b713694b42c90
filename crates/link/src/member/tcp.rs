//! Streams over TCP, inside TLS 1.3.

use super::carrier::{Carried, Carrier, DialError, Dialling, Protocol, Stream, Taker};
use super::identity::Identity;
use super::settings::{HANDSHAKES_MAX, StartError};
use super::tls::{Tls, proven};
use crate::Target;
use gulp::Gulp;
use okapi_base::NodeId;
use parking_lot::Mutex;
use rustix::net::sockopt;
use rustls::CommonState;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

mod gulp;

/// Encrypted bytes that may wait for the socket: whole pieces are encrypted at once and leave in few writes.
const UNSENT_MAX: usize = 512 << 10;
/// How long to wait after an error that is not one connection's alone, such as no more descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Silence after which the other end is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions without an answer after which the connection is dead.
const KEEPALIVE_PROBES: u32 = 3;
/// Time after which it is dead if what was sent has not come: nothing is asked while something is on its way.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// TLS over TCP.
pub(crate) struct Tcp {
    tls: Tls,
    listening: Vec<SocketAddr>,
    /// Until they are served: then they end with the runtime.
    listeners: Mutex<Vec<TcpListener>>,
    /// How long a handshake may take.
    patience: Duration,
}

impl Tcp {
    /// Listens on all of `addresses`. In the context of the runtime.
    pub(crate) fn bind(identity: &Identity, addresses: &[SocketAddr], patience: Duration) -> Result<Self, StartError> {
        let (mut listening, mut listeners) = (Vec::new(), Vec::new());
        for &address in addresses {
            let error = |source: io::Error| match source.kind() {
                io::ErrorKind::AddrInUse => StartError::InUse(address),
                _ => StartError::Listen { address, source },
            };
            let listener = std::net::TcpListener::bind(address).map_err(error)?;
            listener.set_nonblocking(true).map_err(error)?;
            listening.push(listener.local_addr().map_err(error)?);
            listeners.push(TcpListener::from_std(listener).map_err(error)?);
        }
        Ok(Self { tls: Tls::new(identity), listening, listeners: Mutex::new(listeners), patience })
    }

    /// Where it listens, with the ports it got.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        self.listening.clone()
    }
}

impl Carrier for Tcp {
    fn takes(&self, address: &str) -> bool {
        address.starts_with("tcp://")
    }

    fn dial(&self, address: String, wanted: Option<NodeId>, protocol: Protocol) -> Dialling {
        let found = Arc::new(OnceLock::new());
        let config = self.tls.client(wanted, found.clone(), protocol);
        let patience = self.patience;
        Box::pin(async move {
            let unreachable = |why: String| DialError::Unreachable { address: address.clone(), why };
            let stream = match timeout(patience, connect(&address)).await {
                Ok(connected) => connected?,
                Err(_) => return Err(unreachable(format!("no connection within {patience:?}"))),
            };
            // The name is for certificates, and there are none; it is not sent either.
            let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
            let handshake = TlsConnector::from(config).connect(name, Gulp::new(stream));
            match timeout(patience, handshake).await {
                Ok(Ok(mut stream)) => {
                    stream.get_mut().1.set_buffer_limit(Some(UNSENT_MAX));
                    let state: &CommonState = stream.get_ref().1;
                    let (node, protocol) = proven(state).ok_or_else(|| unreachable("it proved no key".to_owned()))?;
                    Ok(carried(Box::new(stream), node, protocol, address))
                }
                Ok(Err(why)) => Err(match (wanted, found.get()) {
                    (Some(wanted), Some(&found)) if wanted != found => {
                        DialError::SomeoneElse { address, wanted, found }
                    }
                    _ => DialError::Foreign { address, why: why.to_string() },
                }),
                Err(_) => Err(unreachable(format!("no handshake within {patience:?}"))),
            }
        })
    }

    fn serve(&self, taker: Taker) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        for listener in self.listeners.lock().drain(..) {
            let acceptor = TlsAcceptor::from(self.tls.server());
            tokio::spawn(accept(listener, acceptor, handshakes.clone(), self.patience, taker.clone()));
        }
    }
}

/// Takes connections in for ever. Whoever does not finish its handshake in time is dropped, and while too many are in
/// theirs the next wait in the kernel's queue.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: Arc<Semaphore>,
    patience: Duration,
    taker: Taker,
) {
    loop {
        let permit = handshakes.clone().acquire_owned().await.expect("nobody closes it");
        let Ok((stream, address)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_REST).await;
            continue;
        };
        let (acceptor, taker) = (acceptor.clone(), taker.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let Ok(()) = prepare(&stream) else { return };
            let Ok(Ok(mut stream)) = timeout(patience, acceptor.accept(Gulp::new(stream))).await else { return };
            stream.get_mut().1.set_buffer_limit(Some(UNSENT_MAX));
            let state: &CommonState = stream.get_ref().1;
            let Some((node, protocol)) = proven(state) else { return };
            taker(carried(Box::new(stream), node, protocol, format!("tcp://{address}")));
        });
    }
}

fn carried(stream: Box<dyn Stream>, node: NodeId, protocol: Protocol, address: String) -> Carried {
    Carried { stream, node, protocol, address, kind: "tls" }
}

/// Connects to the first of the host's addresses that answers.
async fn connect(address: &str) -> Result<TcpStream, DialError> {
    let Ok(Target::Tcp { host, port }) = address.parse() else { return Err(DialError::Address(address.to_owned())) };
    let unreachable = |why: io::Error| DialError::Unreachable { address: address.to_owned(), why: why.to_string() };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host.as_str(), port)).await.map_err(unreachable)? {
        match TcpStream::connect(address).await.and_then(|stream| prepare(&stream).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(why) => last = why,
        }
    }
    Err(unreachable(last))
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Without it the last short segment of a letter waits for the answer to the one before.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED.as_millis() as u32)?;
    Ok(())
}
