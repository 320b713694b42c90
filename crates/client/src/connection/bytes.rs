//! Moving bytes: all that waits for the link.

use super::{Connection, Deadline, PARTS};
use crate::fault::Fault;
use okapi_link::Interest;
use okapi_wire::PutAsk;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

impl Connection {
    pub(crate) fn flush(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        if self.broken {
            return Err(Fault::Broken { why: "it was broken already".to_owned() });
        }
        while !self.outbox.is_idle() {
            let mut parts: [&[u8]; 8] = [&[]; 8];
            let count = self.outbox.fill(&mut parts);
            let parts = parts.map(IoSlice::new);
            match self.link.send(&parts[..count]) {
                Ok(count) => {
                    self.outbox.sent(count);
                    self.sent_bytes += count as u64;
                }
                Err(error) => self.wait_to_send(&error, deadline)?,
            }
        }
        Ok(())
    }

    pub(super) fn send_with_payloads(
        &mut self,
        head: &[u8],
        puts: &[(PutAsk, &[u8])],
        deadline: &Deadline,
    ) -> Result<(), Fault> {
        // The part that is sent next (0 is the head) and how much of it is sent already.
        let (mut at, mut done) = (0, 0);
        let part = |at: usize| if at == 0 { head } else { puts[at - 1].1 };
        loop {
            let mut parts = [IoSlice::new(&[]); PARTS];
            let mut count = 0;
            while count < PARTS && at + count <= puts.len() {
                let skipped = if count == 0 { done } else { 0 };
                parts[count] = IoSlice::new(&part(at + count)[skipped..]);
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            if parts[..count].iter().all(|part| part.is_empty()) {
                (at, done) = (at + count, 0);
                continue;
            }
            match self.link.send(&parts[..count]) {
                Ok(mut sent) => {
                    self.sent_bytes += sent as u64;
                    while at <= puts.len() && sent >= part(at).len() - done {
                        sent -= part(at).len() - done;
                        (at, done) = (at + 1, 0);
                    }
                    done += sent;
                }
                Err(error) => self.wait_to_send(&error, deadline)?,
            }
        }
    }

    /// Waits for room to send. Takes in replies meanwhile: the other end may itself be waiting for us to do so.
    fn wait_to_send(&mut self, error: &io::Error, deadline: &Deadline) -> Result<(), Fault> {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(self.last_words(error));
        }
        loop {
            while let Some(header) = self.front()? {
                if !header.is_reply() {
                    // It waits its turn in the inbox, which is full then: only room to send helps now.
                    return self.wait(Interest::Send, deadline).map(drop);
                }
                self.put_aside()?;
            }
            if !self.try_receive()? {
                break;
            }
        }
        if self.spin.is_worth_it() {
            let began = Instant::now();
            while began.elapsed() < self.spin.most() {
                match self.link.wait(Interest::Both, Some(Duration::ZERO)) {
                    Ok(false) => {}
                    Ok(true) => {
                        self.spin.paid_off();
                        return Ok(());
                    }
                    Err(error) => return Err(self.break_off(&error)),
                }
            }
            self.spin.was_in_vain();
        }
        self.wait(Interest::Both, deadline).map(drop)
    }

    /// Receives something, waiting for it if need be.
    pub(super) fn receive(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        if self.try_receive()? {
            return Ok(());
        }
        if self.spin.is_worth_it() {
            let began = Instant::now();
            while began.elapsed() < self.spin.most() {
                std::hint::spin_loop();
                if self.try_receive()? {
                    self.spin.paid_off();
                    return Ok(());
                }
            }
            self.spin.was_in_vain();
        }
        loop {
            self.wait(Interest::Receive, deadline)?;
            if self.try_receive()? {
                return Ok(());
            }
        }
    }

    fn wait(&mut self, interest: Interest, deadline: &Deadline) -> Result<(), Fault> {
        let left = deadline.left();
        if left.is_zero() {
            self.break_off(&"no answer came in time");
            return Err(Fault::TimedOut { after: deadline.whole, changes: false });
        }
        if self.link.about_to_wait(interest)
            && let Err(error) = self.link.wait(interest, Some(left))
        {
            return Err(self.break_off(&error));
        }
        Ok(())
    }

    pub(super) fn try_receive(&mut self) -> Result<bool, Fault> {
        match self.link.receive(self.inbox.space()) {
            Ok(0) => Err(self.break_off(&"the other end closed it")),
            Ok(count) => {
                self.inbox.received(count);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(self.break_off(&error)),
        }
    }

    /// After a failed send: what the other end may have said before it closed.
    fn last_words(&mut self, error: &io::Error) -> Fault {
        loop {
            match self.front() {
                Err(fault) => return fault,
                Ok(Some(header)) if header.is_reply() => {
                    if let Err(fault) = self.put_aside() {
                        return fault;
                    }
                    continue;
                }
                Ok(Some(_)) => break,
                Ok(None) => {}
            }
            if !matches!(self.try_receive(), Ok(true)) {
                break;
            }
        }
        self.break_off(error)
    }

    pub(super) fn break_off(&mut self, why: &dyn std::fmt::Display) -> Fault {
        self.broken = true;
        self.link.close();
        Fault::Broken { why: why.to_string() }
    }

    pub(super) fn nonsense(&mut self, why: impl std::fmt::Display) -> Fault {
        self.broken = true;
        self.link.close();
        Fault::Nonsense { why: why.to_string() }
    }
}
