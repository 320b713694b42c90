//! A node in this process, ways to it that hold or break, and dice.

use okapi_client::{BlockSize, Client, ConnectError, Dial, Durability, GridCreate, Index, PutAsk, Reconnect, Settings};
use okapi_link::{Facts, Interest, Link};
use okapi_node::{HostSettings, Node, NodeSettings};
use okapi_volume::{Access, Disks};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A node with the grid `disks`, in memory so that nothing waits for a disk.
pub(crate) struct World {
    node: Arc<Node>,
    _home: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let host = HostSettings::new(home.path().join("data"));
        let node = Arc::new(Node::start(NodeSettings { threads: 1, ..NodeSettings::new(host) }).unwrap());
        let world = Self { node, _home: home };
        let create = GridCreate {
            name: "disks".to_owned(),
            block_size: BlockSize::DEFAULT,
            durability: Durability::Memory,
            public: false,
            engine: String::new(),
        };
        world.client().create_grid(&create).unwrap();
        world
    }

    pub(crate) fn client(&self) -> Client {
        self.client_cut_after(i64::MAX)
    }

    /// A client whose process dies once it has sent so many bytes.
    pub(crate) fn client_cut_after(&self, bytes: i64) -> Client {
        let delays = Reconnect { first: Duration::from_millis(1), cap: Duration::from_millis(10) };
        let reconnect = (bytes == i64::MAX).then_some(delays);
        let settings = Settings { answer_timeout: Duration::from_secs(20), reconnect, ..Settings::default() };
        let dial = ToNode { node: self.node.clone(), left: Arc::new(AtomicI64::new(bytes)) };
        Client::through(Box::new(dial), settings).unwrap()
    }

    pub(crate) fn disks(&self) -> Disks {
        self.disks_with_cache(1 << 20)
    }

    pub(crate) fn disks_with_cache(&self, bytes: usize) -> Disks {
        Disks::open(&self.client(), "disks", None, bytes).unwrap()
    }

    /// Whoever held disks is dead, and everybody knows.
    pub(crate) fn bury_holders(&self) {
        let grid = self.client().grid("disks", None).unwrap();
        let leases: Vec<Index> = grid
            .list(Index::new(1 << 20).unwrap(), false)
            .map(|entry| entry.unwrap().index)
            .take_while(|index| index.get() < 2 << 20)
            .collect();
        let puts: Vec<(PutAsk, &[u8])> = leases.iter().map(|index| (PutAsk::delete(*index), &[][..])).collect();
        grid.put_many(&puts, 0, |_, _| ()).unwrap();
    }

    /// Blocks in the grid, of disk 0 and of all others.
    pub(crate) fn blocks(&self) -> (usize, usize) {
        let grid = self.client().grid("disks", None).unwrap();
        let all: Vec<u64> = grid.list(Index::MIN, false).map(|entry| entry.unwrap().index.get()).collect();
        let heads = all.iter().filter(|index| **index < 1 << 28).count();
        (heads, all.len() - heads)
    }
}

/// All that a disk shows.
pub(crate) fn content(disks: &Disks, name: &str) -> Vec<u8> {
    let disk = disks.disk(name, Access::Read).unwrap();
    let mut bytes = vec![0xAA; disk.size() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

struct ToNode {
    node: Arc<Node>,
    left: Arc<AtomicI64>,
}

impl Dial for ToNode {
    fn dial(&self, _: Duration) -> Result<Box<dyn Link>, ConnectError> {
        if self.left.load(Ordering::SeqCst) <= 0 {
            return Err(ConnectError::Gone { address: self.address() });
        }
        let link = self.node.in_process().unwrap();
        Ok(Box::new(Cutting { link, left: self.left.clone() }))
    }

    fn address(&self) -> String {
        "the node".to_owned()
    }
}

/// A link that breaks once all of its client's have sent so many bytes: a frame cut in the middle is one never sent.
struct Cutting {
    link: Box<dyn Link>,
    left: Arc<AtomicI64>,
}

impl Cutting {
    fn broken(&mut self) -> io::Result<()> {
        if self.left.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.link.close();
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl Link for Cutting {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.broken()?;
        self.link.receive(into)
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.broken()?;
        let left = usize::try_from(self.left.load(Ordering::SeqCst)).unwrap();
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let sent = if total <= left {
            self.link.send(parts)?
        } else {
            let joined: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(left).collect();
            self.link.send(&[IoSlice::new(&joined)])?
        };
        self.left.fetch_sub(i64::try_from(sent).unwrap(), Ordering::SeqCst);
        Ok(sent)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    fn about_to_wait(&mut self, interest: Interest) -> bool {
        self.link.about_to_wait(interest)
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<bool> {
        self.broken()?;
        self.link.wait(interest, timeout)
    }

    fn facts(&self) -> &Facts {
        self.link.facts()
    }

    fn close(&mut self) {
        self.link.close();
    }
}

/// Dice that fall the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    pub(crate) fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
