//! What is measured, and how much is asked of Okapi in each.

/// What the blocks travel over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// A unix socket.
    Unix,
    /// TCP over loopback.
    Tcp,
    /// Memory shared by client and server.
    SharedMap,
}

/// What is done with the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Blocks that are there are got, whole.
    Get,
    /// Blocks that are there are replaced, whole.
    Put,
}

/// What a goal compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Blocks a second, at least so many times the rival's.
    Ops,
    /// Processor time of client and server together for each block, at most so many times the rival's.
    Cpu,
    /// The median time of a get, at most so many microseconds whatever the rival's is.
    Median,
}

/// What is asked of Okapi beside one rival.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// The rival's name.
    pub(crate) rival: &'static str,
    /// What is compared.
    pub(crate) measure: Measure,
    /// Okapi's figure divided by the rival's, or Okapi's alone.
    pub(crate) bound: f64,
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) deed: Deed,
    /// Over what.
    pub(crate) path: Path,
    /// Bytes of each block.
    pub(crate) size: usize,
    /// Blocks in each frame.
    pub(crate) batch: usize,
    /// Frames asked and not yet answered, for each connection.
    pub(crate) depth: usize,
    /// Connections, all driven by one thread.
    pub(crate) connections: usize,
    /// Whether waiting ends may spin before they sleep (those that can).
    pub(crate) spin: bool,
    /// What is asked of Okapi.
    pub(crate) goals: &'static [Goal],
}

impl Scenario {
    /// How many different blocks there are to choose from: 256 MiB of payload, but no more than 262,144.
    pub(crate) fn blocks(&self) -> u64 {
        ((256 << 20) / self.size as u64).min(1 << 18)
    }

    /// Whether one block is asked at a time, so that each has a time of its own.
    pub(crate) fn is_single(&self) -> bool {
        self.batch * self.depth * self.connections == 1
    }
}

const fn faster(rival: &'static str, bound: f64) -> Goal {
    Goal { rival, measure: Measure::Ops, bound }
}

const fn lighter(rival: &'static str, bound: f64) -> Goal {
    Goal { rival, measure: Measure::Cpu, bound }
}

/// 16 blocks a frame, 4 frames in flight, 1 connection, over a unix socket: the others say what they change.
const MULTI_GET: Scenario = Scenario {
    name: "multi-get",
    deed: Deed::Get,
    path: Path::Unix,
    size: 64 << 10,
    batch: 16,
    depth: 4,
    connections: 1,
    spin: true,
    goals: &[],
};

/// One block a frame.
const SINGLE: Scenario = Scenario { batch: 1, ..MULTI_GET };

/// All of them, in the order they are run.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "multi-get 64 KiB, unix",
        goals: &[faster("redis", 2.0), faster("memcached", 1.3), lighter("redis", 0.5)],
        ..MULTI_GET
    },
    Scenario {
        name: "multi-get 64 KiB, tcp",
        path: Path::Tcp,
        goals: &[faster("redis", 1.8), lighter("redis", 0.5)],
        ..MULTI_GET
    },
    Scenario {
        name: "multi-get 4 KiB, unix",
        size: 4 << 10,
        goals: &[faster("redis", 2.0), faster("memcached", 1.5)],
        ..MULTI_GET
    },
    Scenario { name: "multi-get 4 KiB, tcp", size: 4 << 10, path: Path::Tcp, ..MULTI_GET },
    Scenario {
        name: "multi-get 64 B, unix",
        size: 64,
        goals: &[faster("redis", 1.3), faster("memcached", 1.0)],
        ..MULTI_GET
    },
    Scenario { name: "multi-get 64 B, tcp", size: 64, path: Path::Tcp, ..MULTI_GET },
    Scenario {
        name: "get 4 KiB, depth 1, sleeping",
        size: 4 << 10,
        depth: 1,
        spin: false,
        goals: &[faster("redis", 0.95)],
        ..SINGLE
    },
    Scenario {
        name: "get 4 KiB, depth 1, spinning",
        size: 4 << 10,
        depth: 1,
        goals: &[faster("redis", 1.6)],
        ..SINGLE
    },
    Scenario { name: "put 64 KiB, unix", deed: Deed::Put, goals: &[faster("redis", 1.3)], ..SINGLE },
    Scenario {
        name: "put 1 MiB, unix",
        deed: Deed::Put,
        size: 1 << 20,
        goals: &[faster("redis", 0.9), faster("memcached", 0.9)],
        ..SINGLE
    },
    Scenario {
        name: "get 64 B, 50 connections, 16 deep",
        size: 64,
        depth: 16,
        connections: 50,
        goals: &[faster("redis", 1.2)],
        ..SINGLE
    },
    Scenario {
        name: "put 64 B, 50 connections, 16 deep",
        deed: Deed::Put,
        size: 64,
        depth: 16,
        connections: 50,
        goals: &[faster("redis", 1.0)],
        ..SINGLE
    },
    Scenario {
        name: "get 4 KiB, shared map",
        path: Path::SharedMap,
        size: 4 << 10,
        depth: 1,
        goals: &[faster("memcpy", 0.65), Goal { rival: "memcpy", measure: Measure::Median, bound: 1.0 }],
        ..SINGLE
    },
    Scenario {
        name: "get 64 KiB, shared map",
        path: Path::SharedMap,
        depth: 1,
        goals: &[faster("memcpy", 0.85)],
        ..SINGLE
    },
];
