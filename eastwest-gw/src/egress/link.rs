//! One connection to a gateway of another network, from the first attempt to its last tunnel.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diolkos_hbone::{Outer, Tunnel, TunnelError};
use diolkos_tls::{Identity, LeafInForce};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::{Failure, Fault};
use crate::limit::EGRESS_LATE_ANSWER;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) began: Instant,
    /// Whom the gateway was to the other end.
    leaf: LeafInForce,
    state: watch::Sender<State>,
    /// Places taken, also of those who wait for it to be there.
    tunnels: watch::Sender<usize>,
}

#[derive(Clone, Debug)]
enum State {
    Connecting,
    Up(Outer),
    /// No new tunnels. Those there are live on.
    Left,
    Failed(Failure),
}

/// One tunnel's place on a link; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    link: Arc<Link>,
}

/// Why there is no tunnel by a link.
#[derive(Debug)]
pub(super) enum Missed {
    /// Another connection may do better.
    Again(Failure),
    Failed(Failure),
}

impl Link {
    pub(super) fn new(identity: &Identity) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            leaf: identity.in_force(),
            state: watch::Sender::new(State::Connecting),
            tunnels: watch::Sender::new(0),
        })
    }

    /// Whether it is worth a new tunnel, as far as one knows.
    pub(super) fn takes(&self, identity: &Identity) -> bool {
        match &*self.state.borrow() {
            State::Connecting => true,
            State::Up(outer) => {
                let fresh = identity.has(&self.leaf) && SystemTime::now() < outer.peer().not_after;
                fresh && outer.is_open()
            }
            State::Left | State::Failed(_) => false,
        }
    }

    pub(super) fn up(&self, outer: Outer) {
        self.state.send_replace(State::Up(outer));
    }

    pub(super) fn failed(&self, failure: Failure) {
        self.state.send_replace(State::Failed(failure));
    }

    /// Its connection ends with the tunnels that it has.
    pub(super) fn leave(&self) {
        self.state.send_if_modified(|state| {
            let leaves = matches!(state, State::Up(_));
            if leaves {
                *state = State::Left;
            }
            leaves
        });
    }

    pub(super) fn tunnels(&self) -> usize {
        *self.tunnels.borrow()
    }

    /// `None` where it has as many as it may, by us or by the other end.
    pub(super) fn reserve(self: &Arc<Self>, max: usize) -> Option<Place> {
        let max = match &*self.state.borrow() {
            State::Up(outer) => max.min(outer.tunnels_max()),
            _ => max,
        };
        let taken = self.tunnels.send_if_modified(|tunnels| {
            let has_room = *tunnels < max;
            *tunnels += usize::from(has_room);
            has_room
        });
        taken.then(|| Place { link: Arc::clone(self) })
    }

    /// Returns when it has had no tunnel for so long.
    pub(super) async fn idle(&self, time: Duration) {
        let mut tunnels = self.tunnels.subscribe();
        loop {
            let none = tunnels.wait_for(|count| *count == 0).await.is_ok();
            let some = timeout(time, tunnels.wait_for(|count| *count > 0)).await;
            if !none || some.is_err() {
                return;
            }
        }
    }
}

impl Place {
    /// Waits for the connection if it must, and asks it for a tunnel until `deadline`.
    pub(super) async fn open(
        self,
        authority: &str,
        deadline: Instant,
    ) -> Result<(Tunnel, Self), Missed> {
        let late = || Missed::Failed(Failure::late());
        let outer = timeout_at(deadline, self.outer()).await.map_err(|_| late())??;
        let asked = Instant::now();
        let (asking, authority) = (outer.clone(), authority.to_owned());
        let mut asking = Box::pin(async move { asking.open(&authority).await });
        match timeout_at(deadline, &mut asking).await {
            Ok(Ok(tunnel)) => Ok((tunnel, self)),
            Ok(Err(error @ TunnelError::Broken(_))) => {
                self.link.leave();
                Err(Missed::Again(error.into()))
            }
            Ok(Err(error)) => Err(Missed::Failed(error.into())),
            Err(_) => {
                // A gateway may be slow to dial. One that says nothing at all is not there.
                if outer.heard_at() < asked {
                    self.link.leave();
                }
                // Gateways cut off who gives up much, and others' tunnels with it.
                tokio::spawn(async move {
                    let _ = timeout(EGRESS_LATE_ANSWER, asking).await;
                    drop(self);
                });
                Err(late())
            }
        }
    }

    async fn outer(&self) -> Result<Outer, Missed> {
        let mut state = self.link.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        let gone = || Failure::new(Fault::Broken, "it ended before it was used");
        match settled.as_deref() {
            Ok(State::Up(outer)) => Ok(outer.clone()),
            Ok(State::Failed(failure)) => Err(Missed::Failed(failure.clone())),
            Ok(State::Connecting | State::Left) | Err(_) => Err(Missed::Again(gone())),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.link.tunnels.send_modify(|tunnels| *tunnels -= 1);
    }
}
