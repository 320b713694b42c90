//! A way to a machine that takes its time: a relay at the router, under the machine's other address.

use crate::lab::{Lab, lock};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The relay. Dropped, it ends, and so does what goes through it.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    lab: Arc<Lab>,
}

struct Shared {
    to: SocketAddr,
    /// How long each byte is on its way.
    delay: Duration,
    over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// A way to what listens at `to`.
    pub(crate) fn new(lab: &Arc<Lab>, to: SocketAddr, delay: Duration) -> Self {
        let listener = lab.router.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let SocketAddr::V4(machine) = to else { panic!("{to}: the network has only IPv4") };
        let [a, b, c, _] = machine.ip().octets();
        let shared = Arc::new(Shared { to, delay, over: AtomicBool::new(false), streams: Mutex::default() });
        let its = shared.clone();
        // Its threads come from one that is at the router, and stay there.
        lab.router.enter(move || drop(std::thread::spawn(move || its.accept(&listener))));
        Self { address: (Ipv4Addr::new(a, b, c, 1), port).into(), shared, lab: lab.clone() }
    }

    /// How many connections have gone through it.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.shared.streams).len() / 2
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // It waits for somebody to come.
        let address = self.address;
        self.lab.router.enter(move || drop(TcpStream::connect(address)));
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for near in listener.incoming() {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            // Whoever is not there is so for whoever came, too.
            let (Ok(near), Ok(far)) = (near, TcpStream::connect(self.to)) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                to.set_nodelay(true).unwrap();
                lock(&self.streams).push(to.try_clone().unwrap());
                self.pump(from.try_clone().unwrap(), to.try_clone().unwrap());
            }
        }
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let (send, receive): (Sender<(Instant, Vec<u8>)>, _) = channel();
        let delay = self.delay;
        std::thread::spawn(move || {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                if send.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
                    return;
                }
            }
        });
        std::thread::spawn(move || {
            for (due, bytes) in receive {
                // This is the wire: what comes early waits.
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
