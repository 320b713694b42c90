//! A stream of the block protocol, bridged to a link that any thread can drive.

use super::carrier::Carried;
use crate::link::{Facts, Kind, Peer};
use crate::unix::UnixLink;
use std::io;
use std::os::unix::net::UnixStream;
use tokio::io::copy_bidirectional_with_sizes;

/// Bytes on their way between stream and link, in each direction, besides those that the system holds.
const BUFFER: usize = 64 << 10;

/// The other end of a stream as a link. In the context of the runtime, which moves the bytes.
///
/// A pair of unix sockets joins the two. A link of memory would save a copy, but its bell is a plain descriptor, which
/// tokio takes only from `unsafe` code.
pub(crate) fn bridged(mut carried: Carried) -> io::Result<UnixLink> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    let mut near = tokio::net::UnixStream::from_std(near)?;
    let facts = Facts { kind: Kind::Tls, peer: Peer::Member(carried.node), name: carried.address };
    let link = UnixLink::new(far, String::new())?.with_facts(facts);
    tokio::spawn(async move {
        // Whatever ends it, both ends see it closed.
        let _ = copy_bidirectional_with_sizes(&mut near, &mut carried.stream, BUFFER, BUFFER).await;
    });
    Ok(link)
}
