//! The other end by hand: a node that says what it likes.

use super::*;
use crate::member::frames::{FrameReader, frame, write_all};
use crate::member::hub::signed;
use crate::member::live::Traffic;
use crate::member::rate::Rate;
use crate::member::tls::Tls;
use okapi_wire::peer::link::{Farewell, Head, Hello, Kind, Purpose, VERSIONS};
use okapi_wire::{BodyWriter, Message};
use rustls::pki_types::ServerName;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Stream = Box<dyn crate::member::carrier::Stream>;

/// One end of a stream, driven by the test's own thread.
pub(super) struct Raw {
    runtime: Runtime,
    identity: Identity,
    reader: FrameReader<ReadHalf<Stream>>,
    writer: WriteHalf<Stream>,
}

/// A place where a node can be dialled that does what the test does.
pub(super) struct RawListener {
    runtime: Runtime,
    identity: Identity,
    listener: TcpListener,
}

impl RawListener {
    pub(super) fn new(seed: u8) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        Self { runtime, identity: Identity::from_seed(&[seed; 32]).unwrap(), listener }
    }

    pub(super) fn id(&self) -> NodeId {
        self.identity.node()
    }

    pub(super) fn address(&self) -> String {
        format!("tcp://{}", self.listener.local_addr().unwrap())
    }

    /// Takes one connection.
    pub(super) fn accept(self) -> Raw {
        let stream = self.runtime.block_on(async {
            let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
            TlsAcceptor::from(Tls::new(&self.identity).server()).accept(stream).await.unwrap()
        });
        Raw::new(self.runtime, self.identity, Box::new(stream))
    }
}

impl Raw {
    /// Dials a node.
    pub(super) fn dial(seed: u8, to: &Node) -> Self {
        Self::dial_as(seed, to, Protocol::Member)
    }

    pub(super) fn dial_as(seed: u8, to: &Node, protocol: Protocol) -> Self {
        let runtime = runtime();
        let identity = Identity::from_seed(&[seed; 32]).unwrap();
        let config = Tls::new(&identity).client(Some(to.id()), Arc::new(OnceLock::new()), protocol);
        let target = to.links.targets()[0];
        let stream = runtime.block_on(async {
            let stream = TcpStream::connect(target).await.unwrap();
            let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
            TlsConnector::from(config).connect(name, stream).await.unwrap()
        });
        Self::new(runtime, identity, Box::new(stream))
    }

    fn new(runtime: Runtime, identity: Identity, stream: Stream) -> Self {
        let rate = || Arc::new(Rate::new(0, tokio::time::Instant::now()));
        let (read, writer) = split(stream);
        let traffic = Traffic::new(rate(), rate(), PATIENCE);
        Self { runtime, identity, reader: FrameReader::new(read, Arc::new(traffic)), writer }
    }

    pub(super) fn id(&self) -> NodeId {
        self.identity.node()
    }

    /// A hello as it should be.
    pub(super) fn hello(&self) -> Hello {
        let stamp = (Settings::new(Zeroizing::new([0; 32]), [0; 16]).clock)();
        Hello {
            oldest: VERSIONS.0,
            newest: VERSIONS.1,
            purpose: Purpose::Letters,
            run: [0xee; 16],
            started: stamp,
            stamp,
            announcement: signed(&self.identity, "raw", stamp, Vec::new()),
        }
    }

    /// Says hello and hears the other's; what follows is left to be read.
    pub(super) fn greet(&mut self) -> Hello {
        let hello = self.hello();
        self.say(Kind::Hello, |body| hello.encode(body));
        let (head, bytes) = self.frame().unwrap();
        assert_eq!(head.kind, Kind::Hello);
        Hello::parse(&bytes).unwrap()
    }

    /// The same, and is taken in.
    pub(super) fn enter(&mut self) {
        self.greet();
        assert_eq!(self.frame().unwrap().0.kind, Kind::Welcome);
    }

    pub(super) fn say(&mut self, kind: Kind, body: impl FnOnce(&mut BodyWriter<'_>)) {
        let mut bytes = Vec::new();
        frame(&mut bytes, kind, body);
        self.send(&bytes);
    }

    pub(super) fn letter(&mut self, letter: &[u8], payload: usize) {
        let head = Head { kind: Kind::Letter, length: letter.len() as u32, payload: payload as u32 };
        self.send(&[&head.to_bytes(), letter].concat());
    }

    /// Sends bytes, whatever they are. Whether they arrive is another question.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let writer = &mut self.writer;
        self.runtime.block_on(async {
            let _ = write_all(writer, &[bytes]).await;
            let _ = writer.flush().await;
        });
    }

    /// The next frame; nothing if the other end has closed.
    pub(super) fn frame(&mut self) -> Option<(Head, Vec<u8>)> {
        let reader = &mut self.reader;
        self.runtime.block_on(async {
            let read = async {
                let head = reader.head().await.ok()?;
                Some((head, reader.bytes(head.length as usize).await.ok()?))
            };
            timeout(PATIENCE, read).await.expect("a frame comes, or the end")
        })
    }

    /// The next frame of this kind; others are passed over.
    pub(super) fn frame_of(&mut self, kind: Kind) -> Vec<u8> {
        loop {
            let (head, bytes) = self.frame().unwrap_or_else(|| panic!("closed before a {kind:?}"));
            if head.kind == kind {
                return bytes;
            }
        }
    }

    /// The other end's last word.
    pub(super) fn farewell(&mut self) -> Farewell {
        Farewell::parse(&self.frame_of(Kind::Farewell)).unwrap()
    }

    /// Reads until the other end closes.
    pub(super) fn closed(&mut self) {
        while self.frame().is_some() {}
    }

    /// Sends no more.
    pub(super) fn shut(&mut self) {
        let writer = &mut self.writer;
        let _ = self.runtime.block_on(writer.shutdown());
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
