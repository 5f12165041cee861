//! A stream's response: whenever HTTP/2 has room for a frame, the difference to now.
//!
//! It runs inside the connection's task. While the client cannot be written to it is not polled,
//! so nothing is made for it; what it lacks stays a difference of versions.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use diolkos_xds::{Catalogs, Protocol, Request, ResourceType, Response, Session};
use http::HeaderMap;
use hyper::body::{Body, Frame};
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_stream::Stream as _;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use super::frames::Frames;
use super::requests::{self, Requests};
use super::stall::Stall;
use super::status::StreamStatus;
use crate::cell::{CatalogCell, Published};
use crate::limit;
use crate::metrics::Metrics;
use crate::owner::Granted;

/// Empty by default: a refusal is all in its headers.
#[derive(Default)]
pub(super) struct AdsBody(Option<Box<AdsStream>>);

pub(super) struct AdsStream {
    requests: Requests,
    session: Session,
    audience: Arc<CatalogCell>,
    scope: Arc<CatalogCell>,
    changes: [WatchStream<Published>; 2],
    frames: Frames,
    /// What the trailers will say.
    ending: Option<Status>,
    ended: oneshot::Receiver<Status>,
    /// When the client's credential does, and what the client is told then.
    expires: (Pin<Box<Sleep>>, &'static str),
    pace: Pace,
    stall: Arc<Stall>,
    status: Arc<StreamStatus>,
    metrics: Arc<Metrics>,
    /// Why it closed, for the log.
    why: String,
    granted: Granted,
}

/// What a stream is opened with.
pub(super) struct Opening {
    pub(super) protocol: Protocol,
    pub(super) requests: Requests,
    pub(super) first: Request,
    pub(super) granted: Granted,
    pub(super) expires: SystemTime,
    pub(super) expired: &'static str,
    pub(super) stall: Arc<Stall>,
    pub(super) metrics: Arc<Metrics>,
}

impl AdsBody {
    pub(super) fn open(opening: Opening) -> Self {
        let Opening { protocol, requests, first, mut granted, expires, expired, stall, metrics } =
            opening;
        let opened = &mut granted.opened;
        let (audience, scope) = (opened.audience.clone(), opened.scope.clone());
        let (_, replaced) = oneshot::channel();
        let ended = std::mem::replace(&mut opened.ended, replaced);
        let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
        let mut stream = AdsStream {
            requests,
            session: Session::new(protocol),
            changes: [&audience, &scope].map(|cell| WatchStream::from_changes(cell.watch())),
            audience,
            scope,
            frames: Frames::default(),
            ending: None,
            ended,
            expires: (Box::pin(tokio::time::sleep(left.min(TIMER_MAX))), expired),
            pace: Pace::default(),
            stall,
            status: opened.status.clone(),
            metrics,
            why: "the connection was lost".into(),
            granted,
        };
        stream.status.opened_line();
        stream.request(first);
        Self(Some(Box::new(stream)))
    }
}

impl Body for AdsBody {
    type Data = Bytes;
    type Error = Infallible;

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(stream) = &mut self.0 else {
            return Poll::Ready(None);
        };
        stream.stall.written();
        stream.pace.turn();
        loop {
            if let Some(bytes) = stream.frames.pop() {
                stream.stall.writing();
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if let Some(status) = stream.ending.take() {
                stream.why = ending_line(&status);
                let trailers = trailers(&status);
                self.0 = None;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            ready!(stream.poll_step(cx));
        }
    }
}

impl Drop for AdsStream {
    fn drop(&mut self) {
        self.stall.over();
        self.status.closed_line(&self.why);
    }
}

impl AdsStream {
    /// Does one thing, if there is one to do.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(told) = Pin::new(&mut self.ended).poll(cx) {
            let shutting_down = |_| Status::unavailable("the primary is shutting down");
            self.ending = Some(told.unwrap_or_else(shutting_down));
            return Poll::Ready(());
        }
        let (expires, expired) = &mut self.expires;
        if expires.as_mut().poll(cx).is_ready() {
            self.ending = Some(Status::unauthenticated(*expired));
            return Poll::Ready(());
        }
        if self.pace.has_turn() {
            if let Poll::Ready(next) = self.requests.poll(cx) {
                match next {
                    None => self.ending = Some(Status::ok("")),
                    Some(Err(status)) => self.ending = Some(status),
                    Some(Ok(request)) => self.request(request),
                }
                return Poll::Ready(());
            }
        } else {
            cx.waker().wake_by_ref();
        }
        self.poll_changes(cx)
    }

    fn poll_changes(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut said_at: Option<Instant> = None;
        for changes in &mut self.changes {
            if let Poll::Ready(Some(published)) = Pin::new(changes).poll_next(cx) {
                said_at = Some(said_at.map_or(published.said_at, |at| at.min(published.said_at)));
            }
        }
        let Some(said_at) = said_at else {
            return Poll::Pending;
        };
        let responses = {
            let (audience, scope) = (self.audience.read(), self.scope.read());
            self.session.advance(Catalogs { audience: &audience, scope: &scope })
        };
        if !responses.is_empty() {
            self.send(&responses);
            self.metrics.convergence.observe(said_at.elapsed().as_secs_f64());
        }
        Poll::Ready(())
    }

    fn request(&mut self, request: Request) {
        if let Err(status) = self.pace.request(Instant::now()) {
            self.ending = Some(status);
            return;
        }
        let (url, nonce, refused) = requests::answer(&request);
        let answered = (ResourceType::from_url(url), nonce.to_owned());
        let responses = {
            let (audience, scope) = (self.audience.read(), self.scope.read());
            self.session.request(request, Catalogs { audience: &audience, scope: &scope })
        };
        if let (Some(kind), nonce) = answered
            && !nonce.is_empty()
        {
            if self.status.is_latest(kind, &nonce) {
                self.stall.answered(kind);
            }
            match refused {
                true => self.note_nack(&nonce),
                false => self.status.acked(kind, &nonce),
            }
        }
        self.status.progressed(&self.session);
        match responses {
            Ok(responses) => self.send(&responses),
            Err(refusal) => self.ending = Some(Status::invalid_argument(refusal.to_string())),
        }
    }

    fn note_nack(&mut self, nonce: &str) {
        // A stale one is not the session's last.
        let Some(nack) = self.session.nacks().last().filter(|nack| nack.nonce == nonce) else {
            return;
        };
        self.metrics.nacked(nack.kind);
        if self.status.nacked(nack) {
            let reason = diolkos_ops::printable(&nack.reason);
            tracing::warn!(
                stream = self.granted.opened.status.id,
                r#type = %nack.kind,
                %reason,
                names = ?nack.names,
                "client refused a response and keeps what it had"
            );
        }
    }

    fn send(&mut self, responses: &[Response]) {
        for response in responses {
            let bytes = self.frames.push(&response.encode());
            self.status.pushed(response, bytes);
            self.stall.sent(response.kind());
            self.metrics.pushed(response.kind(), bytes);
        }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // A message that is no header value; the code alone says enough.
        let bare = Status::new(status.code(), "");
        bare.add_header(&mut trailers).expect("a status without a message is a header");
    }
    trailers
}

fn ending_line(status: &Status) -> String {
    match (status.code(), status.message()) {
        (tonic::Code::Ok, _) => "the client ended it".into(),
        (code, "") => code.to_string(),
        (_, message) => message.to_owned(),
    }
}

/// How fast a client may talk.
#[derive(Debug, Default)]
struct Pace {
    second: Option<Instant>,
    in_second: u32,
    in_turn: u32,
}

impl Pace {
    fn turn(&mut self) {
        self.in_turn = 0;
    }

    fn has_turn(&self) -> bool {
        self.in_turn < limit::REQUESTS_PER_POLL_MAX
    }

    fn request(&mut self, now: Instant) -> Result<(), Status> {
        self.in_turn += 1;
        match self.second {
            Some(began) if now.duration_since(began) < Duration::from_secs(1) => {
                self.in_second += 1;
            }
            _ => {
                self.second = Some(now);
                self.in_second = 1;
            }
        }
        if self.in_second > limit::REQUESTS_PER_SECOND_MAX {
            return Err(Status::resource_exhausted(format!(
                "more than {} requests in a second",
                limit::REQUESTS_PER_SECOND_MAX
            )));
        }
        Ok(())
    }
}

/// tokio's timers reach about two years.
const TIMER_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_send_the_limit_in_a_second_and_not_one_more() {
        let mut pace = Pace::default();
        let began = Instant::now();
        for _ in 0..limit::REQUESTS_PER_SECOND_MAX {
            assert!(pace.request(began).is_ok());
        }
        assert!(pace.request(began + Duration::from_millis(999)).is_err());
        assert!(pace.request(began + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn a_turn_ends_after_its_requests() {
        let mut pace = Pace::default();
        for _ in 0..limit::REQUESTS_PER_POLL_MAX {
            assert!(pace.has_turn());
            assert!(pace.request(Instant::now()).is_ok());
        }
        assert!(!pace.has_turn());
        pace.turn();
        assert!(pace.has_turn());
    }
}
