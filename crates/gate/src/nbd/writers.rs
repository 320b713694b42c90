//! Who writes to which export: one client at a time, unless they are to share it.
//!
//! A client may come by several connections, which are known to be its own by the process at the other end, or over TCP by
//! the machine. Whoever comes while another writes may read: looking at a disk that is in use harms nobody.

use crate::catalog::{Catalog, Refused};
use crate::device::{Device, Trouble};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// A process of this machine, by its number.
    Process(i32),
    /// Somebody on a machine.
    Host(IpAddr),
}

/// A connection, to those who ask whose it is.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u64,
    /// Nothing if the system does not say: then it is nobody else's.
    pub(crate) whom: Option<Whom>,
    pub(crate) socket: OwnedFd,
}

/// Who writes to which export.
#[derive(Debug, Default)]
pub(crate) struct Writers(Mutex<Vec<(String, Arc<Client>)>>);

impl Writers {
    /// From now on this client writes to the export; false if another does.
    pub(crate) fn enter(&self, export: &str, client: &Arc<Client>) -> bool {
        let mut all = self.0.lock();
        let free = !is_taken(&all, export, client);
        if free {
            all.push((export.to_owned(), client.clone()));
        }
        free
    }

    /// It has gone.
    pub(crate) fn leave(&self, number: u64) {
        self.0.lock().retain(|(_, client)| client.number != number);
    }

    fn is_taken(&self, export: &str, client: &Client) -> bool {
        is_taken(&self.0.lock(), export, client)
    }
}

fn is_taken(all: &[(String, Arc<Client>)], export: &str, client: &Client) -> bool {
    let same = |other: &Client| other.whom.is_some() && other.whom == client.whom;
    // Whoever has hung up writes no more, also if that has not been seen yet: a machine may be started again at once.
    all.iter().any(|(its, other)| its == export && !same(other) && !has_hung_up(other))
}

fn has_hung_up(client: &Client) -> bool {
    let mut polled = [PollFd::new(&client.socket, PollFlags::RDHUP)];
    let looked = poll(&mut polled, Some(&Timespec::default()));
    looked.is_ok_and(|count| count > 0)
        && polled[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR)
}

/// A catalog as one client sees it: what others write to can only be read.
pub(crate) struct Careful<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) writers: &'a Writers,
    pub(crate) client: &'a Client,
}

impl Catalog for Careful<'_> {
    fn list(&self) -> Result<Vec<String>, Refused> {
        self.catalog.list()
    }

    fn open(&self, name: &str) -> Result<(String, Arc<dyn Device>), Refused> {
        let (name, device) = self.catalog.open(name)?;
        if !device.is_writable() || !self.writers.is_taken(&name, self.client) {
            return Ok((name, device));
        }
        tracing::info!(export = name, "another client writes to it, so this one may only read");
        Ok((name, Arc::new(ReadOnly(device))))
    }
}

/// A device that somebody else writes to.
struct ReadOnly(Arc<dyn Device>);

impl ReadOnly {
    fn refused() -> Trouble {
        Trouble::new(Trouble::NOT_PERMITTED, "another client writes to it, so this one may only read")
    }
}

impl Device for ReadOnly {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn is_writable(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Trouble> {
        self.0.read(offset, into)
    }

    fn write(&self, _: u64, _: &[u8], _: bool) -> Result<(), Trouble> {
        Err(Self::refused())
    }

    fn zero(&self, _: u64, _: u64, _: bool) -> Result<(), Trouble> {
        Err(Self::refused())
    }

    fn flush(&self) -> Result<(), Trouble> {
        self.0.flush()
    }

    fn is_zero(&self, offset: u64, length: u64) -> Result<(bool, u64), Trouble> {
        self.0.is_zero(offset, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn one_writes_by_any_number_of_connections() {
        let writers = Writers::default();
        let mut others = Vec::new();
        let mut client = |number, whom| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            others.push(theirs);
            Arc::new(Client { number, whom, socket: ours.into() })
        };
        let (one, two) = (Some(Whom::Process(1)), Some(Whom::Process(2)));
        let [a, b, c, d, unknown, another] = [
            client(1, one),
            client(2, one),
            client(3, two),
            client(4, Some(Whom::Host([10, 0, 0, 1].into()))),
            client(5, None),
            client(6, None),
        ];
        assert!(writers.enter("x", &a) && writers.enter("x", &b));
        for other in [&c, &d, &unknown] {
            assert!(!writers.enter("x", other) && writers.is_taken("x", other));
        }
        assert!(writers.enter("y", &c), "another export");
        writers.leave(1);
        assert!(!writers.enter("x", &c), "there is a second connection");
        // It hangs up, and nobody has seen that yet.
        drop(others.remove(1));
        assert!(writers.enter("x", &unknown));
        assert!(!writers.enter("x", &another), "of two that nobody knows each may be anybody");
    }
}
