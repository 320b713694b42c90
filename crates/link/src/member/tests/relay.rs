//! A wire that the test can cut, or hold.

use super::*;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::spawn;

/// Passes bytes on between whoever dials it and a node.
pub(super) struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Bytes that still pass from the dialler to the node.
    left: Mutex<Option<usize>>,
    held: Mutex<bool>,
    changed: Condvar,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub(super) fn to(node: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, target) = (listener.local_addr().unwrap(), node.links.targets()[0]);
        let state = Arc::new(State::default());
        let shared = state.clone();
        spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(target) else { return };
                let both = [near.try_clone().unwrap(), far.try_clone().unwrap()];
                shared.sockets.lock().extend(both);
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (there, back) = (shared.clone(), shared.clone());
                spawn(move || there.pump(near, far, true));
                spawn(move || back.pump(far_too, near_too, false));
            }
        });
        Self { address, state }
    }

    pub(super) fn address(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Cuts the connection of now after so many more bytes, and no later one.
    pub(super) fn cut_after(&self, bytes: usize) {
        *self.state.left.lock() = Some(bytes);
    }

    /// Passes nothing on any more, and says nothing of it; or does again, to later connections.
    pub(super) fn hold(&self, on: bool) {
        *self.state.held.lock() = on;
        if !on {
            // What was held is lost with its connection.
            self.state.sockets.lock().drain(..).for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        }
        self.state.changed.notify_all();
    }
}

impl State {
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, there: bool) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut held = self.held.lock();
            while *held {
                self.changed.wait(&mut held);
            }
            drop(held);
            let mut left = self.left.lock();
            let passes = if there { left.map_or(count, |left| left.min(count)) } else { count };
            if there && let Some(bytes) = &mut *left {
                *bytes -= passes;
            }
            let cut = passes < count;
            if cut {
                *left = None;
            }
            drop(left);
            if to.write_all(&buffer[..passes]).is_err() || cut {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
