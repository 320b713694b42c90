//! Where a node listens.

use crate::connection::say_goodbye;
use crate::seam::Hosting;
use crate::shared::Shared;
use okapi_grid::Outbox;
use okapi_link::{Link, Target, TcpListen, UnixListen};
use okapi_store::Payload;
use okapi_wire::Status;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};

use crate::shared::Seat;

/// A listening socket of any kind.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListen),
    Tcp(TcpListen),
}

impl Listener {
    pub(crate) fn fd(&self) -> RawFd {
        match self {
            Self::Unix(listen) => listen.fd().as_raw_fd(),
            Self::Tcp(listen) => listen.fd().as_raw_fd(),
        }
    }

    pub(crate) fn target(&self) -> Target {
        match self {
            Self::Unix(listen) => Target::Unix(listen.path().to_owned()),
            Self::Tcp(listen) => {
                let address = listen.local_addr();
                Target::Tcp { host: address.ip().to_string(), port: address.port() }
            }
        }
    }

    fn accept(&mut self) -> io::Result<Box<dyn Link>> {
        match self {
            Self::Unix(listen) => listen.accept().map(|link| Box::new(link) as Box<dyn Link>),
            Self::Tcp(listen) => listen.accept().map(|link| Box::new(link) as Box<dyn Link>),
        }
    }

    /// Accepts all that wait. False: the system could not just now, try again in a little while.
    pub(crate) fn accept_all<H: Hosting>(
        &mut self,
        shared: &Shared<H>,
        mut welcome: impl FnMut(Box<dyn Link>, Seat),
    ) -> bool {
        loop {
            match self.accept() {
                Ok(link) => match shared.seats.take() {
                    Some(seat) => welcome(link, seat),
                    None => turn_away(link),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    return false;
                }
            }
        }
    }
}

/// Tells one too many why it cannot stay.
fn turn_away(mut link: Box<dyn Link>) {
    let mut outbox = Outbox::<Payload>::default();
    say_goodbye(&mut outbox, Status::Busy, "the node has as many connections as it takes; try again later");
    let mut parts: [&[u8]; 1] = [&[]];
    outbox.fill(&mut parts);
    // A link just made has room for so few bytes; and if not, there is nobody to tell.
    let _ = link.send(&[IoSlice::new(parts[0])]);
    link.close();
}
