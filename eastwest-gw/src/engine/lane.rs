//! One thread with its event loop: it accepts, and serves its connections to their end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use rustix::time::Timespec;

use super::conn::{Conn, Step};
use super::hello::Awaited;
use super::inbox::{Command, Inbox, Listening};
use super::side::Side;
use super::slab::{Key, Slab, Token};
use super::tools::Tools;
use super::wheel::Wheel;
use crate::access::Access;
use crate::shared::{Door, Seat, Shared};
use crate::{End, Moves};

/// Events taken from the system at once.
const EVENTS_MAX: usize = 256;

/// Connections accepted at once, before those there are have their turn.
const ACCEPTS_MAX: usize = 32;

/// After the system refused a connection (out of files, most likely), others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Lane {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    epoll: OwnedFd,
    connections: Slab<Conn>,
    wheel: Wheel,
    tools: Tools,
    /// Whose deadline may have come.
    due: Vec<u32>,
    doors: Vec<Entrance>,
    /// Who has more to do at once.
    more: VecDeque<Key>,
    /// The end of the drain time, once it has begun.
    drain: Option<Instant>,
    /// Whom it works on: if that fails, everyone else is served on.
    current: Option<Key>,
}

/// A socket that this lane accepts from, beside the others.
struct Entrance {
    listening: Arc<Listening>,
    /// How many are likely to be there: with one, no call is spent to find that there is no second.
    likely: usize,
    paused: Option<Instant>,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, inbox: Arc<Inbox>) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = EventData::new_u64(Token::Wake.to_u64());
        epoll::add(&epoll, inbox.bell(), wake, EventFlags::IN)?;
        let now = Instant::now();
        Ok(Self {
            tools: Tools::new(shared.path.moves == Moves::Adaptive, now),
            shared,
            inbox,
            epoll,
            connections: Slab::new(),
            wheel: Wheel::new(now),
            doors: Vec::new(),
            due: Vec::new(),
            more: VecDeque::new(),
            drain: None,
            current: None,
        })
    }

    /// Until it is told to stop. A failure at one connection ends that one alone.
    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while catch_unwind(AssertUnwindSafe(|| self.serve(&mut events))).is_err() {
            tracing::error!("a connection failed its event loop; it is closed, the others go on");
            if let Some(key) = self.current.take() {
                self.wheel.disarm(key.index);
                self.connections.free(key);
            }
        }
        for key in self.connections.keys() {
            if let Some(mut connection) = self.connections.take(key) {
                connection.over(End::Aborted, &mut self.tools);
            }
        }
        self.tools.tally.tell(&self.shared.metrics, Instant::now());
    }

    /// What is left from before a failure comes first: an edge is told once.
    fn serve(&mut self, events: &mut Vec<Event>) {
        loop {
            while let Some(event) = events.pop() {
                if self.heard(event).is_break() {
                    return;
                }
            }
            while let Some(index) = self.due.pop() {
                if let Some(key) = self.connections.key_at(index) {
                    self.step(key, Conn::at_deadline);
                }
            }
            for _ in 0..self.more.len() {
                if let Some(key) = self.more.pop_front() {
                    self.step(key, Conn::step);
                }
            }
            self.open_again();
            if self.tools.tally.due().is_some_and(|due| due <= self.tools.now) {
                self.tools.tally.tell(&self.shared.metrics, self.tools.now);
            }
            self.wait(events);
        }
    }

    fn wait(&mut self, events: &mut Vec<Event>) {
        let timeout = self.timeout();
        match epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => tracing::error!(%cause, "cannot wait for events"),
        }
        self.tools.now = Instant::now();
        self.wheel.expire(self.tools.now, &mut self.due);
    }

    fn heard(&mut self, event: Event) -> ControlFlow<()> {
        match Token::from_u64(event.data.u64()) {
            Token::Client(key) => self.event(key, |conn| Some(&mut conn.client), event.flags),
            Token::Target(key) => self.event(key, |conn| conn.target.as_mut(), event.flags),
            Token::Door(number) => self.accept(number),
            Token::Wake => return self.obey(),
        }
        ControlFlow::Continue(())
    }

    fn timeout(&self) -> Option<Timespec> {
        if !self.more.is_empty() {
            return Some(Timespec::default());
        }
        let now = self.tools.now;
        let paused = self.doors.iter().filter_map(|door| door.paused).min();
        let dated = [paused, self.tools.tally.due()].into_iter().flatten();
        let dated = dated.map(|at| at.saturating_duration_since(now));
        let wait = dated.chain(self.wheel.wait(now)).min()?;
        Timespec::try_from(wait).ok()
    }

    fn event(&mut self, key: Key, side: fn(&mut Conn) -> Option<&mut Side>, flags: EventFlags) {
        self.step(key, |conn, shared, drain, tools| {
            if let Some(side) = side(conn) {
                side.note(flags);
            }
            conn.step(shared, drain, tools)
        });
    }

    fn step(
        &mut self,
        key: Key,
        step: impl FnOnce(&mut Conn, &Shared, Option<Instant>, &mut Tools) -> Step,
    ) {
        let Some(mut connection) = self.connections.take(key) else { return };
        self.current = Some(key);
        let mut stepped = step(&mut connection, &self.shared, self.drain, &mut self.tools);
        if matches!(stepped, Step::Waiting)
            && let Err(cause) = connection.watch(self.epoll.as_fd(), key)
        {
            tracing::warn!(%cause, "cannot watch a connection");
            stepped = connection.over(End::Aborted, &mut self.tools);
        }
        match stepped {
            Step::Over => {
                // Whoever sees the close finds every byte counted.
                self.tools.tally.tell(&self.shared.metrics, self.tools.now);
                self.wheel.disarm(key.index);
                self.connections.free(key);
                self.current = None;
                drop(connection);
            }
            Step::Out(out) => {
                self.wheel.disarm(key.index);
                self.connections.free(key);
                self.current = None;
                connection.hand_over(*out, self.epoll.as_fd());
            }
            Step::Waiting | Step::More => {
                if matches!(stepped, Step::More) {
                    self.more.push_back(key);
                }
                if let Some(deadline) = connection.deadline(&self.shared) {
                    self.wheel.arm(key.index, deadline);
                }
                self.connections.put(key, connection);
            }
        }
        self.current = None;
    }

    fn accept(&mut self, number: u32) {
        let Some(door) = self.doors.iter().position(|door| door.listening.number == number) else {
            return;
        };
        let likely = self.doors[door].likely;
        let listening = Arc::clone(&self.doors[door].listening);
        let accepted = self.accept_from(&listening, likely);
        let door = &mut self.doors[door];
        match accepted {
            Ok(accepted) if accepted == likely => door.likely = (likely * 2).min(ACCEPTS_MAX),
            Ok(accepted) => door.likely = accepted.max(1),
            Err(cause) => {
                self.shared.metrics.accept_failures.inc();
                tracing::warn!(%cause, "cannot accept a connection");
                // It stays ready, and would be heard of again and again.
                if epoll::delete(&self.epoll, &listening.socket).is_ok() {
                    door.paused = Some(self.tools.now + ACCEPT_PAUSE);
                }
            }
        }
    }

    /// At most so many; how many there were.
    fn accept_from(&mut self, listening: &Listening, max: usize) -> Result<usize, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for accepted in 0..max {
            match acceptfrom_with(&listening.socket, flags) {
                Ok((socket, peer)) => self.admit(socket, peer, &listening.door),
                Err(Errno::AGAIN) => return Ok(accepted),
                Err(cause) if is_the_clients(cause) => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(max)
    }

    fn admit(&mut self, socket: OwnedFd, peer: Option<SocketAddrAny>, door: &Arc<Door>) {
        self.shared.metrics.accepted.inc();
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        let peer = peer.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
        // A socket of both families says ::ffff:10.0.0.1.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let now = self.tools.now;
        let access = Access::begin(Seat::take(&self.shared, door), peer, now);
        let announces = self.shared.announces(door, peer.ip());
        let awaited = Awaited::new(door, announces, now + self.shared.limits.hello);
        let key = self.connections.reserve();
        self.connections.put(key, Box::new(Conn::new(Side::new(socket), access, awaited)));
        self.step(key, |conn, shared, drain, tools| match shared.admits(door, peer) {
            Ok(()) => conn.step(shared, drain, tools),
            Err(end) => conn.shed(end),
        });
    }

    fn open_again(&mut self) {
        let now = self.tools.now;
        for door in &mut self.doors {
            if door.paused.is_some_and(|until| until <= now) {
                door.paused = match watch(&self.epoll, &door.listening) {
                    Ok(()) => None,
                    Err(_) => Some(now + ACCEPT_PAUSE),
                };
            }
        }
    }

    fn obey(&mut self) -> ControlFlow<()> {
        for command in self.inbox.take() {
            match command {
                Command::Open(listening) => self.open(listening),
                Command::Close(number) => self.close(number),
                Command::Drain(end) => self.begin_drain(end),
                Command::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn open(&mut self, listening: Arc<Listening>) {
        let paused = watch(&self.epoll, &listening).err().map(|cause| {
            tracing::warn!(%cause, "cannot watch a listening socket, trying again");
            self.tools.now + ACCEPT_PAUSE
        });
        self.doors.push(Entrance { listening, likely: 1, paused });
    }

    /// Takes those for whom the kernel has already said yes: closing the socket would reset them.
    fn close(&mut self, number: u32) {
        let Some(door) = self.doors.iter().position(|door| door.listening.number == number) else {
            return;
        };
        let Entrance { listening, paused, .. } = self.doors.swap_remove(door);
        if paused.is_none() {
            let _ = epoll::delete(&self.epoll, &listening.socket);
        }
        let backlog = self.shared.limits.backlog as usize;
        if let Err(cause) = self.accept_from(&listening, backlog) {
            self.shared.metrics.accept_failures.inc();
            tracing::warn!(%cause, "cannot accept the last connections");
        }
    }

    fn begin_drain(&mut self, end: Instant) {
        if self.drain.is_some() {
            return;
        }
        self.drain = Some(end);
        let time = self.shared.drain.time();
        for key in self.connections.keys() {
            self.step(key, |conn, _, _, _| {
                conn.drain(end, time);
                Step::Waiting
            });
        }
    }
}

/// Of all lanes that wait for this socket, the system wakes one.
fn watch(epoll: &OwnedFd, listening: &Listening) -> Result<(), Errno> {
    let name = EventData::new_u64(Token::Door(listening.number).to_u64());
    epoll::add(epoll, &listening.socket, name, EventFlags::IN | EventFlags::EXCLUSIVE)
}

/// Accept also tells of faults that a connection has already; accept(2) lists them.
fn is_the_clients(cause: Errno) -> bool {
    matches!(
        cause,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::PERM
    )
}
