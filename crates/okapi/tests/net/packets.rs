//! Every packet that passes the router, caught without any program's help, kept in a file and looked through.

use crate::lab::Lab;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, sockopt};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// All kinds of packets, in the byte order of networks.
const ETH_P_ALL: u32 = 0x0003_u16.to_be() as u32;
/// Bytes the kernel keeps for whoever is slow to fetch them: it drops what is more.
const BUFFER: usize = 512 << 20;
/// The longest packet: the kernel cuts them only where they leave the machine.
const PACKET_MAX: usize = 512 << 10;
/// How often is looked whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const ETHERNET: usize = 14;
const TCP: u8 = 6;

/// The catching of packets.
pub(crate) struct Capture {
    lab: Arc<Lab>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<File>,
}

/// Packets that were caught.
pub(crate) struct Packets {
    file: File,
}

/// What was looked for, and where it was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) what: String,
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
}

impl Capture {
    /// Begins. What passed before is not seen, so it comes before the first machine.
    pub(crate) fn start(lab: &Arc<Lab>) -> Self {
        let socket = lab.router.enter(|| {
            let all = Some(Protocol::from_raw(NonZeroU32::new(ETH_P_ALL).unwrap()));
            rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, all).unwrap()
        });
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).unwrap();
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LOOK_EVERY)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = std::thread::spawn(move || keep(&socket, &until));
        Self { lab: lab.clone(), over, thread }
    }

    /// Ends once everything that has passed is kept.
    ///
    /// # Panics
    /// If a packet was missed: what is not in them then proves nothing.
    pub(crate) fn stop(self) -> Packets {
        let passed = self.lab.passed();
        self.over.store(true, Ordering::Relaxed);
        let packets = Packets { file: self.thread.join().unwrap() };
        let caught = packets.count();
        assert!(caught >= passed, "{caught} packets were caught of {passed}");
        packets
    }
}

impl Lab {
    /// How many packets came to the router and left it, as the kernel counts them.
    fn passed(&self) -> u64 {
        let table = self.router.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let counts = table.lines().filter_map(|line| {
            let (name, rest) = line.trim().split_once(':')?;
            let all: Vec<u64> = rest.split_whitespace().map(|count| count.parse().unwrap()).collect();
            // Received packets, and sent ones.
            (name != "lo").then(|| all[1] + all[9])
        });
        counts.sum()
    }
}

fn keep(socket: &OwnedFd, over: &AtomicBool) -> File {
    let mut file = BufWriter::new(tempfile::tempfile().unwrap());
    let mut packet = vec![0; PACKET_MAX];
    loop {
        match rustix::net::recv(socket, &mut packet[..], RecvFlags::TRUNC) {
            Ok((_, length)) => {
                assert!(length <= PACKET_MAX, "a packet of {length} bytes");
                file.write_all(&u32::try_from(length).unwrap().to_le_bytes()).unwrap();
                file.write_all(&packet[..length]).unwrap();
            }
            // Nothing is left, and nothing more is to come.
            Err(rustix::io::Errno::AGAIN) if over.load(Ordering::Relaxed) => break,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => panic!("catching packets: {error}"),
        }
    }
    file.into_inner().unwrap()
}

impl Packets {
    fn each(&self, mut look: impl FnMut(&[u8])) {
        let mut file = BufReader::with_capacity(1 << 20, &self.file);
        file.rewind().unwrap();
        let mut length = [0; 4];
        while file.read_exact(&mut length).is_ok() {
            let mut packet = vec![0; u32::from_le_bytes(length) as usize];
            file.read_exact(&mut packet).unwrap();
            look(&packet);
        }
    }

    fn count(&self) -> u64 {
        let mut count = 0;
        self.each(|_| count += 1);
        count
    }

    /// Bytes of what was said over TCP, each seen twice: as it came to the router, and as it left it.
    pub(crate) fn said(&self) -> u64 {
        let mut bytes = 0;
        self.each(|packet| bytes += Segment::of(packet).map_or(0, |segment| segment.said.len() as u64));
        bytes
    }

    /// Packets that are neither of a TCP connection between two of these nor there to find one of them, in words.
    pub(crate) fn strangers(&self, members: &[Ipv4Addr]) -> Vec<String> {
        let mut strangers = Vec::new();
        self.each(|packet| {
            let fits = match Segment::of(packet) {
                Some(segment) => members.contains(&segment.from) && members.contains(&segment.to),
                None => is_search(packet),
            };
            if !fits {
                strangers.push(words(packet));
            }
        });
        strangers
    }

    /// Who said any of these bytes to whom. Also found where they were cut in two.
    pub(crate) fn find(&self, wanted: &[(String, Vec<u8>)]) -> Vec<Sighting> {
        let longest = wanted.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0);
        let finders: Vec<_> = wanted.iter().map(|(what, bytes)| (what, memchr::memmem::Finder::new(bytes))).collect();
        let mut ends: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut found = Vec::new();
        self.each(|packet| {
            let Some(segment) = Segment::of(packet) else { return };
            let text = ends.entry(segment.stream(packet)).or_default();
            text.extend_from_slice(segment.said);
            for (what, finder) in &finders {
                if finder.find(text).is_some() {
                    let sighting = Sighting { what: (*what).clone(), from: segment.from, to: segment.to };
                    if !found.contains(&sighting) {
                        found.push(sighting);
                    }
                }
            }
            let over = text.len().saturating_sub(longest.saturating_sub(1));
            text.drain(..over);
        });
        found
    }
}

/// A packet of a TCP connection over IPv4.
struct Segment<'p> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    ports: &'p [u8],
    said: &'p [u8],
}

impl<'p> Segment<'p> {
    fn of(packet: &'p [u8]) -> Option<Self> {
        let ip = packet.get(ETHERNET..).filter(|_| packet[12..14] == [8, 0])?;
        let address = |at: usize| Some(Ipv4Addr::from(*ip.get(at..)?.first_chunk::<4>()?));
        let (from, to) = (address(12)?, address(16)?);
        let whole = usize::from(u16::from_be_bytes(*ip.get(2..)?.first_chunk()?));
        // What is filled up to the shortest packet was not said. The kernel's own long ones say no length.
        let ip = if whole == 0 { ip } else { ip.get(..whole)? };
        let tcp = ip.get(usize::from(ip[0] & 15) * 4..).filter(|_| ip[9] == TCP)?;
        let said = tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?;
        Some(Self { from, to, ports: &tcp[..4], said })
    }

    /// What is the same for all packets of one direction of a connection, on their way to the router or from it.
    fn stream(&self, packet: &[u8]) -> Vec<u8> {
        [&packet[..12], &self.from.octets(), &self.to.octets(), self.ports].concat()
    }
}

/// Whether a packet only asks, or tells, where the router or a machine is: ARP.
fn is_search(packet: &[u8]) -> bool {
    let place = |at: usize| packet.get(at..at + 2) == Some(&[10, 7]);
    packet.get(12..14) == Some(&[8, 6]) && place(ETHERNET + 14) && place(ETHERNET + 24)
}

fn words(packet: &[u8]) -> String {
    match packet.get(ETHERNET..ETHERNET + 20).filter(|_| packet[12..14] == [8, 0]) {
        Some(ip) => {
            let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
            let (protocol, more) = (ip[9], &packet[ETHERNET + 20..packet.len().min(ETHERNET + 60)]);
            format!("protocol {protocol} from {} to {}: {more:02x?}", address(12), address(16))
        }
        None => format!("{:02x?}", &packet[..packet.len().min(60)]),
    }
}
