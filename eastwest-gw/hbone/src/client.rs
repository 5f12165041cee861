//! The calling end: a connection to a server of tunnels, and tunnels through it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf as _, Bytes};
use diolkos_ops::printable;
use diolkos_tls::{
    Expect, Identity, Peer, Roots, TlsError, Usage, explain, peer_of, tunnel_client_config,
};
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, StatusCode, Uri};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::alive::{Heard, Noted, Probes};
use crate::limit;
use crate::relay::Stream;
use crate::server::ALPN;

/// Of a refusal's reason, so much is read.
const REASON_BYTES_MAX: usize = 512;

/// A connection to a server. Cheap to clone; it ends with its last clone and tunnel.
#[derive(Clone, Debug)]
pub struct Outer {
    requests: SendRequest<Bytes>,
    peer: Arc<Peer>,
    heard: Heard,
}

/// Moves the bytes of a connection for as long as it is driven.
pub type Carrying = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OuterError {
    #[error("no TLS with the server of tunnels: {0}")]
    Tls(String),
    /// Its certificate is not one that is expected.
    #[error("the server of tunnels is not who it should be: {0}")]
    Peer(String),
    #[error("the server of tunnels does not speak {ALPN}")]
    Protocol,
    #[error("no HTTP/2 with the server of tunnels: {0}")]
    Http2(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    #[error("{0:?} is not HOST:PORT of a service")]
    Authority(String),
    #[error("refused with {status}: {why}")]
    Refused { status: StatusCode, why: String },
    #[error("the connection to the server of tunnels broke: {0}")]
    Broken(String),
}

impl Outer {
    /// Over any connection to the server, one that is a tunnel itself included.
    ///
    /// # Errors
    /// When the server is not who is expected, or does not believe us.
    pub async fn connect<S>(
        stream: S,
        identity: &Identity,
        roots: &Roots,
        expect: Expect,
    ) -> Result<Self, OuterError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (outer, carrying) = Self::begin(stream, identity, roots, expect, None).await?;
        // Ends by itself, once nobody has a use for it any more.
        tokio::spawn(async move {
            if let Err(cause) = carrying.await {
                tracing::debug!(cause, "a connection for tunnels broke");
            }
        });
        Ok(outer)
    }

    /// The same; the connection lives for as long as the future is driven, which ends by itself once
    /// nobody has a use for it any more. With `probes` it also ends, and every tunnel with it, when
    /// the server is gone without a word.
    ///
    /// # Errors
    /// When the server is not who is expected, or does not believe us.
    pub async fn begin<S>(
        stream: S,
        identity: &Identity,
        roots: &Roots,
        expect: Expect,
        probes: Option<Probes>,
    ) -> Result<(Self, Carrying), OuterError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let own = identity.spiffe_id();
        let config = tunnel_client_config(identity, roots, expect, &[ALPN]);
        // Never sent: HBONE has no SNI. rustls wants a name all the same.
        let name = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
        let stream =
            TlsConnector::from(config).connect(name, stream).await.map_err(
                |error| match explain(&error, &own) {
                    TlsError::Peer(fault) => OuterError::Peer(fault.to_string()),
                    other => OuterError::Tls(other.to_string()),
                },
            )?;
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(ALPN.as_bytes()) {
            return Err(OuterError::Protocol);
        }
        let presented = session.peer_certificates().unwrap_or_default();
        let peer = peer_of(presented, roots, SystemTime::now(), Usage::Server)
            .map_err(|error| OuterError::Tls(error.to_string()))?;
        let heard = Heard::now();
        let (requests, mut connection) = h2::client::Builder::new()
            .initial_window_size(limit::WINDOW_BYTES)
            .initial_connection_window_size(limit::OUTER_WINDOW_BYTES)
            .max_frame_size(limit::FRAME_BYTES_MAX)
            .max_send_buffer_size(limit::SEND_BYTES_MAX)
            .data_frame_budget(limit::SMALL_FRAMES_MAX)
            .max_header_list_size(limit::HEADER_BYTES_MAX)
            .enable_push(false)
            .handshake(Noted::new(stream, heard.clone()))
            .await
            .map_err(|error| OuterError::Http2(error.to_string()))?;
        let pings = probes.zip(connection.ping_pong());
        let silent = heard.clone();
        let carrying: Carrying = Box::pin(async move {
            let silence = async {
                match pings {
                    Some((probes, pings)) => silent.silence(pings, probes).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = connection => ended.map_err(|cause| cause.to_string()),
                () = silence => Err("the other end has fallen silent".into()),
            }
        });
        Ok((Self { requests, peer: Arc::new(peer), heard }, carrying))
    }

    /// Who the server is, as verified.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether it takes tunnels still: it is neither broken, nor has the server said GOAWAY.
    pub fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        !matches!(self.requests.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// How many tunnels the server lets through at a time.
    pub fn tunnels_max(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// When the server last said anything at all.
    pub fn heard_at(&self) -> Instant {
        self.heard.at()
    }

    /// Asks for a tunnel to `host:port` of a service.
    ///
    /// # Errors
    /// With the server's reason, where it gives one.
    pub async fn open(&self, authority: &str) -> Result<Tunnel, TunnelError> {
        let broken = |error: h2::Error| TunnelError::Broken(error.to_string());
        let uri = Uri::builder().authority(authority).build();
        let uri = uri.map_err(|_| TunnelError::Authority(authority.into()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        let mut requests = self.requests.clone().ready().await.map_err(broken)?;
        let (response, send) = requests.send_request(request, false).map_err(broken)?;
        let response = response.await.map_err(broken)?;
        let status = response.status();
        let mut receive = response.into_body();
        if !status.is_success() {
            let why = reason(&mut receive).await;
            return Err(TunnelError::Refused { status, why });
        }
        Ok(Tunnel { send, receive, unread: Bytes::new(), reads: Reads::Open })
    }

    /// Returns once the server takes no more CONNECTs here, or is gone.
    pub async fn closed(&self) {
        let mut requests = self.requests.clone();
        while poll_fn(|cx| requests.poll_ready(cx)).await.is_ok() {
            tokio::time::sleep(limit::LINGER / 10).await;
        }
    }
}

async fn reason(body: &mut RecvStream) -> String {
    let mut text = Vec::new();
    while let Some(Ok(bytes)) = body.data().await {
        let room = REASON_BYTES_MAX - text.len();
        text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if text.len() == REASON_BYTES_MAX {
            break;
        }
        let _ = body.flow_control().release_capacity(bytes.len());
    }
    printable(&String::from_utf8_lossy(&text)).into_owned()
}

/// A tunnel's bytes. Dropped before its ends are done, it is reset.
#[derive(Debug)]
pub struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    unread: Bytes,
    reads: Reads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Open,
    Ended,
}

impl Tunnel {
    /// To be relayed. Nothing may have been read of it yet.
    pub fn into_stream(self) -> Stream {
        Stream { send: self.send, receive: self.receive }
    }

    /// Breaks it off, as a broken TCP connection does.
    pub fn reset(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            if this.reads == Reads::Ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(bytes)) => this.unread = bytes,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => this.reads = Reads::Ended,
            }
        }
        let taken = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..taken]);
        this.unread.advance(taken);
        let released = this.receive.flow_control().release_capacity(taken);
        Poll::Ready(released.map_err(broken))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let send = &mut self.send;
        send.reserve_capacity(bytes.len().min(limit::SEND_BYTES_MAX));
        let room = match send.capacity() {
            // Only new capacity wakes: what is left of an earlier one is asked for.
            0 => match ready!(send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        let room = room.min(bytes.len());
        let sent = send.send_data(Bytes::copy_from_slice(&bytes[..room]), false);
        Poll::Ready(sent.map(|()| room).map_err(broken))
    }

    /// What was taken is the connection's to send.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(broken))
    }
}

fn broken(error: h2::Error) -> io::Error {
    match error.is_reset() {
        true => io::Error::new(io::ErrorKind::ConnectionReset, error),
        false => io::Error::other(error),
    }
}
