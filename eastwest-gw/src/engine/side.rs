//! One socket of a connection, and what is known of it without asking the system.
//!
//! Readiness comes as an edge and is remembered until a call says otherwise. A read that fills less
//! than its buffer has emptied the socket: what comes later is an edge again. Only the end has no
//! second one, so after it was announced reading goes on until the system says it.

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::slab::Token;

#[derive(Debug)]
pub(super) struct Side {
    pub(super) fd: OwnedFd,
    watched: Watched,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// An end was announced, orderly or not.
    pub(super) ended: bool,
    pub(super) broke: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    No,
    Reads,
    Both,
}

impl Side {
    /// Nothing is known yet: both are worth an attempt.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            watched: Watched::No,
            readable: true,
            writable: true,
            ended: false,
            broke: false,
        }
    }

    /// Of a socket that is only just connected to: nobody speaks there before being spoken to.
    pub(super) fn silent(fd: OwnedFd) -> Self {
        Self { readable: false, ..Self::new(fd) }
    }

    /// `None`: nothing now. Zero is the end.
    pub(super) fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        let room = buffer.len();
        match retry_on_intr(|| recv(&self.fd, &mut *buffer, RecvFlags::empty())) {
            Ok((_, read)) => {
                self.readable = read == room || self.ended || read == 0;
                Ok(Some(read))
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Ok(None)
            }
            Err(cause) => Err(cause),
        }
    }

    /// How many went out; fewer than there are: no more for now.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        match retry_on_intr(|| send(&self.fd, bytes, SendFlags::NOSIGNAL)) {
            Ok(sent) => {
                self.writable = sent == bytes.len();
                Ok(sent)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Ok(0)
            }
            Err(cause) => Err(cause),
        }
    }

    pub(super) fn note(&mut self, flags: EventFlags) {
        self.broke |= flags.contains(EventFlags::ERR);
        self.ended |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        self.readable |= self.ended || flags.contains(EventFlags::IN);
        self.writable |= self.broke || flags.intersects(EventFlags::OUT | EventFlags::HUP);
    }

    /// The socket, of which nobody is told any more.
    pub(super) fn unwatched(self, epoll: BorrowedFd<'_>) -> OwnedFd {
        if self.watched != Watched::No {
            // What is still told of it names a connection that is gone.
            let _ = epoll::delete(epoll, &self.fd);
        }
        self.fd
    }

    /// Asks to be told of what is missing. A socket that was never full is not asked about: most
    /// are never.
    pub(super) fn watch(&mut self, epoll: BorrowedFd<'_>, token: Token) -> Result<(), Errno> {
        let reads = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        let wanted = if self.writable { Watched::Reads } else { Watched::Both };
        let flags = if self.writable { reads } else { reads | EventFlags::OUT };
        let name = EventData::new_u64(token.to_u64());
        match (self.watched, wanted) {
            (Watched::No, _) => epoll::add(epoll, &self.fd, name, flags)?,
            (Watched::Reads, Watched::Both) => epoll::modify(epoll, &self.fd, name, flags)?,
            (Watched::Reads, _) | (Watched::Both, _) => return Ok(()),
        }
        self.watched = wanted;
        Ok(())
    }
}
