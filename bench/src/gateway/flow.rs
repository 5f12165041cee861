//! One end of a connection: what it sends and what it expects.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Instant;

use mio::net::TcpStream;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create, sendfile};
use rustix::net::{RecvFlags, recv};

use super::hello::{HELLO_BYTES, Mode};

pub(super) const ANSWER_BYTES: usize = 64;
const REQUEST_BYTES: usize = 100;
const RESPONSE_BYTES: usize = 200;
pub(super) const BURST_BYTES: usize = 64 * 1024;
const CHUNK_BYTES: usize = 1 << 20;
/// At one turn of one connection, so that others get theirs.
const TURN_BYTES: usize = 4 << 20;

/// What flows share.
#[derive(Debug)]
pub(super) struct Supplies {
    pub(super) buffer: Vec<u8>,
    file: OwnedFd,
    /// Bulk is read into memory and written from it; otherwise neither.
    pub(super) copies: bool,
    /// Another request follows each answer.
    pub(super) asks_on: bool,
}

impl Supplies {
    pub(super) fn new() -> anyhow::Result<Self> {
        let file = memfd_create("bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, CHUNK_BYTES as u64)?;
        Ok(Self { buffer: vec![0; CHUNK_BYTES], file, copies: false, asks_on: false })
    }
}

/// What was seen in a while.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) connections: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Microseconds, of messages or of connections.
    pub(super) latencies: Vec<f64>,
    pub(super) failures: u64,
}

impl Seen {
    pub(super) fn add(&mut self, more: Self) {
        self.connections += more.connections;
        self.messages += more.messages;
        self.bytes += more.bytes;
        self.latencies.extend(more.latencies);
        self.failures += more.failures;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Waits,
    HasMore,
    Ended,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) stream: TcpStream,
    pub(super) side: Side,
    /// Known to the backend when it has read the hello.
    pub(super) mode: Option<Mode>,
    /// A client's: not sent yet. A backend's: read so far.
    hello: Vec<u8>,
    /// Of the message that comes.
    received: usize,
    /// To be sent.
    owed: usize,
    since: Instant,
}

impl Flow {
    pub(super) fn client(stream: TcpStream, mode: Mode, hello: Vec<u8>) -> Self {
        let (side, mode) = (Side::Client, Some(mode));
        Self { stream, side, mode, hello, received: 0, owed: 0, since: Instant::now() }
    }

    pub(super) fn backend(stream: TcpStream) -> Self {
        let (side, hello) = (Side::Backend, Vec::with_capacity(HELLO_BYTES));
        Self { stream, side, mode: None, hello, received: 0, owed: 0, since: Instant::now() }
    }

    pub(super) fn ask(&mut self, since: Instant) {
        self.since = since;
        self.owed += if self.mode == Some(Mode::Idle) { 1 } else { REQUEST_BYTES };
    }

    pub(super) fn progress(&mut self, with: &mut Supplies, seen: &mut Seen) -> io::Result<Next> {
        if self.side == Side::Client && !self.hello.is_empty() {
            let Some(sent) = given(self.stream.write(&self.hello))? else {
                return Ok(Next::Waits);
            };
            self.hello.drain(..sent);
        }
        if self.mode.is_none() && !self.read_hello()? {
            return Ok(Next::Waits);
        }
        match (self.side, self.mode) {
            (Side::Client, Some(Mode::Connect)) => self.await_answer(with, seen),
            (Side::Backend, Some(Mode::Connect)) => {
                self.stream.write_all(&with.buffer[..ANSWER_BYTES])?;
                Ok(Next::Ended)
            }
            (Side::Client, Some(Mode::Up)) | (Side::Backend, Some(Mode::Down)) => self.pour(with),
            (Side::Client, Some(Mode::Down)) | (Side::Backend, Some(Mode::Up)) => {
                self.drink(with, seen)
            }
            (_, Some(Mode::Request | Mode::Idle)) => self.converse(with, seen),
            (_, None) => Ok(Next::Waits),
        }
    }

    fn read_hello(&mut self) -> io::Result<bool> {
        let mut rest = [0; HELLO_BYTES];
        let room = HELLO_BYTES - self.hello.len();
        match given(self.stream.read(&mut rest[..room]))? {
            Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Some(read) => self.hello.extend(&rest[..read]),
            None => {}
        }
        let whole = self.hello.len() == HELLO_BYTES;
        self.mode = if whole { Mode::of(&self.hello) } else { None };
        Ok(self.mode.is_some())
    }

    fn await_answer(&mut self, with: &mut Supplies, seen: &mut Seen) -> io::Result<Next> {
        while let Some(read) = given(self.stream.read(&mut with.buffer))? {
            self.received += read;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if self.received >= ANSWER_BYTES {
                seen.connections += 1;
                seen.latencies.push(self.since.elapsed().as_secs_f64() * 1e6);
                return Ok(Next::Ended);
            }
        }
        Ok(Next::Waits)
    }

    fn pour(&mut self, with: &Supplies) -> io::Result<Next> {
        let mut left = TURN_BYTES;
        while left > 0 {
            let sent = if with.copies {
                self.stream.write(&with.buffer)
            } else {
                sendfile(&self.stream, &with.file, Some(&mut 0), CHUNK_BYTES).map_err(Into::into)
            };
            let Some(sent) = given(sent)? else { return Ok(Next::Waits) };
            left = left.saturating_sub(sent);
        }
        Ok(Next::HasMore)
    }

    fn drink(&mut self, with: &mut Supplies, seen: &mut Seen) -> io::Result<Next> {
        let mut left = TURN_BYTES;
        while left > 0 {
            let read = if with.copies {
                self.stream.read(&mut with.buffer)
            } else {
                let all = &mut with.buffer[..];
                recv(&self.stream, all, RecvFlags::TRUNC).map(|(read, _)| read).map_err(Into::into)
            };
            match given(read)? {
                None => return Ok(Next::Waits),
                Some(0) => return Ok(Next::Ended),
                Some(read) => {
                    seen.bytes += read as u64;
                    left = left.saturating_sub(read);
                }
            }
        }
        Ok(Next::HasMore)
    }

    /// Sends what it owes, and reads what comes; each whole message calls for the next.
    fn converse(&mut self, with: &mut Supplies, seen: &mut Seen) -> io::Result<Next> {
        loop {
            while self.owed > 0 {
                let some = self.owed.min(CHUNK_BYTES);
                let Some(sent) = given(self.stream.write(&with.buffer[..some]))? else { break };
                self.owed -= sent;
            }
            match given(self.stream.read(&mut with.buffer))? {
                None => return Ok(Next::Waits),
                Some(0) => return Ok(Next::Ended),
                Some(read) => self.heard(read, with.asks_on, seen),
            }
        }
    }

    fn heard(&mut self, read: usize, asks_on: bool, seen: &mut Seen) {
        self.received += read;
        let idle = self.mode == Some(Mode::Idle);
        match self.side {
            Side::Backend => {
                let (asks, answers) =
                    if idle { (1, BURST_BYTES) } else { (REQUEST_BYTES, RESPONSE_BYTES) };
                self.owed += self.received / asks * answers;
                self.received %= asks;
            }
            Side::Client if idle => seen.bytes += read as u64,
            Side::Client => {
                while self.received >= RESPONSE_BYTES {
                    self.received -= RESPONSE_BYTES;
                    seen.messages += 1;
                    seen.latencies.push(self.since.elapsed().as_secs_f64() * 1e6);
                    if asks_on {
                        self.ask(Instant::now());
                    }
                }
            }
        }
    }
}

/// `None`: not now.
fn given(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
