//! The byte path: a stream and a socket, joined. It knows nothing of names or routes, nor which of
//! the two is the client.
//!
//! What came by the stream counts as received, and lets its sender send more, once the socket has
//! taken it; what comes by the socket is read once the stream's window has room for what was read
//! before. So nothing piles up here.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::dial::reset;
use crate::limit::{BUFFER_BYTES, LINGER};

/// Both directions of one stream.
#[derive(Debug)]
pub struct Stream {
    pub(crate) send: SendStream<Bytes>,
    pub(crate) receive: RecvStream,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    Socket,
    Stream,
}

/// Is told of bytes as they pass.
pub trait Tally: Sync {
    fn passed(&self, toward: Toward, bytes: usize);
}

/// How it came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Both sides said that they were done.
    Finished,
    SocketFault,
    StreamFault,
    Idle,
    /// It was time to.
    Closed,
}

/// Joins them until both are done, one fails, neither speaks for `idle`, or `closing` comes true.
/// `first` was read from the socket already.
pub async fn relay<T: Tally>(
    stream: Stream,
    socket: &TcpStream,
    first: Bytes,
    idle: Duration,
    tally: &T,
    closing: impl Future<Output = ()>,
) -> Over {
    let Stream { mut send, mut receive } = stream;
    let pair = Pair { socket, tally, began: Instant::now(), spoke_ms: AtomicU64::new(0) };
    let both = async {
        match tokio::try_join!(pair.to_socket(&mut receive), pair.to_stream(&mut send, first)) {
            Ok(_) => Over::Finished,
            Err(over) => over,
        }
    };
    let over = tokio::select! {
        over = both => over,
        () = pair.silence(idle) => Over::Idle,
        () = closing => Over::Closed,
    };
    match over {
        Over::Finished => {}
        Over::Idle | Over::Closed => close(&mut send, &mut receive, socket).await,
        Over::SocketFault | Over::StreamFault => {
            // RFC 9113, section 8.5: how a broken TCP connection is told.
            send.send_reset(Reason::CONNECT_ERROR);
            reset(socket);
        }
    }
    over
}

struct Pair<'a, T> {
    socket: &'a TcpStream,
    tally: &'a T,
    began: Instant,
    /// When bytes last went either way, since `began`.
    spoke_ms: AtomicU64,
}

impl<T: Tally> Pair<'_, T> {
    async fn to_socket(&self, from: &mut RecvStream) -> Result<(), Over> {
        // At most a window of it: what the socket has not taken. It waits here and not in HTTP/2,
        // where many small frames of one tunnel would be held against all of its connection.
        let mut waiting = BytesMut::new();
        let mut ended = false;
        while !(ended && waiting.is_empty()) {
            tokio::select! {
                biased;
                bytes = from.data(), if !ended => match bytes {
                    Some(bytes) => {
                        let bytes = bytes.map_err(|_| Over::StreamFault)?;
                        let written = match waiting.is_empty() {
                            true => self.write(&bytes, from)?,
                            false => 0,
                        };
                        waiting.extend_from_slice(&bytes[written..]);
                    }
                    None => ended = true,
                },
                ready = self.socket.writable(), if !waiting.is_empty() => {
                    ready.map_err(|_| Over::SocketFault)?;
                    let written = self.write(&waiting, from)?;
                    waiting.advance(written);
                    if waiting.is_empty() {
                        waiting = BytesMut::new();
                    }
                }
            }
        }
        // Trailers have no meaning here, but what comes in their place may be a reset.
        from.trailers().await.map_err(|_| Over::StreamFault)?;
        SockRef::from(self.socket).shutdown(Shutdown::Write).map_err(|_| Over::SocketFault)
    }

    /// What the socket takes now, which lets the other end of the stream send as much again.
    fn write(&self, bytes: &[u8], from: &mut RecvStream) -> Result<usize, Over> {
        let mut written = 0;
        while written < bytes.len() {
            match self.socket.try_write(&bytes[written..]) {
                Ok(more) => written += more,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(Over::SocketFault),
            }
        }
        if written > 0 {
            self.note(Toward::Socket, written);
            from.flow_control().release_capacity(written).map_err(|_| Over::StreamFault)?;
        }
        Ok(written)
    }

    async fn to_stream(&self, to: &mut SendStream<Bytes>, first: Bytes) -> Result<(), Over> {
        self.send(to, first).await?;
        loop {
            tokio::select! {
                ready = self.socket.readable() => ready.map_err(|_| Over::SocketFault)?,
                _ = poll_fn(|cx| to.poll_reset(cx)) => return Err(Over::StreamFault),
            }
            let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
            loop {
                buffer.reserve(BUFFER_BYTES);
                match self.socket.try_read_buf(&mut buffer) {
                    Ok(0) => {
                        return to.send_data(Bytes::new(), true).map_err(|_| Over::StreamFault);
                    }
                    Ok(_) => self.send(to, buffer.split().freeze()).await?,
                    Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return Err(Over::SocketFault),
                }
                // One tunnel that never runs dry must not keep a thread to itself.
                tokio::task::consume_budget().await;
            }
        }
    }

    async fn send(&self, to: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Over> {
        while !bytes.is_empty() {
            to.reserve_capacity(bytes.len());
            let room = match to.capacity() {
                // Only new capacity wakes: what is left of an earlier one is asked for.
                0 => tokio::select! {
                    room = poll_fn(|cx| to.poll_capacity(cx)) => room.and_then(Result::ok),
                    // Nothing is read meanwhile that would tell.
                    _ = self.socket.ready(Interest::ERROR) => return Err(Over::SocketFault),
                },
                room => Some(room),
            };
            let room = room.ok_or(Over::StreamFault)?;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.note(Toward::Stream, piece.len());
            to.send_data(piece, false).map_err(|_| Over::StreamFault)?;
        }
        Ok(())
    }

    fn note(&self, toward: Toward, bytes: usize) {
        self.tally.passed(toward, bytes);
        self.spoke_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn silence(&self, idle: Duration) {
        loop {
            let spoke = Duration::from_millis(self.spoke_ms.load(Ordering::Relaxed));
            let until = self.began + spoke + idle;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Says END_STREAM and FIN, and takes what still comes: a stream or socket that is dropped over
/// unread bytes would say reset.
async fn close(send: &mut SendStream<Bytes>, receive: &mut RecvStream, socket: &TcpStream) {
    // Either may have gone already.
    let _ = send.send_data(Bytes::new(), true);
    let _ = SockRef::from(socket).shutdown(Shutdown::Write);
    let stream = async {
        while let Some(Ok(bytes)) = receive.data().await {
            let _ = receive.flow_control().release_capacity(bytes.len());
        }
    };
    let rest = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while socket.readable().await.is_ok() {
            match socket.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => tokio::task::consume_budget().await,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // Whoever does not answer in time is cut off.
    let _ = timeout(LINGER, async { tokio::join!(stream, rest) }).await;
}
