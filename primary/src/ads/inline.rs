//! HTTP/2 streams run in the task of their connection.
//!
//! hyper wants to spawn a task per stream, which then wakes the connection's task for each frame.
//! A proxy has one stream; here one wake-up makes the frame and writes it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

type Spawned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper leaves its streams.
#[derive(Clone, Default)]
pub(super) struct Inline(Arc<Mutex<Vec<Spawned>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Inline {
    fn execute(&self, stream: F) {
        self.lock().push(Box::pin(stream));
    }
}

impl Inline {
    fn lock(&self) -> MutexGuard<'_, Vec<Spawned>> {
        // Pushing and taking do not panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection and its streams; ends with the connection.
pub(super) struct Together<C> {
    connection: C,
    inline: Inline,
    streams: Vec<Spawned>,
}

impl<C> Together<C> {
    pub(super) fn new(connection: C, inline: Inline) -> Self {
        Self { connection, inline, streams: Vec::new() }
    }

    pub(super) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }
}

impl<C: Future + Unpin> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        loop {
            this.streams.append(&mut this.inline.lock());
            this.streams.retain_mut(|stream| stream.as_mut().poll(cx).is_pending());
            // After the streams, so that what they made is written in this very poll.
            if let Poll::Ready(end) = Pin::new(&mut this.connection).poll(cx) {
                return Poll::Ready(end);
            }
            if this.inline.lock().is_empty() {
                return Poll::Pending;
            }
        }
    }
}
