//! What the other end asks of us, or hands us beside the bytes.

use super::{Connection, Deadline, Nothing};
use crate::fault::Fault;
use okapi_grid::{Answered, Backend, ask};
use okapi_link::{Interest, Kind};
use okapi_wire::{Header, Op, Status};
use std::os::fd::{BorrowedFd, OwnedFd};

impl Connection {
    /// Answers what has come until there is `enough` to see to; waits at most `patience` if nothing has. Says how many
    /// asks were answered. Replies held back stay so until [`Connection::release`].
    pub(crate) fn serve<B: Backend<Payload = Nothing>>(
        &mut self,
        backend: &mut B,
        patience: &Deadline,
        enough: impl Fn(&B) -> bool,
    ) -> Result<usize, Fault> {
        let mut answered = 0;
        loop {
            while let Some(header) = self.front()? {
                if header.is_reply() {
                    return Err(self.nonsense("it answers what was never asked"));
                }
                let frame = self.inbox.next_frame();
                let frame = frame.expect("the frame was whole a moment ago").expect("the frame was there a moment ago");
                let verdict = okapi_grid::answer(&frame, backend, &mut self.outbox);
                assert!(matches!(verdict, Answered::Yes | Answered::Last), "a follower answers at once");
                answered += 1;
                if verdict == Answered::Last || enough(backend) {
                    return Ok(answered);
                }
            }
            if self.try_receive()? {
                continue;
            }
            if answered > 0 || patience.is_over() {
                return Ok(answered);
            }
            if self.link.about_to_wait(Interest::Receive)
                && let Err(error) = self.link.wait(Interest::Receive, Some(patience.left()))
            {
                return Err(self.break_off(&error));
            }
        }
    }

    /// Sends the replies held back.
    pub(crate) fn release(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        self.outbox.release(|_| okapi_base::Ticket(u64::MAX));
        self.flush(deadline)
    }

    /// Asks for the part of the grid's shared map from segment `from` on: its descriptors and its layout.
    pub(crate) fn map_part(
        &mut self,
        handle: u32,
        from: u32,
        deadline: &Deadline,
    ) -> Result<(Vec<OwnedFd>, Vec<u8>), Fault> {
        if self.link.facts().kind != Kind::Unix {
            return Err(Fault::refused(Status::Unsupported));
        }
        self.link.expect_fds(true);
        drop(self.link.take_fds());
        let request = self.next_request();
        self.outbox.message(Header::ask(Op::Map, request, handle), |body| body.extend_from_slice(&from.to_le_bytes()));
        let layout = self.reply(request, deadline, |frame| {
            ask::accept(frame, Op::Map)?;
            Ok(frame.descriptors.to_vec())
        });
        self.link.expect_fds(false);
        Ok((self.link.take_fds(), layout?))
    }

    /// Waits for the end of the connection, on which nothing more is asked.
    pub(crate) fn watch(&mut self, deadline: &Deadline) -> Fault {
        match self.arrived(deadline) {
            Ok(_) => self.nonsense("it answers what was never asked"),
            Err(fault) => fault,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }
}
