//! Many clients on one thread: one TLS connection and one delta stream each.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use prost::Message;
use rustls::{ClientConfig, ClientConnection};

use super::frame::{self, Response};
use super::ground::SERVER_NAME;

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CONNECT_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Fleet {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    /// Clients that owe an answer.
    owing: Vec<usize>,
}

#[derive(Debug)]
struct Client {
    tcp: TcpStream,
    tls: ClientConnection,
    /// Frames that are not whole yet.
    frames: Vec<u8>,
    /// gRPC messages that are not whole yet.
    messages: Vec<u8>,
    /// Bytes to send, before TLS.
    answers: Vec<u8>,
    bytes: u64,
}

/// Who asks, for what.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) node: Node,
    /// Type and names.
    pub(super) names: Vec<(&'static str, Vec<String>)>,
}

impl Fleet {
    pub(super) fn new() -> anyhow::Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1_024));
        Ok(Self { poll, events, clients: Vec::new(), owing: Vec::new() })
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn join(
        &mut self,
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
        ask: &Ask,
    ) -> anyhow::Result<()> {
        let mut client = Client::connect(address, tls, ask)?;
        let token = Token(self.clients.len());
        self.poll.registry().register(&mut client.tcp, token, Interest::READABLE)?;
        self.clients.push(client);
        Ok(())
    }

    /// Bytes received by all, as they were on the wire.
    pub(super) fn bytes(&self) -> u64 {
        self.clients.iter().map(|client| client.bytes).sum()
    }

    /// Takes what comes within `wait`, and answers it after the clock was read for all of it.
    pub(super) fn pump(
        &mut self,
        wait: Duration,
        mut received: impl FnMut(usize, Instant, &Response<'_>),
    ) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let index = event.token().0;
            self.clients[index]
                .receive(|at, response| received(index, at, response))
                .with_context(|| format!("client {index}"))?;
            self.owing.push(index);
        }
        for index in self.owing.drain(..) {
            self.clients[index].answer().with_context(|| format!("client {index}"))?;
        }
        Ok(())
    }
}

impl Client {
    fn connect(address: SocketAddr, config: &Arc<ClientConfig>, ask: &Ask) -> anyhow::Result<Self> {
        let mut tcp = std::net::TcpStream::connect_timeout(&address, CONNECT_MAX)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(CONNECT_MAX))?;
        let name = diolkos_tls::server_name(SERVER_NAME)?;
        let mut tls = ClientConnection::new(config.clone(), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).context("TLS handshake")?;
        }
        tls.writer().write_all(&frame::preface(PATH))?;
        let mut node = Some(ask.node.clone());
        for (type_url, names) in &ask.names {
            let request = DeltaDiscoveryRequest {
                node: node.take(),
                type_url: (*type_url).into(),
                resource_names_subscribe: names.clone(),
                ..DeltaDiscoveryRequest::default()
            };
            tls.writer().write_all(&frame::message(&request.encode_to_vec()))?;
        }
        while tls.wants_write() {
            tls.write_tls(&mut tcp)?;
        }
        tcp.set_nonblocking(true)?;
        Ok(Self {
            tcp: TcpStream::from_std(tcp),
            tls,
            frames: Vec::new(),
            messages: Vec::new(),
            answers: Vec::new(),
            bytes: 0,
        })
    }

    fn receive(&mut self, mut received: impl FnMut(Instant, &Response<'_>)) -> anyhow::Result<()> {
        let mut open = true;
        while open {
            match self.tls.read_tls(&mut self.tcp) {
                Ok(0) => bail!("the primary closed the connection"),
                Ok(read) => self.bytes += read as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => open = false,
                Err(error) => return Err(error.into()),
            }
            let state = self.tls.process_new_packets()?;
            let begin = self.frames.len();
            self.frames.resize(begin + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut self.frames[begin..])?;
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
                    bail!("the primary ended the stream");
                }
                frame::DATA => self.messages.extend(frame.payload),
                frame::SETTINGS if frame.flags & frame::ACK == 0 => {
                    self.answers.extend(frame::frame(frame::SETTINGS, frame::ACK, 0, &[]));
                }
                frame::PING if frame.flags & frame::ACK == 0 => {
                    let pong = frame::frame(frame::PING, frame::ACK, 0, frame.payload);
                    self.answers.extend(pong);
                }
                frame::RESET | frame::GO_AWAY => bail!("the primary reset the stream"),
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
            let ack = DeltaDiscoveryRequest {
                type_url: response.type_url.into(),
                response_nonce: response.nonce.into(),
                ..DeltaDiscoveryRequest::default()
            };
            self.answers.extend(frame::message(&ack.encode_to_vec()));
        }
        self.messages.drain(..used);
        Ok(())
    }

    fn answer(&mut self) -> anyhow::Result<()> {
        if !self.answers.is_empty() {
            self.tls.writer().write_all(&self.answers)?;
            self.answers.clear();
        }
        while self.tls.wants_write() {
            // A few hundred bytes: a socket that does not take them is not being read.
            self.tls.write_tls(&mut self.tcp).context("the primary does not read")?;
        }
        Ok(())
    }
}
