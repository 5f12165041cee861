//! The task that owns the core: takes messages, calls the core, hands out answers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use diolkos_ops::Shutdown;
use diolkos_tls::Issuers;
use diolkos_topology::Tick;
use tokio::sync::{Notify, mpsc, oneshot};
use tonic::Status;

use crate::authority::Authorities;
use crate::core::{Asked, Clusterz, Core, Explained, Now, Opened, Question, Refused, Shown};
use crate::limit::{self, EVENTS_PER_TURN_MAX as TURN_MAX};
use crate::source::SourceEvent;

/// How everybody else speaks to it.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    questions: mpsc::Sender<Ask>,
}

/// A stream that is given back when dropped.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) opened: Opened,
    closed: Arc<Closed>,
}

#[derive(Debug)]
enum Ask {
    Open(Box<Asked>, oneshot::Sender<Result<Granted, Refused>>),
    Explain(Box<Question>, oneshot::Sender<Result<Explained, String>>),
    Clusterz(oneshot::Sender<Vec<Clusterz>>),
    Shown(oneshot::Sender<Box<Shown>>),
}

/// Streams that ended. Never more than were open, so it needs no bound of its own.
#[derive(Debug, Default)]
struct Closed {
    ids: Mutex<Vec<u64>>,
    bell: Notify,
}

/// The clocks, read in one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

pub(crate) struct OwnerTask {
    core: Core,
    clock: Clock,
    mesh_path: PathBuf,
    own: Issuers,
    events: mpsc::Receiver<SourceEvent>,
    questions: mpsc::Receiver<Ask>,
    closed: Arc<Closed>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let instant = Instant::now();
        Now { tick: self.tick(instant), instant, system: SystemTime::now() }
    }

    pub(crate) fn tick(&self, at: Instant) -> Tick {
        let millis = at.saturating_duration_since(self.start).as_millis();
        Tick(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn instant(&self, tick: Tick) -> Instant {
        // Two years are further than any deadline that matters.
        let years = Duration::from_secs(2 * 365 * 24 * 3600);
        self.start + Duration::from_millis(tick.0).min(years)
    }
}

impl Owner {
    pub(crate) fn new(
        core: Core,
        clock: Clock,
        mesh_path: PathBuf,
        own: Issuers,
        events: mpsc::Receiver<SourceEvent>,
    ) -> (Self, OwnerTask) {
        let (sender, questions) = mpsc::channel(limit::QUESTIONS_MAX);
        let closed = Arc::new(Closed::default());
        (
            Self { questions: sender },
            OwnerTask { core, clock, mesh_path, own, events, questions, closed },
        )
    }

    pub(crate) async fn open(&self, asked: Asked) -> Result<Granted, Status> {
        self.ask(|reply| Ask::Open(Box::new(asked), reply)).await?.map_err(Status::from)
    }

    /// The inner error says what there is instead.
    pub(crate) async fn explain(
        &self,
        question: Question,
    ) -> Result<Result<Explained, String>, Status> {
        self.ask(|reply| Ask::Explain(Box::new(question), reply)).await
    }

    pub(crate) async fn clusterz(&self) -> Result<Vec<Clusterz>, Status> {
        self.ask(Ask::Clusterz).await
    }

    pub(crate) async fn shown(&self) -> Result<Box<Shown>, Status> {
        self.ask(Ask::Shown).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Status> {
        let ended = || Status::unavailable("the primary is shutting down");
        let (reply, answer) = oneshot::channel();
        self.questions.send(ask(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

impl OwnerTask {
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut turn = Vec::with_capacity(TURN_MAX);
        let mut look = tokio::time::interval(limit::AUTHORITY_INTERVAL);
        let mut listening = true;
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let deadline = self.core.next_deadline().map(|tick| self.clock.instant(tick));
            tokio::select! {
                () = shutdown.wait() => return,
                taken = self.events.recv_many(&mut turn, TURN_MAX), if listening => {
                    if taken == 0 {
                        tracing::error!("the source of facts ended; what is known stays");
                        listening = false;
                    }
                    self.turn(&mut turn);
                }
                Some(ask) = self.questions.recv() => self.answer(ask),
                () = self.closed.bell.notified() => self.close(),
                () = until(deadline) => self.core.tick(self.clock.now()),
                _ = look.tick() => {
                    self.look_at_authorities();
                    self.core.measure(SystemTime::now());
                }
            }
        }
    }

    fn turn(&mut self, events: &mut Vec<SourceEvent>) {
        let now = self.clock.now();
        let names_authorities =
            events.iter().any(|event| matches!(event, SourceEvent::Mesh { .. }));
        self.core.apply(now, now.instant, events.drain(..));
        if names_authorities {
            self.look_at_authorities();
        }
    }

    /// A handful of small local files: read in place.
    fn look_at_authorities(&mut self) {
        if let Some(mesh) = self.core.mesh_file() {
            let before = self.core.authorities();
            let authorities = Authorities::read(&self.mesh_path, mesh, &self.own, before);
            self.core.set_authorities(self.clock.now(), authorities);
        }
    }

    /// Who asked and went away again loses nothing but the answer; a stream is given back.
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Open(asked, reply) => {
                let opened = self.core.open(self.clock.now(), *asked);
                let granted = opened.map(|opened| Granted { opened, closed: self.closed.clone() });
                drop(reply.send(granted));
            }
            Ask::Explain(question, reply) => drop(reply.send(self.core.explain(*question))),
            Ask::Clusterz(reply) => drop(reply.send(self.core.clusterz())),
            Ask::Shown(reply) => {
                drop(reply.send(Box::new(self.core.shown(self.clock.now()))));
            }
        }
    }

    fn close(&mut self) {
        let now = self.clock.now();
        for id in std::mem::take(&mut *self.closed.lock()) {
            self.core.close(now, id);
        }
    }
}

impl Closed {
    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        // Pushing and taking do not panic half-way.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.closed.lock().push(self.opened.status.id);
        self.closed.bell.notify_one();
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
