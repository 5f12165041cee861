//! A connection that remembers what it failed of. hyper and h2 take the error for themselves, and
//! all that a request learns is that it was canceled.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use diolkos_trust::SpiffeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::why::Why;

#[derive(Debug)]
pub(crate) struct Observed<S> {
    inner: S,
    address: SocketAddr,
    own: Option<SpiffeId>,
    fault: Fault,
    /// What our bytes failed of, while what was said before is still to be read.
    unsent: Option<io::Error>,
}

/// The first error of a connection, for whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fault(Arc<OnceLock<Why>>);

impl Fault {
    pub(crate) fn get(&self) -> Option<Why> {
        self.0.get().cloned()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Observed<S> {
    pub(crate) fn new(inner: S, address: SocketAddr, own: Option<SpiffeId>) -> (Self, Fault) {
        let fault = Fault::default();
        (Self { inner, address, own, fault: fault.clone(), unsent: None }, fault)
    }

    fn note(&self, error: &io::Error) {
        let why = || Why::of_connection(self.address, self.own.as_ref(), error);
        self.fault.0.get_or_init(why);
    }

    /// One who refuses us says so and hangs up, and our next bytes find the line dead before we
    /// have heard why. A dead line has an end, so it is read to there first.
    fn poll_written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if is_dead(&error) => {
                self.unsent = Some(error);
                self.poll_last_words(cx).map(Err)
            }
            Poll::Ready(Err(error)) => {
                self.note(&error);
                Poll::Ready(Err(error))
            }
            fine => fine,
        }
    }

    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut bytes = [0; 1024];
        for _ in 0..READS_MAX {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) => break,
                Err(said) => {
                    self.note(&said);
                    break;
                }
            }
        }
        let unsent = self.unsent.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        self.note(&unsent);
        Poll::Ready(unsent)
    }
}

/// What a server says before it hangs up fits many times.
const READS_MAX: usize = 64;

fn is_dead(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &read {
            self.note(error);
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.unsent.is_some() {
            return self.poll_last_words(cx).map(Err);
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.poll_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.unsent.is_some() {
            return self.poll_last_words(cx).map(Err);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_some() {
            return self.poll_last_words(cx).map(Err);
        }
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.poll_written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;
    use std::collections::VecDeque;

    /// Dead for writing. What can be read from it comes in this order, `None` not at once.
    struct Dead(VecDeque<Option<io::Result<&'static [u8]>>>);

    impl AsyncRead for Dead {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.0.pop_front().expect("it is not read beyond its end") {
                Some(Ok(bytes)) => buffer.put_slice(bytes),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Pending,
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Dead {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn told(reads: Vec<Option<io::Result<&'static [u8]>>>) -> Why {
        let address = "127.0.0.1:1".parse().expect("an address");
        let pauses = reads.iter().filter(|read| read.is_none()).count();
        let (mut observed, fault) = Observed::new(Dead(reads.into()), address, None);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..pauses {
            assert!(Pin::new(&mut observed).poll_write(&mut cx, b"x").is_pending());
            assert_eq!(fault.get(), None);
        }
        assert!(matches!(
            Pin::new(&mut observed).poll_write(&mut cx, b"x"),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe
        ));
        fault.get().expect("it failed")
    }

    #[test]
    fn a_refusal_that_came_before_the_line_went_dead_is_what_is_told() {
        let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let why = told(vec![None, Some(Ok(b"settings")), None, Some(Err(io::Error::other(alert)))]);
        assert_eq!(
            why,
            Why::Refused(
                "the primary at 127.0.0.1:1 refuses us, who showed no certificate: unknown CA; \
                 its log says why"
                    .into()
            )
        );
    }

    #[test]
    fn a_line_that_went_dead_without_a_word_is_lost() {
        let lost = "the stream of the primary at 127.0.0.1:1 ended: connection lost: broken pipe";
        assert_eq!(told(vec![Some(Ok(b""))]), Why::Ended(lost.into()));
        assert_eq!(told(vec![Some(Ok(b"settings")), None, Some(Ok(b""))]), Why::Ended(lost.into()));
    }
}
