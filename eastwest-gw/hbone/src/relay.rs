//! The byte path: a stream and a socket, joined. It knows nothing of names or routes.
//!
//! What a client sent counts as received, and lets it send more, once the target has taken it; what
//! a target sent is read once the client's window has room for what was read before. So nothing
//! piles up here.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::End;
use crate::access::Access;
use crate::dial::reset;
use crate::limit::{BUFFER_BYTES, LINGER};
use crate::metrics::Direction;

/// Both directions of one stream.
pub(crate) struct Stream {
    pub(crate) send: SendStream<Bytes>,
    pub(crate) receive: RecvStream,
}

/// Joins them until both are done, one fails, neither speaks for `idle`, or `closing` comes true.
pub(crate) async fn relay(
    stream: Stream,
    target: &TcpStream,
    idle: Duration,
    access: &Access,
    closing: impl Future<Output = ()>,
) -> End {
    let Stream { mut send, mut receive } = stream;
    let pair = Pair { target, access, began: Instant::now(), spoke_ms: AtomicU64::new(0) };
    let both = async {
        match tokio::try_join!(pair.to_target(&mut receive), pair.to_client(&mut send)) {
            Ok(_) => End::Finished,
            Err(end) => end,
        }
    };
    let end = tokio::select! {
        end = both => end,
        () = pair.silence(idle) => End::Idle,
        () = closing => End::Drained,
    };
    match end {
        End::Finished => {}
        End::Idle | End::Drained => close(&mut send, &mut receive, target).await,
        _ => {
            // RFC 9113, section 8.5: how a broken TCP connection is told.
            send.send_reset(Reason::CONNECT_ERROR);
            reset(target);
        }
    }
    end
}

struct Pair<'a> {
    target: &'a TcpStream,
    access: &'a Access,
    began: Instant,
    /// When bytes last went either way, since `began`.
    spoke_ms: AtomicU64,
}

impl Pair<'_> {
    async fn to_target(&self, from: &mut RecvStream) -> Result<(), End> {
        // At most a window of it: what the target has not taken. It waits here and not in HTTP/2,
        // where many small frames of one tunnel would be held against all of its connection.
        let mut waiting = BytesMut::new();
        let mut ended = false;
        while !(ended && waiting.is_empty()) {
            tokio::select! {
                biased;
                bytes = from.data(), if !ended => match bytes {
                    Some(bytes) => {
                        let bytes = bytes.map_err(|_| End::ClientFault)?;
                        let written = match waiting.is_empty() {
                            true => self.write(&bytes, from)?,
                            false => 0,
                        };
                        waiting.extend_from_slice(&bytes[written..]);
                    }
                    None => ended = true,
                },
                ready = self.target.writable(), if !waiting.is_empty() => {
                    ready.map_err(|_| End::TargetFault)?;
                    let written = self.write(&waiting, from)?;
                    waiting.advance(written);
                    if waiting.is_empty() {
                        waiting = BytesMut::new();
                    }
                }
            }
        }
        // Trailers have no meaning here, but what comes in their place may be a reset.
        from.trailers().await.map_err(|_| End::ClientFault)?;
        SockRef::from(self.target).shutdown(Shutdown::Write).map_err(|_| End::TargetFault)
    }

    /// What the target takes now, which lets the client send as much again.
    fn write(&self, bytes: &[u8], from: &mut RecvStream) -> Result<usize, End> {
        let mut written = 0;
        while written < bytes.len() {
            match self.target.try_write(&bytes[written..]) {
                Ok(more) => written += more,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(End::TargetFault),
            }
        }
        if written > 0 {
            self.note(Direction::ToTarget, written);
            from.flow_control().release_capacity(written).map_err(|_| End::ClientFault)?;
        }
        Ok(written)
    }

    async fn to_client(&self, to: &mut SendStream<Bytes>) -> Result<(), End> {
        loop {
            tokio::select! {
                ready = self.target.readable() => ready.map_err(|_| End::TargetFault)?,
                _ = poll_fn(|cx| to.poll_reset(cx)) => return Err(End::ClientFault),
            }
            let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
            loop {
                buffer.reserve(BUFFER_BYTES);
                match self.target.try_read_buf(&mut buffer) {
                    Ok(0) => return to.send_data(Bytes::new(), true).map_err(|_| End::ClientFault),
                    Ok(_) => self.send(to, buffer.split().freeze()).await?,
                    Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return Err(End::TargetFault),
                }
                // One tunnel that never runs dry must not keep a thread to itself.
                tokio::task::consume_budget().await;
            }
        }
    }

    async fn send(&self, to: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), End> {
        while !bytes.is_empty() {
            to.reserve_capacity(bytes.len());
            let room = match to.capacity() {
                // Only new capacity wakes: what is left of an earlier one is asked for.
                0 => poll_fn(|cx| to.poll_capacity(cx)).await.and_then(Result::ok),
                room => Some(room),
            };
            let room = room.ok_or(End::ClientFault)?;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.note(Direction::ToClient, piece.len());
            to.send_data(piece, false).map_err(|_| End::ClientFault)?;
        }
        Ok(())
    }

    fn note(&self, way: Direction, bytes: usize) {
        self.access.passed(way, bytes as u64);
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
async fn close(send: &mut SendStream<Bytes>, receive: &mut RecvStream, target: &TcpStream) {
    // Either may have gone already.
    let _ = send.send_data(Bytes::new(), true);
    let _ = SockRef::from(target).shutdown(Shutdown::Write);
    let client = async {
        while let Some(Ok(bytes)) = receive.data().await {
            let _ = receive.flow_control().release_capacity(bytes.len());
        }
    };
    let rest = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while target.readable().await.is_ok() {
            match target.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => tokio::task::consume_budget().await,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // Whoever does not answer in time is cut off.
    let _ = timeout(LINGER, async { tokio::join!(client, rest) }).await;
}
