//! Whether the other end of a connection is still there: a silent one is asked, and whoever says
//! nothing to that either is gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long silence is taken for peace, and how long for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probes {
    pub after: Duration,
    pub patience: Duration,
}

/// When the other end was last heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard(Arc<Times>);

#[derive(Debug)]
struct Times {
    began: Instant,
    heard_ms: AtomicU64,
}

impl Heard {
    pub(crate) fn now() -> Self {
        Self(Arc::new(Times { began: Instant::now(), heard_ms: AtomicU64::new(0) }))
    }

    fn note(&self) {
        let ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.heard_ms.store(ms, Ordering::Relaxed);
    }

    /// To the millisecond, and never later than it was.
    pub(crate) fn at(&self) -> Instant {
        self.0.began + Duration::from_millis(self.0.heard_ms.load(Ordering::Relaxed))
    }

    /// Returns when the other end is gone.
    pub(crate) async fn silence(&self, mut pings: PingPong, probes: Probes) {
        loop {
            let quiet = self.at() + probes.after;
            if Instant::now() < quiet {
                sleep_until(quiet).await;
                continue;
            }
            // Whatever is heard is an answer: a ping may stand in line behind much else.
            let asked = Instant::now();
            let mut until = asked + probes.patience;
            let mut pong = Box::pin(pings.ping(Ping::opaque()));
            while timeout_at(until, &mut pong).await.is_err() {
                if self.at() + probes.patience <= Instant::now() {
                    return;
                }
                until = self.at() + probes.patience;
            }
            drop(pong);
            self.note();
        }
    }
}

/// A connection that notes when something is heard.
#[derive(Debug)]
pub(crate) struct Noted<S> {
    stream: S,
    heard: Heard,
}

impl<S> Noted<S> {
    pub(crate) fn new(stream: S, heard: Heard) -> Self {
        Self { stream, heard }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.note();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
