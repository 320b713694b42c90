//! The first frames of a connection: each end says who it is, and the one that was dialled decides.

use super::book::is_genuine;
use super::carrier::{Carried, Stream};
use super::frames::{Broken, FrameReader, frame, write_all};
use super::hub::Hub;
use super::live::{Parties, Traffic};
use okapi_base::NodeId;
use okapi_wire::Message;
use okapi_wire::peer::link::{Farewell, Hello, Kind, Purpose, Reason};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

/// How long an end that has said its last word waits for the other to close.
const PARTING: Duration = Duration::from_secs(1);

/// A stream on which hellos pass.
pub(crate) struct Greeting {
    pub(crate) reader: FrameReader<ReadHalf<Box<dyn Stream>>>,
    pub(crate) writer: WriteHalf<Box<dyn Stream>>,
    pub(crate) traffic: Arc<Traffic>,
    node: NodeId,
    address: String,
    kind: &'static str,
    dialled: bool,
}

/// Why two nodes do not come together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The other end says nothing.
    #[error("no hello came within {0:?}")]
    Silent(Duration),
    /// The other end said why.
    #[error("{}", .0.words)]
    Told(Farewell),
    /// This end said why.
    #[error("{}", .0.words)]
    Said(Farewell),
}

impl Greeting {
    pub(crate) fn new(hub: &Hub, carried: Carried, dialled: bool) -> Self {
        let traffic = Arc::new(hub.traffic());
        let (read, write) = split(carried.stream);
        Self {
            reader: FrameReader::new(read, traffic.clone()),
            writer: write,
            traffic,
            node: carried.node,
            address: carried.address,
            kind: carried.kind,
            dialled,
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The dialling end's part: says hello, hears who answers and whether it is taken in.
    pub(crate) async fn dial(&mut self, hub: &Hub, purpose: Purpose) -> Result<Hello, GreetError> {
        let patience = hub.tuning.handshake;
        timeout(patience, self.exchange(hub, purpose)).await.unwrap_or(Err(GreetError::Silent(patience)))
    }

    async fn exchange(&mut self, hub: &Hub, purpose: Purpose) -> Result<Hello, GreetError> {
        let mut bytes = Vec::new();
        frame(&mut bytes, Kind::Hello, |body| hub.hello(purpose).encode(body));
        self.write(&bytes).await?;
        let hello = self.read_hello(hub).await?;
        let head = self.reader.head().await?;
        match head.kind {
            Kind::Welcome => Ok(hello),
            Kind::Farewell => {
                let farewell: Farewell = self.reader.message(head).await?;
                match (farewell.reason, purpose) {
                    (Reason::Twin, _) | (_, Purpose::Letters) => Err(GreetError::Told(farewell)),
                    // Whoever only looked has seen what it wanted.
                    (_, Purpose::Look) => Ok(hello),
                }
            }
            _ => Err(Broken::Misplaced("neither a welcome nor a farewell follows the hello").into()),
        }
    }

    /// The first part of the end that was dialled: hears who is there.
    pub(crate) async fn hello(&mut self, hub: &Hub) -> Result<Hello, GreetError> {
        let patience = hub.tuning.handshake;
        timeout(patience, self.read_hello(hub)).await.unwrap_or(Err(GreetError::Silent(patience)))
    }

    async fn read_hello(&mut self, hub: &Hub) -> Result<Hello, GreetError> {
        let head = self.reader.head().await?;
        if head.kind != Kind::Hello {
            return Err(Broken::Misplaced("the first frame is no hello").into());
        }
        let hello: Hello = self.reader.message(head).await?;
        if hello.announcement.node != self.node || !is_genuine(&hello.announcement) {
            return Err(Broken::Misplaced("the hello's announcement is not by the key of this connection").into());
        }
        let (oldest, newest) = hub.tuning.versions;
        if hello.oldest > newest || hello.newest < oldest {
            let words = format!(
                "it speaks versions {} to {}, and this node {oldest} to {newest}; the older of the two needs an upgrade",
                hello.oldest, hello.newest
            );
            return Err(GreetError::Said(plain(Reason::Versions, words)));
        }
        Ok(hello)
    }

    /// The second: says who is here, and that the other end is taken in, or why not.
    pub(crate) async fn answer(
        &mut self,
        hub: &Hub,
        purpose: Purpose,
        verdict: Result<(), &Farewell>,
    ) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        frame(&mut bytes, Kind::Hello, |body| hub.hello(purpose).encode(body));
        match verdict {
            Ok(()) => frame(&mut bytes, Kind::Welcome, |_| {}),
            Err(farewell) => frame(&mut bytes, Kind::Farewell, |body| farewell.encode(body)),
        }
        timeout(hub.tuning.handshake, self.write(&bytes)).await.unwrap_or(Err(Broken::Cut))
    }

    /// Takes leave before anything was begun.
    pub(crate) async fn leave(mut self, farewell: &Farewell) {
        let mut bytes = Vec::new();
        frame(&mut bytes, Kind::Farewell, |body| farewell.encode(body));
        if matches!(timeout(PARTING, self.write(&bytes)).await, Ok(Ok(()))) {
            self.part().await;
        }
    }

    /// Closes once the other end has: closing at once could destroy what was said last.
    pub(crate) async fn part(mut self) {
        let parting = async {
            if self.writer.shutdown().await.is_ok() {
                self.reader.drain().await;
            }
        };
        let _ = timeout(PARTING, parting).await;
    }

    pub(crate) fn parties(&self, hello: Hello) -> Parties {
        Parties { hello, dialled: self.dialled, address: self.address.clone(), kind: self.kind }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        write_all(&mut self.writer, &[bytes]).await?;
        self.writer.flush().await?;
        self.traffic.sent(bytes.len());
        Ok(())
    }
}

/// A farewell without proof.
pub(crate) fn plain(reason: Reason, words: impl Into<String>) -> Farewell {
    let mut words = words.into();
    let most = okapi_wire::peer::link::WORDS_MAX;
    let end = (0..=most.min(words.len())).rev().find(|&end| words.is_char_boundary(end));
    words.truncate(end.unwrap_or(0));
    Farewell { reason, words, twin: None }
}
