//! Clients and the backend behind the gateway, on one thread of one core: neither is what is
//! measured.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

pub(super) use super::flow::Seen;
use super::flow::{BURST_BYTES, Flow, Next, Side, Supplies};
use super::hello::{HELLO_BYTES, Mode, hello};

const LISTENER: Token = Token(usize::MAX);
const SOURCES: u64 = 250;
const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();
/// Nothing may stand still for longer.
const STALL_MAX: Duration = Duration::from_secs(20);

/// Whom clients call, by which name.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) to: SocketAddr,
    pub(super) name: String,
}

pub(super) struct Load {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    pub(super) backend: SocketAddr,
    flows: Vec<Option<Flow>>,
    free: Vec<usize>,
    /// Whose turn was over before their bytes were.
    again: Vec<usize>,
    seen: Seen,
    with: Supplies,
    /// Another connection begins when one has ended.
    renews: Option<Call>,
    opened: u64,
}

impl Load {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0).into())?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1_024),
            backend: listener.local_addr()?,
            listener,
            flows: Vec::new(),
            free: Vec::new(),
            again: Vec::new(),
            seen: Seen::default(),
            with: Supplies::new()?,
            renews: None,
            opened: 0,
        })
    }

    /// `count` at a time, each anew when it has its answer.
    pub(super) fn connect_on(&mut self, call: &Call, count: usize) -> anyhow::Result<()> {
        self.renews = Some(call.clone());
        self.open(call, Mode::Connect, count)
    }

    /// Bytes one way, without end.
    pub(super) fn pour(
        &mut self,
        call: &Call,
        mode: Mode,
        count: usize,
        copies: bool,
    ) -> anyhow::Result<()> {
        self.with.copies = copies;
        self.open(call, mode, count)?;
        self.settle(count)
    }

    /// One request at a time on each.
    pub(super) fn ask_on(&mut self, call: &Call, count: usize) -> anyhow::Result<()> {
        self.with.asks_on = true;
        self.open(call, Mode::Request, count)?;
        self.settle(count)?;
        for index in self.clients() {
            self.ask(index, Instant::now())?;
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, call: &Call, count: usize) -> anyhow::Result<()> {
        // In parts, so that no queue of the peer's runs over.
        for part in 1..=count.div_ceil(500) {
            let upto = (part * 500).min(count);
            self.open(call, Mode::Idle, upto - self.clients().len())?;
            self.settle(upto)?;
        }
        Ok(())
    }

    /// So many requests a second over all connections, whether or not answers came.
    pub(super) fn ask_by_the_clock(
        &mut self,
        call: &Call,
        count: usize,
        rate: u32,
        time: Duration,
    ) -> anyhow::Result<Seen> {
        self.with.asks_on = false;
        self.open(call, Mode::Request, count)?;
        self.settle(count)?;
        self.seen = Seen::default();
        let clients = self.clients();
        let (begin, mut asked) = (Instant::now(), 0_u32);
        while begin.elapsed() < time {
            let due = begin + Duration::from_secs(1) * asked / rate;
            if due <= Instant::now() {
                self.ask(clients[asked as usize % clients.len()], due)?;
                asked += 1;
            }
            self.turn(Duration::ZERO)?;
        }
        Ok(std::mem::take(&mut self.seen))
    }

    /// What happens in that time.
    pub(super) fn watch(&mut self, time: Duration) -> anyhow::Result<Seen> {
        self.seen = Seen::default();
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.turn(Duration::from_millis(2))?;
        }
        Ok(std::mem::take(&mut self.seen))
    }

    /// Each idle client asks for a burst, and gets it.
    pub(super) fn burst(&mut self) -> anyhow::Result<()> {
        let clients = self.clients();
        self.seen = Seen::default();
        for &index in &clients {
            self.ask(index, Instant::now())?;
        }
        let (begin, wanted) = (Instant::now(), (clients.len() * BURST_BYTES) as u64);
        while self.seen.bytes < wanted {
            self.turn(Duration::from_millis(5))?;
            let got = self.seen.bytes;
            ensure!(begin.elapsed() < STALL_MAX, "only {got} of {wanted} bytes came");
        }
        Ok(())
    }

    /// Connections that have said half of their hello; they live as long as what is returned.
    pub(super) fn halves(call: &Call, count: usize) -> anyhow::Result<Vec<std::net::TcpStream>> {
        let half = &hello(&call.name, Mode::Idle)[..HELLO_BYTES / 2];
        let one = |number| {
            let mut stream = connect(call.to, number)?;
            stream.set_nonblocking(false)?;
            stream.write_all(half)?;
            anyhow::Ok(stream)
        };
        (0..count as u64).map(one).collect()
    }

    pub(super) fn close_all(&mut self) -> anyhow::Result<()> {
        self.renews = None;
        for index in self.clients() {
            self.flows[index] = None;
            self.free.push(index);
        }
        // Backends end when the gateway tells them so.
        let begin = Instant::now();
        while self.flows.iter().any(Option::is_some) && begin.elapsed() < STALL_MAX {
            self.turn(Duration::from_millis(5))?;
        }
        self.flows.clear();
        self.free.clear();
        self.again.clear();
        Ok(())
    }

    fn clients(&self) -> Vec<usize> {
        let all = self.flows.iter().enumerate();
        let is_client = |flow: &Flow| flow.side == Side::Client;
        all.filter(|(_, flow)| flow.as_ref().is_some_and(is_client)).map(|(at, _)| at).collect()
    }

    /// Until that many hellos have come to the backend.
    fn settle(&mut self, count: usize) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            let backends = self.flows.iter().flatten().filter(|flow| flow.side == Side::Backend);
            let got = backends.filter(|flow| flow.mode.is_some()).count();
            if got >= count {
                return Ok(());
            }
            if begin.elapsed() > STALL_MAX {
                bail!("only {got} of {count} connections came through");
            }
            self.turn(Duration::from_millis(5))?;
        }
    }

    fn open(&mut self, call: &Call, mode: Mode, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            self.opened += 1;
            let stream = TcpStream::from_std(connect(call.to, self.opened)?);
            self.add(Flow::client(stream, mode, hello(&call.name, mode)))?;
        }
        Ok(())
    }

    fn add(&mut self, mut flow: Flow) -> anyhow::Result<()> {
        let index = self.free.pop().unwrap_or(self.flows.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut flow.stream, Token(index), interest)?;
        if index == self.flows.len() {
            self.flows.push(None);
        }
        self.flows[index] = Some(flow);
        Ok(())
    }

    fn ask(&mut self, index: usize, since: Instant) -> anyhow::Result<()> {
        if let Some(flow) = self.flows[index].as_mut() {
            flow.ask(since);
        }
        self.serve(index)
    }

    fn turn(&mut self, wait: Duration) -> anyhow::Result<()> {
        let mut ready = std::mem::take(&mut self.again);
        let wait = if ready.is_empty() { wait } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => result?,
        }
        let tokens = self.events.iter().map(|event| event.token());
        ready.extend(tokens.clone().filter(|token| *token != LISTENER).map(|token| token.0));
        if tokens.clone().any(|token| token == LISTENER) {
            self.accept()?;
        }
        ready.into_iter().try_for_each(|index| self.serve(index))
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nodelay(true)?;
                    self.add(Flow::backend(stream))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn serve(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(mut flow) = self.flows.get_mut(index).and_then(Option::take) else {
            return Ok(());
        };
        let next = flow.progress(&mut self.with, &mut self.seen);
        match next {
            Ok(Next::Waits) => self.flows[index] = Some(flow),
            Ok(Next::HasMore) => {
                self.flows[index] = Some(flow);
                self.again.push(index);
            }
            Ok(Next::Ended) | Err(_) => {
                let client = flow.side == Side::Client;
                self.seen.failures += u64::from(client && next.is_err());
                self.free.push(index);
                drop(flow);
                if client && let Some(call) = self.renews.clone() {
                    self.open(&call, Mode::Connect, 1)?;
                }
            }
        }
        Ok(())
    }
}

/// From one of many addresses: a gateway may bound what one source has.
fn connect(to: SocketAddr, number: u64) -> anyhow::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let source = Ipv4Addr::new(127, 1, 0, 1 + (number % SOURCES) as u8);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gateway_every_job_is_done() {
        let mut load = Load::new().unwrap();
        let call = Call { to: load.backend, name: "outbound_.80_._.a.b.svc.cluster.local".into() };
        let time = Duration::from_millis(50);
        load.connect_on(&call, 4).unwrap();
        let seen = load.watch(time).unwrap();
        assert!(seen.connections > 0 && seen.failures == 0, "{seen:?}");
        load.close_all().unwrap();
        for (mode, copies) in [(Mode::Down, false), (Mode::Up, true)] {
            load.pour(&call, mode, 2, copies).unwrap();
            assert!(load.watch(time).unwrap().bytes > 0, "{mode:?}");
            load.close_all().unwrap();
        }
        load.ask_on(&call, 3).unwrap();
        let seen = load.watch(time).unwrap();
        assert!(seen.messages > 0 && seen.latencies.len() as u64 == seen.messages);
        load.close_all().unwrap();
        let seen = load.ask_by_the_clock(&call, 8, 1_000, time).unwrap();
        assert!((40..=51).contains(&seen.messages), "{}", seen.messages);
        load.close_all().unwrap();
        load.hold(&call, 20).unwrap();
        load.burst().unwrap();
        load.close_all().unwrap();
    }
}
