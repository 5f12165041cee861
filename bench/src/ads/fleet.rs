//! Many clients on one thread: one connection, TLS or plain, and one delta stream each.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use diolkos_xds::ResourceType;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use prost::Message;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::frame::{self, Response};

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Before one that was turned away comes again, as Envoy waits.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Read at once without TLS.
const PLAIN_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    /// Clients that owe an answer.
    owing: Vec<usize>,
    /// Clients that were turned away, and when they come again.
    refused: Vec<(Instant, usize)>,
    refusals: usize,
    patient: bool,
}

/// The server ended a stream before it said anything on it.
#[derive(Debug, thiserror::Error)]
#[error("the server turned the stream away")]
struct TurnedAway;

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    way: Way,
    ask: Ask,
    /// Anything at all.
    heard: bool,
    tcp: TcpStream,
    wire: Wire,
    /// Frames that are not whole yet.
    frames: Vec<u8>,
    /// gRPC messages that are not whole yet.
    messages: Vec<u8>,
    /// Bytes to send, before TLS.
    answers: Vec<u8>,
    bytes: u64,
    follows: bool,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    Tls(Arc<ClientConfig>, ServerName<'static>),
    Plain,
}

#[derive(Debug)]
enum Wire {
    Tls(Box<ClientConnection>),
    Plain,
}

/// Who asks, for what.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) node: Node,
    /// Type and names; no names are all there are.
    pub(crate) names: Vec<(&'static str, Vec<String>)>,
    /// Asks for the endpoints of every cluster that it is told of, as a proxy does.
    pub(crate) follows: bool,
}

impl Fleet {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1_024));
        let (clients, owing, refused) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { poll, events, clients, owing, refused, refusals: 0, patient: false })
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn join(&mut self, address: SocketAddr, way: &Way, ask: &Ask) -> anyhow::Result<()> {
        let mut client = Client::connect(address, way, ask)?;
        let token = Token(self.clients.len());
        self.poll.registry().register(&mut client.tcp, token, Interest::READABLE)?;
        self.clients.push(client);
        Ok(())
    }

    /// Bytes received by all, as they were on the wire.
    pub(crate) fn bytes(&self) -> u64 {
        self.clients.iter().map(|client| client.bytes).sum()
    }

    /// Takes what comes within `wait`, and answers it after the clock was read for all of it.
    pub(crate) fn pump(
        &mut self,
        wait: Duration,
        mut received: impl FnMut(usize, Instant, &Response<'_>),
    ) -> anyhow::Result<()> {
        let wait = self.come_again()?.map_or(wait, |due| wait.min(due));
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let index = event.token().0;
            match self.clients[index].receive(|at, response| received(index, at, response)) {
                Ok(()) => self.owing.push(index),
                Err(error) if self.patient && error.is::<TurnedAway>() => {
                    self.poll.registry().deregister(&mut self.clients[index].tcp)?;
                    self.refused.push((Instant::now() + RETRY_PAUSE, index));
                    self.refusals += 1;
                }
                Err(error) => return Err(error.context(format!("client {index}"))),
            }
        }
        for index in self.owing.drain(..) {
            self.clients[index].answer().with_context(|| format!("client {index}"))?;
        }
        Ok(())
    }

    /// From now on who is turned away comes again; until now that is an error.
    pub(crate) fn be_patient(&mut self) {
        self.patient = true;
    }

    /// How often a client was turned away and came again.
    pub(crate) fn refusals(&self) -> usize {
        self.refusals
    }

    /// Connects those anew whose pause is over; how long until the next one's is.
    fn come_again(&mut self) -> anyhow::Result<Option<Duration>> {
        let now = Instant::now();
        while let Some(place) = self.refused.iter().position(|(due, _)| *due <= now) {
            let (_, index) = self.refused.swap_remove(place);
            let Client { address, way, ask, bytes, .. } = &self.clients[index];
            let mut client = Client::connect(*address, way, ask)?;
            client.bytes = *bytes;
            let registry = self.poll.registry();
            registry.register(&mut client.tcp, Token(index), Interest::READABLE)?;
            self.clients[index] = client;
        }
        Ok(self.refused.iter().map(|(due, _)| due.saturating_duration_since(now)).min())
    }
}

impl Client {
    fn connect(address: SocketAddr, way: &Way, ask: &Ask) -> anyhow::Result<Self> {
        let mut tcp = std::net::TcpStream::connect_timeout(&address, CONNECT_MAX)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(CONNECT_MAX))?;
        let wire = Wire::open(&mut tcp, way)?;
        let mut answers = frame::preface(PATH);
        let mut node = Some(ask.node.clone());
        for (type_url, names) in &ask.names {
            let request = DeltaDiscoveryRequest {
                node: node.take(),
                type_url: (*type_url).into(),
                resource_names_subscribe: names.clone(),
                ..DeltaDiscoveryRequest::default()
            };
            answers.extend(frame::message(&request.encode_to_vec()));
        }
        tcp.set_nonblocking(true)?;
        let mut client = Self {
            address,
            way: way.clone(),
            ask: ask.clone(),
            heard: false,
            tcp: TcpStream::from_std(tcp),
            wire,
            frames: Vec::new(),
            messages: Vec::new(),
            answers,
            bytes: 0,
            follows: ask.follows,
        };
        client.answer()?;
        Ok(client)
    }

    fn receive(&mut self, mut received: impl FnMut(Instant, &Response<'_>)) -> anyhow::Result<()> {
        while let Some(read) = self.wire.read(&mut self.tcp, &mut self.frames)? {
            self.bytes += read as u64;
            self.take_frames()?;
            self.take_messages(&mut received)?;
        }
        Ok(())
    }

    fn take_frames(&mut self) -> anyhow::Result<()> {
        let mut used = 0;
        while let Some((frame, length)) = frame::first(&self.frames[used..]) {
            used += length;
            match frame.kind {
                frame::DATA | frame::HEADERS if frame.flags & frame::END_STREAM != 0 => {
                    if !self.heard {
                        return Err(TurnedAway.into());
                    }
                    bail!("the server ended the stream");
                }
                frame::DATA => self.messages.extend(frame.payload),
                frame::SETTINGS if frame.flags & frame::ACK == 0 => {
                    self.answers.extend(frame::frame(frame::SETTINGS, frame::ACK, 0, &[]));
                }
                frame::PING if frame.flags & frame::ACK == 0 => {
                    let pong = frame::frame(frame::PING, frame::ACK, 0, frame.payload);
                    self.answers.extend(pong);
                }
                frame::RESET | frame::GO_AWAY => bail!("the server reset the stream"),
                _ => {}
            }
        }
        self.frames.drain(..used);
        Ok(())
    }

    fn take_messages(
        &mut self,
        received: &mut impl FnMut(Instant, &Response<'_>),
    ) -> anyhow::Result<()> {
        let mut used = 0;
        while let Some((message, length)) = frame::first_message(&self.messages[used..]) {
            used += length;
            let response = frame::response(message).context("a response that makes no sense")?;
            received(Instant::now(), &response);
            self.heard = true;
            let ack = DeltaDiscoveryRequest {
                type_url: response.type_url.into(),
                response_nonce: response.nonce.into(),
                ..DeltaDiscoveryRequest::default()
            };
            self.answers.extend(frame::message(&ack.encode_to_vec()));
            if self.follows && response.type_url == ResourceType::Cluster.url() {
                self.answers.extend(frame::message(&endpoints_of(&response).encode_to_vec()));
            }
        }
        self.messages.drain(..used);
        Ok(())
    }

    fn answer(&mut self) -> anyhow::Result<()> {
        // A few kilobytes: a socket that does not take them is not being read.
        self.wire.write(&mut self.tcp, &self.answers).context("the server does not read")?;
        self.answers.clear();
        Ok(())
    }
}

/// Asks for the endpoints of the clusters of a response.
fn endpoints_of(clusters: &Response<'_>) -> DeltaDiscoveryRequest {
    let outbound = |name: &&str| name.starts_with("outbound|");
    DeltaDiscoveryRequest {
        type_url: ResourceType::Endpoint.url().into(),
        resource_names_subscribe: clusters
            .each()
            .map(|(name, _)| name)
            .filter(outbound)
            .map(String::from)
            .collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

impl Wire {
    fn open(tcp: &mut std::net::TcpStream, way: &Way) -> anyhow::Result<Self> {
        let Way::Tls(config, name) = way else { return Ok(Self::Plain) };
        let mut tls = ClientConnection::new(config.clone(), name.clone())?;
        tls.set_buffer_limit(None);
        while tls.is_handshaking() {
            tls.complete_io(tcp).context("TLS handshake")?;
        }
        Ok(Self::Tls(Box::new(tls)))
    }

    /// Appends what there is to read; how much it was on the wire, or nothing for now.
    fn read(&mut self, tcp: &mut TcpStream, into: &mut Vec<u8>) -> anyhow::Result<Option<usize>> {
        let begin = into.len();
        let read = match self {
            Self::Tls(tls) => tls.read_tls(tcp),
            Self::Plain => {
                into.resize(begin + PLAIN_BYTES, 0);
                let read = tcp.read(&mut into[begin..]);
                into.truncate(begin + read.as_ref().map_or(0, |read| *read));
                read
            }
        };
        let read = match read {
            Ok(0) => bail!("the server closed the connection"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if let Self::Tls(tls) = self {
            let state = tls.process_new_packets()?;
            into.resize(begin + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut into[begin..])?;
        }
        Ok(Some(read))
    }

    fn write(&mut self, tcp: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        let Self::Tls(tls) = self else { return tcp.write_all(bytes) };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(tcp)?;
        }
        Ok(())
    }
}
