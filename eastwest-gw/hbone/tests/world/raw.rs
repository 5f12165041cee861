//! HTTP/2 frame by frame, for what no decent client would send.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{GATEWAY, World, account, id, in_time};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Raw(pub(crate) TlsStream<TcpStream>);

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Literal, never indexed, not Huffman coded.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
            block.push(length.expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    block
}

pub(crate) fn connect(authority: &str) -> Vec<u8> {
    fields(&[(":method", "CONNECT"), (":authority", authority)])
}

impl Raw {
    /// A good client as far as TLS goes.
    pub(crate) async fn open(world: &World) -> Self {
        let (identity, roots) = world.mesh.identity(&account("web"));
        let expect = diolkos_tls::Expect::Ids(vec![id(GATEWAY)]);
        let config = diolkos_tls::tunnel_client_config(&identity, &roots, expect, &["h2"]);
        let mut raw = Self::tls(world, config).await.unwrap();
        raw.write(PREFACE).await.unwrap();
        raw.write(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        raw
    }

    pub(crate) async fn tls(world: &World, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(world.address).await?;
        let name = ServerName::try_from("gateway.test").unwrap();
        in_time(TlsConnector::from(config).connect(name, stream)).await.map(Self)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        in_time(async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        })
        .await
    }

    /// The next frame; `None` when the connection is over.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        in_time(self.0.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        in_time(self.0.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of a stream, whatever the connection has to say meanwhile.
    pub(crate) async fn read_of(&mut self, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            if frame.stream == stream && matches!(frame.kind, DATA | HEADERS | RST_STREAM) {
                return Some(frame);
            }
        }
    }

    /// Reads to the end; the code of the GOAWAY, if one was said.
    pub(crate) async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.read().await {
            if frame.kind == GOAWAY {
                code = frame.payload[4..8].try_into().ok().map(u32::from_be_bytes);
            }
        }
        code
    }
}

/// The status of a response, as HPACK's static table has it.
pub(crate) fn status(frame: &Frame) -> u16 {
    assert_eq!(frame.kind, HEADERS, "{frame:?}");
    match frame.payload[0] {
        0x88 => 200,
        0x8c => 400,
        0x8d => 404,
        // Indexed name ":status", then the text of three digits, Huffman coded or not.
        other => panic!("field {other:#x} is no status of the static table"),
    }
}
