//! One direction of a connection: bytes from one socket to the other, and then the end.
//!
//! It copies through the lane's one buffer until several reads in a row were full; then it splices
//! through a pipe, until reads are small again. Whichever way, it reads nothing new while bytes are
//! unsent: what a slow reader holds up is one buffer or one pipe.

use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{SpliceFlags, splice};

use super::pipe::Pipe;
use super::side::Side;
use super::tools::Tools;
use crate::metrics::Direction;

/// Full reads in a row after which a direction is bulky, and small ones after which it is not.
const STREAK: u8 = 4;

/// A splice of less is a small one.
const BULKY_BYTES: usize = 64 * 1024;

/// Then others have their turn.
const TURN_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Way {
    direction: Direction,
    /// Read and not sent, from `sent` on. Allocated only while there is any.
    unsent: Vec<u8>,
    sent: usize,
    pipe: Option<Pipe>,
    /// Full reads in a row while it copies, small ones while it splices.
    streak: u8,
    end: WayEnd,
    pub(super) passed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WayEnd {
    Open,
    /// Nothing more will be read.
    Read,
    /// And all of it was sent.
    Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// For one of its sockets.
    Waiting,
    /// There is more to do at once.
    More,
    /// The end was read and everything before it sent.
    Ended,
}

/// Which socket failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    From,
    To,
}

impl Way {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            direction,
            unsent: Vec::new(),
            sent: 0,
            pipe: None,
            streak: 0,
            end: WayEnd::Open,
            passed: 0,
        }
    }

    /// With `held` to be sent first, of which `sent` went out already.
    pub(super) fn beginning(
        direction: Direction,
        held: Vec<u8>,
        sent: usize,
        tools: &mut Tools,
    ) -> Self {
        let mut way = Self::new(direction);
        way.count(sent, tools);
        if sent < held.len() {
            (way.unsent, way.sent) = (held, sent);
        }
        way
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end == WayEnd::Sent
    }

    /// One that carries something is not taken from it.
    pub(super) fn has_idle_pipe(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.held == 0)
    }

    /// Gives the pipe back where it carries nothing.
    pub(super) fn rest(&mut self, tools: &mut Tools) {
        if self.has_idle_pipe() {
            self.give_up_pipe(tools);
        }
    }

    pub(super) fn give_up_pipe(&mut self, tools: &mut Tools) {
        self.streak = 0;
        if let Some(pipe) = self.pipe.take() {
            tools.pipes.give_back(pipe);
        }
    }

    pub(super) fn turn(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        tools: &mut Tools,
    ) -> Result<Turn, Fault> {
        let mut moved = 0;
        loop {
            if !self.flush(to, tools).map_err(|_| Fault::To)? {
                return Ok(Turn::Waiting);
            }
            if self.end == WayEnd::Read {
                self.end = WayEnd::Sent;
                self.give_up_pipe(tools);
                return Ok(Turn::Ended);
            }
            if !from.readable {
                return Ok(Turn::Waiting);
            }
            if moved >= TURN_BYTES_MAX {
                return Ok(Turn::More);
            }
            moved += match self.pipe {
                Some(_) => self.splice_in(from, tools).map_err(|_| Fault::From)?,
                None => self.copy(from, to, tools)?,
            };
        }
    }

    /// Whether nothing is left unsent.
    fn flush(&mut self, to: &mut Side, tools: &mut Tools) -> Result<bool, Errno> {
        while self.sent < self.unsent.len() {
            if !to.writable {
                return Ok(false);
            }
            let sent = to.send(&self.unsent[self.sent..])?;
            self.sent += sent;
            self.count(sent, tools);
        }
        if !self.unsent.is_empty() {
            (self.unsent, self.sent) = (Vec::new(), 0);
        }
        while let Some(held) = self.pipe.as_ref().map(|pipe| pipe.held).filter(|held| *held > 0) {
            if !to.writable {
                return Ok(false);
            }
            let sent = self.splice_out(to, held)?;
            self.count(sent, tools);
            tools.tally.spliced += sent as u64;
        }
        if self.pipe.is_some() && self.streak >= STREAK {
            self.give_up_pipe(tools);
        }
        Ok(true)
    }

    fn copy(&mut self, from: &mut Side, to: &mut Side, tools: &mut Tools) -> Result<usize, Fault> {
        let Some(read) = from.recv(&mut tools.scratch).map_err(|_| Fault::From)? else {
            return Ok(0);
        };
        if read == 0 {
            self.end = WayEnd::Read;
            return Ok(0);
        }
        let sent = to.send(&tools.scratch[..read]).map_err(|_| Fault::To)?;
        self.count(sent, tools);
        if sent < read {
            self.unsent = tools.scratch[sent..read].to_vec();
        }
        self.streak = if read == tools.scratch.len() { self.streak + 1 } else { 0 };
        if self.streak >= STREAK {
            self.streak = 0;
            self.pipe = tools.pipes.borrow(tools.now);
        }
        Ok(read)
    }

    /// Into an empty pipe.
    fn splice_in(&mut self, from: &mut Side, tools: &mut Tools) -> Result<usize, Errno> {
        let Some(pipe) = &mut self.pipe else { return Ok(0) };
        let into = || splice(&from.fd, None, &pipe.write, None, pipe.capacity, splice_flags());
        match retry_on_intr(into) {
            Ok(0) => self.end = WayEnd::Read,
            Ok(read) => {
                pipe.held = read;
                self.streak = if read < BULKY_BYTES { self.streak + 1 } else { 0 };
                return Ok(read);
            }
            Err(Errno::AGAIN) => from.readable = false,
            // This kind of socket is not spliced here.
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                tools.pipes.forbid();
                self.give_up_pipe(tools);
            }
            Err(cause) => return Err(cause),
        }
        Ok(0)
    }

    fn splice_out(&mut self, to: &mut Side, held: usize) -> Result<usize, Errno> {
        let Some(pipe) = &mut self.pipe else { return Ok(0) };
        let out = || splice(&pipe.read, None, &to.fd, None, held, splice_flags());
        match retry_on_intr(out) {
            Ok(sent) => {
                pipe.held -= sent;
                Ok(sent)
            }
            Err(Errno::AGAIN) => {
                to.writable = false;
                Ok(0)
            }
            Err(cause) => Err(cause),
        }
    }

    fn count(&mut self, bytes: usize, tools: &mut Tools) {
        self.passed += bytes as u64;
        tools.tally.bytes[self.direction as usize] += bytes as u64;
    }
}

fn splice_flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}
