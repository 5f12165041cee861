//! HTTP/2 streams run in the task of their connection.
//!
//! hyper wants to spawn a task per stream, which then wakes the connection's task for each frame.
//! A proxy has one stream; here one wake-up makes the frame and writes it.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::limit;

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
///
/// Each side has a bell of its own, so that what one asks of the other is done in the same poll,
/// and neither is polled for nothing.
pub(super) struct Together<C> {
    connection: C,
    inline: Inline,
    streams: Vec<Spawned>,
    task: Arc<Task>,
    for_connection: Arc<Bell>,
    for_streams: Arc<Bell>,
}

/// The task both live in.
#[derive(Default)]
struct Task {
    polling: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

struct Bell {
    rung: AtomicBool,
    task: Arc<Task>,
}

impl<C> Together<C> {
    pub(super) fn new(connection: C, inline: Inline) -> Self {
        let task = Arc::new(Task::default());
        let bell = || Arc::new(Bell { rung: AtomicBool::new(true), task: task.clone() });
        let (for_connection, for_streams) = (bell(), bell());
        Self { connection, inline, streams: Vec::new(), task, for_connection, for_streams }
    }

    /// To be changed by the caller; it is polled next time, whatever was rung.
    pub(super) fn connection(&mut self) -> &mut C {
        self.for_connection.rung.store(true, SeqCst);
        &mut self.connection
    }

    fn poll_streams(&mut self) {
        let waker = Waker::from(self.for_streams.clone());
        let mut cx = Context::from_waker(&waker);
        self.streams.append(&mut self.inline.lock());
        self.streams.retain_mut(|stream| stream.as_mut().poll(&mut cx).is_pending());
    }
}

impl<C: Future + Unpin> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        this.task.begin(cx.waker());
        for _ in 0..limit::ROUNDS_PER_POLL_MAX {
            // Answered before polling: what is rung meanwhile counts for the next round.
            if this.for_streams.answer() || !this.inline.lock().is_empty() {
                this.poll_streams();
            }
            // After the streams, so that what they made is written in this very poll.
            if this.for_connection.answer() {
                let waker = Waker::from(this.for_connection.clone());
                let mut cx = Context::from_waker(&waker);
                if let Poll::Ready(end) = Pin::new(&mut this.connection).poll(&mut cx) {
                    return Poll::Ready(end);
                }
            }
            if this.is_quiet() {
                // From here on a bell wakes the task; one that was rung just before did not.
                this.task.polling.store(false, SeqCst);
                if this.is_quiet() {
                    return Poll::Pending;
                }
                this.task.polling.store(true, SeqCst);
            }
        }
        this.task.polling.store(false, SeqCst);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<C> Together<C> {
    fn is_quiet(&self) -> bool {
        !self.for_streams.rung.load(SeqCst)
            && !self.for_connection.rung.load(SeqCst)
            && self.inline.lock().is_empty()
    }
}

impl Task {
    fn begin(&self, waker: &Waker) {
        self.polling.store(true, SeqCst);
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Bell {
    fn answer(&self) -> bool {
        self.rung.swap(false, SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let was_rung = self.rung.swap(true, SeqCst);
        if !was_rung && !self.task.polling.load(SeqCst) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use hyper::rt::Executor as _;
    use tokio::sync::mpsc;

    /// A connection that passes on what streams make, and counts how often it is polled.
    fn connection(
        mut made: mpsc::UnboundedReceiver<u32>,
        until: u32,
        polls: Arc<AtomicUsize>,
    ) -> impl Future<Output = u32> + Unpin {
        let mut sum = 0;
        poll_fn(move |cx| {
            polls.fetch_add(1, SeqCst);
            while let Poll::Ready(Some(one)) = made.poll_recv(cx) {
                sum += one;
                if sum == until {
                    return Poll::Ready(sum);
                }
            }
            Poll::Pending
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_is_lost_between_threads() {
        const ROUNDS: u32 = 20_000;
        let inline = Inline::default();
        let (made, frames) = mpsc::unbounded_channel();
        let (source, mut changes) = mpsc::unbounded_channel();
        let polls = Arc::new(AtomicUsize::new(0));
        let together = Together::new(connection(frames, ROUNDS, polls), inline.clone());
        inline.execute(async move {
            while let Some(change) = changes.recv().await {
                made.send(change).unwrap();
            }
        });
        let task = tokio::spawn(together);
        for _ in 0..ROUNDS {
            source.send(1).unwrap();
            std::hint::spin_loop();
        }
        let sum = tokio::time::timeout(Duration::from_secs(8), task).await;
        assert_eq!(sum.expect("a wake-up was lost").unwrap(), ROUNDS);
    }

    #[tokio::test]
    async fn two_that_never_rest_leave_the_thread_to_others() {
        let inline = Inline::default();
        inline.execute(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let task = tokio::spawn(Together::new(std::future::pending::<()>(), inline));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        task.abort();
    }

    #[tokio::test]
    async fn a_change_is_made_and_written_in_one_poll_of_each() {
        let inline = Inline::default();
        let (made, frames) = mpsc::unbounded_channel();
        let (source, mut changes) = mpsc::unbounded_channel();
        let polls = Arc::new(AtomicUsize::new(0));
        let mut together = Together::new(connection(frames, 2, polls.clone()), inline.clone());
        inline.execute(async move {
            while let Some(change) = changes.recv().await {
                made.send(change).unwrap();
            }
        });
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut together).poll(&mut cx).is_pending());
        let quiet = polls.load(SeqCst);
        assert!(Pin::new(&mut together).poll(&mut cx).is_pending());
        assert_eq!(polls.load(SeqCst), quiet, "nothing was rung");
        source.send(1).unwrap();
        assert!(Pin::new(&mut together).poll(&mut cx).is_pending());
        assert_eq!(polls.load(SeqCst), quiet + 1);
    }
}
