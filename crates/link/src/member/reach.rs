//! Streams of the block protocol that are joined to a program's own link.
//!
//! The program is at a socket of the system: the runtime passes bytes between that and the stream, and nothing is in
//! between, neither a thread nor another socket. Idle, it costs nothing but memory.

use super::carrier::{Carried, DialError, Protocol};
use super::dial;
use super::hub::Hub;
use crate::link::{Kind, Link};
use okapi_base::NodeId;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Bytes on their way in each direction, besides those that the system holds.
const BUFFER: usize = 256 << 10;

/// A stream of the block protocol to a node, on which nothing has passed yet.
pub struct Reached {
    carried: Carried,
    runtime: Handle,
}

/// Why a node was not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// Nobody has said where it is.
    #[error("no address of it is known")]
    Unknown,
    /// It does not answer.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It does not answer in time.
    #[error("it does not answer within {0:?}")]
    Slow(Duration),
}

impl Reached {
    /// Where the node was reached.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.carried.address
    }

    /// Passes bytes between the stream and `link`, a socket, until both have ended; `early` are those that came from the
    /// link before. `held` is dropped after that.
    ///
    /// # Errors
    /// `Unsupported` for a link that is no socket; what the system says if it has no more descriptors.
    pub fn join(self, link: Box<dyn Link>, early: Vec<u8>, held: Box<dyn Send>) -> io::Result<()> {
        let Self { carried, runtime } = self;
        let _inside = runtime.enter();
        let fd = link.fd().try_clone_to_owned()?;
        // The link goes last: dropped, it closes the socket for both.
        let guard = (link, held);
        match guard.0.facts().kind {
            Kind::Unix => {
                let near = tokio::net::UnixStream::from_std(UnixStream::from(fd))?;
                tokio::spawn(pass(near, carried, early, guard));
            }
            Kind::Tcp => {
                let near = tokio::net::TcpStream::from_std(TcpStream::from(fd))?;
                tokio::spawn(pass(near, carried, early, guard));
            }
            Kind::Memory | Kind::Tls => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(())
    }
}

impl std::fmt::Debug for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reached").field("address", &self.carried.address).finish_non_exhaustive()
    }
}

async fn pass(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    mut carried: Carried,
    early: Vec<u8>,
    guard: (Box<dyn Link>, Box<dyn Send>),
) {
    // Whatever ends it, both ends see it closed.
    if carried.stream.write_all(&early).await.is_ok() {
        let _ = copy_bidirectional_with_sizes(&mut near, &mut carried.stream, BUFFER, BUFFER).await;
    }
    drop(near);
    drop(guard);
}

/// Dials a node for the block protocol.
pub(crate) async fn reach(hub: Arc<Hub>, to: NodeId, within: Duration) -> Result<Reached, ReachError> {
    let addresses = hub.addresses(&to);
    if addresses.is_empty() {
        return Err(ReachError::Unknown);
    }
    let dialled = timeout(within, dial::dial(&hub, to, addresses, Protocol::Grid)).await;
    let carried = dialled.map_err(|_| ReachError::Slow(within))??;
    Ok(Reached { carried, runtime: hub.runtime.clone() })
}
